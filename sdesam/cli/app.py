"""The command line: thin over the Python API.  Results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from .. import __version__
from ..files import StoreFailed
from ..user_code.failures import failure_of
from . import explore, sweep, validate_command
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

__all__ = ["app", "main"]

app = App(
    name="sdesam",
    version=__version__,
    help="Stochastic optimizers (SGD, SAM, USAM, DNSAM) side by side with their stochastic differential equations.",
    suppress_keyboard_interrupt=False,  # told in main
)


sweep.register(app)
explore.register(app)
validate_command.register(app)


@app.command
@computing
def simulate(
    *,
    landscape: str,
    method: str = "sam",
    eta: float,
    rho: float = 0.0,
    sigma: float = 0.0,
    batch_size: Count | None = None,
    batches: Count | None = None,
    steps: Count,
    n: Count = 10_000,
    x0: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    seed: Count = 0,
    save_every: Count | None = None,
    substeps: Count = 4,
    model: bool = True,
    device: str = "cpu",
    dtype: Literal["float32", "float64"] = "float64",
    threads: Count | None = None,
    engine: Literal["auto", "fused", "eager"] = "auto",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Simulate an optimizer beside its SDE, on independent noise, and print means with standard errors.

    Parameters
    ----------
    landscape
        quadratic, saddle, log-cosh, double-well, tanh-network, embedded-saddle, rotated-saddle,
        product-valley, wen-valley, autoencoder, iris, breast-cancer, teacher-student, or file.py:function
    method
        sgd, usam, dnsam, dnsam-full-numerator, sam, unified-sam, or file.py:function
    eta
        learning rate
    rho
        ascent radius
    sigma
        standard deviation of the Gaussian gradient noise
    batch_size
        minibatches of this many data, without replacement, instead of Gaussian noise; the landscape
        must be a finite sum (iris, breast-cancer, teacher-student, or a FiniteSum of your own)
    batches
        compute the SDE from this many sampled minibatches, where all of them are too many; the error is printed
    steps
        optimizer steps
    n
        replicates
    x0
        start, d numbers; needed for a landscape of your own
    seed
        replicate i reads stream (seed, i)
    save_every
        steps between rows, a divisor of steps; by default about ten rows
    substeps
        small-noise Runge-Kutta steps of the SDE per optimizer step
    model
        also simulate the SDE
    device
        torch device
    dtype
        precision
    threads
        threads of either engine
    engine
        compiled where that pays (auto), compiled or an error that says why not (fused), or plain torch (eager)
    output
        write to a .json or .csv file instead of stdout
    as_json
        print one JSON document
    """
    from ..setting import Setting
    from .simulate import side_by_side

    if output is not None:
        require_writable(output)
    set_threads(threads)
    setting = Setting(
        landscape=landscape, method=method, eta=eta, rho=rho, sigma=sigma, batch_size=batch_size, batches=batches,
        x0=tuple(x0 or ()), substeps=substeps, seed=seed, device=device, dtype=dtype,
    )  # fmt: skip
    table = side_by_side(setting, steps=steps, n=n, save_every=save_every, model=model, engine=engine)
    text = json.dumps(table.document(), indent=1) if as_json else table.text()
    if output is not None:
        deliver_to(output, json.dumps(table.document(), indent=1) if output.suffix == ".json" else table.csv())
    else:
        deliver(text)


