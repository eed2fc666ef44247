"""The table of methods, collected from the papers: nothing else lists them.

A new paper brings its rows in ``<paper>/methods.py`` and one line in ``PAPERS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ..arguments import nearest
from ..dynamics.kernels import unwrap
from ..dynamics.sde import SDE
from ..dynamics.updates import unified_sam
from ..problems.calculus import Scalar
from ..problems.catalogue import load_function
from ..problems.oracles import Oracle
from .method import Method
from .monzio_compagnoni2023 import methods as monzio_compagnoni2023
from .one_step import modified_equation

__all__ = ["METHODS", "find_method", "model_of", "row_of"]

PAPERS = (monzio_compagnoni2023,)
_WITHOUT_A_PAPER = (Method("unified-sam", unified_sam, title="Unified SAM"),)
_ROWS = (*(row for paper in PAPERS for row in paper.METHODS), *_WITHOUT_A_PAPER)
METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
_BY_UPDATE = {row.update: row for row in _ROWS}


def row_of(update: Callable[..., Tensor]) -> Method | None:
    """The row of an update field, seen through ``functools.partial``; None for one without."""
    field = unwrap(update)[0]
    return field if isinstance(field, Method) else _BY_UPDATE.get(field)


def model_of(update: Callable[..., Tensor], g: Oracle, eta: Scalar, *, nodes: tuple[Any, Tensor] | None = None) -> SDE:
    """The paper's SDE of an update (seen through ``functools.partial``), else its ``modified_equation``.

    ``nodes`` is a rule over the noise for oracles with too many minibatches to enumerate, ``g.noise.sampled(R, seed)``.

    Raises
    ------
    ValueError
        When the paper's form does not cover the oracle.
    """
    row = row_of(update)
    if row is None or row.sde is None:
        return modified_equation(update, g, eta, nodes=nodes)
    field, bound = unwrap(update)
    if "rho" not in bound and row.formulas != "sgd":
        name = getattr(field, "__name__", row.name)
        raise ValueError(f"update {name} needs rho: pass functools.partial({name}, rho=...).")
    if nodes is not None and "nodes" not in inspect.signature(row.sde).parameters:
        raise ValueError(f"the SDE of method {row.name} takes no nodes: it cannot be made of sampled minibatches.")
    rule = {} if nodes is None else {"nodes": nodes}
    return row.sde(g, eta=eta, rho=bound.get("rho", 0.0), **rule)


def find_method(name: str) -> Callable[..., Tensor]:
    """A catalogued update field, or the user's ``file.py:name``: a function (g, x, z, *, rho), or a ``Method``."""
    if ".py:" in name:
        return load_function(name)
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown: {nearest(name, METHODS)} Or give file.py:function.")
    return METHODS[name].update
