"""Special functions of one variable q >= 0 as Chebyshev interpolants on the whole half-line.

Torch has no confluent hypergeometric function, and a quadrature per replicate and step would cost two
hundred evaluations.  For a function F that decays like q^-p, the product F(q)(1+q/c)^p is smooth in
s = (q - c)/(q + c) in [-1, 1], so a short Chebyshev series gives it everywhere.  It is evaluated in powers of s
by Horner's rule: its coefficients fall faster than those of the powers grow, so no digit is lost, and half of
Clenshaw's arithmetic is saved.  Plain arithmetic: differentiable, traceable, and the same on every device.

The coefficients travel: they stand in compiled lists and in exported pages.  So they are the same bits on every
machine: all that makes them is decimal arithmetic of fifty digits, which Python defines to the last digit, and each is
rounded to a float once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import torch
from jaxtyping import Float
from torch import Tensor

from ...problems.quadrature import FIFTY_DIGITS

__all__ = ["PI", "HalfLineInterpolant", "interpolate", "kummer"]

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

_ROUNDING = Decimal("1e-14")  # a float of order one, summed from these terms, is not known better
_UNIT = Decimal(2) ** -53
_END = Decimal("1e-52")
_FAR = 110  # e^-110 is below fifty digits' needs: what the expansion at infinity leaves out


@dataclass(frozen=True, eq=False)
class HalfLineInterpolant:
    """K functions F_k(q) = (1+q/c)^-p_k Σ_j a_jk ((q-c)/(q+c))^j, evaluated together.

    Attributes
    ----------
    coefficients : the a_jk, shape (terms, K), float64
    decay : the exponents p_k
    scale : the constant c, the q that sits in the middle of the Chebyshev interval
    """

    coefficients: Float[Tensor, "terms K"]
    decay: tuple[float, ...]
    scale: float

    def __call__(self, q: Float[Tensor, "*batch"]) -> tuple[Tensor, ...]:
        """The K values at q, each of q's shape."""
        a = self.coefficients.to(q).reshape(*self.coefficients.shape, *[1] * q.ndim)
        s = (q - self.scale) / (q + self.scale)
        values = a[-1] + torch.zeros_like(s)
        for row in reversed(a[:-1].unbind(0)):
            values = torch.addcmul(row, s, values)
        weight = 1 + q / self.scale
        return tuple(v * weight**-p if p else v for v, p in zip(values.unbind(0), self.decay, strict=True))


