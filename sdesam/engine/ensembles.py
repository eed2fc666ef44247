"""Many replicates of a kernel: ``simulate`` for moments, ``trajectories`` for paths, ``first_exit`` for exits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..arguments import as_floats, as_plain, require_count, require_nonnegative, require_seed, set_fields
from ..dynamics.kernels import Kernel
from ..problems.noise import Normal, normals
from ..problems.observables import Observable, asked
from .choice import fused_or_reason, short_run
from .eager import UNIT, Block, Start, blocks, visit
from .folds import Tree
from .llvm.compilation import Fused
from .llvm.cpu import UndefinedObservable, fused_moments
from .probe import probe
from .progress import reporting
from .statistics import Moments
from .streams import Streams

__all__ = ["Cloud", "DivergenceWarning", "Engine", "simulate", "trajectories"]

Points = Tensor | np.ndarray | Sequence
Engine = Literal["auto", "fused", "eager"]


class DivergenceWarning(RuntimeWarning):
    """Some replicates became non-finite; they are counted, and left out of the moments."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """A Gaussian start: x0 = mean + scale·N(0, I), drawn from each replicate's own stream before step 1."""

    mean: Points
    scale: float

    def __post_init__(self) -> None:
        set_fields(self, scale=require_nonnegative("scale", self.scale, "it is the standard deviation of the start"))


