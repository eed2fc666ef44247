"""Quarter turns of large arguments by integer arithmetic, after M. Payne and R. Hanek (1983).

x·2/π is needed modulo 4 only.  With |x| = m·2^e and m of 53 bits, the digits of 2/π above 2^(1−e) give multiples of 4,
and the 192 below give the quarter and a fraction to 2^-126.  No double comes closer to a multiple of π/2 than 2^-62 of
a quarter turn, so the remainder is right to 2^-62 of itself.  Integers are the same on every machine.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from llvmlite import ir

from .vectors import INT64, POINTER, Builder, Vector, choose

__all__ = ["TWO_OVER_PI", "reduced_where"]

INT128, DOUBLE = ir.IntType(128), ir.DoubleType()
TWO_OVER_PI = (  # the binary digits of 2/π: 64 zeros before the point, 1,216 digits behind it
    "0000000000000000"
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921c"
    "fe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d08"
    "56033046fc7b6bab"
)  # fmt: skip
_ANY_FAR = 2.0**40
_HALF_PI = 0xC90FDAA22168C234  # π/2·2^63
_REDUCED = ir.LiteralStructType([INT64, DOUBLE, DOUBLE])


def reduced_where(far: Vector, x: Vector, n: Vector, r: Vector, e: Vector) -> tuple[Vector, Vector, Vector]:
    """Quarters n and remainders r + e of x, and where ``far`` those of this module: skipped where there is none."""
    builder, lanes, before = x.builder, x.type.count, x.builder.block
    some = builder.icmp_unsigned("!=", builder.bitcast(far.value, ir.IntType(lanes)), ir.IntType(lanes)(0))
    with builder.if_then(some, likely=False):
        slow = [v.value for v in (n, r, e)]
        x = choose(far, x, _ANY_FAR)  # the others' digits would lie outside of the table
        for lane in range(lanes):
            place = ir.IntType(32)(lane)
            parts = _parts(builder, builder.extract_element(x.value, place))
            slow = [builder.insert_element(s, part, place) for s, part in zip(slow, parts, strict=True)]
        mixed = [builder.select(far.value, s, v.value) for s, v in zip(slow, (n, r, e), strict=True)]
        inside = builder.block
    results = []
    for value, other in zip((n, r, e), mixed, strict=True):
        result = builder.phi(value.type)
        result.add_incoming(value.value, before)
        result.add_incoming(other, inside)
        results.append(value.new(result))
    return results[0], results[1], results[2]


def _parts(builder: Builder, x: Any) -> list[Any]:
    """Quarter and remainder in the precision of x; the remainder of a float is rounded from that of a double."""
    narrow = not isinstance(x.type, ir.DoubleType)
    found = builder.call(_reduction(builder.module), [builder.fpext(x, DOUBLE) if narrow else x])
    n, r, e = (builder.extract_value(found, i) for i in range(3))
    if not narrow:
        return [n, r, e]
    short = builder.fptrunc(r, x.type)
    rest = builder.fadd(builder.fsub(r, builder.fpext(short, DOUBLE)), e)
    return [builder.trunc(n, ir.IntType(32)), short, builder.fptrunc(rest, x.type)]


def _reduction(module: ir.Module) -> ir.Function:
    """The function x ↦ (n, r, e) of one double; NaN for an infinity."""
    known = module.globals.get("quarters")
    if known is not None:
        return known
    function = ir.Function(module, ir.FunctionType(_REDUCED, [DOUBLE]), "quarters")
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    x = function.args[0]
    bits = builder.bitcast(x, INT64)
    turned = _turned(module, builder, bits)
    negative = builder.icmp_signed("<", bits, INT64(0))
    near = builder.lshr(builder.add(turned, INT128(1 << 125)), INT128(126))  # of four quarters
    fraction = builder.sub(turned, builder.shl(near, INT128(126)))
    below = builder.icmp_signed("<", fraction, INT128(0))
    r, e = _angle(builder, builder.select(below, builder.neg(fraction), fraction))
    minus = builder.xor(below, negative)
    quarter = builder.trunc(near, INT64)
    undefined = builder.fsub(x, x)  # 0, and NaN for an infinity
    parts = [
        builder.select(negative, builder.neg(quarter), quarter),
        builder.fadd(builder.select(minus, builder.fneg(r), r), undefined),
        builder.select(minus, builder.fneg(e), e),
    ]
    result: Any = ir.Constant(_REDUCED, ir.Undefined)
    for i, part in enumerate(parts):
        result = builder.insert_value(result, part, i)
    builder.ret(result)
    return function


def _turned(module: ir.Module, builder: Builder, bits: Any) -> Any:
    """|x|·2/π modulo 4, in units of 2^-126."""
    exponent = builder.and_(builder.lshr(bits, INT64(52)), INT64(0x7FF))
    mantissa = builder.or_(builder.and_(bits, INT64((1 << 52) - 1)), INT64(1 << 52))
    start = builder.sub(exponent, INT64(1075 - 62))  # the digit of weight 2^(1 − e), counted from the table's first
    word, shift = builder.lshr(start, INT64(6)), builder.zext(builder.and_(start, INT64(63)), INT128)
    digits = [_digits(module, builder, builder.add(word, INT64(k))) for k in range(4)]
    high, middle, low = (
        builder.trunc(builder.lshr(builder.shl(_pair(builder, a, b), shift), INT128(64)), INT64)
        for a, b in pairwise(digits)
    )
    m = builder.zext(mantissa, INT128)
    top = builder.shl(builder.zext(builder.mul(mantissa, high), INT128), INT128(64))
    rest = builder.lshr(builder.mul(m, builder.zext(low, INT128)), INT128(64))
    return builder.add(builder.add(top, builder.mul(m, builder.zext(middle, INT128))), rest)


def _digits(module: ir.Module, builder: Builder, word: Any) -> Any:
    """64 digits of 2/π."""
    words = [int(TWO_OVER_PI[i : i + 16], 16) for i in range(0, len(TWO_OVER_PI), 16)]
    kind = ir.ArrayType(INT64, len(words))
    table = module.globals.get("two_over_pi")
    if table is None:
        table = ir.GlobalVariable(module, kind, "two_over_pi")
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, words)  # pyright: ignore[reportAttributeAccessIssue]
        table.type = POINTER
    return builder.load(builder.gep(table, [word], source_etype=INT64), typ=INT64)


def _pair(builder: Builder, high: Any, low: Any) -> Any:
    return builder.or_(builder.shl(builder.zext(high, INT128), INT128(64)), builder.zext(low, INT128))


def _angle(builder: Builder, fraction: Any) -> tuple[Any, Any]:
    """The angle of a fraction of a quarter turn in units of 2^-126, as r + e with r its rounded value."""
    kind = ir.FunctionType(INT128, [INT128, ir.IntType(1)])
    count = builder.module.declare_intrinsic("llvm.ctlz", [INT128], kind)
    zeros = builder.call(count, [fraction, ir.IntType(1)(0)])
    leading = builder.lshr(builder.shl(fraction, zeros), INT128(64))
    angle = builder.trunc(builder.lshr(builder.mul(leading, INT128(_HALF_PI)), INT128(64)), INT64)
    low = builder.sitofp(builder.and_(angle, INT64(0x7FF)), DOUBLE)
    high = builder.sitofp(builder.lshr(angle, INT64(11)), DOUBLE)
    place = builder.trunc(zeros, INT64)
    return _renormalised(
        builder, builder.fmul(high, _power_of_two(builder, 11 - 61, place)),
        builder.fmul(low, _power_of_two(builder, -61, place)),
    )  # fmt: skip


def _power_of_two(builder: Builder, exponent: int, less: Any) -> Any:
    """2^(exponent − less)."""
    return builder.bitcast(builder.shl(builder.sub(INT64(1023 + exponent), less), INT64(52)), DOUBLE)


def _renormalised(builder: Builder, high: Any, low: Any) -> tuple[Any, Any]:
    r = builder.fadd(high, low)
    return r, builder.fsub(low, builder.fsub(r, high))
