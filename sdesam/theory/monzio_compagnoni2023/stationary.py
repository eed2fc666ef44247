"""Stationary laws on isotropic quadratics f = h|x|²/2, where r = |x| is a diffusion on the half-line.

With noise N(0, sigma² I_d) every one of the SDEs is invariant under rotations, and

    dr = [−D(r) + (d − 1) a_t(r)/(2r)] dt + √a_r(r) dW,
    p(r) ∝ r^{d−1}/a_r · exp ∫ [−2D/a_r + (d − 1)(a_t/a_r − 1)/r] dr,

with the inward drift D and the variances a_r along x and a_t across it.  So E f is a one-dimensional integral, for SAM
and DNSAM too, whose laws are not Gaussian.  Source: derived for this project; for d = 1 DNSAM's law is also checked
against its closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...arguments import require_count, require_nonnegative, require_positive
from ..exact.gaussian_noise import covariance, direction_law

__all__ = [
    "RadialLaw", "dnsam_mean_field_radius", "dnsam_mode", "dnsam_radial", "dnsam_stationary_density", "radial_law",
    "sam_radial", "sam_two_cycle", "usam_pl_bound", "usam_radial",
]  # fmt: skip

Radial = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
_CELLS = 20_000
_TAIL = 40.0  # e^-40 of the density's peak is left out


# ----------------------------------------------------------------- D, a_r, a_t of the methods
def usam_radial(h: float, *, eta: float, rho: float, sigma: float) -> Radial:
    """USAM: D = h(1 + rho h) r, a_r = a_t = eta sigma²(1 + rho h)²; rho = 0 is SGD."""
    h, eta, rho, sigma = _checked(h, eta, rho, sigma)
    a = 1 + rho * h
    return lambda r: (h * a * r, np.full_like(r, eta * sigma**2 * a**2), np.full_like(r, eta * sigma**2 * a**2))


def dnsam_radial(h: float, *, eta: float, rho: float, sigma: float) -> Radial:
    """DNSAM: D = h(r + rho), a_r = a_t = eta sigma²(1 + rho/r)², singular at the minimizer."""
    h, eta, rho, sigma = _checked(h, eta, rho, sigma)

    def coefficients(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a = eta * sigma**2 * (1 + rho / r) ** 2
        return h * (r + rho), a, a

    return coefficients


def sam_radial(h: float, *, eta: float, rho: float, sigma: float, d: int) -> Radial:
    """SAM: D = h r + rho h |E v|, and the full covariance along and across x.

    a = eta(sigma² + 2 rho h sigma² p + rho² h² c) with p the eigenvalue of E P and c that of Cov v, at ∇f = h x.
    """
    h, eta, rho, sigma = _checked(h, eta, rho, sigma)
    d = require_count("d", d, least=1, why="it is the dimension of the gradient noise")

    def coefficients(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        m = torch.zeros(len(r), d, dtype=torch.float64)
        m[:, 0] = torch.from_numpy(h * r)
        law = direction_law(m, sigma)
        spread = covariance(law, sigma).numpy()

        def variance(p: torch.Tensor, c: np.ndarray) -> np.ndarray:
            return eta * (sigma**2 + 2 * rho * h * sigma**2 * p[:, 0].numpy() + rho**2 * h**2 * c)

        last = min(1, d - 1)  # in one dimension there is nothing across
        along, across = variance(law.along, spread[:, 0, 0]), variance(law.across, spread[:, last, last])
        return h * r + rho * h * law.mean[:, 0].numpy(), along, across if d > 1 else along

    return coefficients


# ----------------------------------------------------------------- the law
@dataclass(frozen=True, eq=False)
class RadialLaw:
    """The density of r = |x| on a uniform grid: radii, and the probability of each cell."""

    r: np.ndarray
    mass: np.ndarray

    def mean(self, phi: Callable[[np.ndarray], np.ndarray]) -> float:
        """E phi(r)."""
        return float((self.mass * phi(self.r)).sum())

    def loss(self, h: float) -> float:
        """E f = h/2 E r²."""
        return h / 2 * self.mean(np.square)


def radial_law(radial: Radial, d: int, *, reach: float = 1.0) -> RadialLaw:
    """The stationary law of the radius: the formula in the module's docstring.

    Parameters
    ----------
    reach : a first guess of how far the law extends; it is doubled and halved until it fits

    Raises
    ------
    ValueError
        When the law does not fall off within 2^40 times ``reach``: it has no stationary law, or the guess is far off.
    """
    d = require_count("d", d, least=1, why="it is the dimension of x")
    reach = require_positive("reach", reach, "it is a distance")
    for _ in range(80):
        r = (np.arange(_CELLS) + 0.5) * (reach / _CELLS)
        log_p = _log_density(radial, d, r)
        below = log_p < log_p.max() - _TAIL
        if not below[-1]:
            reach *= 2
        elif below[np.argmax(log_p) :].argmax() + np.argmax(log_p) < _CELLS // 3:
            reach /= 2
        else:
            weight = np.exp(log_p - log_p.max())
            return RadialLaw(r, weight / weight.sum())
    raise ValueError("reach could not be fitted: the density does not fall off, so there is no stationary law.")


def _log_density(radial: Radial, d: int, r: np.ndarray) -> np.ndarray:
    inward, along, across = radial(r)
    slope = -2 * inward / along + (d - 1) * (across / along - 1) / r
    step = r[1] - r[0]
    rise = np.concatenate([[slope[0] * r[0]], (slope[1:] + slope[:-1]) / 2 * step])
    return (d - 1) * np.log(r) - np.log(along) + np.cumsum(rise)


def dnsam_stationary_density(x: np.ndarray, h: float, *, eta: float, rho: float, sigma: float) -> np.ndarray:
    """The density of DNSAM's SDE in one dimension, f = h x²/2: bimodal, zero at the minimizer.

    p(x) ∝ x²/(|x| + rho)² exp(−(2h/(eta sigma²)) [x²/2 − rho|x| + rho² ln(1 + |x|/rho)]).  Source: derived, checked.
    """
    h, eta, rho, sigma = _checked(h, eta, rho, sigma)
    rho = require_positive("rho", rho, "without it this is SGD, whose law is Gaussian")
    top = 12 * max(np.sqrt(eta / h) * sigma, dnsam_mode(h, eta=eta, rho=rho, sigma=sigma))
    grid = (np.arange(_CELLS) + 0.5) * (top / _CELLS)

    def weight(v: np.ndarray) -> np.ndarray:
        r = np.abs(v)
        well = r**2 / 2 - rho * r + rho**2 * np.log1p(r / rho)
        return (r / (r + rho)) ** 2 * np.exp(-2 * h / (eta * sigma**2) * well)

    return weight(np.asarray(x, float)) / (2 * weight(grid).sum() * top / _CELLS)


def dnsam_mode(h: float, *, eta: float, rho: float, sigma: float) -> float:
    """The modes of ``dnsam_stationary_density`` are at |x| = (rho eta sigma²/h)^{1/3}, exactly (derived)."""
    h, eta, rho, sigma = _checked(h, eta, rho, sigma)
    return (rho * eta * sigma**2 / h) ** (1 / 3)


def dnsam_mean_field_radius(eigenvalues: np.ndarray, *, eta: float, rho: float, sigma: float) -> float:
    """DNSAM near a minimum of many dimensions acts as USAM of radius R = rho/|∇f|, |∇f| nearly constant.

    R² eta sigma²/2 Σ λ_i(1 + R λ_i) = rho²: the norm that USAM(R) has on average.  A closure with error O(1/d), good
    where no eigenvalue dominates; derived.
    """
    lam = np.asarray(eigenvalues, float)
    _, eta, rho, sigma = _checked(float(lam.min()), eta, rho, sigma)
    half = eta * sigma**2 / 2
    roots = np.roots([half * (lam**2).sum(), half * lam.sum(), 0.0, -(rho**2)])
    return max(0.0, float(roots.real.max()))  # the cubic rises on R > 0: its only root there, the others lie left of it


def usam_pl_bound(mu: float, L: float, trace: float, *, eta: float, rho: float, least: float = 0.0) -> float:
    """Limsup E f − f* <= eta L (1 + rho L)² tr Σ/(4 mu (1 + rho least)) for USAM's SDE.

    For a convex, mu-PL, L-smooth f with Hessian >= least and tr Σ <= trace: Itô's formula gives d/dt E f <=
    −(1 + rho least) 2 mu E(f − f*) + eta/2 L (1 + rho L)² tr Σ.  Source: derived.
    """
    why = "the bound needs a curvature and a step"
    mu, L, eta = (require_positive(name, value, why) for name, value in (("mu", mu), ("L", L), ("eta", eta)))
    sizes = (("trace", trace), ("rho", rho), ("least", least))
    trace, rho, least = (require_nonnegative(name, value, "it is a size") for name, value in sizes)
    return eta * L * (1 + rho * L) ** 2 * trace / (4 * mu * (1 + rho * least))


def sam_two_cycle(h: float, *, eta: float, rho: float) -> float:
    """Full-batch SAM on h x²/2 ends in the cycle ±eta h rho/(2 − eta h), for 0 < eta h < 2 (derived)."""
    h = require_positive("h", h, "at a maximum the cycle repels")
    eta = require_positive("eta", eta, "it is the learning rate")
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    if not 0 < eta * h < 2:
        raise ValueError(f"eta·h must lie in (0, 2), got {eta * h:.4g}: the minimum does not attract.")
    return eta * h * rho / (2 - eta * h)


def _checked(h: float, eta: float, rho: float, sigma: float) -> tuple[float, float, float, float]:
    return (
        require_positive("h", h, "a stationary law needs a minimum"),
        require_positive("eta", eta, "it is the learning rate"),
        require_nonnegative("rho", rho, "it is the ascent radius"),
        require_positive("sigma", sigma, "without noise the law is a point"),
    )
