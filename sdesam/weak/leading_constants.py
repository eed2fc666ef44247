"""e1 = lim (E phi(x_K) − E phi(X_T))/eta, and the constant of √eta, from ODEs along the gradient flow, in any d."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..arguments import require_nonnegative, require_positive
from ..dynamics.sde import NUMBERS_AT_ONCE
from ..engine.start import Points, Start
from ..problems.calculus import grad, hessian
from ..problems.observables import Observable
from ..problems.oracles import Oracle
from ..theory.one_step import Model, Nodes, Rule
from .by_grid.estimator import drift_and_covariance
from .drift_corrections import default_rule, mean_field

__all__ = ["LeadingConstant", "follows_gradient", "leading_constant"]

_MOST_STEPS = 1024
_VANISHING = 1e-7  # constants of √eta below it are rounding
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class LeadingConstant:
    """What theory demands of E phi(x_K) − E phi(X_T) = half·√eta + e1·eta + O(eta^(3/2)).

    Attributes
    ----------
    half : vanishes for a right drift
    drift_is_right : whether it vanishes for every observable; e1 and e1_with_noise are meaningful only then
    e1 : of the model as it is
    e1_with_noise : of the model with Σ as its leading covariance: the same for a right diffusion, what *order 1* has to
        meet so that a wrong one is seen
    """

    half: float
    e1: float
    e1_with_noise: float
    drift_is_right: bool


@torch.no_grad()
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

        half = ∇phi·d½,     e1 = ∇phi·d + ½ D²phi:V,     e1_with_noise = ∇phi·d at ΔA = 0

    Parameters
    ----------
    model : ``(g, eta, rho) -> SDE``, smooth in rho
    nodes : a rule of the noise where g has no default one (d > 2); with a random rule a₁ is not resolved, and ``half``
        is taken to be 0

    Raises
    ------
    ValueError
        For a bad horizon, rho_scale or x0, an update that is not the gradient at rho = 0, ODEs that 1,024 Runge-Kutta
        steps do not solve to 1e-3, or as ``modified_equation`` for the rule.

    Source: derived for this project.
    """
    horizon = require_positive("horizon", horizon, "it is the model time of the comparison")
    rho_scale = require_nonnegative("rho_scale", rho_scale, "rho = rho_scale·√eta")
    rule = default_rule(g, nodes)
    start = Start.of(x0).alone("the gradient flow starts at one point").double()
    if not follows_gradient(update, g, start, nodes=nodes):
        raise ValueError("update must be the stochastic gradient at rho = 0: these ODEs follow the gradient flow.")
    fields_at = partial(_fields, update, rule, model, rho_scale)
    steps, before = 8, None
    while True:
        found = _constants(_solved(fields_at, g.mean, start, horizon, steps), rule, observables)
        if before is not None and all(_close(before[name], found[name]) for name in found):
            return found
        if steps >= _MOST_STEPS:
            raise ValueError(
                f"horizon = {horizon} is too long for these ODEs: {steps} Runge-Kutta steps do not solve them, because "
                "the landscape is too curved along the gradient flow, or the model's drift is not smooth."
            )
        before, steps = found, 2 * steps


@torch.no_grad()
def follows_gradient(update: Callable[..., Tensor], g: Oracle, x: Tensor, *, nodes: Nodes = None) -> bool:
    """Whether E G(x, z; rho = 0) = ∇f(x) at a point (d,): what ``leading_constant`` presumes of an update."""
    rule, m = default_rule(g, nodes), grad(g.mean)(x)
    points, z, w = rule(x[None])
    plain = (w[..., None] * rule.g(points, z)).sum(-2)[0]
    gap = (mean_field(update, rule, x[None], 0.0)[0] - plain).abs().max()
    return float(gap) <= 1e-9 * (1 + float(m.abs().max()))


def _close(a: LeadingConstant, b: LeadingConstant) -> bool:
    size = max(abs(b.half), abs(b.e1), 1e-3)
    return abs(a.half - b.half) <= 1e-3 * size and abs(a.e1 - b.e1) <= 1e-3 * size


def _solved(fields_at: Callable[[Tensor], Fields], f: Observable, start: Tensor, horizon: float, steps: int) -> State:
    """State (x, d½, d, V, d at V = 0) at the horizon: x alone first, so that the fields are computed for all stages."""
    h, d = horizon / steps, len(start)
    stages, x = _gradient_flow(f, start, h, steps)
    fields = fields_at(stages)
    state: State = tuple(start.new_zeros(*size) for size in ((d,), (d,), (d, d), (d,)))
    for k in range(0, 4 * steps, 4):
        k1 = _slopes(f, fields.at(k), state)
        k2 = _slopes(f, fields.at(k + 1), _moved(state, k1, h / 2))
        k3 = _slopes(f, fields.at(k + 2), _moved(state, k2, h / 2))
        k4 = _slopes(f, fields.at(k + 3), _moved(state, k3, h))
        state = tuple(s + h / 6 * (a + 2 * b + 2 * c + e) for s, a, b, c, e in zip(state, k1, k2, k3, k4, strict=True))
    return x, *state


