"""The fused engine on the CPU: compiled models, run over units by threads, their sums folded in one fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..eager import UNIT
from ..folds import Tree, nodes_of
from ..start import Run
from ..statistics import Moments
from .calls import Rows, drive, interval_of, run_units, starts_of, state_of
from .compilation import Fused
from .reductions import EXITS, row_length
from .sums import Bins, folded, moments_of
from .trial import run_unit

__all__ = ["UndefinedObservable", "fused_exits", "fused_moments", "fused_values"]

_NUMBERS = 2**23  # of a call's result: 64 MB
_WORK = 2**35  # operations of a call
_MOST_UNITS = 64  # units of one call: sums of that many are in memory at once
_PARALLEL = 4  # nodes in flight for each thread


def fused_moments(
    fused: Fused,
    run: Run,
    replicates: range,
    *,
    names: tuple[str, ...],
    dt: float,
    edges: Mapping[str, np.ndarray] | None = None,
    threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Moments:
    """Moments of the observables at the saved steps, over replicates.

    Parameters
    ----------
    replicates : a range that starts at a whole unit
    edges : of the observables' histograms
    threads : torch's number of threads by default; results do not depend on it
    advance : told the number of replicates done

    Raises
    ------
    UndefinedObservable
        When an observable is NaN at a finite position.
    """
    _require_prepared(fused, run.steps)
    saved, bins, common = run.saved, Bins.of(names, edges or {}), _common(fused, run)

    def sums_of(node: tuple[int, int]) -> tuple[int, int, Moments]:
        rows = run_units(fused, common, run, node, replicates.stop, K=len(names), bins=bins)
        if rows[..., 1].any():
            unit, place = np.argwhere(rows[..., 1])[0]
            units = range(UNIT * (node[0] + int(unit)), replicates.stop)[:UNIT]
            raise UndefinedObservable(_undefined(fused, run, units, names, int(saved[place])))
        sizes = np.clip(replicates.stop - UNIT * np.arange(node[0], sum(node)), 0, UNIT)
        return (*node, folded(moments_of(rows, sizes, names, np.tile(saved, len(rows)), dt, bins), len(saved)))

    tree: Tree[Moments] = Tree()
    for begin, count, sums in _in_order(
        sums_of, replicates, len(saved) * row_length(len(names), len(bins.edges)), _work(fused, run), threads
    ):
        tree.add(begin, count, sums)
        if advance is not None:
            advance(min(replicates.stop, (begin + count) * UNIT) - begin * UNIT)
    return replace(tree.total(), engine="fused")


def fused_exits(fused: Fused, run: Run, replicates: range, *, threads: int | None = None) -> np.ndarray:
    """Exits per step, (steps + 1, 2): how many left, and how many of them to a non-finite point.

    The only observable of the model is whether a point is inside.
    """
    common = _common(fused, run)

    def exits_of(node: tuple[int, int]) -> np.ndarray:
        rows = run_units(fused, common, run, node, replicates.stop, K=1, exits=True)
        return rows[..., :2].sum(axis=0)

    total = np.zeros((run.steps + 1, 2))
    for counts in _in_order(exits_of, replicates, len(total) * EXITS, _work(fused, run), threads):
        total += counts  # integers: exact in any order
    return total.astype(np.int64)


def _common(fused: Fused, run: Run) -> np.ndarray | None:
    """The state of a unit where all replicates start at one point."""
    x0 = run.start.common
    return None if x0 is None else state_of(fused, x0.expand(UNIT, -1).clone())


class UndefinedObservable(ValueError):
    """An observable was NaN at a finite position; the message names it, the step and the replicate."""


def _undefined(fused: Fused, run: Run, unit: range, names: Sequence[str], k: int) -> str:
    """The first replicate of a unit whose position is finite at step k while a value is NaN, and which."""
    values = fused_values(fused, run.start.rows, unit, saved=np.unique([0, k]), seed=run.seed)[-1]
    i, j = np.argwhere((np.isnan(values[1:]) & (values[0] > 0)).T)[0]
    return f"observable {names[j]!r} is NaN at a finite position at step {k} (replicate {unit[i]})"


def _require_prepared(fused: Fused, steps: int) -> None:
    needed, clock = steps * fused.model.substeps, fused.numbers.clock
    rows = len(clock)
    if clock.shape[1] and needed >= rows:
        raise ValueError(
            f"steps must be at most {(rows - 1) // fused.model.substeps}, for which the kernel is prepared."
        )


def _work(fused: Fused, run: Run) -> int:
    """Operations of a unit."""
    return UNIT * run.steps * fused.model.substeps * (fused.model.length + 50 * len(fused.model.noise))


def _in_order(
    run: Callable[[tuple[int, int]], Any], replicates: range, numbers: int, work: int, threads: int | None
) -> Iterator[Any]:
    """Results of ``run`` on nodes of units, in order, a few in flight, so that memory stays flat.

    A node is large enough to amortise a call, and small enough for memory (``numbers`` a unit), for an interrupt to be
    heard (``work`` a unit, about a second a call) and for every thread to have some.
    """
    threads = threads or torch.get_num_threads()
    drive()  # compiled before the threads start
    first, stop = replicates.start // UNIT, -(-replicates.stop // UNIT)
    fair = (stop - first) // (2 * threads) if threads > 1 else _MOST_UNITS
    most = max(1, min(_MOST_UNITS, _NUMBERS // numbers, _WORK // work, fair))
    nodes = list(nodes_of(first, stop, most=1 << (most.bit_length() - 1)))
    if threads == 1 or len(nodes) == 1:
        yield from map(run, nodes)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = []
        for node in nodes:
            waiting.append(pool.submit(run, node))
            if len(waiting) >= _PARALLEL * threads:
                yield waiting.pop(0).result()
        for job in waiting:
            yield job.result()


def fused_values(fused: Fused, start: Rows, replicates: range, *, saved: np.ndarray, seed: int) -> np.ndarray:
    """Values (saved, 1 + K, replicates) in float64 at the saved steps; the first row is 1 where the position is finite.

    For paths and for tests: memory grows with replicates and steps.
    """
    rows, substeps, every = len(fused.model.observe.outputs), fused.model.substeps, interval_of(saved)
    found = []
    for first in range(replicates.start, replicates.stop, UNIT):
        states, generators = starts_of(fused, start, first // UNIT, 1, seed)
        run = partial(run_unit, fused.code, fused.numbers, states, generators, rows=rows, substeps=substeps)
        values = np.concatenate([run(saves=1, every=0), run(saves=len(saved) - 1, every=every)])
        found.append(values[:, :, : replicates.stop - first])
    return np.concatenate(found, axis=2)
