"""A group of lanes whose numbers lie in a flat buffer that stays in the cache, 512 bytes a slot."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from llvmlite import ir

from .vectors import BYTE, INT64, Builder, Vector, choose, loop, splat

__all__ = ["FAST", "SLOT", "Group"]

SLOT = 512  # bytes: 64 float64 or 128 float32 lanes
_VECTOR = 64  # bytes of the vectors written; narrower machines split them
FAST = ("reassoc",)  # sums may be reordered, by the same rule for every processor; products are fused by hand


class Group:
    """Writes code for a group of lanes: loads and stores of slots at the current place of the inner loop."""

    def __init__(self, builder: Builder, bits: int, pointers: dict[str, ir.Argument]) -> None:
        self.builder, self.bits, self.pointers = builder, bits, pointers
        self.float = ir.DoubleType() if bits == 64 else ir.FloatType()
        self.width = self._one = 8 * _VECTOR // bits
        self.lanes = 8 * SLOT // bits
        self.place: Any = INT64(0)
        self.now: Any = None  # the clock's row of the current draw
        self.most = 0

    def each(self, name: str) -> AbstractContextManager[Any]:
        """The loop over the group's lanes, a vector at a time."""
        return loop(self.builder, INT64(self.lanes // self.width), name)

    def together(self, vectors: int) -> None:
        """Take this many vectors at a time in the loops to come."""
        self.width = vectors * self._one

    def address(self, base: Any, offset: Any) -> Any:
        """A pointer ``offset`` bytes further."""
        offset = INT64(offset) if isinstance(offset, int) else offset
        return self.builder.gep(base, [offset], source_etype=BYTE)

    def _slot(self, slot: int, element: ir.Type, further: Any) -> Any:
        self.most = max(self.most, slot)
        size = 4 if isinstance(element, ir.IntType) else self.bits // 8
        start = self.address(self.pointers["scratch"], SLOT * slot)
        start = start if further is None else self.address(start, self.builder.mul(further, INT64(SLOT)))
        return self.address(start, self.builder.mul(self.place, INT64(self.width * size)))

    def load(self, slot: int, element: ir.Type | None = None, further: Any = None) -> Vector:
        """A vector of the slot, or of the one that lies ``further`` (a number of the code) slots on."""
        element = element or self.float
        kind = ir.VectorType(element, self.width)
        value = self.builder.load(self._slot(slot, element, further), typ=kind, align=32)
        return Vector(self.builder, value, FAST)

    def store(self, slot: int, value: Vector, further: Any = None) -> None:
        """Truth values are stored as integers."""
        value = value.masked() if value.bits == 1 else value
        self.builder.store(value.value, self._slot(slot, value.type.element, further), align=32)

    def splat(self, base: Any, index: int) -> Vector:
        """One number of an array in every lane."""
        scalar = self.builder.load(self.address(base, index * self.bits // 8), typ=self.float)
        return self.spread(scalar)

    def spread(self, scalar: Any) -> Vector:
        """A scalar in every lane."""
        kind = ir.VectorType(scalar.type, self.width)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return Vector(self.builder, self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros), FAST)

    def number(self, value: Vector) -> Vector:
        """Truth values as 0 and 1, numbers as they are."""
        return choose(value, self.literal(1.0), self.literal(0.0)) if value.bits == 1 else value

    def literal(self, value: float | bool) -> Vector:
        """A number of the list's structure."""
        element = ir.IntType(1) if isinstance(value, bool) else self.float
        kind = ir.VectorType(element, self.width)
        return Vector(self.builder, splat(kind, value), FAST)
