"""Exact means and covariances, at every step, of affine kernels and linear SDEs with additive noise.

    chain  x⁺ = A x + a + B z,            m⁺ = A m + a,        C⁺ = A C Aᵀ + Q,          Q = B Bᵀ
    SDE    dX = (D X + c) dt + B dW,      over a step h: m⁺ = e^{Dh} m + ∫e^{Ds}ds c,  C⁺ = e^{Dh} C e^{Dh}ᵀ + V

with V = ∫₀^h e^{Ds} B Bᵀ e^{Dᵀs} ds by Van Loan's block exponential, so D may be singular or unstable.
The matrices are found by probing ``step`` or ``coefficients`` at basis vectors, and affinity is verified at
random points.  So these are the exact moments of the *given* kernel, right or wrong: compare the matrices
themselves with theory to see a fault in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

from ...arguments import require_count, require_positive
from ...dynamics.kernels import Kernel
from ...dynamics.sde import SDE
from ...problems.noise import Normal

__all__ = [
    "AffineChain", "GaussianPath", "LinearSDE", "affine_chain", "chain_path", "linear_sde", "sde_path",
    "stationary_chain", "stationary_sde",
]  # fmt: skip

_AFFINITY = 1e-10  # relative violation of affinity that is still rounding
Matrix = np.ndarray
Vector = np.ndarray | Sequence[float]


@dataclass(frozen=True, eq=False)
class AffineChain:
    """x⁺ = A x + a + noise of covariance Q."""

    A: Matrix
    a: Matrix
    Q: Matrix


@dataclass(frozen=True, eq=False)
class LinearSDE:
    """dX = (D X + c) dt + B dW with Q = B Bᵀ."""

    D: Matrix
    c: Matrix
    Q: Matrix


@dataclass(frozen=True, eq=False)
class GaussianPath:
    """Mean ``(K+1, d)`` and covariance ``(K+1, d, d)`` at steps 0..K."""

    mean: Matrix
    covariance: Matrix

    def quadratic(self, H: Matrix) -> Matrix:
        """E ½ xᵀ H x at every step: ½ mᵀ H m + ½ tr(H C)."""
        squares = np.einsum("ki,ij,kj->k", self.mean, H, self.mean)
        return (squares + np.einsum("ij,kji->k", H, self.covariance)) / 2


@torch.no_grad()
def affine_chain(kernel: Kernel, dim: int) -> AffineChain:
    """The affine map of one step of a kernel with normal noise, all its substeps composed.

    Raises
    ------
    ValueError
        When the step is not affine in (x, z), or its noise is not normal.
    """
    if not isinstance(kernel.noise, Normal):
        raise ValueError(f"{kernel.name} must have normal noise for exact moments, got {kernel.noise}.")
    m = kernel.noise.size

    def step(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return kernel.step(x, z)

    a, A, B = _probe(step, dim, m, kernel.name)
    total, shift, Q = np.eye(dim), np.zeros(dim), np.zeros((dim, dim))
    for _ in range(kernel.substeps):
        total, shift, Q = A @ total, A @ shift + a, A @ Q @ A.T + B @ B.T
    return AffineChain(total, shift, Q)


@torch.no_grad()
def linear_sde(sde: SDE, dim: int) -> LinearSDE:
    """Drift matrix and noise covariance of an SDE with affine drift and constant diffusion.

    Raises
    ------
    ValueError
        When the drift is not affine or the diffusion depends on x.
    """

    def increment(x: torch.Tensor, dw: torch.Tensor) -> torch.Tensor:
        drift, diffusion = sde.coefficients(x)
        return drift if diffusion is None else drift + diffusion(dw)

    c, D, B = _probe(increment, dim, sde.noise_dim, "SDE")
    return LinearSDE(D, c, B @ B.T)


def chain_path(chain: AffineChain, x0: Vector, steps: int, covariance: Matrix | None = None) -> GaussianPath:
    """Moments of the chain at steps 0..steps from a fixed (or Gaussian) start."""
    steps = require_count("steps", steps, least=1, why="a path needs a step")
    return _iterate(chain.A, chain.a, chain.Q, x0, steps, covariance)


def sde_path(sde: LinearSDE, x0: Vector, h: float, steps: int, covariance: Matrix | None = None) -> GaussianPath:
    """Moments of the SDE at times 0, h, .., steps·h, exact to rounding."""
    h = require_positive("h", h, "it is the model time between two looks")
    steps = require_count("steps", steps, least=1, why="a path needs a step")
    E, shift, V = _propagator(sde, h)
    return _iterate(E, shift, V, x0, steps, covariance)


def stationary_chain(chain: AffineChain) -> Matrix:
    """C = A C Aᵀ + Q.  Raises ``ValueError`` unless the spectral radius of A is below 1."""
    radius = np.abs(np.linalg.eigvals(chain.A)).max()
    if radius >= 1:
        raise ValueError(f"the chain must be stable to have a stationary law, its spectral radius is {radius:.6g}.")
    return solve_discrete_lyapunov(chain.A, chain.Q)


def stationary_sde(sde: LinearSDE) -> Matrix:
    """D C + C Dᵀ + Q = 0.  Raises ``ValueError`` unless all eigenvalues of D have negative real part."""
    top = np.linalg.eigvals(sde.D).real.max()
    if top >= 0:
        raise ValueError(f"the SDE must be stable to have a stationary law, its largest growth rate is {top:.6g}.")
    return solve_continuous_lyapunov(sde.D, -sde.Q)


def _iterate(A: Matrix, a: Matrix, Q: Matrix, x0: Vector, steps: int, C: Matrix | None) -> GaussianPath:
    d = len(a)
    mean, cov = np.empty((steps + 1, d)), np.empty((steps + 1, d, d))
    mean[0], cov[0] = np.asarray(x0, float), np.zeros((d, d)) if C is None else C
    for k in range(steps):
        mean[k + 1], cov[k + 1] = A @ mean[k] + a, A @ cov[k] @ A.T + Q
    return GaussianPath(mean, cov)


def _propagator(sde: LinearSDE, h: float) -> tuple[Matrix, Matrix, Matrix]:
    """e^{Dh}, ∫₀^h e^{Ds} ds c and V, by scaling h down until |D|h <= 1 and doubling back."""
    d = len(sde.c)
    doublings = max(0, int(np.ceil(np.log2(max(np.abs(sde.D).sum(1).max() * h, 1.0)))))
    s = h / 2**doublings
    block = np.block([[-sde.D, sde.Q], [np.zeros((d, d)), sde.D.T]]) * s  # Van Loan 1978
    exponential = expm(block)
    E = exponential[d:, d:].T
    V = E @ exponential[:d, d:]
    affine = expm(np.block([[sde.D, sde.c[:, None]], [np.zeros((1, d + 1))]]) * s)
    shift = affine[:d, d]
    for _ in range(doublings):
        E, shift, V = E @ E, E @ shift + shift, V + E @ V @ E.T
    return E, shift, (V + V.T) / 2


def _probe(
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], d: int, m: int, name: str
) -> tuple[Matrix, Matrix, Matrix]:
    """a, A, B with step(x, z) = a + A x + B z, verified at random points."""
    zero_x, zero_z = torch.zeros(1, d, dtype=torch.float64), torch.zeros(1, m, dtype=torch.float64)
    a = step(zero_x, zero_z)[0]
    A = step(torch.eye(d, dtype=torch.float64), zero_z.expand(d, m)) - a
    B = step(zero_x.expand(m, d).clone(), torch.eye(m, dtype=torch.float64)) - a if m else torch.zeros(0, d)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, d, dtype=torch.float64, generator=generator)
    z = torch.randn(8, m, dtype=torch.float64, generator=generator)
    predicted, found = a + x @ A + z @ B.to(z), step(x, z)
    error = float((predicted - found).abs().max())
    if not error <= _AFFINITY * (1 + float(found.abs().max())):
        raise ValueError(
            f"{name} must be affine in x and its noise for exact moments; it is off by {error:.2g} at a random "
            "point. USAM and SGD with additive noise on a quadratic are; SAM and DNSAM are not."
        )
    return a.numpy(), A.numpy().T, B.numpy().T.astype(float)
