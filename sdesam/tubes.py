"""Where an optimizer's paths are, and where its next step takes them: what a grid is laid over.

The optimizer's arrivals are summed over the nodes of its noise, about the pole where SAM's direction is not smooth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .backward import Grid
from .ensembles import simulate
from .integrators import heun_path
from .kernels import Kernel, Optimizer, Subcycled
from .observables import Observable, coordinate
from .one_step import rule_of
from .oracles import GaussianOracle
from .sde import SDE

__all__ = ["Tube", "tube_about"]

_REACH = {1: 8.0, 2: 7.0}  # standard deviations that the grid holds on either side of the mean paths
_NODES = {1: (160, 220, 320, 460, 800), 2: (16, 24, 34, 48, 62)}  # intervals, without margins, grid after grid
_SPACING = {1: 1.15, 2: 1.4}  # smallest spacing in standard deviations of one step: stable polynomials
_SMOOTH_ORDER = 12
_SMOOTH = 1e-8  # moments of two rules that differ by less are those of a smooth update
_PILOT = 256
_HEUN = 16
_NUMBERS_AT_ONCE = 2**22
Step = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]  # x (n, d) -> x⁺ at the nodes (n, Q, d), weights (n, Q)


@dataclass(frozen=True, eq=False)
class Tube:
    """Where the paths are: the start, a box about them, the smallest stable spacing, and the error of the noise's rule.

    ``rule_gap`` (d,) is what another rule of the noise changes in the mean of one step.
    """

    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spacing: np.ndarray
    step: Step
    rule_gap: np.ndarray

    def sizes(self, part: float = 1.0) -> list[int]:
        """Intervals per dimension of five grids, no finer than is stable for steps with ``part`` of eta's noise."""
        allowed = (self.high - self.low) / np.maximum(part * self.spacing, 1e-300)
        most = max(10, math.floor(min(1e9, float(np.min(allowed)))))
        sizes = [n for n in _NODES[len(self.start)] if 1.25 * n <= most]
        if len(sizes) < len(_NODES[len(self.start)]):
            sizes = [*(sizes or [math.ceil(0.8 * most)]), most]  # neighbours differ enough for one to check the other
        return sizes + sizes[-1:] * (len(_NODES[len(self.start)]) - len(sizes))

    def arrivals(self, grid: Grid) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What ``transition`` asks for, a few nodes at a time."""
        points = grid.points
        _, w = self.step(points[:1])
        rows = max(1, _NUMBERS_AT_ONCE // (w.shape[-1] * 2 * grid.radius * len(grid.shape)))
        return (self.step(points[i : i + rows]) for i in range(0, len(points), rows))


def tube_about(
    optimizer: Kernel, models: Mapping[str, SDE], start: np.ndarray, steps: int, observables: Mapping[str, Observable]
) -> Tube:
    """The tube of a pilot run of the optimizer and of the mean paths of its models.

    Raises
    ------
    ValueError
        When paths diverge, or as ``simulate`` for a bad observable.
    """
    d = len(start)
    watched = {str(i): coordinate(i) for i in range(d)} | {f"phi {name}": phi for name, phi in observables.items()}
    pilot = simulate(optimizer, start.tolist(), steps=steps, n=_PILOT, observables=watched)
    if pilot.nonfinite.any():
        raise ValueError(
            f"{optimizer.name} must not diverge for quadrature, {int(pilot.nonfinite.max())} of {_PILOT} paths do: the "
            "expectation may not exist."
        )
    columns = [pilot.estimate(str(i)) for i in range(d)]
    mean = np.stack([np.asarray(c.value) for c in columns], -1)
    spread = np.stack([np.asarray(c.stderr) for c in columns], -1) * math.sqrt(_PILOT)
    paths = [mean] + [_mean_path(sde, start, float(optimizer.dt) * steps, steps) for sde in models.values()]
    low, high = (
        f([f(p + s * _REACH[d] * spread, axis=0) for p in paths], axis=0) for f, s in ((np.min, -1), (np.max, 1))
    )
    # a box without width (no noise, or an equilibrium) gets a tenth of the other side's, and never less than 1e-3 |x0|
    thin = np.maximum(0.1 * float((high - low).max()) - (high - low), 0.0) + 1e-3 * (1 + np.abs(start))
    some = torch.from_numpy(mean[:: max(1, steps // 4)].copy())
    arrive, check = (_arrivals(optimizer, some, finer) for finer in (False, True))
    gap = np.abs(_moments(arrive, some)[0] - _moments(check, some)[0]).max(0)
    to, w = arrive(torch.from_numpy(mean))
    centre = np.einsum("nq,nqd->nd", w, to)
    step = np.sqrt(np.einsum("nq,nqd->nd", w, (to - centre[:, None]) ** 2)).max(0)
    return Tube(start, low - thin / 2, high + thin / 2, _SPACING[d] * step, arrive, gap)


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
def _arrivals(kernel: Kernel, x: Tensor, finer: bool) -> Step:
    """x (n, d) ↦ x⁺ at the nodes of the kernel's noise (n, Q, d), and weights (n, Q).

    Gauss-Hermite of order 12 where it has the moments of the rule about the pole at points x, as for smooth updates.
    """
    smooth_order = _SMOOTH_ORDER + (4 if finer else 0)
    if isinstance(kernel, Subcycled):
        return _arrivals(kernel.kernel, x, finer)
    if not isinstance(kernel, Optimizer):
        return _by_rule(lambda y: _repeated(y, *kernel.noise.nodes(smooth_order)), kernel.step)
    default = rule_of(kernel.g, (32 if x.shape[1] == 1 else 28) + (9 if finer else 0), None)

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
