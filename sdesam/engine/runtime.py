"""The part of the fused engine that is the same for all models: seeds, the loop over units, and the sums.

``drive`` runs a range of units: it sets up each one's generators, calls the model's ``run`` for a window of saved
steps, and reduces the window's values to one row of sums a saved step.  Sums are taken over a whole unit of 1,024 in
float64, twice: the mean first, then powers of the centred values.  The other reduction counts first exits, and a unit
of which all have left is not run further.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from .eager import UNIT
from .printer import ARRAYS
from .vectors import BYTE, INT64, POINTER, Builder, Vector, call, choose, loop, splat

__all__ = ["EXITS", "row_length", "runtime_module"]

EXITS = 3  # numbers of a row of exits: how many left, how many of them to a non-finite point, how many remain

_LANES = 32  # of float64: enough independent sums to hide the latency of an addition
_WIDE = ir.VectorType(ir.DoubleType(), _LANES)
_DOUBLE = ir.DoubleType()
_ROW = 8 * UNIT  # bytes of a row of values
_GOLDEN, _SECOND = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03  # as in ``streams``


def row_length(K: int, E: int = 0) -> int:
    """Numbers of a row of sums: count, undefined, K each of mean, m3, m4, low, high, K² co-moments, and E counts.

    The last are of the values at or above each edge of the histograms.
    """
    return 2 + 5 * K + K * K + E


def runtime_module() -> str:
    """The code of ``drive``."""
    module = ir.Module("runtime")
    _drive(module, _seed(module), _reduce(module), _exits(module))
    return str(module)


def _function(module: ir.Module, name: str, arguments: dict[str, ir.Type]) -> tuple[Builder, dict[str, Any]]:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), list(arguments.values())), name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    return builder, dict(zip(arguments, function.args, strict=True))


def _at(builder: Builder, base: Any, *terms: tuple[Any, int]) -> Any:
    """A pointer Σ index · size bytes further."""
    for index, size in terms:
        base = builder.gep(base, [builder.mul(index, INT64(size))], source_etype=BYTE)
    return base


# ----------------------------------------------------------------- streams
def _seed(module: ir.Module) -> Any:
    """The states of a unit's generators, as in ``streams.Streams``."""
    builder, a = _function(module, "seed", {"first": INT64, "hashed": INT64, "rng": POINTER})
    wide = ir.VectorType(INT64, 8)
    with loop(builder, INT64(UNIT // 8), "lanes") as i:
        start = builder.add(a["first"], builder.mul(i, INT64(8)))
        lane = Vector(builder, ir.Constant(wide, list(range(8))))
        replicate = lane.new(_spread(builder, start, wide)) + lane
        hashed = lane.new(_spread(builder, a["hashed"], wide))
        one = _mixed(hashed ^ (replicate * _GOLDEN), 30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)
        two = _mixed(hashed + _SECOND + replicate * _SECOND, 33, 0xFF51AFD7ED558CCD, 29, 0xC4CEB9FE1A85EC53, 32)
        for row, part in enumerate((one, one >> 32, two, two >> 32)):
            builder.store(part.narrowed().value, _at(builder, a["rng"], (INT64(row * UNIT), 4), (i, 32)), align=4)
    builder.ret_void()
    return builder.function


def _mixed(x: Vector, s1: int, m1: int, s2: int, m2: int, s3: int) -> Vector:
    x = (x ^ (x >> s1)) * m1
    x = (x ^ (x >> s2)) * m2
    return x ^ (x >> s3)


def _spread(builder: Builder, scalar: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    )


# ----------------------------------------------------------------- sums
class _Row:
    """A running reduction over a unit: vectors in memory of the stack, joined at the end in one fixed order."""

    def __init__(self, builder: Builder, start: float) -> None:
        self.builder, self.start = builder, start
        with builder.goto_entry_block():
            self.place = builder.alloca(_WIDE)

    def clear(self) -> None:
        self.builder.store(splat(_WIDE, self.start), self.place)

    def get(self) -> Vector:
        return Vector(self.builder, self.builder.load(self.place, typ=_WIDE))

    def put(self, value: Vector) -> None:
        self.builder.store(value.value, self.place)

    def joined(self, combine: Any) -> Any:
        """Halves onto halves."""
        value = self.get()
        width = _LANES
        while width > 1:
            width //= 2
            halves = [_half(self.builder, value.value, width, h) for h in (0, 1)]
            value = combine(*(value.new(h) for h in halves))
        return self.builder.extract_element(value.value, ir.IntType(32)(0))


def _half(builder: Builder, value: Any, width: int, which: int) -> Any:
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(which * width, (which + 1) * width)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), lanes)


def _added(a: Vector, b: Vector) -> Vector:
    return a + b


