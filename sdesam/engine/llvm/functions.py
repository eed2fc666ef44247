"""Elementary functions as arithmetic on vectors, in both precisions.

Nothing calls the C library, which has one number at a time and other last digits on every machine.  Each function is
within 2 units in the last place over its whole range, and NaN passes through all of them.  The reductions are those of
the text books: e^x = 2^n e^r and log x = n log 2 + 2 artanh(f/(2 + f)).
"""

from __future__ import annotations

import math

from .circular import cos, sin
from .formats import format_of, polynomial
from .vectors import Vector, choose, fma

__all__ = ["FUNCTIONS", "positive_log"]


def _clamp(x: Vector, low: float, high: float) -> Vector:
    """A NaN passes, since it compares false."""
    x = choose(x.compare("lt", low), low, x)
    return choose(x.compare("gt", high), high, x)


# ----------------------------------------------------------------- e^x
def _reduced(x: Vector) -> tuple[Vector, Vector]:
    """An integer n, in the low bits of a float's, and e^r − 1 for r = x − n log 2, |r| <= log(2)/2."""
    p = format_of(x)
    shifted = fma(x, 1 / math.log(2), p.magic)
    n = shifted - p.magic
    r = fma(n, -p.log2_low, fma(n, -p.log2_high, x))
    return shifted.as_bits(), fma(r * r, polynomial(r, p.exponential), r)


def _bits_of(value: float, x: Vector) -> Vector:
    return x.like(value).as_bits()


def _power_of_two(n: Vector, x: Vector, less: int = 0) -> Vector:
    """2^(n − less) for n in the low bits, whatever the high ones, where it is a normal number."""
    p = format_of(x)
    return ((n << p.shift) + ((p.bias - less) << p.shift)).as_float()


def exp(x: Vector) -> Vector:
    """e^x: infinite above the range, subnormal and then 0 below it."""
    x, p = x.plain(), format_of(x)
    low_bits, excess = _reduced(_clamp(x, p.lowest, p.highest))
    n = low_bits - _bits_of(p.magic, x)
    first = n.signed_shift(1)  # in two factors, since 2^n itself may be out of range
    return (excess + 1.0) * _power_of_two(first, x) * _power_of_two(n - first, x)


def expm1(x: Vector) -> Vector:
    """e^x − 1, accurate at 0: 2^n (e^r − 1) + (2^n − 1), halved so that 2^n is never out of range."""
    x, p = x.plain(), format_of(x)
    n, excess = _reduced(_clamp(x, -50.0, p.highest))
    half = _power_of_two(n, x, less=1)
    value = fma(half, excess, half - 0.5)
    value = choose(x.compare("eq", 0.0), x, value + value)
    return choose(x.compare("ge", p.highest), x.like(math.inf), value)


def tanh(x: Vector) -> Vector:
    """m/(m + 2), m = e^2|x| − 1, with the sign of x."""
    x = x.plain()
    sign = x.as_bits() & _bits_of(-0.0, x)
    size = (x.as_bits() ^ sign).as_float()
    size = choose(size.compare("gt", 20.0), 20.0, size)
    n, excess = _reduced(size + size)
    power = _power_of_two(n, x)
    m = fma(power, excess, power - 1.0)
    return ((m / (m + 2.0)).as_bits() | sign).as_float()


# ----------------------------------------------------------------- log x
def _split(x: Vector) -> tuple[Vector, Vector]:
    """A positive normal x as n, an integer, and m in [√½, √2), x = 2^n m."""
    p, bits = format_of(x), x.as_bits()
    n = (bits - p.half).signed_shift(p.shift)
    return n, (bits - (n << p.shift)).as_float()


def _log_of(n: Vector, f: Vector) -> Vector:
    """N log 2 + log(1 + f): with s = f/(2 + f) and R = s²·poly, log(1 + f) = f − (f²/2 − s (f²/2 + R))."""
    p = format_of(f)
    count = (n + _bits_of(p.magic, f)).as_float() - p.magic
    s = f / (f + 2.0)
    w = s * s
    half = f * f * 0.5
    tail = fma(count, p.log2_low, s * fma(w, polynomial(w, p.logarithm), half))
    return fma(count, p.log2_high, f - (half - tail))


def positive_log(x: Vector) -> Vector:
    """Log x of a positive normal number."""
    n, m = _split(x.plain())
    return _log_of(n, m - 1.0)


def _outside(x: Vector, value: Vector, pole: float) -> Vector:
    """The logarithm's values where x is not in (pole, ∞)."""
    value = choose(x.compare("gt", pole), value, math.nan)
    value = choose(x.compare("eq", pole), -math.inf, value)
    return choose(x.compare("eq", math.inf), math.inf, value)


def log(x: Vector) -> Vector:
    """log x: −∞ at 0, NaN below."""
    x, p = x.plain(), format_of(x)
    tiny = x.compare("lt", p.least_normal)
    n, m = _split(choose(tiny, x * 2.0 ** (p.shift + 2), x))
    n = choose(tiny, n - (p.shift + 2), n)
    return _outside(x, _log_of(n, m - 1.0), 0.0)


def log1p(x: Vector) -> Vector:
    """log(1 + x), accurate at 0: what 1 + x loses is added to its mantissa."""
    x = x.plain()
    u = x + 1.0
    back = u - 1.0
    lost = (1.0 - (u - back)) + (x - back)
    n, m = _split(u)
    scale = choose(n.compare("gt", 60), u.like(0.0), _power_of_two(n.like(0) - n, x))
    lost = choose(x.compare("lt", math.inf), lost, 0.0)
    value = _log_of(n, fma(lost, scale, m - 1.0))
    return choose(x.compare("eq", 0.0), x, _outside(x, value, -1.0))


FUNCTIONS = {"exp": exp, "expm1": expm1, "tanh": tanh, "log": log, "log1p": log1p, "sin": sin, "cos": cos}
