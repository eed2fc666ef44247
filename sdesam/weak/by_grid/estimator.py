"""Weak errors without Monte Carlo for d <= 2: ``by_quadrature``, and several models against one optimizer.

    optimizer   E over the nodes of its noise, about the pole where SAM's direction is not smooth
    SDE         drift and covariance tabulated on the grid; the small-noise SRK scheme with three-point increments,
                its step divided by 1, 2, 3, …, and Richardson's extrapolation to step 0; without noise, its path

Both propagate phi backward on a grid (``backward``), in a coordinate that follows noise growing like |x| (``growth``).
What changes between one grid and the next, between the last two extrapolations, and with another rule of the noise is
the estimated accuracy.  It presumes that phi is smooth, with a kink it is a guess, and that 8 (d = 1) or 7 standard
deviations hold the law, which noise that grows faster than |x| may deny.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.sparse import csr_array
from torch import Tensor

from ...arguments import require_positive
from ...dynamics.integrators import euler_maruyama
from ...dynamics.kernels import Kernel
from ...dynamics.sde import NUMBERS_AT_ONCE, SDE
from ...engine.probe import probe_kernel
from ...engine.start import Points, Start
from ...engine.statistics import Estimate
from ...problems.noise import ThreePoint
from ...problems.observables import Observable
from ..errors import WeakError
from .backward import Grid, interpolate, propagate, transition
from .growth import drift_and_covariance
from .tubes import Tube, arrivals, tube_about

__all__ = ["by_quadrature", "drift_and_covariance", "models_by_quadrature", "tabulated"]

_ACCURACY = {1: 1e-8, 2: 1e-6}
_ROUNDING = 2e-14  # per multiplication by a transition matrix
_SLACK = 1.0  # ranges of phi on the grid by which a value may leave it: phi may have its minimum between two nodes
_LONGEST = 1 / 32  # the scheme's longest step
_ODE_TOLERANCES = (1e-10, 1e-12)


def by_quadrature(
    optimizer: Kernel,
    sde: SDE,
    x0: Points,
    *,
    steps: int,
    observables: Mapping[str, Observable],
    accuracy: float | None = None,
) -> dict[str, WeakError]:
    """Weak errors at every step by deterministic propagation, for d <= 2 and any noise that can be enumerated.

    Parameters
    ----------
    optimizer : one kernel step per eta; SAM's noise is summed about its pole
    x0 : one point
    accuracy : a target; grids are refined until two of them agree to it, at most five times, 1e-8 (d = 1) and 1e-6
        (d = 2) by default; what was reached is each result's ``stderr``

    Returns
    -------
    name -> WeakError whose ``stderr`` are estimated numerical errors (method "quadrature"), and whose ``bias`` is what
    the last extrapolation in h changed.  They may exceed ``accuracy``: see that they are small against the error.

    Raises
    ------
    ValueError
        For d > 2, more than one start, an SDE whose state is more than x, noise without an affordable rule, paths that
        diverge; noise that grows faster than |x| and outgrows the grid, or like |x| under an observable that grows
        faster than |x|^8; an expectation that leaves the range of phi on every grid.

    Source: derived for this project; checked against closed forms and coupled Monte Carlo.
    """
    models = {"model": sde}
    found = models_by_quadrature(optimizer, models, x0, steps=steps, observables=observables, accuracy=accuracy)
    for name, error in found["model"].items():
        for what, side in ((optimizer.name, error.chain), ("sde", error.sde)):
            if not np.isfinite(side.value).all():
                raise ValueError(
                    f"E {name} of {what} must stay between the smallest and the largest value of {name} on the grid, "
                    "it leaves them on the finest: the noise of a step is too uneven for a grid, or the expectation "
                    "does not exist."
                )
    return found["model"]


@torch.no_grad()
def models_by_quadrature(
    optimizer: Kernel,
    models: Mapping[str, SDE],
    x0: Points,
    *,
    steps: int,
    observables: Mapping[str, Observable],
    accuracy: float | None = None,
) -> dict[str, dict[str, WeakError]]:
    """``by_quadrature`` for several SDEs; the optimizer, the dearer part, is propagated once.

    What ``by_quadrature`` would refuse afterwards, an expectation beyond the range of phi, is NaN here, of infinite
    ``stderr``: the other models are not lost.

    Raises
    ------
    ValueError
        As ``by_quadrature``.
    """
    start = _one_point(x0)
    d = len(start)
    for sde in models.values():
        if sde.init is not None or (sde.dim or d) != d:
            raise ValueError("sde must have the iterate as its state for quadrature: use by_coupled_mc.")
    if not (models and observables):
        raise ValueError("models and observables must name at least one each, got none.")
    target = _ACCURACY[d] if accuracy is None else accuracy
    target = require_positive("accuracy", target, "grids are refined until two of them agree to it")
    eta = float(optimizer.dt)
    for sde in models.values():
        probe_kernel(euler_maruyama(sde, eta), torch.from_numpy(start))
    tube = tube_about(optimizer, models, start, steps, observables)
    noise = (1 / _substeps(eta, d)[0]) ** 0.5  # of the scheme's longest step, in units of the optimizer's
    before, found, coarse = None, {}, dict(models)  # the models that the last grid was too coarse for
    for rule, *grids in zip(tube.rules(), tube.grids(), tube.grids(noise), strict=True):
        now = _on_grids(optimizer, coarse, replace(tube, step=rule), grids, steps, observables, before)
        if before is not None:
            now_found = {name: _errors(before, now, name, eta, d) for name in coarse}
            found |= {name: dict(zip(observables, errors, strict=True)) for name, errors in now_found.items()}
            coarse = {name: coarse[name] for name, errors in now_found.items() if _accuracy(errors) > target}
        if not coarse:
            break
        before = now
    return found


def _accuracy(errors: list[WeakError]) -> float:
    return max(float(np.max(e.error.stderr)) for e in errors)


# ----------------------------------------------------------------- one grid
@dataclass(frozen=True, eq=False)
class _Found:
    """E phi at steps 0..K (K+1, J) on a grid of so many nodes.

    Attributes
    ----------
    changed : what the last extrapolation of the step changed; for the optimizer, what another rule of its noise would
    off : what this grid changed against the one before
    """

    value: np.ndarray
    changed: np.ndarray | float
    nodes: int
    off: np.ndarray | float = math.inf


Results = dict[str | None, _Found]  # of the optimizer, under None, and of all models


def _on_grids(
    optimizer: Kernel,
    models: Mapping[str, SDE],
    tube: Tube,
    grids: Sequence[Grid],
    steps: int,
    observables: Mapping[str, Observable],
    before: Results | None,
) -> Results:
    """The optimizer's expectations on the first of two grids, those of the models on the second."""
    found: Results = {}
    for name, grid in zip((None, *models), (grids[0], *[grids[1]] * len(models)), strict=True):
        nodes = math.prod(grid.shape)
        if before is not None and before[name].nodes == nodes:
            found[name] = before[name]
            continue
        phi = np.stack([np.asarray(phi(grid.points), float) for phi in observables.values()], -1)
        if name is None:
            chain = transition(grid, arrivals(grid, tube.step))
            value = propagate(chain, phi, grid.start, steps, optimizer.substeps)
            changed = steps * optimizer.substeps * (tube.rule_gap @ _steepest(grid, phi))
        else:
            (drift, root), eta = tabulated(models[name], grid.points), float(optimizer.dt)
            if root.any():
                value, changed = _sde_values(drift, root, grid, phi, eta, steps)
            else:
                value, changed = _ode_values(drift, grid, observables, eta * steps, steps)
        value = _bounded(value, phi)
        found[name] = _Found(value, changed, nodes, math.inf if before is None else value - before[name].value)
    return found


