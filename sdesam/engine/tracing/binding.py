"""A list with open parameters, its last inputs, and numbers for them: the list that these numbers alone would give."""

from __future__ import annotations

from collections.abc import Sequence

from .programs import Program
from .scalars import Scalars

__all__ = ["bound"]


def bound(program: Program, numbers: Sequence[float]) -> Program:
    """The list with numbers in the place of its last inputs, simplified and folded as one that is traced with them.

    Written again, operation by operation: a learning rate of 1 multiplies nothing, and products of parameters are
    constants.
    """
    kept = len(program.inputs) - len(numbers)
    new = Scalars(program.inputs[:kept])
    place: list[int] = []
    for op, args in program.nodes:
        if op == "input":
            node = args[0] if args[0] < kept else new.constant(numbers[args[0] - kept])
        elif op == "literal":
            node = new.constant(args[0])
        elif op == "constant":
            node = new.constant(program.constants[args[0]])
        elif op == "table":
            node = new.table(place[args[0]], program.tables[args[1]])
        else:
            node = new.apply(op, *(place[a] for a in args))
        place.append(node)
    return new.program([place[o] for o in program.outputs])
