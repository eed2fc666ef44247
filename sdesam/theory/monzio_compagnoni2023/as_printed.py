"""The formulas as they are printed, kept beside the right ones so that the difference can be measured.

* Slides, USAM, for any noise: −∇(f + rho/2 |∇f|²), (I + rho H)(eta Σ)^½.  Misses −rho/2 ∇tr Σ where Σ depends on x.
* Slides, SAM: covariance Σ + rho H(S̄ + S̄ᵀ).  Right only where H and S̄ commute.
* General theorems: covariance Σ + rho(S̃ + S̃ᵀ), S̃ = Cov(∇f_γ, H_γ v).  Right to first order, not always positive.

The last two are cut at first order in rho, so they can be indefinite, and then they define no SDE.  That raises
``IndefiniteCovariance`` with the point and the eigenvalue; ``clip=True`` sets negative eigenvalues to zero instead, and
``clipped_mass`` is the observable that says how much was cut.

Source: the slides' forms were read there; the general theorems are recalled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...arguments import require_nonnegative
from ...dynamics.sde import SDE, LinearMap
from ...problems.calculus import Scalar, grad, grad_and_hessian, hessian, norm, over
from ...problems.landscapes import Landscape
from ...problems.oracles import GaussianOracle, Oracle
from ..one_step import Nodes
from .additive import checked, direction_of, is_noiseless
from .sdes import FirstOrder, dnsam_sde, sam_sde, sgd_sde, usam_sde

__all__ = [
    "DNSAM", "SAM", "USAM", "Form", "IndefiniteCovariance", "Moments", "PrintedCoefficients", "clipped_mass",
    "dnsam_sde_as_printed", "sam_covariance_as_printed", "sam_sde_as_printed", "sde_of_covariance",
    "usam_loss_as_printed", "usam_sde_as_printed", "usam_sde_truncated_as_printed",
]  # fmt: skip

_ACCURACY = 1e-12  # of S̄ for a matrix factor
_ROUNDING = 64  # units in the last place of the largest eigenvalue that still count as zero


class IndefiniteCovariance(ValueError):
    """A printed covariance with a negative eigenvalue: there is no such noise."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What the printed covariances are made of, at a batch of x: Σ, S̄ = Cov(∇f_γ, v), S̃ = Cov(∇f_γ, H_γ v) and H."""

    Sigma: Tensor
    Sbar: Tensor
    Stilde: Tensor
    curvature: Callable[[], Tensor]
    rho: Scalar

    @property
    def H(self) -> Tensor:
        """The Hessian of f, formed where a covariance asks for it."""
        return self.curvature()

    def printed(self) -> Tensor:
        """Σ + rho H(S̄ + S̄ᵀ), as on the slides; not symmetric unless H commutes with S̄ + S̄ᵀ."""
        return self.Sigma + self.rho * self.H @ (self.Sbar + self.Sbar.mT)

    def truncated(self) -> Tensor:
        """Σ + rho(S̃ + S̃ᵀ), as in the general theorems."""
        return self.Sigma + self.rho * (self.Stilde + self.Stilde.mT)


@dataclass(frozen=True)
class Form:
    """A method's general SDE, and for additive noise the mean slope E[∂v/∂∇f_γ] of its ascent: S̄ = Σ slope (Stein)."""

    model: Callable[..., SDE]
    slope: Callable[[GaussianOracle, Tensor], Tensor]


def usam_loss_as_printed(f: Landscape, *, rho: Scalar) -> Landscape:
    """The function f + rho/2 |∇f|², the slides' loss for every noise; ``usam_loss`` has E|∇f_γ|²."""
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    return lambda x: f(x) + rho / 2 * (grad(f)(x) ** 2).sum(-1)


def usam_sde_as_printed(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None) -> SDE:
    """USAM with the slides' simplified form whatever the noise: −∇(f + rho/2 |∇f|²) dt + (I + rho H)(eta Σ(X))^½ dW.

    Of order 1 for additive noise.  Where Σ depends on x it misses −rho/2 ∇tr Σ: order 1/2.

    Raises
    ------
    ValueError
        As ``usam_sde``.
    """
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    plain = sgd_sde(g, eta=eta, nodes=nodes)
    coefficients = _SlidesUsam(plain, g.mean, rho)
    return SDE(coefficients, noise_dim=plain.noise_dim, dim=plain.dim, row_size=plain.row_size)