def _smaller(a: Vector, b: Vector) -> Vector:
    return choose(b.compare("lt", a), b, a)


def _larger(a: Vector, b: Vector) -> Vector:
    return choose(b.compare("gt", a), b, a)


def _reduce(module: ir.Module) -> Any:
    """``saves`` times 1 + K rows of values to rows of sums; the first row says where the position is finite.

    A replicate counts where its position and all its values are finite; one whose position is finite while a value
    is NaN is an undefined observable.
    """
    arrays = dict.fromkeys(("values", "mask", "out", "edges", "bounds"), POINTER)
    builder, a = _function(module, "reduce", {**arrays, **dict.fromkeys(("K", "saves", "size", "E"), INT64)})
    K, rows = a["K"], builder.add(a["K"], INT64(1))
    length = _length(builder, a)
    total, other, cubes, fourths = (_Row(builder, 0.0) for _ in range(4))
    low, high = _Row(builder, math.inf), _Row(builder, -math.inf)
    with loop(builder, a["saves"], "save") as save:
        values = _at(builder, a["values"], (builder.mul(save, rows), _ROW))
        out = _at(builder, a["out"], (builder.mul(save, length), 8))
        _find_mask(builder, a, values, total, other)
        count = total.joined(_added)
        builder.store(count, out)
        builder.store(other.joined(_added), _at(builder, out, (INT64(1), 8)))
        positive = builder.fcmp_ordered(">", count, _DOUBLE(1.0))
        divisor = builder.select(positive, count, _DOUBLE(1.0))
        first = _at(builder, out, (INT64(2), 8))
        with loop(builder, K, "column") as k:
            row = _at(builder, values, (builder.add(k, INT64(1)), _ROW))
            _count_above(builder, a, row, k, _at(builder, out, (builder.sub(length, a["E"]), 8)), total)
            centre = _extent(builder, a["mask"], row, divisor, k, K, first, (total, low, high))
            _powers(builder, a["mask"], row, divisor, k, K, first, centre, (total, cubes, fourths))
        with loop(builder, K, "left") as k, loop(builder, builder.sub(K, k), "right") as more:
            j = builder.add(k, more)
            total.clear()
            with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
                left, right = (
                    _load(builder, values, (builder.add(c, INT64(1)), _ROW), (i, 8 * _LANES)) for c in (k, j)
                )
                total.put(total.get() + left * right)
            joined = total.joined(_added)
            for one, two in ((k, j), (j, k)):
                place = builder.add(builder.mul(builder.add(INT64(5), one), K), two)
                builder.store(joined, _at(builder, first, (place, 8)))
    builder.ret_void()
    return builder.function


def _length(builder: Builder, a: dict[str, Any]) -> Any:
    """``row_length`` in the code."""
    square = builder.mul(builder.add(a["K"], INT64(5)), a["K"])
    return builder.add(builder.add(INT64(2), square), a["E"])


def _count_above(builder: Builder, a: dict[str, Any], row: Any, k: Any, out: Any, total: _Row) -> None:
    """How many values are at or above each edge; a column's edges begin at ``bounds[k]`` and end at the next bound."""
    begin, end = (builder.load(_at(builder, a["bounds"], (builder.add(k, INT64(n)), 8)), typ=INT64) for n in (0, 1))
    with loop(builder, builder.sub(end, begin), "edge") as more:
        j = builder.add(begin, more)
        edge = builder.load(_at(builder, a["edges"], (j, 8)), typ=_DOUBLE)
        total.clear()
        with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
            value, kept = (_load(builder, base, (i, 8 * _LANES)) for base in (row, a["mask"]))
            above = value.compare("ge", value.new(_spread(builder, edge, _WIDE)))
            total.put(total.get() + choose(above, kept, 0.0))
        builder.store(total.joined(_added), _at(builder, out, (j, 8)))


def _load(builder: Builder, base: Any, *terms: tuple[Any, int]) -> Vector:
    return Vector(builder, builder.load(_at(builder, base, *terms), typ=_WIDE, align=64))


def _find_mask(builder: Builder, a: dict, values: Any, total: _Row, other: _Row) -> None:
    """1 where a replicate counts, else 0; the counts of those and of the undefined."""
    total.clear()
    other.clear()
    with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
        lane = Vector(builder, ir.Constant(ir.VectorType(INT64, _LANES), list(range(_LANES))))
        start = lane.new(_spread(builder, builder.mul(i, INT64(_LANES)), lane.type))
        real = (start + lane).compare("lt", lane.new(_spread(builder, a["size"], lane.type)))
        position = _load(builder, values, (i, 8 * _LANES))
        inside = choose(real, position, 0.0)
        at = _at(builder, a["mask"], (i, 8 * _LANES))
        builder.store(inside.value, at, align=64)
        nan = _Row(builder, 0.0)
        nan.clear()
        with loop(builder, a["K"], "column") as k:
            value = _load(builder, values, (builder.add(k, INT64(1)), _ROW), (i, 8 * _LANES))
            kept = Vector(builder, builder.load(at, typ=_WIDE, align=64))
            finite = call("llvm.fabs", value).compare("lt", math.inf)
            builder.store(choose(finite, kept, 0.0).value, at, align=64)
            nan.put(choose(value.compare("ne", value), inside, nan.get()))
        total.put(total.get() + Vector(builder, builder.load(at, typ=_WIDE, align=64)))
        other.put(other.get() + nan.get())


