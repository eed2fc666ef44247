"""Wrong models to plant: a check that has never been seen to fail says nothing.

Each takes the right model, or builds on the theorems', and breaks one thing.  A model is ``(g, eta, rho) -> SDE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dynamics.sde import SDE, LinearMap
from ..problems.calculus import grad, grad_and_hessian, unit
from ..problems.landscapes import Landscape
from ..problems.noise import Product
from ..problems.oracles import Oracle
from ..theory import monzio_compagnoni2023 as mc23
from ..theory.monzio_compagnoni2023 import as_printed as printed_forms
from ..theory.one_step import Model
from .by_grid.estimator import drift_and_covariance

__all__ = [
    "FreshDraws",
    "fresh_usam",
    "gaussian_direction",
    "mean_direction",
    "surrogate_direction",
    "transposed",
    "turned",
    "weaker_noise",
    "with_parts",
    "without_noise",
    "without_rho",
]  # fmt: skip

_NODES = 80  # Gauss-Legendre, of the integral for E v


def without_rho(g: Oracle, eta: float, rho: float) -> SDE:
    """The SDE of SGD, whatever the method."""
    return mc23.sgd_sde(g, eta=eta)


def with_parts(drift: Model, noise: Model) -> Model:
    """The drift of one model with the diffusion of another."""

    def model(g: Oracle, eta: float, rho: float) -> SDE:
        a, b = drift(g, eta, rho), noise(g, eta, rho)
        return replace(b, coefficients=lambda x: (a.coefficients(x)[0], b.coefficients(x)[1]))

    return model


def turned(right: Model) -> Model:
    """The sign of rho turned in the drift: 2 b(rho = 0) − b."""

    def model(g: Oracle, eta: float, rho: float) -> SDE:
        sde, plain = right(g, eta, rho), mc23.sgd_sde(g, eta=eta)

        def coefficients(x: Tensor) -> tuple[Tensor, LinearMap | None]:
            drift, diffusion = sde.coefficients(x)
            return 2 * plain.coefficients(x)[0] - drift, diffusion

        return replace(sde, coefficients=coefficients)

    return model


def weaker_noise(right: Model) -> Model:
    """√eta forgotten once more: covariance eta² Σ in place of eta Σ, as after dt for √dt."""

    def model(g: Oracle, eta: float, rho: float) -> SDE:
        sde = right(g, eta, rho)

        def coefficients(x: Tensor) -> tuple[Tensor, LinearMap | None]:
            drift, diffusion = sde.coefficients(x)
            return drift, None if diffusion is None else lambda dw: eta**0.5 * diffusion(dw)

        return replace(sde, coefficients=coefficients)

    return model


def without_noise(sde: SDE, *, like: SDE | None = None) -> SDE:
    """The same drift, no diffusion; it keeps the noise dimension (of ``like``), so that it can be coupled."""

    def coefficients(x: Tensor) -> tuple[Tensor, LinearMap]:
        drift, _ = sde.coefficients(x)
        return drift, lambda dw: torch.zeros_like(drift) + 0 * dw.sum(-1, keepdim=True)

    like = like or sde
    return SDE(coefficients, noise_dim=like.noise_dim, private_dim=like.private_dim, dim=sde.dim, row_size=sde.row_size)


def transposed(g: Oracle, eta: float, rho: float) -> SDE:
    """SAM with covariance Σ + rho(H S̄ + S̄ᵀ H) in place of Σ + rho(S̄ H + H S̄ᵀ)."""
    return printed_forms.sde_of_covariance(
        printed_forms.SAM, "transposed", _transposed_covariance, g, eta, rho, None, True
    )


def _transposed_covariance(m: printed_forms.Moments) -> Tensor:
    return m.Sigma + m.rho * (m.H @ m.Sbar + m.Sbar.mT @ m.H)


# ----------------------------------------------------------------- SAM on minibatches
def mean_direction(g: Oracle, eta: float, rho: float) -> SDE:
    """SAM on minibatches with rho H E v, as for additive noise, in place of rho E H_γ v."""
    z, w = g.noise.nodes(1)  # pyright: ignore[reportAttributeAccessIssue]

    def direction(x: Tensor) -> Tensor:
        points = x[..., None, :].expand(*x.shape[:-1], len(w), x.shape[-1]).clone()
        return (w[:, None] * unit(g(points, z))).sum(-2)  # pyright: ignore[reportArgumentType]

    return _with_direction(mc23.sam_sde(g, eta=eta, rho=rho), g.mean, rho, direction)


def surrogate_direction(g: Oracle, eta: float, rho: float) -> SDE:
    """SAM on minibatches with E v of Gaussian noise of their covariance: rho H E v, v the direction of N(∇f, Σ(x))."""
    plain = mc23.sgd_sde(g, eta=eta)

    def direction(x: Tensor) -> Tensor:
        return gaussian_direction(grad(g.mean)(x), drift_and_covariance(plain, x)[1] / eta)

    return _with_direction(mc23.sam_sde(g, eta=eta, rho=rho), g.mean, rho, direction)


def _with_direction(right: SDE, f: Landscape, rho: float, direction: Callable[[Tensor], Tensor]) -> SDE:
    def coefficients(x: Tensor) -> tuple[Tensor, LinearMap | None]:
        m, H = grad_and_hessian(f)(x)
        return -(m + rho * H(direction(x))), right.coefficients(x)[1]

    return replace(right, coefficients=coefficients)


def gaussian_direction(m: Tensor, Sigma: Tensor) -> Tensor:
    """E W/|W| for W ~ N(m, Σ), m (..., d) and Σ (..., d, d) batched.

        2/√π ∫_0^∞ det(I + 2t²Σ)^(−½) exp(−t² mᵀR m) R m dt,   R = (I + 2t²Σ)⁻¹,   t = tan θ/√(2 L)

    L is the largest eigenvalue of Σ; 80 Gauss-Legendre nodes in θ give about 1e-9.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    theta = torch.from_numpy((nodes + 1) * np.pi / 4)
    scale = (2 * torch.linalg.eigvalsh(Sigma)[..., -1]) ** -0.5
    t = theta.tan() * scale[..., None]
    speed = torch.from_numpy(weights * np.pi / 4) * scale[..., None] / theta.cos() ** 2
    matrix = torch.eye(m.shape[-1], dtype=m.dtype) + 2 * t[..., None, None] ** 2 * Sigma[..., None, :, :]
    rm = torch.linalg.solve(matrix, m[..., None, :].expand(*t.shape, m.shape[-1]))
    exponent = t**2 * (rm * m[..., None, :]).sum(-1)
    weight = speed * torch.linalg.det(matrix) ** -0.5 * torch.exp(-exponent)
    return 2 / torch.pi**0.5 * (weight[..., None] * rm).sum(-2)


# ----------------------------------------------------------------- another algorithm
@dataclass(frozen=True, eq=False)
class FreshDraws:
    """An oracle with two draws a step, for methods that draw anew at their second gradient: another algorithm."""

    g: Any

    @property
    def noise(self) -> Product:
        """Two draws."""
        return Product(self.g.noise, self.g.noise)

    @property
    def mean(self) -> Landscape:
        """The landscape."""
        return self.g.mean

    @property
    def dim(self) -> int | None:
        """The oracle's."""
        return self.g.dim

    def __call__(self, x: Tensor, z: Any) -> Tensor:
        """The gradient of the first draw."""
        return self.g(x, z[0])


def fresh_usam(g: FreshDraws, x: Tensor, z: tuple[Tensor, Tensor], *, rho: float) -> Tensor:
    """USAM with a fresh draw at the second gradient: g(x + rho g(x, z₁), z₂)."""
    return g.g(x + rho * g.g(x, z[0]), z[1])


def flipped(model: SDE) -> SDE:
    """The model with the sign of rho turned: the planted wrong model of many criteria."""
    coefficients = model.coefficients
    return replace(model, coefficients=replace(coefficients, rho=-coefficients.rho))  # pyright: ignore
