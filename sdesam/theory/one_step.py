"""The SDE of any update field, of order 1 or 2, from the moments of one step by a quadrature of the oracle's noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..arguments import require_count, require_positive
from ..dynamics.sde import SDE, Coefficients, LinearMap, UpdateField
from ..dynamics.updates import with_floats
from ..problems.calculus import Scalar, derivative_along, grad
from ..problems.noise import Choice, Normal, Sample
from ..problems.oracles import GaussianOracle, Oracle, require_oracle

__all__ = [
    "Model", "Nodes", "Rule", "RuleCoefficients", "Terms", "modified_equation", "rule_of", "rule_sde", "sampling_error",
]  # fmt: skip

Nodes = tuple[Any, Tensor] | None  # draws of an oracle's noise with their weights, in the place of its own rule
Model = Callable[[Oracle, float, float], SDE]  # (g, eta, rho) -> SDE
_LEAST_ORDER = 28  # the weights of the polar rule then sum to one within 1e-8, wherever the pole is


@dataclass(frozen=True, eq=False)
class Rule:
    """The quadrature of an oracle's noise that an SDE's coefficients are computed with.

    ``nodes`` is a fixed rule (z, w); None is the noise's own rule of the given order, about the oracle's pole.
    """

    g: Oracle
    order: int
    nodes: Nodes = None

    @property
    def is_sampled(self) -> bool:
        """Whether the nodes are random draws, so that there is a sampling error."""
        return isinstance(self.nodes, Sample)

    @property
    def count(self) -> int:
        """Number of nodes; raises ``ValueError`` here, at the boundary, when there is no rule."""
        if self.nodes is not None:
            return len(self.nodes[1])
        at_zero = torch.zeros(self.g.noise.size, dtype=torch.float64) if isinstance(self.g, GaussianOracle) else None
        return self.g.noise.nodes(self.order, at_zero)[1].shape[-1]

    def __call__(self, x: Tensor) -> tuple[Tensor, Any, Tensor]:
        """Return x repeated (..., Q, d) for each node, the nodes z and their weights (..., Q)."""
        pole = self.g.pole(x) if isinstance(self.g, GaussianOracle) else None
        z, w = self.g.noise.nodes(self.order, pole) if self.nodes is None else self.nodes
        repeated = x[..., None, :].expand(*x.shape[:-1], w.shape[-1], x.shape[-1]).clone()
        return repeated, _like(z, x), w.to(x)


@dataclass(frozen=True, eq=False)
class Terms:
    """What a rule gives at x: drift = −(known + Σ_q w_q estimated_q), covariance = eta Cov_w(fields)."""

    known: Tensor | float
    estimated: Tensor
    fields: Tensor
    w: Tensor

    def centred(self) -> Tensor:
        """√w_q (fields_q − mean): its Gram matrix is the covariance."""
        mean = (self.w[..., None] * self.fields).sum(-2, keepdim=True)
        return self.w.sqrt()[..., None] * (self.fields - mean)


@dataclass(frozen=True, eq=False)
class RuleCoefficients:
    """Coefficients of an SDE by quadrature over the noise of one step; ``terms`` says of what."""

    g: Oracle
    eta: Scalar
    rule: Rule

    def terms(self, x: Tensor) -> Terms:
        """The terms at x."""
        raise TypeError(f"{type(self).__name__} does not say its terms")

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        """Drift, and dw ↦ −√eta Σ_q dw_q √w_q (fields_q − mean): m = Q, and no d x d matrix is formed."""
        terms = self.terms(x)
        factor = terms.centred()
        drift = -(terms.known + (terms.w[..., None] * terms.estimated).sum(-2))
        return drift, lambda dw: -(self.eta**0.5) * (dw[..., None, :] @ factor)[..., 0, :]


@dataclass(frozen=True, eq=False)
class _OneStepMoments(RuleCoefficients):
    update: UpdateField

    def terms(self, x: Tensor) -> Terms:
        points, z, w = self.rule(x)
        G = self.update(self.g, points, z)
        if self.rule.nodes is None:
            return Terms(0.0, G, G, w)
        return Terms(grad(self.g.mean)(x), G - self.g(points, z), G, w)  # E g = ∇f is known: less is left to estimate


@dataclass(frozen=True, eq=False)
class _SecondOrder(_OneStepMoments):
    """Drift −Ḡ − (eta/2) DḠ Ḡ; the nodes move with x, and the derivative goes through them."""

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        (drift, along), diffusion = self._drift_and_derivative(x), super().__call__(x)[1]
        return drift - self.eta / 2 * along, diffusion

    def _drift_and_derivative(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = super().__call__
        return derivative_along(lambda y: first(y)[0], x)


@torch.no_grad()
def sampling_error(sde: SDE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Standard errors, at x, of the drift ``(..., d)`` and of tr B Bᵀ ``(...)`` of an SDE with ``nodes=sampled(...)``.

    The nodes are R fixed draws of the noise, the same at every x and step: the error is a bias of the SDE, of size
    rho/√R in the drift, and it does not average out over replicates.  Both are 0 for SDEs whose nodes are all draws of
    the noise, or a rule of your own.  The printed forms have the errors of the SDE they were cut from, to first order.
    """
    coefficients = getattr(sde.coefficients, "cut_from", sde).coefficients
    if not isinstance(coefficients, RuleCoefficients) or not coefficients.rule.is_sampled:
        return torch.zeros_like(x), torch.zeros_like(x[..., 0])
    terms = coefficients.terms(x)
    R = terms.w.shape[-1]
    squares = coefficients.eta * R * terms.centred().square().sum(-1)
    return terms.estimated.std(-2) / R**0.5, squares.std(-1) / R**0.5


