"""The methods of the explorer and the SDEs that may stand beside each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import Tensor

from ..dynamics.sde import SDE
from ..dynamics.updates import dnsam, dnsam_full_numerator, sam, sgd, unified_sam, usam
from ..problems.calculus import Scalar
from ..problems.noise import Normal
from ..problems.oracles import Oracle
from ..theory import monzio_compagnoni2023 as mc23
from ..theory.exact.planar import planar_modified_equation, planar_sam_sde_as_printed

__all__ = ["METHODS", "Method", "Model", "method_of"]

Model = Callable[..., SDE]  # (g, *, eta, rho) -> SDE
_ORDER = 4  # Hermite nodes a dimension for an update without a formula: rho-terms to a few per cent at critical points


@dataclass(frozen=True)
class Method:
    """An update field with the SDEs it is compared with.

    Attributes
    ----------
    name : as in the address of a state
    update : G(g, x, z, *, rho)
    models : "theory" is its own SDE; "as-printed" the published covariance, where that differs
    noiseless : the method that it is for sigma = 0, whose SDE divides by no noise
    code : Python that names the update
    formulas : the family of closed forms that describes it near critical points, "sgd", "usam", "sam" or ""
    order : nodes a dimension of the rule over the noise in its SDE, 0 where the SDE is a formula
    source : of a user's update its file.py:function, or "" where it came as a function; None for the explorer's own
    """

    name: str
    update: Callable[..., Tensor]
    models: Mapping[str, Model]
    noiseless: str
    code: str
    formulas: str = ""
    order: int = 0
    source: str | None = None


_ACCURACY = 1e-8  # of the functions in SAM's SDE: a picture needs no more, and the page is half as long
_sam_sde = partial(mc23.sam_sde_additive, accuracy=_ACCURACY)


def _quadrature_model(update: Callable[..., Tensor]) -> Model:
    nodes = Normal(2).nodes(_ORDER)

    def model(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
        return planar_modified_equation(partial(update, rho=rho), g, eta, nodes)

    return model


def method_of(update: Callable[..., Tensor], name: str, code: str, source: str | None = None) -> Method:
    """A user's update field, beside its modified equation of order 1 by a rule of 16 nodes.

    Raises
    ------
    ValueError
        Where it cannot be called as G(g, x, z, rho=rho).
    """
    try:
        inspect.signature(update).bind(None, None, None, rho=0.1)
    except TypeError as error:
        what = f"update {name} must be called as {name}(g, x, z, rho=rho)"
        raise ValueError(f"{what}, got {name}{inspect.signature(update)}: {error}.") from error
    return Method(name, update, {"theory": _quadrature_model(update)}, name, code, order=_ORDER, source=source)


_CATALOGUE = (
    Method("sgd", sgd, {"theory": mc23.sgd_sde}, "sgd", "ss.sgd", "sgd"),
    Method("sam", sam, {"theory": _sam_sde, "as-printed": planar_sam_sde_as_printed}, "dnsam", "ss.sam", "sam"),
    Method("usam", usam, {"theory": mc23.usam_sde}, "usam", "ss.usam", "usam"),
    Method("dnsam", dnsam, {"theory": mc23.dnsam_sde}, "dnsam", "ss.dnsam"),
    Method(
        "dnsam-full-numerator", dnsam_full_numerator, {"theory": mc23.dnsam_full_numerator_sde},
        "dnsam-full-numerator", "ss.dnsam_full_numerator",
    ),
    method_of(unified_sam, "unified-sam", "ss.unified_sam"),
)  # fmt: skip
METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _CATALOGUE})
