"""Exit times of an ensemble: who leaves a region, and when, with censoring said aloud."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_count
from ..dynamics.kernels import Kernel
from .choice import short_run
from .display import about_ten, html_table, numbers
from .eager import blocks, visit
from .ensembles import Engine, Watched, fused_or_note, part_of, require_kernel
from .llvm.compilation import Fused
from .llvm.cpu import fused_exits
from .probe import probe
from .start import Cloud, Points, Run, Start
from .statistics import Estimate, engine_arrays, notes_joined

__all__ = ["ExitTimes", "first_exit"]


@dataclass(frozen=True, eq=False)
class ExitTimes:
    """Exit counts per step.

    Attributes
    ----------
    counts : (max_steps + 1,) replicates first seen outside at step 0, 1, .., max_steps
    censored : replicates still inside at the end
    diverged : how many of the exits were to a non-finite point (they are outside, and counted there)
    dt : model time of a step; a subcycled kernel is looked at once a step, as the optimizer is
    engine, engine_note : which engine ran, and why, as in ``Moments``
    """

    counts: np.ndarray
    censored: int
    diverged: int
    dt: float
    engine: str = "eager"
    engine_note: str = ""

    @property
    def n(self) -> int:
        """Replicates."""
        return int(self.counts.sum()) + self.censored

    @property
    def times(self) -> np.ndarray:
        """Model time of steps 0..max_steps."""
        return np.arange(len(self.counts)) * self.dt

    @property
    def survival(self) -> np.ndarray:
        """S(t) = fraction still inside after the look at t."""
        return 1 - np.cumsum(self.counts) / self.n

    def band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Simultaneous band for S over all t: ± √(log(2/(1 − level))/(2n)) (Dvoretzky-Kiefer-Wolfowitz).

        Valid because censoring happens at the end only.
        """
        _require_level(level)
        half = math.sqrt(math.log(2 / (1 - level)) / (2 * self.n))
        return np.clip(self.survival - half, 0, 1), np.clip(self.survival + half, 0, 1)

    def median(self, level: float = 0.95) -> tuple[float, float, float]:
        """Median exit time and a distribution-free interval from order statistics; inf where censored."""
        from scipy.stats import binom

        _require_level(level)
        low, high = binom.ppf([(1 - level) / 2, (1 + level) / 2], self.n, 0.5)
        middle, last = math.ceil(self.n / 2), float(high) + 1
        return self._order_statistic(middle), self._order_statistic(float(low)), self._order_statistic(last)

    def restricted_mean(self) -> Estimate:
        """E min(T, t_end): the mean exit time when nothing is censored, a lower bound otherwise."""
        weights = self.counts.astype(float)
        weights[-1] += self.censored
        mean = float((weights * self.times).sum() / self.n)
        spread = float((weights * (self.times - mean) ** 2).sum())
        stderr = math.sqrt(spread / (self.n - 1) / self.n) if self.n > 1 else math.inf
        name = "Monte Carlo" if self.censored == 0 else f"Monte Carlo, restricted to t <= {self.times[-1]:g}"
        return Estimate(mean, stderr, self.n, name)

    def escaped(self) -> Estimate:
        """Fraction seen outside by the end.

        The binomial standard error is taken at (k + ½)/(n + 1), so that 0 of n is not reported as certain.
        """
        k = self.n - self.censored
        p = (k + 0.5) / (self.n + 1)
        return Estimate(k / self.n, math.sqrt(p * (1 - p) / self.n), self.n, "Monte Carlo")

    def merge(self, other: ExitTimes) -> ExitTimes:
        """The exits of the union of two disjoint groups of replicates.

        Raises
        ------
        ValueError
            When the two were watched for different times.
        """
        if len(self.counts) != len(other.counts) or self.dt != other.dt:
            raise ValueError(
                f"other must have been watched for the same {len(self.counts) - 1} steps of {self.dt:g}, got "
                f"{len(other.counts) - 1} of {other.dt:g}: survival curves of different lengths do not add."
            )
        return ExitTimes(
            self.counts + other.counts, self.censored + other.censored, self.diverged + other.diverged, self.dt,
            self.engine if self.engine == other.engine else "mixed",
            notes_joined(self.engine_note, other.engine_note),
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        totals = np.array([self.censored, self.diverged])
        plain = {"counts": self.counts, "totals": totals, "dt": np.array(self.dt)}
        return plain | engine_arrays(self.engine, self.engine_note)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ExitTimes:
        """What ``arrays`` gave; raises ``KeyError`` or ``ValueError`` for anything else."""
        censored, diverged = (int(v) for v in arrays["totals"])
        counts = arrays["counts"]
        if counts.ndim != 1 or counts.dtype != np.int64 or min(censored, diverged, *counts.tolist()) < 0:
            raise ValueError(f"counts must be numbers of replicates, got {counts.dtype} of shape {counts.shape}.")
        engine, note = str(arrays.get("engine", "eager")), str(arrays.get("engine_note", ""))
        return cls(counts, censored, diverged, float(arrays["dt"]), engine, note)

    def __repr__(self) -> str:
        left, mean = numbers(self.escaped())[0], numbers(self.restricted_mean())[0]
        lost = f", {self.diverged:,} of them to a non-finite point" * (self.diverged > 0)
        stayed = f", a lower bound: {self.censored:,} stayed inside" * (self.censored > 0)
        return (
            f"ExitTimes to step {len(self.counts) - 1}, t = {self.times[-1]:g}: n = {self.n:,}, {self.engine} engine\n"
            f"  fraction that left: {left}{lost}\n  mean exit time: {mean}{stayed}"
        )

    def _repr_html_(self) -> str:
        at = about_ten(len(self.counts))
        low, high = self.band()
        columns = {"time": self.times, "still inside": self.survival, "95 % band from": low, "to": high}
        return html_table(repr(self), {name: column[at] for name, column in columns.items()})

    def _order_statistic(self, rank: float | int) -> float:
        if rank < 1:
            return 0.0
        reached = np.flatnonzero(np.cumsum(self.counts) >= rank)
        return float(self.times[reached[0]]) if len(reached) else math.inf


@torch.no_grad()
def first_exit(
    kernel: Kernel,
    x0: Points | Cloud,
    inside: Callable[[Tensor], Tensor],
    *,
    max_steps: int,
    n: int,
    seed: int = 0,
    replicates: range | None = None,
    engine: Engine = "auto",
) -> ExitTimes:
    """First step at which each replicate is seen outside, looking once a step.

    Parameters
    ----------
    inside : ``(..., d) -> (...)`` booleans; a non-finite point counts as outside
    replicates : only these of the n, as in ``simulate``
    engine : as in ``simulate``

    Raises
    ------
    ValueError, TypeError
        As ``simulate``, or when ``inside`` does not return one boolean per replicate.
    """
    max_steps = require_count("max_steps", max_steps, least=1, why="an exit needs a step")
    require_kernel(kernel)
    run = Run(Start.of(x0), max_steps, n, seed)
    chosen, watched = part_of(run.n, replicates), Watched({"inside": inside})
    probe(kernel, run.start.one, watched.observables, {}, what="inside")
    short = short_run(kernel, n=run.n, steps=max_steps, looks=max_steps)
    fused = fused_or_note(kernel, run.start, watched, engine, short)
    if isinstance(fused, Fused) and fused.model.observe.watches_truth:  # what is no boolean, the eager engine refuses
        found = fused_exits(fused, run, chosen)
        counts, lost = found[:, 0].copy(), int(found[:, 1].sum())
        return ExitTimes(counts, len(chosen) - int(counts.sum()), lost, float(kernel.dt), "fused")
    counts, diverged = np.zeros(max_steps + 1, np.int64), 0
    for block in blocks(chosen, run.start.dim):
        alive = torch.ones(block.rows, dtype=torch.bool)
        alive[block.count :] = False

        def look(k: int, state: Any, alive: Tensor = alive) -> bool:
            nonlocal diverged
            x = kernel.position(state)
            finite = torch.isfinite(x).reshape(len(x), -1).all(-1)
            left = alive & ~(_ask(inside, x) & finite).cpu()
            counts[k] += int(left.sum())
            diverged += int((left & ~finite.cpu()).sum())
            alive &= ~left
            return not bool(alive.any())

        visit(kernel, block, run, look)
    note = fused if isinstance(fused, str) else ""
    return ExitTimes(counts, len(chosen) - int(counts.sum()), diverged, float(kernel.dt), "eager", note)


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level!r}: it is a coverage probability.")


def _ask(inside: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    answer = inside(x)
    if not isinstance(answer, Tensor):
        raise ValueError(f"inside must return a tensor of booleans, got {answer!r}.")
    if answer.dtype != torch.bool or answer.shape != (len(x),):
        raise ValueError(
            f"inside must return booleans of shape ({len(x)},), got {answer.dtype} of shape {tuple(answer.shape)}: it "
            "acts on the last axis; did a norm or sum miss dim=-1?"
        )
    return answer
