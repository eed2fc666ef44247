"""The commands over stores: ``sweep``, ``collect`` and ``escape``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from ..files import StoreFailed, without_nan
from .options import X0, Executors, Json, Landscape, Method, Output, Running, Substeps
from .terminal import Count, Numbers, Usage, computing, deliver, require_writable, say

if TYPE_CHECKING:
    from ..sweeps.grids import Grid
    from ..sweeps.sessions import Means

__all__ = ["register"]


def register(app: App) -> None:
    """Add the commands to the command line."""
    app.command(computing(sweep))
    app.command(computing(collect))
    app.command(computing(escape))


def sweep(
    grid: Path,
    *,
    out: Path,
    n: Count | None = None,
    executor: Executors = "processes",
    scheduler: str | None = None,
    workers: Count | None = None,
    shard: str | None = None,
    dry_run: bool = False,
    as_json: Json = False,
) -> None:
    """Run a grid of settings into a store.  The same command resumes; a larger n adds replicates to the same cells.

    Parameters
    ----------
    grid
        a TOML file; every key is an option of ``simulate`` (or exit_at, axis: exit times), a list is an axis
    out
        the store's folder
    n
        replicates of every cell, rounded up to a multiple of 1,024; by default the file's, or 10,240
    executor
        processes on this machine, a Dask cluster, or this process alone
    scheduler
        address of a Dask scheduler; by default a cluster on this machine
    workers
        processes; one a core by default
    shard
        i/n, this share of the work only, i = 0..n-1 (for job arrays; all shares into one folder)
    dry_run
        print the cells, what is missing and an estimated time
    """
    from ..sweeps.grids import read_grid
    from ..sweeps.sessions import DEFAULT_N, Means

    if not grid.is_file():
        raise Usage(f"there is no grid file {str(grid)!r}.")
    cells, given = read_grid(grid)
    means = Means(executor, scheduler, workers, shard)
    _sweep(cells, next(v for v in (n, given, DEFAULT_N) if v is not None), out, means, dry_run=dry_run, as_json=as_json)


def collect(
    folder: Path,
    *,
    output: Output[Path],
    partial: bool = False,
) -> None:
    """Write the results in a store as one table: .csv and .json in long form, .nc for xarray.

    Parameters
    ----------
    folder
        the store
    output
        a .csv, .json or .nc file
    partial
        be content with what there is; by default cells with fewer replicates than a run asked for are exit 3
    """
    from ..sweeps.sessions import collect as gather
    from ..sweeps.tables import FORMATS

    require_writable(output, tuple(FORMATS))
    rows, collection = gather(folder, output, say=say)
    say(f"wrote {rows} rows to {output.name}")
    if collection.incomplete and not partial:
        first = collection.incomplete[0]
        raise StoreFailed(
            f"{len(collection.incomplete)} cells are incomplete ({first}): run the same sweep again, or pass --partial."
        )


def escape(
    *,
    landscape: Landscape = "saddle",
    method: Method[Numbers[str]],
    eta: Numbers[float],
    rho: Numbers[float] = (0.0,),
    sigma: Numbers[float] = (0.0,),
    side: Numbers[Literal["algorithm", "SDE"]] = ("algorithm", "SDE"),
    horizon: float,
    exit_at: float = 1.0,
    axis: Count | None = None,
    x0: X0 = (),
    n: Count = 10_240,
    substeps: Substeps = 4,
    run: Running = Running(),
    out: Path | None = None,
    executor: Executors = "processes",
    workers: Count | None = None,
    dry_run: bool = False,
) -> None:
    """Exit times over a grid: when replicates leave |x| < exit_at.  Lists are axes: --method sgd sam --eta 0.01 0.02.

    Parameters
    ----------
    eta
        learning rates
    rho
        ascent radii
    sigma
        standard deviations of the Gaussian gradient noise
    side
        the optimizer (algorithm), its SDE, or both
    horizon
        model time watched, a whole number of steps of every eta
    exit_at
        distance of the exit
    axis
        watch |x[axis]| instead of |x|
    n
        replicates, rounded up to a multiple of 1,024
    out
        keep the results in this store; the same command resumes
    executor
        processes on this machine, a Dask cluster, or this process alone
    workers
        processes; one a core by default
    dry_run
        print the cells, what is missing and an estimated time
    """
    import tempfile

    from ..sweeps.cells import Escape
    from ..sweeps.grids import Grid
    from ..sweeps.lines import EscapeLines, escape_table
    from ..sweeps.sessions import Means

    axes: dict[str, tuple] = {
        "side": tuple(side), "landscape": (landscape,), "method": tuple(method), "eta": tuple(eta), "rho": tuple(rho),
        "sigma": tuple(sigma), "horizon": (horizon,), "exit_at": (exit_at,), "axis": (axis,), "x0": (tuple(x0),),
        "seed": (run.seed,), "substeps": (substeps,), "dtype": (run.dtype,),
    }  # fmt: skip
    cells, means = Grid(Escape, axes), Means(executor, None, workers)
    with tempfile.TemporaryDirectory(prefix="sdesam-escape-") as temporary:
        folder = out or Path(temporary)
        lines = EscapeLines(cells, n, folder, deliver)
        finished = (lambda cell: None) if run.as_json else lines.finished
        _sweep(cells, n, folder, means, dry_run=dry_run, as_json=run.as_json, watch=lambda total: finished)
        if not dry_run:
            rows = escape_table(cells, n, folder, say=say)  # raises where some are missing
            deliver(_json_rows(rows)) if run.as_json else lines.finished()


def _sweep(
    cells: Grid,
    n: int,
    out: Path,
    means: Means,
    *,
    dry_run: bool,
    as_json: bool,
    watch: Callable[[int], Callable[[Any], object]] | None = None,
) -> None:
    """Run or estimate; complain by exit code.  A sweep without ``watch`` tells of its cells, and what it did."""
    from ..engine.eager import UNIT
    from ..sweeps import sessions
    from ..sweeps.lines import CellsDone

    if n < 1:
        raise Usage(f"n must be >= 1, got {n}: it is the number of replicates.")
    if n % UNIT:
        say(f"note: n is rounded up to {-(-n // UNIT) * UNIT}, whole units of {UNIT:,}")
    if dry_run:
        found = sessions.dry_run(cells, n, out, means, say=say)
        deliver(json.dumps(found, indent=1) if as_json else "\n".join(f"{k:<18} {v}" for k, v in found.items()))
        return
    command = shlex.join(["sdesam", *sys.argv[1:]])
    tell = watch or (lambda total: CellsDone(cells, total, say).finished)
    report = sessions.sweep(cells, n, out, means, command, say=say, watch=tell)
    if watch is None:
        deliver(sessions.report_text(report, as_json=as_json))
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed:
        raise StoreFailed(f"{len(report.failed)} chunks failed three times; the first: {report.failed[0]}")


def _json_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as one document."""
    return json.dumps({"schema": 1, "rows": without_nan(list(rows))}, indent=1)
