"""Platen's explicit scheme of weak order 2 for any number of noises, for validation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arguments import require_positive
from ..problems.calculus import Scalar
from ..problems.noise import Product, ThreePoint, TwoPoint
from .integrators import Integrator
from .sde import SDE

__all__ = ["Platen", "platen"]


class Platen(Integrator):
    """Weak order 2 in h for any dX = a dt + Σ_j b_j dW_j; see ``platen``."""

    @property
    def noise(self) -> Product:  # pyright: ignore[reportIncompatibleMethodOverride]
        """M three-point increments, and one sign for each pair of noises."""
        m = self.sde.noise_dim
        return Product(ThreePoint(m), TwoPoint(m * (m - 1) // 2))

    def advance(self, state: Tensor, z: tuple[Tensor, Tensor]) -> Tensor:
        """One step; 4 m² + 2 m + 2 evaluations of the coefficients."""
        h, Y = self.h, state
        dW, V = h**0.5 * z[0], h * _levy_signs(z[1], self.sde.noise_dim)
        a, b = self._at(Y)
        Euler = Y + h * a
        ahead, _ = self.sde.coefficients(Euler + (dW[..., None] * b).sum(-2))  # a(U)
        plus, minus = (self._own(Euler[..., None, :] + s * h**0.5 * b) for s in (1, -1))  # b_j(R±_j)
        up, down = (self._crossed(Y[..., None, :] + s * h**0.5 * b) for s in (1, -1))  # b_j(U±_r), axes (r, j)
        other = 1 - torch.eye(self.sde.noise_dim, dtype=Y.dtype, device=Y.device)  # r ≠ j
        mixed = (other[..., None] * (up + down - 2 * b[..., None, :, :])).sum(-3)
        products = other * (dW[..., :, None] * dW[..., None, :] + V)
        first = (dW[..., None] * (plus + minus + 2 * b + mixed)).sum(-2) / 4  # the mixed difference has no h^-1/2
        second = ((dW * dW - h)[..., None] * (plus - minus)).sum(-2) + (products[..., None] * (up - down)).sum((-3, -2))
        return Y + h / 2 * (ahead + a) + first + second / (4 * h**0.5)

    def _at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A(x) and all columns b_j(x), (..., m, d)."""
        m = self.sde.noise_dim
        drift, _ = self.sde.coefficients(x)
        return drift, self._own(x[..., None, :].expand(*x.shape[:-1], m, x.shape[-1]).clone())

    def _own(self, points: Tensor) -> Tensor:
        """b_j at the j-th of m points, (..., m, d)."""
        _, diffusion = self.sde.coefficients(points)
        m = self.sde.noise_dim
        basis = torch.eye(m, dtype=points.dtype, device=points.device).expand(*points.shape[:-1], m)
        return diffusion(basis)  # pyright: ignore[reportOptionalCall]

    def _crossed(self, points: Tensor) -> Tensor:
        """b_j at every one of m points, (..., r, j, d)."""
        m = self.sde.noise_dim
        return self._own(points[..., :, None, :].expand(*points.shape[:-1], m, points.shape[-1]).clone())


def _levy_signs(signs: Tensor, m: int) -> Tensor:
    """V_rj/h: one sign for each pair above the diagonal, its opposite below, −1 on it."""
    V = -torch.eye(m, dtype=signs.dtype, device=signs.device).expand(*signs.shape[:-1], m, m).clone()
    if m > 1:
        row, column = torch.triu_indices(m, m, offset=1, device=signs.device)
        V[..., row, column], V[..., column, row] = signs, -signs
    return V


def platen(sde: SDE, h: Scalar) -> Platen:
    """Platen's explicit weak scheme with step h, order 2 for any diffusion and any number m of noises.

    The increments are three-point, and V_rj = ±h with V_jr = −V_rj stands for the Lévy areas.  With
    U = Y + a h + Σ b_j dW_j,  R±_j = Y + a h ± b_j √h,  U±_r = Y ± b_r √h:

        Y⁺ = Y + h/2 (a(U) + a) + ¼ Σ_j {[b_j(R⁺_j) + b_j(R⁻_j) + 2b_j] + Σ_{r≠j} [b_j(U⁺_r) + b_j(U⁻_r) − 2b_j]} dW_j
               + 1/(4√h) Σ_j {[b_j(R⁺_j) − b_j(R⁻_j)](dW_j² − h) + Σ_{r≠j} [b_j(U⁺_r) − b_j(U⁻_r)](dW_j dW_r + V_rj)}

    Its noise is not normal, so it cannot be coupled with an optimizer: for laws and checks.

    Raises
    ------
    ValueError
        For an ODE (use ``heun``), or h <= 0.

    Source: Kloeden and Platen 1992, chapter 15.1 (recalled); verified to order 2 for this project.
    """
    h = require_positive("h", h, "it is the integrator's step in model time")
    if sde.noise_dim == 0:
        raise ValueError("platen integrates an SDE, got noise_dim = 0: use heun for an ODE.")
    return Platen(sde, h)
