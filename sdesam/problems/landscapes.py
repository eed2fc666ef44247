"""Landscapes: losses f that act on the last axis, ``(..., d) -> (...)``, and carry no hand-written derivative.

Known facts ride along as data: ``dim``, ``minimizers`` and ``saddles`` (rows of points).  Any function of
the same shape law is a landscape too.  A landscape's own numbers may be traced scalars, which sliders move: then its
value is one more function of them; they are not checked, and known points that depend on them are not to be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..arguments import as_floats, holds_traced, is_traced, require_count, require_finite, set_fields, stacked
from .calculus import Scalar

__all__ = [
    "DoubleWell", "Landscape", "LogCosh", "Quadratic", "Saddle", "TanhNetwork", "dimension_of", "points_of",
    "require_both_signs", "require_landscape", "require_values",
]  # fmt: skip


@runtime_checkable
class Landscape(Protocol):
    """Anything that maps points ``(..., d)`` to losses ``(...)``."""

    def __call__(self, x: Float[Tensor, "*batch d"], /) -> Float[Tensor, "*batch"]: ...


@dataclass(frozen=True, eq=False)
class Quadratic:
    """f(x) = ½ xᵀ H x with a symmetric H of any signature.

    Parameters
    ----------
    H : (d, d) symmetric matrix of floats

    Raises
    ------
    ValueError
        When H is not a square symmetric matrix of finite floats: a non-symmetric H has gradient
        ½(H + Hᵀ)x, which is rarely meant.

    Notes
    -----
    Asymmetry at the level of rounding (A @ A.T has it) is averaged away.
    H/2 is what is stored: then the two products of the gradient are one.
    """

    half: Float[Tensor, "d d"]

    def __init__(self, H: Tensor | np.ndarray | Sequence) -> None:
        H = as_floats("H", H)
        if H.ndim != 2 or H.shape[0] != H.shape[1] or H.shape[0] == 0:
            raise ValueError(f"H must be a square matrix (d, d), got shape {tuple(H.shape)}.")
        if not is_traced(H):
            _require_symmetric(H)
        object.__setattr__(self, "half", (H + H.T) / 4)

    @property
    def H(self) -> Tensor:
        """The Hessian."""
        return 2 * self.half

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.half.shape[0]

    @property
    def minimizers(self) -> Tensor:
        """The origin when H > 0, else nothing is listed."""
        origin = torch.zeros(1, self.dim, dtype=self.half.dtype)
        return origin if bool((torch.linalg.eigvalsh(self.half) > 0).all()) else origin[:0]

    @property
    def saddles(self) -> Tensor:
        """The origin when H has eigenvalues of both signs."""
        low, high = torch.linalg.eigvalsh(self.half)[[0, -1]].tolist()
        return torch.zeros(int(low < 0 < high), self.dim, dtype=self.half.dtype)

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """½ xᵀ H x."""
        return ((x @ self.half.to(x)) * x).sum(-1)


def _require_symmetric(H: Tensor) -> None:
    if not torch.isfinite(H).all():
        raise ValueError("H must be finite, got NaN or infinite entries.")
    worst = float((H - H.T).abs().max())
    if worst > 8 * torch.finfo(H.dtype).eps * float(H.abs().max()):
        raise ValueError(f"H must be symmetric, |H - Hᵀ| is up to {worst:.2g}: pass (H + H.T)/2 if that is meant.")


def require_both_signs(eigenvalues: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """The curvatures of a saddle as floats; raises ``ValueError`` for one sign.  Traced ones are not asked for it."""
    values = tuple(require_finite("eigenvalues", e, "they are curvatures") for e in eigenvalues)
    if not holds_traced(values) and not min(values, default=0) < 0 < max(values, default=0):
        raise ValueError(f"eigenvalues must be finite and of both signs, got {values}: Quadratic takes others.")
    return values


@dataclass(frozen=True)
class Saddle:
    """f(x) = ½ Σ λ_i x_i² with eigenvalues of both signs; the origin is its saddle."""

    eigenvalues: tuple[Scalar, ...] = (1.0, -1.0)

    def __post_init__(self) -> None:
        set_fields(self, eigenvalues=require_both_signs(self.eigenvalues))

    @property
    def dim(self) -> int:
        """The dimension d."""
        return len(self.eigenvalues)

    @property
    def minimizers(self) -> Tensor:
        """None: unbounded below."""
        return torch.zeros(0, self.dim, dtype=torch.float64)

    @property
    def saddles(self) -> Tensor:
        """The origin."""
        return torch.zeros(1, self.dim, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """½ Σ λ_i x_i²."""
        return (stacked(self.eigenvalues, x.dtype, x.device) / 2 * x * x).sum(-1)


@dataclass(frozen=True)
class LogCosh:
    """f(x) = Σ log cosh x_i: quadratic near 0, of linear growth, gradient tanh x.

    Notes
    -----
    Written as log(1 + 2 sinh²(x/2)), whose derivatives are accurate at 0 too, up to |x| = 20; beyond, the
    difference from |x| − log 2 is below one unit in the last place.
    """

    dim: int = 1

    def __post_init__(self) -> None:
        set_fields(self, dim=require_count("dim", self.dim, least=1, why="it is the number of coordinates"))

    @property
    def minimizers(self) -> Tensor:
        """The origin."""
        return torch.zeros(1, self.dim, dtype=torch.float64)

    @property
    def saddles(self) -> Tensor:
        """None: convex."""
        return torch.zeros(0, self.dim, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Σ log cosh x_i."""
        near = x.clamp(-20.0, 20.0)
        sinh = torch.sinh(near / 2)
        return (torch.log1p(2 * sinh * sinh) + (x - near).abs()).sum(-1)


