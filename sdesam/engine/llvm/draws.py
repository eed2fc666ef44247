"""The generator and the noises as arithmetic on vectors: the numbers that ``noise.draw`` makes of the same streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from llvmlite import ir

from ...problems.noise import Choice, Noise, Normal, ThreePoint, TwoPoint
from .formats import format_of, polynomial
from .functions import positive_log
from .vectors import Vector, choose, fma, root

__all__ = ["draw", "xoshiro"]


def xoshiro(state: list[Vector]) -> Vector:
    """The next 32 bits of each stream, those of ``streams.Streams``; the state's four vectors are replaced."""
    a, b, c, d = state
    total = a + d
    out = ((total << 7) | (total >> 25)) + a
    c, d, t = c ^ a, d ^ b, b << 9
    state[:] = [a ^ d, b ^ c, c ^ t, (d << 11) | (d >> 21)]
    return out


def _uniform(state: list[Vector], bits: int) -> Vector:
    """On (0, 1), the numbers of ``noise.uniforms``."""
    if bits == 32:
        u = (xoshiro(state) >> 1).rounded(ir.FloatType())
        return u * 2.0**-31 + 2.0**-32
    return (_mantissa(state) | 0x3FF0000000000000).as_float() - (1 - 2.0**-53)


def _mantissa(state: list[Vector]) -> Vector:
    """52 random bits."""
    high, low = xoshiro(state), xoshiro(state)
    return (high.widened() << 20) | (low >> 12).widened()


def _turned(u: Vector) -> tuple[Vector, Vector]:
    """Cosine and sine of 2πu: u = q/4 + t/4 with |t| <= ½, then signs and roles by the quarter q."""
    p = format_of(u)
    four = u * 4.0
    shifted = four + p.magic
    t, q = four - (shifted - p.magic), shifted.as_bits()
    w = t * t
    sine = fma(t * w, polynomial(w, p.sine), t * (math.pi / 2))
    cosine = fma(w, polynomial(w, p.cosine), 1.0)
    odd = (q & 1).compare("ne", 0)
    top = u.bits - 2
    c, s = choose(odd, sine, cosine).as_bits(), choose(odd, cosine, sine).as_bits()
    return (c ^ (((q + 1) & 2) << top)).as_float(), (s ^ ((q & 2) << top)).as_float()


def _normals(state: list[Vector], bits: int, count: int) -> list[Vector]:
    """Box-Muller pairs, the numbers of ``noise.normals`` up to rounding."""
    out: list[Vector] = []
    while len(out) < count:
        radius = root(positive_log(_uniform(state, bits)) * -2.0)
        out += [radius * part for part in _turned(_uniform(state, bits))]
    return out[:count]


def _below(state: list[Vector], bound: int) -> Vector:
    """Uniform integers in [0, bound), by multiply and shift."""
    return ((xoshiro(state).widened() * bound) >> 32).narrowed()


def _without_replacement(state: list[Vector], N: int, B: int) -> list[Vector]:
    """B different indices in increasing order, as ``Choice.draw`` finds them."""
    picks = [_below(state, N - k) for k in range(B)]
    chosen = picks[:1]
    for pick in picks[1:]:
        below = pick.like(0)
        for j, c in enumerate(chosen):
            below = below - c.new(c.builder.sext((c - j).compare("le", pick).value, c.type))  # true is −1
        longer = []
        for place in range(len(chosen) + 1):
            before, here = chosen[max(place - 1, 0)], chosen[min(place, len(chosen) - 1)]
            shifted = choose(below.compare("lt", place), before, here)
            longer.append(choose(below.compare("eq", place), pick + below, shifted))
        chosen = longer
    return chosen


def _weighted(state: list[Vector], p: Sequence[float]) -> Vector:
    """The number of cumulative weights that a uniform reaches; exact, on its 52 bits."""
    edges = torch.tensor(p, dtype=torch.float64).cumsum(0)[:-1].tolist()
    mantissa = _mantissa(state)
    index = mantissa.like(0)
    for edge in edges:  # (2k + 1)/2^53 >= edge
        reached = mantissa.compare("ge", math.ceil(Fraction(edge) * 2**52 - Fraction(1, 2)))
        index = index - index.new(index.builder.sext(reached.value, index.type))
    return index.narrowed()


def draw(noise: Noise, state: list[Vector], bits: int) -> list[Vector]:
    """One draw of a noise in the given precision: the numbers that ``noise.draw`` makes of the same streams."""
    float_type = ir.DoubleType() if bits == 64 else ir.FloatType()
    if isinstance(noise, Normal):
        return _normals(state, bits, noise.size)
    if isinstance(noise, TwoPoint):
        return [(_below(state, 2) * 2 - 1).rounded(float_type) for _ in range(noise.size)]
    if isinstance(noise, ThreePoint):
        picks = [_below(state, 6) for _ in range(noise.size)]
        zero = [k.rounded(float_type).like(0.0) for k in picks]
        low = [choose(k.compare("eq", 0), -math.sqrt(3), z) for k, z in zip(picks, zero, strict=True)]
        return [choose(k.compare("eq", 5), math.sqrt(3), v) for k, v in zip(picks, low, strict=True)]
    assert isinstance(noise, Choice)
    if noise.p is not None:
        return [_weighted(state, noise.p) for _ in range(noise.B)]
    if noise.replace:
        return [_below(state, noise.N) for _ in range(noise.B)]
    return _without_replacement(state, noise.N, noise.B)
