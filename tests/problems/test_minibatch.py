"""Minibatch oracles: unbiased, batch by batch right, their laws, and what they refuse."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from cases import FINITE_SUM, MODULE, SIX, points

import sdesam as ss
from sdesam.problems.oracles import linearize
from sdesam.theory.monzio_compagnoni2023.sdes import mean_square

T = torch.float64
WEIGHTS = (0.05, 0.25, 0.1, 0.2, 0.15, 0.25)
ORACLES = {
    "B=1": ss.MinibatchOracle(SIX, 1),
    "B=2": ss.MinibatchOracle(SIX, 2),
    "B=3, replaced": ss.MinibatchOracle(SIX, 3, replace=True),
    "weights": ss.MinibatchOracle(SIX, 1, p=WEIGHTS),
    "B=2, weights": ss.MinibatchOracle(SIX, 2, replace=True, p=WEIGHTS),
}
X = torch.tensor([[0.9, 1.3], [-0.4, 0.8]], dtype=T)


def all_batches(g):
    """Every batch with its probability and the weight of each member's loss, by brute force."""
    N, B = g.mean.N, g.batch_size
    p = np.full(N, 1 / N) if g.p is None else np.array(g.p)
    if g.replace or B == 1:
        batches = list(itertools.product(range(N), repeat=B))
        return [(b, np.prod(p[list(b)]), 1 / (N * p[list(b)] * B)) for b in batches]
    batches = list(itertools.combinations(range(N), B))
    return [(b, 1 / len(batches), np.full(B, 1 / B)) for b in batches]


def one_gradient(g, x, batch, weights):
    """∇f_γ at one point by plain autograd, from the loss of each datum."""
    x = x.clone().requires_grad_(True)
    a, b = g.mean.data
    total = sum(w * g.mean.loss(x, (a[i], b[i])) for i, w in zip(batch, weights, strict=True))
    return torch.autograd.grad(total, x)[0]


