"""A state in the toolkit: both sides with many replicates, stopped at the box as on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dynamics.integrators import euler_maruyama, small_noise_srk
from ..dynamics.kernels import Kernel, optimizer, subcycle
from ..dynamics.sde import SDE
from ..dynamics.switched import Switched
from ..dynamics.updates import sgd
from ..engine.ensembles import simulate
from ..engine.start import Cloud
from ..engine.statistics import Moments
from ..engine.streams import derived
from ..files import without_nan
from ..problems.calculus import hessian
from ..problems.oracles import ExactOracle, GaussianOracle, Oracle
from ..setting import ALGORITHM, MODEL, spacing
from ..theory import monzio_compagnoni2023 as mc23
from ..theory.exact.planar import planar_eigenvalues
from .critical import critical_points
from .library import Library
from .state import State
from .stopped import Stopped

__all__ = ["Curves", "check", "curves", "kernels_of", "reference_of", "seed_of", "stopped_kernels"]

REPLICATES = 100_000
_ROWS = 60
_MOST_WORK = 1e9  # replicates x small steps of one answer
_FEWEST = 1000


@dataclass(frozen=True)
class Curves:
    """Both sides over time: estimates by side and by what is watched ("quantity", "inside", "loss")."""

    state: State
    runs: Mapping[str, Moments]

    def values(self, side: str, what: str) -> dict[str, np.ndarray]:
        """Value and 95 % limits at the saved times; the root of the mean of squares where the distance is watched."""
        run = self.runs[side]
        estimate = run.estimate(what)
        low, high = (np.asarray(v, float) for v in estimate.interval(0.95))
        value = np.asarray(estimate.value, float)
        if what == "quantity" and self.state.quantity == "distance":
            value, low, high = (np.sqrt(np.maximum(v, 0.0)) for v in (value, low, high))
        return {"t": run.times, "value": value, "low": low, "high": high}

    def document(self) -> dict[str, Any]:
        """For the page: lists, null where not finite."""
        found: dict[str, Any] = {
            what: {side: {k: without_nan(v.tolist()) for k, v in self.values(side, what).items()} for side in self.runs}
            for what in ("quantity", "inside", "loss")
        }
        a, b = (self.values(side, "quantity")["value"][-1] for side in (ALGORITHM, MODEL))
        n = int(self.runs[ALGORITHM].count[0])
        lost = sum(int(run.nonfinite[-1]) for run in self.runs.values())
        tail = f", diverged {lost}" if lost else ""
        what = f"{self.state.quantity} at t = {self.state.horizon:g}"
        return found | {"summary": f"Toolkit, {n:,} replicates: {what}: algorithm {a:.4g}, SDE {b:.4g}{tail}."}


def check(library: Library, document: Mapping[str, Any], n: int = REPLICATES) -> dict[str, Any]:
    """The answer to a page that asks for its state; raises ``ValueError`` for a state that cannot be run."""
    return curves(library, library.checked(State.of(document)), n).document()


def curves(library: Library, state: State, n: int) -> Curves:
    """Simulate both sides of a state with n replicates each.

    Raises
    ------
    ValueError
        Where the run would take minutes even with the fewest replicates.
    """
    most = int(_MOST_WORK / (state.steps * state.substeps))
    if most < _FEWEST:
        steps = f"{state.steps:,} steps of {state.substeps} substeps each"
        raise ValueError(f"{steps} would take minutes: choose a larger eta, a smaller horizon or fewer substeps.")
    n = min(n, most)
    start = list(state.start)
    x0 = Cloud(start, state.spread) if state.spread > 0 else start
    f = library.families[state.landscape].landscape(**state.parameters)
    observables: dict[str, Callable] = {"loss": f, "quantity": _quantity(state, f, reference_of(library, state))}
    runs = {
        side: _compiled(
            partial(
                simulate, kernel, x0, steps=state.steps, n=n, seed=seed_of(state, side),
                save_every=spacing(state.steps, _ROWS), observables=observables, internals={"inside": lambda s: s[2]},
            )
        )
        for side, kernel in stopped_kernels(library, state).items()
    }  # fmt: skip
    return Curves(state, runs)


def seed_of(state: State, side: str) -> int:
    """The seed of a side, as on the page: the state's own, and one derived from it for the SDE."""
    return state.seed if side == ALGORITHM else derived(state.seed, side)


def _compiled(run: Callable[..., Moments]) -> Moments:
    """Compiled where it traces: thousands of substeps are slow in torch even for few replicates."""
    try:
        return run(engine="fused")
    except ValueError:
        return run(engine="eager")


def stopped_kernels(library: Library, state: State) -> dict[str, Kernel]:
    """The two kernels of a state, stopped at its box, and with its switch of methods: the other's own SDE beside it."""
    box = state.box if state.absorb else None
    first = {side: Stopped(kernel, box) for side, kernel in kernels_of(library, state).items()}
    if state.switched_after is None:
        return {**first}
    later = kernels_of(library, replace(state, method=state.switch_to, model="theory"))
    return {side: Switched(first[side], Stopped(later[side], box), state.switched_after) for side in first}


def kernels_of(library: Library, state: State) -> dict[str, Kernel]:
    """The two kernels of a state, as if its method were never switched."""
    f = library.families[state.landscape].landscape(**state.parameters)
    g: Oracle = GaussianOracle(f, state.sigma, dim=2) if state.sigma else ExactOracle(f)
    method = library.methods[state.method]
    update = method.row.update if method.row.update is sgd else partial(method.row.update, rho=state.rho)
    integrator = small_noise_srk if state.integrator == "srk" else euler_maruyama
    h = state.eta / state.substeps
    return {
        ALGORITHM: optimizer(update, g, state.eta),
        MODEL: subcycle(integrator(_model(library, state, g), h), state.substeps),
    }


def _model(library: Library, state: State, g: Oracle) -> SDE:
    if state.model == "sgd":
        return mc23.sgd_sde(g, eta=state.eta)
    method = library.methods[state.method]
    if not state.sigma:  # without noise there is nothing to be printed wrongly, and SAM is DNSAM
        method = library.methods[method.noiseless]
        return method.models["theory"](g, eta=state.eta, rho=state.rho)
    return method.models[state.model](g, eta=state.eta, rho=state.rho)


def reference_of(library: Library, state: State) -> Tensor:
    """The critical point that distances are taken from, found as on the page: the nearest saddle, else a minimum."""
    family = library.families[state.landscape]
    view = max(family.view, *(1.15 * abs(v) for v in (*state.box, *state.start)))  # what the page shows
    points = critical_points(family, state.parameters, state.start, view)
    return points[0].x if points else torch.zeros(2, dtype=torch.float64)


def _quantity(state: State, f: Callable, reference: Tensor) -> Callable[[Tensor], Tensor]:
    if state.quantity == "distance":
        return lambda x: ((x - reference.to(x)) ** 2).sum(-1)
    if state.quantity == "sharpness":
        return lambda x: planar_eigenvalues(hessian(f)(x))[1]
    i = 0 if state.quantity == "x[0]" else 1
    return lambda x: x[..., i]
