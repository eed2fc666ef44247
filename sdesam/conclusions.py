"""From weak errors at several eta to a conclusion: order 1, order 1/2, no convergence, or not decided.

Slopes do not decide: on affordable eta right models show 0.81-1.05 and wrong ones up to 0.96.  The error is expanded as

    err = a eta^½ + b eta + c eta^(3/2) + d eta²          (a model without rho: a eta^½ + b eta + c eta² + d eta³)

and the *half-order share* s = a eta_min^½/err(eta_min) tells how much of the smallest error is of order 1/2: near 0 for
a right drift, 0.5-1 for a wrong one.  Its standard error is about 7.4 times the relative error of a point with six eta
halving each time.  The same rule with other powers tells order 1 from 3/2, and 1 from 2: the share is that of the first
power, and the order claimed is the second.

Source: derived for this project, and tested on deterministic tables (see the tests).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from .statistics import Estimate

__all__ = ["HALF_INTEGER", "INTEGER", "SECOND", "SECOND_HALF_INTEGER", "THREE_HALVES", "Order", "conclude"]

HALF_INTEGER = (0.5, 1.0, 1.5, 2.0)
INTEGER = (0.5, 1.0, 2.0, 3.0)
THREE_HALVES = (1.0, 1.5, 2.0, 2.5)  # a drift corrected to O(eta), rho ~ √eta
SECOND = (1.0, 2.0, 3.0, 4.0)  # a model of order 2 at fixed rho, or without rho
SECOND_HALF_INTEGER = (1.0, 2.0, 2.5, 3.0)  # a model of order 2, rho ~ √eta
_ORDERS = {0.5: "order 1/2", 1.0: "order 1", 1.5: "order 3/2", 2.0: "order 2"}
SHARE = 0.2  # |s| below it: order 1; above it: order 1/2
STALLED = 0.9  # err(eta_min)/err(2 eta_min) above it: no convergence
_CONSTANT = 0.1  # relative difference of b and e1 that a fit of four powers may show


@dataclass(frozen=True, eq=False)
class Order:
    """What the errors of one observable say.

    Attributes
    ----------
    etas, errors : learning rates, falling, and signed errors E phi(x_k) − E phi(X) with standard errors
    slope, local_slopes : of log |err| on log eta, and between neighbours; reported, never the criterion
    share : the half-order share s (the share of the first power);  constant : b of the second, to be compared with the
        predicted e1
    conclusion : "order 1", "order 1/2", "does not converge" or "inconclusive" (other powers: the second, or the first)
    reason : the sentence behind it
    needed : replicates that would settle an inconclusive answer, where more of them would
    """

    etas: np.ndarray
    errors: Estimate
    slope: Estimate
    local_slopes: Estimate
    share: Estimate
    constant: Estimate
    conclusion: str
    reason: str
    needed: int | None = None


def conclude(
    etas: Sequence[float] | np.ndarray,
    errors: Estimate,
    *,
    powers: tuple[float, ...] = HALF_INTEGER,
    e1: float | None = None,
    level: float = 0.95,
) -> Order:
    """The conclusion from errors at four or more eta.

    *Order 1* when the interval of s lies in [−0.2, 0.2] and b agrees with e1 where that is given; *order 1/2* when it
    lies above 0.2; *does not converge* when err(eta_min)/err(the next) surely exceeds 0.9; otherwise *inconclusive*.

    Parameters
    ----------
    errors : values and standard errors, one per eta, in their order
    powers : ``HALF_INTEGER`` where rho ~ √eta, ``INTEGER`` for SGD; the others above for finer models
    e1 : the predicted limit of err/eta, if known

    Raises
    ------
    ValueError
        For fewer than four eta, eta that are not positive and different, or errors of another length.
    """
    if len(powers) < 2 or any(p not in _ORDERS for p in powers[:2]):
        raise ValueError(
            f"powers must begin with two of {sorted(_ORDERS)}, got {powers}: they name the orders compared."
        )
    eta, err, se, n = _sorted(etas, errors)
    method = errors.method
    if changes := _sign_changes(eta, err, se):
        return _undecided(eta, err, se, n, method, powers, f"the error changes sign between eta = {changes}")
    share, constant = _fit(eta, err, se, n, method, powers)
    parts = (eta, Estimate(err, se, n, method), *_slopes(eta, err, se, n, method), share, constant)
    z = float(ndtri((1 + level) / 2))
    ratio, ratio_se = err[-1] / err[-2], abs(err[-1] / err[-2]) * math.hypot(se[-1] / err[-1], se[-2] / err[-2])
    if ratio - z * ratio_se > STALLED ** math.log2(eta[-2] / eta[-1]):
        return Order(*parts, "does not converge", f"err(eta_min)/err(next) = {ratio:.3f} > {STALLED}")
    s, half = float(share.value), z * float(share.stderr)
    low, high = (_ORDERS[p] for p in powers[:2])
    what = f"share of {low} {s:.3f} ± {half:.3f}"
    if s - half > SHARE:
        return Order(*parts, low, f"{what} above {SHARE}")
    if s - half >= -SHARE and s + half <= SHARE:
        if e1 is not None and not _agrees(constant, e1, z):
            return Order(*parts, "inconclusive", f"b = {constant} does not agree with the predicted e1 = {e1:.4g}")
        return Order(*parts, high, f"{what} within ±{SHARE}")
    needed = _needed(s, half, n) if method == "Monte Carlo" else None
    return Order(*parts, "inconclusive", f"{what} neither within ±{SHARE} nor above", needed)


def _agrees(constant: Estimate, e1: float, z: float) -> bool:
    return abs(float(constant.value) - e1) <= z * float(constant.stderr) + _CONSTANT * abs(e1)


def _needed(s: float, half: float, n: np.ndarray) -> int | None:
    """Replicates for which the interval would clear the nearer edge of the criterion; None where it sits on it."""
    distance = abs(abs(s) - SHARE)
    if s < -SHARE or distance < 1e-3 or half == 0:
        return None
    return math.ceil(float(np.max(n)) * (half / distance) ** 2)


def _sorted(etas: Sequence[float] | np.ndarray, errors: Estimate) -> tuple[np.ndarray, ...]:
    eta = np.asarray(etas, float)
    if eta.ndim != 1 or len(eta) < 4:
        raise ValueError(f"etas must be at least four, got {eta.tolist()}: the expansion has four terms.")
    if not (np.all(np.isfinite(eta)) and np.all(eta > 0) and len(set(eta.tolist())) == len(eta)):
        raise ValueError(f"etas must be positive and different, got {eta.tolist()}.")
    if np.shape(errors.value) != eta.shape:
        raise ValueError(f"errors must be {len(eta)} values, one per eta, got shape {np.shape(errors.value)}.")
    order = np.argsort(-eta)
    parts = (np.broadcast_to(p, eta.shape)[order].astype(float) for p in (errors.value, errors.stderr, errors.n))
    err, se, n = parts
    if not (np.all(np.isfinite(err)) and np.all(np.isfinite(se))):
        raise ValueError(f"errors must be finite, got {err.tolist()} ± {se.tolist()}.")
    if np.any(err == 0):
        raise ValueError("errors must not vanish: an error of exactly 0 has no order: is the model the algorithm?")
    return eta[order], err, se, n


def _sign_changes(eta: np.ndarray, err: np.ndarray, se: np.ndarray) -> str:
    """Neighbours of surely different sign; between them the error passes through 0 and no power law holds."""
    sure = np.flatnonzero(np.abs(err) > 4 * se)
    found = [(i, j) for i, j in pairwise(sure) if err[i] * err[j] < 0]
    return ", ".join(f"{eta[i]:g} and {eta[j]:g}" for i, j in found)


def _fit(
    eta: np.ndarray, err: np.ndarray, se: np.ndarray, n: np.ndarray, method: str, powers: tuple[float, ...]
) -> tuple[Estimate, Estimate]:
    """Share and b by least squares of err/eta^p, p the order claimed (relative errors count alike), delta method."""
    design, size = eta[:, None] ** np.array(powers), eta ** powers[1]
    gain = np.linalg.pinv(design / size[:, None]) / size  # coefficients = gain @ err
    a, b = gain[0] @ err, gain[1] @ err
    scale = eta[-1] ** powers[0]
    share = a * scale / err[-1]
    slope = scale * gain[0] / err[-1]  # d share/d err
    slope = slope - np.eye(len(eta))[-1] * share / err[-1]
    most = int(np.max(n))
    return (
        Estimate(float(share), float(np.linalg.norm(slope * se)), most, method),
        Estimate(float(b), float(np.linalg.norm(gain[1] * se)), most, method),
    )


def _slopes(eta: np.ndarray, err: np.ndarray, se: np.ndarray, n: np.ndarray, method: str) -> tuple[Estimate, Estimate]:
    """Slope of log |err| on log eta, weighted by precision where there is noise, and the slopes of neighbours."""
    x, y, spread = np.log(eta), np.log(np.abs(err)), np.abs(se / err)
    w = np.ones_like(x) if not spread.all() else 1 / spread**2
    centred = x - (w * x).sum() / w.sum()
    square = (w * centred**2).sum()
    value, stderr = (w * centred * y).sum() / square, np.linalg.norm(w * centred * spread) / square
    local = np.diff(y) / np.diff(x)
    local_se = np.hypot(spread[1:], spread[:-1]) / np.abs(np.diff(x))
    most = int(np.max(n))
    return Estimate(float(value), float(stderr), most, method), Estimate(local, local_se, most, method)


def _undecided(
    eta: np.ndarray, err: np.ndarray, se: np.ndarray, n: np.ndarray, method: str, powers: tuple[float, ...], why: str
) -> Order:
    errors, slopes = Estimate(err, se, n, method), _slopes(eta, err, se, n, method)
    return Order(eta, errors, *slopes, *_fit(eta, err, se, n, method, powers), "inconclusive", f"excluded: {why}")
