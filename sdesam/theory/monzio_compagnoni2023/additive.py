"""The SDEs of SGD, USAM, DNSAM and SAM for additive gradient noise, and the full-batch ODEs.

Additive means ∇f_γ(x) = ∇f(x) + L z with L constant, so every minibatch has the Hessian H of f.  Elsewhere these
forms are of order 1/2 only, so they refuse.  All maps carry the optimizer's minus sign: with dW = √eta z, the
SDE's noise is the optimizer's own −eta·(...)·L z.  The order is 1 for rho = O(√eta).  Order 1 pins down the drift
alone; the diffusions are checked by the one-step covariance and the scaled fluctuation test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...arguments import require_nonnegative, require_positive
from ...dynamics.sde import SDE, LinearMap
from ...problems.calculus import Scalar, grad, grad_and_hessian, norm, over, unit
from ...problems.landscapes import Landscape, dimension_of, require_landscape
from ...problems.oracles import ExactOracle, GaussianOracle, Oracle, is_additive
from ..exact.anisotropic_noise import AnisotropicLaw, anisotropic_direction
from ..exact.gaussian_noise import TOLERANCE, DirectionLaw, direction_law

__all__ = [
    "dnsam_full_numerator_sde_additive", "dnsam_sde_additive", "sam_factored_sde", "sam_ode", "sam_sde_additive",
    "sgd_sde_additive", "usam_ode", "usam_sde_additive",
]  # fmt: skip

_TABLES = 1e-12  # up to here tabulated functions are as accurate as they can be


def sgd_sde_additive(g: Oracle, *, eta: Scalar, rho: Scalar = 0.0) -> SDE:
    """SGD: dX = −∇f dt + √eta Σ^½ dW.  ``rho`` is accepted and ignored.

    Weak order 1 (Li, Tai and E 2017).

    Raises
    ------
    ValueError
        For bad eta or rho, or an oracle whose noise is not additive.
    """
    return _additive(_SgdCoefficients, "sgd_sde_additive", g, eta, rho)


def usam_sde_additive(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
    """USAM: dX = −(I + rho H)∇f dt + (I + rho H)(eta Σ)^½ dW, drift −∇(f + rho/2 |∇f|²).

    Source: the slides' simplified form (batch-independent Hessian).  Weak order 1 for rho = O(√eta); on a
    quadratic its one-step mean is USAM's to O(eta²) for every rho.

    Raises
    ------
    ValueError
        For bad eta or rho, or an oracle whose noise is not additive: there the drift would miss a term of size
        rho, −rho E[(D∇f_γ − H)(∇f_γ − ∇f)] (−rho/2 ∇tr Σ for minibatch losses), and the order would be 1/2.
    """
    return _additive(_UsamCoefficients, "usam_sde_additive", g, eta, rho)


def dnsam_sde_additive(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
    """DNSAM: dX = −(I + rho H/|∇f|)∇f dt + (I + rho H/|∇f|)(eta Σ)^½ dW, drift −∇(f + rho |∇f|).

    Source: recalled.  Weak order 1 for rho = O(√eta) away from critical points; the coefficients are
    singular there (0 by convention at ∇f = 0 exactly).

    Raises
    ------
    ValueError
        For bad eta or rho, or an oracle whose noise is not additive.
    """
    return _additive(_DnsamCoefficients, "dnsam_sde_additive", g, eta, rho)


def dnsam_full_numerator_sde_additive(g: Oracle, *, eta: Scalar, rho: Scalar) -> SDE:
    """DNSAM with the deterministic ascent ∇f/|∇f|: drift −∇(f + rho |∇f|), diffusion (eta Σ)^½ alone.

    Source: derived.  The ascent carries no noise, so only the descent gradient's remains.

    Raises
    ------
    ValueError
        For bad eta or rho, or an oracle whose noise is not additive.
    """
    return _additive(_DnsamFullNumeratorCoefficients, "dnsam_full_numerator_sde_additive", g, eta, rho)


def sam_sde_additive(g: Oracle, *, eta: Scalar, rho: Scalar, accuracy: float = 1e-12) -> SDE:
    """SAM: dX = −(∇f + rho H E v) dt + (eta Cov(∇f_γ + rho H v))^½ dW, v = ∇f_γ/|∇f_γ|, for Gaussian noise.

    The drift is −∇(f + rho E|∇f_γ|); the covariance is Σ + rho(S̄ H + H S̄ᵀ) + rho² H Cov(v) H, in full, with
    S̄ = Cov(∇f_γ, v) = Σ E P.  The map is [(I + rho H E P) L, rho H R^½], R = Cov v − E[P] Σ E[P], driven by the
    optimizer's own z and by d more normals that no partner shares: exact covariance *and* coupling.  Use it by default,
    above all near saddles, where the factored root loses the noise that exits.

    Parameters
    ----------
    accuracy : of the integrals for a matrix L (``anisotropic_noise``), where 1e-5 is four times faster than 1e-12; of
        the tabulated functions of a scalar sigma (``gaussian_noise``), 1e-13 unless more than 1e-12 is given

    Source: drift from the slides; covariance derived (the printed rho H(S̄ + S̄ᵀ) is right only if H and S̄
    commute; the rho² term is dropped in print and keeps the matrix positive).

    Raises
    ------
    ValueError
        For bad eta or rho, or an oracle whose noise is not additive.
    """
    return _sam(g, eta, rho, accuracy, full=True)


def sam_factored_sde(g: Oracle, *, eta: Scalar, rho: Scalar, accuracy: float = 1e-12) -> SDE:
    """SAM with the factored root (I + rho H E P) L alone: the covariance up to rho² H R H, m normals.

    The twin of USAM's (I + rho H) L: smooth, without a matrix root, and the tightest coupling with the optimizer where
    rho |H| is small against the noise.  It must not be used for exits from saddles: where rho |H| ≳ s the factored
    noise can all but vanish in an unstable direction, and exits take far too long.

    Raises
    ------
    ValueError
        As ``sam_sde_additive``.
    """
    return _sam(g, eta, rho, accuracy, full=False)


def usam_ode(f: Landscape, *, rho: Scalar) -> SDE:
    """Full-batch USAM: X' = −(I + rho H)∇f = −∇(f + rho/2 |∇f|²)."""
    return usam_sde_additive(ExactOracle(f), eta=1.0, rho=rho)


