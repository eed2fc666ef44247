r"""The normalised stochastic gradient under isotropic Gaussian noise, in closed form.

W = m + Z with Z ~ N(0, s² I_d) is a gradient seen through noise, v = W/|W| its direction and
P = (I − v vᵀ)/|W| the derivative of v.  SAM's SDE needs E|W|, E v, E P and Cov v.  Writing
1/|W| = (2/√π) ∫ exp(−t²|W|²) dt, taking the Gaussian expectation and substituting
t = tan θ/(√2 s) leaves, with q = |m|²/(2s²), one-dimensional integrals of a bounded function:

    j(q) = √(2/π) ∫₀^{π/2} cos^d θ e^{−q sin² θ} dθ,                  E v  = j m/s,
    l(q) = √(2/π) (d−1) ∫₀^{π/2} sin² θ cos^{d−2} θ e^{−q sin² θ} dθ, E P  has eigenvalues j/s across m, l/s along it
           (√(2/π) e^{−q} for d = 1),                                 E|W| = m·E v + s² tr E P,
    K(q) = ∫₀^{π/2} sin θ cos^{d−1} θ e^{−q sin² θ} dθ,               E[(v·e)²] = K for a unit e ⊥ m.

Cov v = E[P] s² E[P] + R, where R ≥ 0 is what of v is not linear in Z (Stein's lemma); R has the
eigenvalue K − j² across m and 1 − (d−1)K − 2q j² − l² along it.

Source: derived for this project, checked against 1F1 formulas and simulation; the paper has the
Laguerre form of E|W| (recalled, not re-read).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ...arguments import require_count, require_positive
from ...problems.calculus import Scalar, unit
from ...problems.quadrature import FIFTY_DIGITS
from .chebyshev import PI, HalfLineInterpolant, interpolate, kummer

__all__ = ["DirectionLaw", "direction_law", "effective_radius_factor", "tables"]

TOLERANCE = 1e-13  # relative, of j and l
RESIDUAL_TOLERANCE = 1e-11  # of R's eigenvalues: differences of numbers near 1, they enter times rho²


@dataclass(frozen=True, eq=False)
class DirectionLaw:
    """Moments of W = m + Z, v = W/|W| and P = (I − v vᵀ)/|W|, at a batch of means m ``(..., d)``.

    Attributes
    ----------
    length : E|W|, shape (...)
    mean : E v, shape (..., d)
    along, across : eigenvalues of E P along m and across it, shape (..., 1)
    residual_along, residual_across : eigenvalues of R = Cov v − s² (E P)², shape (..., 1)
    axis : m/|m|, shape (..., d), and 0 where m = 0 (there the two eigenvalues of each pair agree)
    """

    length: Tensor
    mean: Tensor
    along: Tensor
    across: Tensor
    residual_along: Tensor
    residual_across: Tensor
    axis: Tensor

    def project(self, w: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """E[P] w."""
        return self._apply(self.across, self.along, w)

    def residual_root(self, w: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """R^½ w, the symmetric root."""
        return self._apply(self.residual_across.sqrt(), self.residual_along.sqrt(), w)

    def _apply(self, across: Tensor, along: Tensor, w: Tensor) -> Tensor:
        return across * w + (along - across) * self.axis * (self.axis * w).sum(-1, keepdim=True)


def direction_law(m: Float[Tensor, "*batch d"], s: Scalar, accuracy: float = TOLERANCE) -> DirectionLaw:
    """Moments of the direction of W = m + N(0, s² I): the formulas in the module's docstring.

    Parameters
    ----------
    accuracy : relative, of the tabulated functions; 1e-8 is half the arithmetic of the default

    Notes
    -----
    Accuracy in float64 about 1e-13 relative for E|W|, E v and E P at any d and q (for d = 1 relative to the largest
    value of E P, whose tail along m is exponentially small); about 1e-13 absolute for R.

    Raises
    ------
    ValueError
        When s is not > 0: without noise the direction is not random (use ``unit``).
    """
    s = require_positive("s", s, "the direction of a gradient without noise is not random")
    accuracy = require_positive("accuracy", accuracy, "it is that of the tabulated functions")
    d = m.shape[-1]
    ratio = m / s
    j, along, *residuals = (value[..., None] for value in tables(d, accuracy)((ratio * ratio).sum(-1) / 2))
    residual_across, residual_along = (r.clamp(min=0) for r in residuals)
    mean = j * ratio
    length = (mean * m).sum(-1) + s * ((d - 1) * j + along).squeeze(-1)
    return DirectionLaw(length, mean, along / s, j / s, residual_along, residual_across, unit(m))


def effective_radius_factor(d: int) -> float:
    """A_d = Γ((d+1)/2)/(√2 Γ(d/2+1)), about 1/√d: where |∇f| ≪ s√d, SAM acts as USAM of radius rho A_d/s.

    >>> [round(effective_radius_factor(d), 4) for d in (1, 2, 20, 100)]
    [0.7979, 0.6267, 0.2208, 0.0998]
    """
    d = require_count("d", d, least=1, why="it is the dimension of the gradient noise")
    return float(_radius_factor(d))


def covariance(law: DirectionLaw, s: Scalar) -> Float[Tensor, "*batch d d"]:
    """Cov v = s² (E P)² + R as a matrix, for small d and for checks."""
    s = require_positive("s", s, "the direction of a gradient without noise is not random")
    across = s * s * law.across**2 + law.residual_across
    along = s * s * law.along**2 + law.residual_along
    outer = law.axis[..., :, None] * law.axis[..., None, :]
    identity = torch.eye(outer.shape[-1], dtype=outer.dtype, device=outer.device)
    return across[..., None] * identity + (along - across)[..., None] * outer


@lru_cache(maxsize=64)
def tables(d: int, accuracy: float) -> HalfLineInterpolant:
    """J ~ q^-½, l ~ q^-3/2 and the eigenvalues of R across and along m, both ~ q^-2; the same bits on every machine.

    The integrals are j = A_d M(½, b, −q), l = A_d M(3/2, b, −q) and K = M(1, b, −q)/d with Kummer's M, b = d/2 + 1.
    """
    with localcontext(FIFTY_DIGITS):
        A, b, half = _radius_factor(d), Decimal(d) / 2 + 1, Decimal("0.5")
        root = A * Decimal(2).sqrt()  # Γ(b − ½)/Γ(b)
        first = kummer(half, b, 1 / root)
        second = kummer(1 + half, b, (b - 1 - half) / root)
        third = kummer(Decimal(1), b, b - 1)

    def values(q: Decimal) -> tuple[Decimal, ...]:
        j, along, K = A * first(q), A * second(q), third(q) / d
        return j, along, K - j * j, 1 - (d - 1) * K - 2 * q * j * j - along * along

    residual = max(accuracy, RESIDUAL_TOLERANCE)
    return interpolate(
        values,
        decay=(0.5, 1.5, 0.0, 0.0),
        scale=d + 8.0,
        tolerances=(accuracy, accuracy, residual, residual),
    )


@lru_cache(maxsize=64)
def _radius_factor(d: int) -> Decimal:
    """A_d to fifty digits: A_1 = √(2/π), A_2 = √(π/8), A_{d+2} = A_d (d+1)/(d+2)."""
    with localcontext(FIFTY_DIGITS):
        factor = (2 / PI).sqrt() if d % 2 else (PI / 8).sqrt()
        for k in range(1 + (d + 1) % 2, d, 2):
            factor *= Decimal(k + 1) / (k + 2)
        return factor
