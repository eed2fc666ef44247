"""The command line: thin over the Python API.  Results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from . import __version__

__all__ = ["app", "main"]

app = App(
    name="sdesam",
    version=__version__,
    help="Stochastic optimizers (SGD, SAM, USAM, DNSAM) side by side with their stochastic differential equations.",
)


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
def repro(
    *ids: str,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    smoke: bool = False,
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
        print(reproduce(repository, ids, smoke=smoke, jobs=jobs, as_json=as_json))
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


def _require_writable(output: Path) -> None:
    """Refuse a path that cannot be written before the run, not after it."""
    if output.suffix not in (".json", ".csv"):
        raise Usage(f"--output must end in .json or .csv, got {output.name!r}.")
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
    """Entry point: 0 done, 1 a check failed, 2 usage, 130 interrupted."""
    try:
        app(arguments, exit_on_error=True, print_error=True)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Failed as failed:
        _leave(str(failed), 1)
    except (Usage, ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        _leave(str(error), 2)


def _leave(message: str, code: int) -> None:
    print(f"sdesam: {message}", file=sys.stderr)
    raise SystemExit(code)