def sam_ode(f: Landscape, *, rho: Scalar) -> SDE:
    """Full-batch SAM (and DNSAM): X' = −(I + rho H/|∇f|)∇f = −∇(f + rho |∇f|)."""
    return dnsam_sde_additive(ExactOracle(f), eta=1.0, rho=rho)


# ----------------------------------------------------------------- coefficients
@dataclass(frozen=True)
class _Coefficients:
    g: ExactOracle | GaussianOracle
    eta: Scalar
    rho: Scalar

    def _noise(self, shape_of: Tensor, respond: LinearMap) -> LinearMap | None:
        """Dw ↦ −√eta respond(L dw), or None without noise."""
        if self.g.noise.size == 0:
            return None
        return lambda dw: -(self.eta**0.5) * respond(self.g.scatter(shape_of, dw))


class _SgdCoefficients(_Coefficients):
    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        return -grad(self.g.mean)(x), self._noise(x, lambda n: n)


class _UsamCoefficients(_Coefficients):
    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        m, H = grad_and_hessian(self.g.mean)(x)
        return -(m + self.rho * H(m)), self._noise(x, lambda n: n + self.rho * H(n))  # (I + rho H)


class _DnsamCoefficients(_Coefficients):
    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        m, H = grad_and_hessian(self.g.mean)(x)
        length = norm(m)
        return (
            -(m + self.rho * H(unit(m))),  # −∇(f + rho |∇f|)
            self._noise(x, lambda n: n + self.rho * H(over(n, length))),  # I + rho H/|∇f|
        )


