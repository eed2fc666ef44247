"""The command line: thin over the Python API.  Results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from .. import __version__
from ..files import StoreFailed
from ..user_code.failures import failure_of
from . import explore, sweep
from .options import AtOneRate, Computing, Json, OnDevice, Output, Problem, Running, Substeps
from .terminal import (
    Count,
    Failed,
    Numbers,
    Usage,
    computing,
    deliver,
    deliver_to,
    require_writable,
    say,
    set_threads,
    speak_any_text,
)  # fmt: skip

if TYPE_CHECKING:
    from ..setting import Setting

__all__ = ["app", "main"]

app = App(
    name="sdesam",
    version=__version__,
    help="Stochastic optimizers (SGD, SAM, USAM, DNSAM) side by side with their stochastic differential equations.",
    suppress_keyboard_interrupt=False,  # told in main
)


sweep.register(app)
explore.register(app)


@app.command
@computing
def simulate(
    *,
    problem: AtOneRate,
    rho: float = 0.0,
    steps: Count,
    n: Count = 10_000,
    save_every: Count | None = None,
    substeps: Substeps = 4,
    model: bool = True,
    engine: Literal["auto", "fused", "eager"] = "auto",
    run: OnDevice = OnDevice(),
    output: Output[Path | None] = None,
) -> None:
    """Simulate an optimizer beside its SDE, on independent noise, and print means with standard errors.

    Parameters
    ----------
    rho
        ascent radius
    steps
        optimizer steps
    n
        replicates
    save_every
        steps between rows, a divisor of steps; by default about ten rows
    model
        also simulate the SDE
    engine
        compiled where that pays (auto), compiled or an error that says why not (fused), or plain torch (eager)
    output
        write to a .json or .csv file instead of stdout
    """
    from .simulate import side_by_side

    if output is not None:
        require_writable(output)
    set_threads(run.threads)
    setting = _setting(problem, run, rho=rho, substeps=substeps)
    table = side_by_side(setting, steps=steps, n=n, save_every=save_every, model=model, engine=engine)
    if output is None:
        deliver(_json(table.document()) if run.as_json else table.text())
    else:
        deliver_to(output, _json(table.document()) if output.suffix == ".json" else table.csv())


@app.command
@computing
def weak_order(
    *,
    problem: Problem,
    eta: Numbers[float] = (0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625),
    rho_scale: float = 1.0,
    rho_power: float = 0.5,
    horizon: float = 1.0,
    observable: Numbers[str] = ("f", "x[0]"),
    estimator: Literal["coupled", "quadrature", "closed_form"] = "coupled",
    model: Literal["theory", "as-printed", "drift-only", "sgd", "ode", "modified", "modified-2"] = "theory",
    n: Count | None = None,
    run: Computing = Computing(),
    expect: Literal["order-1/2", "order-1", "order-2", "does-not-converge"] | None = None,
) -> None:
    """Is this SDE a model of this optimizer to O(eta)?  Weak errors at several eta, and a conclusion that can be wrong.

    Parameters
    ----------
    eta
        at least four learning rates; horizon must be a whole number of steps of each
    rho_scale
        c of rho = c·eta^p
    rho_power
        p of rho = c·eta^p
    horizon
        model time of the comparison
    observable
        f, x[i], |x|^2
    estimator
        Monte Carlo on one Brownian path (of minibatches with control variates); deterministic quadrature (d <= 2);
        exact for affine updates.  The last two also answer the scaled fluctuation test, which sees the diffusion
    model
        the paper's SDE, the printed one, the paper's drift without noise, SGD's SDE (no rho), the full-batch ODE,
        or the update's modified equation of order 1 or 2
    n
        replicates at every eta; by default from a pilot
    expect
        exit with 1 unless every observable has this order (and the constant that theory predicts for it)
    """
    from .weak_order import document, order_of, text

    set_threads(run.threads)
    answer = order_of(
        _setting(problem, run, eta=1.0), etas=eta, rho_scale=rho_scale, rho_power=rho_power, horizon=horizon,
        observables=observable, estimator=estimator, model=model, n=n,
    )  # fmt: skip
    deliver(_json(document(answer)) if run.as_json else text(answer))
    wanted = None if expect is None else expect.replace("-", " ")
    missed = [name for name, order in answer.orders.items() if wanted and order.conclusion != wanted]
    if missed:
        raise Failed(f"{', '.join(missed)}: not {wanted}.")


@app.command
@computing
def validate(
    *,
    problem: AtOneRate,
    rho: Numbers[float] = (0.1,),
    steps: Count,
    n: Count = 64,
    save_every: Count | None = None,
    substeps: Count = 2,
    run: OnDevice = OnDevice(),
    output: Output[Path | None] = None,
) -> None:
    """Compare an optimizer with its own SDE, its drift alone and the SDE of SGD: which differences are beyond noise?

    Under Gaussian noise (--sigma) the optimizer and those models that act on its normals share one Brownian path.

    Parameters
    ----------
    rho
        ascent radii, one or more; all run as rows of one batch
    steps
        optimizer steps
    n
        replicates; for minibatches, groups of N/B of the optimizer and antithetic pairs of the models
    save_every
        steps between looks; by default at most 50 looks
    substeps
        small-noise Runge-Kutta steps of the SDEs per optimizer step, at least 2
    output
        write a figure (.pdf or .png, both are written) or the JSON document (.json)
    """
    from .validate import validated

    if output is not None:
        require_writable(output, (".pdf", ".png", ".json"))
    set_threads(run.threads)
    setting = _setting(problem, run, rho=rho[0] if rho else 0.0, substeps=substeps)
    looks = save_every or min(k for k in range(1, steps + 1) if steps % k == 0 and steps // k <= 50)
    answer = validated(setting, list(rho), steps=steps, n=n, save_every=looks)
    deliver(_json(answer.document()) if run.as_json else answer.text())
    if output is not None:
        if output.suffix == ".json":
            deliver_to(output, _json(answer.document()))
        else:
            answer.write_figure(output)
        print(f"wrote {output}", file=sys.stderr)


def _setting(problem: Problem, run: Running, **more: Any) -> Setting:
    """The setting of a command's options."""
    from ..setting import Setting

    how = {name: value for name, value in asdict(run).items() if name in ("seed", "dtype", "device")}
    return Setting(**asdict(problem), **how, **more)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1)


