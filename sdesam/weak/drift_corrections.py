"""The corrected-drift test: with the O(eta) terms of its drift a model is of order 3/2, without noise of order 1."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..dynamics.sde import SDE, LinearMap
from ..problems.calculus import grad_and_hessian
from ..problems.oracles import Oracle
from ..theory.one_step import Model, Nodes, Rule, rule_of

__all__ = ["corrected_drift", "default_rule", "mean_field"]


def corrected_drift(update: Callable[..., Tensor], g: Oracle, model: Model, *, nodes: Nodes = None) -> Model:
    """The model with drift b − (eta/2) H∇f − ½ (Ḡ(rho) + Ḡ(−rho) − 2∇f): what a first-order b leaves out at O(eta).

    Ḡ(rho) = E G; the last term is rho²/2 E D³f[v, v] + O(rho⁴).  For a b that has the rho² term already, use
    ``modified_equation(…, order=2)``.  Weak order 3/2 for rho ~ √eta, 2 for SGD; without a diffusion order 1.

    Source: derived for this project.
    """

    def corrected(g: Oracle, eta: float, rho: float) -> SDE:
        sde, rule = model(g, eta, rho), default_rule(g, nodes)

        def coefficients(x: Tensor) -> tuple[Tensor, LinearMap | None]:
            drift, diffusion = sde.coefficients(x)
            m, H = grad_and_hessian(g.mean)(x)
            even = (mean_field(update, rule, x, rho) + mean_field(update, rule, x, -rho)) / 2 - mean_field(
                update, rule, x, 0.0
            )
            return drift - eta / 2 * H(m) - even, diffusion

        return SDE(coefficients, sde.noise_dim, private_dim=sde.private_dim, dim=sde.dim, row_size=sde.row_size)

    return corrected


def default_rule(g: Oracle, nodes: Nodes) -> Rule:
    """Nodes of g's noise, split or polar about its pole."""
    return rule_of(g, 32 if getattr(g, "dim", None) == 1 else 28, nodes)


def mean_field(update: Callable[..., Tensor], rule: Rule, x: Tensor, rho: float) -> Tensor:
    """Ḡ(x) = E G(x, z; rho)."""
    points, z, w = rule(x)
    return (w[..., None] * update(rule.g, points, z, rho=rho)).sum(-2)