def _extent(
    builder: Builder, mask: Any, row: Any, divisor: Any, k: Any, K: Any, first: Any, sums: tuple[_Row, _Row, _Row]
) -> Any:
    """Lowest and highest; returns where to centre: at the mean up to rounding, and at the value that all share."""
    total, low, high = sums
    for s in sums:
        s.clear()
    with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
        value = _load(builder, row, (i, 8 * _LANES))
        kept = _load(builder, mask, (i, 8 * _LANES)).compare("ne", 0.0)
        total.put(total.get() + choose(kept, value, 0.0))
        low.put(_smaller(low.get(), choose(kept, value, math.inf)))
        high.put(_larger(high.get(), choose(kept, value, -math.inf)))
    lowest, highest = low.joined(_smaller), high.joined(_larger)
    for n, end in ((3, lowest), (4, highest)):
        builder.store(end, _at(builder, first, (builder.add(builder.mul(INT64(n), K), k), 8)))
    mean = builder.fdiv(total.joined(_added), divisor)
    return builder.select(builder.fcmp_ordered("==", lowest, highest), lowest, mean)


def _powers(
    builder: Builder, mask: Any, row: Any, divisor: Any, k: Any, K: Any, first: Any, centre: Any,
    sums: tuple[_Row, _Row, _Row],
) -> None:  # fmt: skip
    """The mean, without the centre's rounding; third and fourth powers.  The centred values stay in the row."""
    total, cubes, fourths = sums
    for s in sums:
        s.clear()
    with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
        value = _load(builder, row, (i, 8 * _LANES))
        kept = _load(builder, mask, (i, 8 * _LANES)).compare("ne", 0.0)
        centred = choose(kept, value - value.new(_spread(builder, centre, _WIDE)), 0.0)
        square = centred * centred
        total.put(total.get() + centred)
        cubes.put(cubes.get() + square * centred)
        fourths.put(fourths.get() + square * square)
        builder.store(centred.value, _at(builder, row, (i, 8 * _LANES)), align=64)
    mean = builder.fadd(centre, builder.fdiv(total.joined(_added), divisor))
    for n, value in enumerate((mean, cubes.joined(_added), fourths.joined(_added))):
        builder.store(value, _at(builder, first, (builder.add(builder.mul(INT64(n), K), k), 8)))


