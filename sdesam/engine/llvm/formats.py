"""The two floating-point formats: what the elementary functions must know of them, and their polynomials.

Polynomials are Chebyshev interpolants computed in 60 digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vectors import Vector, fma

__all__ = ["Precision", "format_of", "polynomial"]


@dataclass(frozen=True)
class Precision:
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
    64: Precision(
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
    32: Precision(
        23, 127, 1.5 * 2.0**23, 0.693145751953125, 1.4286068203094173e-06,
        (0.5, 0.1666666716337204, 0.04166646674275398, 0.00833331048488617, 0.0013933649752289057,
         0.00019890991097781807),
        (0.6666666865348816, 0.4000012278556824, 0.28550779819488525, 0.23331613838672638),
        (-0.6459640860557556, 0.07969260960817337, -0.004681474529206753, 0.00015865080058574677),
        (-1.2337005138397217, 0.253669410943985, -0.02086152695119381, 0.000906734901946038),
        0x3F3504F3, -104.0, 89.0, 2.0**-126,
    ),
}  # fmt: skip


def format_of(x: Vector) -> Precision:
    """The format of a vector's numbers."""
    return _FORMATS[x.bits]


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """Σ c_k x^k by Horner's rule."""
    result = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = fma(result, x, c)
    return result
