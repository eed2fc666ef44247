"""Where an optimizer's paths are, and where its next step takes them: what a grid is laid over.

The optimizer's arrivals are summed over the nodes of its noise, about the pole where SAM's direction is not smooth.
Where the noise grows with |x| the grid lies in another coordinate (``growth``), and everything that may be too small
grows from grid to grid: the box, the number of nodes and the rule of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...dynamics.integrators import heun_path, small_noise_srk
from ...dynamics.kernels import Kernel, Optimizer, Subcycled, subcycle
from ...dynamics.sde import NUMBERS_AT_ONCE, SDE
from ...engine.ensembles import simulate
from ...problems.observables import Observable, coordinate
from ...problems.oracles import GaussianOracle
from ...theory.one_step import rule_of
from .backward import Grid, grid_about
from .growth import Spread, Stretch, growth_of, spread_of_model, stretch_for, unstretched

__all__ = ["Tube", "arrivals", "tube_about"]

_REACH = {1: 8.0, 2: 7.0}  # standard deviations that the grid holds on either side of the mean paths
_NODES = {1: (160, 220, 320, 460, 800), 2: (16, 24, 34, 48, 62)}  # intervals, without margins, grid after grid
_SPACING = {1: 1.15, 2: 1.4}  # smallest spacing in standard deviations of one step: stable polynomials
_WIDER = (1.0, 1.1, 1.2, 1.3, 1.4)  # reach and nodes of five grids in a stretched coordinate
_FINER = {1: (3, 6, 9, 12, 15), 2: (0, 1, 1, 2, 2)}  # rules of the noise of those grids, in steps of 4 nodes
_FURTHER = 1.5  # nodes of a grid beyond the last stable one, over those of the one before
_STEEPEST = 8.0  # exponent of growth of an observable that multiplicative noise is let have
_SMOOTH_ORDER = 12
_SMOOTH = 1e-8  # moments of two rules that differ by less are those of a smooth update
_PILOT = 256
_HEUN = 16
_ALIKE = 1.1  # times the optimizer's noise of a step, up to which the optimizer's own pilot says how far a model goes
Step = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]  # x (n, d) -> x⁺ at the nodes (n, Q, d), weights (n, Q)


@dataclass(frozen=True, eq=False)
class Tube:
    """Where the paths are: the start, a box about them, the smallest stable spacing, and the error of the noise's rule.

    ``rule_gap`` (d,) is what another rule of the noise changes in the mean of one step.  With a ``stretch`` all points
    and lengths are in its coordinates, and ``finer`` are the rules for five grids.
    """

    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spacing: np.ndarray
    step: Step
    rule_gap: np.ndarray
    stretch: Stretch | None = None
    finer: tuple[Step, ...] = ()

    def grids(self, part: float = 1.0) -> list[Grid]:
        """Five grids: finer and finer ones as far as is stable for steps with ``part`` of eta's noise.

        On a line there are yet finer ones, whose rows interpolate about every arrival; in a plane the last one is
        repeated.  In a stretched coordinate they are wider and wider, too.
        """
        d, middle, half = len(self.start), (self.low + self.high) / 2, (self.high - self.low) / 2
        if self.finer:
            return [
                grid_about(self.start, middle - k * half, middle + k * half, math.ceil(k * n), self.stretch)
                for k, n in zip(_WIDER, _NODES[d], strict=True)
            ]
        sizes = self._stable(part)
        left = len(_NODES[d]) - len(sizes)
        further = [math.ceil(sizes[-1] * (_FURTHER**k if d == 1 else 1)) for k in range(1, left + 1)]
        about = partial(grid_about, self.start, self.low, self.high)
        spread = unstretched(d) if d == 1 else self.stretch
        return [*(about(n, self.stretch) for n in sizes), *(about(n, spread) for n in further)]

    def _stable(self, part: float) -> list[int]:
        """Intervals per dimension of at most five grids that are no finer than the noise allows."""
        allowed = (self.high - self.low) / np.maximum(part * self.spacing, 1e-300)
        most = max(10, math.floor(min(1e9, float(np.min(allowed)))))
        sizes = [n for n in _NODES[len(self.start)] if 1.25 * n <= most]
        if len(sizes) < len(_NODES[len(self.start)]):
            sizes = [*(sizes or [math.ceil(0.8 * most)]), most]  # neighbours differ enough for one to check the other
        return sizes

    def rules(self) -> tuple[Step, ...]:
        """The optimizer's arrivals for each of the grids."""
        return self.finer or (self.step,) * len(_NODES[len(self.start)])


