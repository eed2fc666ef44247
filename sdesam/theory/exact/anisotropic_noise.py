r"""The normalised stochastic gradient under Gaussian noise of any covariance, as one-dimensional integrals.

W = m + Z with Z ~ N(0, Σ), v = W/|W|, P = (I − v vᵀ)/|W| the derivative of v.  Writing 1/|W| = (2/√π) ∫ e^{−t²|W|²} dt
and 1/|W|² = ∫ e^{−t²|W|²} 2t dt, and taking the Gaussian expectation, with R = (I + 2t²Σ)⁻¹ and
E(t) = det(R)^½ e^{−t² mᵀR m}:

    E v    = (2/√π) ∫ E(t) R m dt,           E P = (2/√π) ∫ E(t) (R − 2t² R m mᵀ R) dt,
    E v vᵀ = ∫ E(t) (RΣ + R m mᵀ R) 2t dt,   E|W| = m·E v + tr(Σ E P),        Cov(∇f_γ, v) = Σ E P  (Stein).

Cov v = E[P] Σ E[P] + R_v with R_v ≥ 0, what of v is not linear in Z.  In the eigenbasis of Σ every matrix is diagonal
but for rank one.  The substitution t = c e^{u − e^{−u}} makes the integrands entire on a strip and decay fast on both
sides, whatever the spread of Σ's eigenvalues, so the trapezoidal rule converges exponentially.

Source: derived for this project; for Σ = s² I see ``gaussian_noise``, which is faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...arguments import require_positive

__all__ = ["AnisotropicDirection", "AnisotropicLaw", "anisotropic_direction"]

_LEFT = 3.55  # e^{u − e^{−u}} at u = −3.55 is below 1e-16: nothing is to the left of it


@dataclass(frozen=True, eq=False)
class AnisotropicLaw:
    """Moments at a batch of means m ``(..., d)``.

    Attributes
    ----------
    length : E|W|, shape (...)
    mean : E v, shape (..., d)
    projection : E P, shape (..., d, d), symmetric
    second : E v vᵀ, shape (..., d, d)
    covariance : Σ itself, (d, d)
    """

    length: Tensor
    mean: Tensor
    projection: Tensor
    second: Tensor
    covariance: Tensor

    def project(self, w: Float[Tensor, "*more d"]) -> Float[Tensor, "*more d"]:
        """E[P] w."""
        return (self.projection @ w[..., None])[..., 0]

    def cross(self) -> Float[Tensor, "*batch d d"]:
        """S̄ = Cov(∇f_γ, v) = Σ E P; not symmetric unless the two commute."""
        return self.covariance @ self.projection

    def covariance_of_direction(self) -> Float[Tensor, "*batch d d"]:
        """Cov v."""
        return self.second - self.mean[..., :, None] * self.mean[..., None, :]

    def residual(self) -> Float[Tensor, "*batch d d"]:
        """R_v = Cov v − E[P] Σ E[P]."""
        return self.covariance_of_direction() - self.projection @ self.covariance @ self.projection

    def residual_root(self, w: Float[Tensor, "*more d"]) -> Float[Tensor, "*more d"]:
        """R_v^½ w with the symmetric root; eigenvalues that rounding made negative count as 0."""
        values, vectors = torch.linalg.eigh(self.residual())
        inner = (vectors.mT @ w[..., None])[..., 0]
        return (vectors @ (values.clamp(min=0).sqrt() * inner)[..., None])[..., 0]


@dataclass(frozen=True, eq=False)
class AnisotropicDirection:
    """The map m ↦ ``AnisotropicLaw`` of one covariance, by a fixed trapezoidal rule."""

    basis: Tensor  # columns: eigenvectors of Σ
    eigenvalues: Tensor
    tau: Tensor  # t = c·tau, c from m
    weights: Tensor  # of dt/c

    def __call__(self, m: Float[Tensor, "*batch d"]) -> AnisotropicLaw:
        """The law at m: about K d² operations a point, K the number of nodes."""
        U, lam = self.basis.to(m), self.eigenvalues.to(m)
        a = (m @ U)[..., None, :]  # (..., 1, d): m in the eigenbasis, against K nodes
        c = (2 * lam.max() + (m * m).sum(-1, keepdim=True)).rsqrt()
        t = c * self.tau.to(m)
        twice = 2 * (t * t)[..., None]
        R = 1 / (1 + twice * lam)
        Rm = R * a
        density = R.prod(-1).sqrt() * torch.exp(-(t * t) * (Rm * a).sum(-1)) * (c * self.weights.to(m))
        first, second = 2 / math.sqrt(math.pi) * density, 2 * t * density
        mean = (first[..., None] * Rm).sum(-2)
        across, along = (first[..., None] * R).sum(-2), (Rm * (first[..., None] * twice)).mT @ Rm
        projection = _turned(U, torch.diag_embed(across) - along)
        spread = torch.diag_embed((second[..., None] * R).sum(-2) * lam) + (Rm * second[..., None]).mT @ Rm
        covariance = U * lam @ U.T
        length = (a[..., 0, :] * mean).sum(-1) + (covariance * projection).sum((-2, -1))
        return AnisotropicLaw(length, mean @ U.T, projection, _turned(U, spread), covariance)


def _turned(U: Tensor, matrix: Tensor) -> Tensor:
    turned = U @ matrix @ U.T
    return (turned + turned.mT) / 2


def anisotropic_direction(factor: Float[Tensor, "d m"], *, accuracy: float = 1e-12) -> AnisotropicDirection:
    """The law of the direction of m + L z, z ~ N(0, I), for a factor L ``(d, m)`` with Σ = L Lᵀ.

    Parameters
    ----------
    accuracy : of E|W|, E v, E P and E v vᵀ relative to their size; it sets the number of nodes, about 200 for 1e-12 and
        60 for 1e-5

    Raises
    ------
    ValueError
        For L = 0: without noise the direction is not random.

    Notes
    -----
    A singular Σ is allowed.  When its rank is one and m lies in its range, E P is infinite across the range; the rule
    then returns a large finite number.
    """
    accuracy = require_positive("accuracy", accuracy, "it is the quadrature's relative error")
    left, singular, _ = torch.linalg.svd(factor.to(torch.float64), full_matrices=True)
    lam = torch.zeros(len(factor), dtype=torch.float64)
    lam[: len(singular)] = singular**2
    top = float(lam.max())
    if not top > 0:
        raise ValueError("factor must not be 0: the direction of a gradient without noise is not random.")
    positive = lam[lam > top * 1e-30]
    lam = torch.where(lam > top * 1e-30, lam, 0.0)
    rank, d = len(positive), len(lam)
    decay = d if rank == d else max(1, rank - 1)  # the slowest integrand falls like t^-decay
    digits = math.log(1 / accuracy)
    right = 2.2 + 0.5 * math.log(top / float(positive.min())) + digits / decay
    h = math.pi**2 / (3 * digits)  # the strip of analyticity is at least pi/4 wide on either side; 1.5 for safety
    u = torch.arange(-_LEFT, right, h, dtype=torch.float64)
    tau = torch.exp(u - torch.exp(-u))
    return AnisotropicDirection(left, lam, tau, h * tau * (1 + torch.exp(-u)))
