"""``sdesam validate``: which SDE follows this optimizer on this landscape, the user's network among them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from .terminal import Count, Numbers, computing, deliver, deliver_to, require_writable, set_threads

__all__ = ["register", "validate"]


def register(app: App) -> None:
    """Add the command."""
    app.command(computing(validate))


def validate(
    *,
    landscape: str,
    method: str = "sam",
    eta: float,
    rho: Numbers[float] = (0.1,),
    sigma: float = 0.0,
    batch_size: Count | None = None,
    batches: Count | None = None,
    steps: Count,
    n: Count = 64,
    x0: Numbers[float] = (),
    seed: Count = 0,
    save_every: Count | None = None,
    substeps: Count = 2,
    device: str = "cpu",
    dtype: Literal["float32", "float64"] = "float64",
    threads: Count | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Compare an optimizer with its own SDE, its drift alone and the SDE of SGD: which differences are beyond noise?

    Parameters
    ----------
    landscape
        a name, or file.py:function: a landscape (..., d) -> (...), a FiniteSum, or a function without
        arguments that returns one; landscape_from_module(model, loss, data) starts at the module's own parameters
    method
        sgd, usam, dnsam, dnsam-full-numerator, sam, or file.py:function
    eta
        learning rate
    rho
        ascent radii, one or more; all run as rows of one batch
    sigma
        standard deviation of the Gaussian gradient noise; optimizer and models then share one Brownian path
    batch_size
        minibatches of this many data instead, without replacement; B must divide N
    batches
        compute the SDEs from this many sampled minibatches, where all of them are too many
    steps
        optimizer steps
    n
        replicates; for minibatches, groups of N/B chains of the optimizer and antithetic pairs of the models
    x0
        start, d numbers; by default the landscape's own
    seed
        replicate i reads stream (seed, i)
    save_every
        steps between looks; by default at most 50 looks
    substeps
        Runge-Kutta steps of the SDEs per optimizer step, at least 2
    device
        torch device, for example cuda
    dtype
        precision
    threads
        torch threads
    output
        write a figure (.pdf or .png, both are written) or the JSON document (.json)
    as_json
        print one JSON document
    """
    from ..setting import Setting
    from .validate import validated

    if output is not None:
        require_writable(output, (".pdf", ".png", ".json"))
    set_threads(threads)
    setting = Setting(
        landscape=landscape, method=method, eta=eta, rho=rho[0] if rho else 0.0, sigma=sigma, batch_size=batch_size,
        batches=batches, x0=x0, substeps=substeps, seed=seed, device=device, dtype=dtype,
    )  # fmt: skip
    looks = save_every or min(k for k in range(1, steps + 1) if steps % k == 0 and steps // k <= 50)
    answer = validated(setting, list(rho), steps=steps, n=n, save_every=looks)
    deliver(json.dumps(answer.document(), indent=1) if as_json else answer.text())
    if output is not None:
        if output.suffix == ".json":
            deliver_to(output, json.dumps(answer.document(), indent=1))
        else:
            answer.write_figure(output)
        print(f"wrote {output}", file=sys.stderr)
