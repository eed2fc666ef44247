"""Many replicates of a kernel: ``simulate`` for moments, ``trajectories`` for paths, ``first_exit`` for exits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..arguments import as_plain, set_fields
from ..dynamics.kernels import Kernel
from ..problems.noise import Normal
from ..problems.observables import Observable, asked
from .choice import fused_or_reason, short_run
from .eager import UNIT, Block, blocks, visit
from .folds import Tree
from .llvm.compilation import Fused
from .llvm.cpu import UndefinedObservable, fused_moments
from .probe import probe
from .progress import reporting
from .start import Cloud, Points, Run, Start
from .statistics import Moments

__all__ = ["DivergenceWarning", "Engine", "Watched", "simulate", "simulated", "trajectories"]

Engine = Literal["auto", "fused", "eager"]


class DivergenceWarning(RuntimeWarning):
    """Some replicates became non-finite; they are counted, and left out of the moments."""


@dataclass(frozen=True, eq=False)
class Watched:
    """What is looked at: functions of the position, functions of the state, and bin edges of histograms.

    Raises
    ------
    ValueError, TypeError
        For what is no mapping, names no function or the same name twice, or edges that do not increase.
    """

    observables: Mapping[str, Observable]
    internals: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=dict)
    histograms: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.observables, Mapping):
            kind = type(self.observables).__name__
            raise TypeError(f"observables must be a mapping from names to functions, got {kind}.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"internals must not reuse names of observables, got {self.names}.")
        if not self.names:
            raise ValueError("observables must name at least one function, got an empty mapping.")
        if wrong := [name for name in self.names if not isinstance(name, str)]:
            raise TypeError(f"observables must have strings as names, got {wrong}.")
        set_fields(self, histograms=_edges(self.histograms, self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is looked at, in order."""
        return (*self.observables, *self.internals)


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
    progress: bool | str = False,
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
    progress : print what is done and left on stderr; a text instead of True is advice for more than a minute ahead

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
    require_kernel(kernel)
    run = Run(Start.of(x0), steps, n, seed, save_every)
    watched = Watched(observables, internals or {}, histograms or {})
    return simulated(kernel, run, watched, replicates=replicates, engine=engine, progress=progress)


@torch.no_grad()  # torch.func differentiates all the same; parameters of a module keep no graph
def simulated(
    kernel: Kernel,
    run: Run,
    watched: Watched,
    *,
    replicates: range | None = None,
    engine: Engine = "auto",
    progress: bool | str = False,
) -> Moments:
    """As ``simulate``, of arguments that are checked."""
    chosen = part_of(run.n, replicates)
    probe(kernel, run.start.one, watched.observables, watched.internals)
    short = short_run(kernel, n=run.n, steps=run.steps, looks=len(run.saved))
    fused = fused_or_note(kernel, run.start, watched, engine, short)
    total = _run_fused(fused, kernel, run, watched, chosen, progress) if isinstance(fused, Fused) else fused
    if not isinstance(total, Moments):
        note = _accepted(total, engine)
        total = replace(_run_eagerly(kernel, run, watched, chosen, progress), engine_note=note)
    _report_divergence(kernel, total, len(chosen))
    noiseless = isinstance(kernel.noise, Normal) and kernel.noise.size == 0
    return replace(total, method="deterministic") if noiseless and run.start.common is not None else total


