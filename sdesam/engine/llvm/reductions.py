"""Rows of values reduced to numbers: powers and counts of a saved step, or first exits.

Sums are taken over a whole unit of 1,024 in float64, twice: the mean first, then powers of the centred values.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llvmlite import ir

from ..eager import UNIT
from .rows import DOUBLE, LANES, ROW, WIDE, Row, added, at, function, larger, load, smaller, spread
from .vectors import INT64, POINTER, Builder, Vector, call, choose, loop, splat

__all__ = ["EXITS", "everyone", "exits_function", "length_of", "reduce_function", "row_length"]

EXITS = 3  # numbers of a row of exits: how many left, how many of them to a non-finite point, how many remain


def row_length(K: int, E: int = 0) -> int:
    """Numbers of a row of sums: count, undefined, K each of mean, m3, m4, low, high, K² co-moments, and E counts.

    The last are of the values at or above each edge of the histograms.
    """
    return 2 + 5 * K + K * K + E


def reduce_function(module: ir.Module) -> Any:
    """``saves`` times 1 + K rows of values to rows of sums; the first row says where the position is finite.

    A replicate counts where its position and all its values are finite; one whose position is finite while a value
    is NaN is an undefined observable.
    """
    arrays = dict.fromkeys(("values", "mask", "out", "edges", "bounds"), POINTER)
    builder, a = function(module, "reduce", {**arrays, **dict.fromkeys(("K", "saves", "size", "E"), INT64)})
    K, rows = a["K"], builder.add(a["K"], INT64(1))
    length = length_of(builder, a)
    total, other, cubes, fourths = (Row(builder, 0.0) for _ in range(4))
    low, high = Row(builder, math.inf), Row(builder, -math.inf)
    with loop(builder, a["saves"], "save") as save:
        values = at(builder, a["values"], (builder.mul(save, rows), ROW))
        out = at(builder, a["out"], (builder.mul(save, length), 8))
        _find_mask(builder, a, values, total, other)
        count = total.joined(added)
        builder.store(count, out)
        builder.store(other.joined(added), at(builder, out, (INT64(1), 8)))
        positive = builder.fcmp_ordered(">", count, DOUBLE(1.0))
        divisor = builder.select(positive, count, DOUBLE(1.0))
        first = at(builder, out, (INT64(2), 8))
        with loop(builder, K, "column") as k:
            row = at(builder, values, (builder.add(k, INT64(1)), ROW))
            _count_above(builder, a, row, k, at(builder, out, (builder.sub(length, a["E"]), 8)), total)
            column = _Column(builder, a["mask"], row, divisor, k, K, first)
            centre = _extent(column, total, low, high)
            _powers(column, centre, total, other, cubes, fourths)
        with loop(builder, K, "left") as k, loop(builder, builder.sub(builder.sub(K, k), INT64(1)), "right") as more:
            j = builder.add(builder.add(k, more), INT64(1))
            total.clear()
            with loop(builder, INT64(UNIT // LANES), "lanes") as i:
                left, right = (load(builder, values, (builder.add(c, INT64(1)), ROW), (i, 8 * LANES)) for c in (k, j))
                total.put(total.get() + left * right)
            joined = total.joined(added)
            for one, two in ((k, j), (j, k)):
                place = builder.add(builder.mul(builder.add(INT64(5), one), K), two)
                builder.store(joined, at(builder, first, (place, 8)))
    builder.ret_void()
    return builder.function


def length_of(builder: Builder, a: dict[str, Any]) -> Any:
    """``row_length`` in the code."""
    square = builder.mul(builder.add(a["K"], INT64(5)), a["K"])
    return builder.add(builder.add(INT64(2), square), a["E"])


def _count_above(builder: Builder, a: dict[str, Any], row: Any, k: Any, out: Any, total: Row) -> None:
    """How many values are at or above each edge; a column's edges begin at ``bounds[k]`` and end at the next bound."""
    begin, end = (builder.load(at(builder, a["bounds"], (builder.add(k, INT64(n)), 8)), typ=INT64) for n in (0, 1))
    with loop(builder, builder.sub(end, begin), "edge") as more:
        j = builder.add(begin, more)
        edge = builder.load(at(builder, a["edges"], (j, 8)), typ=DOUBLE)
        total.clear()
        with loop(builder, INT64(UNIT // LANES), "lanes") as i:
            value, kept = (load(builder, base, (i, 8 * LANES)) for base in (row, a["mask"]))
            above = value.compare("ge", value.new(spread(builder, edge, WIDE)))
            total.put(total.get() + choose(above, kept, 0.0))
        builder.store(total.joined(added), at(builder, out, (j, 8)))


def _find_mask(builder: Builder, a: dict, values: Any, total: Row, other: Row) -> None:
    """1 where a replicate counts, else 0; the counts of those and of the undefined."""
    total.clear()
    other.clear()
    with loop(builder, INT64(UNIT // LANES), "lanes") as i:
        lane = Vector(builder, ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES))))
        start = lane.new(spread(builder, builder.mul(i, INT64(LANES)), lane.type))
        real = (start + lane).compare("lt", lane.new(spread(builder, a["size"], lane.type)))
        position = load(builder, values, (i, 8 * LANES))
        inside = choose(real, position, 0.0)
        place = at(builder, a["mask"], (i, 8 * LANES))
        builder.store(inside.value, place, align=64)
        nan = Row(builder, 0.0)
        nan.clear()
        with loop(builder, a["K"], "column") as k:
            value = load(builder, values, (builder.add(k, INT64(1)), ROW), (i, 8 * LANES))
            kept = Vector(builder, builder.load(place, typ=WIDE, align=64))
            finite = call("llvm.fabs", value).compare("lt", math.inf)
            builder.store(choose(finite, kept, 0.0).value, place, align=64)
            nan.put(choose(value.compare("ne", value), inside, nan.get()))
        total.put(total.get() + Vector(builder, builder.load(place, typ=WIDE, align=64)))
        other.put(other.get() + nan.get())


class _Column(NamedTuple):
    """A column of values in the code, and where its results go."""

    builder: Builder
    mask: Any
    row: Any
    divisor: Any
    k: Any
    K: Any
    first: Any

    def kept(self, i: Any) -> tuple[Vector, Vector]:
        """Values of the i-th lanes, and which count."""
        value = load(self.builder, self.row, (i, 8 * LANES))
        return value, load(self.builder, self.mask, (i, 8 * LANES)).compare("ne", 0.0)

    def store(self, n: int, value: Any) -> None:
        """The n-th result of the column: mean, m3, m4, low, high."""
        place = self.builder.add(self.builder.mul(INT64(n), self.K), self.k)
        self.builder.store(value, at(self.builder, self.first, (place, 8)))


def _extent(column: _Column, total: Row, low: Row, high: Row) -> Any:
    """Lowest and highest; returns where to centre: at the mean up to rounding, and at the value that all share."""
    builder = column.builder
    for s in (total, low, high):
        s.clear()
    with loop(builder, INT64(UNIT // LANES), "lanes") as i:
        value, kept = column.kept(i)
        total.put(total.get() + choose(kept, value, 0.0))
        low.put(smaller(low.get(), choose(kept, value, math.inf)))
        high.put(larger(high.get(), choose(kept, value, -math.inf)))
    lowest, highest = low.joined(smaller), high.joined(larger)
    for n, end in ((3, lowest), (4, highest)):
        column.store(n, end)
    mean = builder.fdiv(total.joined(added), column.divisor)
    return builder.select(builder.fcmp_ordered("==", lowest, highest), lowest, mean)


def _powers(column: _Column, centre: Any, total: Row, squares: Row, cubes: Row, fourths: Row) -> None:
    """The mean, without the centre's rounding; second to fourth powers.  The centred values stay in the row."""
    builder = column.builder
    for s in (total, squares, cubes, fourths):
        s.clear()
    with loop(builder, INT64(UNIT // LANES), "lanes") as i:
        value, kept = column.kept(i)
        centred = choose(kept, value - value.new(spread(builder, centre, WIDE)), 0.0)
        square = centred * centred
        total.put(total.get() + centred)
        squares.put(squares.get() + square)
        cubes.put(cubes.get() + square * centred)
        fourths.put(fourths.get() + square * square)
        builder.store(centred.value, at(builder, column.row, (i, 8 * LANES)), align=64)
    mean = builder.fadd(centre, builder.fdiv(total.joined(added), column.divisor))
    for n, value in enumerate((mean, cubes.joined(added), fourths.joined(added))):
        column.store(n, value)
    diagonal = builder.add(builder.mul(builder.add(INT64(5), column.k), column.K), column.k)
    builder.store(squares.joined(added), at(builder, column.first, (diagonal, 8)))


# ----------------------------------------------------------------- exits
def exits_function(module: ir.Module) -> Any:
    """``saves`` times (finite, inside) to rows of exits; ``mask`` holds who is still inside, and is kept."""
    arrays, numbers = dict.fromkeys(("values", "mask", "out"), POINTER), dict.fromkeys(("K", "saves", "size"), INT64)
    builder, a = function(module, "exits", {**arrays, **numbers})
    sums = [Row(builder, 0.0) for _ in range(EXITS)]
    with loop(builder, a["saves"], "save") as save:
        values = at(builder, a["values"], (save, 2 * ROW))
        for s in sums:
            s.clear()
        with loop(builder, INT64(UNIT // LANES), "lanes") as i:
            finite, inside = (load(builder, values, (INT64(row), ROW), (i, 8 * LANES)) for row in (0, 1))
            before = load(builder, a["mask"], (i, 8 * LANES))
            after = choose((finite * inside).compare("ne", 0.0), before, 0.0)
            left = before - after
            builder.store(after.value, at(builder, a["mask"], (i, 8 * LANES)), align=64)
            for s, part in zip(sums, (left, left * (1.0 - finite), after), strict=True):
                s.put(s.get() + part)
        for n, s in enumerate(sums):
            builder.store(s.joined(added), at(builder, a["out"], (save, 8 * EXITS), (INT64(n), 8)))
    builder.ret_void()
    return builder.function


def everyone(builder: Builder, mask: Any, size: Any) -> None:
    """1 for the unit's replicates, 0 for its padding."""
    with loop(builder, INT64(UNIT // LANES), "everyone") as i:
        lane = Vector(builder, ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES))))
        start = lane.new(spread(builder, builder.mul(i, INT64(LANES)), lane.type))
        real = (start + lane).compare("lt", lane.new(spread(builder, size, lane.type)))
        one = Vector(builder, splat(WIDE, 1.0))
        builder.store(choose(real, one, 0.0).value, at(builder, mask, (i, 8 * LANES)), align=64)
