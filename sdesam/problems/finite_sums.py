"""Finite sums f = (1/N) Σ f_i: the landscapes that have minibatches, a torch module among them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..arguments import as_array, as_floats, require_count, set_fields
from .calculus import hvp
from .landscapes import points_of

__all__ = ["FiniteSum", "ModuleLoss", "flat_parameters", "landscape_from_module", "quadratics"]

_SEPARATE = 1e-6  # relative: rounding of a module whose layers hold float32 constants


@dataclass(frozen=True, eq=False)
class FiniteSum:
    """f(x) = (1/N) Σ_i loss(x, datum_i).

    Parameters
    ----------
    loss : ``loss(x, datum) -> scalar`` for one point ``x (d,)`` and one datum
    data : a tensor or array ``(N, ...)``, or a tuple of such; a datum is its i-th row, or the tuple of rows.
        They are copied
    dim : d, where it is known
    minimizers, saddles : known points, rows ``(K, d)``

    Raises
    ------
    ValueError, TypeError
        When the parts of the data are no arrays, differ in length, are empty or not finite; when x is not of
        floats or not of dimension ``dim``; at the first call, when loss is no scalar.
    """

    loss: Callable[[Tensor, Any], Tensor]
    data: Tensor | np.ndarray | tuple[Tensor | np.ndarray, ...]
    dim: int | None = None
    minimizers: Tensor | None = None
    saddles: Tensor | None = None

    def __post_init__(self) -> None:
        parts = self.data if isinstance(self.data, tuple) else (self.data,)
        tensors = tuple(_part(part) for part in parts)
        object.__setattr__(self, "data", tensors if isinstance(self.data, tuple) else tensors[0])
        lengths = {len(part) for part in self._parts()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"data must have parts of one length N >= 1, got lengths {sorted(lengths)}.")
        if self.dim is not None:
            set_fields(self, dim=require_count("dim", self.dim, least=1, why="it is the number of coordinates"))
        for name in ("minimizers", "saddles"):
            object.__setattr__(self, name, points_of(getattr(self, name), self.dim))

    @property
    def N(self) -> int:
        """Number of data."""
        return len(self._parts()[0])

    def __repr__(self) -> str:
        data = " and ".join(f"{str(part.dtype).removeprefix('torch.')} {tuple(part.shape)}" for part in self._parts())
        loss = getattr(self.loss, "__name__", self.loss)
        return f"FiniteSum(N = {self.N}, d = {self.dim or 'any'}, loss {loss}, data {data})"

    def losses(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch N"]:
        """The N losses at every point."""
        self._require_points(x)
        data = self._data(x)
        flat = torch.func.vmap(lambda point: self._each()(point, data))(x.reshape(-1, x.shape[-1]))
        return _scalars(flat).reshape(*x.shape[:-1], self.N)

    def losses_of(self, x: Float[Tensor, "*batch d"], index: Tensor) -> Float[Tensor, "*batch B"]:
        """The losses of the data ``index (*batch, B)``, each batch at its own point."""
        self._require_points(x)
        points, chosen = x.reshape(-1, x.shape[-1]), index.reshape(-1, index.shape[-1])
        rows = tuple(part[chosen] for part in self._data_parts(x))
        flat = torch.func.vmap(self._each())(points, rows if isinstance(self.data, tuple) else rows[0])
        return _scalars(flat).reshape(index.shape)

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The mean loss."""
        return self.losses(x).mean(-1)

    def _require_points(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise TypeError(f"x must hold floats, got {x.dtype}: the data would be cut to integers.")
        if self.dim not in (None, x.shape[-1]):
            raise ValueError(f"x must have last dimension {self.dim}, got shape {tuple(x.shape)}.")

    def _each(self) -> Callable[[Tensor, Any], Tensor]:
        """The losses of several data at one point."""
        return torch.func.vmap(self.loss, in_dims=(None, 0))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.data if isinstance(self.data, tuple) else (self.data,)  # pyright: ignore[reportReturnType]

    def _data_parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Floats follow x's dtype, labels stay integers; everything follows its device."""
        return tuple(part.to(x) if part.is_floating_point() else part.to(x.device) for part in self._parts())

    def _data(self, x: Tensor) -> Any:
        parts = self._data_parts(x)
        return parts if isinstance(self.data, tuple) else parts[0]


def _part(part: object) -> Tensor:
    """A copy of a part of the data, N rows of finite numbers."""
    if not isinstance(part, Tensor | np.ndarray):
        raise TypeError(f"data must be a tensor, an array, or a tuple of them, got {type(part).__name__}.")
    rows = part.detach().clone() if isinstance(part, Tensor) else _from_numpy(as_array("data", part))
    if rows.ndim == 0:
        raise ValueError("data must have N rows, got a single number.")
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        raise ValueError("data must be finite: replicates that draw the other rows would be lost.")
    return rows


def _from_numpy(array: np.ndarray) -> Tensor:
    """The array's numbers; those that torch has no kind for in the next wider one: long doubles, unsigned integers."""
    if array.dtype.kind not in "fiubc":
        raise TypeError(f"data must hold numbers, got an array of {array.dtype}: encode it first.")
    wider = {"f": np.float64, "u": np.int64}.get(array.dtype.kind)
    known = array.dtype.itemsize <= 8 if array.dtype.kind == "f" else array.dtype == np.uint8
    return torch.from_numpy(array if wider is None or known else array.astype(wider))


def _scalars(losses: Tensor) -> Tensor:
    if losses.ndim != 2:
        raise ValueError(f"loss must return a scalar for one point and one datum, got shape {tuple(losses.shape[2:])}.")
    return losses


def quadratics(A: Tensor | np.ndarray, b: Tensor | np.ndarray) -> FiniteSum:
    """f_i(x) = ½ (x − b_i)ᵀ A_i (x − b_i) with symmetric A ``(N, d, d)`` and b ``(N, d)``: batch-dependent Hessians.

    Raises
    ------
    ValueError
        When the shapes do not match or an A_i is not symmetric.
    """
    A, b = as_floats("A", A), as_floats("b", b)
    if A.ndim != 3 or b.shape != A.shape[:2] or A.shape[1] != A.shape[2] or 0 in A.shape:
        raise ValueError(f"A must be (N, d, d) and b (N, d), got shapes {tuple(A.shape)} and {tuple(b.shape)}.")
    if A.dtype != b.dtype or not bool(torch.isfinite(A).all() and torch.isfinite(b).all()):
        raise ValueError(f"A and b must be finite and of one dtype, got {A.dtype} and {b.dtype}.")
    if float((A - A.mT).abs().max()) > 8 * torch.finfo(A.dtype).eps * float(A.abs().max()):
        raise ValueError("A must hold symmetric matrices: pass (A + A.mT)/2 if that is meant.")
    H = A.mean(0)
    convex = bool((torch.linalg.eigvalsh(H) > 0).all())
    minimizer = torch.linalg.solve(H, (A @ b[..., None]).mean(0)).T if convex else None

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        curvature, centre = datum
        return ((x - centre) @ curvature * (x - centre)).sum() / 2

    return FiniteSum(loss, (A, b), dim=A.shape[1], minimizers=minimizer)


# ----------------------------------------------------------------- torch modules
@dataclass(frozen=True, eq=False)
class ModuleLoss:
    """loss(module(input; x), target) with x the module's trainable parameters, flattened in their own order."""

    module: torch.nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]

    def __repr__(self) -> str:
        return f"{getattr(self.loss, '__name__', self.loss)} of a {type(self.module).__name__}"

    def __call__(self, x: Float[Tensor, " d"], datum: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of one datum; the module sees a batch of one."""
        inputs, target = datum
        output = torch.func.functional_call(self.module, self._state(x), (inputs[None],))
        return self.loss(output, target[None])

    def _state(self, x: Tensor) -> dict[str, Tensor]:
        """Parameters from x; what is frozen, and the buffers, as they are, in x's precision."""
        trained = _trainable(self.module)
        pieces = x.split([p.numel() for p in trained.values()])
        state = {name: piece.reshape(p.shape) for (name, p), piece in zip(trained.items(), pieces, strict=True)}
        fixed = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return {name: v.detach().to(x) if v.is_floating_point() else v for name, v in fixed.items()} | state


def _trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def landscape_from_module(
    model: torch.nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor | np.ndarray, Tensor | np.ndarray],
) -> FiniteSum:
    """A torch module with its data as a landscape over its flat parameters; start it at ``flat_parameters(model)``.

    f(x) = (1/N) Σ_i loss(model(input_i; x), target_i).  The module is copied, and called on batches of one, so its loss
    is a sum over data, which is what minibatches need.  Parameters with ``requires_grad=False`` are no part of x.

    Parameters
    ----------
    model : any module whose output for a datum does not depend on the other data nor on random numbers
    loss : ``loss(output, target) -> scalar``, the mean or the sum over its batch, e.g.
        ``torch.nn.functional.cross_entropy``
    data : inputs ``(N, ...)`` and targets ``(N, ...)``

    Raises
    ------
    TypeError
        When model is no module.
    ValueError
        For BatchNorm in training mode (the loss of a datum would depend on its batch, and f would not be a sum),
        dropout in training mode (its own randomness is no minibatch), a module without trainable parameters, one
        that cannot be copied, fails on a datum, has no second derivative there or gives another value the second
        time, a loss that is NaN or infinite for a datum at the module's parameters, and one whose value on all data is
        neither the mean nor the sum of its values on each (class weights do that).
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    _require_separate(model)
    if not _trainable(model):
        raise ValueError("model must have trainable parameters, got a module with none.")
    model = _copied(model)
    dim = sum(p.numel() for p in _trainable(model).values())
    f = FiniteSum(ModuleLoss(model, loss), tuple(data), dim=dim)
    _probe(f, flat_parameters(model))
    return f


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ValueError(
            f"model must be a module that copy.deepcopy copies, it raised {type(error).__name__}: "
            f"{(str(error).splitlines() or ['?'])[0]} A tensor that is stored on the module and has a history does "
            "that: the old torch.nn.utils.weight_norm (use that of torch.nn.utils.parametrizations), a kept output."
        ) from error


def _require_separate(model: torch.nn.Module) -> None:
    for name, part in model.named_modules():
        where = f"layer {name or 'itself'} ({type(part).__name__})"
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None):
            raise ValueError(
                f"model must not normalise over the batch: {where} makes the loss of one datum depend on the "
                "others, so f is not a sum over data. Call model.eval() after its statistics are set, or use LayerNorm."
            )
        if isinstance(part, torch.nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ValueError(
                f"model must be deterministic given its data: {where} draws random numbers that are no minibatch. Call "
                "model.eval(), or remove it."
            )


def _probe(f: FiniteSum, x: Tensor) -> None:
    """Two values, a Hessian product and the loss of all data at once: what a run needs, before it starts."""
    try:
        each, again = f.losses(x), f.losses(x)
        hvp(f)(x, torch.ones_like(x))
    except Exception as error:
        raise ValueError(
            f"model and loss must give a twice differentiable scalar for one datum, without random numbers: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    if bad := (~torch.isfinite(each)).nonzero().flatten().tolist():
        value = "NaN" if bool(each[bad[0]].isnan()) else "infinite"
        more = f", and those of {len(bad) - 1} other data" if len(bad) > 1 else ""
        raise ValueError(
            f"the loss of datum {bad[0]} is {value} at the module's parameters{more}: no run could start there. Is its "
            "target one that the loss ignores, or a logarithm that of 0?"
        )
    if not torch.equal(each, again):
        raise ValueError("model must be deterministic given its data: two calls at one x gave two values.")
    assert isinstance(f.loss, ModuleLoss)
    inputs, targets = f._data(x)
    together = f.loss.loss(torch.func.functional_call(f.loss.module, f.loss._state(x), (inputs,)), targets)
    tolerance = _SEPARATE * float(each.abs().sum())
    if not min(abs(float(together - each.mean())), abs(float(together - each.sum()))) <= tolerance:
        raise ValueError(
            f"loss must be the mean or the sum of the losses of its data, on all of them it is {float(together):.6g}, "
            f"while theirs have mean {float(each.mean()):.6g}: class weights do that, since they are divided by the "
            'batch\'s own. Weight the losses yourself, or use reduction="sum".'
        )


def flat_parameters(model: torch.nn.Module, dtype: torch.dtype = torch.float64) -> Float[Tensor, " d"]:
    """The module's trainable parameters as one vector: the start x0 of a landscape made from it."""
    return torch.cat([p.detach().reshape(-1) for p in _trainable(model).values()]).to(dtype)
