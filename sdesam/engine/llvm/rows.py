"""Rows of 1,024 float64 values, one a replicate of a unit: loads, and reductions in one fixed order."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..eager import UNIT
from .vectors import BYTE, INT64, Builder, Vector, choose, splat

__all__ = [
    "DOUBLE", "LANES", "ROW", "WIDE", "Row", "added", "at", "function", "larger", "load", "smaller", "spread",
]  # fmt: skip

LANES = 32  # of float64: enough independent sums to hide the latency of an addition
WIDE = ir.VectorType(ir.DoubleType(), LANES)
DOUBLE = ir.DoubleType()
ROW = 8 * UNIT  # bytes of a row of values


def function(module: ir.Module, name: str, arguments: dict[str, ir.Type]) -> tuple[Builder, dict[str, Any]]:
    """A new function of no value: where its code is written, and its arguments by name."""
    new = ir.Function(module, ir.FunctionType(ir.VoidType(), list(arguments.values())), name)
    return ir.IRBuilder(new.append_basic_block("entry")), dict(zip(arguments, new.args, strict=True))


def at(builder: Builder, base: Any, *terms: tuple[Any, int]) -> Any:
    """A pointer Σ index · size bytes further."""
    for index, size in terms:
        base = builder.gep(base, [builder.mul(index, INT64(size))], source_etype=BYTE)
    return base


def spread(builder: Builder, scalar: Any, kind: ir.VectorType) -> Any:
    """A scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    )


class Row:
    """A running reduction over a unit: vectors in memory of the stack, joined at the end in one fixed order."""

    def __init__(self, builder: Builder, start: float) -> None:
        self.builder, self.start = builder, start
        with builder.goto_entry_block():
            self.place = builder.alloca(WIDE)

    def clear(self) -> None:
        self.builder.store(splat(WIDE, self.start), self.place)

    def get(self) -> Vector:
        return Vector(self.builder, self.builder.load(self.place, typ=WIDE))

    def put(self, value: Vector) -> None:
        self.builder.store(value.value, self.place)

    def joined(self, combine: Any) -> Any:
        """Halves onto halves."""
        value = self.get()
        width = LANES
        while width > 1:
            width //= 2
            halves = [_half(self.builder, value.value, width, h) for h in (0, 1)]
            value = combine(*(value.new(h) for h in halves))
        return self.builder.extract_element(value.value, ir.IntType(32)(0))


def _half(builder: Builder, value: Any, width: int, which: int) -> Any:
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(which * width, (which + 1) * width)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


def added(a: Vector, b: Vector) -> Vector:
    """A + b."""
    return a + b


def smaller(a: Vector, b: Vector) -> Vector:
    """The smaller one."""
    return choose(b.compare("lt", a), b, a)


def larger(a: Vector, b: Vector) -> Vector:
    """The larger one."""
    return choose(b.compare("gt", a), b, a)


def load(builder: Builder, base: Any, *terms: tuple[Any, int]) -> Vector:
    """The lanes at the address that ``at`` finds."""
    return Vector(builder, builder.load(at(builder, base, *terms), typ=WIDE, align=64))
