"""The stochastic gradient of a finite sum: a minibatch, whose Hessian depends on the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..arguments import require_count, set_fields
from .finite_sums import FiniteSum
from .noise import Choice
from .oracles import GaussianOracle, align

__all__ = ["MinibatchOracle", "gaussian_surrogate", "single_data"]


@dataclass(frozen=True, eq=False)
class MinibatchOracle:
    """g(x, γ) = ∇f_γ(x), f_γ = (1/B) Σ_{i in γ} f_i, with γ a batch of B data out of N; one γ per step.

    Parameters
    ----------
    mean : the finite sum f = (1/N) Σ f_i
    batch_size : B
    replace : draw the B data independently, instead of B different ones
    p : probabilities ``(N,)`` of the data (importance sampling); the losses are then weighted by 1/(N p_i), so that
        E g = ∇f whatever p is.  With B > 1 it needs ``replace=True``

    Raises
    ------
    TypeError
        When ``mean`` is no ``FiniteSum``: a landscape that is no sum has no minibatches.
    ValueError
        For B > N without replacement, or probabilities that are not positive or do not sum to 1.

    Notes
    -----
    Without replacement Σ_B = κ_B Σ_1 with κ_B = (N − B)/(B(N − 1)), with replacement κ_B = 1/B.  Only what is quadratic
    in the gradients scales so: E|∇f_γ|² does, E|∇f_γ|, the direction of SAM and their covariances do not.
    """

    mean: FiniteSum
    batch_size: int
    replace: bool = False
    p: tuple[float, ...] | None = None
    is_gradient = True  # of f_γ, for every γ

    def __post_init__(self) -> None:
        if not isinstance(self.mean, FiniteSum):
            raise TypeError(
                f"mean must be a FiniteSum, got {type(self.mean).__name__}: only a sum over data has minibatches."
            )
        why = "it is the number of data in a batch"
        set_fields(self, batch_size=require_count("batch_size", self.batch_size, least=1, why=why))
        if not self.replace and self.batch_size > self.mean.N:
            raise ValueError(
                f"batch_size must be <= N = {self.mean.N} without replacement, got {self.batch_size}: there are no "
                "more different data."
            )
        if self.p is not None:
            object.__setattr__(self, "p", tuple(float(q) for q in self.p))
            if not all(q > 0 for q in self.p):
                raise ValueError("p must be positive everywhere: a datum that is never drawn biases the gradient.")
        _ = self.noise  # raises what Choice raises

    @property
    def noise(self) -> Choice:
        """The law of the batch: B indices."""
        return Choice(self.mean.N, self.batch_size, self.p, self.replace)

    @property
    def dim(self) -> int | None:
        """The dimension d, where the finite sum knows it."""
        return self.mean.dim

    @property
    def variance_factor(self) -> float:
        """κ_B = Σ_B/Σ_1: (N − B)/(B(N − 1)) without replacement, 1/B with it."""
        N, B = self.mean.N, self.batch_size
        return 1 / B if self.replace or B == 1 else (N - B) / (B * (N - 1))

    def losses(self, x: Float[Tensor, "*points d"], z: Int[Tensor, "*draws B"]) -> Tensor:
        """f_γ(x), one batch at each point."""
        if z.shape[-1] != self.batch_size:
            raise ValueError(f"z must hold {self.batch_size} = batch_size indices, got shape {tuple(z.shape)}.")
        x = align(x, z)
        index = z.expand(*x.shape[:-1], z.shape[-1])
        losses = self.mean.losses_of(x, index)
        if self.p is None:
            return losses.mean(-1)
        weights = 1 / (self.mean.N * torch.tensor(self.p, dtype=x.dtype, device=x.device))
        return (weights[index] * losses).mean(-1)

    def __call__(self, x: Float[Tensor, "*points d"], z: Int[Tensor, "*draws B"]) -> Tensor:
        """∇f_γ(x)."""
        return torch.func.grad(lambda y: self.losses(y, z).sum())(align(x, z))


def single_data(g: MinibatchOracle) -> tuple[MinibatchOracle, tuple[Tensor, Tensor]]:
    """The oracle of one datum a batch, and the rule of all N data with their probabilities."""
    N = g.mean.N
    w = torch.full((N,), 1 / N, dtype=torch.float64) if g.p is None else torch.tensor(g.p, dtype=torch.float64)
    return replace(g, batch_size=1, replace=False), (torch.arange(N)[:, None], w)


@dataclass(frozen=True, eq=False)
class _ScatterColumns:
    """X ↦ √κ_B [√p_i (∇f_i/(N p_i) − ∇f)]_i, shape (..., d, N): a factor of the minibatch covariance at x."""

    g: MinibatchOracle

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d N"]:
        single, (z, w) = single_data(self.g)
        w = w.to(x)
        points = x[..., None, :].expand(*x.shape[:-1], len(w), x.shape[-1]).clone()
        values = single(points, z.to(x.device))
        centred = values - (w[:, None] * values).sum(-2, keepdim=True)
        return (self.g.variance_factor * w).sqrt() * centred.mT


def gaussian_surrogate(g: MinibatchOracle) -> GaussianOracle:
    """Gaussian gradient noise with the covariance of a minibatch at every x: ∇f(x) + L(x) z, L Lᵀ = Σ_B(x), m = N.

    Column i of L is √κ_B times the centred gradient of datum i, so for each z the noise L(x) z is the gradient of a
    loss, Σ_i z_i (f_i − f), and it is taken at the point where the gradient is.  For SGD it is as good a model as the
    minibatch itself; for SAM it is not, since E|∇f_γ| depends on more than Σ.

    Raises
    ------
    ValueError
        When the finite sum does not know its dimension.
    """
    return GaussianOracle(g.mean, _ScatterColumns(g), dim=g.dim, noise_dim=g.mean.N)
