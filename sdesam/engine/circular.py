"""Sine and cosine on vectors: quarter turns, two-part remainders, and the C library far out."""

from __future__ import annotations

import math

from llvmlite import ir

from .formats import format_of, polynomial
from .vectors import Vector, call, choose, fma

__all__ = ["cos", "sin"]

_HALF_PI = {  # π/2 in three parts of full precision: their multiples by n are exact in a fused product
    64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
}
_SINE = {  # (sin(r)/r − 1)/r² in r², |r| <= π/4
    64: (-0.16666666666666666, 0.008333333333333331, -0.00019841269841265052, 2.755731921932988e-06,
         -2.5052106229222596e-08, 1.6058531107942805e-10, -7.586667000208306e-13),
    32: (-0.1666666716337204, 0.008333331905305386, -0.00019840085587929934, 2.7249773211224237e-06),
}  # fmt: skip
_COSINE = {  # (cos(r) − 1 + r²/2)/r⁴ in r²
    64: (0.041666666666666664, -0.0013888888888888887, 2.480158730158464e-05, -2.755731922139766e-07,
         2.087675578928741e-09, -1.1470460603480262e-11, 4.745855157258271e-14),
    32: (0.0416666679084301, -0.00138888880610466, 2.480059993104078e-05, -2.730083110691339e-07),
}  # fmt: skip
_FAR = {64: 2.0**30, 32: 2.0**16}  # beyond, three parts are too few


def _circular(x: Vector, quarter: int, name: str) -> Vector:
    """Sin(x + quarter·π/2): x = n π/2 + r + e with a correction e, then roles and signs by n + quarter."""
    x, p = x.plain(), format_of(x)
    shifted = fma(x, 2 / math.pi, p.magic)
    n, q = shifted - p.magic, shifted.as_bits() + quarter
    r, e = _less_half_pi(x, n)
    w = r * r
    sine = r + fma(r * w, polynomial(w, _SINE[x.bits]), e)
    half = w * 0.5
    top = 1.0 - half
    cosine = top + (((1.0 - top) - half) + (w * w * polynomial(w, _COSINE[x.bits]) - r * e))
    value = choose((q & 1).compare("ne", 0), cosine, sine).as_bits() ^ ((q & 2) << (x.bits - 2))
    value = choose(x.compare("eq", 0.0), x if quarter == 0 else x.like(1.0), value.as_float())
    return _far(x, call("llvm.fabs", x).compare("gt", _FAR[x.bits]), value, name)


def _less_half_pi(x: Vector, n: Vector) -> tuple[Vector, Vector]:
    """X − n π/2 in two parts: next to a multiple of π/2 most of it cancels, so every rounding error is kept."""
    high, middle, low = _HALF_PI[x.bits]
    first = fma(n, -high, x)  # exact
    product = n * middle
    total = first - product
    back = total - first
    lost = (first - (total - back)) - (product + back)
    rest = lost - fma(n, middle, -product) - n * low
    r = total + rest
    return r, (total - r) + rest


def _far(x: Vector, far: Vector, value: Vector, name: str) -> Vector:
    """The C library's value, lane by lane, for arguments that are far out: rare, and skipped where there is none."""
    builder, lanes = x.builder, x.type.count
    before = builder.block
    some = builder.icmp_unsigned("!=", builder.bitcast(far.value, ir.IntType(lanes)), ir.IntType(lanes)(0))
    with builder.if_then(some, likely=False):
        function = _library(builder.module, name, x.type.element)
        slow = x.value
        for lane in range(lanes):
            place = ir.IntType(32)(lane)
            slow = builder.insert_element(
                slow, builder.call(function, [builder.extract_element(x.value, place)]), place
            )
        mixed = builder.select(far.value, slow, value.value)
        inside = builder.block
    result = builder.phi(x.type)
    result.add_incoming(value.value, before)
    result.add_incoming(mixed, inside)
    return x.new(result)


def _library(module: ir.Module, name: str, element: ir.Type) -> ir.Function:
    full = name if isinstance(element, ir.DoubleType) else name + "f"
    known = module.globals.get(full)
    return known or ir.Function(module, ir.FunctionType(element, [element]), full)


def sin(x: Vector) -> Vector:
    """Sin x."""
    return _circular(x, 0, "sin")


def cos(x: Vector) -> Vector:
    """Cos x."""
    return _circular(x, 1, "cos")