def _like(z: Any, x: Tensor) -> Any:
    """Floats in x's dtype, indices as they are, all on x's device; a product's tuple factor by factor."""
    if isinstance(z, tuple):
        return tuple(_like(part, x) for part in z)
    return z.to(x) if z.is_floating_point() else z.to(x.device)


def modified_equation(
    update: UpdateField,
    g: Oracle,
    eta: Scalar,
    *,
    order: int = 1,
    points: int = 32,
    nodes: Nodes = None,
) -> SDE:
    """The SDE of any update field from its one-step moments, with Ḡ = E G and rho kept exactly inside.

    Order 1:  dX = −Ḡ dt + √eta (Cov G)^½ dW.      Order 2:  dX = −(Ḡ + (eta/2) DḠ Ḡ) dt + √eta (Cov G)^½ dW.

    Expectations are over the oracle's noise at fixed x, by quadrature: no expansion in rho.  The theorem formulas are
    first order in rho, so they differ from the first by O(rho²).  For SGD the second is −∇(f + eta/4 |∇f|²), that of
    Li, Tai and E 2017; at fixed rho its weak order is 2 for every update that is smooth in x.

    Parameters
    ----------
    update : G(g, x, z), with rho bound by ``functools.partial``
    order : weak order of the model, 1 or 2.  Where Ḡ has a kink (DNSAM at ∇f = 0) DḠ does not exist: order 2 is lost
    points : nodes per dimension of the default rule, which for a Gaussian oracle with m <= 2 is split about
        the z where g vanishes (Gauss-Hermite fails for SAM there)
    nodes : a rule (z, w) of your choice instead, e.g. ``g.noise.sampled(4096, seed=1)``, whose error is
        ``sampling_error(sde, x)``, or ``g.noise.nodes(3)`` for updates that are polynomial in z.  With it the
        exact ∇f is used, and only E[G − g] is estimated

    Returns
    -------
    SDE whose ``noise_dim`` is the number of nodes: it is for laws and checks, not for coupling.

    Raises
    ------
    ValueError
        When the default rule does not exist (m > 2) or is too large; the message names the alternatives.

    Source: derived for this project (backward error analysis of one step); checked without Monte Carlo.
    """
    eta, update = require_positive("eta", eta, "it is the learning rate"), with_floats(update)
    require_oracle(g)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, the weak order of the model, got {order!r}.")
    dim = getattr(g, "dim", None)
    if isinstance(g.noise, Normal) and g.noise.size == 0:
        return SDE(_noiseless(update, g, eta, order), noise_dim=0, dim=dim)
    rule = rule_of(g, points, nodes)
    form = _OneStepMoments if order == 1 else _SecondOrder
    return rule_sde(form(rule.g, eta, rule, update))


