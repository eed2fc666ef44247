"""Every function of the user's is probed once a structure, before a run: rule and refusals are those of ``purity``.

The points are those that the run visits: its start and one beside it, and what one step makes of them under two draws
(those of seed 0, so that nothing depends on the run's seed).  What the point beside it may show, rows that are mixed or
numbers drawn, is true anywhere; errors and NaN count at the start only, so that no function is refused for its domain.

A plain kernel is probed by what the user's functions give in a step, before it is multiplied by eta; kernels of this
package that are made of others are probed part by part.  New numbers (eta, rho, sigma, a seed, n) are no new structure;
a new start is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..dynamics import updates
from ..dynamics.integrators import Integrator
from ..dynamics.kernels import Coupled, Derived, Kernel, Optimizer, Subcycled, unwrap
from ..problems.landscapes import require_landscape
from ..problems.minibatch import MinibatchOracle
from ..problems.noise import Normal
from ..problems.observables import asked
from ..problems.oracles import ExactOracle, GaussianOracle, Oracle
from .eager import moved_to, stepped, without_graph
from .purity import Impure, Margins, Named, call, require_pure, rows_of
from .streams import Streams
from .structures import Memo

__all__ = ["probe", "probe_kernel"]

_BESIDE = 1e-3  # of the size of a start
_MEMO = Memo(128)
_LANDSCAPE, _GRADIENT = "the landscape", "the gradient of the landscape"
_CONSTANT = 1e-9  # relative change of a landscape that is no rounding
_FIRST, _LATER = (0, 1), (2, 0, 3)  # draws for the point beside the start and the start, and for the three rows later
_THREE = (0, 1, 2)  # of the rows that are kept: after a step, beside the start, after another
_START = (1, 3)  # beside the start, the start


@torch.no_grad()
def probe(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Callable[[Tensor], Tensor]],
    internals: Mapping[str, Callable[[Any], Tensor]],
    what: str = "observable",
) -> None:
    """Probe a kernel and what is watched, unless their structures have passed from this start.

    Parameters
    ----------
    x0 : one start, (d,)
    what : the word for what is watched

    Raises
    ------
    ValueError
        With the function's name, where it mixes replicates, draws random numbers, goes by the value of a tensor, writes
        into an argument, is NaN or complex at the start, or is a landscape that changes where its gradient is zero.
    """
    states = probe_kernel(kernel, x0)
    watched = [
        (f"{what} {name!r}" if what == "observable" else what, name, phi, True) for name, phi in observables.items()
    ]
    watched += [(f"internal {name!r}", name, read, False) for name, read in internals.items()]
    for title, name, read, of_position in watched:
        argument = kernel.position(states) if of_position else states
        _MEMO.once(("watched", kernel, _start(x0), title, read), lambda: _watched(title, name, read, argument))  # noqa: B023


@torch.no_grad()
def probe_kernel(kernel: Kernel, x0: Tensor) -> Any:
    """Probe the parts of a kernel at a start (d,); returns four rows of its state, the start's the last."""
    plain = {id(k): k for k in _plain(kernel)}.values()
    states = [_MEMO.once(("kernel", k, _start(x0)), lambda: _examined(k, x0)) for k in plain]  # noqa: B023
    while type(kernel) is Subcycled:
        kernel = kernel.kernel
    if any(kernel is k for k in plain):
        return states[0]
    points = next(iter(plain)).position(states[0])
    return _MEMO.once(("whole", kernel, _start(x0)), lambda: _stepped(kernel, points.reshape(4, -1, len(x0))[:, 0]))


def _start(x0: Tensor) -> tuple:
    return x0.cpu().numpy().tobytes(), x0.dtype, x0.device


# ----------------------------------------------------------------- which functions
def _ours(value: object) -> bool:
    """Whether its class is the package's: one derived from it may do another thing."""
    return type(value).__module__.partition(".")[0] == __name__.partition(".")[0]


def _plain(kernel: Kernel) -> list[Kernel]:
    """The kernels that this one is made of."""
    if not _ours(kernel):
        return [kernel]
    if isinstance(kernel, Coupled):
        return [part for k in kernel.kernels for part in _plain(k)]
    if isinstance(kernel, Derived):
        return [part for k in (kernel.kernel, getattr(kernel, "then", None)) if k is not None for part in _plain(k)]
    return [kernel]


