"""The part of the fused engine that is the same for all models: seeds, and the loop over units.

``drive`` runs a range of units: it sets up each one's generators, calls the model's ``run`` for a window of saved
steps, and reduces the window's values to one row of sums a saved step.  A unit of which all have left is not run
further.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..eager import UNIT
from .printer import ARRAYS
from .reductions import EXITS, everyone, exits_function, length_of, reduce_function
from .rows import DOUBLE, at, function, spread
from .vectors import BYTE, INT64, POINTER, Builder, Vector, loop

__all__ = ["DRIVE", "runtime_module"]

_GOLDEN, _SECOND = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03  # as in ``streams``


def runtime_module() -> str:
    """The code of ``drive``."""
    module = ir.Module("runtime")
    _drive(module, _seed(module), reduce_function(module), exits_function(module))
    return str(module)


# ----------------------------------------------------------------- streams
def _seed(module: ir.Module) -> Any:
    """The states of a unit's generators, as in ``streams.Streams``."""
    builder, a = function(module, "seed", {"first": INT64, "hashed": INT64, "rng": POINTER})
    wide = ir.VectorType(INT64, 8)
    with loop(builder, INT64(UNIT // 8), "lanes") as i:
        start = builder.add(a["first"], builder.mul(i, INT64(8)))
        lane = Vector(builder, ir.Constant(wide, list(range(8))))
        replicate = lane.new(spread(builder, start, wide)) + lane
        hashed = lane.new(spread(builder, a["hashed"], wide))
        one = _mixed(hashed ^ (replicate * _GOLDEN), 30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)
        two = _mixed(hashed + _SECOND + replicate * _SECOND, 33, 0xFF51AFD7ED558CCD, 29, 0xC4CEB9FE1A85EC53, 32)
        for row, part in enumerate((one, one >> 32, two, two >> 32)):
            builder.store(part.narrowed().value, at(builder, a["rng"], (INT64(row * UNIT), 4), (i, 32)), align=4)
    builder.ret_void()
    return builder.function


def _mixed(x: Vector, s1: int, m1: int, s2: int, m2: int, s3: int) -> Vector:
    x = (x ^ (x >> s1)) * m1
    x = (x ^ (x >> s2)) * m2
    return x ^ (x >> s3)


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
    """Units ``first/UNIT, ..``, replicates below ``stop``: a row of sums, or of exits, for each unit and saved step.

    ``given`` says that every unit's generators and state are in ``rng_start`` and ``start``; else they are seeded, and
    all units start from one state.
    """
    builder, a = function(module, "drive", DRIVE)
    K, saves = a["K"], a["saves"]
    watch = builder.icmp_signed("!=", a["watch_exits"], INT64(0))
    length = builder.select(watch, INT64(EXITS), length_of(builder, a))
    remain = builder.alloca(DOUBLE)
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
                last = at(builder, out, (builder.sub(count, INT64(1)), 8 * EXITS), (INT64(EXITS - 1), 8))
                builder.store(builder.load(last, typ=DOUBLE), remain)
            with otherwise:
                builder.call(reduce, [a["values"], a["mask"], out, a["edges"], a["bounds"], K, count, size, a["E"]])

    with loop(builder, a["units"], "unit") as unit:
        first = builder.add(a["first"], builder.mul(unit, INT64(UNIT)))
        left = builder.sub(a["stop"], first)
        size = builder.select(builder.icmp_signed("<", left, INT64(UNIT)), left, INT64(UNIT))
        _set_up(module, builder, a, unit, first, seed)
        everyone(builder, a["mask"], size)
        builder.store(DOUBLE(1.0), remain)
        rows = at(builder, a["out"], (builder.mul(builder.mul(unit, saves), length), 8))
        look(rows, INT64(0), INT64(1), INT64(0), size)
        with (
            loop(builder, windows, "window") as w,
            builder.if_then(builder.fcmp_ordered(">", builder.load(remain, typ=DOUBLE), DOUBLE(0.0))),
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
            builder.call(copy, [a["rng"], at(builder, a["rng_start"], (unit, 16 * UNIT)), INT64(16 * UNIT), false])
        with seeded:
            builder.call(seed, [first, a["hashed"], a["rng"]])