def arrivals(grid: Grid, step: Step) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What ``transition`` asks for, a few nodes at a time."""
    points = grid.points
    _, w = step(points[:1])
    rows = max(1, NUMBERS_AT_ONCE // (w.shape[-1] * 2 * grid.radius * len(grid.shape)))
    return (step(points[i : i + rows]) for i in range(0, len(points), rows))


@torch.no_grad()
def tube_about(
    optimizer: Kernel, models: Mapping[str, SDE], start: np.ndarray, steps: int, observables: Mapping[str, Observable]
) -> Tube:
    """The tube of a pilot run of the optimizer and of the mean paths of its models.

    Raises
    ------
    ValueError
        When paths diverge, or as ``simulate`` for a bad observable.
    """
    d, eta = len(start), float(optimizer.dt)
    mean, spread = _pilot(optimizer, start, steps, observables, None)
    spread = np.maximum(spread, _spread_of_noisier(models, optimizer, mean, start, None))
    paths = [_mean_path(sde, start, eta * steps, steps) for sde in models.values()]
    low, high = _box(mean, spread, paths, _REACH[d])
    some = torch.from_numpy(mean[:: max(1, steps // 4)].copy())
    arrive, check = (_arrivals(optimizer, some, finer) for finer in (0, 1))
    stretch = stretch_for(
        [_spread_of(arrive), *(spread_of_model(sde, eta) for sde in models.values())], mean, low, high
    )
    if stretch is not None and np.isfinite(stretch.width).any():
        flat = [stretch.flat(path) for path in paths]
        p = _require_slow(observables, stretch, (high - low) / 2)
        mean, spread = _pilot(optimizer, start, steps, observables, stretch)
        spread = np.maximum(spread, _spread_of_noisier(models, optimizer, mean, start, stretch))
        return _stretched(optimizer, start, mean, spread, flat, stretch, p)
    gap = np.abs(_moments(arrive, some)[0] - _moments(check, some)[0]).max(0)
    one = _spread_of(arrive)(mean).max(0)
    noisier = [
        s for s in (spread_of_model(sde, eta)(mean).max(0) for sde in models.values()) if np.any(s > _ALIKE * one)
    ]
    return Tube(start, low, high, _SPACING[d] * np.max([one, *noisier], axis=0), arrive, gap, stretch)


def _spread_of_noisier(
    models: Mapping[str, SDE], optimizer: Kernel, mean: np.ndarray, start: np.ndarray, stretch: Stretch | None
) -> np.ndarray:
    """Standard deviations (steps + 1, d) of pilots of those models whose noise on the mean paths is another one."""
    eta, found, steps = float(optimizer.dt), np.zeros_like(mean), len(mean) - 1
    mean = mean if stretch is None else stretch.back(mean)
    some = mean[:: max(1, steps // 4)]
    usual = _spread_of(_arrivals(optimizer, torch.from_numpy(some.copy()), 0))(some).max(0)
    for sde in models.values():
        if np.any(spread_of_model(sde, eta)(some).max(0) > _ALIKE * usual):
            pilot = subcycle(small_noise_srk(sde, eta / _HEUN), _HEUN)
            found = np.maximum(found, _pilot(pilot, start, steps, {}, stretch)[1])
    return found


def _require_slow(observables: Mapping[str, Observable], stretch: Stretch, half: np.ndarray) -> float:
    """The largest p for which an observable grows like |x|^p; ``ValueError`` for what grows faster than |x|^8."""
    growth = {name: growth_of(phi, stretch.centre, half) for name, phi in observables.items()}
    for name, p in growth.items():
        if p > _STEEPEST:
            raise ValueError(
                f"observable {name!r} must not grow faster than |x|^{_STEEPEST:g} for quadrature under noise that "
                "grows like |x|: its expectation may not exist, and no grid would hold it."
            )
    return max(growth.values())


def _stretched(
    optimizer: Kernel,
    start: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    flat: list[np.ndarray],
    stretch: Stretch,
    p: float,
) -> Tube:
    """The tube in a coordinate that evens the noise, where laws are nearly normal.

    An observable that grows like |x|^p = e^(p y/w) looks at the law times that, p s²/w further out.
    """
    d = len(start)
    reach = _REACH[d] + p * spread.max(0) / stretch.width
    low, high = _box(mean, spread, flat, reach)
    some = torch.from_numpy(stretch.back(mean[:: max(1, (len(mean) - 1) // 4)]))
    finer = tuple(_arrivals(optimizer, some, finer) for finer in _FINER[d])
    return Tube(stretch.flat(start), low, high, 0 * low, finer[0], 0 * low, stretch, finer)


def _pilot(
    optimizer: Kernel, start: np.ndarray, steps: int, observables: Mapping[str, Observable], stretch: Stretch | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of a few hundred paths at all steps, (steps + 1, d), in a stretched coordinate."""
    d = len(start)
    watched = {str(i): _along(i, stretch) for i in range(d)} | {f"phi {name}": phi for name, phi in observables.items()}
    pilot = simulate(optimizer, start.tolist(), steps=steps, n=_PILOT, observables=watched)
    if pilot.nonfinite.any():
        raise ValueError(
            f"{optimizer.name} must not diverge for quadrature, {int(pilot.nonfinite.max())} of {_PILOT} paths do: the "
            "expectation may not exist."
        )
    columns = [pilot.estimate(str(i)) for i in range(d)]
    mean = np.stack([np.asarray(c.value) for c in columns], -1)
    return mean, np.stack([np.asarray(c.stderr) for c in columns], -1) * math.sqrt(_PILOT)


