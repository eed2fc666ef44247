"""The printed formulas: where they agree with the right ones, where they do not, and where they define no SDE."""

import math
import re
from functools import partial

import pytest
import torch
from cases import SIX
from test_models import SKEW, TANH, law

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact.anisotropic_noise import anisotropic_direction
from sdesam.theory.exact.gaussian_noise import effective_radius_factor
from sdesam.theory.monzio_compagnoni2023.as_printed import SAM, Moments, sde_of_covariance

T = torch.float64
X = torch.tensor([[0.9, 1.3], [1.0, -0.7]], dtype=T)
MINIBATCH = ss.MinibatchOracle(SIX, 1)
H = torch.tensor([[1.0, 0.6], [0.6, -0.5]], dtype=T)


def test_sams_printed_covariance_is_not_symmetric_and_the_right_term_is_its_twin():
    """Σ + rho H(S̄ + S̄ᵀ) against Σ + rho(S̄H + HS̄ᵀ), for a dense H and a skew factor."""
    g = ss.GaussianOracle(ss.Quadratic(H), SKEW.sigma)
    x = torch.tensor([0.4, -0.3], dtype=T)
    Sigma = SKEW.sigma @ SKEW.sigma.T
    Sbar = anisotropic_direction(SKEW.sigma)(H @ x).cross()
    printed = mc23.sam_covariance_as_printed(g, x, rho=0.2)
    torch.testing.assert_close(printed, Sigma + 0.2 * H @ (Sbar + Sbar.T), rtol=1e-10, atol=1e-12)
    assert float((printed - printed.T).abs().max()) > 0.005
    right = sde_of_covariance(SAM, "right", Moments.truncated, g, 1.0, 0.2)
    expected = Sigma + 0.2 * (Sbar @ H + H @ Sbar.T)
    torch.testing.assert_close(law(right, x[None])[1][0], expected, rtol=1e-10, atol=1e-12)


def test_the_right_first_order_term_is_the_derivative_of_the_one_step_covariance():
    """D/d rho at 0 of Cov(∇f_γ + rho H v): S̄H + HS̄ᵀ, not the printed term (finite difference of a quadrature)."""
    g = ss.GaussianOracle(ss.Quadratic(H), SKEW.sigma)
    x = torch.tensor([[0.4, -0.3]], dtype=T)
    up, down = (law(ss.modified_equation(partial(ss.sam, rho=r), g, 1.0, points=48), x)[1][0] for r in (1e-3, 0.0))
    Sbar = anisotropic_direction(SKEW.sigma)(x @ H).cross()[0]
    derivative = (up - down) / 1e-3
    torch.testing.assert_close(derivative, Sbar @ H + H @ Sbar.T, rtol=0, atol=2e-3)
    printed = H @ (Sbar + Sbar.T)
    transposed = H @ Sbar + Sbar.T @ H
    assert float(((printed + printed.T) / 2 - derivative).abs().max()) > 0.02
    assert float((transposed - derivative).abs().max()) > 0.02


def test_printed_and_right_agree_where_everything_commutes():
    """Isotropic noise at an eigenvector of H: H S̄ = S̄ H, and the difference is the rho² term alone."""
    g = ss.GaussianOracle(ss.Quadratic(torch.diag(torch.tensor([1.0, 0.5], dtype=T))), 0.3)
    x = torch.tensor([[0.7, 0.0]], dtype=T)
    for rho in (0.1, 0.05):
        a, b = (law(model(g, eta=1.0, rho=rho), x)[1] for model in (mc23.sam_sde_as_printed, mc23.sam_sde))
        assert float((a - b).abs().max()) < rho**2


@pytest.mark.parametrize(
    ("printed", "right"),
    [
        (mc23.usam_sde_truncated_as_printed, mc23.usam_sde),
        (mc23.dnsam_sde_as_printed, mc23.dnsam_sde),
    ],
)
@pytest.mark.parametrize("g", [SKEW, MINIBATCH], ids=["Gaussian", "minibatch"])
def test_truncated_covariances_lack_the_second_order_only(printed, right, g):
    differences = []
    for rho in (0.02, 0.01):
        (a, A), (b, B) = law(printed(g, eta=1.0, rho=rho), X), law(right(g, eta=1.0, rho=rho), X)
        torch.testing.assert_close(a, b)
        differences.append(float((A - B).abs().max()))
    assert differences[0] / differences[1] == pytest.approx(4, rel=0.05)


def test_usam_as_printed_is_right_for_additive_noise_only():
    torch.testing.assert_close(
        law(mc23.usam_sde_as_printed(SKEW, eta=0.1, rho=0.2), X), law(mc23.usam_sde(SKEW, eta=0.1, rho=0.2), X)
    )
    printed, _ = mc23.usam_sde_as_printed(MINIBATCH, eta=0.1, rho=0.2).coefficients(X)
    torch.testing.assert_close(printed, -ss.grad(mc23.usam_loss_as_printed(SIX, rho=0.2))(X))
    right, _ = mc23.usam_sde(MINIBATCH, eta=0.1, rho=0.2).coefficients(X)
    trace = torch.func.grad(lambda x: law(mc23.sgd_sde(MINIBATCH, eta=1.0), x[None])[1][0].trace())
    expected = torch.stack([-0.1 * trace(x) for x in X])  # −rho/2 ∇tr Σ
    torch.testing.assert_close(right - printed, expected, rtol=1e-10, atol=1e-12)


