"""Methods: the names a command line may use for update fields, and the SDE of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..arguments import nearest
from ..dynamics.kernels import unwrap
from ..dynamics.sde import SDE
from ..dynamics.updates import dnsam, dnsam_full_numerator, sam, sgd, unified_sam, usam
from ..problems.calculus import Scalar
from ..problems.catalogue import load_function
from ..problems.oracles import Oracle
from . import monzio_compagnoni2023 as mc23
from .one_step import modified_equation

__all__ = ["METHODS", "find_method", "model_of"]

METHODS: dict[str, Callable] = {
    "sgd": sgd,
    "usam": usam,
    "dnsam": dnsam,
    "dnsam-full-numerator": dnsam_full_numerator,
    "sam": sam,
    "unified-sam": unified_sam,
}

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


def find_method(name: str) -> Callable:
    """A catalogued update field, or the user's ``file.py:function`` with signature (g, x, z, *, rho)."""
    if ".py:" in name:
        return load_function(name)
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown: {nearest(name, METHODS)} Or give file.py:function.")
    return METHODS[name]
