"""Regularised losses, and stationary losses on quadratics, of SGD, USAM, DNSAM and SAM.

Notation: H = diag(lambda), a_i = 1 + rho lambda_i, Sigma_ii the noise covariance in H's eigenbasis.  All
stationary statements need 0 < lambda_i a_i; flat directions (lambda_i = 0) carry no loss and are left out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...arguments import require_nonnegative, require_positive
from ...problems.calculus import Scalar, grad, norm
from ...problems.landscapes import Landscape
from ...problems.minibatch import MinibatchOracle
from ...problems.oracles import GaussianOracle, Oracle, is_additive
from ..exact.gaussian_noise import effective_radius_factor
from ..one_step import Nodes, rule_of
from .additive import direction_of, is_noiseless
from .sdes import mean_square

__all__ = [
    "dnsam_loss", "drift_only_stationary_loss", "sam_loss", "sam_stationary_loss", "usam_loss",
    "usam_stationary_loss",
]  # fmt: skip


def usam_loss(g: Oracle, *, rho: Scalar) -> Landscape:
    """The loss f + rho/2 E|∇f_γ|²: minus its gradient is USAM's drift, for any batch size and for Gaussian noise.

    E|∇f_γ|² = |∇f|² + tr Σ(x); a minibatch's trace is computed from all N data.  Source: recalled; the slides print
    |∇f|² in its place (``usam_loss_as_printed``), which is the same up to a constant where Σ does not depend on x.

    Raises
    ------
    ValueError
        For another oracle: its noise may not be the gradient of a loss, and then the drift is no gradient.
    """
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    if isinstance(g, MinibatchOracle):
        return lambda x: g.mean(x) + rho / 2 * mean_square(g, x)
    if not is_additive(g):
        raise ValueError(f"g of usam_loss must be a MinibatchOracle or have additive noise, got {type(g).__name__}.")
    eye = torch.eye(g.noise.size, dtype=torch.float64)  # pyright: ignore[reportAttributeAccessIssue]
    trace = 0.0 if is_noiseless(g) else float(g.scatter(eye[:1], eye).square().sum())  # pyright: ignore
    return lambda x: g.mean(x) + rho / 2 * ((grad(g.mean)(x) ** 2).sum(-1) + trace)


def dnsam_loss(f: Landscape, *, rho: Scalar) -> Landscape:
    """The loss f + rho |∇f|: minus its gradient is full-batch SAM's drift, DNSAM's for additive noise (recalled)."""
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    return lambda x: f(x) + rho * norm(grad(f)(x))


def sam_loss(g: Oracle, *, rho: Scalar, nodes: Nodes = None) -> Landscape:
    """The loss f + rho E|∇f_γ|: minus its gradient is SAM's drift, whatever the noise.  Source: the slides.

    Parameters
    ----------
    nodes : a rule over minibatches, where all of them are too many
    """
    rho = require_nonnegative("rho", rho, "it is the ascent radius")
    if is_noiseless(g):
        return dnsam_loss(g.mean, rho=rho)
    if is_additive(g) and isinstance(g, GaussianOracle):
        law = direction_of(g, 1e-12)
        return lambda x: g.mean(x) + rho * law(grad(g.mean)(x)).length
    rule = rule_of(g, 32, nodes)

    def loss(x: Tensor) -> Tensor:
        points, z, w = rule(x)
        return g.mean(x) + rho * (w * norm(rule.g(points, z))).sum(-1)

    return loss


def usam_stationary_loss(
    eigenvalues: np.ndarray, covariance: np.ndarray, *, eta: float, rho: float, discrete: bool = False
) -> float:
    """E f(X_∞) = (eta/4) tr((I + rho H)Σ) on a quadratic; ``discrete`` gives USAM's own, exact value.

    (eta/4) Σ a_i Σ_ii, over 1 − eta lambda_i a_i/2 for the discrete chain.  rho = 0 is SGD.

    Parameters
    ----------
    eigenvalues : lambda (d,)
    covariance : Σ in the eigenbasis of H, or its diagonal

    Raises
    ------
    ValueError
        When an eigenvalue is negative, or eta lambda_i a_i >= 2 for the discrete chain.

    Source: (eta/4) formula recalled; derived and checked by Lyapunov equations.
    """
    eta, rho = _checked(eta, rho)
    lam, sigma = _curved(eigenvalues, covariance)
    a = 1 + rho * lam
    if not discrete:
        return float(eta / 4 * (a * sigma).sum())
    if np.any(eta * lam * a >= 2):
        raise ValueError(f"eta·λ(1+rho·λ) must be < 2 for a stationary law, got {float((eta * lam * a).max()):.4g}.")
    return float(eta / 4 * (a * sigma / (1 - eta * lam * a / 2)).sum())


def drift_only_stationary_loss(eigenvalues: np.ndarray, covariance: np.ndarray, *, eta: float, rho: float) -> float:
    """(eta/4) Σ Σ_ii/(1 + rho lambda_i): the floor of USAM's SDE if its noise lacked the factor I + rho H."""
    eta, rho = _checked(eta, rho)
    lam, sigma = _curved(eigenvalues, covariance)
    return float(eta / 4 * (sigma / (1 + rho * lam)).sum())


def sam_stationary_loss(eigenvalues: np.ndarray, *, sigma: float, eta: float, rho: float) -> float:
    """Small-eta stationary loss of SAM near a minimum, noise N(0, sigma² I_d), rho² kept.

    E f ≈ (eta/4) Σ (sigma² + 2 rho sigma A_d lambda_i + rho² lambda_i²/d)/(1 + rho A_d lambda_i/sigma).
    To first order this is USAM with radius rho A_d/sigma.  Needs |∇f| ≪ sigma√d.

    Source: derived and checked by simulation (d = 2, 5, 20), error O(eta) relative.
    """
    sigma = require_positive("sigma", sigma, "without noise SAM has a two-cycle, not a stationary law")
    d = len(eigenvalues)
    eta, rho = _checked(eta, rho)
    lam, _ = _curved(eigenvalues, np.full(d, sigma**2))
    A = effective_radius_factor(d)
    top = sigma**2 + 2 * rho * sigma * A * lam + rho**2 * lam**2 / d
    return float(eta / 4 * (top / (1 + rho * A * lam / sigma)).sum())


def _checked(eta: float, rho: float) -> tuple[float, float]:
    eta = require_positive("eta", eta, "it is the learning rate")
    return eta, require_nonnegative("rho", rho, "it is the ascent radius")


def _curved(eigenvalues: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checked lambda and Σ_ii of the directions with lambda > 0."""
    lam, cov = np.asarray(eigenvalues, float), np.asarray(covariance, float)
    diagonal = np.diagonal(cov) if cov.ndim == 2 else cov
    if lam.shape != diagonal.shape:
        raise ValueError(f"covariance must match the {lam.shape} eigenvalues, got shape {cov.shape}.")
    if np.any(lam < 0):
        raise ValueError(f"eigenvalues must be >= 0 for a stationary law, got {lam.min():.4g}.")
    return lam[lam > 0], diagonal[lam > 0]
