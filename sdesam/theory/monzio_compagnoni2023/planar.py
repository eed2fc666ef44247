"""SAM's SDE as printed on the plane, as arithmetic that can be traced."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...dynamics.sde import SDE, LinearMap
from ...problems.calculus import Scalar
from ...problems.oracles import Oracle
from ..exact.planar import positive_root
from .as_printed import PrintedCoefficients, sam_sde_as_printed

__all__ = ["planar_sam_sde_as_printed"]


def planar_sam_sde_as_printed(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
    """``sam_sde_as_printed(g, eta, rho, clip=True)`` for d = 2, by the closed form of the root instead of ``eigh``."""
    printed = sam_sde_as_printed(g, eta=eta, rho=rho, clip=True)
    if printed.dim != 2 or not isinstance(printed.coefficients, PrintedCoefficients):
        raise ValueError(f"g of planar_sam_sde_as_printed must be noisy with d = 2, got d = {printed.dim}.")
    return SDE(_Printed(printed.coefficients), noise_dim=2, dim=2)


@dataclass(frozen=True, eq=False)
class _Printed:
    printed: PrintedCoefficients

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        p = self.printed
        drift, _ = p.exact.coefficients(x)
        root = positive_root(p.matrix(x))
        return drift, lambda dw: -(p.eta**0.5) * (root * dw[..., None, :]).sum(-1)
