"""``sdesam sweep``, ``escape`` and ``collect``: thin over grids, sweeps and stores."""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..arguments import require_count, set_fields
from ..engine.eager import UNIT
from ..problems.fingerprints import FILES
from ..processes import Serial, cores
from .cells import Ensemble
from .chunks import Plan
from .driver import SweepReport, carry_out
from .grids import Grid
from .store import SCHEMA, Store
from .tables import Collection, require_files_known, write_table

__all__ = ["Means", "collect", "dry_run", "sweep"]

DEFAULT_N = 10_240
_PROBE_STEPS = 20
_SOON, _MANY = 0.05, 64  # seconds of a unit, and units where it takes less
Say = Callable[[str], object]  # what is told that a file was set aside, or a run cannot be read


@dataclass(frozen=True)
class Means:
    """How a sweep is carried out; none of it changes a result.

    Parameters
    ----------
    executor : "processes", "dask" or "serial"
    scheduler : address of a Dask scheduler; a cluster on this machine by default
    workers : processes; one a core by default
    shard : "i/n", this share of the work, i = 0..n−1
    """

    executor: str = "processes"
    scheduler: str | None = None
    workers: int | None = None
    shard: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            set_fields(self, workers=require_count("workers", self.workers, least=1, why="a sweep needs a process"))
        if self.scheduler is not None and self.executor != "dask":
            raise ValueError("scheduler is for --executor dask.")
        _ = self.share

    @property
    def share(self) -> tuple[int, int]:
        """The shard as (i, of)."""
        if self.shard is None:
            return 0, 1
        i, slash, of = self.shard.partition("/")
        plain = i.isascii() and i.isdigit() and of.isascii() and of.isdigit()
        if not (slash and plain and int(i) < int(of)):
            raise ValueError(f"shard must be i/n with i = 0..n-1, got {self.shard!r}.")
        return int(i), int(of)

    @contextmanager
    def open(self) -> Iterator[tuple[Executor | None, int | None]]:
        """The executor (None for the default pool) and its width."""
        if self.executor == "serial":
            yield Serial(), 1
        elif self.executor == "processes":
            yield None, self.workers
        else:
            with _dask(self.scheduler, self.workers) as found:
                yield found


@contextmanager
def _dask(scheduler: str | None, workers: int | None) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("--executor dask needs distributed: pip install 'sdesam[dask]'.") from missing
    if scheduler is None:
        n = workers or cores()
        with _deaf_to_interrupts():  # inherited: a Ctrl-C on a terminal is for the driver to decide
            local = LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address="")
        with local, Client(local) as client:
            yield client.get_executor(pure=False), n
    else:
        try:
            client = Client(scheduler, timeout=30)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(f"scheduler {scheduler!r} does not answer: {error}") from error
        with client:
            client.wait_for_workers(1, timeout=120)
            yield client.get_executor(pure=False), workers or _cores(client)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _cores(client: Any) -> int:
    return sum(client.ncores().values())


def provenance(command: str) -> dict[str, Any]:
    """Command, versions, host and time of a run."""
    packages = {name: version(name) for name in ("sdesam", "numpy", "torch")}
    return {
        "schema": SCHEMA, "command": command, "host": platform.node(), "pid": os.getpid(), "started": time.ctime(),
        "versions": {"python": platform.python_version(), **packages},
    }  # fmt: skip


# ----------------------------------------------------------------- verbs
def sweep(
    grid: Grid,
    n: int,
    folder: Path,
    means: Means,
    command: str,
    *,
    say: Say = warnings.warn,
    watch: Callable[[int], Callable[[Any], object]] | None = None,
) -> SweepReport:
    """Compute what the store at ``folder`` misses, and log the run.

    ``watch`` maps the number of cells of which something is missing to what is told of each that ends.

    Raises
    ------
    ValueError
        For a setting that cannot run at all; it is tried before anything is stored.
    StoreFailed
        When results cannot be written, or the store holds results of other functions under the same names.
    """
    first = Plan(grid, {}, n=n)  # every cell is made before anything is stored
    _try_out(first)
    store = Store(folder, say=say)
    _require_same_functions(store, grid)
    plan = Plan(grid, index, n=n, shard=means.share) if (index := store.index()) or means.shard else first
    fraction = time.time_ns() % 10**9  # two runs of one process may start in one second
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{platform.node()}-{os.getpid()}-{fraction:09d}"
    run = provenance(command) | {"n": n, "shard": means.shard, "grid": grid.document()}
    store.log_run(name, run)
    finished = watch and watch(plan.unfinished)
    with means.open() as (executor, workers):
        report = carry_out(plan, store, executor, workers=workers, progress=True, finished=finished)
    done = {"chunks": report.computed, "failed": report.failed, "interrupted": report.interrupted}
    store.log_run(name, run | done | {"finished": time.ctime(), "set aside": store.set_aside})
    return report


