"""One kernel at many parameters as rows of one batch, and chains that share out the data: the same in less time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..problems.minibatch import MinibatchOracle
from ..problems.noise import Normal
from .kernels import Derived, Kernel, Optimizer

__all__ = ["Stratified", "Variants", "stratified", "variants"]


@dataclass(frozen=True, eq=False)
class Variants(Derived):
    """The kernels ``make(*row)`` for R rows of parameters, on one noise; see ``variants``."""

    make: Callable[..., Kernel]
    values: Float[Tensor, "R p"]

    @cached_property
    def kernel(self) -> Kernel:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The kernel of the first row, which stands for all where they agree."""
        return self.make(*self.values[0].tolist())

    def init(self, x0: Float[Tensor, "n d"]) -> Tensor:
        """The first kernel's state (n, ...), once for every row: (n, R, ...)."""
        state = self.kernel.init(x0)
        return state[:, None].expand(-1, len(self.values), *state.shape[1:]).clone()

    def position(self, state: Tensor) -> Tensor:
        """The state (n, R, ..., d); infinite beyond the fourth root of the largest float, where |x|² of |x|² overflows.

        A path out there has diverged, and says so before an observable is the difference of two infinities.
        """
        return torch.where(state.abs() < torch.finfo(state.dtype).max ** 0.25, state, torch.inf)

    def step(self, state: Tensor, z: Any) -> Tensor:
        """Every variant's step on the same z; one by one where torch has no batching rule, with the same result."""
        rows = self.values.to(state)
        try:
            return torch.func.vmap(lambda row, x: self.make(*row).step(x, z), (0, 1), 1)(rows, state)
        except RuntimeError:
            return torch.stack([self.make(*row).step(x, z) for row, x in zip(rows, state.unbind(1), strict=True)], 1)


def variants(make: Callable[..., Kernel], rows: Sequence[Sequence[float]]) -> Variants:
    """The kernels ``make(*row)`` as rows of one batch, (n, R, d), all on one noise.

    Inside ``torch.func.vmap`` the parameters are 0-dim tensors: each row is bit for bit what ``make`` gives alone, and
    R of them cost little more than one while a step is dominated by the calls it makes.  The kernel's state must be the
    iterate (optimizers and the integrators are such kernels).

    Raises
    ------
    ValueError
        Without rows, or for rows of different lengths.
    """
    if not rows or len({len(row) for row in rows}) > 1:
        raise ValueError(f"rows must be at least one, all of as many parameters as make takes, got {list(rows)}.")
    found = Variants(make, torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64))
    _ = found.kernel  # raises what make raises
    return found


# ----------------------------------------------------------------- minibatches dealt out among chains
@dataclass(frozen=True, eq=False)
class Stratified(Derived):
    """m = N/B chains of an optimizer among which each step deals out all N data; see ``stratified``."""

    kernel: Optimizer  # pyright: ignore[reportIncompatibleVariableOverride]
    g: MinibatchOracle

    @property
    def noise(self) -> Normal:
        """N normals, whose order is the deal."""
        return Normal(self.g.mean.N)

    def init(self, x0: Float[Tensor, "n d"]) -> Float[Tensor, "n m d"]:
        """All chains of a group from one start."""
        x = self.kernel.init(x0)
        return x[:, None].expand(-1, self.g.mean.N // self.g.batch_size, -1).clone()

    def position(self, state: Tensor) -> Tensor:
        """The chains of the group, (n, m, d)."""
        return state

    def step(self, state: Float[Tensor, "n m d"], z: Float[Tensor, "n N"]) -> Tensor:
        """Every chain takes its hand of the deal; one hand enters both gradients of its step."""
        return self.kernel.step(state, self.deal(z))

    def deal(self, z: Float[Tensor, "n N"]) -> Int[Tensor, "n m B"]:
        """A uniform permutation of the data, cut into batches."""
        return z.argsort(-1).reshape(len(z), -1, self.g.batch_size)


def stratified(optimizer: Optimizer) -> Stratified:
    """Groups of N/B chains of a minibatch optimizer; at every step each datum is in exactly one chain's batch.

    Each chain alone is the optimizer: its batches are uniform without replacement and independent from step to step.
    Over the group the gradient noise at a common point sums to zero, so that the group's mean of phi has a variance
    of second order in the noise.  A group is one replicate; take the mean over its axis.

    Raises
    ------
    ValueError
        For an oracle that is no minibatch without replacement and weights, or a batch size that does not divide N.
    """
    g = optimizer.g
    if not isinstance(g, MinibatchOracle) or g.replace or g.p is not None:
        raise ValueError(f"stratified needs a MinibatchOracle, without replacement or weights, got {type(g).__name__}.")
    if g.mean.N % g.batch_size:
        raise ValueError(f"batch_size must divide N = {g.mean.N}, so that a deal leaves no data, got {g.batch_size}.")
    return Stratified(optimizer, g)
