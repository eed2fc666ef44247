"""A function of named numbers and of a short vector as a list, compared with torch at several points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..engine.tracing.checks import compare_with
from ..engine.tracing.programs import Program
from ..engine.tracing.trace import trace

__all__ = ["named_function"]

_SCALES = (1.0, 0.7, 1.2)
Function = Callable[[Mapping[str, Tensor], Tensor], Sequence[Tensor]]


def named_function(function: Function, scalars: Mapping[str, float], rows: Tensor, what: str) -> Program:
    """The list of ``function(values, x)``, inputs the scalars and then x.

    Parameters
    ----------
    function : maps 0-dim tensors by name and x ``(..., k)`` to tensors of x's leading shape
    scalars : names and typical values
    rows : five points (5, k): the list is made at the first and compared at the others, with the scalars and with 0.7
        and 1.2 times them

    Raises
    ------
    NotTraceable
        As ``trace``, or where the list does not give what torch gives.
    """
    names = list(scalars)

    def call(*numbers: Tensor) -> list[Tensor]:
        values = dict(zip(names, numbers[:-1], strict=True))
        return [torch.as_tensor(v, dtype=rows.dtype) for v in function(values, numbers[-1])]

    typical = [torch.tensor(float(v), dtype=rows.dtype) for v in scalars.values()]
    program = trace(call, [*typical, rows[0].clone()], what)
    for scale in _SCALES:
        values = [scale * t for t in typical]
        expected = [e.expand(len(rows) - 1) for e in call(*values, rows[1:].clone())]
        compare_with(program, [*(v.expand(len(rows) - 1) for v in values), rows[1:]], expected, what)
    return program
