"""Special functions of one variable q >= 0 as Chebyshev interpolants on the whole half-line.

Torch has no confluent hypergeometric function, and a quadrature per replicate and step would cost two
hundred evaluations.  For a function F that decays like q^-p, the product F(q)(1+q/c)^p is smooth in
s = (q - c)/(q + c) in [-1, 1], so a short Chebyshev series gives it everywhere.  It is evaluated in powers of s
by Horner's rule: its coefficients fall faster than those of the powers grow, so no digit is lost, and half of
Clenshaw's arithmetic is saved.  Plain arithmetic: differentiable, traceable, and the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import chebyshev
from torch import Tensor

__all__ = ["HalfLineInterpolant", "interpolate"]

_ROUNDING = 1e-14  # functions of order one are known to about 50 units in the last place, no better


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
    functions: Sequence[Callable[[np.ndarray], np.ndarray]],
    *,
    decay: Sequence[float],
    scale: float,
    tolerances: Sequence[float],
    most_terms: int = 256,
) -> HalfLineInterpolant:
    """Interpolate each F_k(q)(1+q/c)^p_k on q in [0, ∞) to ``tolerances[k]`` times its largest coefficient + 1e-14.

    The number of terms grows until the last eighth of the Chebyshev coefficients is below the tolerances.

    Raises
    ------
    ValueError
        When ``most_terms`` do not suffice: the decay is wrong or the function is not smooth.  When the coefficients
        of powers are so large that rounding exceeds the tolerances: the Chebyshev ones fall too slowly.
    """
    terms, excess = 32, np.inf
    tolerance = np.asarray(tolerances)
    while terms <= most_terms:
        columns = [_coefficients(f, p, scale, terms) for f, p in zip(functions, decay, strict=True)]
        a = np.stack(columns, axis=1)
        relative = np.abs(a) / (tolerance * np.abs(a).max(axis=0) + _ROUNDING)
        excess = relative[-terms // 8 :].max()
        if excess <= 1:
            last = [np.flatnonzero(column > 1 / 8)[-1] for column in relative.T]  # what follows halves term by term
            a = np.where(np.arange(terms)[:, None] <= last, a, 0.0)  # an exact 0 is no work for the fused engine
            powers = _in_powers(a[: max(last) + 1], tolerance)
            return HalfLineInterpolant(torch.from_numpy(powers), tuple(decay), scale)
        terms += 16
    raise ValueError(
        f"tolerances {tuple(tolerances)} are not reached with {most_terms} terms (off by a factor {excess:.1e}): "
        "a function does not decay as declared, or is not smooth on the half-line."
    )


def _in_powers(a: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Coefficients of 1, s, s^2, .. from those of T_0, T_1, .., column by column."""
    powers = np.zeros_like(a)
    for k, column in enumerate(a.T):
        found = chebyshev.cheb2poly(np.trim_zeros(column, "b"))
        powers[: len(found), k] = found
    lost = np.finfo(float).eps * np.abs(powers).sum(axis=0)
    if (lost > tolerance * np.abs(a).max(axis=0) + _ROUNDING).any():
        raise ValueError(f"tolerances {tuple(tolerance)} are below the rounding of a sum of powers, {lost.max():.1e}.")
    return powers


def _coefficients(f: Callable[[np.ndarray], np.ndarray], p: float, scale: float, terms: int) -> np.ndarray:
    def weighted(s: np.ndarray) -> np.ndarray:
        q = scale * (1 + s) / (1 - s)
        return f(q) * (1 + q / scale) ** p

    return chebyshev.chebinterpolate(weighted, terms - 1)  # pyright: ignore[reportCallIssue, reportArgumentType]
