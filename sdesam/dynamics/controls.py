"""Less variance for the same work: a kernel beside its linearisation, whose mean is known, and antithetic pairs.

Minibatch noise has no Brownian motion to share with an SDE.  Along a fixed path x̄_k the linear process

    xi⁺ = A_k xi + (step(x̄_k, z) − E step(x̄_k, z)),     A_k = D E step(x̄_k),     xi_0 = 0

is driven by the kernel's own z and has mean exactly 0, so phi(x) − ∇phi(x̄)·xi has the mean of phi(x) and, for small
noise, a variance O(eta²) in place of O(eta).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..arguments import require_count
from ..problems.calculus import grad
from ..problems.noise import Choice, Normal
from ..problems.observables import Observable
from .kernels import Derived, Kernel

__all__ = ["Antithetic", "Controlled", "antithetic", "averaged", "controlled", "linearised"]

_NUMBERS = 2**18  # of one call of step behind A_k
_STEP = 1e-5  # of the central differences behind A_k; any A_k leaves the mean of xi at 0


@dataclass(frozen=True, eq=False)
class Controlled(Derived):
    """A kernel and its linearisation along a path; see ``linearised``."""

    kernel: Kernel
    path: Tensor
    slopes: Tensor

    def init(self, x0: Tensor) -> tuple[int, Tensor, Tensor]:
        """Steps done, the iterate, xi."""
        return 0, self.kernel.init(x0), torch.zeros_like(x0)

    def position(self, state: tuple[int, Tensor, Tensor]) -> Tensor:
        """Iterate, path and xi, ``(n, 3, d)``; observe it through ``controlled(phi)``."""
        count, x, xi = state
        return torch.stack((x, self.path[count].expand_as(x), xi), dim=-2)

    def step(self, state: tuple[int, Tensor, Tensor], z: Tensor) -> tuple[int, Tensor, Tensor]:
        """One step of both on one z."""
        count, x, xi = state
        at = self.path[count].expand_as(x).clone()
        if isinstance(self.noise, Choice):
            kick = self.kernel.step(at, z) - self.path[count + 1]
        else:
            kick = (self.kernel.step(at, z) - self.kernel.step(at, -z)) / 2
        return count + 1, self.kernel.step(x, z), xi @ self.slopes[count].mT + kick


@torch.no_grad()
def linearised(kernel: Kernel, start: Tensor, steps: int) -> Controlled:
    """A kernel whose state is its iterate, with its linearisation along the path of its mean steps.

    The mean is over all minibatches, or that of z = 0 under normal noise, whose kick is then the odd part in z.

    Parameters
    ----------
    start : (d,)
    steps : calls of ``step`` to prepare for

    Raises
    ------
    ValueError
        For noise that is neither normal nor a choice of at most 10,000 minibatches, or a state that is not the iterate.
    """
    if not isinstance(kernel.noise, (Normal, Choice)):
        raise ValueError(f"{kernel.name} must have normal or minibatch noise to be linearised, got {kernel.noise}.")
    steps = require_count("steps", steps, least=1, why="a path needs a step")
    state = kernel.init(start[None])
    same = isinstance(state, Tensor) and torch.equal(state, start[None]) and torch.equal(kernel.position(state), state)
    if not same:
        raise ValueError(f"{kernel.name} must have the iterate as its state to be linearised.")
    z, w = _centre(kernel.noise, start)
    path = [start[None]]
    for _ in range(steps):
        path.append(_mean_step(kernel, path[-1], z, w))
    points = torch.cat(path)
    return Controlled(kernel, points, _slopes(kernel, points[:-1], z, w))


def _slopes(kernel: Kernel, points: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """D E step at points (K, d), (K, d, d), by central differences of all of them together."""
    d = points.shape[1]
    step = _STEP * (1 + float(points[0].abs().max()))
    nudge = step * torch.eye(d, dtype=points.dtype, device=points.device)
    around = torch.stack((points[:, None] + nudge, points[:, None] - nudge)).reshape(-1, d)
    few = max(1, _NUMBERS // (len(w) * d))
    above, below = torch.cat([_mean_step(kernel, x, z, w) for x in around.split(few)]).reshape(2, -1, d, d)
    return ((above - below) / (2 * step)).mT


def _centre(noise: Normal | Choice, like: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(noise, Choice):
        z, w = noise.nodes()
        return z.to(like.device), w.to(like)
    return like.new_zeros(1, *noise.shape), like.new_ones(1)


def _mean_step(kernel: Kernel, x: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """E step(x, z), (rows, d), in one call of ``step``: its cost is the call's for so few numbers."""
    all_z = z.repeat(len(x), *[1] * (z.ndim - 1))
    return w @ kernel.step(x.repeat_interleave(len(w), 0), all_z).reshape(len(x), len(w), -1)


def controlled(phi: Observable) -> Observable:
    """phi(x) − ∇phi(x̄)·xi on the positions of a ``Controlled`` kernel; phi(x) alone where the path has no gradient."""
    slope = grad(phi)

    def value(position: Tensor) -> Tensor:
        x, path, xi = position.unbind(-2)
        return phi(x) - (torch.nan_to_num(slope(path), 0.0, 0.0, 0.0) * xi).sum(-1)

    return value


# ----------------------------------------------------------------- antithetic pairs
@dataclass(frozen=True)
class Antithetic(Derived):
    """Two copies of a kernel, on z and on −z; see ``antithetic``."""

    kernel: Kernel

    @property
    def name(self) -> str:
        """The kernel's, and ±."""
        return f"±{self.kernel.name}"

    def init(self, x0: Tensor) -> tuple[Any, Any]:
        """Both states."""
        return self.kernel.init(x0), self.kernel.init(x0)

    def position(self, state: tuple[Any, Any]) -> Tensor:
        """Both positions, along a new axis after the first; observe them through ``averaged(phi)``."""
        return torch.stack([self.kernel.position(s) for s in state], dim=1)

    def step(self, state: tuple[Any, Any], z: Tensor) -> tuple[Any, Any]:
        """One on z, one on −z."""
        return self.kernel.step(state[0], z), self.kernel.step(state[1], -z)


def antithetic(kernel: Kernel) -> Antithetic:
    """Pairs on z and −z, whose mean has no error that is odd in z; each counts as one replicate and costs two.

    Raises
    ------
    ValueError
        For noise that is not normal.
    """
    if not isinstance(kernel.noise, Normal):
        raise ValueError(f"{kernel.name} must have normal noise for antithetic pairs, got {kernel.noise}.")
    return Antithetic(kernel)


def averaged(phi: Observable) -> Observable:
    """The mean of phi over an antithetic pair."""
    return lambda pair: phi(pair).mean(-1)
