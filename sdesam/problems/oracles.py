"""Stochastic gradients as oracles g(x, z): the noise z is an argument, so one draw can be used twice.

SAM evaluates its gradient at two points with the *same* minibatch.  Passing z makes that visible; a fresh
draw at the second point would be another algorithm with another SDE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..arguments import as_floats, require_count, require_nonnegative, set_fields
from .calculus import Scalar, grad
from .landscapes import Landscape, dimension_of
from .noise import Noise, Normal

__all__ = ["ExactOracle", "GaussianOracle", "Oracle", "align", "is_additive", "linearize", "require_oracle"]


@runtime_checkable
class Oracle(Protocol):
    """A stochastic gradient g(x, z) of the landscape ``mean``, with z distributed as ``noise``."""

    @property
    def noise(self) -> Noise:
        """The law of z."""
        ...

    @property
    def mean(self) -> Landscape:
        """The landscape f with E g(x, z) = ∇f(x)."""
        ...

    def __call__(self, x: Tensor, z: Tensor, /) -> Tensor: ...


def align(x: Float[Tensor, "*points d"], z: Tensor) -> Tensor:
    """X expanded to the leading shape of z.

    Differentiating through a *broadcast* x would return the sum over the broadcast axes, silently.
    """
    batch = torch.broadcast_shapes(x.shape[:-1], z.shape[:-1])
    return x if x.shape[:-1] == batch else x.expand(*batch, x.shape[-1]).clone()


def linearize(
    g: Oracle, x: Float[Tensor, "*points d"], z: Tensor
) -> tuple[Float[Tensor, "*batch d"], Callable[[Tensor], Tensor]]:
    """G(x, z) together with the linear map v ↦ D_x g(x, z) v: for a minibatch v ↦ H_γ v, and no matrix is formed.

    Where g(·, z) is the gradient of some loss (``is_gradient``: exact, additive and minibatch oracles), its
    derivative is symmetric and one pullback gives it; for any other oracle it is the transpose of the pullback.
    """
    x = align(x, z)
    value, pullback, *_ = torch.func.vjp(lambda y: g(y, z), x)
    if getattr(g, "is_gradient", False):
        return value, lambda v: pullback(v)[0]
    _, transposed, *_ = torch.func.vjp(lambda u: pullback(u)[0], torch.zeros_like(value))
    return value, lambda v: transposed(v)[0]


@dataclass(frozen=True)
class ExactOracle:
    """The full-batch gradient g(x, z) = ∇f(x); z is empty."""

    mean: Landscape
    is_gradient = True

    @property
    def noise(self) -> Normal:
        """No randomness."""
        return Normal(0)

    def __call__(self, x: Float[Tensor, "*points d"], z: Tensor) -> Tensor:
        """∇f(x)."""
        return grad(self.mean)(align(x, z))

    def scatter(self, x: Tensor, z: Tensor) -> Tensor:
        """The noise part of the gradient, zero."""
        return torch.zeros_like(x)


@dataclass(frozen=True, eq=False)
class GaussianOracle:
    """g(x, z) = ∇f(x) + L z, z ~ N(0, I_m): gradient noise with covariance Σ = L Lᵀ.

    Parameters
    ----------
    f : the landscape
    sigma : a number (L = sigma·I), a factor L ``(d, m)``, or a function x ↦ L(x) of shape ``(..., d, m)``
    dim : d, needed with a number for a landscape that does not know its own dimension
    noise_dim : m, needed with a function when it is not d

    Raises
    ------
    ValueError, TypeError
        For a negative or non-finite sigma, a factor of the wrong shape, or an unknown dimension.

    Notes
    -----
    A number or a constant factor is *additive* noise: the minibatch changes the gradient by a vector that
    does not depend on x, so every minibatch has the same Hessian.  With a function, the same z is used with
    L at the point where the gradient is taken.
    """

    mean: Landscape
    sigma: Scalar | Callable[[Tensor], Tensor]
    dim: int
    noise_dim: int

    def __init__(
        self,
        f: Landscape,
        sigma: Scalar | np.ndarray | Sequence | Callable[[Tensor], Tensor],
        *,
        dim: int | None = None,
        noise_dim: int | None = None,
    ) -> None:
        if not callable(sigma) and np.ndim(sigma) > 0:  # pyright: ignore[reportArgumentType]
            sigma = as_floats("sigma", sigma)
        d = dim if dim is not None else dimension_of(f)
        if isinstance(sigma, Tensor) and sigma.ndim > 0:
            d = _require_factor(sigma, d)
            m = sigma.shape[1]
        else:
            if not callable(sigma):
                why = "it is the standard deviation of the gradient noise"
                sigma = require_nonnegative("sigma", sigma, why)  # pyright: ignore[reportArgumentType, reportCallIssue]
            m = d if noise_dim is None or not callable(sigma) else noise_dim
        if d is None or m is None:
            raise ValueError(
                f"dim must be given: {getattr(f, '__name__', type(f).__name__)} does not know its dimension, "
                "and its noise needs it to draw its vector."
            )
        d = require_count("dim", d, least=1, why="it is the dimension of x")
        if noise_dim not in (None, m):
            raise ValueError(f"noise_dim must be {m}, the number of columns of sigma, got {noise_dim}.")
        m = require_count("noise_dim", m, least=1, why="it is the number of normals of one draw")
        set_fields(self, mean=f, sigma=sigma, dim=d, noise_dim=m)

    @classmethod
    def from_covariance(cls, f: Landscape, covariance: Tensor | np.ndarray | Sequence) -> GaussianOracle:
        """The oracle with gradient-noise covariance Σ, through the symmetric root of Σ.

        Raises
        ------
        ValueError
            When Σ is not symmetric, or has a negative eigenvalue beyond rounding.
        """
        cov = as_floats("covariance", covariance)
        if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or not torch.isfinite(cov).all():
            raise ValueError(f"covariance must be a finite square matrix, got shape {tuple(cov.shape)}.")
        if float((cov - cov.T).abs().max()) > 8 * torch.finfo(cov.dtype).eps * float(cov.abs().max()):
            raise ValueError(f"covariance must be symmetric, |Σ - Σᵀ| is up to {float((cov - cov.T).abs().max()):.2g}.")
        values, vectors = torch.linalg.eigh(cov)
        rounding = cov.shape[0] * torch.finfo(cov.dtype).eps * float(values.abs().max())
        if float(values.min()) < -rounding:
            raise ValueError(
                f"covariance must be positive semi-definite, its smallest eigenvalue is {float(values.min()):.3g}: "
                "no noise has it."
            )
        return cls(f, vectors * values.clamp(min=0).sqrt() @ vectors.T)

    @property
    def noise(self) -> Normal:
        """The m standard normals."""
        return Normal(self.noise_dim)

    @property
    def is_gradient(self) -> bool:
        """Whether g(·, z) is the gradient of a loss for every z: ∇f(x) + L z is, ∇f(x) + L(x) z in general is not."""
        return not callable(self.sigma)

    def __call__(self, x: Float[Tensor, "*points d"], z: Float[Tensor, "*draws m"]) -> Tensor:
        """∇f(x) + L z."""
        x = align(x, z)
        return grad(self.mean)(x) + self.scatter(x, z)

    def scatter(self, x: Float[Tensor, "*batch d"], z: Float[Tensor, "*draws m"]) -> Tensor:
        """The noise part of the gradient, L z (or L(x) z)."""
        if callable(self.sigma):
            return (self.sigma(x) @ z[..., None])[..., 0]
        if isinstance(self.sigma, Tensor) and self.sigma.ndim == 2:
            return z @ self.sigma.to(z).T
        return self.sigma * z

    def pole(self, x: Float[Tensor, "*batch d"]) -> Tensor | None:
        """The z at which g(x, z) is smallest, −L⁺∇f(x), where SAM's direction is not smooth in z.

        g vanishes there when L has full rank.  None when m > d: then g vanishes on a whole plane of z.
        """
        if self.noise_dim > self.dim:
            return None
        identity = torch.eye(self.noise_dim, dtype=x.dtype, device=x.device)
        L = self.scatter(x[..., None, :], identity).transpose(-1, -2)  # column j is L e_j
        return -(torch.linalg.pinv(L) @ grad(self.mean)(x)[..., None])[..., 0]

    def compact(self) -> GaussianOracle:
        """An oracle of the same law with at most d normals: for laws, not for coupling."""
        if callable(self.sigma) or self.noise_dim <= self.dim:
            return self
        left, values, _ = torch.linalg.svd(self.sigma, full_matrices=False)  # L z and U S y have one law
        return GaussianOracle(self.mean, left * values)


def require_oracle(g: object) -> None:
    """Raise ``TypeError`` unless g is an oracle; a bare landscape is the usual mistake."""
    if not isinstance(g, Oracle):
        raise TypeError(
            f"g must be an oracle, a stochastic gradient with noise and mean, got {type(g).__name__}: wrap a "
            "landscape in ExactOracle(f) or GaussianOracle(f, sigma), a FiniteSum in MinibatchOracle(f, batch_size)."
        )


def is_additive(g: Oracle) -> bool:
    """Whether the noise of g is a vector independent of x, so that every minibatch has the Hessian of f."""
    return isinstance(g, ExactOracle) or (isinstance(g, GaussianOracle) and not callable(g.sigma))


def _require_factor(sigma: Tensor, dim: int | None) -> int:
    if sigma.ndim != 2 or 0 in sigma.shape:
        raise ValueError(f"sigma must be a number or a factor L (d, m), got shape {tuple(sigma.shape)}.")
    if not torch.isfinite(sigma).all():
        raise ValueError("sigma must be finite, got NaN or infinite entries.")
    if dim is not None and sigma.shape[0] != dim:
        raise ValueError(f"sigma must have {dim} rows, one per coordinate of x, got shape {tuple(sigma.shape)}.")
    return sigma.shape[0]