def dnsam_sde_as_printed(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None, clip: bool = False) -> SDE:
    """DNSAM with the general theorem's drift and its covariance cut at first order in rho.

    Raises
    ------
    IndefiniteCovariance
        At an x where the cut matrix has a negative eigenvalue, unless ``clip``.
    """
    return sde_of_covariance(DNSAM, "dnsam_sde_as_printed", Moments.truncated, g, eta, rho, nodes, clip)


def usam_sde_truncated_as_printed(
    g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None, clip: bool = False
) -> SDE:
    """USAM with the general theorem's drift and its covariance Σ + rho(S̃ + S̃ᵀ), cut at first order in rho.

    Raises
    ------
    IndefiniteCovariance
        At an x where the cut matrix has a negative eigenvalue, unless ``clip``.
    """
    return sde_of_covariance(USAM, "usam_sde_truncated_as_printed", Moments.truncated, g, eta, rho, nodes, clip)


def sam_sde_as_printed(g: Oracle, *, eta: Scalar, rho: Scalar, nodes: Nodes = None, clip: bool = False) -> SDE:
    """SAM with the slides' drift −∇(f + rho E|∇f_γ|) and covariance Σ + rho H(S̄ + S̄ᵀ), whose symmetric part is taken.

    The printed matrix is not symmetric unless H commutes with S̄ + S̄ᵀ, and then it is no covariance at all: its
    symmetric part is the only reading that is one.  ``sam_covariance_as_printed`` gives the matrix itself.

    Raises
    ------
    IndefiniteCovariance
        At an x where it has a negative eigenvalue, unless ``clip``.
    """
    return sde_of_covariance(SAM, "sam_sde_as_printed", Moments.printed, g, eta, rho, nodes, clip)


def sam_covariance_as_printed(g: Oracle, x: Tensor, *, rho: Scalar, nodes: Nodes = None) -> Tensor:
    """The printed matrix Σ + rho H(S̄ + S̄ᵀ) at x, shape (..., d, d): not symmetric in general."""
    if is_noiseless(g):
        return torch.zeros(*x.shape, x.shape[-1], dtype=x.dtype, device=x.device)
    _, rho = checked(1.0, rho)
    exact = sam_sde(g, eta=1.0, rho=rho, nodes=nodes)
    return _moments(exact, SAM, g, rho, x).printed()


def sde_of_covariance(
    form: Form,
    name: str,
    covariance: Callable[[Moments], Tensor],
    g: Oracle,
    eta: Scalar,
    rho: Scalar,
    nodes: Nodes = None,
    clip: bool = False,
) -> SDE:
    """The drift of a form (``USAM``, ``DNSAM``, ``SAM``) with the symmetric part of any covariance of its ``Moments``.

    For checks: it takes the symmetric root of a d x d matrix at every step.  The map is −√eta A^½ on d normals, which
    couples with an oracle of d normals, best when its factor is symmetric.
    """
    eta, rho = checked(eta, rho)
    exact = form.model(g, eta=eta, rho=rho, nodes=nodes)
    dim = exact.dim
    if dim is None:
        raise ValueError(f"{name} needs the dimension of the landscape: give dim to the oracle or the finite sum.")
    if is_noiseless(g):
        return exact
    coefficients = PrintedCoefficients(exact, form, g, eta, rho, covariance, clip, name)
    return SDE(coefficients, noise_dim=dim, dim=dim, row_size=exact.row_size + dim * dim)


def clipped_mass(sde: SDE) -> Callable[[Tensor], Tensor]:
    """The observable x ↦ Σ |negative eigenvalues| of a printed covariance: what ``clip=True`` cuts, in units of Σ.

    Pass it to ``simulate`` beside the others, and its mean is reported with a standard error.

    Raises
    ------
    ValueError
        For an SDE without a printed covariance.
    """
    coefficients = sde.coefficients
    if not isinstance(coefficients, PrintedCoefficients):
        raise ValueError(f"sde must be one of the …_as_printed forms, got {type(coefficients).__name__}.")
    return lambda x: torch.linalg.eigvalsh(coefficients.matrix(x)).clamp(max=0).abs().sum(-1)


# ----------------------------------------------------------------- coefficients
@dataclass(frozen=True, eq=False)
class _SlidesUsam:
    plain: SDE
    f: Landscape
    rho: Scalar

    @property
    def cut_from(self) -> SDE:
        """The SDE whose nodes this one uses."""
        return self.plain

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap | None]:
        m, H = grad_and_hessian(self.f)(x)
        _, noise = self.plain.coefficients(x)

        def diffusion(dw: Tensor) -> Tensor:
            assert noise is not None
            n = noise(dw)
            return n + self.rho * H(n)

        return -(m + self.rho * H(m)), None if noise is None else diffusion