@torch.no_grad()  # torch.func differentiates all the same; parameters of a module keep no graph
def simulate(
    kernel: Kernel,
    x0: Points | Cloud,
    *,
    steps: int,
    observables: Mapping[str, Observable],
    n: int,
    seed: int = 0,
    save_every: int = 1,
    internals: Mapping[str, Callable[[Any], Tensor]] | None = None,
    histograms: Mapping[str, Sequence[float]] | None = None,
    replicates: range | None = None,
    engine: Engine = "auto",
    progress: bool = False,
) -> Moments:
    """Moments of observables over n replicates, at step 0 and every ``save_every`` steps up to ``steps``.

    Parameters
    ----------
    x0 : ``(d,)`` for one start, ``(n, d)`` for one each, or a ``Cloud``; its device and dtype are the run's.
        Lists and numpy arrays become float64 tensors on the CPU
    observables : name -> phi, functions ``(..., d) -> (...)``
    n : replicates; any number, they are run in blocks and memory stays flat
    seed : replicate i reads stream (seed, i), whatever n is: n = 1000 and n = 5000 share their first 1000
    internals : name -> function of the kernel's *state*, for stateful kernels
    histograms : name of an observable -> bin edges
    replicates : only these of the n, a range that starts at a multiple of 1,024: a part of a run, whose moments
        merge with those of the other parts
    engine : "fused" compiles kernel and observables to machine code, "eager" steps them in torch, with the same noise;
        "auto" takes the fused one where it can and where the run is long enough for compiling to pay; the engines'
        results differ by rounding, 1e-12 of their size in float64.  The choice does not depend on ``replicates``.
        ``Moments.engine`` says which one ran, ``Moments.engine_note`` why "auto" stayed eager

    Returns
    -------
    Moments, whose ``estimate(name)`` holds value and standard error at ``times = k·dt``.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, shapes that break the law, an observable that is NaN at a finite x, or ``engine="fused"``
        for what it cannot run, with the reason; it never gives way to the eager one.  On every engine for a function
        that mixes replicates, draws random numbers, goes by the value of a tensor or writes into its argument, and
        for a landscape whose gradient is not finite at the start, or exactly zero where it changes: functions are
        probed once a structure, before the run.

    Warns
    -----
    DivergenceWarning
        When replicates become non-finite.
    """
    n, steps, save_every, seed = run_counts(n, steps, save_every, seed)
    start, d = prepare(kernel, x0, n=n, steps=steps, save_every=save_every, engine=engine)
    chosen = part_of(n, replicates)
    if not isinstance(observables, Mapping):
        raise TypeError(f"observables must be a mapping from names to functions, got {type(observables).__name__}.")
    names = (*observables, *(internals or {}))
    if len(set(names)) < len(names):
        raise ValueError(f"internals must not reuse names of observables, got {names}.")
    if not names:
        raise ValueError("observables must name at least one function, got an empty mapping.")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"observables must have strings as names, got {[n for n in names if not isinstance(n, str)]}.")
    edges = _edges(histograms or {}, names)
    probe(kernel, one_point(x0), observables, internals or {})
    saved = _saved_steps(steps, save_every)
    short = short_run(kernel, n=n, steps=steps, looks=len(saved))
    fused = fused_or_note(kernel, x0, observables, internals or {}, engine, short)
    if isinstance(fused, Fused):
        total = _run_fused(fused, kernel, x0, start, chosen, names, saved, edges, seed, progress)
        if isinstance(total, Moments):
            return _reported(kernel, x0, total, len(chosen))
        fused = _accepted(total, engine)
    tree: Tree[Moments] = Tree()
    width = max(d, getattr(kernel.noise, "size", d) // 4, len(saved) * len(names) ** 2 // UNIT)
    with reporting(progress, len(chosen) * steps, kernel.name) as advance:
        for block in blocks(chosen, width):
            parts = _unit_moments(kernel, block, start, observables, internals or {}, saved, edges, seed, advance)
            for i, part in enumerate(parts, block.first // UNIT):
                tree.add(i, 1, part)
    return _reported(kernel, x0, replace(tree.total(), engine_note=fused), len(chosen))


def _reported(kernel: Kernel, x0: Points | Cloud, total: Moments, n: int) -> Moments:
    _report_divergence(kernel, total, n)
    return replace(total, method="deterministic") if _is_deterministic(kernel, x0) else total


@torch.no_grad()
def trajectories(
    kernel: Kernel, x0: Points | Cloud, *, steps: int, n: int = 1, seed: int = 0, save_every: int = 1
) -> Tensor:
    """Paths of n replicates, shape ``(saved, n, d)``, at step 0 and every ``save_every`` steps.

    Replicate i is the one ``simulate`` runs.  For large ensembles use ``simulate``: it keeps no path.

    Raises
    ------
    ValueError, TypeError
        As ``simulate``.
    """
    n, steps, save_every, seed = run_counts(n, steps, save_every, seed)
    start, d = prepare(kernel, x0, n=n, steps=steps, save_every=save_every, engine="auto")
    probe(kernel, one_point(x0), {}, {})
    parts = []
    for block in blocks(range(n), d):
        rows: list[Tensor] = []

        def look(k: int, state: Any, rows: list[Tensor] = rows, count: int = block.count) -> bool:
            if k % save_every == 0:
                rows.append(kernel.position(state)[:count].clone())
            return False

        visit(kernel, block, start, steps=steps, seed=seed, look=look)
        parts.append(torch.stack(rows))
    return torch.cat(parts, dim=1)


# ----------------------------------------------------------------- the fused engine
def fused_or_note(
    kernel: Kernel,
    x0: Points | Cloud,
    observables: Mapping[str, Observable],
    internals: Mapping[str, Callable[[Any], Tensor]],
    engine: str,
    short: str,
) -> Fused | str:
    """The compiled kernel, or why the eager engine runs, nothing where it was asked for.

    Parameters
    ----------
    short : what ``short_run`` says

    Raises
    ------
    ValueError
        Where "fused" was asked for in vain.
    """
    if engine == "eager":
        return ""
    if engine == "auto" and short:
        return short
    found = fused_or_reason(kernel, one_point(x0), observables, internals)
    return found if isinstance(found, Fused) else _accepted(found, engine)


def _accepted(reason: str, engine: str) -> str:
    """Why the eager engine runs, unless the fused one was asked for."""
    if engine == "fused":
        raise ValueError(f"engine='fused' cannot run this: {reason}. engine='eager' runs it, or names the point.")
    return reason


def common_start(x0: Points | Cloud) -> Tensor | None:
    """The start of all replicates, (d,), or None where each has its own."""
    return None if isinstance(x0, Cloud) or as_floats("x0", x0).ndim == 2 else as_floats("x0", x0).detach()


def one_point(x0: Points | Cloud) -> Tensor:
    """One start, (d,): the first, or the middle of a cloud."""
    points = as_floats("x0", x0.mean if isinstance(x0, Cloud) else x0)
    return points.reshape(-1, points.shape[-1])[0].detach()


def _run_fused(
    fused: Fused,
    kernel: Kernel,
    x0: Points | Cloud,
    start: Start,
    chosen: range,
    names: tuple[str, ...],
    saved: np.ndarray,
    edges: Mapping[str, np.ndarray],
    seed: int,
    progress: bool,
) -> Moments | str:
    """Moments, or why there are none: the observable, step and replicate where a value is undefined."""
    try:
        with reporting(progress, len(chosen), kernel.name) as advance:
            return fused_moments(
                fused, common_start(x0), start, chosen, names=names, saved=saved,
                dt=float(kernel.dt), seed=seed, edges=edges, advance=advance,
            )  # fmt: skip
    except UndefinedObservable as error:
        return str(error)


# ----------------------------------------------------------------- observing a block
def _unit_moments(
    kernel: Kernel,
    block: Block,
    start: Start,
    observables: Mapping[str, Observable],
    internals: Mapping[str, Callable[[Any], Tensor]],
    saved: np.ndarray,
    edges: Mapping[str, np.ndarray],
    seed: int,
    advance: Callable[[int], None],
) -> list[Moments]:
    """Moments of each unit of a block.  Every saved step is reduced at once, so memory does not grow with steps·n."""
    if not isinstance(observables, Mapping):
        raise TypeError(f"observables must be a mapping from names to functions, got {type(observables).__name__}.")
    names = (*observables, *internals)
    sizes = [min(UNIT, block.count - low) for low in range(0, block.count, UNIT)]
    found: list[list[Moments]] = [[] for _ in sizes]
    keep = set(saved.tolist())

    def look(k: int, state: Any) -> bool:
        if k in keep:
            values = _observe(kernel, state, observables, internals, k)
            for u, (parts, size) in enumerate(zip(found, sizes, strict=True)):
                unit = np.full((1, len(names), UNIT), np.nan)  # a unit is summed at full length whatever n is
                unit[0, :, :size] = values[:, u * UNIT : u * UNIT + size]
                step = np.array([k])
                parts.append(Moments.of(unit, names=names, steps=step, dt=float(kernel.dt), edges=edges, size=size))
        if k:
            advance(block.count)
        return False

    visit(kernel, block, start, steps=int(saved[-1]), seed=seed, look=look)
    return [Moments.over_time(parts) for parts in found]


def _observe(
    kernel: Kernel,
    state: Any,
    observables: Mapping[str, Observable],
    internals: Mapping[str, Callable[[Any], Tensor]],
    k: int,
) -> np.ndarray:
    """Values (K, rows) in float64; a non-finite position makes all of its row NaN."""
    x = kernel.position(state)
    finite = torch.isfinite(x).reshape(len(x), -1).all(-1)
    values = [_measure(name, asked(name, phi, x), x, finite, k) for name, phi in observables.items()]
    values += [_measure(name, asked(name, read, state), x, finite, k) for name, read in internals.items()]
    return torch.stack(values).masked_fill(~finite, torch.nan).cpu().numpy()


def _measure(name: str, value: Tensor, x: Tensor, finite: Tensor, k: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"observable {name!r} must return a tensor of shape ({len(x)},), got {value!r}.")
    if value.shape != (len(x),):
        pair = " A coupled kernel's position is (n, members, d): use difference(phi) or of_member(phi, i)."
        raise ValueError(
            f"observable {name!r} must map {tuple(x.shape)} to ({len(x)},), got {tuple(value.shape)}: it acts on "
            f"the last axis." + (pair if x.ndim == 3 else "")
        )
    bad = torch.isnan(value) & finite
    if bool(bad.any()):
        i = int(bad.nonzero()[0])
        raise ValueError(
            f"observable {name!r} must be a number wherever x is finite, got NaN at step {k}, x = {x[i].tolist()}."
        )
    return value.to(torch.float64)


# ----------------------------------------------------------------- arguments
def run_counts(n: int, steps: int, save_every: int, seed: int) -> tuple[int, int, int, int]:
    """The counts that every run takes, as integers of Python."""
    return (
        require_count("n", n, least=1, why="it is the number of replicates"),
        require_count("steps", steps, least=1, why="a run needs a step"),
        require_count("save_every", save_every, least=1, why="it counts steps between looks"),
        require_seed(seed),
    )


def prepare(
    kernel: Kernel, x0: Points | Cloud, *, n: int, steps: int, save_every: int, engine: str
) -> tuple[Start, int]:
    """Check the arguments every run shares; returns the start of a block, and d."""
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"kernel must be a kernel, got {type(kernel).__name__}: make one with optimizer(update, g, eta), or with "
            "an integrator such as small_noise_srk(sde, h)."
        )
    if steps % save_every:
        raise ValueError(f"save_every must divide steps = {steps}, so that the last step is saved, got {save_every}.")
    if engine not in ("auto", "fused", "eager"):
        raise ValueError(f"engine must be 'auto', 'fused' or 'eager', got {engine!r}.")
    if isinstance(x0, Cloud):
        mean = as_points("x0.mean", x0.mean, None)
        return _cloud_start(mean, x0.scale), mean.shape[-1]
    points = as_points("x0", x0, n)
    return _point_start(points), points.shape[-1]


def part_of(n: int, replicates: range | None) -> range:
    """The replicates to run: all n, or a part that starts at a whole unit."""
    if replicates is None:
        return range(n)
    inside = 0 <= replicates.start < replicates.stop <= n and replicates.step == 1
    if not inside or replicates.start % UNIT:
        raise ValueError(
            f"replicates must be a range(a, b) with 0 <= a < b <= n = {n} and {UNIT} dividing a, got {replicates}: "
            "sums are folded by units of that size."
        )
    return replicates


def as_points(name: str, x0: Points, n: int | None) -> Tensor:
    """A float tensor ``(d,)`` or ``(n, d)``; lists and arrays become float64 whatever the default dtype."""
    x0 = as_floats(name, x0)
    if x0.ndim not in (1, 2) or 0 in x0.shape or (x0.ndim == 2 and n is None):
        raise ValueError(f"{name} must have shape (d,) or (n, d), got {tuple(x0.shape)}.")
    if x0.ndim == 2 and x0.shape[0] != n:
        raise ValueError(f"{name} with one start per replicate must have {n} = n rows, got {x0.shape[0]}.")
    if not bool(torch.isfinite(x0).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries.")
    return x0.detach()


def _point_start(points: Tensor) -> Start:
    def start(first: int, rows: int, streams: Streams) -> Tensor:
        if points.ndim == 1:
            return points.expand(rows, -1).clone()
        index = torch.arange(first, first + rows).clamp(max=len(points) - 1)  # padding repeats the last row
        return points[index.to(points.device)]

    return start


def _cloud_start(mean: Tensor, scale: float) -> Start:
    def start(first: int, rows: int, streams: Streams) -> Tensor:
        return mean + scale * normals(streams.bits, mean.shape[-1], mean.dtype).to(mean.device)

    return start


def _saved_steps(steps: int, save_every: int) -> np.ndarray:
    return np.arange(0, steps + 1, save_every)


def _edges(histograms: Mapping[str, Sequence[float]], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    edges = {name: np.asarray([as_plain(v) for v in e], float) for name, e in histograms.items()}
    for name, e in edges.items():
        if name not in names:
            raise ValueError(f"histograms must name observables, got {name!r}; there are {', '.join(names)}.")
        if e.ndim != 1 or len(e) < 2 or not np.all(np.diff(e) > 0):
            raise ValueError(f"histograms[{name!r}] must be increasing bin edges, got {e.tolist()}.")
    return edges


def _is_deterministic(kernel: Kernel, x0: Points | Cloud) -> bool:
    noiseless = isinstance(kernel.noise, Normal) and kernel.noise.size == 0
    return noiseless and not isinstance(x0, Cloud) and np.ndim(x0) == 1


def _report_divergence(kernel: Kernel, moments: Moments, n: int) -> None:
    lost = np.flatnonzero(moments.nonfinite)
    if len(lost):
        first = int(moments.steps[lost[0]])
        settings = ", ".join(f"{k}={v}" for k, v in _settings(kernel).items())
        warnings.warn(
            f"diverged: {int(moments.nonfinite.max())} of {n} replicates of {kernel.name} non-finite from step "
            f"{first} on ({settings}); they are counted in nonfinite and left out of the moments.",
            DivergenceWarning,
            stacklevel=5,
        )


def _settings(kernel: Kernel) -> dict[str, object]:
    keywords = getattr(getattr(kernel, "update", None), "keywords", {})
    return {"dt": kernel.dt, **keywords}
