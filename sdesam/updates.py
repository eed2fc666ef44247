"""Update fields G(g, x, z, *, rho): the paper's displayed equations.  The optimizer is x⁺ = x − eta·G.

g is the oracle, z one draw of its noise, used at *both* gradients of a SAM step.  With rho = 0 every field
equals ``sgd`` bit for bit.  Shapes: x ``(..., d)``, result ``(..., d)``.
"""

from __future__ import annotations

from torch import Tensor

from .calculus import Scalar, grad, norm, over, unit
from .oracles import Oracle, align

__all__ = ["dnsam", "dnsam_full_numerator", "sam", "sgd", "unified_sam", "usam"]


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
