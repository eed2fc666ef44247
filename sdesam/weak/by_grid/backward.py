"""Backward propagation of a function on a local grid: E phi(x_k) at every step without Monte Carlo, for d <= 2.

With P the transition of one step, u_(k+1)(x) = (P u_k)(x) = E u_k(x⁺), u_0 = phi, and E phi(x_k) = u_k(x_0): all steps
at the price of one matrix.  Row i of the matrix of P interpolates u_k by a polynomial on the 2r x … x 2r nodes about
the mean of x⁺ from node i, and averages that polynomial over the nodes of the noise: exact but for the interpolation,
of order 2r in the spacing and in the noise of one step.  The spacing must not be smaller than about that noise, or
polynomials are evaluated far outside their stencil and the matrix is unstable; rows that interpolate about every
arrival, dearer, have no such limit.  Stencils shrink towards the edge of the
grid, to the line through its last two nodes, which is stable where the flow leaves; what is wrong there must stay some
stencils away from x0 and its paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from .growth import Stretch

__all__ = ["Grid", "grid_about", "interpolate", "propagate", "transition"]

_RADIUS = {1: 8, 2: 4}  # half the nodes of a full stencil in one dimension: polynomials of degree 15 and 7
_MARGIN = {1: 16, 2: 12}  # nodes beyond the box on either side: errors made at the edge do not reach the paths
_FITS = 1.3  # standard deviation of the arrivals of a row, in nodes, up to which one stencil is enough
_AT_ONCE = 2**20  # entries of wide rows
_DENSE = 1000  # nodes up to which powers of the dense matrix are the faster way


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes low + h·j, 0 <= j < shape, in each of d <= 2 dimensions; ``start`` is the number of the node x0.

    With a ``stretch`` they are nodes in its coordinates, and rows whose arrivals leave their stencil interpolate about
    every arrival: no spacing is too small for that.
    """

    low: np.ndarray
    h: np.ndarray
    shape: tuple[int, ...]
    start: int
    stretch: Stretch | None = None

    @property
    def radius(self) -> int:
        """Half the nodes of a full stencil in one dimension."""
        return _RADIUS[len(self.shape)]

    @property
    def points(self) -> Tensor:
        """All nodes (N, d), the last dimension fastest."""
        axes = [a + h * np.arange(n) for a, h, n in zip(self.low, self.h, self.shape, strict=True)]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
        return torch.from_numpy(nodes if self.stretch is None else self.stretch.back(nodes))

    def local(self, x: np.ndarray) -> np.ndarray:
        """Coordinates in units of the spacing, 0 at the lowest node."""
        return ((x if self.stretch is None else self.stretch.flat(x)) - self.low) / self.h


def grid_about(x0: np.ndarray, low: np.ndarray, high: np.ndarray, nodes: int, stretch: Stretch | None = None) -> Grid:
    """``nodes`` intervals per dimension over the box [low, high] and a margin around it, with x0 as a node.

    With a ``stretch`` all three are in its coordinates.
    """
    h = (high - low) / nodes
    margin = _MARGIN[len(x0)]
    left, right = (np.ceil(np.abs(side - x0) / h - 1e-9).astype(int) + margin for side in (low, high))
    shape = tuple(int(n) for n in left + right + 1)
    return Grid(x0 - left * h, h, shape, int(np.ravel_multi_index(tuple(left), shape)), stretch)


def transition(grid: Grid, arrivals: Iterable[tuple[np.ndarray, np.ndarray]]) -> csr_array:
    """The matrix (N, N) of u ↦ E u(x⁺).

    ``arrivals`` are, for all nodes in their order and a few at a time, x⁺ at the nodes of the noise (n, Q, d) and their
    weights (n, Q).
    """
    if grid.stretch is not None:
        return csr_array(vstack([_spread_rows(grid, x, w) for x, w in arrivals], "csr"))
    column, value = (np.concatenate(part) for part in zip(*(_rows(grid, x, w) for x, w in arrivals), strict=True))
    return _matrix(column, value, len(value), math.prod(grid.shape))


def propagate(matrix: csr_array, u: np.ndarray, at: int, steps: int, substeps: int = 1) -> np.ndarray:
    """E phi (steps + 1, J) at steps of ``substeps`` transitions, from node ``at``, for columns u (N, J) of phi."""
    out = np.empty((steps + 1, u.shape[1]))
    out[0] = u[at]
    small = len(u) <= _DENSE
    with np.errstate(over="ignore", invalid="ignore"):  # an expectation that does not exist becomes infinite, or NaN
        P = np.linalg.matrix_power(np.asarray(matrix.todense()), substeps) if small else matrix
        for k in range(steps):
            for _ in range(1 if small else substeps):
                u = P @ u
            out[k + 1] = u[at]
    return out