def _step_of(kernel: Kernel) -> Callable[[Any, Any], tuple[Named, Any]]:
    """A step, as what the user's functions gave in it, and the next state."""
    if _ours(kernel) and hasattr(kernel, "examined"):
        return kernel.examined  # pyright: ignore[reportAttributeAccessIssue]

    def step(state: Any, z: Any) -> tuple[Named, Any]:
        after = kernel.step(state, z)
        leaves = [leaf for leaf in pytree.tree_leaves(after) if isinstance(leaf, Tensor)]
        return {f"step of {kernel.name}" + f" ({i})" * (i > 0): leaf for i, leaf in enumerate(leaves)}, after

    return step


# ----------------------------------------------------------------- kernels
def _examined(kernel: Kernel, x0: Tensor) -> Any:
    """Rows of its state, ``_THREE`` that differ and the start, at which all its functions have passed."""
    beside = x0 + _beside(x0)
    try:
        return _passed(kernel, torch.stack((beside, x0)))
    except Impure:
        raise
    except Exception:  # perhaps the point beside is outside of a domain
        return _passed(kernel, torch.stack((x0, x0)))


def _passed(kernel: Kernel, start: Tensor) -> Any:
    state, z, after = kernel.init(start.clone()), _draws(kernel, start), []
    inner = _inner(kernel, start[1]) if isinstance(kernel, Optimizer) else []
    found = [_inner_at_start(function, state, rows_of(z, _FIRST), title) for title, function in inner]
    step, title = _step_of(kernel), _title(kernel)

    def terms(state: Any, z: Any) -> Named:
        named, new = step(state, z)
        after.append(without_graph(new))
        return named

    first = _at_start(terms, state, rows_of(z, _FIRST), title)
    kept = _kept(kernel, state, after[0], start)
    states, draws = rows_of(kept, _THREE), rows_of(z, _LATER)
    for (what, function), before in zip(inner, found, strict=True):
        together = require_pure(function, (states, draws), what, before)
        _require_slope(together, states)
    if not (isinstance(kernel, Optimizer) and unwrap(kernel.update)[0].__module__ == updates.__name__):
        require_pure(terms, (states, draws), title, first)
    return kept


def _beside(x0: Tensor) -> Tensor:
    """A small shift, another one for every coordinate."""
    return _BESIDE * (1 + x0.abs()) * torch.linspace(1.0, 0.4, len(x0), dtype=x0.dtype, device=x0.device)


def _inner(kernel: Optimizer, x0: Tensor) -> list[tuple[str, Callable[[Any, Any], Named]]]:
    """What the user may have written inside of a step: the landscape, sigma as a function, the oracle."""
    g = kernel.g
    call(lambda x: require_landscape(g.mean, x) or {}, (x0.clone(),), _LANDSCAPE)
    found = [(_LANDSCAPE, _landscape(g))]
    if isinstance(g, GaussianOracle) and callable(g.sigma):
        found.append(("sigma", lambda x, z, sigma=g.sigma: {"sigma": sigma(x)}))
    if not _ours(g):
        name = f"oracle {type(g).__name__}"
        found.append((name, lambda x, z: {name: g(x, z)}))
    return found


def _inner_at_start(function: Callable[[Any, Any], Named], x: Tensor, z: Any, title: str) -> Named:
    """The same, of a function of the user's that is not called by itself in a step."""
    try:
        return _at_start(function, x, z, title)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{title} failed on x of shape {tuple(x.shape)}: {type(error).__name__}: {error}") from error


def _at_start(function: Callable[[Any, Any], Named], state: Any, z: Any, title: str) -> Named:
    """What a function gives at the start, which must be finite there."""
    found = call(function, (state, z), title)
    for name, value in found.items():
        if not bool(value[-1:].isfinite().all()):
            bad, x = "NaN" if bool(value[-1:].isnan().any()) else "infinite", pytree.tree_leaves(state)[0][-1]
            raise ValueError(
                f"{name} must be finite at the start, it is {bad} at x = {x.tolist()}: no step size mends that."
            )
    return found


def _title(kernel: Kernel) -> str:
    if isinstance(kernel, Optimizer):
        return f"update {kernel.name}"
    return f"coefficients of {kernel.name}" if _ours(kernel) else f"step of {kernel.name}"


