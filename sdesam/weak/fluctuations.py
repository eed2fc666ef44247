"""The scaled fluctuation test: what the order of E phi cannot see, the diffusion.

Order 1 speaks of the drift to O(√eta) only; any diffusion of size O(eta) passes, even none.

    S(eta) = max_k |Cov x_k − Cov X_{k eta}|/eta (Frobenius)

has slope 1 for a right rho-term of the covariance, 1/2 where it is missing or has its factors in the wrong order, 0
without noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..arguments import require_positive
from ..dynamics.integrators import heun_path
from ..engine.start import Points, Start
from ..engine.statistics import Estimate
from ..problems.observables import Observable
from .conclusions import HALF_INTEGER, Order
from .errors import WeakError
from .orders import Estimator, PairAt, clock, concluded, errors_by

__all__ = ["fluctuation_order", "largest", "says_of_the_diffusion", "scaled_fluctuation", "second_moments"]

_ACCURACY_PLANE = 3e-3  # of moments, times eta²: S divides covariances of size eta² by eta
_PATH = 32  # steps to the point about which moments are taken; it need not be exact


def fluctuation_order(
    pair_at: PairAt,
    etas: Sequence[float],
    *,
    x0: Points,
    horizon: float,
    estimator: Estimator = "quadrature",
    n: int | None = None,
    seed: int = 0,
    powers: tuple[float, ...] = HALF_INTEGER,
) -> Order:
    """The order of S(eta) = max_k |Cov x_k − Cov X_{k eta}|/eta (Frobenius), the scaled fluctuation test.

    With estimator "coupled" it is taken at the horizon only: the maximum of noisy numbers is biased up.

    Where the drift is right (the errors of E phi are of order 1): *order 1*, the covariance has the right term of size
    rho; *order 1/2*, that term is missing or wrong; *does not converge*, the diffusion is wrong at order 0, or missing.
    A wrong drift is seen here too, and then nothing is said of the diffusion.

    Parameters
    ----------
    pair_at : eta -> (optimizer, SDE), as for ``weak_order_of``
    n : replicates for estimator "coupled", 40,000 by default; the norm of a noisy matrix is biased up, so judge by
        errors far above their standard errors

    Raises
    ------
    ValueError
        As ``weak_order_of``.
    """
    horizon = require_positive("horizon", horizon, "it is the model time of the comparison")
    falling, steps = clock(etas, horizon)
    start = Start.of(x0)
    point = start.alone("the test is of one law").double().tolist()
    phis = second_moments(heun_path(pair_at(falling[-1])[1], point, horizon, _PATH)[-1].tolist())
    S = []
    for eta, k in zip(falling, steps, strict=True):
        accuracy = _ACCURACY_PLANE * eta**2 if start.dim > 1 else None
        errors = errors_by(estimator, n=40_000 if n is None else n, seed=seed, accuracy=accuracy)
        S.append(largest(scaled_fluctuation(errors(pair_at(eta), start, k, phis), eta, start.dim)))
    joined = Estimate(
        np.array([float(s.value) for s in S]), np.array([float(s.stderr) for s in S]), int(np.max(S[0].n)), S[0].method
    )
    return concluded(np.array(falling), joined, powers)


def largest(S: Estimate) -> Estimate:
    """Max over the steps of a computed S; of a sampled one, whose maximum would be biased up, the last."""
    if S.method == "Monte Carlo" or np.isnan(S.value).any():
        return S[-1]
    return S[int(np.argmax(S.value))]


def second_moments(centre: Sequence[float]) -> dict[str, Observable]:
    """The observables that ``scaled_fluctuation`` needs, y_i and y_i y_j with y = x − centre.

    A centre on the paths keeps them small, and the errors of the covariance with them.
    """
    c, dim = [float(v) for v in centre], len(centre)
    means: dict[str, Observable] = {f"y[{i}]": lambda x, i=i: x[..., i] - c[i] for i in range(dim)}
    return means | {
        f"y[{i}]y[{j}]": lambda x, i=i, j=j: (x[..., i] - c[i]) * (x[..., j] - c[j])
        for i in range(dim)
        for j in range(i, dim)
    }


def scaled_fluctuation(errors: Mapping[str, WeakError], eta: float, dim: int) -> Estimate:
    """S at every step from the weak errors of ``second_moments``, with its error.

    Cov x − Cov X = e_ij − e_i m_j − M_i e_j with means m of the optimizer, M of the SDE, and their errors e.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is known to no accuracy
        return _scaled_fluctuation(errors, eta, dim)


def _scaled_fluctuation(errors: Mapping[str, WeakError], eta: float, dim: int) -> Estimate:
    mean, other = (
        np.stack([np.asarray(getattr(errors[f"y[{i}]"], side).value) for i in range(dim)]) for side in ("chain", "sde")
    )
    square, variance = 0.0, 0.0
    for i in range(dim):
        for j in range(i, dim):
            second, first, last = (errors[name].error for name in (f"y[{i}]y[{j}]", f"y[{i}]", f"y[{j}]"))
            gap = second.value - first.value * mean[j] - other[i] * last.value
            off = np.asarray(second.stderr) + np.abs(first.stderr * mean[j]) + np.abs(other[i] * last.stderr)
            weight = 1 if i == j else 2
            square, variance = square + weight * gap**2, variance + weight * (gap * off) ** 2
    size = np.sqrt(square)
    spread = np.sqrt(variance) / np.where(size > 0, size, 1.0)
    known = np.isfinite(size) & np.isfinite(spread)
    value, off = np.where(known, size / eta, np.nan), np.where(known, spread / eta, np.inf)
    return Estimate(value, off, errors["y[0]"].error.n, errors["y[0]"].error.method)


def says_of_the_diffusion(S: Order, drift: Iterable[str], rho_power: float) -> str:
    """What the order of S means where the conclusions about observables, hence about the drift, are these, in words.

    With a wrong drift the covariance may be wrong for its sake, and nothing is said of the diffusion.
    """
    seen = "its rho-term included" if rho_power < 1 else "its rho-term is too small to be seen with this rho"
    says = {
        "order 1": f"the diffusion is right, {seen}",
        "order 1/2": "the rho-term of the diffusion is missing or wrong",
        "below order 1/2": "the diffusion is wrong",
        "does not converge": "the diffusion is wrong or missing",
        "no error": "neither side has any noise, or both have the same",
    }
    drift_is_right = all(c.startswith("order 1") and "/" not in c for c in drift)
    if S.conclusion in ("order 1/2", "below order 1/2", "does not converge") and not drift_is_right:
        return "the covariance is wrong, by the diffusion or by a wrong drift"
    return says.get(S.conclusion, "nothing can be said of the diffusion")