@app.command
@computing
def repro(
    *ids: str,
    all_: Annotated[bool, Parameter(name="--all")] = False,
    stale: bool = False,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    smoke: bool = False,
    fresh: bool = False,
    report: bool = False,
    jobs: Count | None = None,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Run experiments, write figures/ and paper_repro.md, and print the verdicts: by default each paper's headline.

    Parameters
    ----------
    ids
        experiments; when none is named the headline figure of every paper, and a word on what else is stale
    all_
        every experiment; where it was interrupted it resumes
    stale
        those whose sources have changed since their figure was made
    list_
        only list claims, criteria, verdicts on record and minutes
    smoke
        small settings, written to a temporary folder; of all experiments when none is named
    fresh
        compute everything anew; by default finished parts are kept in results/ as long as the sources are the same
    report
        only rebuild paper_repro.md from figures/*.json
    jobs
        experiments run side by side; by default one per core
    device
        torch device, for example cuda, of the experiments that can compute elsewhere (F1 to F5); without ids only
        these run
    """
    from ..claims.reproduction import ExperimentFailed, Repository, VerdictChanged, list_claims, reproduce, whats_left

    repository = Repository.find(Path.cwd())
    if report:
        repository.write_report()
        print(f"wrote {repository.report.name}", file=sys.stderr)
        return
    if list_:
        deliver(list_claims(repository, as_json=as_json))
        return
    if sum((bool(ids), all_, stale)) > 1:
        raise Usage("name experiments, or give --all, or --stale: one of them.")
    headlines = not (ids or all_ or stale or smoke or device != "cpu")
    chosen = repository.headlines() if headlines else list(repository.stale()) if stale else list(ids)
    if stale and not chosen:
        say(whats_left(repository, []))
        return
    try:
        deliver(
            reproduce(repository, chosen, smoke=smoke, jobs=jobs, as_json=as_json, fresh=fresh, device=device, say=say)
        )
        if headlines:
            say(whats_left(repository, chosen))
    except VerdictChanged as changed:
        deliver(changed.verdicts)
        raise Failed(str(changed)) from changed
    except ExperimentFailed as failure:
        raise Failed(str(failure)) from failure


@app.command
@computing
def info(*, as_json: Json = False) -> None:
    """Versions, devices and threads."""
    import platform
    from importlib.metadata import version

    import torch

    from ..engine.choice import description

    document: dict[str, Any] = {
        "sdesam": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scipy", "matplotlib", "torchsde")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        **description(),
    }
    if as_json:
        deliver(_json(document))
    else:
        deliver("\n".join(f"{name:<11} {value if value != [] else 'none'}" for name, value in document.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: 0 done, 1 a check failed, 2 usage, 3 results incomplete, 130 interrupted."""
    speak_any_text()
    if sys.flags.optimize > 1:
        print("note: Python runs with -OO, which removes docstrings: --help describes nothing", file=sys.stderr)
    try:
        with _own_ways():
            app(arguments, exit_on_error=True, print_error=True)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Failed as failed:
        _leave(str(failed), 1)
    except StoreFailed as failed:
        _leave(str(failed), 3)
    except BrokenPipeError:  # the reader of stdout, say head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except BaseException as error:
        sentence = failure_of(error)
        if sentence is None and not isinstance(error, (Usage, ValueError, TypeError, OSError, ModuleNotFoundError)):
            raise  # a parser's exit, or a bug of ours: with its traceback
        _leave(sentence or str(error), 2)


@contextmanager
def _own_ways() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, and a warning is one line; afterwards both are as they were."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        if in_main:
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _leave(message: str, code: int) -> None:
    print(f"sdesam: {message}", file=sys.stderr)
    raise SystemExit(code)
