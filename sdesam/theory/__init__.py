"""Theory, one module or package per paper, and the exact results that check all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..calculus import Scalar
from ..kernels import unwrap
from ..one_step import modified_equation
from ..oracles import Oracle
from ..sde import SDE
from ..updates import dnsam, dnsam_full_numerator, sam, sgd, usam
from . import monzio_compagnoni2023 as mc23

__all__ = ["model_of"]

_MODELS = {
    sgd: mc23.sgd_sde,
    usam: mc23.usam_sde,
    dnsam: mc23.dnsam_sde,
    dnsam_full_numerator: mc23.dnsam_full_numerator_sde,
    sam: mc23.sam_sde,
}


def model_of(update: Callable[..., Tensor], g: Oracle, eta: Scalar, *, nodes: tuple[Any, Tensor] | None = None) -> SDE:
    """The paper's SDE of an update (seen through ``functools.partial``), else its ``modified_equation``.

    ``nodes`` is a rule over the noise for oracles with too many minibatches to enumerate, ``g.noise.sampled(R, seed)``.

    Raises
    ------
    ValueError
        When the paper's form does not cover the oracle.
    """
    field, bound = unwrap(update)
    if field in _MODELS:
        if field is not sgd and "rho" not in bound:
            raise ValueError(f"update {field.__name__} needs rho: pass functools.partial({field.__name__}, rho=...).")
        return _MODELS[field](g, eta=eta, rho=bound.get("rho", 0.0), nodes=nodes)
    return modified_equation(update, g, eta, nodes=nodes)
