"""The command line: thin over the Python API.  Results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter

from . import __version__
from .failures import StoreFailed

__all__ = ["app", "main"]

app = App(
    name="sdesam",
    version=__version__,
    help="Stochastic optimizers (SGD, SAM, USAM, DNSAM) side by side with their stochastic differential equations.",
)


T = TypeVar("T")
Numbers = Annotated[tuple[T, ...], Parameter(consume_multiple=True)]
Executors = Literal["processes", "dask", "serial"]


class Usage(Exception):
    """A bad argument, told in one sentence: exit code 2."""


class Failed(Exception):
    """A check of the toolkit failed, or a verdict differs from the one on record: exit code 1."""


@app.command
def simulate(
    *,
    landscape: str,
    method: str = "sam",
    eta: float,
    rho: float = 0.0,
    sigma: float = 0.0,
    batch_size: int | None = None,
    batches: int | None = None,
    steps: int,
    n: int = 10_000,
    x0: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    seed: int = 0,
    save_every: int | None = None,
    substeps: int = 4,
    model: bool = True,
    device: str = "cpu",
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Simulate an optimizer beside its SDE, on independent noise, and print means with standard errors.

    Parameters
    ----------
    landscape : quadratic, saddle, log-cosh, double-well, tanh-network, embedded-saddle, rotated-saddle,
        product-valley, wen-valley, autoencoder, iris, breast-cancer, teacher-student, or file.py:function
    method : sgd, usam, dnsam, dnsam-full-numerator, sam, unified-sam, or file.py:function
    eta : learning rate
    rho : ascent radius
    sigma : standard deviation of the Gaussian gradient noise
    batch_size : minibatches of this many data, without replacement, instead of Gaussian noise; the landscape
        must be a finite sum (iris, breast-cancer, teacher-student, or a FiniteSum of your own)
    batches : compute the SDE from this many sampled minibatches, where all of them are too many; the error is printed
    steps : optimizer steps
    n : replicates
    x0 : start, d numbers; needed for a landscape of your own
    seed : replicate i reads stream (seed, i)
    save_every : steps between printed rows; by default ten rows
    substeps : small-noise Runge-Kutta steps of the SDE per optimizer step
    model : also simulate the SDE
    device : torch device
    dtype : precision
    threads : torch threads
    output : write to a .json or .csv file instead of stdout
    as_json : print one JSON document
    """
    from .setting import Setting
    from .side_by_side import side_by_side

    if output is not None:
        _require_writable(output)
    _set_threads(threads)
    setting = Setting(
        landscape=landscape, method=method, eta=eta, rho=rho, sigma=sigma, batch_size=batch_size, batches=batches,
        x0=tuple(x0 or ()), substeps=substeps, seed=seed, device=device, dtype=dtype,
    )  # fmt: skip
    table = side_by_side(setting, steps=steps, n=n, save_every=save_every, model=model)
    text = json.dumps(table.document(), indent=1) if as_json else table.text()
    if output is not None:
        output.write_text(json.dumps(table.document(), indent=1) if output.suffix == ".json" else table.csv())
    else:
        print(text)


