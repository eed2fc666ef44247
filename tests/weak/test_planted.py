"""Each planted model is wrong in the one thing that its name says."""

from functools import partial

import torch

import sdesam as ss
from sdesam.problems.datasets import tanh_network_data
from sdesam.theory import model_of
from sdesam.theory.exact.anisotropic_noise import anisotropic_direction
from sdesam.weak import planted
from sdesam.weak.by_grid.estimator import drift_and_covariance

T = torch.float64
g = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
SIX = ss.MinibatchOracle(
    tanh_network_data(
        torch.tensor([-1.5, -0.8, 0.4, 0.9, 1.3, 2.0], dtype=T), torch.tensor([-0.6, 0.3, 0.5, 0.1, 0.8, 0.4], dtype=T)
    ),
    1,
)
x = torch.tensor([[0.9, 1.3], [0.4, -0.2]], dtype=T)
ETA, RHO = 0.1, 0.2


def right(g, eta, rho):
    return model_of(partial(ss.sam, rho=rho), g, eta)


def parts(model, g=g, rho=RHO):
    return drift_and_covariance(model(g, ETA, rho), x)


def test_one_thing_is_wrong():
    (b, A), (plain, Sigma) = parts(right), parts(planted.without_rho)
    wrong, same = parts(planted.turned(right))
    assert torch.allclose(wrong - plain, plain - b)
    assert torch.equal(same, A)
    same, wrong = parts(planted.weaker_noise(right))
    assert torch.equal(same, b)
    assert torch.allclose(wrong, ETA * A)
    same, wrong = parts(planted.with_parts(right, planted.without_rho))
    assert torch.equal(same, b)
    assert torch.equal(wrong, Sigma)
    same, wrong = parts(lambda *a: planted.without_noise(right(*a)))
    assert torch.equal(same, b)
    assert not wrong.any()


def test_the_transposed_covariance_is_right_where_hessian_and_direction_commute():
    """Isotropic noise: H S̄ + S̄ᵀ H is the right matrix; tilted noise: it is not (weak_order fact sheet, 1.5)."""
    tilted = ss.GaussianOracle.from_covariance(ss.TanhNetwork(), torch.tensor([[0.25, 0.12], [0.12, 0.13]], dtype=T))
    for oracle, agrees in ((g, True), (tilted, False)):
        gaps = []
        for rho in (0.02, 0.01):
            A, wrong = (parts(m, oracle, rho)[1] for m in (right, planted.transposed))
            gaps.append(float((A - wrong).norm() / rho))
        assert (gaps[1] < 0.6 * gaps[0]) == agrees  # O(rho²) apart, or O(rho)


def test_the_mean_direction_of_a_gaussian():
    """Against the package's own integral for a fixed factor, batched and rotated."""
    Sigma = torch.tensor([[[0.4, 0.15], [0.15, 0.1]], [[0.2, 0.0], [0.0, 0.3]]], dtype=T)
    m = torch.tensor([[0.5, -0.2], [0.1, 0.4]], dtype=T)
    found = planted.gaussian_direction(m, Sigma)
    for i in range(2):
        law = anisotropic_direction(torch.linalg.cholesky(Sigma[i]))(m[i])
        assert torch.allclose(found[i], law.mean, atol=1e-9)


def test_sams_minibatch_drifts_differ_by_the_direction_alone():
    right_drift, A = parts(right, SIX)
    plain, _ = parts(planted.without_rho, SIX)
    for model in (planted.mean_direction, planted.surrogate_direction):
        drift, same = parts(model, SIX)
        assert torch.equal(same, A)
        ratio = (drift - right_drift).norm() / (right_drift - plain).norm()
        assert 0.2 < float(ratio) < 2  # as large as the ascent itself


def test_fresh_draws():
    """Same mean field at rho = 0; at the second gradient the noise is independent of the first."""
    twice = planted.FreshDraws(g)
    z = torch.randn(100_000, 2, 2, dtype=T, generator=torch.Generator().manual_seed(0))
    at = x[:1].expand(100_000, 2).clone()
    G = planted.fresh_usam(twice, at, (z[:, 0], z[:, 1]), rho=RHO)
    same = ss.usam(g, at, z[:, 0], rho=RHO)
    H = ss.hessian(g.mean)(x[0])
    ahead = torch.eye(2, dtype=T) + RHO * H
    assert torch.allclose(torch.cov(same.T), 0.09 * ahead @ ahead.T, rtol=0.1, atol=2e-3)
    assert torch.allclose(torch.cov(G.T), 0.09 * (torch.eye(2, dtype=T) + RHO**2 * H @ H.T), rtol=0.1, atol=2e-3)