def interpolate(grid: Grid, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values (N, J) on the grid, interpolated at points x (M, d); outside, by the line through the last two nodes."""
    column, weight = _rows(grid, x[:, None, :], np.ones((len(x), 1)))
    return np.einsum("na,naj->nj", weight, values[column])


# ----------------------------------------------------------------- one row: moments of the polynomials of a stencil
def _rows(grid: Grid, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the rows that arrive at x (n, Q, d) with weights w (n, Q)."""
    s, R = grid.local(x), grid.radius
    centre = np.einsum("nq,nqd->nd", w, s)
    offsets, nodal = np.arange(-R + 1, R + 1), _nodal_matrices(R)
    column, parts = np.zeros((len(x), 1), int), []
    for i, length in enumerate(grid.shape):
        left = np.clip(np.floor(centre[:, i]), 0, length - 2).astype(int)
        reach = np.minimum(np.minimum(left + 1, length - 1 - left), R)
        parts.append((_polynomials(s[..., i], left, reach, 2 * R), nodal[reach]))
        index = np.clip(left[:, None] + offsets, 0, length - 1)
        column = (column[:, :, None] * length + index[:, None, :]).reshape(len(x), -1)
    if len(parts) == 1:
        ((basis, to_nodes),) = parts
        return column, (to_nodes @ (w[:, None] @ basis).transpose(0, 2, 1))[..., 0]
    (first, to_first), (second, to_second) = parts
    moments = (w[..., None] * first).transpose(0, 2, 1) @ second
    return column, (to_first @ moments @ to_second.transpose(0, 2, 1)).reshape(len(x), -1)


def _spread_rows(grid: Grid, x: np.ndarray, w: np.ndarray) -> csr_array:
    """Rows (n, N) where arrivals may leave their stencil: such a row interpolates about every one of them."""
    N, s = math.prod(grid.shape), grid.local(x)
    mean = np.einsum("nq,nqd->nd", w, s)
    wide = np.any(np.einsum("nq,nqd->nd", w, (s - mean[:, None]) ** 2) > _FITS**2, axis=1)
    out = _matrix(*_rows(grid, x, w), len(x), N)
    out.data[np.repeat(wide, np.diff(out.indptr))] = 0.0
    wide, few = np.flatnonzero(wide), max(1, _AT_ONCE // (w.shape[1] * (2 * grid.radius) ** len(grid.shape)))
    for rows in (wide[i : i + few] for i in range(0, len(wide), few)):
        column, value = _rows(grid, x[rows].reshape(-1, 1, x.shape[2]), np.ones((len(rows) * w.shape[1], 1)))
        value *= w[rows].reshape(-1, 1)
        row = np.repeat(rows, w.shape[1] * column.shape[1])
        out = out + csr_array((value.ravel(), (row, column.ravel())), shape=(len(x), N))
    return out


def _matrix(column: np.ndarray, value: np.ndarray, n: int, N: int) -> csr_array:
    return csr_array((value.ravel(), column.ravel(), np.arange(n + 1) * value.shape[1]), shape=(n, N))


def _polynomials(s: np.ndarray, left: np.ndarray, reach: np.ndarray, count: int) -> np.ndarray:
    """Chebyshev polynomials of degree < count in the stencil's own coordinate, [−1, 1] on its nodes: (n, Q, count)."""
    t = (s - (left + 0.5)[:, None]) / (reach - 0.5)[:, None]
    out = np.empty((*t.shape, count))
    out[..., 0], out[..., 1] = 1.0, t
    for k in range(2, count):
        out[..., k] = 2 * t * out[..., k - 1] - out[..., k - 2]
    return out


@cache
def _nodal_matrices(R: int) -> np.ndarray:
    """For reach r = 0..R the matrix from polynomial moments to the weights of 2R nodes, zero beyond the reach."""
    out = np.zeros((R + 1, 2 * R, 2 * R))
    for r in range(1, R + 1):
        nodes = (np.arange(-r + 1, r + 1) - 0.5) / (r - 0.5)
        values = np.polynomial.chebyshev.chebvander(nodes, 2 * r - 1)
        out[r, R - r : R + r, : 2 * r] = np.linalg.inv(values).T
    return out