def _bounded(value: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Expectations (K + 1, J), NaN where they are far out of the range of phi (N, J) on the grid: no average is."""
    low, high = phi.min(0), phi.max(0)
    slack = _SLACK * (high - low) + 1e-12
    with np.errstate(invalid="ignore"):
        return np.where((value >= low - slack) & (value <= high + slack), value, math.nan)


def _steepest(grid: Grid, phi: np.ndarray) -> np.ndarray:
    """Largest difference quotient of each observable on the grid along each axis, (d, J)."""
    values = phi.reshape(*grid.shape, -1)
    axes = range(len(grid.shape))
    return np.stack([np.abs(np.diff(values, axis=i)).max(tuple(axes)) / grid.h[i] for i in axes])


def _substeps(eta: float, d: int) -> list[int]:
    """Steps of the scheme per eta, multiples 1, 2, 3, … of the first: five; in two dimensions four, then three."""
    first = max(1, math.ceil(eta / _LONGEST - 1e-9))
    return [first * k for k in range(1, (5 if d == 1 else 4 if eta > _LONGEST / 4 else 3) + 1)]


def _ode_values(
    drift: np.ndarray, grid: Grid, observables: Mapping[str, Observable], horizon: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """phi at steps 0..K of the path of a tabulated drift, and what a hundred times the tolerance changes."""
    start, field = grid.points[grid.start].numpy(), _splines(grid, drift)
    times, values = np.linspace(0.0, horizon, steps + 1), []
    for tolerance in _ODE_TOLERANCES:
        path = solve_ivp(lambda _, x: field(x), (0.0, horizon), start, "DOP853", times, rtol=tolerance, atol=tolerance)
        if not path.success:
            raise ValueError(f"sde must have a path from {start.tolist()}, its integration stopped: {path.message}")
        at = torch.from_numpy(path.y.T.copy())
        values.append(np.stack([np.asarray(phi(at), float) for phi in observables.values()], -1))
    return values[-1], np.abs(values[-1] - values[0])


def _splines(grid: Grid, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """x (d,) ↦ values (N, J) on the grid, interpolated smoothly: splines of degree 7 (d = 1) and 5 (d = 2)."""
    axes = [a + h * np.arange(n) for a, h, n in zip(grid.low, grid.h, grid.shape, strict=True)]
    if len(axes) == 1:
        spline = make_interp_spline(axes[0], values, k=7)
        return lambda x: spline(x[0])
    first, second = axes
    columns = [RectBivariateSpline(first, second, v.reshape(grid.shape), kx=5, ky=5) for v in values.T]
    return lambda x: np.array([spline(*x)[0, 0] for spline in columns])


def _sde_values(
    drift: np.ndarray, root: np.ndarray, grid: Grid, phi: np.ndarray, eta: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """E phi(X_{k eta}) by Richardson's extrapolation of the scheme, and the change of the last extrapolation.

    The scheme's error is c₁h + c₂h² + …; from steps eta/n_0, …, eta/n_m Aitken and Neville's recursion removes m terms.
    """
    counts = _substeps(eta, len(grid.shape))
    row = [propagate(_srk_matrix(grid, drift, root, eta / k), phi, grid.start, steps, k) for k in counts]
    best = changed = row[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(1, len(row)):
            ratios = [counts[i + j] / counts[i] for i in range(len(counts) - j)]
            row = [fine + (fine - coarse) / (q - 1) for (coarse, fine), q in zip(pairwise(row), ratios, strict=True)]
            best, changed = row[-1], row[-1] - best
    return best, np.abs(changed)


def _srk_matrix(grid: Grid, drift: np.ndarray, root: np.ndarray, h: float) -> csr_array:
    """The transition of the small-noise SRK scheme from tabulated coefficients."""
    z, w = (a.numpy() for a in ThreePoint(drift.shape[1]).nodes())
    x, b = grid.points.numpy()[:, None], drift[:, None]
    n = np.sqrt(h) * np.einsum("nij,qj->nqi", root, z)
    ahead = interpolate(grid, drift, (x + h * b + n).reshape(-1, drift.shape[1])).reshape(n.shape)
    return transition(grid, [(x + h / 2 * (b + ahead) + n, np.broadcast_to(w, n.shape[:2]))])


@torch.no_grad()
def tabulated(sde: SDE, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Drift b (N, d) and the symmetric root (N, d, d) of B Bᵀ at points x (N, d): all that the law of an SDE needs.

    Raises
    ------
    ValueError
        Where they are not finite.
    """
    rows = max(1, NUMBERS_AT_ONCE // max(sde.row_size, sde.noise_dim * x.shape[1], 1))
    parts = [drift_and_covariance(sde, x[i : i + rows]) for i in range(0, len(x), rows)]
    drift, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
    bad = ~(torch.isfinite(drift).all(-1) & torch.isfinite(covariance).all(-1).all(-1))
    if bool(bad.any()):
        raise ValueError(f"sde must have finite coefficients near its paths, at x = {x[bad][0].tolist()} they are not.")
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()[:, None] @ vectors.mT
    return drift.numpy(), root.numpy()


# ----------------------------------------------------------------- boundary and result
def _one_point(x0: Points) -> np.ndarray:
    start = Start.of(x0).alone("a grid holds the law from one point").double().numpy()
    if len(start) > 2:
        raise ValueError(
            f"x0 must have d <= 2 coordinates for quadrature, got {len(start)}: a grid has nodes^d points. Use "
            "by_coupled_mc, or in_closed_form for affine updates."
        )
    return start


def _errors(before: Results, now: Results, model: str, eta: float, d: int) -> list[WeakError]:
    """One WeakError per observable; on one grid the optimizer and its model share the errors of the grid's edge."""
    chain, sde = now[None], now[model]
    times = np.arange(len(chain.value)) * eta
    together = chain.nodes == sde.nodes and before[None].nodes == before[model].nodes
    off = np.abs(chain.off - sde.off) if together else np.abs(chain.off) + np.abs(sde.off)
    error, most = chain.value - sde.value, _substeps(eta, d)[-1]
    rounding = _ROUNDING * len(times) * most
    parts = (
        _known_to(error, off + sde.changed + chain.changed + rounding),
        _known_to(chain.value, np.abs(chain.off) + chain.changed + rounding),
        _known_to(sde.value, np.abs(sde.off) + sde.changed + rounding),
        _known_to(np.broadcast_to(sde.changed, error.shape), np.zeros_like(error)),
    )
    return [WeakError(times, *each, most) for each in zip(*parts, strict=True)]


def _known_to(value: np.ndarray, off: np.ndarray) -> list[Estimate]:
    """Each column with its estimated error, the largest so far, since a change from grid to grid may pass through 0.

    What is not finite is known to no accuracy at all.
    """
    off = np.maximum.accumulate(np.broadcast_to(off, value.shape), axis=0)
    off = np.where(np.isfinite(value) & np.isfinite(off), off, np.inf)
    ones = np.ones(len(value), int)
    return [Estimate(v, o, ones, "quadrature") for v, o in zip(value.T, off.T, strict=True)]
