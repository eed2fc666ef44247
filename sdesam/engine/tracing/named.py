"""A step, or a function, of named scalars: what sliders move without tracing again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...dynamics.kernels import Kernel
from ..streams import Streams
from .checks import compare_with, points_around
from .members import Form
from .programs import Program
from .trace import trace

__all__ = ["NamedFunction", "named_function", "named_step"]

_SCALES = (1.0, 0.7, 1.2)  # at which the list is compared with torch at those numbers
NamedFunction = Callable[[Mapping[str, Tensor], Tensor], Sequence[Tensor]]


def named_step(factory: Callable[..., Kernel], scalars: Mapping[str, float], x0: Tensor) -> Program:
    """The list of ``factory(**scalars).step`` whose first inputs are the scalars, in order; then state and noise.

    Parameters
    ----------
    factory : ``(eta, rho, ..) -> Kernel``; it is called with 0-dim tensors, and with floats to check the list
    scalars : names and typical values; the list is compared with the kernel there and at 0.7 and 1.2 times them

    Raises
    ------
    NotTraceable
        As ``listing_of``, and where a scalar's number was taken out of its tensor.
    """
    kernel, rows = factory(**scalars), points_around(x0)
    form, z = Form.of(kernel, rows), kernel.noise.draw(Streams(seed=0, first=0, count=len(rows)).bits, x0.dtype)
    parts = z if isinstance(z, tuple) else (z,)
    count = len(scalars)

    def step(*numbers: Tensor) -> list[Tensor]:
        chosen = factory(**dict(zip(scalars, numbers[:count], strict=True)))
        return form.step(chosen.step, numbers[count:], isinstance(z, tuple))

    what = f"step of {kernel.name} with {', '.join(scalars)}"
    typical = [torch.tensor(float(v), dtype=x0.dtype) for v in scalars.values()]
    leaves = form.take(kernel.init(rows))
    program = trace(step, [*typical, *(t[0].clone() for t in (*leaves, *parts))], what)
    for scale in _SCALES:
        values: dict[str, Any] = {name: scale * float(v) for name, v in scalars.items()}
        columns = [torch.full((len(rows) - 1,), v, dtype=x0.dtype) for v in values.values()]
        rest = [t[1:] for t in (*leaves, *parts)]
        expected = form.step(factory(**values).step, [t.clone() for t in rest], isinstance(z, tuple))
        compare_with(program, (*columns, *rest), expected, what)
    return program


def named_function(function: NamedFunction, scalars: Mapping[str, float], rows: Tensor, what: str) -> Program:
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
