"""Tests that see what the order of E phi cannot: the diffusion, and the O(eta) part of the drift.

Order 1 speaks of the drift to O(√eta) only; any diffusion of size O(eta) passes, even none.

    fluctuation_order   S(eta) = max |Cov x_k − Cov X|/eta: slope 1 for a right rho-term of the covariance, 1/2 where it
                        is missing or has its factors in the wrong order, 0 without noise
    corrected_drift     the model with the drift's own O(eta) terms: order 3/2 (2 without rho); a missing diffusion
                        shows as order 1
    leading_constant    e1 = lim (E phi(x_K) − E phi(X_T))/eta from an ODE, in any dimension
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .calculus import grad, grad_and_hessian, hessian
from .conclusions import HALF_INTEGER, Order
from .deterministic import drift_and_covariance
from .ensembles import Points, as_points
from .observables import Observable
from .one_step import Rule, rule_of
from .oracles import Oracle
from .orders import Estimator, PairAt, clock, concluded, errors_at
from .sde import SDE, LinearMap
from .statistics import Estimate
from .validation import require_nonnegative, require_positive
from .weak_error import WeakError

__all__ = [
    "LeadingConstant", "corrected_drift", "fluctuation_order", "gradient_flow", "largest", "leading_constant",
    "scaled_fluctuation", "second_moments",
]  # fmt: skip

Model = Callable[[Oracle, float, float], SDE]
Nodes = tuple[Any, Tensor] | None


# ----------------------------------------------------------------- S(eta)
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
    require_positive("horizon", horizon, "it is the model time of the comparison")
    falling, steps = clock(etas, horizon)
    start = as_points("x0", x0, None).double()
    phis = second_moments(gradient_flow(pair_at(falling[-1])[1], start, horizon).tolist())
    S = []
    for eta, k in zip(falling, steps, strict=True):
        found = errors_at(pair_at(eta), x0, k, phis, estimator, n or 40_000, seed)
        S.append(largest(scaled_fluctuation(found, eta, len(start))))
    joined = Estimate(
        np.array([float(s.value) for s in S]), np.array([float(s.stderr) for s in S]), int(np.max(S[0].n)), S[0].method
    )
    return concluded(np.array(falling), joined, powers)


def gradient_flow(sde: SDE, start: Tensor, horizon: float, steps: int = 32) -> Tensor:
    """Where the drift alone takes x0 by the horizon (Heun's scheme)."""
    x, h = start[None], horizon / steps
    for _ in range(steps):
        b, _ = sde.coefficients(x)
        x = x + h / 2 * (b + sde.coefficients(x + h * b)[0])
    return x[0]


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


# ----------------------------------------------------------------- the drift's O(eta) terms
def corrected_drift(update: Callable[..., Tensor], g: Oracle, model: Model, *, nodes: Nodes = None) -> Model:
    """The model with drift b − (eta/2) H∇f − ½ (Ḡ(rho) + Ḡ(−rho) − 2∇f): what a first-order b leaves out at O(eta).

    Ḡ(rho) = E G; the last term is rho²/2 E D³f[v, v] + O(rho⁴).  For a b that has the rho² term already, use
    ``modified_equation(…, order=2)``.  Weak order 3/2 for rho ~ √eta, 2 for SGD; without a diffusion order 1.

    Source: derived for this project.
    """

    def corrected(g: Oracle, eta: float, rho: float) -> SDE:
        sde, rule = model(g, eta, rho), _rule(g, nodes)

        def coefficients(x: Tensor) -> tuple[Tensor, LinearMap | None]:
            drift, diffusion = sde.coefficients(x)
            m, H = grad_and_hessian(g.mean)(x)
            even = (_mean_field(update, rule, x, rho) + _mean_field(update, rule, x, -rho)) / 2 - _mean_field(
                update, rule, x, 0.0
            )
            return drift - eta / 2 * H(m) - even, diffusion

        return SDE(coefficients, sde.noise_dim, private_dim=sde.private_dim, dim=sde.dim, row_size=sde.row_size)

    return corrected


def _rule(g: Oracle, nodes: Nodes) -> Rule:
    return rule_of(g, 32 if getattr(g, "dim", None) == 1 else 28, nodes)


def _mean_field(update: Callable[..., Tensor], rule: Rule, x: Tensor, rho: float) -> Tensor:
    """Ḡ(x) = E G(x, z; rho)."""
    points, z, w = rule(x)
    return (w[..., None] * update(rule.g, points, z, rho=rho)).sum(-2)


# ----------------------------------------------------------------- e1
_MOST_STEPS = 1024
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class LeadingConstant:
    """What theory demands of E phi(x_K) − E phi(X_T) = half·√eta + e1·eta + O(eta^(3/2)).

    ``half`` vanishes for a right drift; ``e1`` is meaningful only then.
    """

    half: float
    e1: float


def leading_constant(
    update: Callable[..., Tensor],
    g: Oracle,
    model: Model,
    *,
    rho_scale: float,
    x0: Points,
    horizon: float,
    observables: Mapping[str, Observable],
    nodes: Nodes = None,
) -> dict[str, LeadingConstant]:
    """The leading constants of the weak error for rho = rho_scale √eta, from ODEs along the gradient flow.

    x' = −∇f(x);  with Ḡ(rho) + b = rho a₁ + (rho² a₂ + eta b₁) + …, c = rho_scale, ΔA = Σ − lim A/eta:

        d½' = −H d½ − c a₁,     d' = −H d − ½ H∇f − c² a₂ − b₁ − ½ D³f:V,     V' = −HV − VH + ΔA,     all 0 at t = 0

        half = ∇phi·d½,     e1 = ∇phi·d + ½ D²phi:V

    Parameters
    ----------
    model : ``(g, eta, rho) -> SDE``, smooth in rho
    nodes : a rule of the noise where g has no default one (d > 2); with a random rule a₁ is not resolved, and ``half``
        is taken to be 0

    Raises
    ------
    ValueError
        For a bad horizon, rho_scale or x0, ODEs that 1,024 Runge-Kutta steps do not solve to 1e-3, or as
        ``modified_equation`` for the rule.

    Source: derived for this project.
    """
    require_positive("horizon", horizon, "it is the model time of the comparison")
    require_nonnegative("rho_scale", rho_scale, "rho = rho_scale·√eta")
    rule = _rule(g, nodes)
    start = as_points("x0", x0, None).double()
    slope = partial(_slopes, update, rule, model, rho_scale)
    steps, before = 8, None
    while True:
        found = _constants(_solved(slope, start, horizon, steps), rule, observables)
        if before is not None and all(_close(before[name], found[name]) for name in found):
            return found
        if steps >= _MOST_STEPS:
            raise ValueError(
                f"horizon = {horizon} is too long for these ODEs: {steps} Runge-Kutta steps do not solve them, because "
                "the landscape is too curved along the gradient flow, or the model's drift is not smooth."
            )
        before, steps = found, 2 * steps


def _close(a: LeadingConstant, b: LeadingConstant) -> bool:
    size = max(abs(b.half), abs(b.e1), 1e-3)
    return abs(a.half - b.half) <= 1e-3 * size and abs(a.e1 - b.e1) <= 1e-3 * size


def _solved(slope: Callable[[State], State], start: Tensor, horizon: float, steps: int) -> State:
    """State (x, d½, d, V) at the horizon."""
    d, h = len(start), horizon / steps
    zero = start.new_zeros
    state: State = (start, zero(d), zero(d), zero(d, d))
    for _ in range(steps):
        k1 = slope(state)
        k2 = slope(_moved(state, k1, h / 2))
        k3 = slope(_moved(state, k2, h / 2))
        k4 = slope(_moved(state, k3, h))
        state = tuple(s + h / 6 * (a + 2 * b + 2 * c + e) for s, a, b, c, e in zip(state, k1, k2, k3, k4, strict=True))
    return state


def _constants(state: State, rule: Rule, observables: Mapping[str, Observable]) -> dict[str, LeadingConstant]:
    x, half, first, V = state
    found = {}
    for name, phi in observables.items():
        gradient, curvature = grad(phi)(x), hessian(phi)(x)
        e1 = float(gradient @ first + (curvature * V).sum() / 2)
        found[name] = LeadingConstant(0.0 if rule.is_sampled else float(gradient @ half), e1)
    return found


def _moved(state: State, slope: State, h: float) -> State:
    return tuple(s + h * k for s, k in zip(state, slope, strict=True))


def _slopes(update: Callable[..., Tensor], rule: Rule, model: Model, c: float, state: State) -> State:
    x, half, first, V = state
    f = rule.g.mean
    m, H = grad(f)(x), hessian(f)(x)
    a1, a2, b1 = _gap(update, rule, model, x)
    bent = grad(lambda y: (hessian(f)(y) * V).sum((-2, -1)))(x) if bool(V.any()) else torch.zeros_like(x)
    noise = _covariance_gap(rule, model, x)
    return (
        -m, -H @ half - c * a1, -H @ first - H @ m / 2 - c**2 * a2 - b1 - bent / 2, -H @ V - V @ H + noise,
    )  # fmt: skip


_RHO = 1e-3  # finite differences in rho: truncation of relative size 1e-6, rounding 1e-9
_ETA = 1e-6
_FIRST = (-11 / 6, 3.0, -3 / 2, 1 / 3)
_SECOND = (2.0, -5.0, 4.0, -1.0)


def _gap(update: Callable[..., Tensor], rule: Rule, model: Model, x: Tensor) -> State:
    """a₁, a₂ and b₁ of Ḡ(rho) + b at x by one-sided differences in rho, at a small eta."""
    points = x[None]
    values = [
        (_mean_field(update, rule, points, k * _RHO) + model(rule.g, _ETA, k * _RHO).coefficients(points)[0])[0]
        for k in range(4)
    ]
    first = sum((w * v for w, v in zip(_FIRST, values, strict=True)), torch.zeros_like(x)) / _RHO
    second = sum((w * v for w, v in zip(_SECOND, values, strict=True)), torch.zeros_like(x)) / _RHO**2
    plain = model(rule.g, _ETA, 0.0).coefficients(points)[0][0] + grad(rule.g.mean)(x)  # E g = ∇f, without the rule
    return first, second / 2, plain / _ETA


def _covariance_gap(rule: Rule, model: Model, x: Tensor) -> Tensor:
    """Σ − lim A/eta at x, 0 where it is at the level of the differences taken, or of a random rule's error."""
    points, z, w = rule(x[None])
    G = rule.g(points, z)
    centred = w.sqrt()[..., None] * (G - (w[..., None] * G).sum(-2, keepdim=True))
    Sigma = (centred.mT @ centred)[0]
    _, A = drift_and_covariance(model(rule.g, _ETA, 0.0), x[None])
    gap = Sigma - A[0] / _ETA
    known_to = 8 / len(w) ** 0.5 if rule.is_sampled else 1e-6
    return gap if float(gap.abs().max()) > known_to * float(Sigma.abs().max()) else torch.zeros_like(gap)
