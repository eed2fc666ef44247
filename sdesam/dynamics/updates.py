"""Update fields G(g, x, z, *, rho): the paper's displayed equations.  The optimizer is x⁺ = x − eta·G.

g is the oracle, z one draw of its noise, used at *both* gradients of a SAM step.  With rho = 0 every field
equals ``sgd`` bit for bit.  Shapes: x ``(..., d)``, result ``(..., d)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ..arguments import as_plain, require_nonnegative
from ..problems.calculus import Scalar, grad, norm, over, unit
from ..problems.oracles import Oracle, align

__all__ = ["dnsam", "dnsam_full_numerator", "sam", "sgd", "unified_sam", "unwrap", "usam", "with_floats"]


def sgd(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar = 0.0) -> Tensor:
    """SGD: G = g(x).  ``rho`` is accepted and ignored, so that SGD fits wherever a SAM variant does."""
    return g(x, z)


def usam(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar) -> Tensor:
    """Unnormalised SAM: G = g(x + rho g(x)).

    Source: Monzio Compagnoni et al. 2023 (authors' slides).
    """
    return g(x + rho * g(x, z), z)


def dnsam(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar) -> Tensor:
    """DNSAM: G = g(x + rho g(x)/|∇f(x)|), the stochastic ascent direction over the full-batch norm.

    Source: Monzio Compagnoni et al. 2023 (recalled; "deterministic norm").

    Notes
    -----
    Where ∇f(x) = 0 the ascent is 0.  Close to such points the noise is divided by |∇f|: where gradients grow
    linearly, the p-th moment of a step is finite for p < d only, so watch bounded observables there.
    """
    return g(x + rho * over(g(x, z), norm(grad(g.mean)(align(x, z)))), z)


def dnsam_full_numerator(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar) -> Tensor:
    """DNSAM with a deterministic ascent: G = g(x + rho ∇f(x)/|∇f(x)|)."""
    return g(x + rho * unit(grad(g.mean)(align(x, z))), z)


def sam(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar) -> Tensor:
    """SAM: G = g(x + rho g(x)/|g(x)|); where g(x) = 0 the ascent is 0.

    Source: Foret et al. 2021; Monzio Compagnoni et al. 2023 (authors' slides).
    """
    return g(x + rho * unit(g(x, z)), z)


def unified_sam(g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar, lam: Scalar = 0.5) -> Tensor:
    """Unified SAM: G = g(x + rho (1 − lam + lam/|g(x)|) g(x)); lam = 0 is USAM, lam = 1 is SAM.

    Source: Oikonomou and Loizou, arXiv 2503.02225 (the formula was read in the authors' code).
    """
    v = g(x, z)
    return g(x + rho * ((1 - lam) * v + lam * unit(v)), z)


# ----------------------------------------------------------------- hyper-parameters bound by functools.partial
def unwrap(update: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """The function inside nested partials, and the keywords they bind."""
    bound: dict[str, Any] = {}
    while isinstance(update, partial):
        bound = {**update.keywords, **bound}
        update = update.func
    return update, bound


def with_floats(update: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The update with its numbers checked, and with floats for those that its partials bind as something else.

    Raises
    ------
    ValueError, TypeError
        For a rho that is negative, infinite or no number, and for a number that is NaN.
    """
    _, bound = unwrap(update)
    plain = {name: as_plain(value) for name, value in bound.items()}
    if "rho" in bound:
        plain["rho"] = require_nonnegative("rho", bound["rho"], "it is the ascent radius")
    for name, value in plain.items():
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{name} must be a number, got {value}: the update is called with it.")
    changed = {name: value for name, value in plain.items() if value is not bound[name]}
    return partial(update, **changed) if changed else update