@dataclass(frozen=True)
class DoubleWell:
    """f(x) = ¼ Σ (x_i² − 1)²: minima ±1, a maximum (d = 1) or saddles between them, Hessian −1 at 0."""

    dim: int = 1

    def __post_init__(self) -> None:
        set_fields(self, dim=require_count("dim", self.dim, least=1, why="it is the number of coordinates"))

    @property
    def minimizers(self) -> Tensor:
        """Two of the 2^d minimizers: all ones and all minus ones."""
        one = torch.ones(1, self.dim, dtype=torch.float64)
        return torch.cat((one, -one))

    @property
    def saddles(self) -> Tensor:
        """For d > 1, the point between the wells in the last coordinate."""
        point = torch.ones(int(self.dim > 1), self.dim, dtype=torch.float64)
        point[:, -1] = 0
        return point

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """¼ Σ (x_i² − 1)²."""
        well = x * x - 1
        return (well * well).sum(-1) / 4


@dataclass(frozen=True)
class TanhNetwork:
    """f(u, v) = ½ tanh²(v tanh u): a two-layer network with one datum and a valley of minima {v = 0}.

    Source: Example 4.1 of Zhou et al., "Sharpness-Aware Minimization Efficiently Selects Flatter Minima
    Late in Training" (ICLR 2025), read in the authors' slides.  The Hessian on v = 0 is diag(0, tanh² u).
    """

    @property
    def dim(self) -> int:
        """2."""
        return 2

    @property
    def minimizers(self) -> Tensor:
        """Three points of the valley v = 0 (of u = 0 too, where the Hessian vanishes)."""
        return torch.tensor([[0.0, 0.0], [1.0, 0.0], [-0.5, 0.0]], dtype=torch.float64)

    @property
    def saddles(self) -> Tensor:
        """None: f >= 0 and all its critical points are minima."""
        return torch.zeros(0, 2, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """½ tanh²(v tanh u)."""
        output = torch.tanh(x[..., 1] * torch.tanh(x[..., 0]))
        return output * output / 2


def dimension_of(f: Landscape) -> int | None:
    """The landscape's ``dim`` where it knows one."""
    return getattr(f, "dim", None)


def points_of(points: Tensor | None, dim: int | None) -> Tensor:
    """Known points as rows (K, d), none for None; raises ``ValueError`` for another shape."""
    if points is None:
        return torch.zeros(0, dim or 0, dtype=torch.float64)
    points = as_floats("known points", points)
    if points.ndim != 2 or (dim is not None and points.shape[1] != dim):
        raise ValueError(f"known points must be rows (K, {dim}), got shape {tuple(points.shape)}.")
    return points


def require_landscape(f: Landscape, x: Tensor) -> None:
    """Raise unless f accepts points like ``x (d,)`` and obeys the shape law ``(..., d) -> (...)``."""
    dim = dimension_of(f)
    if dim is not None and x.shape[-1] != dim:
        raise ValueError(f"x0 must have last dimension {dim}, that of {type(f).__name__}, got {x.shape[-1]}.")
    points = x.expand(2, 3, -1).clone()
    try:
        value = f(points)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        hint = ". Write torch.where(condition, a, b) for an if." if said.startswith("Boolean value of Tensor") else ""
        raise ValueError(
            f"the landscape failed on points of shape (2, 3, {x.shape[-1]}): {type(error).__name__}: {said}{hint}"
        ) from error
    require_values(value, x.expand(2, 3, -1))
    written = not points.is_inference() and points._version > 0  # also where the numbers stayed
    if written or not torch.equal(points, x.expand(2, 3, -1)):
        raise ValueError("the landscape must not write into its argument, and it does: write x = x + 1 for x += 1.")


def require_values(value: object, points: Tensor) -> None:
    """Raise unless a landscape's value at points ``(..., d)`` is one real number a point."""
    shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
    if shape != points.shape[:-1]:
        raise ValueError(
            f"the landscape must map (..., d) to (...): given points of shape {tuple(points.shape)} it returned "
            f"{shape} instead of {tuple(points.shape[:-1])}. Did a sum or mean miss dim=-1?"
        )
    if isinstance(value, Tensor) and value.is_complex():
        raise ValueError(f"the landscape must be real, got {value.dtype}: take .real, or .abs() of its result.")
