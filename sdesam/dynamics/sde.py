"""Stochastic differential equations as functions x ↦ (drift, diffusion)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..arguments import require_count, set_fields
from ..problems.oracles import Oracle

__all__ = ["NUMBERS_AT_ONCE", "SDE", "Coefficients", "LinearMap", "UpdateField"]

NUMBERS_AT_ONCE = 2**22  # 32 MB of float64 for each array of a large coefficient: more rows are computed in turn
LinearMap = Callable[[Tensor], Tensor]
Coefficients = Callable[[Tensor], tuple[Tensor, LinearMap | None]]
UpdateField = Callable[[Oracle, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SDE:
    """dX = b(X) dt + B(X) dW in the sense of Itô, in model time t = k·eta.

    Parameters
    ----------
    coefficients : ``drift, diffusion = coefficients(x)`` with x ``(..., d)``, drift ``(..., d)`` and
        ``diffusion(dw: (..., m)) -> (..., d)`` the linear map B(x); an ODE returns ``diffusion = None``
    noise_dim : m, 0 for an ODE
    init, position : maps x0 -> state and state -> x for an SDE whose state holds more than x (time, say)
    private_dim : how many of the m components, the last ones, no partner of a coupling shares
    dim : dimension of the state, where it is known
    row_size : numbers that the coefficients hold for one replicate, where that is far more than d (Q·d for a sum over Q
        minibatches); integrators then step few replicates at a time, so that memory stays flat

    Notes
    -----
    Only B Bᵀ matters for the law.  For coupling the map matters: an optimizer subtracts eta·L z, so the
    maps of this package carry the minus sign.  Drift and diffusion come together because they share work.
    """

    coefficients: Coefficients
    noise_dim: int
    init: Callable[[Tensor], Tensor] | None = None
    position: Callable[[Tensor], Tensor] | None = None
    private_dim: int = 0
    dim: int | None = None
    row_size: int = 0

    def __post_init__(self) -> None:
        motion, row = "it is the dimension of the Brownian motion", "it counts the numbers held for one replicate"
        set_fields(
            self,
            noise_dim=require_count("noise_dim", self.noise_dim, least=0, why=motion),
            row_size=require_count("row_size", self.row_size, least=0, why=row),
            private_dim=require_count(
                "private_dim", self.private_dim, least=0, why="it counts components no partner shares"
            ),
        )
        if self.dim is not None:
            set_fields(self, dim=require_count("dim", self.dim, least=1, why="it is the dimension of the state"))
        if self.private_dim > self.noise_dim:
            raise ValueError(f"private_dim must be <= noise_dim = {self.noise_dim}, got {self.private_dim}.")
