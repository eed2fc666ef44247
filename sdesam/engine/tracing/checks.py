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

import numpy as np
import torch
from torch import Tensor

from .programs import COMPARISONS, Program
from .rounding import Rounded, evaluate_rounded
from .trace import NotTraceable

__all__ = ["PRECISIONS", "compare_with", "evaluate", "far_draws", "points_around", "with_far"]

PRECISIONS = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the variation: rounding inside, with room for cancellation
_ROUNDINGS = 32  # units in the last place of a result
_FAR = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest number at a far point
_NEAR = 4  # at which they are compared; a trace is made at another
_FACTORS = (-1.0, 0.0, 10.0, 100.0)  # of a start, for the far points
_DRAWS = (1.0, 10.0, -10.0, -1.0)  # of a Gaussian draw there
_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg, "abs": torch.abs,
    "sqrt": torch.sqrt, "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p,
    "tanh": torch.tanh, "sin": torch.sin, "cos": torch.cos, "and": torch.logical_and,
    "or": torch.logical_or, "not": torch.logical_not, "where": torch.where, **COMPARISONS,
}  # fmt: skip


def points_around(x0: Tensor) -> Tensor:
    """A few different points near a start (d,): the first to trace at, the others to compare at."""
    shift = np.random.default_rng(0).standard_normal((1 + _NEAR, len(x0))) * 0.3
    return x0 + torch.from_numpy(shift).to(x0)


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
    found = [_wide(a).double() for a in evaluate(program, given)]
    rows = torch.stack([c.double() for c in (*given, *wanted)])
    pairs = list(zip(found, wanted, old or [torch.zeros(points)] * len(wanted), strict=True))
    bad = torch.stack([_apart(a, b.double(), x.double(), rows, dtype) for a, b, x in pairs])
    if bad.any():
        bad &= _beyond_rounding(program, given, pairs, dtype)
    for (a, b, _), apart in zip(pairs, bad, strict=True):
        if bool(apart.any()):
            i = int(apart.nonzero()[0])
            raise NotTraceable(
                f"the trace of {what} gives {float(a[i]):.9g} where the eager one gives {float(b[i]):.9g}: a number "
                "was probably taken out of a tensor (x.tolist(), torch.tensor([x[0], 1.0])), computed with fewer "
                "digits than the start has, or replicates are mixed"
            )


def _beyond_rounding(program: Program, given: Sequence[Tensor], pairs: Sequence, dtype: torch.dtype) -> Tensor:
    """Where values differ by more than twice the list's rounding bound; at far points without a bound they do not."""
    kind = np.dtype(str(dtype).removeprefix("torch."))
    bounds = evaluate_rounded(program, [Rounded.of(c.numpy()) for c in given], kind)
    points = len(pairs[0][0])
    e = torch.stack([torch.from_numpy(np.broadcast_to(r.e, points).copy()) for r in bounds])
    far = torch.arange(points) >= _NEAR
    apart = torch.stack([(a - b.double()).abs() for a, b, _ in pairs])
    return ~(apart <= 2 * e) & ~(far & e.isinf()) | (~far & e.isinf())


def _apart(a: Tensor, b: Tensor, x: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """At which points a is not b; x is what b was before."""
    change = (b - x)[:_NEAR]
    change = change[change.isfinite()]
    spread = float(change.max() - change.min()) if len(change) else 0.0
    allowed = PRECISIONS[dtype] * spread + _ROUNDINGS * torch.finfo(dtype).eps * (b.abs() + x.abs())
    far = torch.arange(len(b)) >= _NEAR
    allowed = torch.where(far, _FAR[dtype] * (rows.abs().amax(0) + spread), allowed)
    same = (a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() <= allowed)
    return ~same & ~(far & ~rows.isfinite().all(0))


def _wide(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def _columns(t: Tensor, points: int) -> Tensor:
    return t.reshape(points, t.numel() // points).T


def evaluate(program: Program, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, each (n,), of a list on inputs, each (n,), by torch: what the other printers are tested against.

    Float inputs are of one dtype.
    """
    like = next((i for i in inputs if i.is_floating_point()), torch.empty(1, dtype=torch.float64))
    constants = torch.tensor(program.constants, dtype=like.dtype, device=like.device)
    tables = [torch.tensor(t, dtype=like.dtype, device=like.device) for t in program.tables]
    values: list[Tensor] = []
    for (op, args), kind in zip(program.nodes, program.kinds, strict=True):
        if op == "input":
            values.append(inputs[args[0]])
        elif op == "literal":
            dtype = torch.bool if kind == "b" else like.dtype
            values.append(torch.tensor(args[0], dtype=dtype, device=like.device))
        elif op == "constant":
            values.append(constants[args[0]])
        elif op == "table":
            values.append(tables[args[1]][values[args[0]]])
        else:
            values.append(_OPERATIONS[op](*(values[a] for a in args)))
    n = max((len(i) for i in inputs), default=1)
    return [values[o].expand(n) for o in program.outputs]
