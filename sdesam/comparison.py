"""Which SDE follows this optimizer?  One optimizer beside several models and radii, every difference with its error.

    beside   normal noise: optimizer and models on one Brownian path, so the standard errors are those of differences
    apart    no noise to share, as under minibatches: chains that deal out the data (``stratified``) against
             antithetic pairs of the models' paths

Both return ``{rho: Comparison}``.  Agreement of means certifies a drift; it says nothing about the diffusion.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from .calculus import Scalar
from .controls import antithetic
from .ensembles import DivergenceWarning, Points, simulate
from .integrators import small_noise_srk
from .kernels import Kernel, coupled, optimizer, subcycle
from .metrics import AGAIN, Comparison, minus
from .minibatch import MinibatchOracle
from .observables import Observable
from .oracles import Oracle, is_additive
from .sde import SDE, LinearMap
from .statistics import Moments
from .theory import model_of
from .theory.monzio_compagnoni2023 import sgd_sde
from .validation import require_count
from .variants import stratified, variants

__all__ = ["MODELS", "apart", "beside", "partial_sde"]

MODELS = {"own": (1.0, 1.0), "drift only": (1.0, 0.0), "SGD": (0.0, 1.0)}  # name -> (c, share), see ``partial_sde``
Update = Callable[..., Tensor]
Nodes = tuple[Any, Tensor] | None


# ----------------------------------------------------------------- the models
def partial_sde(update: Update, g: Oracle, eta: float, rho: Scalar, share: Scalar, *, nodes: Nodes = None) -> SDE:
    """The method's drift at radius rho, with the map B_SGD + share·(B_own − B_SGD).

    (rho, 1) is its own SDE, (rho, 0) its drift with the noise of SGD ("drift only" in the paper), and rho = 0 that of
    SGD.  Both maps act on the same normals, so the three run as rows of one batch on one path.
    """
    own, plain = model_of(partial(update, rho=rho), g, eta, nodes=nodes), sgd_sde(g, eta=eta, nodes=nodes)

    def coefficients(x: Tensor) -> tuple[Tensor, LinearMap]:
        drift, noise = own.coefficients(x)
        assert noise is not None

        def diffusion(dw: Tensor) -> Tensor:
            simple = _plain_noise(g, plain, x, dw[..., : plain.noise_dim])
            return simple + share * (noise(dw) - simple)

        return drift, diffusion

    return SDE(coefficients, noise_dim=own.noise_dim, private_dim=own.private_dim, dim=own.dim, row_size=own.row_size)


def _plain_noise(g: Oracle, plain: SDE, x: Tensor, dw: Tensor) -> Tensor:
    if is_additive(g):
        return -(plain.coefficients.eta**0.5) * g.scatter(x, dw)  # pyright: ignore  # its drift is not needed
    noise = plain.coefficients(x)[1]
    assert noise is not None
    return noise(dw)


@dataclass(frozen=True)
class _Rows:
    """The rows of a batch: for every rho and model the index of the optimizer's and of the model's row."""

    optimizer: list[tuple[float]]
    model: list[tuple[float, float]]
    at: dict[tuple[float, str], tuple[int, int]]


def _rows(rhos: Sequence[float], models: Mapping[str, tuple[float, float]]) -> _Rows:
    """Equal models share a row: SGD's serves all radii."""
    wanted = {(rho, name): (c * rho, share if c else 1.0) for rho in rhos for name, (c, share) in models.items()}
    model = list(dict.fromkeys(wanted.values()))
    radii = [(rho,) for rho in rhos] + [(rhos[0],)] * (len(model) - len(rhos))
    model += [model[0]] * (len(radii) - len(model))
    at = {key: (list(rhos).index(key[0]), model.index(row)) for key, row in wanted.items()}
    return _Rows(radii, model, at)


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
) -> dict[float, Comparison]:
    """The optimizer and its models on one Brownian path, at all radii in one batch.

    Parameters
    ----------
    update : a field G(g, x, z, *, rho)
    g : an oracle with normal noise
    models : name -> (c, share), the model ``partial_sde(update, g, eta, c·rho, share)``
    substeps : steps of the small-noise Runge-Kutta scheme per optimizer step, at least 2: at 1 an Euler scheme would be
        the optimizer itself
    n : replicates; ``AGAIN`` takes n more on the noise of seed + 1

    Raises
    ------
    ValueError
        For noise that cannot be shared (use ``apart``), fewer than two replicates, or as ``simulate``.

    Notes
    -----
    Where a replicate diverges, every radius is run once more by itself, so that one does not take the others along.
    """
    _require(rhos, n, substeps)

    def run(rhos: Sequence[float]) -> dict[float, Comparison]:
        rows = _rows(rhos, models)
        chains = variants(lambda rho: optimizer(partial(update, rho=rho), g, eta), rows.optimizer)
        pair = coupled(chains, _integrated(partial(partial_sde, update, g, eta), eta, substeps, rows))
        go = partial(_quiet, x0=x0, steps=steps, n=n, save_every=save_every)
        together = go(pair, observables=_of_pairs(observables, rows), seed=seed)
        again = go(chains, observables=_of_rows(observables, len(rhos)), seed=seed + 1)
        return {rho: _paired(together, again, rho, r, observables, models) for r, rho in enumerate(rhos)}

    return _one_by_one_if_lost(run, rhos)


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
    _require(rhos, min(n, pairs), substeps)
    model = partial(partial_sde, update, g, eta, nodes=nodes)
    if all(share == 1 for _, share in models.values()):
        model = _whole(update, g, eta, nodes)

    def run(rhos: Sequence[float]) -> dict[float, Comparison]:
        rows = _rows(rhos, models)
        chains = variants(
            lambda rho: _grouped(optimizer(partial(update, rho=rho), g, eta)), rows.optimizer[: len(rhos)]
        )
        paths = antithetic(_integrated(model, eta, substeps, rows))
        go = partial(_quiet, x0=x0, steps=steps, save_every=save_every)
        phis = _of_rows(observables, len(rhos))
        first, again = (go(chains, observables=phis, n=n, seed=seed + i) for i in (0, 1))
        moved = go(paths, observables=_of_rows(observables, len(rows.model), 2), n=pairs, seed=seed + 2)
        return {rho: _unpaired(first, again, moved, rho, rows, observables, models) for rho in rhos}

    return _one_by_one_if_lost(run, rhos)


