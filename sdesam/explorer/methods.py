"""The methods of the explorer: rows of the table, with the SDEs that may stand beside each on a page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from torch import Tensor

from ..dynamics.sde import SDE
from ..problems.calculus import Scalar
from ..problems.noise import Normal
from ..problems.oracles import Oracle
from ..theory.exact.planar import planar_modified_equation
from ..theory.method import Form, Method
from ..theory.methods import METHODS as TABLE

__all__ = ["METHODS", "ShownMethod", "method_of"]

_ORDER = 4  # Hermite nodes a dimension for an update without a formula: rho-terms to a few per cent at critical points


@dataclass(frozen=True)
class ShownMethod:
    """A row of the table as a page shows it.

    Attributes
    ----------
    row : the update field and what is known of it
    models : "theory" is its own SDE; "as-printed" the published covariance, where that differs
    code : Python that names the update
    order : nodes a dimension of the rule over the noise in its SDE, 0 where the SDE is a formula
    source : of a user's update its file.py:function, or "" where it came as a function; None for the table's own
    """

    row: Method
    models: Mapping[str, Form]
    code: str
    order: int = 0
    source: str | None = None

    @property
    def name(self) -> str:
        """As in the address of a state."""
        return self.row.name

    @property
    def noiseless(self) -> str:
        """The method that it is for sigma = 0."""
        return self.row.noiseless or self.row.name


def _shown(row: Method, code: str, source: str | None = None) -> ShownMethod:
    if row.sde is None:
        return ShownMethod(row, {"theory": _quadrature_model(row.update)}, code, _ORDER, source)
    return ShownMethod(row, row.planar or {"theory": row.sde}, code, source=source)


def _quadrature_model(update: Callable[..., Tensor]) -> Form:
    nodes = Normal(2).nodes(_ORDER)

    def model(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
        return planar_modified_equation(partial(update, rho=rho), g, eta, nodes)

    return model


def method_of(update: Callable[..., Tensor], name: str, code: str, source: str | None = None) -> ShownMethod:
    """A user's update field beside its modified equation of order 1 by a rule of 16 nodes; a ``Method`` beside its SDE.

    Raises
    ------
    ValueError
        Where it cannot be called as G(g, x, z, rho=rho).
    """
    field = update.update if isinstance(update, Method) else update
    try:
        inspect.signature(field).bind(None, None, None, rho=0.1)
    except TypeError as error:
        what = f"update {name} must be called as {name}(g, x, z, rho=rho)"
        raise ValueError(f"{what}, got {name}{inspect.signature(field)}: {error}.") from error
    row = replace(update, name=name, title=update.title or name) if isinstance(update, Method) else None
    return _shown(row or Method(name, field, title=name), code, source)


METHODS: Mapping[str, ShownMethod] = MappingProxyType(
    {name: _shown(row, f"ss.{name.replace('-', '_')}") for name, row in TABLE.items()}
)
