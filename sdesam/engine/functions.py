"""Elementary functions, the generator and the noises, as arithmetic on vectors, in both precisions.

Nothing calls the C library, which has one number at a time, but sines of numbers above 2^30.  Each function is within
2 units in the last place over its whole range, and NaN passes through all of them.  Polynomials are Chebyshev
interpolants computed in 60 digits; the reductions are those of the text books: e^x = 2^n e^r, log x = n log 2 +
2 artanh(f/(2 + f)), and quarter turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from llvmlite import ir

from ..noise import Choice, Noise, Normal, ThreePoint, TwoPoint
from .vectors import Vector, call, choose, fma, root

__all__ = ["FUNCTIONS", "draw", "xoshiro"]


@dataclass(frozen=True)
class _Precision:
    """Constants of one floating-point format.

    Attributes
    ----------
    shift, bias : of the exponent field
    magic : 1.5 times the number above which floats are integers: adding it rounds to an integer in the low bits
    log2_high, log2_low : log 2 in two parts, the first with few enough bits for exact multiples
    exponential : (e^r − 1 − r)/r² in r
    logarithm : (2 artanh(s)/s − 2)/s² in s²
    sine, cosine : (sin(πt/2)/t − π/2)/t² and (cos(πt/2) − 1)/t² in t²
    half : bits of √½
    lowest, highest : e^x is 0 below and infinite above
    """

    shift: int
    bias: int
    magic: float
    log2_high: float
    log2_low: float
    exponential: tuple[float, ...]
    logarithm: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]
    half: int
    lowest: float
    highest: float
    least_normal: float


_FORMATS = {
    64: _Precision(
        52, 1023, 1.5 * 2.0**52, 0.6931471804855391, 7.440617110012397e-11,
        (0.5, 0.16666666666666666, 0.04166666666666668, 0.008333333333333333, 0.0013888888888879073,
         0.00019841269841263298, 2.4801587336442236e-05, 2.755731924721873e-06, 2.75572632790885e-07,
         2.505207109429355e-08, 2.0918137737642736e-09, 1.608662795678037e-10),
        (0.6666666666666666, 0.40000000000000885, 0.28571428570799784, 0.22222222392581045, 0.18181795547521137,
         0.15386244737621665, 0.13268638369266825, 0.13088034850927555),
        (-0.6459640975062463, 0.07969262624616703, -0.004681754135317559, 0.00016044118476026293,
         -3.5988429255546176e-06, 5.691991220020721e-08, -6.635131315160467e-10),
        (-1.2337005501361697, 0.2536695079010478, -0.02086348076334075, 0.000919260274546377,
         -2.5202039024022038e-05, 4.71067824882157e-07, -6.329373560219462e-09),
        0x3FE6A09E667F3BCD, -746.0, 710.0, 2.0**-1022,
    ),
    32: _Precision(
        23, 127, 1.5 * 2.0**23, 0.693145751953125, 1.4286068203094173e-06,
        (0.5, 0.1666666716337204, 0.04166646674275398, 0.00833331048488617, 0.0013933649752289057,
         0.00019890991097781807),
        (0.6666666865348816, 0.4000012278556824, 0.28550779819488525, 0.23331613838672638),
        (-0.6459640860557556, 0.07969260960817337, -0.004681474529206753, 0.00015865080058574677),
        (-1.2337005138397217, 0.253669410943985, -0.02086152695119381, 0.000906734901946038),
        0x3F3504F3, -104.0, 89.0, 2.0**-126,
    ),
}  # fmt: skip


def _format(x: Vector) -> _Precision:
    return _FORMATS[x.bits]


def _polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    result = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = fma(result, x, c)
    return result


def _clamp(x: Vector, low: float, high: float) -> Vector:
    """A NaN passes, since it compares false."""
    x = choose(x.compare("lt", low), low, x)
    return choose(x.compare("gt", high), high, x)


# ----------------------------------------------------------------- e^x
def _reduced(x: Vector) -> tuple[Vector, Vector]:
    """An integer n, in the low bits of a float's, and e^r − 1 for r = x − n log 2, |r| <= log(2)/2."""
    p = _format(x)
    shifted = fma(x, 1 / math.log(2), p.magic)
    n = shifted - p.magic
    r = fma(n, -p.log2_low, fma(n, -p.log2_high, x))
    return shifted.as_bits(), fma(r * r, _polynomial(r, p.exponential), r)


