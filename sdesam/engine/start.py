"""Where the replicates of a run start, and how many of them go how far: x0 and the counts, each checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..arguments import as_floats, require_count, require_nonnegative, require_seed, set_fields
from ..problems.noise import normals
from .streams import Streams

__all__ = ["Cloud", "Points", "Run", "Start"]

Points = Tensor | np.ndarray | Sequence


@dataclass(frozen=True, eq=False)
class Cloud:
    """A Gaussian start: x0 = mean + scale·N(0, I), drawn from each replicate's own stream before step 1."""

    mean: Points
    scale: float

    def __post_init__(self) -> None:
        set_fields(self, scale=require_nonnegative("scale", self.scale, "it is the standard deviation of the start"))


@dataclass(frozen=True, eq=False)
class Start:
    """The starts of all replicates, made from an x0.

    Attributes
    ----------
    points : (d,) for one start, (n, d) for one each; the mean of a cloud, (d,)
    scale : a cloud's, None for points
    """

    points: Tensor
    scale: float | None = None

    @classmethod
    def of(cls, x0: Points | Cloud) -> Start:
        """The start of an x0: a float tensor; lists and arrays become float64 whatever the default dtype.

        Raises
        ------
        ValueError, TypeError
            For what is not finite, holds no floats, or has another shape than (d,) or (n, d).
        """
        if isinstance(x0, Cloud):
            return cls(_points("x0.mean", x0.mean, (1,)), x0.scale)
        return cls(_points("x0", x0, (1, 2)))

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.points.shape[-1]

    @property
    def common(self) -> Tensor | None:
        """The start of all replicates, (d,), or None where each has its own."""
        return self.points if self.scale is None and self.points.ndim == 1 else None

    @property
    def one(self) -> Tensor:
        """One start, (d,): the first, or the middle of a cloud."""
        return self.points.reshape(-1, self.dim)[0]

    def alone(self, why: str) -> Tensor:
        """The start of all replicates, (d,); ``ValueError`` where each has its own."""
        if self.common is None:
            what = f"shape {tuple(self.points.shape)}" if self.scale is None else "Cloud"
            raise ValueError(f"x0 must be one start (d,), got {what}: {why}.")
        return self.points

    def rows(self, first: int, rows: int, streams: Streams) -> Tensor:
        """The starts of so many replicates, (rows, d); rows beyond the last replicate are padding."""
        if self.scale is not None:
            return self.points + self.scale * normals(streams.bits, self.dim, self.points.dtype).to(self.points.device)
        if self.points.ndim == 1:
            return self.points.expand(rows, -1).clone()
        index = torch.arange(first, first + rows).clamp(max=len(self.points) - 1)  # padding repeats the last row
        return self.points[index.to(self.points.device)]


def _points(name: str, x0: Points, dims: tuple[int, ...]) -> Tensor:
    points = as_floats(name, x0)
    if points.ndim not in dims or 0 in points.shape:
        raise ValueError(f"{name} must have shape (d,) or (n, d), got {tuple(points.shape)}.")
    if not bool(torch.isfinite(points).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    return points.detach()


@dataclass(frozen=True, eq=False)
class Run:
    """n replicates from their starts over so many steps; seed s gives replicate i the stream (s, i).

    Raises
    ------
    ValueError, TypeError
        For a bad count or seed, a ``save_every`` that does not divide the steps, or starts that are not n.
    """

    start: Start
    steps: int
    n: int
    seed: int = 0
    save_every: int = 1

    def __post_init__(self) -> None:
        set_fields(
            self,
            n=require_count("n", self.n, least=1, why="it is the number of replicates"),
            steps=require_count("steps", self.steps, least=1, why="a run needs a step"),
            save_every=require_count("save_every", self.save_every, least=1, why="it counts steps between looks"),
            seed=require_seed(self.seed),
        )
        if self.steps % self.save_every:
            raise ValueError(
                f"save_every must divide steps = {self.steps}, so that the last step is saved, got {self.save_every}."
            )
        points = self.start.points
        if points.ndim == 2 and len(points) != self.n:
            raise ValueError(f"x0 with one start per replicate must have {self.n} = n rows, got {len(points)}.")

    @property
    def saved(self) -> np.ndarray:
        """The saved steps: 0, then every ``save_every``, up to the last."""
        return np.arange(0, self.steps + 1, self.save_every)
