"""From weak errors at several eta to a conclusion: which order they show, or why none.

Slopes do not decide: on affordable eta right models show 0.81-1.05 and wrong ones up to 0.96.  The error is expanded as

    err = a eta^½ + b eta + c eta^(3/2) + d eta²          (a model without rho: a eta^½ + b eta + c eta² + d eta³)

and the *half-order share* s = a eta_min^½/err(eta_min) tells how much of the smallest error is of order 1/2: near 0 for
a right drift, 0.5-1 for a wrong one.  Its standard error is about 7.4 times the relative error of a point with six eta
halving each time.  The same rule with other powers tells order 1 from 3/2, and 1 from 2: the share is that of the first
power, and the order claimed is the second.  Where the share is large the rule is asked again one power lower, so that
eta^¼ is not called order 1/2.

Source: derived for this project, and tested on deterministic tables (see the tests).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from ..arguments import require_nonnegative
from ..engine.display import ends, html_table, numbers
from ..engine.statistics import Estimate

__all__ = [
    "HALF_INTEGER", "INTEGER", "THREE_HALVES", "Order", "conclude", "order_name", "powers_of", "second_powers_of",
]  # fmt: skip

HALF_INTEGER = (0.5, 1.0, 1.5, 2.0)
INTEGER = (0.5, 1.0, 2.0, 3.0)
THREE_HALVES = (1.0, 1.5, 2.0, 2.5)  # a drift corrected to O(eta), rho ~ √eta
SHARE = 0.2  # |s| below it: the order claimed; above it: a lower one
STALLED = 0.9  # err(eta_min)/err(2 eta_min) above it: no convergence
_CONSTANT = 0.01  # relative difference of b and e1 beyond what noise and the truncated expansion explain
_LOWEST = 0.5
_RESOLVED = 4  # standard errors that the smallest error must have for any decision: shares divide by it
_SETTLED = 0.1  # half-width of the share's interval that decides, unless it sits on the edge


def powers_of(rho_power: float, *, rho: bool = True) -> tuple[float, ...]:
    """Powers of eta in the error of a model of order 1 with rho ~ eta^rho_power (``rho=False``: without rho).

    Half-integer ones wherever rho_power is no integer: others (3/4, 5/4) lie too close together to be told apart.

    >>> powers_of(0.5), powers_of(1.0)
    ((0.5, 1.0, 1.5, 2.0), (0.5, 1.0, 2.0, 3.0))
    """
    rho_power = require_nonnegative("rho_power", rho_power, "rho = rho_scale·eta^rho_power")
    return INTEGER if not rho or float(rho_power).is_integer() else HALF_INTEGER


def second_powers_of(rho_power: float, *, rho: bool = True) -> tuple[float, ...]:
    """Powers of eta in the error of a model of order 2 that keeps rho ~ eta^rho_power exactly.

    >>> second_powers_of(0.0), second_powers_of(0.5)
    ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 2.5, 3.0))
    """
    rho_power = require_nonnegative("rho_power", rho_power, "rho = rho_scale·eta^rho_power")
    return (1.0, 2.0, 3.0, 4.0) if not rho or float(rho_power).is_integer() else (1.0, 2.0, 2.5, 3.0)


def order_name(power: float) -> str:
    """The name of an order.

    >>> order_name(0.5), order_name(2.0)
    ('order 1/2', 'order 2')
    """
    return f"order {Fraction(power).limit_denominator(100)}"


@dataclass(frozen=True, eq=False)
class Order:
    """What the errors of one observable say.

    Attributes
    ----------
    etas, errors : learning rates, falling, and signed errors E phi(x_k) − E phi(X) with standard errors
    slope, local_slopes : of log |err| on log eta, and between neighbours; reported, never the criterion
    share : the half-order share s (the share of the first power)
    constant : b of the second power, in a fit without the first, to be compared with the predicted e1
    truncation : the error of b by the powers left out
    conclusion : "order 1", "order 1, wrong constant", "order 1/2", "below order 1/2", "does not converge", "no error"
        or "inconclusive" (with other powers: the names of theirs)
    reason : the sentence behind it
    needed : replicates that would settle an inconclusive answer, where more of them would
    """

    etas: np.ndarray
    errors: Estimate
    slope: Estimate
    local_slopes: Estimate
    share: Estimate
    constant: Estimate
    truncation: float
    conclusion: str
    reason: str
    needed: int | None = None

    def __repr__(self) -> str:
        return (
            f"Order({self.conclusion}: {self.reason})\n"
            f"  {len(self.etas)} eta {ends(self.etas)}, errors {ends(numbers(self.errors))}, {self.errors.method}\n"
            f"  slope {numbers(self.slope)[0]}, b {numbers(self.constant)[0]}"
        )

    def _repr_html_(self) -> str:
        columns = {"eta": self.etas, "error": numbers(self.errors), "error/eta": self.errors.value / self.etas}
        columns |= {"local slope": ["", *numbers(self.local_slopes)]}
        return html_table(f"{self.conclusion}: {self.reason}", columns)


def conclude(
    etas: Sequence[float] | np.ndarray,
    errors: Estimate,
    *,
    powers: tuple[float, ...] = HALF_INTEGER,
    e1: float | None = None,
    level: float = 0.95,
) -> Order:
    """The conclusion from errors at four or more eta.

    *Order 1* when the interval of s lies in [−0.2, 0.2]; then, where e1 is given, *order 1, wrong constant* unless b is
    e1 to within its interval, the truncation of the expansion, and 1 %.  *Order 1/2* when the interval lies above 0.2,
    or *below order 1/2* when the same test one power lower finds a share of eta^0 as well.  *Does not converge* when
    err(eta_min)/err(the next) surely exceeds 0.9.  *No error* when all vanish.  Otherwise *inconclusive*.

    Parameters
    ----------
    errors : values and standard errors, one per eta, in their order
    powers : see ``powers_of`` and ``second_powers_of``; rising, the first two name the orders compared
    e1 : the predicted limit of err/eta, if known
    level : of the intervals

    Raises
    ------
    ValueError
        For fewer than four eta, eta that are not positive and different, errors of another length, negative standard
        errors, powers that do not rise, or a level outside (0, 1).
    """
    _require_powers(powers)
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}: it is the coverage of the intervals.")
    data = _sorted(etas, errors)
    z = float(ndtri((1 + level) / 2))
    if np.any(data.err == 0):
        return _with_zeros(data)
    if changes := _sign_changes(data):
        return _order(data, powers, "inconclusive", f"excluded: the error changes sign between eta = {changes}")
    if abs(data.err[-1]) <= _RESOLVED * data.se[-1]:
        what = f"the error at the smallest eta is not resolved, {data.err[-1]:.3g} ± {data.se[-1]:.2g}"
        return _order(data, powers, "inconclusive", what)
    ratio = data.err[-1] / data.err[-2]
    ratio_se = abs(ratio) * math.hypot(data.se[-1] / data.err[-1], data.se[-2] / data.err[-2])
    if ratio - z * ratio_se > STALLED ** math.log2(data.eta[-2] / data.eta[-1]):
        return _order(data, powers, "does not converge", f"err(eta_min)/err(next) = {ratio:.3f} > {STALLED}")
    return _by_share(data, powers, e1, z)


# ----------------------------------------------------------------- the rule
def _by_share(data: _Data, powers: tuple[float, ...], e1: float | None, z: float) -> Order:
    order = _order(data, powers, "inconclusive", "")
    s, half = float(order.share.value), z * float(order.share.stderr)
    what = f"share of {order_name(powers[0])} {s:.3f} ± {half:.3f}"
    if s - half > SHARE:
        return _lower(data, powers, replace(order, reason=f"{what} above {SHARE}"), z)
    if s - half >= -SHARE and s + half <= SHARE:
        order = replace(order, conclusion=order_name(powers[1]), reason=f"{what} within ±{SHARE}")
        return order if e1 is None else _with_constant(order, e1, z)
    if s + half < -SHARE:
        return replace(order, reason=f"{what} below −{SHARE}: parts of different order cancel, take smaller eta")
    needed = math.ceil(float(np.max(data.n)) * (half / _SETTLED) ** 2) if data.method == "Monte Carlo" else None
    return replace(order, reason=f"{what} neither within ±{SHARE} nor above", needed=needed)


def _lower(data: _Data, powers: tuple[float, ...], order: Order, z: float) -> Order:
    """The lower order, or a still lower one where the share of the power before it is large too.

    A large share that another fit does not have is made by the powers left out, and decides nothing.
    """
    if not _stays(data, powers):
        return replace(order, reason=f"{order.reason}, but not in a fit without the largest eta: take smaller eta")
    if powers[0] <= 0:
        return replace(order, conclusion=f"below {order_name(powers[1])}")
    before = (0.0 if powers[0] <= _LOWEST else _LOWEST, *powers[:-1])
    share = _share(data, before)
    if float(share.value) - z * float(share.stderr) <= SHARE or not _stays(data, before):
        return replace(order, conclusion=order_name(powers[0]))
    return replace(order, conclusion=_lower(data, before, order, z).conclusion)


def _stays(data: _Data, powers: tuple[float, ...]) -> bool:
    """Whether the share is large also without the largest eta, or without the last power where there are too few."""
    fewer = data if len(data.eta) <= len(powers) else data.without_largest()
    return float(_share(fewer, powers[:-1] if fewer is data else powers).value) > SHARE


def _with_constant(order: Order, e1: float, z: float) -> Order:
    off = abs(float(order.constant.value) - e1)
    allowed = z * float(order.constant.stderr) + order.truncation + _CONSTANT * abs(e1)
    if off <= allowed:
        return order
    what = f"b = {float(order.constant.value):.4g} is not the predicted e1 = {e1:.4g} to within {allowed:.2g}"
    return replace(order, conclusion=f"{order.conclusion}, wrong constant", reason=f"{order.reason}, but {what}")


# ----------------------------------------------------------------- the numbers
@dataclass(frozen=True, eq=False)
class _Data:
    """Learning rates, falling, errors, their standard errors and replicates."""

    eta: np.ndarray
    err: np.ndarray
    se: np.ndarray
    n: np.ndarray
    method: str

    def without_largest(self) -> _Data:
        """All but the largest learning rate."""
        return _Data(self.eta[1:], self.err[1:], self.se[1:], self.n[1:], self.method)

    def estimate(self, value: np.ndarray | float, stderr: np.ndarray | float) -> Estimate:
        return Estimate(value, stderr, int(np.max(self.n)), self.method)


def _require_powers(powers: tuple[float, ...]) -> None:
    rising = all(a < b for a, b in pairwise(powers))
    if not (2 <= len(powers) <= 4 and rising and powers[0] >= 0):
        raise ValueError(f"powers must be two to four rising numbers >= 0, got {powers}: the first two are compared.")


def _sorted(etas: Sequence[float] | np.ndarray, errors: Estimate) -> _Data:
    eta = np.asarray(etas, float)
    if eta.ndim != 1 or len(eta) < 4:
        raise ValueError(f"etas must be at least four, got {eta.tolist()}: the expansion has four terms.")
    if not (np.all(np.isfinite(eta)) and np.all(eta > 0) and len(set(eta.tolist())) == len(eta)):
        raise ValueError(f"etas must be positive and different, got {eta.tolist()}.")
    if np.shape(errors.value) != eta.shape:
        raise ValueError(f"errors must be {len(eta)} values, one per eta, got shape {np.shape(errors.value)}.")
    falling = np.argsort(-eta)
    parts = (np.broadcast_to(p, eta.shape)[falling].astype(float) for p in (errors.value, errors.stderr, errors.n))
    err, se, n = parts
    if not (np.all(np.isfinite(err)) and np.all(np.isfinite(se)) and np.all(se >= 0)):
        raise ValueError(f"errors must be finite, with standard errors >= 0, got {err.tolist()} ± {se.tolist()}.")
    return _Data(eta[falling], err, se, n, errors.method)


def _with_zeros(data: _Data) -> Order:
    """Errors of exactly 0 have no logarithm, hence no order: none at all, or a coincidence."""
    nothing, local = data.estimate(math.nan, math.inf), np.full(len(data.eta) - 1, math.nan)
    parts = (data.eta, data.estimate(data.err, data.se), nothing, data.estimate(local, local + math.inf))
    if np.all(data.err == 0):
        return Order(*parts, nothing, nothing, math.inf, "no error", "the errors vanish at every eta")
    cells = ", ".join(f"{eta:g}" for eta in data.eta[data.err == 0])
    return Order(*parts, nothing, nothing, math.inf, "inconclusive", f"the error is exactly 0 at eta = {cells}")


def _sign_changes(data: _Data) -> str:
    """Neighbours of surely different sign; between them the error passes through 0 and no power law holds."""
    sure = np.flatnonzero(np.abs(data.err) > 4 * data.se)
    found = [(i, j) for i, j in pairwise(sure) if data.err[i] * data.err[j] < 0]
    return ", ".join(f"{data.eta[i]:g} and {data.eta[j]:g}" for i, j in found)


def _order(data: _Data, powers: tuple[float, ...], conclusion: str, reason: str) -> Order:
    constant, truncation = _constant(data, powers)
    errors, share = data.estimate(data.err, data.se), _share(data, powers)
    return Order(data.eta, errors, *_slopes(data), share, constant, truncation, conclusion, reason)


def _share(data: _Data, powers: tuple[float, ...]) -> Estimate:
    """By least squares of err/eta^p, p the order claimed; delta method."""
    gain, scale = _gain(data.eta, powers, powers[1])[0], data.eta[-1] ** powers[0]
    share = gain @ data.err * scale / data.err[-1]
    slope = (scale * gain - np.eye(len(data.eta))[-1] * share) / data.err[-1]  # d share/d err
    return data.estimate(float(share), float(np.linalg.norm(slope * data.se)))


def _constant(data: _Data, powers: tuple[float, ...]) -> tuple[Estimate, float]:
    """B from a fit without the first power, which a right model does not have, and its truncation.

    The first power left out makes an error whose size is read off what b changes without the largest eta; twice that
    allows for the next one.
    """
    kept = powers[1:]
    gain = _gain(data.eta, kept, kept[0])[0]
    b = data.estimate(float(gain @ data.err), float(np.linalg.norm(gain * data.se)))
    if len(kept) < 2:
        return b, math.inf
    left_out = data.eta ** (2 * kept[-1] - kept[-2])
    other = np.concatenate(([0.0], _gain(data.eta[1:], kept, kept[0])[0]))
    bias, change = gain @ left_out, (gain - other) @ data.err
    return b, 2 * abs(float(change * bias / (bias - other @ left_out)))


def _gain(eta: np.ndarray, powers: tuple[float, ...], weight: float) -> np.ndarray:
    """coefficients = gain @ err, for residuals of err/eta^weight."""
    design, size = eta[:, None] ** np.array(powers), eta**weight
    return np.linalg.pinv(design / size[:, None]) / size


def _slopes(data: _Data) -> tuple[Estimate, Estimate]:
    """Slope of log |err| on log eta, weighted by precision where there is noise, and the slopes of neighbours."""
    x, y, spread = np.log(data.eta), np.log(np.abs(data.err)), np.abs(data.se / data.err)
    w = np.ones_like(x) if not spread.all() else 1 / spread**2
    centred = x - (w * x).sum() / w.sum()
    square = (w * centred**2).sum()
    value, stderr = (w * centred * y).sum() / square, np.linalg.norm(w * centred * spread) / square
    local = np.diff(y) / np.diff(x)
    local_se = np.hypot(spread[1:], spread[:-1]) / np.abs(np.diff(x))
    return data.estimate(float(value), float(stderr)), data.estimate(local, local_se)
