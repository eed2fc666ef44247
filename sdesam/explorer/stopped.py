"""A kernel whose particles stop where they are first seen outside a box, and are counted out where they diverge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..dynamics.kernels import Derived, Kernel

__all__ = ["FARTHEST", "Stopped"]

FARTHEST = 1e6  # beyond, a particle counts as diverged


@dataclass(frozen=True)
class Stopped(Derived):
    """A planar kernel, looked at once a step of its clock, as the page does.

    The state is (x, substeps since the last look, 1 inside or 0 outside).  Without a box nothing stops.  Beyond 1e6 the
    position becomes NaN, so that ``simulate`` counts the replicate as not finite.

    Parameters
    ----------
    kernel : with states (n, 2)
    box : left, right, bottom, top, or None
    """

    kernel: Kernel
    box: tuple[float, float, float, float] | None

    def init(self, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Starts outside the box never move."""
        x = self.kernel.init(x0)
        return x, torch.zeros_like(x[..., 0]), self._inside(x)

    def position(self, state: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The iterate."""
        return state[0]

    def step(self, state: tuple[Tensor, Tensor, Tensor], z: Any) -> tuple[Tensor, Tensor, Tensor]:
        """A small step of those inside, and a look after the last one of the clock's step."""
        x, count, inside = state
        moved = torch.where((inside > 0)[..., None], self.kernel.step(x, z), x)
        moved = torch.where((moved.abs() < FARTHEST).all(-1)[..., None], moved, torch.full_like(moved, math.nan))
        look = count + 1 >= self.substeps
        now = torch.where(look, inside * self._inside(moved), inside)
        return moved, torch.where(look, torch.zeros_like(count), count + 1), now

    def _inside(self, x: Tensor) -> Tensor:
        if self.box is None:
            return torch.ones_like(x[..., 0])
        left, right, bottom, top = self.box
        a, b = x[..., 0], x[..., 1]
        return ((a > left) & (a < right) & (b > bottom) & (b < top)).to(x.dtype)
