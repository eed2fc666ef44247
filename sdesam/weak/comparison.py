"""Which SDE follows this optimizer?  One optimizer beside several models and radii, every difference with its error.

    beside   normal noise: optimizer and models on one Brownian path, so the standard errors are those of differences
    apart    no noise to share, as under minibatches: chains that deal out the data (``stratified``) against
             antithetic pairs of the models' paths

Both return ``{rho: Comparison}``.  Agreement of means certifies a drift; it says nothing about the diffusion.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..arguments import require_count, require_eta, require_rho, require_substeps
from ..dynamics.controls import antithetic
from ..dynamics.integrators import small_noise_srk
from ..dynamics.kernels import Kernel, coupled, optimizer, subcycle
from ..dynamics.sde import SDE
from ..dynamics.variants import stratified, variants
from ..engine.ensembles import DivergenceWarning, Watched, simulated
from ..engine.start import Points, Run, Start
from ..engine.statistics import Moments
from ..engine.streams import derived
from ..problems.minibatch import MinibatchOracle
from ..problems.observables import Observable
from ..problems.oracles import Oracle
from ..theory.one_step import Nodes
from .metrics import AGAIN, Comparison, minus
from .models import MODELS, Rows, Update, partial_sde, rows_of, whole_sde

__all__ = ["apart", "beside"]

_LESS_BESIDE = "fewer steps, replicates (n), radii (rhos), models or substeps take less"
_LESS_APART = (
    "fewer steps, groups (n), pairs, radii (rhos) or models take less, and so do sampled minibatches in the SDEs "
    "(nodes=g.noise.sampled(R, seed), of error 1/√R)"
)


# ----------------------------------------------------------------- the two experiments
def beside(
    update: Update,
    g: Oracle,
    x0: Points,
    *,
    eta: float,
    rhos: Sequence[float],
    observables: Mapping[str, Observable],
    steps: int,
    n: int,
    seed: int = 0,
    save_every: int = 1,
    substeps: int = 2,
    models: Mapping[str, tuple[float, float]] = MODELS,
    progress: bool | str = False,
) -> dict[float, Comparison]:
    """The optimizer and its models on one Brownian path, at all radii in one batch.

    Parameters
    ----------
    update : a field G(g, x, z, *, rho)
    g : an oracle with normal noise
    models : name -> (c, share), the model ``partial_sde(update, g, eta, c·rho, share)``
    substeps : steps of the small-noise Runge-Kutta scheme per optimizer step, at least 2: at 1 an Euler scheme would be
        the optimizer itself
    n : replicates; ``AGAIN`` takes n more on noise of its own
    progress : print what is done and left on stderr; a text instead of True is advice for more than a minute ahead

    Raises
    ------
    ValueError
        For noise that cannot be shared (use ``apart``), fewer than two replicates, or as ``simulate``.

    Notes
    -----
    Where a replicate diverges, every radius is run once more by itself, so that one does not take the others along.
    """
    rhos, eta, substeps = _checked(rhos, eta, n, substeps)
    run = Run(Start.of(x0), steps, n, seed, save_every)
    anew = replace(run, seed=derived(run.seed, AGAIN))
    progress = _LESS_BESIDE if progress is True else progress

    def at(rhos: Sequence[float]) -> dict[float, Comparison]:
        rows = rows_of(rhos, models)
        chains = variants(lambda rho: optimizer(partial(update, rho=rho), g, eta), rows.optimizer)
        pair = coupled(chains, _integrated(partial(partial_sde, update, g, eta), eta, substeps, rows))
        together = _quiet(pair, run, _of_pairs(observables, rows), progress)
        again = _quiet(chains, anew, _of_rows(observables, len(rhos)), progress)
        return {rho: _paired(together, again, rho, r, observables, models) for r, rho in enumerate(rhos)}

    return _one_by_one_if_lost(at, rhos)


def apart(
    update: Update,
    g: Oracle,
    x0: Points,
    *,
    eta: float,
    rhos: Sequence[float],
    observables: Mapping[str, Observable],
    steps: int,
    n: int,
    pairs: int,
    seed: int = 0,
    save_every: int = 1,
    substeps: int = 2,
    models: Mapping[str, tuple[float, float]] = MODELS,
    nodes: Nodes = None,
    progress: bool | str = False,
) -> dict[float, Comparison]:
    """The optimizer and its models, each on its own noise; parameters as for ``beside``, and

    Parameters
    ----------
    n : groups of N/B chains of the optimizer where B divides N (``stratified``), else single chains
    pairs : antithetic pairs of paths of the models, which share their noise with each other
    nodes : a rule over the minibatches, where all are too many: ``g.noise.sampled(R, seed)``; ``sampling_error`` of the
        model tells its bias

    Raises
    ------
    ValueError
        For minibatches that cannot be enumerated (give ``nodes``), or as ``simulate``.
    """
    rhos, eta, substeps = _checked(rhos, eta, min(n, pairs), substeps)
    run = Run(Start.of(x0), steps, n, seed, save_every)
    anew = replace(run, seed=derived(run.seed, AGAIN))
    progress = _LESS_APART if progress is True else progress
    of_models = replace(run, n=pairs, seed=derived(run.seed, "SDE"))
    model = partial(partial_sde, update, g, eta, nodes=nodes)
    if all(share == 1 for _, share in models.values()):
        model = whole_sde(update, g, eta, nodes=nodes)

    def at(rhos: Sequence[float]) -> dict[float, Comparison]:
        rows = rows_of(rhos, models)
        chains = variants(
            lambda rho: _grouped(optimizer(partial(update, rho=rho), g, eta)), rows.optimizer[: len(rhos)]
        )
        paths = antithetic(_integrated(model, eta, substeps, rows))
        phis = _of_rows(observables, len(rhos))
        first, again = (_quiet(chains, each, phis, progress) for each in (run, anew))
        moved = _quiet(paths, of_models, _of_rows(observables, len(rows.model), 2), progress)
        return {rho: _unpaired(first, again, moved, rho, rows, observables, models) for rho in rhos}

    return _one_by_one_if_lost(at, rhos)


def _grouped(kernel: Any) -> Kernel:
    """Dealt minibatches where B divides N, else chains of their own."""
    g = kernel.g
    dealt = isinstance(g, MinibatchOracle) and not g.replace and g.p is None and g.mean.N % g.batch_size == 0
    return stratified(kernel) if dealt else kernel


def _integrated(model: Callable[..., SDE], eta: float, r: int, rows: Rows) -> Kernel:
    return subcycle(variants(lambda *row: small_noise_srk(model(*row), eta / r), rows.model), r)


def _quiet(kernel: Kernel, run: Run, observables: Mapping[str, Observable], progress: bool | str) -> Moments:
    """A simulation whose divergence is in its counts, not in a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        return simulated(kernel, run, Watched(observables), progress=progress)


