"""Quadrature rules of standard normals, plain and about a pole where an integrand has a kink.

SAM's direction is not smooth where the stochastic gradient vanishes, and Gauss-Hermite rules fail there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["FIFTY_DIGITS", "hermite", "polar_about", "split_at", "tensor_rule"]

# Fifty digits, with the widest range of exponents that every build of Python has, and no signals but those of faults.
FIFTY_DIGITS = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=-425_000_000, Emax=425_000_000)
_CUT = 8.5  # a standard normal exceeds 8.5 with probability 2e-17: below one unit in the last place


def hermite(order: int, m: int) -> tuple[Tensor, Tensor]:
    """Tensor Gauss-Hermite rule of N(0, I_m): exact for polynomials of degree 2·order − 1 in each variable."""
    x, w = _hermite(order)
    return tensor_rule(x, w, m)


@cache
def _hermite(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of sum 1, the same bits on every machine since they stand in exported pages.

    Numpy's nodes differ between linear algebras by 1e-15; a step of Newton's method in fifty digits leaves 1e-28 of it,
    and what is then rounded is the same.
    """
    rough = np.polynomial.hermite_e.hermegauss(order)[0][(order + 1) // 2 :]
    with localcontext(FIFTY_DIGITS):
        roots = [Decimal(k).sqrt() for k in range(order + 1)]
        right = [_newton(roots, Decimal(float(start))) for start in rough]
        x = [*(-v for v in reversed(right)), *[Decimal(0)] * (order % 2), *right]
        w = [1 / (order * _orthonormal(roots, abs(v))[0] ** 2) for v in x]
    return np.array([float(v) for v in x]), np.array([float(v) for v in w])


def _newton(roots: Sequence[Decimal], x: Decimal) -> Decimal:
    before, last = _orthonormal(roots, x)
    return x - last / (roots[-1] * before)


def _orthonormal(roots: Sequence[Decimal], x: Decimal) -> tuple[Decimal, Decimal]:
    """h_{n−1} and h_n at x, orthonormal under N(0, 1): √(k+1) h_{k+1} = x h_k − √k h_{k−1}, h_n' = √n h_{n−1}."""
    before, last = Decimal(0), Decimal(1)
    for k in range(len(roots) - 1):
        before, last = last, (x * last - roots[k] * before) / roots[k + 1]
    return before, last


_leggauss = cache(np.polynomial.legendre.leggauss)


def tensor_rule(x: np.ndarray, w: np.ndarray, m: int) -> tuple[Tensor, Tensor]:
    """The m-fold product of a one-dimensional rule: nodes (Q, m), weights (Q,)."""
    points = np.array(list(itertools.product(x, repeat=m)))
    weights = np.array([math.prod(c, start=1.0) for c in itertools.product(w, repeat=m)])
    return torch.from_numpy(points.reshape(len(weights), m)), torch.from_numpy(weights)


def _legendre(low: Tensor, high: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre on [low, high], nodes along a new last axis."""
    x, w = (torch.from_numpy(a).to(low) for a in _leggauss(order))
    half = ((high - low) / 2)[..., None]
    return low[..., None] + half * (x + 1), half * w


def _normal_density(squared_norm: Tensor, m: int) -> Tensor:
    return torch.exp(-squared_norm / 2) / (2 * math.pi) ** (m / 2)


def split_at(pole: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Rule of N(0, 1) split at ``pole (..., 1)``: nodes (..., 4·order, 1), weights (..., 4·order).

    A pole in the tail gets the Gauss-Hermite rule of the same size.
    """
    p = pole[..., 0].clamp(-_CUT, _CUT)
    left, left_weight = _legendre(torch.full_like(p, -_CUT), p, 2 * order)
    right, right_weight = _legendre(p, torch.full_like(p, _CUT), 2 * order)
    z = torch.cat((left, right), -1)
    weight = torch.cat((left_weight, right_weight), -1) * _normal_density(z * z, 1)
    far_z, far_weight = (a.to(pole) for a in hermite(4 * order, 1))
    far = (pole.abs() > _CUT)[..., 0, None]
    return torch.where(far, far_z[:, 0], z)[..., None], torch.where(far, far_weight, weight)


def polar_about(pole: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Rule of N(0, I_2) in polar coordinates about ``pole (..., 2)``: 4·order² nodes.

    Trapezoidal in the angle (spectrally accurate), Gauss-Legendre in the radius.  A pole further out than
    the tail of the density gets the tensor rule of the same size: the integrand is smooth where mass is.
    """
    distance = torch.linalg.vector_norm(pole, dim=-1)
    angle = torch.arange(4 * order, dtype=pole.dtype, device=pole.device) * (2 * math.pi / (4 * order))
    near = distance.clamp(max=_CUT)
    r, w = _legendre(torch.zeros_like(near), near + _CUT, order)
    circle = torch.stack((torch.cos(angle), torch.sin(angle)), -1)
    z = pole[..., None, None, :] + r[..., None, None] * circle
    weight = (w * r)[..., None] * (2 * math.pi / (4 * order)) * _normal_density((z * z).sum(-1), 2)
    far_z, far_weight = (a.to(pole) for a in hermite(2 * order, 2))
    far = distance > _CUT
    z, weight = z.flatten(-3, -2), weight.flatten(-2, -1)
    return torch.where(far[..., None, None], far_z, z), torch.where(far[..., None], far_weight, weight)
