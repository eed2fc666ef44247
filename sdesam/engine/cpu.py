"""The fused engine on the CPU: compiled models, run over units by threads, their sums folded in one fixed order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..folds import Tree, nodes_of
from ..statistics import Moments
from .compilation import Fused
from .eager import UNIT, Start
from .lanes import SLOT
from .native import compiled
from .printer import numbers_of
from .reductions import EXITS, row_length
from .runtime import DRIVE, runtime_module
from .streams import Streams, seed_hash
from .sums import Bins, folded, moments_of
from .trial import aligned, run_unit

__all__ = ["UndefinedObservable", "fused_exits", "fused_moments", "fused_values"]

_WINDOW_BYTES = 2**19  # values of a unit kept between two reductions: half of a core's second cache
_NUMBERS = 2**23  # of a call's result: 64 MB
_WORK = 2**35  # operations of a call
_MOST_UNITS = 64  # units of one call: sums of that many are in memory at once
_PARALLEL = 4  # nodes in flight for each thread


@lru_cache(maxsize=1)
def _drive() -> Callable[..., None]:
    """The runtime's ``drive``; calls through ctypes release the interpreter's lock."""
    code = compiled(("runtime",), lambda: (runtime_module(), 0))
    kinds = [ctypes.c_void_p if getattr(t, "is_pointer", False) else ctypes.c_int64 for t in DRIVE.values()]
    function = ctypes.CFUNCTYPE(None, *kinds)(code.address("drive"))
    function.code = code  # pyright: ignore[reportAttributeAccessIssue]  # keeps the machine code alive
    return function


def fused_moments(
    fused: Fused,
    x0: Tensor | None,
    start: Start,
    replicates: range,
    *,
    names: tuple[str, ...],
    saved: np.ndarray,
    dt: float,
    seed: int,
    edges: Mapping[str, np.ndarray] | None = None,
    threads: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Moments:
    """Moments of the observables at the saved steps, over replicates.

    Parameters
    ----------
    x0 : the common start (d,), or None where ``start`` gives each its own
    replicates : a range that starts at a whole unit
    edges : of the observables' histograms
    threads : torch's number of threads by default; results do not depend on it
    advance : told the number of replicates done

    Raises
    ------
    UndefinedObservable
        When an observable is NaN at a finite position.
    """
    _require_prepared(fused, saved)
    bins = Bins.of(names, edges or {})
    common = None if x0 is None else _state_of(fused, x0.expand(UNIT, -1).clone())

    def run(node: tuple[int, int]) -> tuple[int, int, Moments]:
        rows = _run_units(fused, common, start, node, replicates.stop, saved=saved, K=len(names), seed=seed, bins=bins)
        if rows[..., 1].any():
            unit, place = np.argwhere(rows[..., 1])[0]
            units = range(UNIT * (node[0] + int(unit)), replicates.stop)[:UNIT]
            raise UndefinedObservable(_undefined(fused, start, units, names, int(saved[place]), seed))
        sizes = np.clip(replicates.stop - UNIT * np.arange(node[0], sum(node)), 0, UNIT)
        return (*node, folded(moments_of(rows, sizes, names, np.tile(saved, len(rows)), dt, bins), len(saved)))

    tree: Tree[Moments] = Tree()
    for begin, count, sums in _in_order(
        run, replicates, len(saved) * row_length(len(names), len(bins.edges)), _work(fused, saved), threads
    ):
        tree.add(begin, count, sums)
        if advance is not None:
            advance(min(replicates.stop, (begin + count) * UNIT) - begin * UNIT)
    return replace(tree.total(), engine="fused")


def fused_exits(
    fused: Fused,
    x0: Tensor | None,
    start: Start,
    replicates: range,
    *,
    max_steps: int,
    seed: int,
    threads: int | None = None,
) -> np.ndarray:
    """Exits per step, (max_steps + 1, 2): how many left, and how many of them to a non-finite point.

    The only observable of the model is whether a point is inside.
    """
    common = None if x0 is None else _state_of(fused, x0.expand(UNIT, -1).clone())
    saved = np.arange(max_steps + 1)

    def run(node: tuple[int, int]) -> np.ndarray:
        rows = _run_units(fused, common, start, node, replicates.stop, saved=saved, K=1, seed=seed, exits=True)
        return rows[..., :2].sum(axis=0)

    total = np.zeros((max_steps + 1, 2))
    for counts in _in_order(run, replicates, len(saved) * EXITS, _work(fused, saved), threads):
        total += counts  # integers: exact in any order
    return total.astype(np.int64)


class UndefinedObservable(ValueError):
    """An observable was NaN at a finite position; the message names it, the step and the replicate."""


def _undefined(fused: Fused, start: Start, unit: range, names: Sequence[str], k: int, seed: int) -> str:
    """The first replicate of a unit whose position is finite at step k while a value is NaN, and which."""
    values = fused_values(fused, start, unit, saved=np.unique([0, k]), seed=seed)[-1]
    i, j = np.argwhere((np.isnan(values[1:]) & (values[0] > 0)).T)[0]
    return f"observable {names[j]!r} is NaN at a finite position at step {k} (replicate {unit[i]})"


def _require_prepared(fused: Fused, saved: np.ndarray) -> None:
    needed, clock = int(saved[-1]) * fused.model.substeps, fused.numbers.clock
    rows = len(clock)
    if clock.shape[1] and needed >= rows:
        raise ValueError(
            f"steps must be at most {(rows - 1) // fused.model.substeps}, for which the kernel is prepared."
        )


def _work(fused: Fused, saved: np.ndarray) -> int:
    """Operations of a unit."""
    return UNIT * max(1, int(saved[-1])) * fused.model.substeps * (fused.model.length + 50 * len(fused.model.noise))


def _in_order(
    run: Callable[[tuple[int, int]], Any], replicates: range, numbers: int, work: int, threads: int | None
) -> Iterator[Any]:
    """Results of ``run`` on nodes of units, in order, a few in flight, so that memory stays flat.

    A node is large enough to amortise a call, and small enough for memory (``numbers`` a unit), for an interrupt to be
    heard (``work`` a unit, about a second a call) and for every thread to have some.
    """
    threads = threads or torch.get_num_threads()
    _drive()  # compiled before the threads start
    first, stop = replicates.start // UNIT, -(-replicates.stop // UNIT)
    fair = (stop - first) // (2 * threads) if threads > 1 else _MOST_UNITS
    most = max(1, min(_MOST_UNITS, _NUMBERS // numbers, _WORK // work, fair))
    nodes = list(nodes_of(first, stop, most=1 << (most.bit_length() - 1)))
    if threads == 1 or len(nodes) == 1:
        yield from map(run, nodes)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = []
        for node in nodes:
            waiting.append(pool.submit(run, node))
            if len(waiting) >= _PARALLEL * threads:
                yield waiting.pop(0).result()
        for job in waiting:
            yield job.result()


# ----------------------------------------------------------------- one call
def _run_units(
    fused: Fused,
    common: np.ndarray | None,
    start: Start,
    node: tuple[int, int],
    stop: int,
    *,
    saved: np.ndarray,
    K: int,
    seed: int,
    exits: bool = False,
    bins: Bins | None = None,
) -> np.ndarray:
    """Rows of sums (units, saved, row_length) of a node of units, or rows of exits."""
    first, units = node
    state_bytes = numbers_of(fused.model) * UNIT * fused.dtype.itemsize
    if common is None:
        starts, generators = _starts(fused, start, first, units, seed)
    else:
        starts, generators = common, None
    window = int(max(1, min(len(saved) - 1, _WINDOW_BYTES // (8 * UNIT * (1 + K)))))
    bins = bins or Bins.of(("",) * K, {})
    out = np.zeros((units, len(saved), EXITS if exits else row_length(K, len(bins.edges))))
    memory = {
        **vars(fused.numbers), "start": starts, "rng_start": generators, "out": out,
        "edges": bins.edges, "bounds": bins.bounds,
        "state": aligned(state_bytes), "rng": aligned(16 * UNIT), "mask": aligned(8 * UNIT),
        "values": aligned(8 * UNIT * window * (1 + K)), "scratch": aligned(SLOT * fused.code.slots),
    }  # fmt: skip
    numbers = {
        "run": fused.code.address("run"), "first": first * UNIT, "hashed": _signed(seed_hash(seed)), "units": units,
        "stop": stop, "saves": len(saved), "save_every": _interval(saved), "substeps": fused.model.substeps,
        "window": window, "K": K, "state_bytes": state_bytes,
        "start_stride": 0 if common is not None else state_bytes, "given": int(common is None),
        "watch_exits": int(exits), "E": len(bins.edges),
    }  # fmt: skip
    addresses = {name: None if a is None else a.ctypes.data for name, a in memory.items()}
    _drive()(*({**addresses, **numbers}[name] for name in DRIVE))
    return out


def _interval(saved: np.ndarray) -> int:
    return int(saved[1] - saved[0]) if len(saved) > 1 else 0


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _state_of(fused: Fused, x0: Tensor) -> np.ndarray:
    return np.ascontiguousarray(fused.model.initial(x0).numpy(), fused.dtype)


def _starts(fused: Fused, start: Start, first: int, units: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States and generators of each unit, where replicates start at points of their own or draw them."""
    states, generators = [], []
    for unit in range(first, first + units):
        streams = Streams(seed=seed, first=unit * UNIT, count=UNIT)
        states.append(_state_of(fused, start(unit * UNIT, UNIT, streams)))
        generators.append(streams.state())
    return np.stack(states), np.stack(generators)


def fused_values(fused: Fused, start: Start, replicates: range, *, saved: np.ndarray, seed: int) -> np.ndarray:
    """Values (saved, 1 + K, replicates) in float64 at the saved steps; the first row is 1 where the position is finite.

    For paths and for tests: memory grows with replicates and steps.
    """
    rows, substeps, every = len(fused.model.observe.outputs), fused.model.substeps, _interval(saved)
    found = []
    for first in range(replicates.start, replicates.stop, UNIT):
        states, generators = _starts(fused, start, first // UNIT, 1, seed)
        run = partial(run_unit, fused.code, fused.numbers, states, generators, rows=rows, substeps=substeps)
        values = np.concatenate([run(saves=1, every=0), run(saves=len(saved) - 1, every=every)])
        found.append(values[:, :, : replicates.stop - first])
    return np.concatenate(found, axis=2)
