"""The fused engine on the CPU: compiled models, run over units by threads, their sums folded in one fixed order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..folds import Tree, nodes_of
from ..noise import Choice
from ..statistics import Moments
from .eager import UNIT, Start
from .lanes import SLOT
from .members import size_of
from .models import Model
from .native import Code, compiled
from .printer import module_of, numbers_of
from .programs import Program
from .reductions import EXITS, row_length
from .runtime import DRIVE, runtime_module
from .streams import Streams, seed_hash
from .sums import Bins, folded, moments_of
from .trace import NotTraceable
from .trial import Numbers, aligned, require_agreement, run_unit

__all__ = ["Fused", "UndefinedObservable", "fused_exits", "fused_moments", "fused_values"]

_WINDOW_BYTES = 2**19  # values of a unit kept between two reductions: half of a core's second cache
_NUMBERS = 2**23  # of a call's result: 64 MB
_WORK = 2**35  # operations of a call
_MOST_UNITS = 64  # units of one call: sums of that many are in memory at once
_PARALLEL = 4  # nodes in flight for each thread


@dataclass(frozen=True, eq=False)
class Fused:
    """A compiled model with its numbers.

    Attributes
    ----------
    model : the lists
    code : machine code of its ``run``
    dtype : float64 or float32
    numbers : what the code reads at run time
    """

    model: Model
    code: Code
    dtype: np.dtype
    numbers: Numbers

    @classmethod
    def of(cls, model: Model, dtype: torch.dtype) -> Fused:
        """Compile, or take from the caches, the code of a model; new code is tried first.

        Raises
        ------
        NotTraceable
            When an index of the noise may lie outside of a table: the code would read what is not its own.  When the
            code does not give what its list gives.
        """
        require_tables(model)
        kind = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        bits = 8 * kind.itemsize
        key = model.structure, bits
        numbers = _numbers(model, kind)

        def tried() -> Code:
            code = compiled(key, lambda: module_of(model, bits))
            require_agreement(model, code, numbers)
            return code

        return cls(model, _kept(key, tried), kind, numbers)


def _numbers(model: Model, kind: np.dtype) -> Numbers:
    programs = [*(m.step for m in model.members), model.observe]
    shares = np.array([m.share for m in model.members], np.int64)
    with np.errstate(over="ignore"):
        return Numbers(
            np.array([c for p in programs for c in _constants(p, kind)] or [0.0]).astype(kind),
            np.array([v for p in programs for t in p.tables for v in t] or [0.0]).astype(kind),
            np.ascontiguousarray(model.clock.numpy(), kind),
            shares,
            np.sqrt(shares).astype(kind),
        )


def require_tables(model: Model) -> None:
    """Raise ``NotTraceable`` where a table is shorter than the range of a noise's indices."""
    bounds = [f.N if isinstance(f, Choice) else 0 for f in model.noise for _ in range(size_of(f))]
    for member in model.members:
        inputs = [*(0 for _ in member.states), *(bounds[k] for k in member.noises)]
        for op, args in member.step.nodes:
            if op == "table":
                source, length = member.step.nodes[args[0]], len(member.step.tables[args[1]])
                if source[0] == "input" and inputs[source[1][0]] > length:
                    raise NotTraceable(f"one of {inputs[source[1][0]]} indices is taken of a table of {length} entries")


def _constants(program: Program, kind: np.dtype) -> list[float]:
    """The lifted constants, and then the reciprocals of those that divide."""
    pairs = [reciprocal(program.constants[k], kind) for k in program.divisors]
    return [*program.constants, *(part for pair in pairs for part in pair)]


def reciprocal(b: float, kind: np.dtype) -> tuple[float, float]:
    """1/b for the rounded b as high + low, two numbers of one sign.

    The quotient is then a high + a low with one rounding at the end: right but for one in about 2^50 of a.  Of one
    sign, so that an infinite a gives an infinity; for that high is below 1/b in size even where 1/b is exact.
    """
    exact = 1 / Fraction(float(kind.type(b)))
    high = kind.type(float(exact))
    if abs(Fraction(float(high))) >= abs(exact):
        high = np.nextafter(high, kind.type(0))
    return float(high), float(kind.type(float(exact - Fraction(float(high)))))


_MOST_KEPT = 256
_KEPT: dict[tuple, Code] = {}  # code of this process, the latest used last: a memo, it changes no result
_KEEPING = Lock()


def _kept(key: tuple, make: Callable[[], Code]) -> Code:
    with _KEEPING:
        code = _KEPT.pop(key, None)
    code = code or make()
    with _KEEPING:
        _KEPT[key] = code
        while len(_KEPT) > _MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
    return code


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
