"""How far a step is from diverging: the sharpest curvature, by Lanczos on Hessian-vector products, and eta times it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..arguments import require_nonnegative, require_positive
from ..dynamics.kernels import unwrap
from ..dynamics.updates import usam
from ..problems.calculus import hessian, hvp
from ..problems.landscapes import Landscape
from .method import Method

__all__ = ["Stability", "largest_curvature", "stability"]

_DENSE = 16  # dimensions up to which the Hessian is formed


def largest_curvature(f: Landscape, x: Float[Tensor, " d"]) -> float:
    """The largest eigenvalue λ of ∇²f(x): of the matrix itself for d <= 16, else by Lanczos (scipy's eigsh).

    Raises
    ------
    scipy.sparse.linalg.ArpackNoConvergence
        When Lanczos does not converge.
    """
    d = x.shape[-1]
    if d <= _DENSE:
        return float(torch.linalg.eigvalsh(hessian(f)(x))[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    product = hvp(f)

    def times(v: np.ndarray) -> np.ndarray:
        return product(x, torch.as_tensor(v.reshape(-1)).to(x)).cpu().double().numpy()

    start = np.random.default_rng(0).standard_normal(d)
    operator = LinearOperator((d, d), matvec=times, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    return float(eigsh(operator, 1, which="LA", v0=start, return_eigenvectors=False)[0])


@dataclass(frozen=True)
class Stability:
    """A step of gradient descent on a quadratic of curvature λ: it contracts while factor = eta·λ(1 + rho·λ) < 2.

    For USAM with rho its radius.  For methods with a normalised ascent, which moves by at most rho, the factor is
    eta·λ, as for SGD: below 2 paths stay bounded.
    """

    curvature: float
    eta: float
    rho: float

    @property
    def factor(self) -> float:
        """eta·λ(1 + rho·λ), to be compared with 2."""
        return self.eta * self.curvature * (1 + self.rho * self.curvature)

    def __str__(self) -> str:
        formula = "η·λ(1 + ρ·λ)" if self.rho else "η·λ"
        beyond = (
            "" if self.factor < 2 else f", beyond 2: expect divergence (η < {2 * self.eta / self.factor:.3g} is stable)"
        )
        return f"λ = {self.curvature:.4g} at x0, {formula} = {self.factor:.3g}{beyond or ' < 2'}"


def _inner(update: Callable[..., Tensor]) -> Callable[..., Tensor]:
    field = unwrap(update)[0]
    return field.update if isinstance(field, Method) else field


def stability(
    update: Callable[..., Tensor], f: Landscape, x: Float[Tensor, " d"], *, eta: float, rho: float
) -> Stability:
    """Linear stability of an update at x; of a field of your own as if it were SGD."""
    eta = require_positive("eta", eta, "it is the learning rate")
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    return Stability(largest_curvature(f, x), eta, rho if _inner(update) is usam else 0.0)
