"""Sine and cosine on vectors: quarter turns and two-part remainders; far out the remainders of ``turns``."""

from __future__ import annotations

import math

from .formats import format_of, polynomial
from .turns import reduced_where
from .vectors import Vector, call, choose, fma, product

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
_NEAR = {64: 2.0**30, 32: 2.0**16}  # beyond, three parts are too few


def _circular(x: Vector, quarter: int) -> Vector:
    """Sin(x + quarter·π/2): x = n π/2 + r + e with a correction e, then roles and signs by n + quarter."""
    x, p = x.plain(), format_of(x)
    shifted = fma(x, 2 / math.pi, p.magic)
    r, e = _less_half_pi(x, shifted - p.magic)
    far = call("llvm.fabs", x).compare("gt", _NEAR[x.bits])
    n, r, e = reduced_where(far, x, shifted.as_bits(), r, e)
    q, w = n + quarter, r * r
    sine = r + fma(r * w, polynomial(w, _SINE[x.bits]), e)
    half = w * 0.5
    top = 1.0 - half
    cosine = top + (((1.0 - top) - half) + (w * w * polynomial(w, _COSINE[x.bits]) - r * e))
    value = choose((q & 1).compare("ne", 0), cosine, sine).as_bits() ^ ((q & 2) << (x.bits - 2))
    return choose(x.compare("eq", 0.0), x if quarter == 0 else x.like(1.0), value.as_float())


def _less_half_pi(x: Vector, n: Vector) -> tuple[Vector, Vector]:
    """X − n π/2 in two parts: next to a multiple of π/2 most of it cancels, so every rounding error is kept."""
    high, middle, low = _HALF_PI[x.bits]
    whole, fraction = product(n, high)
    first = (x - whole) - fraction  # exact
    second, lost_there = product(n, middle)
    total = first - second
    back = total - first
    lost = (first - (total - back)) - (second + back)
    rest = lost - lost_there - n * low
    r = total + rest
    return r, (total - r) + rest


def sin(x: Vector) -> Vector:
    """Sin x."""
    return _circular(x, 0)


def cos(x: Vector) -> Vector:
    """Cos x."""
    return _circular(x, 1)
