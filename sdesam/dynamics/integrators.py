"""Discretisations of an SDE as kernels: ``integrator(sde, h)``, with h the model time of one step.

Never compare an optimizer with an Euler scheme at h = eta: it is nearly the same map.  Use
``subcycle(integrator(sde, eta / r), r)`` with r of 4 and more, or the exact law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import as_floats, require_count, require_positive, set_fields
from ..problems.calculus import Scalar
from ..problems.noise import Normal
from .sde import NUMBERS_AT_ONCE, SDE, LinearMap

__all__ = [
    "EulerMaruyama", "Heun", "Integrator", "SmallNoiseSRK", "euler_maruyama", "heun", "heun_path", "small_noise_srk",
]  # fmt: skip

_LANES = 16  # rows come in multiples of this, as in the engine, for reproducible last bits


@dataclass(frozen=True)
class Integrator:
    """What the schemes share: an SDE, a step h, and m standard normals a step."""

    sde: SDE
    h: Scalar

    def __post_init__(self) -> None:
        set_fields(self, h=require_positive("h", self.h, "it is the integrator's step in model time"))

    @property
    def noise(self) -> Normal:
        """The m standard normals dw; the Brownian increment is √h dw."""
        return Normal(self.sde.noise_dim, private=self.sde.private_dim)

    @property
    def substeps(self) -> int:
        """1."""
        return 1

    @property
    def dt(self) -> float:
        """The step h."""
        return self.h  # pyright: ignore[reportReturnType]

    @property
    def name(self) -> str:
        """Scheme and coefficients."""
        what = self.sde.coefficients
        return f"{type(self).__name__}({getattr(what, '__name__', type(what).__name__)})"

    def init(self, x0: Tensor) -> Tensor:
        """The state that the SDE makes of x0."""
        state = x0 if self.sde.init is None else self.sde.init(x0)
        if self.sde.dim is not None and state.shape[-1] != self.sde.dim:
            raise ValueError(f"x0 must have last dimension {self.sde.dim}, that of {self.name}, got {state.shape[-1]}.")
        return state

    def position(self, state: Tensor) -> Tensor:
        """The iterate."""
        return state if self.sde.position is None else self.sde.position(state)

    def step(self, state: Tensor, z: Any) -> Tensor:
        """One step of the scheme, a few replicates at a time where the coefficients are large."""
        size = self.sde.row_size
        rows = max(_LANES, NUMBERS_AT_ONCE // size // _LANES * _LANES) if size else len(state)
        if state.ndim != 2 or len(state) <= rows:
            return self.advance(state, z)
        starts = range(0, len(state), rows)
        return torch.cat([self.advance(state[i : i + rows], _rows(z, i, i + rows)) for i in starts])

    def advance(self, state: Tensor, z: Any) -> Tensor:
        """One step of the scheme on all rows at once."""
        raise TypeError(f"{type(self).__name__} does not say how to step")

    def examined(self, state: Tensor, dw: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The coefficients for the probe, under their names, and the state after a step of Euler and Maruyama on dw.

        Raises
        ------
        ValueError
            For coefficients of the wrong shapes.
        """
        before = state.clone()
        drift, diffusion = self.sde.coefficients(state)
        _require_drift(self, before, drift, diffusion)
        if diffusion is None:
            return {f"drift of {self.name}": drift}, before + self.h * drift
        kick = diffusion(dw)
        if kick.shape != before.shape:
            raise ValueError(
                f"diffusion of {self.name} must map (..., {self.sde.noise_dim}) to (..., {before.shape[-1]}), got "
                f"{tuple(kick.shape)} for {tuple(dw.shape)}."
            )
        found = {f"drift of {self.name}": drift, f"diffusion of {self.name}": kick}
        return found, before + self.h * drift + self.h**0.5 * kick

    def _kick(self, diffusion: LinearMap | None, dw: Tensor) -> Tensor | float:
        """B(X) √h dw, and 0 for an ODE."""
        return 0.0 if diffusion is None else self.h**0.5 * diffusion(dw)