def _one_by_one_if_lost(
    run: Callable[[Sequence[float]], dict[float, Comparison]], rhos: Sequence[float]
) -> dict[float, Comparison]:
    found = run(rhos)
    if len(rhos) == 1 or not any(c.lost.any() for c in found.values()):
        return found
    return {rho: run([rho])[rho] for rho in rhos}


# ----------------------------------------------------------------- observables of a batch, and their estimates
def _of_pairs(observables: Mapping[str, Observable], rows: Rows) -> dict[str, Observable]:
    """Of positions (n, R, 2, d): the optimizer, and its gap to each model."""
    found: dict[str, Observable] = {}
    for name, phi in observables.items():
        for (rho, model), (i, j) in rows.at.items():
            found[f"{name}|{rho}"] = lambda x, phi=phi, i=i: phi(x[:, i, 0])
            found[f"{name}|{rho}|{model}"] = lambda x, phi=phi, i=i, j=j: phi(x[:, i, 0]) - phi(x[:, j, 1])
    return found


def _of_rows(observables: Mapping[str, Observable], count: int, axis: int = 1) -> dict[str, Observable]:
    """Of positions (n, ..., R, ..., d): phi of each row, averaged over a group or a pair."""
    return {
        f"{name}|{r}": lambda x, phi=phi, r=r: phi(x.select(axis, r)).reshape(len(x), -1).mean(-1)
        for name, phi in observables.items()
        for r in range(count)
    }


def _paired(
    together: Moments, again: Moments, rho: float, r: int, phis: Mapping[str, Observable], models: Mapping[str, object]
) -> Comparison:
    algorithm = {phi: together.estimate(f"{phi}|{rho}") for phi in phis}
    errors = {m: {phi: together.estimate(f"{phi}|{rho}|{m}") for phi in phis} for m in models}
    errors[AGAIN] = {phi: minus(algorithm[phi], again.estimate(f"{phi}|{r}")) for phi in phis}
    return Comparison(together.times, algorithm, errors, together.nonfinite)


def _unpaired(
    first: Moments,
    again: Moments,
    moved: Moments,
    rho: float,
    rows: Rows,
    phis: Mapping[str, Observable],
    models: Mapping[str, object],
) -> Comparison:
    r = [row[0] for row in rows.optimizer].index(rho)
    algorithm = {phi: first.estimate(f"{phi}|{r}") for phi in phis}
    errors = {
        m: {phi: minus(algorithm[phi], moved.estimate(f"{phi}|{rows.at[rho, m][1]}")) for phi in phis} for m in models
    }
    errors[AGAIN] = {phi: minus(algorithm[phi], again.estimate(f"{phi}|{r}")) for phi in phis}
    return Comparison(first.times, algorithm, errors, first.nonfinite + moved.nonfinite)


def _checked(rhos: Sequence[float], eta: float, n: int, substeps: int) -> tuple[list[float], float, int]:
    """Radii, learning rate and substeps as they are used, at least two replicates beside them."""
    radii = [require_rho(rho) for rho in rhos]
    if not radii or len(set(radii)) < len(radii):
        raise ValueError(f"rhos must be different radii, at least one, got {radii}.")
    _ = require_count("n", n, least=2, why="one replicate has no standard error")
    why = "at the optimizer's own step a scheme is nearly the optimizer"
    substeps = require_substeps(substeps, 2, why)
    return radii, require_eta(eta), substeps
