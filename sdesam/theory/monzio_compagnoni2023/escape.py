"""How long an exit from a well takes, for USAM's SDE, its chain, and the SDE looked at once a step.

One direction of curvature lam > 0, f = lam x²/2, a = 1 + rho lam, noise of standard deviation sigma, exit at |x| = A:

    SDE       dX = −lam a X dt + √eta a sigma dW                      k = lam a, s² = eta a² sigma²
    chain     x⁺ = (1 − eta k) x − eta a sigma z
    skeleton  the SDE at t = 0, eta, 2 eta, ..

All three mean exit times grow like exp(z²), z² = lam A²/(eta sigma²(1 + rho lam)): the exponent falls with rho, more so
in sharper wells.  Their ratios tend to constants that are not 1.  Source: derived for this project.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from ...arguments import require_count, require_finite, require_nonnegative, require_positive
from .saddles_and_exits import mean_exit_time

__all__ = [
    "chain_exit_time", "sam_attraction_radius", "skeleton_exit_time", "usam_well_exit_time", "usam_well_exponent",
    "watched_exit_time", "well_exit_ratio",
]  # fmt: skip

_OVERSHOOT = 1.165  # 2·0.5826, −ζ(1/2)/√(2π): a barrier seen once a step lies that many steps' deviations further out


def usam_well_exponent(lam: float, *, eta: float, rho: float, sigma: float, A: float) -> float:
    """z² = lam A²/(eta sigma²(1 + rho lam)), the exponent of the mean exit time."""
    lam, eta, rho, sigma, A = _checked(lam, eta, rho, sigma, A)
    return lam * A**2 / (eta * sigma**2 * (1 + rho * lam))


def usam_well_exit_time(lam: float, *, eta: float, rho: float, sigma: float, A: float) -> float:
    """Mean time for USAM's SDE to reach |x| = A from the minimum; rho = 0 is SGD.

    (2/s²) ∫₀^A e^{k y²/s²} ∫₀^y e^{−k v²/s²} dv dy ≈ √π e^{z²}/(2 k z): the prefactor falls like √eta.
    """
    lam, eta, rho, sigma, A = _checked(lam, eta, rho, sigma, A)
    a = 1 + rho * lam
    return mean_exit_time(lambda y: (-lam * a * y, np.full_like(y, eta * (a * sigma) ** 2)), A)


def chain_exit_time(lam: float, *, eta: float, rho: float, sigma: float, A: float, nodes: int | None = None) -> float:
    """Mean time until USAM's chain is seen outside |x| < A, from the minimum: the integral equation, exact."""
    lam, eta, rho, sigma, A = _checked(lam, eta, rho, sigma, A)
    a = 1 + rho * lam
    return watched_exit_time(1 - eta * lam * a, eta * a * sigma, A, dt=eta, nodes=nodes)


def skeleton_exit_time(
    lam: float, *, eta: float, rho: float, sigma: float, A: float, nodes: int | None = None
) -> float:
    """The mean exit time of USAM's SDE looked at every eta only, as the chain is."""
    lam, eta, rho, sigma, A = _checked(lam, eta, rho, sigma, A)
    a = 1 + rho * lam
    k, m = lam * a, np.exp(-eta * lam * a)
    return watched_exit_time(float(m), a * sigma * np.sqrt(eta * (1 - m**2) / (2 * k)), A, dt=eta, nodes=nodes)