@app.command
def weak_order(
    *,
    landscape: str,
    method: str = "sam",
    sigma: float = 0.0,
    batch_size: int | None = None,
    x0: Numbers[float] = (),
    eta: Numbers[float] = (0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625),
    rho_scale: float = 1.0,
    rho_power: float = 0.5,
    horizon: float = 1.0,
    observable: Numbers[str] = ("f", "x[0]"),
    estimator: Literal["coupled", "quadrature", "closed_form"] = "coupled",
    model: Literal["theory", "as-printed", "drift-only", "sgd", "ode", "modified", "modified-2"] = "theory",
    n: int | None = None,
    seed: int = 0,
    dtype: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
    expect: Literal["order-1/2", "order-1", "order-3/2", "order-2", "does-not-converge"] | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Is this SDE a model of this optimizer to O(eta)?  Weak errors at several eta, and a conclusion that can be wrong.

    Parameters
    ----------
    landscape : a name, or file.py:function
    method : sgd, usam, dnsam, dnsam-full-numerator, sam, unified-sam, or file.py:function
    sigma : standard deviation of the Gaussian gradient noise
    batch_size : minibatches of a finite sum instead; Monte Carlo then uses control variates
    x0 : start, d numbers
    eta : at least four learning rates; horizon must be a whole number of steps of each
    rho_scale : c of rho = c·eta^p
    rho_power : p of rho = c·eta^p
    horizon : model time of the comparison
    observable : f, x[i], |x|^2
    estimator : Monte Carlo on one Brownian path; deterministic quadrature (d <= 2); exact for affine updates.  The last
        two also answer the scaled fluctuation test, which sees the diffusion
    model : the paper's SDE, the printed one, the paper's drift without noise, SGD's SDE (no rho), the full-batch ODE,
        or the update's modified equation of order 1 or 2
    n : replicates at every eta; by default from a pilot
    seed : replicate i reads stream (seed, i)
    dtype : precision
    threads : torch threads
    expect : exit with 1 unless every observable has this order (and the constant that theory predicts for it)
    as_json : print one JSON document
    """
    from .order_report import document, order_of, text
    from .setting import Setting

    _set_threads(threads)
    setting = Setting(
        landscape, method, eta=1.0, sigma=sigma, batch_size=batch_size, x0=tuple(x0), seed=seed, dtype=dtype
    )
    answer = order_of(
        setting, etas=eta, rho_scale=rho_scale, rho_power=rho_power, horizon=horizon, observables=observable,
        estimator=estimator, model=model, n=n,
    )  # fmt: skip
    print(json.dumps(document(answer), indent=1) if as_json else text(answer))
    wanted = None if expect is None else expect.replace("-", " ")
    missed = [name for name, order in answer.orders.items() if wanted and order.conclusion != wanted]
    if missed:
        raise Failed(f"{', '.join(missed)}: not {wanted}.")


@app.command
def sweep(
    grid: Path,
    *,
    out: Path,
    n: int | None = None,
    executor: Executors = "processes",
    scheduler: str | None = None,
    workers: int | None = None,
    shard: str | None = None,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Run a grid of settings into a store.  The same command resumes; a larger n adds replicates to the same cells.

    Parameters
    ----------
    grid : a TOML file; every key is an option of ``simulate`` (or exit_at, axis: exit times), a list is an axis
    out : the store's folder
    n : replicates of every cell, rounded up to a multiple of 1,024; by default the file's, or 10,240
    executor : processes on this machine, a Dask cluster, or this process alone
    scheduler : address of a Dask scheduler; by default a cluster on this machine
    workers : processes; one a core by default
    shard : i/n, this share of the work only, i = 0..n-1 (for job arrays; all shares into one folder)
    dry_run : print the cells, what is missing and an estimated time
    as_json : print one JSON document
    """
    from .grids import read_grid
    from .sweeping import DEFAULT_N, Means

    if not grid.is_file():
        raise Usage(f"there is no grid file {str(grid)!r}.")
    cells, given = read_grid(grid)
    means = Means(executor, scheduler, workers, shard)
    _sweep(cells, next(v for v in (n, given, DEFAULT_N) if v is not None), out, means, dry_run=dry_run, as_json=as_json)


@app.command
def collect(
    folder: Path,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    partial: bool = False,
) -> None:
    """Write the results in a store as one table: .csv and .json in long form, .nc for xarray.

    Parameters
    ----------
    folder : the store
    output : a .csv, .json or .nc file
    partial : be content with what there is; by default cells with fewer replicates than a run asked for are exit 3
    """
    from .collecting import FORMATS
    from .sweeping import collect as gather

    _require_writable(output, tuple(FORMATS))
    rows, collection = gather(folder, output)
    print(f"wrote {rows} rows to {output.name}", file=sys.stderr)
    if collection.incomplete and not partial:
        first = collection.incomplete[0]
        raise StoreFailed(
            f"{len(collection.incomplete)} cells are incomplete ({first}): run the same sweep again, or pass --partial."
        )


@app.command
def escape(
    *,
    landscape: str = "saddle",
    method: Numbers[str],
    eta: Numbers[float],
    rho: Numbers[float] = (0.0,),
    sigma: Numbers[float] = (0.0,),
    side: Numbers[Literal["algorithm", "SDE"]] = ("algorithm", "SDE"),
    horizon: float,
    exit_at: float = 1.0,
    axis: int | None = None,
    x0: Numbers[float] = (),
    n: int = 10_240,
    seed: int = 0,
    substeps: int = 4,
    dtype: Literal["float32", "float64"] = "float64",
    out: Path | None = None,
    executor: Executors = "processes",
    workers: int | None = None,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Exit times over a grid: when replicates leave |x| < exit_at.  Lists are axes: --eta 0.01 0.02.

    Parameters
    ----------
    landscape : a name, or file.py:function
    method : one or more of sgd, usam, dnsam, dnsam-full-numerator, sam, unified-sam, or file.py:function
    eta : learning rates
    rho : ascent radii
    sigma : standard deviations of the Gaussian gradient noise
    side : the optimizer, its SDE, or both
    horizon : model time watched, a whole number of steps of every eta
    exit_at : distance of the exit
    axis : watch |x[axis]| instead of |x|
    x0 : start, d numbers
    n : replicates, rounded up to a multiple of 1,024
    seed : replicate i reads stream (seed, i)
    substeps : small-noise Runge-Kutta steps of the SDE per optimizer step
    dtype : precision
    out : keep the results in this store; the same command resumes
    executor : processes on this machine, a Dask cluster, or this process alone
    workers : processes; one a core by default
    dry_run : print the cells, what is missing and an estimated time
    as_json : print one JSON document
    """
    import tempfile

    from .cells import Escape
    from .grids import Grid
    from .sweeping import Means, escape_table, table_text

    axes: dict[str, tuple] = {
        "side": tuple(side), "landscape": (landscape,), "method": tuple(method), "eta": tuple(eta), "rho": tuple(rho),
        "sigma": tuple(sigma), "horizon": (horizon,), "exit_at": (exit_at,), "axis": (axis,), "x0": (tuple(x0),),
        "seed": (seed,), "substeps": (substeps,), "dtype": (dtype,),
    }  # fmt: skip
    cells = Grid(Escape, axes)
    with tempfile.TemporaryDirectory(prefix="sdesam-escape-") as temporary:
        folder = out or Path(temporary)
        _sweep(cells, n, folder, Means(executor, None, workers), dry_run=dry_run, as_json=as_json, quiet=not dry_run)
        if not dry_run:
            rows = escape_table(cells, n, folder)
            print(_json_rows(rows) if as_json else table_text(rows))


def _sweep(cells: Any, n: int, out: Path, means: Any, *, dry_run: bool, as_json: bool, quiet: bool = False) -> None:
    """Run or estimate; complain by exit code."""
    from . import sweeping

    if n < 1:
        raise Usage(f"n must be >= 1, got {n}: it is the number of replicates.")
    if n % 1024:
        print(f"note: n is rounded up to {-(-n // 1024) * 1024}, whole units of 1,024", file=sys.stderr)
    if dry_run:
        found = sweeping.dry_run(cells, n, out, means)
        print(json.dumps(found, indent=1) if as_json else "\n".join(f"{k:<18} {v}" for k, v in found.items()))
        return
    report = sweeping.sweep(cells, n, out, means, " ".join(["sdesam", *sys.argv[1:]]))
    if not quiet:
        print(sweeping.report_text(report, as_json=as_json))
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed:
        raise StoreFailed(f"{len(report.failed)} chunks failed three times; the first: {report.failed[0]}")


def _json_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as one document; NaN and infinities become null, since JSON has none."""
    finite = [{k: None if isinstance(v, float) and v - v != 0 else v for k, v in row.items()} for row in rows]
    return json.dumps({"schema": 1, "rows": finite}, indent=1)


@app.command
def repro(
    *ids: str,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    smoke: bool = False,
    fresh: bool = False,
    report: bool = False,
    jobs: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Run the experiments (all, or those named), write figures/ and paper_repro.md, and print the verdicts.

    Parameters
    ----------
    ids : experiments; all when none is named
    list_ : only list claims, criteria, verdicts on record and minutes
    smoke : small settings, written to a temporary folder
    fresh : compute everything anew; by default finished parts are kept in results/ as long as the sources are the same
    report : only rebuild paper_repro.md from figures/*.json
    jobs : experiments run side by side; by default one per core
    as_json : print one JSON document
    """
    from .reproduction import ExperimentFailed, Repository, VerdictChanged, list_claims, reproduce

    repository = Repository.find(Path.cwd())
    if report:
        repository.write_report()
        print(f"wrote {repository.report.name}", file=sys.stderr)
        return
    if list_:
        print(list_claims(repository, as_json=as_json))
        return
    try:
        print(reproduce(repository, ids, smoke=smoke, jobs=jobs, as_json=as_json, fresh=fresh))
    except (ExperimentFailed, VerdictChanged) as failure:
        raise Failed(str(failure)) from failure


@app.command
def info(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Versions, devices and threads.

    Parameters
    ----------
    as_json : print one JSON document
    """
    import platform
    from importlib.metadata import version

    import torch

    document: dict[str, Any] = {
        "sdesam": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "matplotlib", "torchsde")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "engine": "eager",
    }
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(f"{name:<11} {value if value != [] else 'none'}" for name, value in document.items()))


def _require_writable(output: Path, formats: tuple[str, ...] = (".json", ".csv")) -> None:
    """Refuse a path that cannot be written before the run, not after it."""
    if output.suffix not in formats:
        raise Usage(f"--output must end in {' or '.join(formats)}, got {output.name!r}.")
    if output.is_dir() or not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise Usage(f"--output must be a file in a writable folder, got {str(output)!r}.")


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise Usage(f"--threads must be >= 1, got {threads}.")
    import torch

    torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: 0 done, 1 a check failed, 2 usage, 3 results incomplete, 130 interrupted."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(arguments, exit_on_error=True, print_error=True)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Failed as failed:
        _leave(str(failed), 1)
    except StoreFailed as failed:
        _leave(str(failed), 3)
    except (Usage, ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        _leave(str(error), 2)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _leave(message: str, code: int) -> None:
    print(f"sdesam: {message}", file=sys.stderr)
    raise SystemExit(code)