class _DnsamFullNumeratorCoefficients(_Coefficients):
    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        m, H = grad_and_hessian(self.g.mean)(x)
        return -(m + self.rho * H(unit(m))), self._noise(x, lambda n: n)


@dataclass(frozen=True, eq=False)
class _SamCoefficients(_Coefficients):
    direction: Callable[[Tensor], DirectionLaw | AnisotropicLaw]
    full: bool

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        m, H = grad_and_hessian(self.g.mean)(x)
        law = self.direction(m)
        return -(m + self.rho * H(law.mean)), partial(self._diffusion, x, H, law)  # −∇(f + rho E|∇f_γ|)

    def _diffusion(self, x: Tensor, H: LinearMap, law: DirectionLaw | AnisotropicLaw, dw: Tensor) -> Tensor:
        shared = self.g.noise.size
        n = self.g.scatter(x, dw[..., :shared])
        response = law.project(n)
        if self.full:
            response = response + law.residual_root(dw[..., shared:])
        return -(self.eta**0.5) * (n + self.rho * H(response))


@dataclass(frozen=True)
class _Isotropic:
    sigma: Scalar
    accuracy: float

    def __call__(self, m: Tensor) -> DirectionLaw:
        return direction_law(m, self.sigma, self.accuracy)


def direction_of(g: GaussianOracle, accuracy: float) -> Callable[[Tensor], DirectionLaw | AnisotropicLaw]:
    """M ↦ the law of the direction of m + L z, tabulated for L = s I, by quadrature for a matrix."""
    if isinstance(g.sigma, Tensor) and g.sigma.ndim == 2:
        return anisotropic_direction(g.sigma, accuracy=accuracy)
    best = accuracy if accuracy > _TABLES else TOLERANCE
    return _Isotropic(g.sigma, best)  # pyright: ignore[reportArgumentType, reportCallIssue]


def checked(eta: Scalar, rho: Scalar) -> tuple[Scalar, Scalar]:
    """Learning rate and radius as floats (traced ones as they are), or one sentence about a wrong one."""
    eta = require_positive("eta", eta, "it is the learning rate")
    return eta, require_nonnegative("rho", rho, "it is the ascent radius")


def _additive(form: Callable, name: str, g: Oracle, eta: Scalar, rho: Scalar) -> SDE:
    eta, rho = checked(eta, rho)
    if not is_additive(g):
        raise ValueError(
            f"g of {name} must have additive noise (ExactOracle, or GaussianOracle with a number or a constant "
            f"factor), got {type(g).__name__}: with a batch-dependent Hessian this form loses half an order. "
            f"{name.removesuffix('_additive')} is right for any oracle."
        )
    dim = g.dim if isinstance(g, GaussianOracle) else dimension_of(g.mean)
    if dim is not None:
        require_landscape(g.mean, torch.zeros(dim, dtype=torch.float64))
    return SDE(form(g, eta, rho), noise_dim=g.noise.size, dim=dim)  # pyright: ignore[reportAttributeAccessIssue]


def _sam(g: Oracle, eta: Scalar, rho: Scalar, accuracy: float, *, full: bool) -> SDE:
    eta, rho = checked(eta, rho)
    accuracy = require_positive("accuracy", accuracy, "it is that of integrals and tables")
    noiseless = _additive(_DnsamCoefficients, "sam_sde_additive", g, eta, rho)
    if is_noiseless(g):
        return noiseless  # without noise SAM is DNSAM
    assert isinstance(g, GaussianOracle)
    d, m = g.dim, g.noise.size
    coefficients = _SamCoefficients(g, eta, rho, direction_of(g, accuracy), full)
    return SDE(coefficients, noise_dim=m + d if full else m, private_dim=d if full else 0, dim=d)


def is_noiseless(g: Oracle) -> bool:
    """Whether the oracle's noise is known to vanish."""
    sigma = getattr(g, "sigma", None)
    zero = isinstance(sigma, (int, float)) and sigma == 0
    return isinstance(g, ExactOracle) or zero or (isinstance(sigma, Tensor) and sigma.ndim == 2 and not sigma.any())