def _draws(kernel: Kernel, start: Tensor) -> Any:
    """Four draws; normals for an integrator's map, where the three-point increments of a scheme are often zero."""
    noise = Normal(kernel.sde.noise_dim) if _ours(kernel) and isinstance(kernel, Integrator) else kernel.noise
    return moved_to(noise.draw(Streams(seed=0, first=0, count=4).bits, start.dtype), start.device)


def _kept(kernel: Kernel, state: Any, after: Any, start: Tensor) -> Any:
    """Rows of states: after a step, beside the start, after another step, the start; points beside for no step."""
    position = kernel.position(after)
    fits = isinstance(position, Tensor) and position.shape == start.shape and bool(position.isfinite().all())
    if not fits or any(torch.equal(p, start[1]) for p in (*position,)) or torch.equal(position[0], position[1]):
        shift = _beside(start[1])
        return kernel.init(torch.stack((start[1] + 3 * shift, start[0], start[1] - 2 * shift, start[1])))
    before, form = pytree.tree_flatten(state)
    then, again = pytree.tree_flatten(after)
    if form != again or any(not isinstance(t, Tensor) or t.shape[:1] != (2,) for t in (*before, *then)):
        return kernel.init(torch.stack((position[0], start[0], position[1], start[1])))  # it counts its steps, say
    rows = [torch.stack((b[0], a[0], b[1], a[1])) for a, b in zip(before, then, strict=True)]
    return pytree.tree_unflatten(rows, form)


def _stepped(kernel: Kernel, points: Tensor) -> Any:
    """A composed kernel's states after one small step from four points, or there where it cannot make one."""
    state = kernel.init(points.clone())
    try:
        return stepped(kernel, rows_of(state, (0, 1, 2, 3)), _draws(kernel, points))
    except Exception:  # a point outside of the domain
        return state


# ----------------------------------------------------------------- landscapes
def _landscape(g: Oracle) -> Callable[[Tensor, Any], Named]:
    """Values of the landscape, and its gradient where the oracle takes it."""

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        found = g.mean(x)
        return found.sum(), found

    def named(x: Tensor, z: Any) -> Named:
        if not isinstance(g, (ExactOracle, GaussianOracle, MinibatchOracle)):
            return {_LANDSCAPE: g.mean(x)}
        gradient, value = torch.func.grad(both, has_aux=True)(x)
        return {_LANDSCAPE: value, _GRADIENT: gradient}

    return named


def _require_slope(found: Named, x: Tensor) -> None:
    """A landscape whose gradient is exactly zero at points where it differs hides x from autograd."""
    if _GRADIENT not in found or bool((found[_GRADIENT] != 0).any()):
        return
    f = found[_LANDSCAPE].double()
    if bool(f.isfinite().all()) and float(f.max() - f.min()) > _CONSTANT * float(f.abs().max()):
        raise ValueError(
            f"the landscape changes from {float(f.min()):.6g} to {float(f.max()):.6g} at and near x = {x[1].tolist()}, "
            "and its gradient is exactly zero there: every step would be noise only. Does it detach x, or round it?"
        )


# ----------------------------------------------------------------- what is watched
def _watched(title: str, name: str, read: Callable[[Any], Tensor], states: Any) -> None:
    """One observable or internal; what is no number a replicate is refused by the run itself."""

    def values(rows: Any) -> Named:
        margins = Margins(len(pytree.tree_leaves(rows)[0])) if title == "inside" else None
        with margins or nullcontext():
            value = asked(name, read, rows)
        if not isinstance(value, Tensor) or value.ndim != 1:
            return {}
        return {title: value} | {f"margin {i}": m for i, m in enumerate(margins.found if margins else ())}

    try:
        before = call(values, (rows_of(states, _START),), title)
    except Impure:
        raise
    except Exception:  # the point beside, or the start itself, which the run then names
        return
    for value in before.values():
        if bool(value[-1:].isinf().any()):
            raise ValueError(f"{title} must be finite wherever x is, it is infinite {_where(states)}.")
    require_pure(values, (rows_of(states, _THREE),), title, before)


def _where(states: Any) -> str:
    return f"at x = {states[3].tolist()}" if isinstance(states, Tensor) else "at the start"
