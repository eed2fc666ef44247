"""The general SDEs of SGD, USAM, DNSAM and SAM: minibatches whose Hessian depends on the batch.

With v the ascent direction of a minibatch (USAM ∇f_γ, DNSAM ∇f_γ/|∇f| or ∇f/|∇f|, SAM ∇f_γ/|∇f_γ|),

    dX = −(∇f + rho E[H_γ v]) dt + (eta Cov(∇f_γ + rho H_γ v))^½ dW.

The drift is −∇(f + rho/2 E|∇f_γ|²) for USAM and −∇(f + rho E|∇f_γ|) for SAM; DNSAM's is a gradient only for additive
noise or the full numerator.  The covariance is used as a product of per-sample vectors: cost and memory O(Q d) for Q
minibatches, and no d x d matrix is formed.  It contains the theorems' Σ + rho(S̃ + S̃ᵀ), S̃ = Cov(∇f_γ, H_γ v), and the
rho² term that keeps it positive.  Weak order 1 for rho = O(√eta).

Where the noise is additive these functions return the closed forms of ``additive``, which equal the general ones and
can be coupled with the optimizer.

Source: general theorems recalled, not re-read; drifts and covariances re-derived and checked against the modified
equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...dynamics.sde import SDE, LinearMap
from ...problems.calculus import Scalar, grad, hvp, norm, over, unit
from ...problems.minibatch import MinibatchOracle, single_data
from ...problems.oracles import GaussianOracle, Oracle, is_additive, linearize, require_oracle
from ..one_step import Nodes, Rule, RuleCoefficients, Terms, rule_of, rule_sde
from .additive import (
    checked,
    dnsam_full_numerator_sde_additive,
    dnsam_sde_additive,
    sam_sde_additive,
    sgd_sde_additive,
    usam_sde_additive,
)

__all__ = ["FirstOrder", "dnsam_full_numerator_sde", "dnsam_sde", "mean_square", "sam_sde", "sgd_sde", "usam_sde"]

_ORDER = 32


def sgd_sde(g: Oracle, *, eta: Scalar, rho: Scalar = 0.0, nodes: Nodes = None) -> SDE:
    """SGD: dX = −∇f dt + (eta Σ(X))^½ dW.  ``rho`` is accepted and ignored.

    A minibatch's Σ_B is κ_B Σ_1, so for any batch size one pass over the N data gives it.  Weak order 1 (Li, Tai and E
    2017).

    Raises
    ------
    ValueError
        For a bad eta, or noise without an affordable rule.
    """
    require_oracle(g)
    eta, _ = checked(eta, rho)
    if is_additive(g) and nodes is None:
        return sgd_sde_additive(g, eta=eta)
    if isinstance(g, GaussianOracle) and nodes is None:
        return SDE(_StateDependentNoise(g, eta), noise_dim=g.noise.size, dim=g.dim, row_size=g.noise.size * g.dim)
    if isinstance(g, MinibatchOracle) and nodes is None:
        single, data = single_data(g)
        rule = Rule(single, _ORDER, data)
        return rule_sde(_PlainGradient(g, eta, rule, g.variance_factor**0.5))
    rule = rule_of(g, _ORDER, nodes)
    return rule_sde(_PlainGradient(rule.g, eta, rule, 1.0))


def usam_sde(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None) -> SDE:
    """USAM: dX = −∇(f + rho/2 E|∇f_γ|²) dt + (eta Cov(∇f_γ + rho H_γ ∇f_γ))^½ dW.

    E|∇f_γ|² = |∇f|² + tr Σ(x): under batch-dependent Hessians the drift has −rho/2 ∇tr Σ beside the −rho H∇f of the
    additive form.

    Parameters
    ----------
    nodes : a rule (z, w) over minibatches; by default all of them.  Where they are too many,
        ``g.noise.sampled(R, seed)``: the drift is still exact, the covariance has the error ``sampling_error(sde, x)``

    Returns
    -------
    SDE with m = Q, the number of nodes (of the closed form, m = that of the oracle, for additive noise).

    Raises
    ------
    ValueError
        For bad eta or rho, or more than 10,000 minibatches without ``nodes``.
    """
    if is_additive(g) and nodes is None:
        return usam_sde_additive(g, eta=eta, rho=rho)
    return _general(g, eta, rho, _smooth(g, nodes), _own, _half_gradient_of_mean_square)


def dnsam_sde(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None) -> SDE:
    """DNSAM: dX = −(∇f + rho E[H_γ ∇f_γ]/|∇f|) dt + (eta Cov(∇f_γ + rho H_γ ∇f_γ/|∇f|))^½ dW.

    E[H_γ ∇f_γ] = H∇f + ½ ∇tr Σ, so under batch-dependent Hessians the drift is no gradient of f + rho |∇f|.  Singular
    at critical points, where the ascent is 0 by convention.

    Parameters, returns and errors as ``usam_sde``.
    """
    if is_additive(g) and nodes is None:
        return dnsam_sde_additive(g, eta=eta, rho=rho)
    return _general(g, eta, rho, _smooth(g, nodes), _over_the_mean, _half_gradient_over_norm)


def dnsam_full_numerator_sde(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None) -> SDE:
    """DNSAM with ascent ∇f/|∇f|: dX = −∇(f + rho |∇f|) dt + (eta Cov(∇f_γ + rho H_γ ∇f/|∇f|))^½ dW.

    The drift is a gradient for any noise, since E H_γ = H; the diffusion is Σ^½ for additive noise only.

    Parameters, returns and errors as ``usam_sde``.
    """
    if is_additive(g) and nodes is None:
        return dnsam_full_numerator_sde_additive(g, eta=eta, rho=rho)
    return _general(g, eta, rho, _smooth(g, nodes), _unit_of_the_mean, _full_batch_response)


def sam_sde(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None) -> SDE:
    """SAM: dX = −∇(f + rho E|∇f_γ|) dt + (eta Cov(∇f_γ + rho H_γ v))^½ dW, v = ∇f_γ/|∇f_γ|.

    E|∇f_γ| depends on the whole law of the minibatch gradient, not on Σ alone, and it does not scale with the batch
    size.  For additive Gaussian noise the closed forms with the full covariance are used (``sam_sde_additive``).

    Parameters
    ----------
    nodes : a rule (z, w) over minibatches; by default all of them.  Where they are too many,
        ``g.noise.sampled(R, seed)``: drift and covariance then have the errors
        ``sampling_error(sde, x)``, a bias of the SDE

    Returns, raises
        As ``usam_sde``; and ``ValueError`` for Gaussian noise with a factor that depends on x and more than two
        normals.
    """
    if is_additive(g) and nodes is None:
        return sam_sde_additive(g, eta=eta, rho=rho)
    return _general(g, eta, rho, nodes, _own_direction, None)


# ----------------------------------------------------------------- ascent directions v(∇f_γ, ∇f)
def _own(values: Tensor, m: Tensor) -> Tensor:
    return values


def _own_direction(values: Tensor, m: Tensor) -> Tensor:
    return unit(values)


def _over_the_mean(values: Tensor, m: Tensor) -> Tensor:
    return over(values, norm(m).expand(values.shape[:-1]))


def _unit_of_the_mean(values: Tensor, m: Tensor) -> Tensor:
    return unit(m).expand_as(values).clone()


# ----------------------------------------------------------------- responses E[H_γ v] that need no enumeration
def mean_square(g: MinibatchOracle, x: Tensor) -> Tensor:
    """E|∇f_γ|² = |∇f|² + κ_B (E_1|∇f_i|² − |∇f|²), exact for every batch size in one pass over the data."""
    single, rule = single_data(g)
    points, z, w = Rule(single, _ORDER, rule)(x)
    first = (w * single(points, z).square().sum(-1)).sum(-1)
    full = grad(g.mean)(x).square().sum(-1)
    return full + g.variance_factor * (first - full)


def _half_gradient_of_mean_square(g: MinibatchOracle, x: Tensor, m: Tensor) -> Tensor:
    return torch.func.grad(lambda y: mean_square(g, y).sum())(x) / 2


def _half_gradient_over_norm(g: MinibatchOracle, x: Tensor, m: Tensor) -> Tensor:
    return over(_half_gradient_of_mean_square(g, x, m), norm(m))


def _full_batch_response(g: MinibatchOracle, x: Tensor, m: Tensor) -> Tensor:
    return hvp(g.mean)(x, unit(m))


# ----------------------------------------------------------------- coefficients
@dataclass(frozen=True, eq=False)
class _PlainGradient(RuleCoefficients):
    """∇f_γ at every node, times √κ when the nodes are single data."""

    scale: float

    def terms(self, x: Tensor) -> Terms:
        points, z, w = self.rule(x)
        values = self.rule.g(points, z)
        return Terms(grad(self.g.mean)(x), torch.zeros_like(values), self.scale * values, w)


@dataclass(frozen=True, eq=False)
class FirstOrder(RuleCoefficients):
    """The update to first order in rho, ∇f_γ + rho H_γ v, at every node."""

    rho: Scalar
    ascent: Callable[[Tensor, Tensor], Tensor]
    response: Callable[[MinibatchOracle, Tensor, Tensor], Tensor] | None

    def pieces(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """∇f_γ, v, H_γ v at the nodes, each (..., Q, d), and the weights (..., Q)."""
        points, z, w = self.rule(x)
        values, derivative = linearize(self.g, points, z)
        ascents = self.ascent(values, grad(self.g.mean)(x)[..., None, :])
        return values, ascents, derivative(ascents), w

    def terms(self, x: Tensor) -> Terms:
        values, _, responses, w = self.pieces(x)
        m, fields = grad(self.g.mean)(x), values + self.rho * responses
        if self.rule.nodes is None or self.response is None or not isinstance(self.g, MinibatchOracle):
            return Terms(m, self.rho * responses, fields, w)
        known = m + self.rho * self.response(self.g, x, m)  # exact, although the nodes are a sample
        return Terms(known, torch.zeros_like(fields), fields, w)


@dataclass(frozen=True)
class _StateDependentNoise:
    g: GaussianOracle
    eta: Scalar

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        return -grad(self.g.mean)(x), lambda dw: -(self.eta**0.5) * self.g.scatter(x, dw)


def _general(
    g: Oracle,
    eta: Scalar,
    rho: Scalar,
    nodes: Nodes,
    ascent: Callable[[Tensor, Tensor], Tensor],
    response: Callable[[MinibatchOracle, Tensor, Tensor], Tensor] | None,
) -> SDE:
    require_oracle(g)
    eta, rho = checked(eta, rho)
    rule: Rule = rule_of(g, _ORDER, nodes)
    return rule_sde(FirstOrder(rule.g, eta, rule, rho, ascent, response))


def _smooth(g: Oracle, nodes: Nodes) -> Nodes:
    """For ∇f + L(x)z the update is a polynomial of degree 2 in z: three Hermite nodes a dimension are exact."""
    return g.noise.nodes(3) if nodes is None and isinstance(g, GaussianOracle) else nodes