def _require_same_functions(store: Store, grid: Grid) -> None:
    """Compare what the user's functions give at fixed points with what they gave when the store was filled."""
    require_files_known(store)
    if any(meaning.startswith(FILES) for meaning in grid.stands_for.values()):
        of = {(c.landscape, c.method, c.x0, c.batch_size, c.dtype, c.device): c for c in grid}
        for stone in (cell.touchstone() for cell in of.values()):
            if stone is not None:
                store.require_same(stone)


def dry_run(grid: Grid, n: int, folder: Path, means: Means, *, say: Say = warnings.warn) -> dict[str, Any]:
    """Cells, missing replicates and an estimate of the time, from a few steps of one cell of each kind."""
    index = {}
    if (folder / "store.json").exists():
        store = Store(folder, create=False, say=say)
        require_files_known(store)
        index = store.index()
    plan = Plan(grid, index, n=n, shard=means.share)
    _try_out(plan)
    costs = [(work, *_cost(cell)) for cell, work in plan.work_by_kind.values()]
    fixed = max((once for _, once, _ in costs), default=0.0) * -(-plan.missing // plan.units)
    workers = 1 if means.executor == "serial" else means.workers or cores()
    seconds = (fixed + sum(work * pace for work, _, pace in costs)) / workers
    return {
        "cells": len(grid), "replicates each": plan.units * UNIT, "replicates missing": plan.missing * UNIT,
        "estimated seconds": round(seconds, 1), "workers": workers,
    }  # fmt: skip


def _cost(cell: Any) -> tuple[float, float]:
    """Seconds of a call, and seconds per work: from one unit, and where that is soon done from many, of a few steps."""
    steps = min(cell.steps, _PROBE_STEPS)
    short = replace(cell, steps=steps, saves=1) if isinstance(cell, Ensemble) else replace(cell, steps=steps)
    try:
        short.compute(range(1))  # imports and first calls
    except Exception as error:
        raise ValueError(f"{cell} cannot be computed: {type(error).__name__}: {error}") from error
    once, work = _seconds(short, 1), UNIT * short.work
    if once > _SOON:
        return 0.0, once / work
    pace = max(_seconds(short, _MANY) - once, 0.0) / ((_MANY - 1) * work)
    return once, pace


def _seconds(cell: Any, units: int) -> float:
    began = time.perf_counter()
    cell.compute(range(units * UNIT))
    return time.perf_counter() - began


def _try_out(plan: Plan) -> None:
    """Check one missing cell of each kind, so that a setting that cannot run says so before anything is stored."""
    for cell, _ in plan.work_by_kind.values():
        cell.check()  # pyright: ignore[reportAttributeAccessIssue]


def collect(folder: Path, output: Path, *, say: Say = warnings.warn) -> tuple[int, Collection]:
    """Write the table of a store; returns its rows and what is incomplete.

    Raises
    ------
    StoreFailed
        When the folder is no store, or holds nothing.
    """
    collection = Collection.of(Store(folder, create=False, say=say))
    return write_table(collection.rows(), output), collection


def report_text(report: SweepReport, *, as_json: bool) -> str:
    """What a sweep did, in one line or as JSON."""
    found = {"cells": report.cells, "complete": report.complete, "chunks computed": report.computed}
    if as_json:
        return json.dumps({"schema": 1, **found, "failed": report.failed, "interrupted": report.interrupted}, indent=1)
    return ", ".join(f"{name} {value}" for name, value in found.items())