def interpolate(
    functions: Callable[[Decimal], Sequence[Decimal]],
    *,
    decay: Sequence[float],
    scale: float,
    tolerances: Sequence[float],
    most_terms: int = 256,
) -> HalfLineInterpolant:
    """Interpolate each F_k(q)(1+q/c)^p_k on q in [0, ∞) to ``tolerances[k]`` times its largest coefficient + 1e-14.

    The number of terms grows until the last eighth of the Chebyshev coefficients is below the tolerances.

    Parameters
    ----------
    functions : q ↦ (F_1(q), .., F_K(q)), called and answering in decimals under ``FIFTY_DIGITS``
    decay : the exponents p_k

    Raises
    ------
    ValueError
        When ``most_terms`` do not suffice: the decay is wrong or the function is not smooth.  When the coefficients
        of powers are so large that rounding exceeds the tolerances: the Chebyshev ones fall too slowly.
    """
    with localcontext(FIFTY_DIGITS):
        terms, excess = 32, Decimal("Infinity")
        while terms <= most_terms:
            columns = _chebyshev(functions, decay, scale, terms)
            bounds = [Decimal(t) * max(map(abs, a)) + _ROUNDING for a, t in zip(columns, tolerances, strict=True)]
            relative = [[abs(v) / bound for v in a] for a, bound in zip(columns, bounds, strict=True)]
            excess = max(max(r[-(terms // 8) :]) for r in relative)
            if excess <= 1:
                kept = [a[: _enough(r)] for a, r in zip(columns, relative, strict=True)]
                return HalfLineInterpolant(_table(kept, bounds), tuple(decay), scale)
            terms += 16
    raise ValueError(
        f"tolerances {tuple(tolerances)} are not reached with {most_terms} terms (off by a factor {excess:.1e}): "
        "a function does not decay as declared, or is not smooth on the half-line."
    )


def _enough(relative: Sequence[Decimal]) -> int:
    """How many terms to keep: those left out sum to a quarter of the tolerance at most."""
    count, rest = len(relative), Decimal(0)
    while rest + relative[count - 1] <= Decimal("0.25"):
        count, rest = count - 1, rest + relative[count - 1]
    return count


def _table(columns: Sequence[Sequence[Decimal]], bounds: Sequence[Decimal]) -> Tensor:
    """Coefficients of 1, s, s², .. as floats (terms, K); an exact 0 is no work for the fused engine."""
    powers = [_in_powers(a) for a in columns]
    lost = [2 * _UNIT * sum(map(abs, p)) for p in powers]
    if any(one > bound for one, bound in zip(lost, bounds, strict=True)):
        raise ValueError(f"tolerances are below the rounding of a sum of powers, {max(lost):.1e}.")
    terms = max(map(len, powers))
    rows = [[float(p[j]) if j < len(p) else 0.0 for p in powers] for j in range(terms)]
    return torch.tensor(rows, dtype=torch.float64)


def _in_powers(a: Sequence[Decimal]) -> list[Decimal]:
    """Coefficients of 1, s, s², .. of Σ a_j T_j(s), by T_{j+1} = 2 s T_j − T_{j−1}, whose numbers are integers."""
    before, now = [0] * len(a), [1] + [0] * (len(a) - 1)
    found = [Decimal(0)] * len(a)
    for j, value in enumerate(a):
        found = [f + value * t for f, t in zip(found, now, strict=True)]
        shifted = [0, *now[:-1]]
        before, now = now, shifted if j == 0 else [2 * s - b for s, b in zip(shifted, before, strict=True)]
    return found


def _chebyshev(
    functions: Callable[[Decimal], Sequence[Decimal]], decay: Sequence[float], scale: float, terms: int
) -> list[list[Decimal]]:
    """The coefficients of T_0, T_1, .. of each function, from its values at the roots of the next T."""
    c, cosines = Decimal(scale), _cosines(terms)
    values = []
    for k in range(terms):
        s = cosines[2 * k + 1]
        q = c * (1 + s) / (1 - s)
        values.append([f * (1 + q / c) ** Decimal(p) for f, p in zip(functions(q), decay, strict=True)])
    turns = [[cosines[j * (2 * k + 1) % (4 * terms)] for k in range(terms)] for j in range(terms)]
    return [
        [
            sum((t * v for t, v in zip(turn, column, strict=True)), Decimal(0)) * (2 if j else 1) / terms
            for j, turn in enumerate(turns)
        ]
        for column in zip(*values, strict=True)
    ]


def _cosines(terms: int) -> list[Decimal]:
    """Cos(π m/(2 terms)) for m = 0..4 terms − 1: Taylor's series for the first, its recurrence for the rest."""
    angle = PI / (2 * terms)
    term, first, n = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal("1e-55"):
        n += 2
        term *= -angle * angle / (n * (n - 1))
        first += term
    found = [Decimal(1), first]
    while len(found) < 4 * terms:
        found.append(2 * first * found[-1] - found[-2])
    return found


# ----------------------------------------------------------------- Kummer's function
def kummer(a: Decimal, b: Decimal, limit: Decimal) -> Callable[[Decimal], Decimal]:
    """M(a, b, −q) as a function of q >= 0, to forty digits, for 0 < a <= b; make it and call it in ``FIFTY_DIGITS``.

    Up to q = max(110, b) by e^−q M(b−a, b, q), a series whose terms are positive; beyond by the expansion at infinity
    Γ(b)/Γ(b−a) q^−a Σ (a)_n (a−b+1)_n/n! q^−n, which leaves out e^−q.

    Parameters
    ----------
    limit : Γ(b)/Γ(b−a), of which the caller knows a closed form
    """
    far = max(Decimal(_FAR), b)
    series, expansion = _near(a, b, far), _at_infinity(a, b, far)

    def value(q: Decimal) -> Decimal:
        if q <= far:
            return (-q).exp() * _horner(series, q)
        return limit * q**-a * _horner(expansion, 1 / q)

    return value


def _near(a: Decimal, b: Decimal, far: Decimal) -> list[Decimal]:
    """(b−a)_n/((b)_n n!), until they end at q = far."""
    found, term, largest = [Decimal(1)], Decimal(1), Decimal(1)
    while term > largest * _END:
        n = len(found) - 1
        ratio = (b - a + n) / ((b + n) * (n + 1))
        found.append(found[-1] * ratio)
        term *= ratio * far
        largest = max(largest, term)
    return found


def _at_infinity(a: Decimal, b: Decimal, far: Decimal) -> list[Decimal]:
    """(a)_n (a−b+1)_n/n!, until they end, or begin to grow, at q = far."""
    found, term, ratio = [Decimal(1)], Decimal(1), Decimal(0)
    while abs(term) > _END and (len(found) < b or abs(ratio) < far):
        n = len(found) - 1
        ratio = (a + n) * (a - b + 1 + n) / (n + 1)
        found.append(found[-1] * ratio)
        term *= ratio / far
    return found


def _horner(coefficients: Sequence[Decimal], x: Decimal) -> Decimal:
    total = Decimal(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total
