"""Who is trapped at a saddle, and how long an exit takes.

One unstable direction y with f_yy = −mu; noise of standard deviation sigma per coordinate; exit at |y| = A.
All formulas are derived for this project and checked by simulation; the paper states the traps qualitatively
(slides: SAM's regularisation may attract it to any critical point, saddles and maxima included).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import dawsn

from ...arguments import require_count, require_nonnegative, require_positive
from ..exact.gaussian_noise import covariance, direction_law, effective_radius_factor

__all__ = [
    "dnsam_capture_radius", "mean_exit_time", "sam_axis_exit_time", "sam_critical_rho",
    "usam_axis_exit_time", "usam_critical_rho",
]  # fmt: skip


def usam_critical_rho(mu: float) -> float:
    """USAM's saddle attracts iff 1 + rho lambda < 0 for every negative lambda: rho > 1/mu."""
    mu = require_positive("mu", mu, "it is the size of the negative curvature")
    return 1 / mu


def sam_critical_rho(mu: float, *, sigma: float, d: int) -> float:
    """SAM's saddle attracts (linearly, near it) iff rho A_d mu/sigma > 1; d is the noise's dimension.

    No step: exits above it are certain but take exp(O(1/eta)); see ``sam_axis_exit_time``.
    """
    mu = require_positive("mu", mu, "it is the size of the negative curvature")
    sigma = require_positive("sigma", sigma, "without noise SAM is trapped for every rho")
    return sigma / (effective_radius_factor(d) * mu)


def dnsam_capture_radius(mu: float, *, rho: float) -> float:
    """Full-batch SAM and DNSAM are drawn to the critical point from |H x| < rho mu, for any rho > 0."""
    mu = require_positive("mu", mu, "it is the size of the negative curvature")
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    return rho * mu


def usam_axis_exit_time(mu: float, *, eta: float, rho: float, sigma: float, A: float) -> float:
    """Mean time for USAM's SDE to reach |y| = A from y = 0; rho = 0 is SGD.

    (2/s²) ∫₀^A √(s²/k) D(y √(k/s²)) dy with k = mu(1 − rho mu), s² = eta sigma²(1 − rho mu)², D Dawson's
    function.  Exact for the SDE (an Ornstein-Uhlenbeck process); the discrete chain differs by O(eta).

    Raises
    ------
    ValueError
        When rho mu >= 1: the saddle attracts and the exit is no longer noise-started growth.
    """
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    why, sizes = "the exit time needs a saddle, noise and a distance", {"mu": mu, "eta": eta, "sigma": sigma, "A": A}
    mu, eta, sigma, A = (require_positive(name, value, why) for name, value in sizes.items())
    k, s2 = mu * (1 - rho * mu), eta * sigma**2 * (1 - rho * mu) ** 2
    if k <= 0:
        raise ValueError(f"rho·mu must be < 1, got {rho * mu:.4g}: USAM's saddle attracts.")
    unit = np.sqrt(s2 / k)  # the integrand varies on this length: eight Gauss points each
    panels = int(np.ceil(A / unit))
    offset, w = _legendre(0.0, A / panels, 8)
    y = np.arange(panels)[:, None] * (A / panels) + offset
    return float(2 / s2 * unit * (w * dawsn(y / unit)).sum())