@dataclass(frozen=True, eq=False)
class PrintedCoefficients:
    """An SDE's drift with the root of a printed covariance."""

    exact: SDE
    form: Form
    g: Oracle
    eta: Scalar
    rho: Scalar
    covariance: Callable[[Moments], Tensor]
    clip: bool
    name: str

    @property
    def cut_from(self) -> SDE:
        """The SDE whose nodes this one uses."""
        return self.exact

    def matrix(self, x: Tensor) -> Tensor:
        """The symmetric part of the printed covariance at x, (..., d, d)."""
        A = self.covariance(_moments(self.exact, self.form, self.g, self.rho, x))
        return (A + A.mT) / 2

    def __call__(self, x: Tensor) -> tuple[Tensor, LinearMap]:
        """The drift, and dw ↦ −√eta A^½ dw."""
        drift, _ = self.exact.coefficients(x)

        def diffusion(dw: Tensor) -> Tensor:
            values, vectors = torch.linalg.eigh(self.matrix(x))
            if not self.clip:
                _require_positive_semidefinite(values, drift, x, self.name)
            inner = values.clamp(min=0).sqrt() * (vectors.mT @ dw[..., None])[..., 0]
            return -(self.eta**0.5) * (vectors @ inner[..., None])[..., 0]

        return drift, diffusion


def _require_positive_semidefinite(values: Tensor, drift: Tensor, x: Tensor, name: str) -> None:
    low, high = values.min(-1).values, values.abs().max(-1).values + drift.square().sum(-1)  # Σ is a difference of both
    excess = low + _ROUNDING * torch.finfo(values.dtype).eps * high
    if bool((excess < 0).any()):
        worst = int(excess.reshape(-1).argmin())
        point = x.expand(*low.shape, x.shape[-1]).reshape(-1, x.shape[-1])[worst].tolist()
        raise IndefiniteCovariance(
            f"covariance of {name} must be positive semi-definite, at x = {point} its eigenvalues are "
            f"{[float(f'{v:.4g}') for v in values.reshape(-1, values.shape[-1])[worst].tolist()]}, in units of Σ: "
            "cut at first order in rho it is no covariance there. Use the full form, a smaller rho, or clip=True, and "
            "report clipped_mass(sde)."
        )


def _moments(exact: SDE, form: Form, g: Oracle, rho: Scalar, x: Tensor) -> Moments:
    coefficients = exact.coefficients
    if isinstance(coefficients, FirstOrder):
        values, ascents, responses, w = coefficients.pieces(x)
        Sigma, Sbar, Stilde = (_cov(values, other, w) for other in (values, ascents, responses))
        return Moments(Sigma, Sbar, Stilde, lambda: hessian(coefficients.g.mean)(x), rho)
    assert isinstance(g, GaussianOracle)  # additive noise: the closed forms
    basis = torch.eye(g.noise_dim, dtype=x.dtype, device=x.device)
    L = g.scatter(x[..., None, :], basis).mT
    H, Sigma = hessian(g.mean)(x), L @ L.mT
    Sbar = Sigma @ form.slope(g, grad(g.mean)(x))
    return Moments(Sigma, Sbar, Sbar @ H, lambda: H, rho)


def _cov(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """Cov_w(a, b) = E[(a − E a)(b − E b)ᵀ]."""
    weights = w[..., None]
    a, b = a - (weights * a).sum(-2, keepdim=True), b - (weights * b).sum(-2, keepdim=True)
    return (weights * a).mT @ b


# ----------------------------------------------------------------- the ascents' mean slopes
def _identity(m: Tensor) -> Tensor:
    return torch.eye(m.shape[-1], dtype=m.dtype, device=m.device).expand(*m.shape, m.shape[-1])


def _usam_slope(g: GaussianOracle, m: Tensor) -> Tensor:
    return _identity(m)


def _dnsam_slope(g: GaussianOracle, m: Tensor) -> Tensor:
    eye = _identity(m)
    return over(eye, norm(m)[..., None].expand(eye.shape[:-1]))


def _sam_slope(g: GaussianOracle, m: Tensor) -> Tensor:
    return direction_of(g, _ACCURACY)(m[..., None, :]).project(_identity(m))


USAM, DNSAM, SAM = Form(usam_sde, _usam_slope), Form(dnsam_sde, _dnsam_slope), Form(sam_sde, _sam_slope)