def watched_exit_time(m: float, s: float, A: float, *, dt: float, nodes: int | None = None) -> float:
    """T(0) for x⁺ = m x + s z and exit |x| >= A: T(x) = dt + ∫_{−A}^{A} p(y | x) T(y) dy.

    By Gauss-Legendre for even T, and an elimination that never subtracts (Grassmann, Taksar and Heyman 1985): the tiny
    probability of an exit keeps its digits however long T is.

    Parameters
    ----------
    nodes : on the half-line; by default as many as put them about one deviation s apart: an error of about e^−2π²

    Raises
    ------
    ValueError
        When the nodes are further apart than 1.1 deviations of a step.
    """
    m, why = require_finite("m", m, "it is the chain's factor"), "an exit needs noise, a distance and a clock"
    s, A, dt = (require_positive(name, value, why) for name, value in (("s", s), ("A", A), ("dt", dt)))
    nodes = max(100, int(np.ceil(1.6 * A / s))) if nodes is None else nodes
    nodes = require_count("nodes", nodes, least=2, why="it is the resolution of the integral")
    if A / nodes > s / 1.5:  # they are at most πA/(2 nodes) apart
        raise ValueError(f"nodes must be at least {int(np.ceil(1.5 * A / s))} for steps of {s:.3g}, got {nodes}.")
    x, w = np.polynomial.legendre.leggauss(nodes)
    y, w = A * (x + 1) / 2, A / 2 * w
    y = np.concatenate([[0.0], y])

    def density(gap: np.ndarray) -> np.ndarray:
        return np.exp(-(gap**2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi))

    jump = np.zeros((nodes + 1, nodes + 1))
    jump[:, 1:] = w * (density(y[1:] - m * y[:, None]) + density(y[1:] + m * y[:, None]))
    out = ndtr((m * y - A) / s) + ndtr((-m * y - A) / s)
    return _absorption_time(jump, out, np.full(nodes + 1, dt))


def _absorption_time(jump: np.ndarray, out: np.ndarray, time: np.ndarray) -> float:
    """Mean time to absorption from state 0, states eliminated from the last one on without subtractions."""
    jump, out, time = jump.copy(), out.copy(), time.copy()
    for i in range(len(out) - 1, 0, -1):
        leave = jump[i, :i].sum() + out[i]
        share = jump[:i, i] / leave
        jump[:i, :i] += share[:, None] * jump[i, :i]
        out[:i] += share * out[i]
        time[:i] += share * time[i]
    return float(time[0] / out[0])


def well_exit_ratio(lam: float, *, sigma: float, A: float) -> tuple[float, float]:
    """The limits of T_chain/T_SDE and T_skeleton/T_SDE as eta -> 0, for small q = lam A/sigma.

    exp(1.165 q − q²/2) and exp(1.165 q): an exit seen at multiples of eta only moves the barrier by 0.5826 deviations
    of a step, and the chain's variance is larger by 1/(1 − eta lam a/2).  Neither depends on rho.
    """
    lam, _, _, sigma, A = _checked(lam, 1.0, 0.0, sigma, A)
    q = lam * A / sigma
    return float(np.exp(_OVERSHOOT * q - q**2 / 2)), float(np.exp(_OVERSHOOT * q))


def sam_attraction_radius(mu: float, *, rho: float, sigma: float, d: int) -> float:
    """y* with rho E v(mu y*) = y*: SAM's drift at a saddle points inwards for |y| < y*; 0 where none does.

    E v is the mean direction at |∇f| = mu y.  Exists iff rho A_d mu/sigma > 1; beyond y* the gradient outgrows the
    noise, and the normalised ascent no longer does.
    """
    import torch

    from ..exact.gaussian_noise import direction_law, effective_radius_factor

    mu, sigma = (
        require_positive(name, value, "without curvature or noise there is no such radius")
        for name, value in (("mu", mu), ("sigma", sigma))
    )
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    if rho * effective_radius_factor(d) * mu <= sigma:
        return 0.0

    def surplus(y: float) -> float:
        m = torch.zeros(1, d, dtype=torch.float64)
        m[0, 0] = mu * y
        return rho * float(direction_law(m, sigma).mean[0, 0]) - y

    return float(brentq(surplus, 1e-6 * rho, rho))  # pyright: ignore[reportArgumentType]


def _checked(lam: float, eta: float, rho: float, sigma: float, A: float) -> tuple[float, float, float, float, float]:
    why = "an exit from a well needs curvature, noise and a distance"
    sizes = (("lam", lam), ("eta", eta), ("sigma", sigma), ("A", A))
    lam, eta, sigma, A = (require_positive(name, value, why) for name, value in sizes)
    return lam, eta, require_nonnegative("rho", rho, "it is the ascent radius"), sigma, A
