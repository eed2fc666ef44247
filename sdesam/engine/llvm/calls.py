"""One call of the compiled runtime: a few units of replicates from their starts to rows of sums."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from torch import Tensor

from ..eager import UNIT
from ..start import Run
from ..streams import Streams, seed_hash
from .compilation import Fused
from .lanes import SLOT
from .native import compiled
from .printer import numbers_of
from .reductions import EXITS, row_length
from .runtime import DRIVE, runtime_module
from .sums import Bins
from .trial import aligned

__all__ = ["Rows", "drive", "interval_of", "run_units", "starts_of", "state_of"]

Rows = Callable[[int, int, Streams], Tensor]  # of ``Start``: the starts of so many replicates from the first on
_WINDOW_BYTES = 2**19  # values of a unit kept between two reductions: half of a core's second cache


@lru_cache(maxsize=1)
def drive() -> Callable[..., None]:
    """The runtime's ``drive``; calls through ctypes release the interpreter's lock."""
    code = compiled(("runtime",), lambda: (runtime_module(), 0))
    kinds = [ctypes.c_void_p if getattr(t, "is_pointer", False) else ctypes.c_int64 for t in DRIVE.values()]
    function = ctypes.CFUNCTYPE(None, *kinds)(code.address("drive"))
    function.code = code  # pyright: ignore[reportAttributeAccessIssue]  # keeps the machine code alive
    return function


def run_units(
    fused: Fused,
    common: np.ndarray | None,
    run: Run,
    node: tuple[int, int],
    stop: int,
    *,
    K: int,
    exits: bool = False,
    bins: Bins | None = None,
) -> np.ndarray:
    """Rows of sums (units, saved, row_length) of a node of units, or rows of exits."""
    (first, units), saved = node, run.saved
    state_bytes = numbers_of(fused.model) * UNIT * fused.dtype.itemsize
    if common is None:
        starts, generators = starts_of(fused, run.start.rows, first, units, run.seed)
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
        "run": fused.code.address("run"), "first": first * UNIT, "hashed": _signed(seed_hash(run.seed)), "units": units,
        "stop": stop, "saves": len(saved), "save_every": interval_of(saved), "substeps": fused.model.substeps,
        "window": window, "K": K, "state_bytes": state_bytes,
        "start_stride": 0 if common is not None else state_bytes, "given": int(common is None),
        "watch_exits": int(exits), "E": len(bins.edges),
    }  # fmt: skip
    addresses = {name: None if a is None else a.ctypes.data for name, a in memory.items()}
    drive()(*({**addresses, **numbers}[name] for name in DRIVE))
    return out


def interval_of(saved: np.ndarray) -> int:
    """Steps between two saved ones."""
    return int(saved[1] - saved[0]) if len(saved) > 1 else 0


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def state_of(fused: Fused, x0: Tensor) -> np.ndarray:
    """The kernel's state at starts (rows, d), as the code reads it."""
    return np.ascontiguousarray(fused.model.initial(x0).numpy(), fused.dtype)


def starts_of(fused: Fused, start: Rows, first: int, units: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States and generators of each unit, where replicates start at points of their own or draw them."""
    states, generators = [], []
    for unit in range(first, first + units):
        streams = Streams(seed=seed, first=unit * UNIT, count=UNIT)
        states.append(state_of(fused, start(unit * UNIT, UNIT, streams)))
        generators.append(streams.state())
    return np.stack(states), np.stack(generators)
