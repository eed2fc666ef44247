"""A kernel that becomes another one at a given step, as a screen whose method is switched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problems.noise import Normal
from .kernels import Derived, Kernel

__all__ = ["Switched"]

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Switched(Derived):
    """``kernel`` for ``after`` steps of the clock, then ``then`` on the state it left.

    Both keep their state as a tuple of tensors of the same shapes; this one adds the number of small steps taken.
    Both are evaluated in every step, and one result is kept.

    Parameters
    ----------
    kernel, then : with normal noise and the same clock; the one with less noise takes the first normals of a draw
    after : steps of the clock; 0 is ``then`` from the start

    Raises
    ------
    ValueError
        Where the two clocks differ.
    """

    kernel: Kernel
    then: Kernel
    after: int

    def __post_init__(self) -> None:
        clocks = [(k.substeps, k.dt) for k in (self.kernel, self.then)]
        if clocks[0] != clocks[1]:
            raise ValueError(f"then must have the kernel's clock, got (substeps, dt) = {clocks[0]} and {clocks[1]}.")

    @property
    def noise(self) -> Normal:
        """As many normals as the hungrier of the two eats."""
        return Normal(max(_width(self.kernel), _width(self.then)))

    def init(self, x0: Tensor) -> State:
        """The kernel's state, and no small step taken."""
        return *self.kernel.init(x0), torch.zeros_like(x0[..., 0])

    def position(self, state: State) -> Tensor:
        """The iterate."""
        return self.kernel.position(state[:-1])

    def step(self, state: State, z: Tensor) -> State:
        """A small step of the one whose turn it is."""
        *inner, taken = state
        first = taken < self.after * self.substeps
        both = zip(*(k.step(tuple(inner), z[..., : _width(k)]) for k in (self.kernel, self.then)), strict=True)
        return *(_chosen(first, a, b) for a, b in both), taken + 1


def _width(kernel: Kernel) -> int:
    return kernel.noise.size  # pyright: ignore[reportAttributeAccessIssue]


def _chosen(first: Tensor, a: Any, b: Any) -> Tensor:
    return torch.where(first.reshape(first.shape + (1,) * (a.ndim - first.ndim)), a, b)
