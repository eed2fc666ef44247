"""A trace sees one run of a function; here its list is compared with the function at other points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .reference import evaluate
from .scalars import Program
from .trace import NotTraceable

__all__ = ["PRECISIONS", "compare_with", "points_around"]

PRECISIONS = {torch.float64: 1e-9, torch.float32: 1e-3}  # how far apart a list and the function may be
_POINTS = 4  # at which they are compared; a trace is made at another


def points_around(x0: Tensor) -> Tensor:
    """A few different points near a start (d,): the first to trace at, the others to compare at."""
    shift = np.random.default_rng(0).standard_normal((1 + _POINTS, len(x0))) * 0.3
    return x0 + torch.from_numpy(shift).to(x0)


def compare_with(program: Program, inputs: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
    """What a trace cannot see (x.tolist(), a tensor built from numbers) shows as another value.

    Raises
    ------
    NotTraceable
        With the two values.
    """
    found = evaluate(program, [column for t in inputs for column in _columns(t)])
    wanted = [column for t in expected for column in _columns(t)]
    for a, b in zip(found, wanted, strict=True):
        a, b = a.double(), b.double()
        tolerance = PRECISIONS[expected[-1].dtype if expected[-1].dtype in PRECISIONS else torch.float64]
        bad = ~((a - b).abs() <= tolerance * (1 + b.abs())) & ~((a == b) | (a.isnan() & b.isnan()))
        if bool(bad.any()):
            i = int(bad.nonzero()[0])
            raise NotTraceable(
                f"the trace of {what} gives {float(a[i]):.6g} where the eager one gives {float(b[i]):.6g}: a number "
                "was probably taken out of a tensor (x.tolist(), torch.tensor([x[0], 1.0])), or replicates are mixed"
            )


def _columns(t: Tensor) -> Tensor:
    return t.reshape(_POINTS, t.numel() // _POINTS).T
