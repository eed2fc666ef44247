"""The models an optimizer is compared with: its own SDE, the same with the noise of SGD, and the SDE of SGD.

All have two parameters (rho, share), so that they run as rows of one batch; ``lean`` makes those on minibatches cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from ..dynamics.sde import SDE, LinearMap
from ..problems.calculus import Scalar, grad
from ..problems.minibatch import MinibatchOracle
from ..problems.oracles import Oracle, is_additive, linearize
from ..theory import model_of
from ..theory.monzio_compagnoni2023 import sgd_sde
from ..theory.monzio_compagnoni2023.sdes import FirstOrder
from ..theory.one_step import Nodes

__all__ = ["MODELS", "Rows", "Update", "lean", "partial_sde", "rows_of", "whole_sde"]

MODELS = {"own": (1.0, 1.0), "drift only": (1.0, 0.0), "SGD": (0.0, 1.0)}  # name -> (c, share), see ``partial_sde``
Update = Callable[..., Tensor]


def partial_sde(update: Update, g: Oracle, eta: float, rho: Scalar, share: Scalar, *, nodes: Nodes = None) -> SDE:
    """The method's drift at radius rho, with the map B_SGD + share·(B_own − B_SGD).

    (rho, 1) is its own SDE, (rho, 0) its drift with the noise of SGD ("drift only" in the paper), and rho = 0 that of
    SGD.  Both maps act on the same normals, so the three run as rows of one batch on one path.
    """
    own, plain = lean(model_of(partial(update, rho=rho), g, eta, nodes=nodes)), sgd_sde(g, eta=eta, nodes=nodes)

    def coefficients(x: Tensor) -> tuple[Tensor, LinearMap]:
        drift, noise = own.coefficients(x)
        assert noise is not None

        def diffusion(dw: Tensor) -> Tensor:
            simple = _plain_noise(g, plain, x, dw[..., : plain.noise_dim])
            return simple + share * (noise(dw) - simple)

        return drift, diffusion

    return SDE(coefficients, noise_dim=own.noise_dim, private_dim=own.private_dim, dim=own.dim, row_size=own.row_size)


def whole_sde(update: Update, g: Oracle, eta: float, *, nodes: Nodes = None) -> Callable[[Scalar, Scalar], SDE]:
    """``(rho, share) -> SDE`` for share = 1 only: the map of SGD need not be computed."""
    return lambda rho, share: lean(model_of(partial(update, rho=rho), g, eta, nodes=nodes))


def _plain_noise(g: Oracle, plain: SDE, x: Tensor, dw: Tensor) -> Tensor:
    if is_additive(g):
        return -(plain.coefficients.eta**0.5) * g.scatter(x, dw)  # pyright: ignore  # its drift is not needed
    noise = plain.coefficients(x)[1]
    assert noise is not None
    return noise(dw)


# ----------------------------------------------------------------- rows of a batch
@dataclass(frozen=True)
class Rows:
    """The rows of a batch: for every rho and model the index of the optimizer's and of the model's row."""

    optimizer: list[tuple[float]]
    model: list[tuple[float, float]]
    at: dict[tuple[float, str], tuple[int, int]]


def rows_of(rhos: Sequence[float], models: Mapping[str, tuple[float, float]]) -> Rows:
    """Equal models share a row: SGD's serves all radii."""
    wanted = {(rho, name): (c * rho, share if c else 1.0) for rho in rhos for name, (c, share) in models.items()}
    model = list(dict.fromkeys(wanted.values()))
    radii = [(rho,) for rho in rhos] + [(rhos[0],)] * (len(model) - len(rhos))
    model += [model[0]] * (len(radii) - len(model))
    at = {key: (list(rhos).index(key[0]), model.index(row)) for key, row in wanted.items()}
    return Rows(radii, model, at)


# ----------------------------------------------------------------- minibatches, in fewer passes over the samples
@dataclass(frozen=True, eq=False)
class Lean:
    """The coefficients of a first-order model on minibatches, the fields of the samples never formed; see ``lean``."""

    full: FirstOrder

    def __call__(self, x: Float[Tensor, "*batch d"]) -> tuple[Tensor, LinearMap]:
        """Drift −(∇f + rho E[H_γ v]) and dw ↦ −√eta Σ_q a_q (g_q + rho H_q v_q), a = s − w Σs with s = √w dw."""
        c = self.full
        points, z, w = c.rule(x)
        values, derivative = linearize(c.g, points, z)
        m = _over_samples(w, values) if c.rule.nodes is None else grad(c.g.mean)(x)
        responses = derivative(c.ascent(values, m[..., None, :]))
        drift = -(m + c.rho * self._response(x, m, w, responses))

        def diffusion(dw: Tensor) -> Tensor:
            s = w.sqrt() * dw
            a = s - w * s.sum(-1, keepdim=True)  # Σ_q s_q (F_q − Σ_p w_p F_p) = Σ_q a_q F_q
            return -(c.eta**0.5) * (_over_samples(a, values) + c.rho * _over_samples(a, responses))

        return drift, diffusion

    def _response(self, x: Tensor, m: Tensor, w: Tensor, responses: Tensor) -> Tensor:
        """E[H_γ v]: over all minibatches, or exact where only some are nodes, or else over these."""
        c = self.full
        if c.rule.nodes is None or c.response is None:
            return _over_samples(w, responses)
        assert isinstance(c.g, MinibatchOracle)
        return c.response(c.g, x, m)


def lean(sde: SDE) -> SDE:
    """The same SDE, drift and map, in about two thirds of the time where it is a first-order model on minibatches.

    With F_q = g_q + rho H_q v_q the map dw ↦ Σ_q √w_q dw_q (F_q − F̄) is a product of the vectors g_q and H_q v_q with Q
    numbers; neither F_q nor F_q − F̄, of Q·d numbers each, is formed, and ∇f is the mean of the g_q.  Other SDEs are
    returned as they are.
    """
    c = sde.coefficients
    if isinstance(c, FirstOrder) and isinstance(c.g, MinibatchOracle):
        return replace(sde, coefficients=Lean(c))
    return sde


def _over_samples(a: Tensor, vectors: Float[Tensor, "*batch Q d"]) -> Float[Tensor, "*batch d"]:
    """Σ_q a_q vectors_q, weights (Q,) for all points or (*batch, Q)."""
    return (a.expand(vectors.shape[:-1])[..., None, :] @ vectors)[..., 0, :]
