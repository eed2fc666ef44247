"""Exact first and second moments where every draw of the noise makes the step affine: noise that depends on x.

    kernel   x⁺ = M_q x + n_q with probability w_q:     P⁺ = Σ_q w_q M̃_q P M̃_qᵀ
    SDE      dX = (D X + c) dt + Σ_j (N_j X + n_j) dW_j:  P' = D̃ P + P D̃ᵀ + Σ_j Ñ_j P Ñ_jᵀ

for P = E[y yᵀ], y = (1, x), with the affine maps written as (d+1) x (d+1) matrices.  Minibatch SGD and USAM on finite
sums of quadratics are of this kind, and so are their general SDEs.  The matrices are found by probing and affinity is
verified, so these are the exact moments of the *given* kernel, right or wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from ...arguments import require_count, require_positive
from ...dynamics.kernels import Kernel
from ...dynamics.sde import SDE
from ...problems.noise import Normal

__all__ = ["MomentPath", "kernel_moments", "sde_moments"]

_AFFINITY = 1e-10  # relative violation of affinity that is still rounding


@dataclass(frozen=True, eq=False)
class MomentPath:
    """E x ``(K+1, d)`` and E x xᵀ ``(K+1, d, d)`` at steps 0..K."""

    mean: np.ndarray
    second: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Cov x ``(K+1, d, d)``."""
        return self.second - self.mean[:, :, None] * self.mean[:, None, :]


@torch.no_grad()
def kernel_moments(
    kernel: Kernel, x0: Sequence[float], steps: int, *, nodes: tuple[Any, Tensor] | None = None
) -> MomentPath:
    """Moments of a kernel at steps 0..steps from a fixed start, all its substeps taken.

    Parameters
    ----------
    nodes : a rule (z, w) of the kernel's noise; by default ``kernel.noise.nodes(3)``, which is all draws of a
        discrete noise, and exact for normal noise in which the step is of degree 2

    Raises
    ------
    ValueError, TypeError
        When the step is not affine in x for some draw, or not of degree 2 in normal noise; for a start of the wrong
        length, or a kernel whose state is not x.
    """
    steps = require_count("steps", steps, least=1, why="a path needs a step")
    start = torch.tensor([list(x0)], dtype=torch.float64)
    state = kernel.init(start)
    if not isinstance(state, Tensor) or state.shape != start.shape:
        raise TypeError(f"kernel must have the iterate as its state, {kernel.name} has another: give one member alone.")
    if nodes is None and isinstance(kernel.noise, Normal):
        _require_degree_two(kernel, state)
    z, w = kernel.noise.nodes(3) if nodes is None else nodes

    def step(x: Tensor) -> Tensor:
        every = kernel.step(x.repeat(len(w), 1), _repeated(z, len(x)))
        return every.reshape(len(w), *x.shape)

    maps = _affine(step, len(x0), kernel.name)
    weighted = w.numpy()[:, None, None] * maps

    def advance(P: np.ndarray) -> np.ndarray:
        for _ in range(kernel.substeps):
            P = np.einsum("qij,jk,qlk->il", weighted, P, maps, optimize=True)
        return P

    return _path(advance, x0, steps)


@torch.no_grad()
def sde_moments(sde: SDE, x0: Sequence[float], h: float, steps: int) -> MomentPath:
    """Moments of an SDE with affine drift and affine diffusion columns at times 0, h, .., steps·h, exact to rounding.

    Raises
    ------
    ValueError
        When the drift or a column of the diffusion is not affine in x; for a start of the wrong length.
    """
    h = require_positive("h", h, "it is the model time between two looks")
    steps = require_count("steps", steps, least=1, why="a path needs a step")
    d, m = len(x0), sde.noise_dim
    if sde.dim not in (None, d):
        raise ValueError(f"x0 must have {sde.dim} numbers, the dimension of the SDE, got {d}.")

    def columns(x: Tensor) -> Tensor:
        drift, diffusion = sde.coefficients(x)
        if diffusion is None:
            return drift[None]
        basis = torch.eye(m, dtype=torch.float64)
        return torch.stack([drift, *(diffusion(row.expand(len(x), m)) for row in basis)])

    maps = _affine(columns, d, "SDE")
    maps[:, 0, 0] = 0.0  # increments: the constant 1 does not change
    I = np.eye(d + 1)  # noqa: E741
    generator = np.kron(maps[0], I) + np.kron(I, maps[0]) + sum(np.kron(N, N) for N in maps[1:])
    step = expm(h * generator)
    return _path(lambda P: (step @ P.reshape(-1)).reshape(d + 1, d + 1), x0, steps)


def _path(advance: Callable[[np.ndarray], np.ndarray], x0: Sequence[float], steps: int) -> MomentPath:
    y = np.concatenate(([1.0], np.asarray(x0, float)))
    P = [np.outer(y, y)]
    for _ in range(steps):
        P.append(advance(P[-1]))
    path = np.stack(P)
    return MomentPath(path[:, 0, 1:], path[:, 1:, 1:])


def _repeated(z: Any, times: int) -> Any:
    """Every node ``times`` times, node by node."""
    if isinstance(z, tuple):
        return tuple(_repeated(part, times) for part in z)
    return z.repeat_interleave(times, 0)


def _require_degree_two(kernel: Kernel, x: Tensor) -> None:
    """Third differences in z vanish along a random line: then three Hermite nodes a dimension are exact."""
    assert isinstance(kernel.noise, Normal)
    generator = torch.Generator().manual_seed(1)
    z, direction = torch.randn(2, 1, *kernel.noise.shape, dtype=torch.float64, generator=generator)
    s0, s1, s2, s3 = (kernel.step(x, z + t * direction) for t in range(4))
    if float((s3 - 3 * s2 + 3 * s1 - s0).abs().max()) > _AFFINITY * (1 + float(s3.abs().max())):
        raise ValueError(
            f"{kernel.name} must be of degree 2 in its normal noise for exact second moments: pass nodes, a rule "
            "of the order that you need."
        )


def _affine(step: Callable[[Tensor], Tensor], d: int, name: str) -> np.ndarray:
    """The (count, d+1, d+1) matrices of the maps that step(x (P, d)) -> (count, P, d) takes together."""
    generator = torch.Generator().manual_seed(0)
    probes = torch.cat((
        torch.zeros(1, d, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64),
        torch.randn(4, d, dtype=torch.float64, generator=generator),
    ))  # fmt: skip
    found = step(probes)
    count = len(found)
    shift = found[:, :1]
    linear = found[:, 1 : d + 1] - shift
    error = float((shift + probes[d + 1 :] @ linear - found[:, d + 1 :]).abs().max())
    if not error <= _AFFINITY * (1 + float(found.abs().max())):
        raise ValueError(
            f"{name} must be affine in x for every draw of its noise, it is off by {error:.2g} at a random point: "
            "SGD and USAM on (finite sums of) quadratics are, SAM and DNSAM are not."
        )
    maps = np.zeros((count, d + 1, d + 1))
    maps[:, 0, 0] = 1.0
    maps[:, 1:, 0], maps[:, 1:, 1:] = shift[:, 0].numpy(), linear.mT.numpy()
    return maps