def _run_eagerly(kernel: Kernel, run: Run, watched: Watched, chosen: range, progress: bool | str) -> Moments:
    tree: Tree[Moments] = Tree()
    d = run.start.dim
    width = max(d, getattr(kernel.noise, "size", d) // 4, len(run.saved) * len(watched.names) ** 2 // UNIT)
    with reporting(progress, len(chosen) * run.steps, kernel.name) as advance:
        for block in blocks(chosen, width):
            for i, part in enumerate(_unit_moments(kernel, block, run, watched, advance), block.first // UNIT):
                tree.add(i, 1, part)
    return tree.total()


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
    require_kernel(kernel)
    run = Run(Start.of(x0), steps, n, seed, save_every)
    probe(kernel, run.start.one, {}, {})
    parts = []
    for block in blocks(range(run.n), run.start.dim):
        rows: list[Tensor] = []

        def look(k: int, state: Any, rows: list[Tensor] = rows, count: int = block.count) -> bool:
            if k % run.save_every == 0:
                rows.append(kernel.position(state)[:count].clone())
            return False

        visit(kernel, block, run, look)
        parts.append(torch.stack(rows))
    return torch.cat(parts, dim=1)


# ----------------------------------------------------------------- the fused engine
def fused_or_note(kernel: Kernel, start: Start, watched: Watched, engine: Engine, short: str) -> Fused | str:
    """The compiled kernel, or why the eager engine runs, nothing where it was asked for.

    Parameters
    ----------
    short : what ``short_run`` says

    Raises
    ------
    ValueError
        Where "fused" was asked for in vain.
    """
    if engine not in ("auto", "fused", "eager"):
        raise ValueError(f"engine must be 'auto', 'fused' or 'eager', got {engine!r}.")
    if engine == "eager":
        return ""
    if engine == "auto" and short:
        return short
    found = fused_or_reason(kernel, start.one, watched.observables, watched.internals)
    return found if isinstance(found, Fused) else _accepted(found, engine)


def _accepted(reason: str, engine: str) -> str:
    """Why the eager engine runs, unless the fused one was asked for."""
    if engine == "fused":
        raise ValueError(f"engine='fused' cannot run this: {reason}. engine='eager' runs it, or names the point.")
    return reason


def _run_fused(
    fused: Fused, kernel: Kernel, run: Run, watched: Watched, chosen: range, progress: bool | str
) -> Moments | str:
    """Moments, or why there are none: the observable, step and replicate where a value is undefined."""
    try:
        with reporting(progress, len(chosen), kernel.name) as advance:
            return fused_moments(
                fused, run, chosen, names=watched.names, dt=float(kernel.dt), edges=watched.histograms, advance=advance
            )
    except UndefinedObservable as error:
        return str(error)


# ----------------------------------------------------------------- observing a block
def _unit_moments(
    kernel: Kernel, block: Block, run: Run, watched: Watched, advance: Callable[[int], None]
) -> list[Moments]:
    """Moments of each unit of a block.  Every saved step is reduced at once, so memory does not grow with steps·n."""
    names, edges = watched.names, watched.histograms
    sizes = [min(UNIT, block.count - low) for low in range(0, block.count, UNIT)]
    found: list[list[Moments]] = [[] for _ in sizes]
    keep = set(run.saved.tolist())

    def look(k: int, state: Any) -> bool:
        if k in keep:
            values = _observe(kernel, state, watched, k)
            for u, (parts, size) in enumerate(zip(found, sizes, strict=True)):
                unit = np.full((1, len(names), UNIT), np.nan)  # a unit is summed at full length whatever n is
                unit[0, :, :size] = values[:, u * UNIT : u * UNIT + size]
                step = np.array([k])
                parts.append(Moments.of(unit, names=names, steps=step, dt=float(kernel.dt), edges=edges, size=size))
        if k:
            advance(block.count)
        return False

    visit(kernel, block, run, look)
    return [Moments.over_time(parts) for parts in found]


def _observe(kernel: Kernel, state: Any, watched: Watched, k: int) -> np.ndarray:
    """Values (K, rows) in float64; a non-finite position makes all of its row NaN."""
    x = kernel.position(state)
    finite = torch.isfinite(x).reshape(len(x), -1).all(-1)
    values = [_measure(name, asked(name, phi, x), x, finite, k) for name, phi in watched.observables.items()]
    values += [_measure(name, asked(name, read, state), x, finite, k) for name, read in watched.internals.items()]
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
def require_kernel(kernel: Kernel) -> None:
    """Raise ``TypeError`` for what is no kernel."""
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"kernel must be a kernel, got {type(kernel).__name__}: make one with optimizer(update, g, eta), or with "
            "an integrator such as small_noise_srk(sde, h)."
        )


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


def _edges(histograms: Mapping[str, Sequence[float]], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    edges = {name: np.asarray([as_plain(v) for v in e], float) for name, e in histograms.items()}
    for name, e in edges.items():
        if name not in names:
            raise ValueError(f"histograms must name observables, got {name!r}; there are {', '.join(names)}.")
        if e.ndim != 1 or len(e) < 2 or not np.all(np.diff(e) > 0):
            raise ValueError(f"histograms[{name!r}] must be increasing bin edges, got {e.tolist()}.")
    return edges


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