def _gradient_flow(f: Observable, x: Tensor, h: float, steps: int) -> tuple[Tensor, Tensor]:
    """The points of all Runge-Kutta stages of x' = −∇f(x), (4·steps, d), and the last x."""
    slope, stages = grad(f), []
    for _ in range(steps):
        four, k = [x], [-slope(x)]
        for part in (h / 2, h / 2, h):
            four.append(x + part * k[-1])
            k.append(-slope(four[-1]))
        stages += four
        x = x + h / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
    return torch.stack(stages), x


def _constants(state: State, rule: Rule, observables: Mapping[str, Observable]) -> dict[str, LeadingConstant]:
    x, half, first, V, noisy = state
    right = rule.is_sampled or float(half.abs().max()) < _VANISHING
    found = {}
    for name, phi in observables.items():
        gradient, curvature = grad(phi)(x), hessian(phi)(x)
        e1 = float(gradient @ first + (curvature * V).sum() / 2)
        constant = 0.0 if rule.is_sampled else float(gradient @ half)
        found[name] = LeadingConstant(constant, e1, float(gradient @ noisy), right)
    return found


def _moved(state: State, slope: State, h: float) -> State:
    return tuple(s + h * k for s, k in zip(state, slope, strict=True))


@dataclass(frozen=True)
class Fields:
    """What the equations need at points (n, d): H, c a₁, the source of d, and ΔA."""

    x: Tensor
    H: Tensor
    half: Tensor
    source: Tensor
    noise: Tensor

    def at(self, k: int) -> Fields:
        """At one of the points."""
        return Fields(self.x[k], self.H[k], self.half[k], self.source[k], self.noise[k])


def _fields(update: Callable[..., Tensor], rule: Rule, model: Model, c: float, x: Tensor) -> Fields:
    """In parts of bounded memory: each point takes every node of the rule."""
    most = max(1, NUMBERS_AT_ONCE // (rule.count * x.shape[-1]))
    parts = [_fields_together(update, rule, model, c, part) for part in x.split(most)]
    return Fields(x, *(torch.cat([getattr(p, name) for p in parts]) for name in ("H", "half", "source", "noise")))


def _fields_together(update: Callable[..., Tensor], rule: Rule, model: Model, c: float, x: Tensor) -> Fields:
    f = rule.g.mean
    m, H = grad(f)(x), hessian(f)(x)
    a1, a2, b1 = _gap(update, rule, model, x)
    source = -(H @ m[..., None])[..., 0] / 2 - c**2 * a2 - b1
    return Fields(x, H, c * a1, source, _covariance_gap(rule, model, x))


def _slopes(f: Observable, at: Fields, state: State) -> State:
    """Of (d½, d, V, d at V = 0)."""
    half, first, V, noisy = state
    bent = grad(lambda y: (hessian(f)(y) * V).sum((-2, -1)))(at.x) if bool(V.any()) else torch.zeros_like(at.x)
    H = at.H
    return -H @ half - at.half, -H @ first + at.source - bent / 2, -H @ V - V @ H + at.noise, -H @ noisy + at.source


_RHO = 1e-3  # finite differences in rho: truncation of relative size 1e-6, rounding 1e-9
_ETA = 1e-6
_FIRST = (-11 / 6, 3.0, -3 / 2, 1 / 3)
_SECOND = (2.0, -5.0, 4.0, -1.0)


def _gap(update: Callable[..., Tensor], rule: Rule, model: Model, x: Tensor) -> State:
    """a₁, a₂ and b₁ of Ḡ(rho) + b at points x (n, d) by one-sided differences in rho, at a small eta."""
    values = [
        mean_field(update, rule, x, k * _RHO) + model(rule.g, _ETA, k * _RHO).coefficients(x)[0] for k in range(4)
    ]
    first = sum((w * v for w, v in zip(_FIRST, values, strict=True)), torch.zeros_like(x)) / _RHO
    second = sum((w * v for w, v in zip(_SECOND, values, strict=True)), torch.zeros_like(x)) / _RHO**2
    plain = model(rule.g, _ETA, 0.0).coefficients(x)[0] + grad(rule.g.mean)(x)  # E g = ∇f, without the rule
    return first, second / 2, plain / _ETA


def _covariance_gap(rule: Rule, model: Model, x: Tensor) -> Tensor:
    """Σ − lim A/eta (n, d, d) at points, 0 at the level of the differences taken, or of a random rule's error."""
    points, z, w = rule(x)
    G = rule.g(points, z)
    centred = w.sqrt()[..., None] * (G - (w[..., None] * G).sum(-2, keepdim=True))
    Sigma = centred.mT @ centred
    _, A = drift_and_covariance(model(rule.g, _ETA, 0.0), x)
    gap = Sigma - A / _ETA
    known_to = 8 / w.shape[-1] ** 0.5 if rule.is_sampled else 1e-6
    size, floor = (v.abs().amax((-2, -1), keepdim=True) for v in (gap, known_to * Sigma))
    return torch.where(size > floor, gap, torch.zeros_like(gap))