def _along(i: int, stretch: Stretch | None) -> Observable:
    if stretch is None or not math.isfinite(stretch.width[i]):
        return coordinate(i)
    c, w = float(stretch.centre[i]), float(stretch.width[i])
    return lambda x: w * torch.asinh((x[..., i] - c) / w)


def _box(
    mean: np.ndarray, spread: np.ndarray, paths: list[np.ndarray], reach: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest corner of the mean paths and ``reach`` standard deviations about them."""
    every = [mean, *paths]
    low, high = (f([f(p + s * reach * spread, axis=0) for p in every], axis=0) for f, s in ((np.min, -1), (np.max, 1)))
    # a box without width (no noise, or an equilibrium) gets a tenth of the other side's, and never less than 1e-3 |x0|
    thin = np.maximum(0.1 * float((high - low).max()) - (high - low), 0.0) + 1e-3 * (1 + np.abs(mean[0]))
    return low - thin / 2, high + thin / 2


def _mean_path(sde: SDE, start: np.ndarray, horizon: float, steps: int) -> np.ndarray:
    """The drift's own path from x0 at all steps, (steps + 1, d), between points of Heun's scheme, as many as it
    needs to be stable.
    """
    count = min(steps, _HEUN)
    before = path = heun_path(sde, start, horizon, count)
    while count < 16 * steps:
        count *= 2
        before, path = path, heun_path(sde, start, horizon, count)
        if np.all(np.abs(path[::2] - before) <= 0.05 * (1e-3 + np.ptp(path, axis=0) + np.abs(start))):
            break
    if not np.isfinite(path).all():
        raise ValueError(f"sde must have a mean path, that from {start.tolist()} leaves the floating-point range.")
    at = np.linspace(0, count, steps + 1)
    return np.stack([np.interp(at, np.arange(count + 1), column) for column in path.T], -1)


# ----------------------------------------------------------------- the optimizer's arrivals
def _arrivals(kernel: Kernel, x: Tensor, finer: int) -> Step:
    """x (n, d) ↦ x⁺ at the nodes of the kernel's noise (n, Q, d), and weights (n, Q).

    Gauss-Hermite of order 12 where it has the moments of the rule about the pole at points x, as for smooth updates.
    """
    smooth_order = _SMOOTH_ORDER + 4 * finer
    if isinstance(kernel, Subcycled):
        return _arrivals(kernel.kernel, x, finer)
    if not isinstance(kernel, Optimizer):
        return _by_rule(lambda y: _repeated(y, *kernel.noise.nodes(smooth_order)), kernel.step)
    default = rule_of(kernel.g, (32 if x.shape[1] == 1 else 28) + 9 * min(finer, 2), None)

    def step(points: Tensor, z: Tensor) -> Tensor:
        return points - kernel.eta * kernel.update(default.g, points, z)

    careful = _by_rule(default, step)
    if not isinstance(default.g, GaussianOracle) or default.g.noise.size < 2:
        return careful
    smooth = _by_rule(rule_of(default.g, 32, default.g.noise.nodes(smooth_order)), step)
    differ = max(_gap(a, b) for a, b in zip(_scaled_moments(smooth, x), _scaled_moments(careful, x), strict=True))
    return smooth if differ < _SMOOTH else careful


def _by_rule(rule: Callable[[Tensor], tuple[Tensor, Any, Tensor]], step: Callable[[Tensor, Any], Tensor]) -> Step:
    def arrive(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        points, z, w = rule(x)
        return step(points, z).numpy(), w.expand(points.shape[:-1]).numpy()

    return arrive


def _repeated(x: Tensor, z: Any, w: Tensor) -> tuple[Tensor, Any, Tensor]:
    return x[:, None].expand(len(x), len(w), x.shape[1]).clone(), z, w


def _spread_of(arrive: Step) -> Spread:
    """The standard deviation of one step along each axis."""

    def spread(x: np.ndarray) -> np.ndarray:
        return np.sqrt(_moments(arrive, torch.from_numpy(x))[1])

    return spread


def _moments(arrive: Step, x: Tensor) -> list[np.ndarray]:
    """Mean, and central moments of order 2, 3, 4, (n, d) each."""
    to, w = arrive(x)
    mean = np.einsum("nq,nqd->nd", w, to)
    return [mean, *(np.einsum("nq,nqd->nd", w, (to - mean[:, None]) ** p) for p in (2, 3, 4))]


def _scaled_moments(arrive: Step, x: Tensor) -> list[np.ndarray]:
    """The same in units of the spread."""
    moments = _moments(arrive, x)
    spread = np.sqrt(moments[1]).max() or 1.0
    return [m / spread**p for p, m in enumerate(moments, start=1)]


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())
