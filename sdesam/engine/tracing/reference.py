"""The list evaluated by torch, one 1-D tensor a node: the reference that the other printers are tested against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .programs import COMPARISONS, Program

__all__ = ["evaluate"]

_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg, "abs": torch.abs,
    "sqrt": torch.sqrt, "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p,
    "tanh": torch.tanh, "sin": torch.sin, "cos": torch.cos, "and": torch.logical_and,
    "or": torch.logical_or, "not": torch.logical_not, "where": torch.where, **COMPARISONS,
}  # fmt: skip


def evaluate(program: Program, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, each (n,), of a list on inputs, each (n,); float inputs of one dtype."""
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
