"""Landscapes built for their saddles and their valleys of minima, with the known points as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..arguments import as_floats, is_traced, require_count, require_finite, require_positive, set_fields, stacked
from .calculus import Scalar
from .landscapes import Landscape, LogCosh, dimension_of, require_both_signs

__all__ = ["EmbeddedSaddle", "LinearAutoencoder", "ProductValley", "Rotated", "WenValley", "rotation"]


@dataclass(frozen=True)
class EmbeddedSaddle:
    """f(x) = ½ Σ λ_i x_i² + lam Σ x_i⁴: a saddle at the origin between 2^k minima, k the negative eigenvalues.

    At the minima x_i² = −λ_i/(4 lam) where λ_i < 0, x_i = 0 elsewhere; the Hessian there is −2 λ_i and λ_i.

    Parameters
    ----------
    eigenvalues : λ (d,), of both signs
    lam : the strength of the quartic, > 0

    Raises
    ------
    ValueError
        For eigenvalues of one sign, or lam <= 0: the landscape would be unbounded below.

    Source: after Lucchi et al. 2021, as used by Monzio Compagnoni et al. 2023 (recalled).  For ½ xᵀ H x with a
    dense H, rotate it: the quartic then acts on H's eigencoordinates.
    """

    eigenvalues: tuple[Scalar, ...] = (1.0, -1.0)
    lam: Scalar = 0.01

    def __post_init__(self) -> None:
        lam = require_positive("lam", self.lam, "without the quartic the saddle is unbounded below")
        set_fields(self, eigenvalues=require_both_signs(self.eigenvalues), lam=lam)

    @property
    def dim(self) -> int:
        """The dimension d."""
        return len(self.eigenvalues)

    @property
    def minimizers(self) -> Tensor:
        """Two of the 2^k minimizers: all signs plus, and all signs minus."""
        square = torch.tensor([max(0.0, -e / (4 * self.lam)) for e in self.eigenvalues], dtype=torch.float64)
        return torch.stack((square.sqrt(), -square.sqrt()))

    @property
    def saddles(self) -> Tensor:
        """The origin."""
        return torch.zeros(1, self.dim, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """½ Σ λ_i x_i² + lam Σ x_i⁴."""
        square = x * x
        half = stacked(self.eigenvalues, x.dtype, x.device) / 2
        return ((half + self.lam * square) * square).sum(-1)


def rotation(angle: Scalar) -> Float[Tensor, "2 2"]:
    """The rotation of the plane by ``angle`` radians.

    >>> rotation(0.0).tolist()
    [[1.0, -0.0], [0.0, 1.0]]
    """
    angle = require_finite("angle", angle, "it is in radians")
    c, s = (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (math.cos(angle), math.sin(angle))
    return stacked([[c, -s], [s, c]], torch.float64)


@dataclass(frozen=True, eq=False)
class Rotated:
    """f(Qᵀx): a landscape turned by an orthogonal Q, so that nothing is aligned with the axes.

    Parameters
    ----------
    landscape : f, with its known points, which are turned too
    Q : (d, d) orthogonal matrix; ``rotation(angle)`` in the plane

    Raises
    ------
    ValueError
        When Q is not orthogonal to rounding.
    """

    landscape: Landscape
    Q: Float[Tensor, "d d"]

    def __init__(self, landscape: Landscape, Q: Tensor | np.ndarray | Sequence) -> None:
        Q = as_floats("Q", Q)
        if Q.ndim != 2 or Q.shape[0] != Q.shape[1] or dimension_of(landscape) not in (None, Q.shape[0]):
            raise ValueError(f"Q must be (d, d) with d = {dimension_of(landscape)}, got shape {tuple(Q.shape)}.")
        if not is_traced(Q):
            _require_orthogonal(Q)
        object.__setattr__(self, "landscape", landscape)
        object.__setattr__(self, "Q", Q)

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.Q.shape[0]

    @property
    def minimizers(self) -> Tensor:
        """The turned minimizers of f."""
        return self._turned("minimizers")

    @property
    def saddles(self) -> Tensor:
        """The turned saddles of f."""
        return self._turned("saddles")

    def _turned(self, kind: str) -> Tensor:
        return getattr(self.landscape, kind, self.Q[:0]).to(self.Q) @ self.Q.T

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """f(Qᵀx)."""
        return self.landscape(x @ self.Q.to(x))


def _require_orthogonal(Q: Tensor) -> None:
    error = float((Q @ Q.T - torch.eye(len(Q)).to(Q)).abs().max())
    if not error <= 16 * len(Q) * torch.finfo(Q.dtype).eps:
        raise ValueError(f"Q must be orthogonal, |Q Qᵀ − I| is up to {error:.2g}: else f is stretched, not turned.")


def _log_cosh(s: Tensor) -> Tensor:
    return LogCosh(1)(s[..., None])


@dataclass(frozen=True)
class ProductValley:
    """f(x, y) = l(x y): a hyperbola (or a cross) of minima, whose sharpness is l''·(x² + y²).

    Parameters
    ----------
    ell : l, elementwise, smooth, with its only minimum at ``bottom``; by default log cosh(s − bottom)
    bottom : the minimizer of l.  With 0 the minima are the axes, and the valley x = 0 has curvature l''(0) y²;
        with any other number they are the hyperbola x y = bottom, and the origin is a saddle

    Source: Dai, Ahn and Sra 2023 (recalled; even l); (x y − 1)²/2 in Bolte, Le and Pauwels 2025.
    """

    ell: Callable[[Tensor], Tensor] | None = None
    bottom: Scalar = 0.0

    def __post_init__(self) -> None:
        set_fields(self, bottom=require_finite("bottom", self.bottom, "it is where l is smallest"))
        if is_traced(self.bottom):
            return
        slope = torch.func.grad(self._of)(torch.tensor(self.bottom, dtype=torch.float64))
        if not abs(float(slope)) <= 1e-8:
            raise ValueError(f"bottom must be the minimizer of ell, at {self.bottom} its slope is {float(slope):.3g}.")

    def _of(self, s: Tensor) -> Tensor:
        return _log_cosh(s - self.bottom) if self.ell is None else self.ell(s)

    @property
    def dim(self) -> int:
        """2."""
        return 2

    @property
    def minimizers(self) -> Tensor:
        """Three points of the valley."""
        rows = [[self.bottom / y, y] for y in (1.0, 2.0, -0.5)]
        return torch.tensor(rows, dtype=torch.float64)

    @property
    def saddles(self) -> Tensor:
        """The origin, unless the bottom is 0."""
        return torch.zeros(int(self.bottom != 0), 2, dtype=torch.float64)

    def __call__(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The value l(x y)."""
        return self._of(x[..., 0] * x[..., 1])