@pytest.mark.parametrize("g", ORACLES.values(), ids=ORACLES)
def test_every_batch_is_right_and_the_mean_is_the_full_gradient(g):
    z, w = g.noise.nodes()
    values = g(X[:, None, :].expand(-1, len(w), -1).clone(), z)
    brute = all_batches(g)
    assert [tuple(row) for row in z.tolist()] == [b for b, _, _ in brute]
    np.testing.assert_allclose(w.numpy(), [q for _, q, _ in brute], rtol=1e-12)
    for k in range(0, len(w), 7):
        torch.testing.assert_close(values[0, k], one_gradient(g, X[0], brute[k][0], brute[k][2]))
    torch.testing.assert_close((w[:, None] * values).sum(1), ss.grad(SIX)(X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("g", ORACLES.values(), ids=ORACLES)
def test_covariance_and_mean_square_scale_as_stated(g):
    z, w = g.noise.nodes()
    values = g(X[:, None, :].expand(-1, len(w), -1).clone(), z)
    torch.testing.assert_close((w * values.square().sum(-1)).sum(-1), mean_square(g, X), rtol=1e-12, atol=0)
    surrogate = ss.gaussian_surrogate(g)
    L = surrogate.sigma(X)
    centred = values - ss.grad(SIX)(X)[:, None]
    torch.testing.assert_close(L @ L.mT, (w[:, None] * centred).mT @ centred, rtol=1e-11, atol=1e-15)


def test_wrong_variance_factors_are_seen():
    """Negative control: B = 2 without replacement is not B = 2 with it."""
    a, b = ss.MinibatchOracle(SIX, 2), ss.MinibatchOracle(SIX, 2, replace=True)
    assert (a.variance_factor, b.variance_factor) == (pytest.approx(0.4), 0.5)
    assert float((mean_square(a, X) - mean_square(b, X)).abs().min()) > 1e-4


def test_the_norm_does_not_scale_with_the_batch_size():
    """E|∇f_γ| is no function of Σ: recompute it for each B."""
    one, two = (
        float(ss.norm(g(X[0].expand(len(g.noise.nodes()[1]), -1).clone(), g.noise.nodes()[0])).mean())
        for g in (ORACLES["B=1"], ORACLES["B=2"])
    )
    full = float(ss.norm(ss.grad(SIX)(X[0])))
    assert abs((two - full) / (one - full) - ORACLES["B=2"].variance_factor) > 0.02


@pytest.mark.parametrize("g", [*ORACLES.values(), ss.MinibatchOracle(MODULE, 2)], ids=[*ORACLES, "module"])
def test_directional_derivatives_are_hessian_products(g):
    x = points(g.mean, 4)
    z = g.noise.nodes()[0][:4]
    v = points(g.mean, 4, seed=1)
    value, derivative = linearize(g, x, z)
    torch.testing.assert_close(value, g(x, z))
    for k in range(4):
        H = torch.autograd.functional.hessian(lambda y, k=k: g.losses(y[None], z[k : k + 1])[0], x[k])
        torch.testing.assert_close(derivative(v)[k], H @ v[k])


def test_a_field_that_is_no_gradient_gets_its_jacobian_not_the_transpose():
    """L(x) z with a non-symmetric derivative, against finite differences."""

    def factor(x):
        return torch.stack(
            (torch.stack((x[..., 1] ** 2, x[..., 0]), -1), torch.stack((x[..., 0] * 0, x[..., 1]), -1)), -2
        )

    g = ss.GaussianOracle(SIX, factor)
    x, z, v = X, torch.tensor([[0.7, -1.1], [0.2, 0.4]], dtype=T), torch.tensor([[1.0, 0.5], [-0.3, 2.0]], dtype=T)
    _, derivative = linearize(g, x, z)
    h = 1e-5
    expected = (g(x + h * v, z) - g(x - h * v, z)) / (2 * h)
    torch.testing.assert_close(derivative(v), expected, rtol=1e-8, atol=1e-9)
    _, pullback, *_ = torch.func.vjp(lambda y: g(y, z), x)
    assert float((pullback(v)[0] - expected).abs().max()) > 0.1  # the transpose would be wrong


def test_the_same_batch_enters_both_gradients():
    g = ss.MinibatchOracle(SIX, 1)
    z = torch.tensor([[3], [5]])
    ascent = X + 0.3 * ss.unit(g(X, z))
    torch.testing.assert_close(ss.sam(g, X, z, rho=0.3), g(ascent, z))
    assert float((ss.sam(g, X, z, rho=0.3) - g(ascent, z.flip(0))).abs().max()) > 1e-3


def test_simulated_minibatch_sgd_has_the_exact_moments():
    """Finite sum of quadratics, n = 20,000: within four standard errors of the exact recursion, at every step."""
    from sdesam.theory.exact.affine_noise import kernel_moments

    a, b = torch.tensor([0.5, 1, 1.5, 3], dtype=T), torch.tensor([1, -1, 0.5, -0.25], dtype=T)
    f = ss.quadratics(a[:, None, None], b[:, None])
    for g in (ss.MinibatchOracle(f, 2), ss.MinibatchOracle(f, 1, p=(0.4, 0.3, 0.2, 0.1))):
        kernel = ss.optimizer(partial(ss.usam, rho=0.2), g, eta=0.1)
        run = ss.simulate(kernel, [1.5], steps=10, observables={"x": ss.coordinate(0)}, n=20_000, seed=3)
        e, exact = run.estimate("x"), kernel_moments(kernel, [1.5], 10)
        assert np.all(np.abs(e.value - exact.mean[:, 0])[1:] < 4 * e.stderr[1:])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ss.MinibatchOracle(ss.LogCosh(2), 1), TypeError, "FiniteSum"),
        (lambda: ss.MinibatchOracle(SIX, 7), ValueError, "batch_size must be <= N = 6"),
        (lambda: ss.MinibatchOracle(SIX, 0), ValueError, "batch_size must be >= 1"),
        (lambda: ss.MinibatchOracle(SIX, 2, p=WEIGHTS), ValueError, "needs replace=True"),
        (lambda: ss.MinibatchOracle(SIX, 1, p=(0.5, 0.5)), ValueError, "6 probabilities"),
        (lambda: ss.MinibatchOracle(SIX, 1, p=(0.0, *WEIGHTS[1:5], 0.3)), ValueError, "positive everywhere"),
        (lambda: ss.GaussianOracle(SIX, 0.1, noise_dim=3), ValueError, "noise_dim must be 2"),
    ],
)
def test_bad_oracles(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_finite_sum_batches():
    x = points(FINITE_SUM, 3)
    index = torch.tensor([[0, 4], [1, 1], [2, 3]])
    expected = torch.stack([FINITE_SUM.losses(x)[i, index[i]] for i in range(3)])
    torch.testing.assert_close(FINITE_SUM.losses_of(x, index), expected)