def test_sam_as_printed_on_minibatches():
    """Its covariance from the definitions: Σ, S̄ = Cov(∇f_γ, v) and the full Hessian."""
    z, _ = MINIBATCH.noise.nodes()
    values = MINIBATCH(X[:1].expand(6, -1).clone(), z)
    v, m = ss.unit(values), values.mean(0)
    Sigma, Sbar = ((values - m).T @ (other - other.mean(0)) / 6 for other in (values, v))
    expected = Sigma + 0.05 * ss.hessian(SIX)(X[0]) @ (Sbar + Sbar.T)
    torch.testing.assert_close(mc23.sam_covariance_as_printed(MINIBATCH, X[0], rho=0.05), expected)


# ----------------------------------------------------------------- indefinite
@pytest.mark.parametrize(
    ("eigenvalues", "threshold"),
    [((-1.0,), math.sqrt(2 * math.pi) / 4), ((1.0, -1.0), 1 / (2 * effective_radius_factor(2)))],
)
def test_the_printed_covariance_goes_indefinite_at_the_sheets_threshold(eigenvalues, threshold):
    """At a critical point: for rho|h|/sigma > 0.6267 (d = 1), 0.7979 (d = 2)."""
    f = ss.Quadratic(torch.diag(torch.tensor(eigenvalues, dtype=T)))
    x = torch.zeros(1, len(eigenvalues), dtype=T)
    g, sigma = ss.GaussianOracle(f, 0.25), 0.25
    dw = torch.ones(1, len(eigenvalues), dtype=T)
    below = mc23.sam_sde_as_printed(g, eta=0.1, rho=0.999 * threshold * sigma)
    assert torch.isfinite(below.coefficients(x)[1](dw)).all()
    above = mc23.sam_sde_as_printed(g, eta=0.1, rho=1.001 * threshold * sigma)
    with pytest.raises(mc23.IndefiniteCovariance, match=re.escape(f"at x = {x[0].tolist()}")):
        above.coefficients(x)[1](dw)


def test_the_error_says_where_and_how_negative():
    g = ss.GaussianOracle(ss.Saddle(), 0.25)
    sde = mc23.sam_sde_as_printed(g, eta=0.1, rho=0.4)
    x = torch.tensor([[2.0, 2.0], [0.0, 0.0]], dtype=T)
    A2, s = effective_radius_factor(2), 0.25
    low, high = s * s - 2 * 0.4 * s * A2, s * s + 2 * 0.4 * s * A2
    with pytest.raises(mc23.IndefiniteCovariance) as error:
        sde.coefficients(x)[1](torch.ones(2, 2, dtype=T))
    assert f"at x = [0.0, 0.0] its eigenvalues are [{low:.4g}, {high:.4g}]" in str(error.value)


def test_clipping_is_explicit_and_its_mass_is_an_observable():
    g = ss.GaussianOracle(ss.Saddle(), 0.25)
    sde = mc23.sam_sde_as_printed(g, eta=0.1, rho=0.4, clip=True)
    x = torch.zeros(1, 2, dtype=T)
    low = 0.25**2 - 2 * 0.4 * 0.25 * effective_radius_factor(2)
    assert float(mc23.clipped_mass(sde)(x)) == pytest.approx(-low, rel=1e-9)
    run = ss.simulate(
        ss.euler_maruyama(sde, 0.05), [0.0, 0.0], steps=2, observables={"cut": mc23.clipped_mass(sde)}, n=64
    )
    assert 0 < float(run.estimate("cut")[-1].value) <= -low + 1e-9
    _, cov = law(sde, x)
    assert float(torch.linalg.eigvalsh(cov)[0].min()) == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match="…_as_printed"):
        mc23.clipped_mass(mc23.sam_sde(g, eta=0.1, rho=0.4))


def test_singular_noise_is_indefinite_for_every_radius():
    """Rank-one Σ that H does not keep: the smallest eigenvalue is −O(rho²); the full covariance stays positive."""
    L = torch.tensor([[0.4], [0.3]], dtype=T)
    g = ss.GaussianOracle(ss.Quadratic(H), L)
    x = torch.tensor([[0.5, 0.2]], dtype=T)
    lows = []
    for rho in (0.02, 0.01):
        cut = sde_of_covariance(SAM, "cut", Moments.truncated, g, 1.0, rho)
        lows.append(float(torch.linalg.eigvalsh(cut.coefficients.matrix(x)).min()))
        assert float(torch.linalg.eigvalsh(law(mc23.sam_sde(g, eta=1.0, rho=rho), x)[1]).min()) > -1e-15
    assert lows[0] < -1e-6
    assert lows[0] / lows[1] == pytest.approx(4, rel=0.1)


def test_bad_arguments():
    f = ss.FiniteSum(SIX.loss, SIX.data)
    with pytest.raises(ValueError, match="needs the dimension"):
        mc23.sam_sde_as_printed(ss.MinibatchOracle(f, 1), eta=0.1, rho=0.1)
    noiseless = mc23.sam_sde_as_printed(ss.ExactOracle(TANH), eta=0.1, rho=0.1)
    assert noiseless.noise_dim == 0
