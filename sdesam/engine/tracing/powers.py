"""Powers as operations of a list: products and roots where that is exact, else e^(p log a)."""

from __future__ import annotations

import math

from .scalars import Scalars

__all__ = ["power"]


def power(s: Scalars, a: int, exponent: int) -> int:
    """Products where 2p is an integer up to 2,048, else e^(p log a).

    Raises
    ------
    NotImplementedError
        For an exponent that is computed or not finite, unless the base is a positive constant.
    """
    p = s.value(exponent)
    if p is None or not math.isfinite(p):
        return _exponential(s, a, exponent)
    size = abs(p)
    if size > 1024 or 2 * size != int(2 * size):
        return _long_power(s, a, p)
    result = _integer_power(s, a, int(size))
    if size != int(size):
        result = s.apply("mul", result, s.apply("sqrt", a))
    result = result if p >= 0 else s.apply("div", s.constant(1.0), result)
    return result if size in (0.5, int(size)) else _from_minus_infinity(s, a, p, result)


def _exponential(s: Scalars, base: int, exponent: int) -> int:
    b = s.value(base)
    if b is None or not 0 < b < math.inf:
        raise NotImplementedError("a power whose exponent is computed needs a positive constant as its base")
    return s.apply("exp", s.apply("mul", exponent, s.constant(math.log(b))))


def _long_power(s: Scalars, a: int, p: float) -> int:
    size = s.apply("abs", a) if p == int(p) else a
    result = s.apply("exp", s.apply("mul", s.constant(p), s.apply("log", size)))
    if p != int(p):
        return _from_minus_infinity(s, a, p, result)
    return s.apply("where", s.apply("lt", a, s.constant(0.0)), s.apply("neg", result), result) if p % 2 else result


def _from_minus_infinity(s: Scalars, a: int, p: float, result: int) -> int:
    """The C library's value at minus infinity of a power that is no integer."""
    limit = s.constant(math.inf if p > 0 else 0.0)
    return s.apply("where", s.apply("eq", a, s.constant(-math.inf)), limit, result)


def _integer_power(s: Scalars, a: int, p: int) -> int:
    result = s.constant(1.0)
    for bit in bin(p)[2:]:
        result = s.apply("mul", result, result)
        result = s.apply("mul", result, a) if bit == "1" else result
    return result
