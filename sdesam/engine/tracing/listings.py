"""What the fused engine runs: lists of kernels that share a noise, and of what is watched.

Substeps and coupling are data.  One loop draws the finest noise and adds it to every member's sum; a member steps when
its share is complete, with its sum over √share.  So a plain kernel, r small steps, an optimizer with its SDE, and two
discretisations of one SDE are the same code, and nothing is unrolled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...problems.noise import Noise
from .programs import Program

__all__ = ["Listing", "Member"]


@dataclass(frozen=True)
class Member:
    """One of the kernels that share a noise.

    Attributes
    ----------
    step : list from its state, its noise and the clock's row to its state
    states : its numbers in the state, ``range``
    noises : which of the numbers of a draw it eats
    share : how many draws make one of its steps
    sign : of the noise it eats
    """

    step: Program
    states: range
    noises: tuple[int, ...]
    share: int
    sign: int


@dataclass(frozen=True)
class Listing:
    """Everything the fused engine runs.

    Attributes
    ----------
    members : one for a plain kernel
    noise : the factors of a draw, in order
    substeps : draws a step
    observe : list from the state and the clock's row to (position is finite, phi_1, .., phi_K)
    initial : maps starts (rows, d) to the state, one row a number, ``(numbers, rows)``
    clock : numbers that belong to a step, a row for each draw from 0 on; most models have no column
    near : the start (d,) that it was traced near
    """

    members: tuple[Member, ...]
    noise: tuple[Noise, ...]
    substeps: int
    observe: Program
    initial: Callable[[Tensor], Tensor]
    clock: Tensor
    near: Tensor

    @property
    def length(self) -> int:
        """Operations of all lists."""
        return self.observe.length + sum(m.step.length for m in self.members)

    @property
    def structure(self) -> tuple:
        """All that compiled code depends on, beside the precision."""
        steps = tuple((m.step.structure, m.states, m.noises, m.sign) for m in self.members)
        return steps, self.noise, self.observe.structure

    @property
    def coupled(self) -> bool:
        """Whether members have shares of the noise."""
        return len(self.members) > 1
