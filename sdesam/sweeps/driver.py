"""Sweeps: many cells, chunk by chunk, on any executor, into a store; what is there is not computed again.

The driver alone writes.  At most two chunks per worker are in flight, each a node of units sized to about two seconds
by what earlier chunks of its kind took.  Whatever the executor, the chunk sizes and the order of completion, the
collected sums are the same bits: see ``folds``.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from ..engine.progress import Advance, reporting
from ..processes import Pool, Serial, interruptible
from .chunks import Chunk, Plan, gaps
from .store import Cell, Store, Touchstone, canonical, key_of

__all__ = ["SweepReport", "carry_out", "run_sweep"]

_TRIES = 3
_ALONE = 5.0  # seconds: what starting processes costs, each of which imports torch and traces anew


@dataclass
class SweepReport:
    """What a sweep did.

    Attributes
    ----------
    computed : chunks computed and saved now
    cells : cells asked for;  complete : those with all their replicates when the sweep ended
    failed : sentences, one per chunk that failed three times
    interrupted : whether a signal ended it early
    """

    cells: int
    computed: int = 0
    complete: int = 0
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


# ----------------------------------------------------------------- the driver
def run_sweep(
    cells: Sequence,
    store: Store,
    executor: Executor | None = None,
    *,
    n: int,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = False,
    finished: Callable[[Any], object] | None = None,
) -> SweepReport:
    """Compute what the store misses of n replicates (rounded up to whole units of 1,024) of every cell.

    Parameters
    ----------
    cells : frozen dataclasses (see ``store.Cell``); a lazy sequence is indexed, not copied
    executor : any ``concurrent.futures.Executor``; by default one process a core, spawned, one torch thread each; a
        sweep of a few seconds of compiled cells of the catalogue stays in this process.
        A script that uses the default must guard its main code with ``if __name__ == "__main__"``
    workers : processes of the default executor, or the executor's width where it does not tell
    shard : (i, of): compute the i-th of equal shares only; the shares meet in one store
    finished : told of each cell when the last chunk of its share is saved

    Returns
    -------
    SweepReport.  A chunk that fails is tried three times and then reported; the sweep goes on.  A worker that dies
    takes nothing with it but time.  The first SIGINT or SIGTERM stops after the chunks in flight, the second at once.

    Raises
    ------
    StoreFailed
        When results cannot be written.
    ValueError
        For no cells, or a bad n or shard.
    """
    if executor is None and len(cells) and not _importable(cells[0]):
        raise ValueError(
            f"cells of {type(cells[0]).__name__} must be defined in a file that a new process can import: put them "
            "into a module, or pass executor=Serial()."
        )
    plan = Plan(cells, store.index(), n=n, shard=shard)
    return carry_out(plan, store, executor, workers=workers, progress=progress, finished=finished)


def _importable(cell: Cell) -> bool:
    return type(cell).__module__ != "__main__" or hasattr(sys.modules["__main__"], "__file__")


def carry_out(
    plan: Plan,
    store: Store,
    executor: Executor | None,
    *,
    workers: int | None,
    progress: bool,
    finished: Callable[[Any], object] | None = None,
) -> SweepReport:
    """Compute a plan's missing chunks; see ``run_sweep``."""
    cells = plan.cells
    report = SweepReport(cells=len(cells))
    if plan.missing:
        pool = Pool(executor, workers)
        with pool, interruptible() as stop, reporting(progress, math.ceil(plan.work), "sweep") as advance:
            drive = _Drive(plan, store, pool, stop, advance, report, finished or (lambda cell: None))
            drive.through(alone=executor is None and workers is None and _is_tame(plan))
            report.interrupted = stop.is_set()
    whole = plan.is_whole and not (report.failed or report.interrupted)
    report.complete = len(cells) if whole else _complete(cells, store, plan.units)
    return report


def _is_tame(plan: Plan) -> bool:
    """Whether all that is missing is computed by compiled code of this package, which takes no process down."""
    return all(getattr(cell, "is_tame", False) for cell, _ in plan.work_by_kind.values())


def _complete(cells: Sequence[Cell], store: Store, units: int) -> int:
    index = store.index()
    return sum(not any(gaps(0, units, index.get(key_of(canonical(cell)), ()))) for cell in cells)


@dataclass(frozen=True, eq=False)
class _Drive:
    """A sweep under way; ``stop`` and ``report`` change meanwhile."""

    plan: Plan
    store: Store
    pool: Pool
    stop: threading.Event
    advance: Advance
    report: SweepReport
    finished: Callable[[Any], object]

    def through(self, *, alone: bool) -> None:
        """First every chunk, two a worker in flight; then those that failed, one at a time, so that blame is clear."""
        source = iter(self.plan)
        again = self.alone(source) if alone else []
        again += self.flow(source, 2 * self.pool.width)
        for _ in range(_TRIES - 1):
            failed, again = again, []
            for chunk, _why in failed:
                if not self.stop.is_set():
                    again += self.flow(iter([chunk]), 1)
        self.report.failed += [f"{why} (units {c.first}..{c.first + c.count - 1} of {c.text})" for c, why in again]

    def alone(self, source: Iterator[Chunk]) -> list[tuple[Chunk, str]]:
        """Chunks in this process, until it is plain that starting others pays; returns those that failed, and why."""
        again: list[tuple[Chunk, str]] = []
        began = time.monotonic()
        for chunk in source:
            again += self.take(chunk, Serial().submit(_compute, chunk.cell, chunk.replicates))
            if self.stop.is_set() or (time.monotonic() - began > _ALONE and self.plan.seconds_left > _ALONE):
                break
        return again

    def flow(self, source: Iterator[Chunk], window: int) -> list[tuple[Chunk, str]]:
        """Compute chunks, at most so many in flight; returns those that failed, and why."""
        flying: dict[Future, Chunk] = {}
        again: list[tuple[Chunk, str]] = []
        while True:
            while len(flying) < window and not self.stop.is_set() and (chunk := next(source, None)) is not None:
                flying[self.pool.submit(_compute, chunk.cell, chunk.replicates)] = chunk
            if not flying:
                return again
            done, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                again += self.take(flying.pop(future), future)

    def take(self, chunk: Chunk, future: Future) -> list[tuple[Chunk, str]]:
        """Write what a chunk gave; where it gave nothing, the chunk and why."""
        try:
            found = future.result()
        except Exception as error:
            self.pool.renew_if_broken(error)
            return [(chunk, f"{type(error).__name__}: {error}")]
        self.pool.succeeded()
        self.keep(chunk, *found)
        return []

    def keep(self, chunk: Chunk, sums: Any, seconds: float, stone: Touchstone | None) -> None:
        """Write what a chunk gave."""
        if stone is not None:
            self.store.require_same(stone)
        self.store.write(chunk.text, chunk.first, chunk.count, sums)
        last = self.plan.measured(chunk, seconds)
        self.report.computed += 1
        left = self.plan.seconds_left / self.pool.width
        self.advance(math.ceil(len(chunk.replicates) * chunk.cell.work), left)
        if last:
            self.finished(chunk.cell)


def _compute(cell: Cell, replicates: range) -> tuple[Any, float, Touchstone | None]:
    """What a worker does: one torch thread, so that the bits do not depend on the machine."""
    import torch

    threads, began = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(1)
    try:
        sums, seconds = cell.compute(replicates), time.perf_counter() - began
        touchstone = getattr(cell, "touchstone", None)
        return sums, seconds, touchstone and touchstone()
    finally:
        torch.set_num_threads(threads)