class EulerMaruyama(Integrator):
    """X⁺ = X + h b(X) + √h B(X) dw."""

    def advance(self, state: Tensor, z: Tensor) -> Tensor:
        """Weak order 1 in h."""
        drift, diffusion = self.sde.coefficients(state)
        return state + self.h * drift + self._kick(diffusion, z)


class SmallNoiseSRK(Integrator):
    """n = √h B(X) dw;  X⁺ = X + h/2 [b(X) + b(X + h b(X) + n)] + n."""

    def advance(self, state: Tensor, z: Tensor) -> Tensor:
        """Bias O(h²) + O(eta h) when B Bᵀ = O(eta)."""
        drift, diffusion = self.sde.coefficients(state)
        n = self._kick(diffusion, z)
        ahead, _ = self.sde.coefficients(state + self.h * drift + n)
        return state + self.h / 2 * (drift + ahead) + n


class Heun(Integrator):
    """X⁺ = X + h/2 [b(X) + b(X + h b(X))]."""

    def advance(self, state: Tensor, z: Tensor) -> Tensor:
        """Order 2 in h."""
        drift, _ = self.sde.coefficients(state)
        ahead, _ = self.sde.coefficients(state + self.h * drift)
        return state + self.h / 2 * (drift + ahead)


def euler_maruyama(sde: SDE, h: Scalar) -> EulerMaruyama:
    """Euler-Maruyama with step h: weak order 1.  With h = eta it nearly *is* the optimizer."""
    return EulerMaruyama(sde, h)


def small_noise_srk(sde: SDE, h: Scalar) -> SmallNoiseSRK:
    """The small-noise stochastic Runge-Kutta scheme: two drifts, one diffusion a step.

    For a constant diffusion map the weak order is 2.  For a map whose covariance is O(eta) the weak bias is
    O(h²) + O(eta h), far below an O(eta) signal at h = eta/4.  The same increment enters the predictor and
    the result, the map is taken at the start of the step (Itô).

    Source: Milstein's small-noise methods; derived and measured for this project.
    """
    return SmallNoiseSRK(sde, h)


def heun(sde: SDE, h: Scalar) -> Heun:
    """Heun's method for an ODE (``noise_dim = 0``), order 2.

    Raises
    ------
    ValueError
        For an SDE with noise: dropping it silently would be another model.
    """
    if sde.noise_dim:
        raise ValueError(f"heun integrates an ODE, got noise_dim = {sde.noise_dim}: use small_noise_srk.")
    return Heun(sde, h)


@torch.no_grad()
def heun_path(sde: SDE, start: Sequence[float] | np.ndarray, horizon: float, count: int) -> np.ndarray:
    """Where the drift alone takes ``start`` (d,) by the horizon: ``count`` steps of Heun's scheme, (count + 1, d)."""
    count = require_count("count", count, least=1, why="a path needs a step")
    h = require_positive("horizon", horizon, "it is how long the drift acts") / count
    x = as_floats("start", start).double()[None]
    path = [x]
    for _ in range(count):
        b, _ = sde.coefficients(x)
        x = x + h / 2 * (b + sde.coefficients(x + h * b)[0])
        path.append(x)
    return torch.cat(path).numpy()


def _rows(z: Any, start: int, stop: int) -> Any:
    return tuple(part[start:stop] for part in z) if isinstance(z, tuple) else z[start:stop]


def _require_drift(integrator: Integrator, state: Tensor, drift: Any, diffusion: Any) -> None:
    sde, d = integrator.sde, state.shape[-1]
    if not isinstance(drift, Tensor) or drift.shape != state.shape:
        raise ValueError(
            f"drift of {integrator.name} must have shape (..., {d}) like x, got "
            f"{tuple(getattr(drift, 'shape', ()))}. Did coefficients return the diffusion first?"
        )
    if (diffusion is None) != (sde.noise_dim == 0):
        raise ValueError(
            f"diffusion of {integrator.name} must be None exactly when noise_dim is 0, got {diffusion!r} "
            f"with noise_dim = {sde.noise_dim}."
        )
    if diffusion is not None and not callable(diffusion):
        raise TypeError(
            f"diffusion of {integrator.name} must be a function of dw, got a {type(diffusion).__name__}: for a matrix "
            "B write lambda dw: dw @ B.T."
        )
