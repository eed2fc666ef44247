"""A trace sees one run of a function; here its list is compared with the function at other points.

How far apart they may be follows from rounding.  The list is evaluated in float64, so what differs is what the function
itself rounds: its result, to ``_ROUNDINGS`` units of the numbers it adds, and the intermediate values of its change,
whose error is relative to how much the change varies from point to point.  A number that stays where it was when the
trace was made is wrong by a good part of that variation, however small the learning rate.

Far points show what is flat near the start: a clip at 1 is a constant around 3.  They are compared to a part of their
own size only, and where the function is finite.

A function may lose more digits than that: 1 − tanh² has none left where tanh is 1.  Where the two differ by more, the
list's running error bound in the precision of the run is added, and a far point without a bound decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .programs import COMPARISONS, Program
from .rounding import Rounded, evaluate_rounded
from .trace import NotTraceable

__all__ = ["PRECISIONS", "compare_with", "evaluate", "far_draws", "points_around", "require_alike", "with_far"]

PRECISIONS = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the variation: rounding inside, with room for cancellation
_ROUNDINGS = 32  # units in the last place of a result
_FAR = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest number at a far point
_SPREAD = 128  # points at which two lists are compared
_NEAR = 4  # at which they are compared; a trace is made at another
_FACTORS = (-1.0, 0.0, 10.0, 100.0)  # of a start, for the far points
_DRAWS = (1.0, 10.0, -10.0, -1.0)  # of a Gaussian draw there
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "sqrt": np.sqrt, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "and": np.logical_and,
    "or": np.logical_or, "not": np.logical_not, "where": np.where, **COMPARISONS,
}  # fmt: skip


def points_around(x0: Tensor) -> Tensor:
    """A few different points near a start (d,): the first to trace at, the others to compare at."""
    return x0 + _shifts(len(x0)).to(x0)


@lru_cache(maxsize=64)
def _shifts(d: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((1 + _NEAR, d)) * 0.3)


def with_far(near: Tensor) -> Tensor:
    """``points_around`` and as many far ones to compare at."""
    return torch.cat((near, near[1:] * torch.tensor(_FACTORS).to(near)[:, None]))


def far_draws(z: Tensor) -> Tensor:
    """Gaussian draws for ``with_far``, made larger at the far points."""
    factors = torch.tensor([1.0] * (1 + _NEAR) + list(_DRAWS)).to(z)
    return z * factors.reshape(-1, *[1] * (z.ndim - 1))


def compare_with(
    program: Program, inputs: Sequence[Tensor], expected: Sequence[Tensor], what: str, before: Sequence[Tensor] = ()
) -> None:
    """What a trace cannot see shows as another value.

    Parameters
    ----------
    inputs, expected : at ``points_around`` but the first, or ``with_far``
    before : the state that a step changes into what is expected: the change is compared

    Raises
    ------
    NotTraceable
        With the two values.
    """
    dtype = next((t.dtype for t in inputs if t.is_floating_point()), torch.float64)
    points = len(expected[0])
    given, wanted, old = (
        [_wide(c) for t in tensors for c in _columns(t, points)] for tensors in (inputs, expected, before)
    )
    rows = np.array([*given, *wanted], float)
    with np.errstate(all="ignore"):
        found = np.array([np.broadcast_to(a, points) for a in _values(program, given)], float)
        right, old = np.array(wanted, float), np.array(old or np.zeros((len(wanted), points)), float)
        bad = _apart(found, right, old, np.abs(rows), dtype)
        if bad.any():
            bad &= _beyond_rounding(program, given, np.abs(found - right), dtype)
    for a, b, apart in zip(found, right, bad, strict=True):
        if apart.any():
            i = int(np.flatnonzero(apart)[0])
            raise NotTraceable(
                f"the trace of {what} gives {float(a[i]):.9g} where the eager one gives {float(b[i]):.9g}: a number "
                "was probably taken out of a tensor (x.tolist(), torch.tensor([x[0], 1.0])), computed with fewer "
                "digits than the start has, or replicates are mixed"
            )


def require_alike(one: Program, other: Program, what: str) -> None:
    """Two lists of one function, at points of all sizes: raise ``NotTraceable`` where they differ beyond rounding."""
    rng, count = np.random.default_rng(0), _SPREAD
    least = min((len(t) for t in (*one.tables, *other.tables)), default=1)
    sizes = {"f": lambda: rng.choice((-1.0, 1.0), count) * 10 ** rng.uniform(-8, 8, count),
             "b": lambda: rng.random(count) < 0.5, "i": lambda: rng.integers(0, least, count)}  # fmt: skip
    given = [sizes[kind]() for kind in one.inputs]
    with np.errstate(all="ignore"):
        found, again = (np.array([np.broadcast_to(a, count) for a in _values(p, given)], float) for p in (one, other))
        near = np.abs(found - again) <= PRECISIONS[torch.float64] * np.maximum(np.abs(found), np.abs(again))
        bad = ~(near | (found == again) | (np.isnan(found) & np.isnan(again)))
    if bad.any():
        bad &= _beyond_rounding(one, given, np.abs(found - again), torch.float64, near=0)
    if bad.any():
        i, k = (int(v[0]) for v in np.nonzero(bad))
        raise NotTraceable(
            f"the list of {what} with open parameters gives {found[i, k]:.9g} where the one with their numbers gives "
            f"{again[i, k]:.9g}"
        )


def _beyond_rounding(
    program: Program, given: Sequence[np.ndarray], apart: np.ndarray, dtype: torch.dtype, near: int = _NEAR
) -> np.ndarray:
    """Where values differ by more than twice the list's rounding bound; at far points without a bound they do not.

    The first ``near`` points are near the start.
    """
    kind = np.dtype(str(dtype).removeprefix("torch."))
    bounds = evaluate_rounded(program, [Rounded.of(c) for c in given], kind)
    e = np.array([np.broadcast_to(r.e, apart.shape[1]) for r in bounds])
    far = np.arange(apart.shape[1]) >= near
    return ~(apart <= 2 * e) & ~(far & np.isinf(e)) | (~far & np.isinf(e))


def _apart(a: np.ndarray, b: np.ndarray, x: np.ndarray, sizes: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """At which points (outputs, points) a is not b; x is what b was before, sizes those of all numbers there."""
    change = (b - x)[:, :_NEAR]
    known = np.isfinite(change)
    high, low = np.where(known, change, -np.inf).max(1), np.where(known, change, np.inf).min(1)
    spread = np.where(known.any(1), high - low, 0.0)[:, None]
    allowed = PRECISIONS[dtype] * spread + _ROUNDINGS * torch.finfo(dtype).eps * (np.abs(b) + np.abs(x))
    far = np.arange(b.shape[1]) >= _NEAR
    largest = sizes.max(0)
    allowed = np.where(far, _FAR[dtype] * (largest + spread), allowed)
    same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= allowed)
    return ~same & ~(far & ~np.isfinite(largest))


def _wide(t: Tensor) -> np.ndarray:
    return (t.double() if t.is_floating_point() else t).numpy()


def _columns(t: Tensor, points: int) -> Tensor:
    return t.detach().reshape(points, t.numel() // points).T


def evaluate(program: Program, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, each (n,), of a list on inputs, each (n,), by numpy: what the printers are tested against.

    Float inputs are of one dtype.
    """
    n = max((len(i) for i in inputs), default=1)
    with np.errstate(all="ignore"):
        found = _values(program, [i.detach().numpy() for i in inputs])
    return [torch.from_numpy(np.broadcast_to(a, n).copy()) for a in found]


def _values(program: Program, inputs: Sequence[np.ndarray]) -> list[Any]:
    kind = next((i.dtype for i in inputs if i.dtype.kind == "f"), np.dtype(float))
    constants, tables = np.array(program.constants, kind), [np.array(t, kind) for t in program.tables]
    values: list[Any] = []
    for op, args in program.nodes:
        if op == "input":
            values.append(inputs[args[0]])
        elif op == "literal":
            values.append(np.bool_(args[0]) if isinstance(args[0], bool) else kind.type(args[0]))
        elif op == "constant":
            values.append(constants[args[0]])
        elif op == "table":
            values.append(tables[args[1]][values[args[0]]])
        else:
            values.append(_OPERATIONS[op](*(values[a] for a in args)))
    return [values[o] for o in program.outputs]
