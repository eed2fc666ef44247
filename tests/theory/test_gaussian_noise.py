"""SAM's Gaussian closed forms against 1F1, high-precision quadrature and the polar rule of the noise."""

from decimal import Decimal

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import gammaln, hyp1f1

from sdesam.problems.noise import Normal
from sdesam.theory.exact.chebyshev import interpolate
from sdesam.theory.exact.gaussian_noise import covariance, direction_law, effective_radius_factor

T = torch.float64


def closed_forms(m: np.ndarray, s: float):
    """E|W|, E v, E P, E[v vᵀ] through Kummer's function: an independent derivation (Stein's lemma)."""
    d, q = len(m), m @ m / (2 * s**2)
    A = np.exp(gammaln((d + 1) / 2) - gammaln(d / 2 + 1)) / np.sqrt(2)
    length = s * np.sqrt(2) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2)) * hyp1f1(-0.5, d / 2, -q)
    mean = A / s * hyp1f1(0.5, d / 2 + 1, -q) * m
    P = (
        A
        / s
        * (hyp1f1(0.5, d / 2 + 1, -q) * np.eye(d) - hyp1f1(1.5, d / 2 + 2, -q) * np.outer(m, m) / (s**2 * (d + 2)))
    )
    vv = hyp1f1(1, d / 2 + 1, -q) / d * np.eye(d) + hyp1f1(1, d / 2 + 2, -q) * np.outer(m, m) / (s**2 * (d + 2))
    return length, mean, P, vv - np.outer(mean, mean)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 10, 28, 100])
@pytest.mark.parametrize("size", [0.0, 1e-3, 0.3, 2.0, 20.0, 300.0])
def test_against_kummer_functions(d, size):
    s = 0.7
    direction = np.random.default_rng(d).standard_normal(d)
    m = size * s * direction / np.linalg.norm(direction)
    length, mean, P, cov = closed_forms(m, s)
    law = direction_law(torch.from_numpy(m), s)
    basis = torch.eye(d, dtype=T)
    assert float(law.length) == pytest.approx(length, rel=1e-12)
    np.testing.assert_allclose(law.mean.numpy(), mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(law.project(basis).numpy(), P, rtol=0, atol=1e-12 / s)
    np.testing.assert_allclose(covariance(law, s).numpy(), cov, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("m", "s", "length", "mean"),
    [
        ([0.3], 0.5, 0.4686727322, [0.4514937645]),
        ([0.3, -0.4], 0.5, 0.7742862303, [0.33430768, -0.44574357]),
        ([0.3, -0.4, 0.2], 0.5, 0.9438810282, None),
        ([0.1 * i for i in range(1, 11)], 0.7, 2.8981968351, None),
    ],
)
def test_check_values_of_the_fact_sheet(m, s, length, mean):
    law = direction_law(torch.tensor(m, dtype=T), s)
    assert float(law.length) == pytest.approx(length, abs=6e-11)
    if mean is not None:
        np.testing.assert_allclose(law.mean.numpy(), mean, atol=6e-9)


def test_one_dimensional_stein_identity():
    law = direction_law(torch.tensor([0.3], dtype=T), 0.5)
    assert float(0.5**2 * law.along) == pytest.approx(0.3332246029, abs=6e-11)  # S̄ = 2 s phi(m/s)


@pytest.mark.parametrize("m", [[0.0, 0.0], [0.2, -0.1], [1.0, 1.5], [4.0, 0.0]])
def test_against_polar_quadrature(m):
    """Independent of the integrals: a rule for N(0, I) in polar coordinates about the pole."""
    s, mean = 0.5, torch.tensor(m, dtype=T)
    z, w = Normal(2).nodes(40, -mean / s)
    W = mean + s * z
    v = W / W.norm(dim=-1, keepdim=True)
    law = direction_law(mean, s)
    assert float((w * W.norm(dim=-1)).sum()) == pytest.approx(float(law.length), rel=1e-12)
    torch.testing.assert_close((w[:, None] * v).sum(0), law.mean, rtol=0, atol=1e-12)
    second = (w[:, None, None] * v[:, :, None] * v[:, None, :]).sum(0)
    torch.testing.assert_close(second - law.mean.outer(law.mean), covariance(law, s), rtol=0, atol=1e-11)
    cross = s * (w[:, None, None] * z[:, :, None] * v[:, None, :]).sum(0)  # Cov(∇f_γ, v) = Σ E P
    torch.testing.assert_close(cross, s**2 * law.project(torch.eye(2, dtype=T)), rtol=0, atol=1e-12)


def test_the_root_of_the_residual_completes_the_covariance():
    law = direction_law(torch.tensor([0.4, -0.2, 0.1], dtype=T), 0.3)
    basis = torch.eye(3, dtype=T)
    P, R = law.project(basis), law.residual_root(basis)
    torch.testing.assert_close(0.3**2 * P @ P.T + R @ R.T, covariance(law, 0.3), rtol=0, atol=1e-13)


def test_radius_factor_and_origin():
    assert [round(effective_radius_factor(d), 4) for d in (1, 2, 20, 100)] == [0.7979, 0.6267, 0.2208, 0.0998]
    law = direction_law(torch.zeros(3, 2, dtype=T), 0.5)
    A = effective_radius_factor(2)
    torch.testing.assert_close(law.across, torch.full((3, 1), A / 0.5, dtype=T), rtol=1e-13, atol=0)
    torch.testing.assert_close(law.residual_along, torch.full((3, 1), 0.5 - A**2, dtype=T), rtol=1e-11, atol=0)
    torch.testing.assert_close(law.residual_along, law.residual_across, rtol=0, atol=1e-12)


def test_integral_against_mpmath():
    d, q = 3, mpmath.mpf(7)
    with mpmath.workdps(30):
        j0 = mpmath.sqrt(2 / mpmath.pi) * mpmath.quad(
            lambda t: mpmath.cos(t) ** d * mpmath.exp(-q * mpmath.sin(t) ** 2), [0, mpmath.pi / 2]
        )
    m = torch.tensor([float(mpmath.sqrt(14)), 0, 0], dtype=T)  # s = 1, |m|² = 2 q
    assert float(direction_law(m, 1.0).across) == pytest.approx(float(j0), rel=1e-13)


def test_drift_is_minus_the_gradient_of_the_length():
    m = torch.tensor([[0.5, -0.2], [1e-3, 0.0], [3.0, 1.0]], dtype=T)
    gradient = torch.func.grad(lambda x: direction_law(x, 0.4).length.sum())(m)
    torch.testing.assert_close(gradient, direction_law(m, 0.4).mean, rtol=0, atol=1e-11)


def test_single_precision_stays_single():
    law = direction_law(torch.tensor([0.3, -0.4]), 0.5)
    assert law.length.dtype == torch.float32
    assert float(law.length) == pytest.approx(0.7742862303, rel=1e-6)


def test_a_wrong_decay_is_refused():
    with pytest.raises(ValueError, match="does not decay as declared"):
        interpolate(lambda q: [(1 + q) ** Decimal("-0.3")], decay=(0.5,), scale=1.0, tolerances=(1e-13,), most_terms=64)


@pytest.mark.parametrize("s", [0.0, -1.0, float("nan")])
def test_noise_scale_must_be_positive(s):
    with pytest.raises(ValueError, match="s must be"):
        direction_law(torch.ones(2, dtype=T), s)