@dataclass(frozen=True)
class WenValley:
    """f(x) = F₁ x₃² + F₂ x₄², F₁ = x₁² + 6x₂² + 8, F₂ = 4(1 − x₁)² + (1 − x₂)² + 1: a plane of minima.

    On x₃ = x₄ = 0 the Hessian's nonzero eigenvalues are 2F₁ and 2F₂ (twice those of the source's caption).  Full-batch
    SAM drifts towards the minimum of F₁, (0, 0), one-sample SAM towards that of F₁ + F₂, (0.8, 1/7).

    Source: Wen, Ma and Li 2023, Figure 1 and its appendix; F₁ and F₂ are recalled, not re-read.
    """

    @property
    def dim(self) -> int:
        """4."""
        return 4

    @property
    def minimizers(self) -> Tensor:
        """The points of the plane where F₁, F₂ and F₁ + F₂ are smallest."""
        return torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [0.8, 1 / 7, 0, 0]], dtype=torch.float64)

    @property
    def saddles(self) -> Tensor:
        """None: f >= 0 and it vanishes at all its critical points."""
        return torch.zeros(0, 4, dtype=torch.float64)

    def terms(self, x: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 2"]:
        """F₁ x₃² and F₂ x₄², the two samples of one-sample SAM (whose mean loss is half of f)."""
        a, b, c, d = x.unbind(-1)
        first = (a * a + 6 * b * b + 8) * c * c
        second = (4 * (1 - a) ** 2 + (1 - b) ** 2 + 1) * d * d
        return torch.stack((first, second), -1)

    def __call__(self, x: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
        """F₁ x₃² + F₂ x₄²."""
        return self.terms(x).sum(-1)


@dataclass(frozen=True)
class LinearAutoencoder:
    """f(W₁, W₂) = ½ |(W₂W₁ − I) C^½|² (Frobenius), C = diag(variances): x holds W₁ (k, p) and then W₂ (p, k).

    The minima project on the k largest variances; the origin is a saddle with eigenvalues ±variances, and so is every
    projection that misses a direction.

    Parameters
    ----------
    variances : the p variances of the data, in any order
    bottleneck : k < p

    Source: after Kunin et al. 2019, as used by Monzio Compagnoni et al. 2023 (recalled).
    """

    variances: tuple[float, ...] = (1.0, 1.0, 1.0)
    bottleneck: int = 1

    def __post_init__(self) -> None:
        values = tuple(require_positive("variances", v, "they are those of the data") for v in self.variances)
        bottleneck = require_count("bottleneck", self.bottleneck, least=1, why="it is the width of the hidden layer")
        if bottleneck >= len(values):
            raise ValueError(
                f"variances must be more than bottleneck = {bottleneck} positive numbers, got {values}: "
                "else nothing is compressed."
            )
        set_fields(self, variances=values, bottleneck=bottleneck)

    @property
    def dim(self) -> int:
        """2 k p."""
        return 2 * self.bottleneck * len(self.variances)

    @property
    def minimizers(self) -> Tensor:
        """The projection on the k largest variances, W₂ = W₁ᵀ."""
        return self._projection(self.bottleneck)[None]

    @property
    def saddles(self) -> Tensor:
        """The origin, and for k > 1 the projection on the k − 1 largest variances."""
        ranks = sorted({0, self.bottleneck - 1})
        return torch.stack([self._projection(rank) for rank in ranks])

    def _projection(self, rank: int) -> Tensor:
        largest = np.argsort(-np.array(self.variances), kind="stable")[:rank]
        first = torch.zeros(self.bottleneck, len(self.variances), dtype=torch.float64)
        first[torch.arange(rank), torch.from_numpy(largest)] = 1
        return torch.cat((first.reshape(-1), first.T.reshape(-1)))

    def __call__(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """½ |(W₂W₁ − I) C^½|²."""
        p, k = len(self.variances), self.bottleneck
        first, second = x[..., : k * p].unflatten(-1, (k, p)), x[..., k * p :].unflatten(-1, (p, k))
        error = second @ first - torch.eye(p, dtype=x.dtype, device=x.device)
        return (error * error @ torch.tensor(self.variances, dtype=x.dtype, device=x.device)).sum(-1) / 2
