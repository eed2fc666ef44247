"""Stochastic differential equations as functions x ↦ (drift, diffusion), and the modified equation of any update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .calculus import Scalar
from .noise import Normal
from .oracles import GaussianOracle, Oracle, require_oracle
from .validation import require_count, require_positive

__all__ = ["SDE", "Coefficients", "LinearMap", "modified_equation"]

_LEAST_ORDER = 28  # the weights of the polar rule then sum to one within 1e-8, wherever the pole is

LinearMap = Callable[[Tensor], Tensor]
Coefficients = Callable[[Tensor], tuple[Tensor, LinearMap | None]]
UpdateField = Callable[[Oracle, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SDE:
    """dX = b(X) dt + B(X) dW in the sense of Itô, in model time t = k·eta.

    Parameters
    ----------
    coefficients : ``drift, diffusion = coefficients(x)`` with x ``(..., d)``, drift ``(..., d)`` and
        ``diffusion(dw: (..., m)) -> (..., d)`` the linear map B(x); an ODE returns ``diffusion = None``
    noise_dim : m, 0 for an ODE
    init, position : maps x0 -> state and state -> x for an SDE whose state holds more than x (time, say)
    private_dim : how many of the m components, the last ones, no partner of a coupling shares
    dim : dimension of the state, where it is known

    Notes
    -----
    Only B Bᵀ matters for the law.  For coupling the map matters: an optimizer subtracts eta·L z, so the
    maps of this package carry the minus sign.  Drift and diffusion come together because they share work.
    """

    coefficients: Coefficients
    noise_dim: int
    init: Callable[[Tensor], Tensor] | None = None
    position: Callable[[Tensor], Tensor] | None = None
    private_dim: int = 0
    dim: int | None = None

    def __post_init__(self) -> None:
        require_count("noise_dim", self.noise_dim, least=0, why="it is the dimension of the Brownian motion")
        require_count("private_dim", self.private_dim, least=0, why="it counts components no partner shares")
        if self.private_dim > self.noise_dim:
            raise ValueError(f"private_dim must be <= noise_dim = {self.noise_dim}, got {self.private_dim}.")


@dataclass(frozen=True, eq=False)
class _OneStepMoments:
    update: UpdateField
    g: Oracle
    eta: Scalar
    nodes: tuple[Any, Tensor] | None
    order: int

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        z, w = self._rule(x)
        count = w.shape[-1]
        G = self.update(self.g, x[..., None, :].expand(*x.shape[:-1], count, x.shape[-1]).clone(), _like(z, x))
        w = w.to(x)
        mean = (w[..., None] * G).sum(-2)
        factor = w.sqrt()[..., None] * (G - mean[..., None, :])  # factorᵀ factor = Cov G

        def diffusion(dw: Tensor) -> Tensor:
            return -(self.eta**0.5) * (dw[..., None, :] @ factor)[..., 0, :]

        return -mean, diffusion

    def _rule(self, x: Tensor) -> tuple[Any, Tensor]:
        if self.nodes is not None:
            return self.nodes
        return self.g.noise.nodes(self.order, self.g.pole(x) if isinstance(self.g, GaussianOracle) else None)


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
    order: int = 32,
    nodes: tuple[Any, Tensor] | None = None,
) -> SDE:
    """The order-1 SDE of any update field, from its one-step moments: dX = −E G dt + √eta (Cov G)^½ dW.

    Both expectations are over the oracle's noise at fixed x, by quadrature: no expansion in rho.  The theorem
    formulas are first order in rho, so they differ from this by O(rho²).

    Parameters
    ----------
    update : G(g, x, z), with rho bound by ``functools.partial``
    order : nodes per dimension of the default rule, which for a Gaussian oracle with m <= 2 is split about
        the z where g vanishes (Gauss-Hermite fails for SAM there)
    nodes : a rule (z, w) of your choice instead, e.g. ``g.noise.sampled(4096, seed=1)``, or
        ``g.noise.nodes(3)`` for updates that are polynomial in z

    Returns
    -------
    SDE whose ``noise_dim`` is the number of nodes: it is for laws and checks, not for coupling.

    Raises
    ------
    ValueError
        When the default rule does not exist (m > 2) or is too large; the message names the alternatives.
    """
    require_positive("eta", eta, "it is the learning rate")
    require_oracle(g)
    dim = getattr(g, "dim", None)
    if isinstance(g.noise, Normal) and g.noise.size == 0:
        return SDE(lambda x: (-update(g, x, x.new_empty(0)), None), noise_dim=0, dim=dim)
    if nodes is not None:
        return SDE(_OneStepMoments(update, g, eta, nodes, order), noise_dim=len(nodes[1]), dim=dim)
    if isinstance(g, GaussianOracle):
        require_count("order", order, least=_LEAST_ORDER, why="a rule about a pole with fewer nodes misses mass")
    rule_of = _compact(g) if isinstance(g, GaussianOracle) else g
    at_zero = torch.zeros(rule_of.noise.size, dtype=torch.float64) if isinstance(rule_of, GaussianOracle) else None
    count = rule_of.noise.nodes(order, at_zero)[1].shape[-1]  # raises here, at the boundary, when there is no rule
    return SDE(_OneStepMoments(update, rule_of, eta, None, order), noise_dim=count, dim=dim)


def _compact(g: GaussianOracle) -> GaussianOracle:
    smaller = g.compact()
    if smaller.noise_dim > smaller.dim:
        raise ValueError(
            f"g must have at most d = {g.dim} normals for the default rule when its factor depends on x, got "
            f"{g.noise_dim}: pass nodes=g.noise.sampled(n, seed), or nodes=g.noise.nodes(order) if the update is "
            "smooth in z (SGD, USAM, DNSAM are; SAM is not)."
        )
    return smaller