@app.command
@computing
def weak_order(
    *,
    landscape: str,
    method: str = "sam",
    sigma: float = 0.0,
    batch_size: Count | None = None,
    x0: Numbers[float] = (),
    eta: Numbers[float] = (0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625),
    rho_scale: float = 1.0,
    rho_power: float = 0.5,
    horizon: float = 1.0,
    observable: Numbers[str] = ("f", "x[0]"),
    estimator: Literal["coupled", "quadrature", "closed_form"] = "coupled",
    model: Literal["theory", "as-printed", "drift-only", "sgd", "ode", "modified", "modified-2"] = "theory",
    n: Count | None = None,
    seed: Count = 0,
    dtype: Literal["float32", "float64"] = "float64",
    threads: Count | None = None,
    expect: Literal["order-1/2", "order-1", "order-2", "does-not-converge"] | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Is this SDE a model of this optimizer to O(eta)?  Weak errors at several eta, and a conclusion that can be wrong.

    Parameters
    ----------
    landscape
        a name, or file.py:function
    method
        sgd, usam, dnsam, dnsam-full-numerator, sam, unified-sam, or file.py:function
    sigma
        standard deviation of the Gaussian gradient noise
    batch_size
        minibatches of a finite sum instead; Monte Carlo then uses control variates
    x0
        start, d numbers
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
        Monte Carlo on one Brownian path; deterministic quadrature (d <= 2); exact for affine updates.  The last
        two also answer the scaled fluctuation test, which sees the diffusion
    model
        the paper's SDE, the printed one, the paper's drift without noise, SGD's SDE (no rho), the full-batch ODE,
        or the update's modified equation of order 1 or 2
    n
        replicates at every eta; by default from a pilot
    seed
        replicate i reads stream (seed, i)
    dtype
        precision
    threads
        torch threads
    expect
        exit with 1 unless every observable has this order (and the constant that theory predicts for it)
    as_json
        print one JSON document
    """
    from ..setting import Setting
    from .weak_order import document, order_of, text

    set_threads(threads)
    setting = Setting(
        landscape, method, eta=1.0, sigma=sigma, batch_size=batch_size, x0=tuple(x0), seed=seed, dtype=dtype
    )
    answer = order_of(
        setting, etas=eta, rho_scale=rho_scale, rho_power=rho_power, horizon=horizon, observables=observable,
        estimator=estimator, model=model, n=n,
    )  # fmt: skip
    deliver(json.dumps(document(answer), indent=1) if as_json else text(answer))
    wanted = None if expect is None else expect.replace("-", " ")
    missed = [name for name, order in answer.orders.items() if wanted and order.conclusion != wanted]
    if missed:
        raise Failed(f"{', '.join(missed)}: not {wanted}.")


@app.command
@computing
def repro(
    *ids: str,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    smoke: bool = False,
    fresh: bool = False,
    report: bool = False,
    jobs: Count | None = None,
    device: str = "cpu",
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Run the experiments (all, or those named), write figures/ and paper_repro.md, and print the verdicts.

    Parameters
    ----------
    ids
        experiments; all when none is named
    list_
        only list claims, criteria, verdicts on record and minutes
    smoke
        small settings, written to a temporary folder
    fresh
        compute everything anew; by default finished parts are kept in results/ as long as the sources are the same
    report
        only rebuild paper_repro.md from figures/*.json
    jobs
        experiments run side by side; by default one per core
    device
        torch device, for example cuda, of the experiments that can compute elsewhere (F1 to F5); without ids only
        these run
    as_json
        print one JSON document
    """
    from ..claims.reproduction import ExperimentFailed, Repository, VerdictChanged, list_claims, reproduce

    repository = Repository.find(Path.cwd())
    if report:
        repository.write_report()
        print(f"wrote {repository.report.name}", file=sys.stderr)
        return
    if list_:
        deliver(list_claims(repository, as_json=as_json))
        return
    try:
        deliver(
            reproduce(repository, ids, smoke=smoke, jobs=jobs, as_json=as_json, fresh=fresh, device=device, say=say)
        )
    except VerdictChanged as changed:
        deliver(changed.verdicts)
        raise Failed(str(changed)) from changed
    except ExperimentFailed as failure:
        raise Failed(str(failure)) from failure


@app.command
@computing
def info(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Versions, devices and threads.

    Parameters
    ----------
    as_json
        print one JSON document
    """
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
        deliver(json.dumps(document, indent=1))
    else:
        deliver("\n".join(f"{name:<11} {value if value != [] else 'none'}" for name, value in document.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: 0 done, 1 a check failed, 2 usage, 3 results incomplete, 130 interrupted."""
    speak_any_text()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    if sys.flags.optimize > 1:
        print("note: Python runs with -OO, which removes docstrings: --help describes nothing", file=sys.stderr)
    try:
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


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _leave(message: str, code: int) -> None:
    print(f"sdesam: {message}", file=sys.stderr)
    raise SystemExit(code)