def _whole(update: Update, g: Oracle, eta: float, nodes: Nodes) -> Callable[[Scalar, Scalar], SDE]:
    """Own SDEs only: the map of SGD need not be computed."""
    return lambda rho, share: model_of(partial(update, rho=rho), g, eta, nodes=nodes)


def _grouped(kernel: Any) -> Kernel:
    """Dealt minibatches where B divides N, else chains of their own."""
    g = kernel.g
    dealt = isinstance(g, MinibatchOracle) and not g.replace and g.p is None and g.mean.N % g.batch_size == 0
    return stratified(kernel) if dealt else kernel


def _integrated(model: Callable[..., SDE], eta: float, r: int, rows: _Rows) -> Kernel:
    return subcycle(variants(lambda *row: small_noise_srk(model(*row), eta / r), rows.model), r)


def _quiet(kernel: Kernel, **arguments: Any) -> Moments:
    """A simulation whose divergence is in its counts, not in a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        return simulate(kernel, **arguments)


def _one_by_one_if_lost(
    run: Callable[[Sequence[float]], dict[float, Comparison]], rhos: Sequence[float]
) -> dict[float, Comparison]:
    found = run(rhos)
    if len(rhos) == 1 or not any(c.lost.any() for c in found.values()):
        return found
    return {rho: run([rho])[rho] for rho in rhos}


# ----------------------------------------------------------------- observables of a batch, and their estimates
def _of_pairs(observables: Mapping[str, Observable], rows: _Rows) -> dict[str, Observable]:
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
    rows: _Rows,
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


def _require(rhos: Sequence[float], n: int, substeps: int) -> None:
    if not rhos or len(set(rhos)) < len(rhos):
        raise ValueError(f"rhos must be different radii, at least one, got {list(rhos)}.")
    require_count("n", n, least=2, why="one replicate has no standard error")
    require_count("substeps", substeps, least=2, why="at the optimizer's own step a scheme is nearly the optimizer")