def _noiseless(update: UpdateField, g: Oracle, eta: Scalar, order: int) -> Coefficients:
    def drift(x: Tensor) -> Tensor:
        return -update(g, x, x.new_empty(0))

    def second(x: Tensor) -> tuple[Tensor, None]:
        b, along = derivative_along(drift, x)
        return b - eta / 2 * along, None

    return second if order == 2 else lambda x: (drift(x), None)


def rule_sde(coefficients: RuleCoefficients) -> SDE:
    """The SDE of coefficients computed by a rule: m = Q, and Q·d numbers are held for a replicate."""
    count, dim = coefficients.rule.count, getattr(coefficients.g, "dim", None)
    return SDE(coefficients, noise_dim=count, dim=dim, row_size=count * (dim or 1))


def rule_of(g: Oracle, order: int, nodes: Nodes) -> Rule:
    """The rule of the caller, or the default one of the oracle's noise, on an oracle of the same law."""
    if nodes is not None:
        _require_rule(g, nodes)
        return Rule(g, order, nodes)
    if isinstance(g, GaussianOracle):
        why = "a rule about a pole with fewer nodes misses mass"
        order = require_count("points", order, least=_LEAST_ORDER, why=why)
        return Rule(_compact(g), order)
    return Rule(g, order)


def _require_rule(g: Oracle, nodes: object) -> None:
    """Raise unless nodes is a pair (z, w) of draws of g's noise, weights of sum 1: else it is another model."""
    noise = type(g.noise).__name__
    if not (isinstance(nodes, tuple) and len(nodes) == 2 and isinstance(nodes[1], Tensor)):
        raise TypeError(f"nodes must be a pair (z, w), as {noise}.sampled(n, seed) gives, got {type(nodes).__name__}.")
    z, w = nodes
    if w.ndim != 1 or not bool((w >= 0).all()) or not abs(float(w.sum()) - 1) <= 1e-6:
        raise ValueError(f"nodes must have weights (Q,) >= 0 that sum to 1, got a sum of {float(w.sum()):.6g}.")
    if isinstance(z, Tensor):
        expected = tuple(g.noise.sampled(2, 0).z.shape[1:])
        if tuple(z.shape) != (len(w), *expected):
            raise ValueError(
                f"nodes must be {len(w)} draws of {noise}, shape {(len(w), *expected)}, got {tuple(z.shape)}: in "
                "another shape they are another optimizer's noise."
            )
    if isinstance(g.noise, Choice) and not bool(((z >= 0) & (z < g.noise.N)).all()):
        raise ValueError(f"nodes must hold indices 0..{g.noise.N - 1}, got {int(z.min())}..{int(z.max())}.")


def _compact(g: GaussianOracle) -> GaussianOracle:
    smaller = g.compact()
    if smaller.noise_dim > smaller.dim:
        raise ValueError(
            f"g must have at most d = {g.dim} normals for the default rule when its factor depends on x, got "
            f"{g.noise_dim}: pass nodes=g.noise.sampled(n, seed), or nodes=g.noise.nodes(order) if the update is "
            "smooth in z (SGD, USAM, DNSAM are; SAM is not)."
        )
    return smaller
