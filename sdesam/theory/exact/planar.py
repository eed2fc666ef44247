"""SDEs of the plane whose covariance needs a root, as arithmetic that can be traced: 2 x 2 roots in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...arguments import require_positive
from ...dynamics.sde import SDE, LinearMap, UpdateField
from ...dynamics.updates import with_floats
from ...problems.calculus import Scalar
from ...problems.oracles import Oracle

__all__ = ["planar_eigenvalues", "planar_modified_equation", "positive_root"]


def planar_modified_equation(update: UpdateField, g: Oracle, eta: Scalar, nodes: tuple[Tensor, Tensor]) -> SDE:
    """``modified_equation(update, g, eta, nodes=nodes)`` for d = 2, with the symmetric root of its covariance.

    Two normals drive it instead of one a node: the law is the same, a step is cheaper, and it can be coupled with the
    optimizer.  ``nodes`` is (z, w) of a rule, not checked, with sum w = 1.
    """
    eta = require_positive("eta", eta, "it is the learning rate")
    return SDE(_OneStep(with_floats(update), g, eta, *nodes), noise_dim=2, dim=2)


@dataclass(frozen=True, eq=False)
class _OneStep:
    update: UpdateField
    g: Oracle
    eta: Scalar
    z: Tensor
    w: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        z, w = self.z.to(x), self.w.to(x)[:, None]
        points = x[..., None, :].expand(*x.shape[:-1], len(w), 2).clone()
        G = self.update(self.g, points, z)
        mean = (w * G).sum(-2)
        centred = G - mean[..., None, :]
        root = positive_root((w * centred).mT @ centred)
        return -mean, lambda dw: -(self.eta**0.5) * (root * dw[..., None, :]).sum(-1)


def planar_eigenvalues(A: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and the higher eigenvalue of a symmetric A ``(..., 2, 2)``."""
    middle, half = (A[..., 0, 0] + A[..., 1, 1]) / 2, (A[..., 0, 0] - A[..., 1, 1]) / 2
    off = A[..., 0, 1]
    radius = torch.sqrt(half * half + off * off)
    return middle - radius, middle + radius


def positive_root(A: Tensor) -> Tensor:
    """The root of the positive part of a symmetric A ``(..., 2, 2)``: Σ √max(λ, 0) P_λ, P_high = (A − λ_low)/gap."""
    low, high = planar_eigenvalues(A)
    gap, none = high - low, high == low
    safe = torch.where(none, torch.ones_like(gap), gap)
    a, b = (torch.where(v > 0, v, torch.zeros_like(v)).sqrt() for v in (low, high))
    slope = torch.where(none, torch.zeros_like(gap), (b - a) / safe)
    eye = torch.eye(2, dtype=A.dtype, device=A.device)
    return a[..., None, None] * eye + slope[..., None, None] * (A - low[..., None, None] * eye)