def sam_axis_exit_time(
    mu: float, *, eta: float, rho: float, sigma: float, A: float, d: int, stable: float | None = None
) -> float:
    """Mean time for SAM's SDE to reach |y| = A from 0 along the unstable axis.

    b(y) = mu y − rho mu phi'(mu y),  a(y) = eta(sigma² − 2 rho mu sigma² phi''(mu y) + rho² mu² Var u_y), with
    phi(r) = E|∇f_γ| at |∇f| = r: the full covariance.

    Parameters
    ----------
    stable : curvature of a second coordinate, over whose stationary law N(0, v) near 0 drift and variance are averaged;
        without it that coordinate rests at 0.  Its excursions weaken the pull, which near rho A_d mu/sigma = 1 is a
        difference of nearly equal numbers: at mu = stable = 1, rho = 0.4, sigma = ¼, eta = 0.01 the time is 93.6
        instead of 96.9.  Derived; good where that coordinate relaxes faster than y leaves.
    """
    mu = require_positive("mu", mu, "it is the size of the negative curvature")
    eta = require_positive("eta", eta, "it is the learning rate")
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    sigma = require_positive("sigma", sigma, "without noise nothing leaves the axis")
    d = require_count("d", d, least=1 if stable is None else 2, why="it is the dimension of the gradient noise")
    slopes, weights = np.zeros(1), np.ones(1)
    if stable is not None:
        stable = require_positive("stable", stable, "only a coordinate that is drawn back has a stationary law")
        z, w = np.polynomial.hermite_e.hermegauss(8)
        x = z[z > 0] * _sam_spread(stable, eta=eta, rho=rho, sigma=sigma, d=d)  # the law depends on x² only
        slopes, weights = stable * x, w[z > 0] / w[z > 0].sum()

    def drift_and_variance(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [_sam_axis(y, slope, mu=mu, eta=eta, rho=rho, sigma=sigma, d=d) for slope in slopes]
        drift, variance = (sum(w * p[i] for w, p in zip(weights, parts, strict=True)) for i in range(2))
        return np.asarray(drift), np.asarray(variance)

    return mean_exit_time(drift_and_variance, A)


def _sam_spread(lam: float, *, eta: float, rho: float, sigma: float, d: int) -> float:
    """Standard deviation of a coordinate of curvature lam > 0 under SAM near a critical point."""
    pull = rho * effective_radius_factor(d) / sigma
    noise = sigma**2 * (1 + 2 * pull * lam) + (rho * lam) ** 2 / d
    return float(np.sqrt(eta * noise / (2 * lam * (1 + pull * lam))))


def _sam_axis(
    y: np.ndarray, slope: float, *, mu: float, eta: float, rho: float, sigma: float, d: int
) -> tuple[np.ndarray, np.ndarray]:
    """Drift and variance rate of y where the gradient is (−mu y, slope, 0, ..)."""
    m = torch.zeros(len(y), d, dtype=torch.float64)
    m[:, 0] = torch.from_numpy(-mu * y)
    m[:, 1:2] = slope
    law = direction_law(m, sigma)
    share = (m[:, 0].square() / m.square().sum(-1).clamp(min=1e-300)).numpy()
    along, across = law.along[:, 0].numpy(), law.across[:, 0].numpy()
    cross = sigma**2 * (across + (along - across) * share)
    spread = covariance(law, sigma)[:, 0, 0].numpy()
    return (
        mu * y + rho * mu * law.mean[:, 0].numpy(),  # −(∇f + rho H E v), H = −mu
        eta * (sigma**2 - 2 * rho * mu * cross + rho**2 * mu**2 * spread),
    )


def mean_exit_time(
    drift_and_variance: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], A: float, *, cells: int = 2000
) -> float:
    """Mean time for dX = b dt + √a dW, odd b and even a, to reach |X| = A from 0.

    ∫₀^A e^{−I(y)} ∫₀^y (2/a) e^{I} dv dy with I = ∫ 2b/a, on cells of four Gauss points each: at least
    ``cells``, and enough that I changes by at most one in each.
    """
    A = require_positive("A", A, "it is the distance of the exit")
    cells = require_count("cells", cells, least=1, why="it is the resolution of the integral")
    b, a = drift_and_variance(np.linspace(0.0, A, cells + 1))
    cells = max(cells, int(np.ceil(A * np.abs(2 * b / a).max())))
    edges = np.linspace(0.0, A, cells + 1)
    offset, w = _legendre(0.0, A / cells, 4)
    y = edges[:-1, None] + offset
    b, a = (v.reshape(y.shape) for v in drift_and_variance(y.ravel()))
    partial = _running_weights(offset, A / cells)
    rate = 2 * b / a
    growth = rate @ partial.T  # I(y) − I(cell start) at the nodes
    local = np.exp(-growth) * ((2 / a * np.exp(growth)) @ partial.T)
    total = (w * rate).sum(1)
    gain = np.exp(-total) * (w * 2 / a * np.exp(growth)).sum(1)
    start, decay = np.zeros(cells), np.exp(-total)
    for k in range(cells - 1):  # J(y) = e^{−I(y)} ∫₀^y (2/a) e^{I}, carried from cell to cell: no overflow
        start[k + 1] = decay[k] * start[k] + gain[k]
    return float((w * (np.exp(-growth) * start[:, None] + local)).sum())


def _running_weights(nodes: np.ndarray, length: float) -> np.ndarray:
    """Row i integrates the interpolant through the nodes from 0 to nodes[i]."""
    powers = np.vander(nodes / length, increasing=True)
    k = np.arange(1, len(nodes) + 1)
    integrals = (nodes / length)[:, None] ** k / k * length
    return integrals @ np.linalg.inv(powers)


def _legendre(low: float, high: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.legendre.leggauss(order)
    return low + (high - low) * (x + 1) / 2, (high - low) / 2 * w