# ----------------------------------------------------------------- exits
def _exits(module: ir.Module) -> Any:
    """``saves`` times (finite, inside) to rows of exits; ``mask`` holds who is still inside, and is kept."""
    arrays, numbers = dict.fromkeys(("values", "mask", "out"), POINTER), dict.fromkeys(("K", "saves", "size"), INT64)
    builder, a = _function(module, "exits", {**arrays, **numbers})
    sums = [_Row(builder, 0.0) for _ in range(EXITS)]
    with loop(builder, a["saves"], "save") as save:
        values = _at(builder, a["values"], (save, 2 * _ROW))
        for s in sums:
            s.clear()
        with loop(builder, INT64(UNIT // _LANES), "lanes") as i:
            finite, inside = (_load(builder, values, (INT64(row), _ROW), (i, 8 * _LANES)) for row in (0, 1))
            before = _load(builder, a["mask"], (i, 8 * _LANES))
            after = choose((finite * inside).compare("ne", 0.0), before, 0.0)
            left = before - after
            builder.store(after.value, _at(builder, a["mask"], (i, 8 * _LANES)), align=64)
            for s, part in zip(sums, (left, left * (1.0 - finite), after), strict=True):
                s.put(s.get() + part)
        for n, s in enumerate(sums):
            builder.store(s.joined(_added), _at(builder, a["out"], (save, 8 * EXITS), (INT64(n), 8)))
    builder.ret_void()
    return builder.function


def _everyone(builder: Builder, mask: Any, size: Any) -> None:
    """1 for the unit's replicates, 0 for its padding."""
    with loop(builder, INT64(UNIT // _LANES), "everyone") as i:
        lane = Vector(builder, ir.Constant(ir.VectorType(INT64, _LANES), list(range(_LANES))))
        start = lane.new(_spread(builder, builder.mul(i, INT64(_LANES)), lane.type))
        real = (start + lane).compare("lt", lane.new(_spread(builder, size, lane.type)))
        one = Vector(builder, splat(_WIDE, 1.0))
        builder.store(choose(real, one, 0.0).value, _at(builder, mask, (i, 8 * _LANES)), align=64)


# ----------------------------------------------------------------- units
_RUN = ir.FunctionType(ir.VoidType(), [POINTER] * len(ARRAYS) + [INT64] * 4)
DRIVE: dict[str, ir.Type] = {
    "run": ir.PointerType(_RUN),
    **dict.fromkeys(
        ("constants", "tables", "clock", "shares", "scales", "start", "rng_start", "state", "rng", "values", "mask",
         "scratch", "out", "edges", "bounds"), POINTER,
    ),
    **dict.fromkeys(
        ("first", "hashed", "units", "stop", "saves", "save_every", "substeps", "window", "K", "state_bytes",
         "start_stride", "given", "watch_exits", "E"), INT64,
    ),
}  # fmt: skip


def _drive(module: ir.Module, seed: Any, reduce: Any, exits: Any) -> None:
    """Units ``first/1024, ..``, replicates below ``stop``: a row of sums, or of exits, for each unit and saved step.

    ``given`` says that every unit's generators and state are in ``rng_start`` and ``start``; else they are seeded, and
    all units start from one state.
    """
    builder, a = _function(module, "drive", DRIVE)
    K, saves = a["K"], a["saves"]
    watch = builder.icmp_signed("!=", a["watch_exits"], INT64(0))
    length = builder.select(watch, INT64(EXITS), _length(builder, a))
    remain = builder.alloca(_DOUBLE)
    more = builder.sub(saves, INT64(1))
    windows = builder.sdiv(builder.add(more, builder.sub(a["window"], INT64(1))), a["window"])

    def look(rows: Any, place: Any, count: Any, every: Any, size: Any) -> None:
        """Run to ``count`` saved steps and reduce them to the rows from ``place`` on."""
        begin = builder.mul(builder.sub(place, INT64(1)), every)  # nothing is stepped before the first look
        builder.call(a["run"], [*(a[n] for n in ARRAYS), count, every, a["substeps"], begin])
        out = builder.gep(rows, [builder.mul(builder.mul(place, length), INT64(8))], source_etype=BYTE)
        with builder.if_else(watch) as (then, otherwise):
            with then:
                builder.call(exits, [a["values"], a["mask"], out, K, count, size])
                last = _at(builder, out, (builder.sub(count, INT64(1)), 8 * EXITS), (INT64(EXITS - 1), 8))
                builder.store(builder.load(last, typ=_DOUBLE), remain)
            with otherwise:
                builder.call(reduce, [a["values"], a["mask"], out, a["edges"], a["bounds"], K, count, size, a["E"]])

    with loop(builder, a["units"], "unit") as unit:
        first = builder.add(a["first"], builder.mul(unit, INT64(UNIT)))
        left = builder.sub(a["stop"], first)
        size = builder.select(builder.icmp_signed("<", left, INT64(UNIT)), left, INT64(UNIT))
        _set_up(module, builder, a, unit, first, seed)
        _everyone(builder, a["mask"], size)
        builder.store(_DOUBLE(1.0), remain)
        rows = _at(builder, a["out"], (builder.mul(builder.mul(unit, saves), length), 8))
        look(rows, INT64(0), INT64(1), INT64(0), size)
        with (
            loop(builder, windows, "window") as w,
            builder.if_then(builder.fcmp_ordered(">", builder.load(remain, typ=_DOUBLE), _DOUBLE(0.0))),
        ):
            done = builder.mul(w, a["window"])
            rest = builder.sub(more, done)
            count = builder.select(builder.icmp_signed("<", rest, a["window"]), rest, a["window"])
            look(rows, builder.add(done, INT64(1)), count, a["save_every"], size)
    builder.ret_void()


def _set_up(module: ir.Module, builder: Builder, a: dict[str, Any], unit: Any, first: Any, seed: Any) -> None:
    """The unit's state and generators."""
    copy = module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, INT64])
    false = ir.IntType(1)(0)
    start = builder.gep(a["start"], [builder.mul(unit, a["start_stride"])], source_etype=BYTE)
    builder.call(copy, [a["state"], start, a["state_bytes"], false])
    with builder.if_else(builder.icmp_signed("!=", a["given"], INT64(0))) as (given, seeded):
        with given:
            builder.call(copy, [a["rng"], _at(builder, a["rng_start"], (unit, 16 * UNIT)), INT64(16 * UNIT), false])
        with seeded:
            builder.call(seed, [first, a["hashed"], a["rng"]])