def _bits_of(value: float, x: Vector) -> Vector:
    return x.like(value).as_bits()


def _power_of_two(n: Vector, x: Vector, less: int = 0) -> Vector:
    """2^(n − less) for n in the low bits, whatever the high ones, where it is a normal number."""
    p = _format(x)
    return ((n << p.shift) + ((p.bias - less) << p.shift)).as_float()


def exp(x: Vector) -> Vector:
    """e^x: infinite above the range, subnormal and then 0 below it."""
    x, p = x.plain(), _format(x)
    low_bits, excess = _reduced(_clamp(x, p.lowest, p.highest))
    n = low_bits - _bits_of(p.magic, x)
    first = n.signed_shift(1)  # in two factors, since 2^n itself may be out of range
    return (excess + 1.0) * _power_of_two(first, x) * _power_of_two(n - first, x)


def expm1(x: Vector) -> Vector:
    """e^x − 1, accurate at 0: 2^n (e^r − 1) + (2^n − 1), halved so that 2^n is never out of range."""
    x, p = x.plain(), _format(x)
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
    p, bits = _format(x), x.as_bits()
    n = (bits - p.half).signed_shift(p.shift)
    return n, (bits - (n << p.shift)).as_float()


def _log_of(n: Vector, f: Vector) -> Vector:
    """N log 2 + log(1 + f): with s = f/(2 + f) and R = s²·poly, log(1 + f) = f − (f²/2 − s (f²/2 + R))."""
    p = _format(f)
    count = (n + _bits_of(p.magic, f)).as_float() - p.magic
    s = f / (f + 2.0)
    w = s * s
    half = f * f * 0.5
    tail = fma(count, p.log2_low, s * fma(w, _polynomial(w, p.logarithm), half))
    return fma(count, p.log2_high, f - (half - tail))


def _positive_log(x: Vector) -> Vector:
    n, m = _split(x.plain())
    return _log_of(n, m - 1.0)


def _outside(x: Vector, value: Vector, pole: float) -> Vector:
    """The logarithm's values where x is not in (pole, ∞)."""
    value = choose(x.compare("gt", pole), value, math.nan)
    value = choose(x.compare("eq", pole), -math.inf, value)
    return choose(x.compare("eq", math.inf), math.inf, value)


def log(x: Vector) -> Vector:
    """log x: −∞ at 0, NaN below."""
    x, p = x.plain(), _format(x)
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


# ----------------------------------------------------------------- sin x
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
    x, p = x.plain(), _format(x)
    shifted = fma(x, 2 / math.pi, p.magic)
    n, q = shifted - p.magic, shifted.as_bits() + quarter
    r, e = _less_half_pi(x, n)
    w = r * r
    sine = r + fma(r * w, _polynomial(w, _SINE[x.bits]), e)
    half = w * 0.5
    top = 1.0 - half
    cosine = top + (((1.0 - top) - half) + (w * w * _polynomial(w, _COSINE[x.bits]) - r * e))
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


FUNCTIONS = {"exp": exp, "expm1": expm1, "tanh": tanh, "log": log, "log1p": log1p, "sin": sin, "cos": cos}


# ----------------------------------------------------------------- the generator
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
    p = _format(u)
    four = u * 4.0
    shifted = four + p.magic
    t, q = four - (shifted - p.magic), shifted.as_bits()
    w = t * t
    sine = fma(t * w, _polynomial(w, p.sine), t * (math.pi / 2))
    cosine = fma(w, _polynomial(w, p.cosine), 1.0)
    odd = (q & 1).compare("ne", 0)
    top = u.bits - 2
    c, s = choose(odd, sine, cosine).as_bits(), choose(odd, cosine, sine).as_bits()
    return (c ^ (((q + 1) & 2) << top)).as_float(), (s ^ ((q & 2) << top)).as_float()


def _normals(state: list[Vector], bits: int, count: int) -> list[Vector]:
    """Box-Muller pairs, the numbers of ``noise.normals`` up to rounding."""
    out: list[Vector] = []
    while len(out) < count:
        radius = root(_positive_log(_uniform(state, bits)) * -2.0)
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
