"""Formulas of this package as arithmetic on tensors, so that they can be traced and follow sliders.

Each is another writing of a function in ``closed_forms`` or ``saddles_and_exits``, which says its source, and the tests
hold the two equal.  Arguments are 0-dim tensors or numbers; curvatures ``lam (..., k)`` are those of the directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...problems.calculus import Scalar, norm
from ..exact.gaussian_noise import covariance, direction_law, effective_radius_factor

__all__ = [
    "capture_boundary", "effective_rho", "exit_step", "sam_axis_coefficients", "sam_stationary_level",
    "stability_limit", "usam_axis_coefficients", "usam_second_moment", "usam_stationary_level",
]  # fmt: skip

_SMALL = 0.02  # below, (x − 1 + e^−x)/x² is taken from its series, to 1e-10


def effective_rho(rho: Scalar, sigma: Scalar, d: int) -> Scalar:
    """The radius rho A_d/sigma of the USAM that SAM is where |∇f| ≪ sigma √d."""
    return rho * effective_radius_factor(d) / sigma


def stability_limit(lam: Tensor, rho: Scalar) -> Tensor:
    """The eta below which USAM contracts along curvature lam > 0: 2/(lam (1 + rho lam)); rho = 0 is SGD."""
    return 2 / (lam * (1 + rho * lam))


def usam_second_moment(square: Tensor, lam: Tensor, *, eta: Scalar, rho: Scalar, sigma: Scalar) -> Tensor:
    """E y² after one USAM step along curvature lam: (1 − eta lam a)² E y² + eta² a² sigma², a = 1 + rho lam.

    Exact on quadratics, saddles included; rho = 0 is SGD.
    """
    a = 1 + rho * lam
    return (1 - eta * lam * a) ** 2 * square + (eta * a * sigma) ** 2


def usam_stationary_level(lam: Tensor, *, eta: Scalar, rho: Scalar, sigma: Scalar) -> Tensor:
    """``usam_stationary_loss`` with ``discrete``: (eta/4) Σ sigma² a/(1 − eta lam a/2); rho = 0 is SGD."""
    a = 1 + rho * lam
    return eta / 4 * (sigma**2 * a / (1 - eta * lam * a / 2)).sum(-1)


def sam_stationary_level(lam: Tensor, *, eta: Scalar, rho: Scalar, sigma: Scalar) -> Tensor:
    """``sam_stationary_loss``: for small eta, d = the number of directions."""
    d = lam.shape[-1]
    A = effective_radius_factor(d)
    top = sigma**2 + 2 * rho * sigma * A * lam + rho**2 * lam**2 / d
    return eta / 4 * (top / (1 + rho * A * lam / sigma)).sum(-1)


def capture_boundary(direction: Tensor, response: Tensor, mu: Scalar, rho: Scalar) -> Tensor:
    """Where the ray along ``direction`` leaves |H x| < rho mu (``dnsam_capture_radius``); response = H direction."""
    return direction * (rho * mu / norm(response))[..., None]


# ----------------------------------------------------------------- the mean exit time, one cell after another
def usam_axis_coefficients(
    y: Tensor, *, mu: Scalar, eta: Scalar, rho: Scalar, sigma: Scalar
) -> tuple[Tensor, Scalar | Tensor]:
    """Drift and variance rate along an axis of curvature −mu: those in ``usam_axis_exit_time``; rho = 0 is SGD."""
    a = 1 - rho * mu
    return mu * a * y, eta * (sigma * a) ** 2 + 0 * y


def sam_axis_coefficients(
    y: Tensor, *, mu: Scalar, eta: Scalar, rho: Scalar, sigma: Scalar, d: int = 2, accuracy: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """Drift and variance rate along an axis of curvature −mu: those in ``sam_axis_exit_time``, y of shape (...)."""
    m = torch.cat((-(mu * y)[..., None], torch.zeros(*y.shape, d - 1, dtype=y.dtype)), -1)
    law = direction_law(m, sigma, accuracy)
    cross = sigma**2 * law.along[..., 0]
    spread = covariance(law, sigma)[..., 0, 0]
    return (
        mu * y + rho * mu * law.mean[..., 0],
        eta * (sigma**2 - 2 * rho * mu * cross + rho**2 * mu**2 * spread),
    )


def exit_step(b: Tensor, a: Tensor, h: Tensor, U: Tensor, T: Tensor) -> tuple[Tensor, Tensor]:
    """One cell of length h of the mean exit time T(A) = ∫₀^A U, U' = 2/a − (2 b/a) U, U(0) = 0.

    b and a are taken at the middle of the cell and held: exact for constant ones, O(h²) in all.  From T = U = 0 at
    y = 0, cells up to A give ``mean_exit_time``.
    """
    x = 2 * b / a * h
    near = x.abs() < _SMALL
    safe = torch.where(near, torch.ones_like(x), x)
    first = torch.where(near, 1 - x / 2 + x * x / 6, -torch.expm1(-safe) / safe)  # ∫ e^{−x s}
    second = torch.where(near, 0.5 - x / 6 + x * x / 24, (1 - first) / safe)  # ∫∫ e^{−x s}
    return (1 - x * first) * U + 2 / a * h * first, T + h * (first * U + 2 / a * h * second)
