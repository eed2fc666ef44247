"""SAM's Gaussian moments for a general covariance: isotropic closed forms, polar quadrature and sampling."""

import numpy as np
import pytest
import torch
from cases import L23

from sdesam.theory.exact.anisotropic_noise import anisotropic_direction
from sdesam.theory.exact.gaussian_noise import covariance, direction_law

T = torch.float64
SKEW = torch.tensor([[0.3, 0.0], [0.25, 0.2]], dtype=T)
FLAT = torch.tensor([[0.5, 0.0], [0.3, 0.01]], dtype=T)  # eigenvalue ratio 4,600


def along(d, r):
    m = torch.zeros(d, dtype=T)
    m[0], m[-1] = 0.6 * r, 0.8 * r
    return m


@pytest.mark.parametrize("d", [2, 3, 10, 40])
@pytest.mark.parametrize("r", [0.0, 1e-3, 0.3, 2.0, 20.0, 2000.0])
def test_isotropic_noise_gives_the_tabulated_functions(d, r):
    m, s = along(d, r), 0.5
    a, b = anisotropic_direction(s * torch.eye(d, dtype=T))(m), direction_law(m, s)
    eye = torch.eye(d, dtype=T)
    torch.testing.assert_close(a.length, b.length, rtol=1e-12, atol=0)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(a.projection, b.project(eye), rtol=0, atol=2e-12 * float(b.across.max()))
    torch.testing.assert_close(a.covariance_of_direction(), covariance(b, s), rtol=0, atol=1e-12)


def test_one_dimension():
    """D = 1, m = .3, s = .5: the fact sheet's values, and Cov v = 1 − (E v)²."""
    law = anisotropic_direction(torch.tensor([[0.5]], dtype=T))(torch.tensor([0.3], dtype=T))
    assert float(law.length) == pytest.approx(0.4686727322, abs=1e-10)
    assert float(law.mean) == pytest.approx(0.4514937645, abs=1e-10)
    assert float(law.cross()) == pytest.approx(0.3332246029, abs=1e-10)
    assert float(law.covariance_of_direction()) == pytest.approx(1 - 0.4514937645**2, abs=1e-10)


def test_the_fact_sheets_cross_covariance():
    """Σ = [[.4, .15], [.15, .1]], m = (.5, −.2): S̄ is not symmetric."""
    L = torch.linalg.cholesky(torch.tensor([[0.4, 0.15], [0.15, 0.1]], dtype=T))
    Sbar = anisotropic_direction(L)(torch.tensor([0.5, -0.2], dtype=T)).cross()
    expected = torch.tensor([[0.31842, 0.19994], [0.12436, 0.12008]], dtype=T)
    torch.testing.assert_close(Sbar, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("L", [SKEW, FLAT], ids=["skew", "nearly singular"])
@pytest.mark.parametrize("m", [[0.5, -0.2], [0.0, 0.0], [0.02, 0.03]])
def test_polar_quadrature_of_the_density(L, m):
    """∫∫ N(W; m, Σ) h(W) dW in polar coordinates about W = 0: trapezoidal by Gauss-Legendre."""
    m = np.array(m)
    law = anisotropic_direction(L)(torch.from_numpy(m))
    angle = np.arange(3000) * 2 * np.pi / 3000
    x, w = np.polynomial.legendre.leggauss(1000)
    r, w = 3.5 * (x + 1), 3.5 * w * 2 * np.pi / 3000
    v = np.stack((np.cos(angle), np.sin(angle)), -1)
    white = (r[:, None, None] * v - m) @ np.linalg.inv(L.numpy()).T
    density = np.exp(-(white**2).sum(-1) / 2) / (2 * np.pi * abs(np.linalg.det(L.numpy()))) * w[:, None]
    per_angle, with_radius = density.sum(0), (density * r[:, None]).sum(0)  # ∫ N dr and ∫ N r dr
    across = np.stack((-v[:, 1], v[:, 0]), -1)
    expected = {
        "length": (density * r[:, None] ** 2).sum(),
        "mean": with_radius @ v,
        "second": (v.T * with_radius) @ v,
        "projection": (across.T * per_angle) @ across,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(law, name).numpy(), value, rtol=1e-10, atol=1e-11)


def test_sampling_in_three_dimensions_with_singular_noise():
    """Rank 2 in d = 3, m = 2 normals: against 4e5 draws, every entry within five standard errors."""
    L = torch.tensor([[0.5, 0.1], [0.2, -0.4], [0.1, 0.3]], dtype=T)
    m = torch.tensor([0.1, 0.2, -0.15], dtype=T)
    law = anisotropic_direction(L)(m)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((400_000, 2)))
    W = m + z @ L.T
    v = W / W.norm(dim=-1, keepdim=True)

    def agrees(samples, value):
        error = samples.std(0) / len(samples) ** 0.5
        assert float(((samples.mean(0) - value).abs() / error).max()) < 5

    agrees(W.norm(dim=-1), law.length)
    agrees(v, law.mean)
    agrees(v[:, :, None] * v[:, None, :], law.second)
    agrees((z @ L.T)[:, :, None] * v[:, None, :], law.cross())  # Stein: Cov(∇f_γ, v) = Σ E P
    Sigma = L @ L.T
    torch.testing.assert_close(law.cross(), Sigma @ law.projection)


@pytest.mark.parametrize("L", [SKEW, FLAT, L23, torch.diag(torch.tensor([1.0, 1e-4, 1e-8], dtype=T))])
def test_identities(L):
    """E P = ∂E v/∂m, tr E v vᵀ = 1, R ≥ 0, E v = ∇E|W|."""
    direction = anisotropic_direction(L)
    m = torch.linspace(0.3, -0.2, len(L), dtype=T)
    law = direction(m)
    torch.testing.assert_close(law.second.trace(), torch.ones((), dtype=T), rtol=1e-11, atol=0)
    torch.testing.assert_close(torch.func.jacrev(lambda y: direction(y).mean)(m), law.projection, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(torch.func.grad(lambda y: direction(y).length)(m), law.mean, rtol=1e-9, atol=1e-10)
    assert float(torch.linalg.eigvalsh(law.residual()).min()) > -1e-12
    w = torch.linspace(-1, 2, len(L), dtype=T)
    root = torch.stack([law.residual_root(e) for e in torch.eye(len(L), dtype=T)])
    torch.testing.assert_close(root @ root.T, law.residual(), rtol=0, atol=1e-10)
    torch.testing.assert_close(law.project(w), law.projection @ w)


def test_fewer_digits_are_cheaper():
    fine, coarse = anisotropic_direction(SKEW), anisotropic_direction(SKEW, accuracy=1e-5)
    assert len(coarse.tau) < len(fine.tau) / 3
    m = torch.randn(50, 2, dtype=T, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(coarse(m).projection, fine(m).projection, rtol=0, atol=1e-4)


def test_bad_factors():
    with pytest.raises(ValueError, match="must not be 0"):
        anisotropic_direction(torch.zeros(2, 2, dtype=T))
    with pytest.raises(ValueError, match="accuracy must be > 0"):
        anisotropic_direction(SKEW, accuracy=0.0)
