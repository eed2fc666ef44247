"""Compiled code is tried before it is used: one step of a unit, beside the list that it was made of.

The list was compared with the user's function when it was traced; here the code is compared with the list, within the
bound of ``rounding``.  A compiler that went wrong is so found on the first use, and the eager engine runs instead.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils import _pytree as pytree

from ..eager import UNIT
from ..streams import Streams
from ..tracing.listings import Listing
from ..tracing.rounding import Rounded, evaluate_rounded
from ..tracing.trace import NotTraceable
from .lanes import SLOT
from .native import Code
from .printer import ARRAYS

__all__ = ["Numbers", "aligned", "require_agreement", "run_unit"]

_NORMALS = 128  # roundings of a normal: 8.6 (the largest) times 2π of its angle's, and its radius's
_SPREAD = 0.3  # of the points around the start
_EVERY = slice(None, None, 5)  # of the replicates are compared: 5 divides no number of lanes, so every lane is
_SLACK = 2.0  # the list's own float64 evaluation rounds too


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a model's code reads at run time, rounded to its precision."""

    constants: np.ndarray
    tables: np.ndarray
    clock: np.ndarray
    shares: np.ndarray
    scales: np.ndarray


def aligned(size: int) -> np.ndarray:
    """Bytes that start at a multiple of 4,096."""
    raw = np.empty(size + 4096, np.uint8)
    skip = -raw.ctypes.data % 4096
    return raw[skip : skip + size]


def run_unit(
    code: Code,
    numbers: Numbers,
    state: np.ndarray,
    rng: np.ndarray,
    *,
    rows: int,
    saves: int,
    every: int,
    substeps: int,
) -> np.ndarray:
    """Step a unit's state and generators in place; values (saves, rows, UNIT) at the saved steps."""
    kinds = [ctypes.c_void_p] * len(ARRAYS) + [ctypes.c_int64] * 4
    run = ctypes.CFUNCTYPE(None, *kinds)(code.address("run"))
    values = aligned(8 * UNIT * rows * max(1, saves))
    arrays = {**vars(numbers), "state": state, "rng": rng, "values": values, "scratch": aligned(SLOT * code.slots)}
    run(*(arrays[name].ctypes.data for name in ARRAYS), saves, every, substeps, 0)
    return values.view(np.float64).reshape(-1, rows, UNIT)[:saves]


def require_agreement(model: Listing, code: Code, numbers: Numbers) -> None:
    """Compare one step of every member and the observables after it, at random points around the model's start.

    Raises
    ------
    NotTraceable
        With the two values, where they differ by more than rounding explains.
    """
    kind = numbers.constants.dtype
    state, streams = _points(model, kind), Streams(seed=0, first=0, count=UNIT)
    ones = np.ones_like(numbers.shares)  # every member steps at the first draw, on the draw itself
    alone = Numbers(numbers.constants, numbers.tables, numbers.clock, ones, ones.astype(kind))
    found, outputs = state.copy(), len(model.observe.outputs)
    values = run_unit(code, alone, found, streams.state(), rows=outputs, saves=1, every=1, substeps=1)[0]
    stepped = _stepped(model, [Rounded.of(row[_EVERY].astype(float)) for row in state], streams, numbers.clock, kind)
    watched = evaluate_rounded(model.observe, [*stepped, *_row(numbers.clock, 1)], kind)
    for i, (row, expected) in enumerate(zip((*found, *values), (*stepped, *watched), strict=True)):
        what = f"number {i} of the state" if i < len(found) else f"observable {i - len(found)}"
        _require_close(row[_EVERY].astype(float), expected, what, kind)


def _points(model: Listing, kind: np.dtype) -> np.ndarray:
    shift = np.random.default_rng(0).standard_normal((UNIT, len(model.near))) * _SPREAD
    return np.ascontiguousarray(model.initial(model.near + torch.from_numpy(shift).to(model.near)).numpy(), kind)


def _stepped(
    model: Listing, state: list[Rounded], streams: Streams, clock: np.ndarray, kind: np.dtype
) -> list[Rounded]:
    """All members' states after one draw."""
    z = _draws(model, streams, kind)
    found = []
    for member in model.members:
        eaten = [_signed(z[k], member.sign) if model.coupled else z[k] for k in member.noises]
        own = [state[k] for k in member.states]
        found += evaluate_rounded(member.step, [*own, *eaten, *_row(clock, 0)], kind)
    return [Rounded(np.asarray(r.v, float), r.e, r.m) for r in found]  # truth values are numbers in a state


def _draws(model: Listing, streams: Streams, kind: np.dtype) -> list[Rounded]:
    dtype = torch.float64 if kind == np.float64 else torch.float32
    drawn, _ = pytree.tree_flatten([noise.draw(streams.bits, dtype) for noise in model.noise])
    bound = _NORMALS * float(np.finfo(kind).eps) / 2
    return [
        Rounded.of(column.double().numpy(), bound) if t.is_floating_point() else Rounded.of(column.numpy())
        for t in drawn
        for column in t.reshape(UNIT, -1)[_EVERY].T
    ]


def _signed(z: Rounded, sign: int) -> Rounded:
    return Rounded(z.v * sign, z.e, z.m)


def _row(clock: np.ndarray, k: int) -> list[Rounded]:
    return [Rounded.of(np.array([v], float)) for v in (clock[k] if clock.shape[1] else ())]


def _require_close(found: np.ndarray, expected: Rounded, what: str, kind: np.dtype) -> None:
    """Where the bound is finite and nothing leaves the precision's range."""
    v, e = np.broadcast_to(expected.v, found.shape).astype(float), np.broadcast_to(expected.e, found.shape)
    largest = float(np.finfo(kind).max) / 2
    with np.errstate(invalid="ignore"):
        known = np.isfinite(v) & np.isfinite(e) & (np.broadcast_to(expected.m, found.shape) < largest)
        bad = np.flatnonzero(known & ~(np.abs(found - v) <= _SLACK * e))
    if len(bad):
        i = bad[0]
        raise NotTraceable(
            f"the compiled code gives {found[i]:.17g} for {what} where its list gives {v[i]:.17g}, with a rounding "
            f"error of at most {_SLACK * e[i]:.2g}: it was miscompiled"
        )
