"""Hand an SDE of this package to torchsde, and drive torchsde with our own increments.

torchsde wants a 2-d state and an object with ``f(t, y)`` and ``g(t, y)``.  ``torch.manual_seed`` does not
seed it: pass ``entropy`` to its ``BrownianInterval``, or pass our increments as ``bm`` (below).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..arguments import require_positive
from .sde import SDE

__all__ = ["GivenIncrements", "TorchSDE", "to_torchsde"]

_ON_GRID = 1e-6  # of a step: more is another grid, less is rounding


class TorchSDE(torch.nn.Module):
    """An ``SDE`` in torchsde's shape: Itô, general noise, ``g`` of shape ``(n, d, m)``."""

    sde_type = "ito"
    noise_type = "general"

    def __init__(self, sde: SDE) -> None:
        super().__init__()
        self.sde = sde

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Drift, (n, d)."""
        return self.sde.coefficients(y)[0]

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        """Diffusion matrix, (n, d, m), column by column."""
        diffusion = self.sde.coefficients(y)[1]
        assert diffusion is not None  # to_torchsde refuses ODEs
        basis = torch.eye(self.sde.noise_dim, dtype=y.dtype, device=y.device)
        columns = [diffusion(e.expand(len(y), -1)) for e in basis]
        return torch.stack(columns, dim=-1)


class GivenIncrements:
    """A Brownian motion for torchsde made of given unit normals ``dw (steps, n, m)`` on the grid k·h."""

    def __init__(self, dw: Tensor, h: float) -> None:
        h = require_positive("h", h, "it is the grid's step in model time")
        self._dw, self._h = dw, h
        self.shape, self.dtype, self.device = dw.shape[1:], dw.dtype, dw.device
        self.levy_area_approximation = "none"

    def __call__(self, ta: float | Tensor, tb: float | Tensor, **_: object) -> Tensor:
        start, stop = float(ta) / self._h, float(tb) / self._h
        k = round(start)
        if max(abs(start - k), abs(stop - k - 1)) > _ON_GRID:
            raise ValueError(f"torchsde must step on the grid of h = {self._h:g}, it asked for [{ta}, {tb}].")
        return self._h**0.5 * self._dw[k]


def to_torchsde(sde: SDE) -> TorchSDE:
    """The SDE as torchsde expects it: ``torchsde.sdeint(to_torchsde(sde), y0, ts, method="euler", dt=h)``.

    Raises
    ------
    ValueError
        For an ODE, or an SDE whose state is more than x (torchsde saves the state as it is).
    """
    if sde.noise_dim == 0:
        raise ValueError("sde must have noise (noise_dim > 0) for torchsde, got an ODE: use heun here.")
    if sde.init is not None or sde.position is not None:
        raise ValueError("sde must have state x itself for torchsde, got one with init or position.")
    return TorchSDE(sde)
