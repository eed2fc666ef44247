"""How the noise of one step grows away from the paths, and the coordinate in which a grid can follow it.

Under noise that grows like |x| the paths spread like e^W: on a uniform grid the far nodes are noisier than its spacing
allows, and the law reaches further than any number of standard deviations.  In y with x = c + w sinh(y/w) the noise is
even, and the law is nearly normal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...dynamics.sde import SDE

__all__ = ["Spread", "Stretch", "drift_and_covariance", "growth_of", "spread_of_model", "stretch_for", "unstretched"]

_EVEN = {1: 1.5, 2: 1.8}  # times the noise on the paths, up to which the grid's own reserve of stability is enough
_LINEAR = (0.5, 1.3)  # exponents of growth that sinh evens: below there is nothing to even, above it does not help
_FURTHER = 4.0  # times the half width of the box, where exponents of growth are measured
_NARROWEST = 0.05  # of the half width of the box: w of a noise that vanishes
_ACROSS = {1: 33, 2: 9}  # points per axis at which the noise is looked at

Spread = Callable[[np.ndarray], np.ndarray]  # points (N, d) -> standard deviation of one step along each axis (N, d)


@dataclass(frozen=True, eq=False)
class Stretch:
    """x = c + w sinh(y/w) along each axis: linear about c, exponential from |x − c| = w on; x = c + y for w = ∞."""

    centre: np.ndarray
    width: np.ndarray

    def flat(self, x: np.ndarray) -> np.ndarray:
        """The coordinates y (..., d) of points x (..., d)."""
        s, w = x - self.centre, self._finite
        return np.where(np.isfinite(self.width), w * np.arcsinh(s / w), s)

    def back(self, y: np.ndarray) -> np.ndarray:
        """The points x (..., d) of coordinates y (..., d)."""
        w = self._finite
        return self.centre + np.where(np.isfinite(self.width), w * np.sinh(y / w), y)

    @property
    def _finite(self) -> np.ndarray:
        return np.where(np.isfinite(self.width), self.width, 1.0)


def spread_of_model(sde: SDE, eta: float) -> Spread:
    """The standard deviations √(eta (B Bᵀ)_ii) of an SDE over a time eta."""

    def spread(x: np.ndarray) -> np.ndarray:
        _, covariance = drift_and_covariance(sde, torch.from_numpy(x))
        return (eta * covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0)).sqrt().numpy()

    return spread


def stretch_for(spreads: Sequence[Spread], paths: np.ndarray, low: np.ndarray, high: np.ndarray) -> Stretch | None:
    """The coordinate for noises of these spreads about ``paths`` (K, d) in a box; None where the noise is even.

    Raises
    ------
    ValueError
        Where the noise grows faster than |x| and one step from the edge of the box leaves it.
    """

    def spread(x: np.ndarray) -> np.ndarray:
        return np.max([s(x) for s in spreads], axis=0)

    lattice = _lattice(low, high)
    inside, usual = spread(lattice), np.maximum(spread(paths).max(0), 1e-300)
    # coefficients that are NaN somewhere are left to the tables, which name the point
    if not np.any(inside.max(0) > _EVEN[len(low)] * usual):
        return None
    centre = lattice[np.argmin((inside / usual).max(1))]
    half = np.maximum(high - centre, centre - low)
    near, far = (spread(centre + k * half * _directions(len(low))).max(0) for k in (1.0, _FURTHER))
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.log(far / near) / math.log(_FURTHER)
    exponent = np.where(far == 0, 0.0, exponent)
    if np.all(exponent <= _LINEAR[1]):
        width = np.maximum(inside.min(0) * half * _FURTHER / np.maximum(far, 1e-300), _NARROWEST * half)
        even = exponent <= _LINEAR[0]
        return unstretched(len(low)) if even.all() else Stretch(centre, np.where(even, math.inf, width))
    if np.any(near > half):
        i = int(np.argmax(near / half))
        raise ValueError(
            f"the noise of a step must not outgrow x for quadrature: about x[{i}] = {centre[i] + half[i]:.3g}, which "
            f"paths may reach, it grows like |x|^{exponent[i]:.2g}, and one step's standard deviation is {near[i]:.3g} "
            "there: no grid holds its paths, and the expectation may not exist."
        )
    return unstretched(len(low))


def unstretched(d: int) -> Stretch:
    """y = x, for a grid whose far nodes are noisier than its spacing allows."""
    return Stretch(np.zeros(d), np.full(d, math.inf))


def growth_of(phi: Callable[[Tensor], Tensor], x: np.ndarray, half: np.ndarray) -> float:
    """The exponent p of |phi| ~ |x|^p between one and four half widths of a box about x, at least 0."""
    axes = np.concatenate([np.diag(half), -np.diag(half)])
    sizes = [np.abs(np.asarray(phi(torch.from_numpy(x + k * axes)), float)).max() for k in (1.0, _FURTHER)]
    if not np.isfinite(sizes).all():
        return math.inf
    return max(0.0, math.log(max(sizes[1], 1e-300) / max(sizes[0], 1e-300)) / math.log(_FURTHER))


def _lattice(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    axes = [np.linspace(a, b, _ACROSS[len(low)]) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(low))


def _directions(d: int) -> np.ndarray:
    """To the sides and corners of a box."""
    return np.array([k for k in itertools.product((-1.0, 0.0, 1.0), repeat=d) if any(k)])


@torch.no_grad()
def drift_and_covariance(sde: SDE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Drift b (N, d) and B Bᵀ (N, d, d) at points x (N, d)."""
    drift, diffusion = sde.coefficients(x)
    d = x.shape[1]
    if diffusion is None:
        return drift, x.new_zeros(len(x), d, d)
    _, transposed, *_ = torch.func.vjp(diffusion, x.new_zeros(len(x), sde.noise_dim))  # row i of B is Bᵀ e_i
    basis = torch.eye(d, dtype=x.dtype)
    B = torch.stack([transposed(basis[i].expand(len(x), d).clone())[0] for i in range(d)], 1)
    return drift, B @ B.mT
