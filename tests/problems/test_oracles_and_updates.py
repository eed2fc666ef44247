from functools import partial

import pytest
import torch
from cases import H3, L23, LANDSCAPES, METHODS, SIGMA3, points
from unifiedsam import unifiedSAM

import sdesam as ss
from sdesam.problems.oracles import is_additive

T = torch.float64


def noisy(f, sigma=0.3):
    return ss.GaussianOracle(f, sigma)


def draws(g, *shape, seed=1):
    return torch.randn(*shape, g.noise.size, dtype=T, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
@pytest.mark.parametrize("update", METHODS.values(), ids=METHODS)
def test_rho_zero_is_sgd_bit_for_bit(f, update):
    g = noisy(f)
    x, z = points(f, 50), draws(g, 50)
    assert torch.equal(update(g, x, z, rho=0.0), ss.sgd(g, x, z))


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
@pytest.mark.parametrize("update", METHODS.values(), ids=METHODS)
def test_one_point_many_draws(f, update):
    """x (d,) with z (n, m) broadcasts; differentiating through a broadcast x would sum over it."""
    g = noisy(f)
    x, z = points(f), draws(g, 6)
    together = update(g, x, z, rho=0.2)
    one_by_one = torch.stack([update(g, x, row, rho=0.2) for row in z])
    torch.testing.assert_close(together, one_by_one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
def test_unified_sam_joins_usam_and_sam(f):
    g = noisy(f)
    x, z = points(f, 20), draws(g, 20)
    eps8 = 8 * torch.finfo(T).eps
    for lam, end in ((0.0, ss.usam), (1.0, ss.sam)):
        a, b = ss.unified_sam(g, x, z, rho=0.2, lam=lam), end(g, x, z, rho=0.2)
        torch.testing.assert_close(a, b, rtol=eps8, atol=eps8 * float(b.abs().max()))


def test_the_same_draw_enters_both_gradients():
    """A fresh draw at the second point is another algorithm: on a quadratic USAM's noise is (I + rho H) L z."""
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    x, z = points(g.mean, 5), draws(g, 5)
    expected = x @ H3 @ (torch.eye(3, dtype=T) + 0.3 * H3) + g.scatter(x, z) @ (torch.eye(3, dtype=T) + 0.3 * H3)
    torch.testing.assert_close(ss.usam(g, x, z, rho=0.3), expected)
    fresh = g(x + 0.3 * g(x, z), draws(g, 5, seed=2))
    assert float((fresh - expected).abs().max()) > 0.1


def test_dnsam_divides_by_the_full_batch_norm():
    g = noisy(LANDSCAPES["tanh_network"])
    x, z = points(g.mean, 7), draws(g, 7)
    v = g(x, z)
    length = ss.norm(ss.grad(g.mean)(x))[:, None]
    torch.testing.assert_close(ss.dnsam(g, x, z, rho=0.2), g(x + 0.2 * v / length, z))
    torch.testing.assert_close(ss.dnsam_full_numerator(g, x, z, rho=0.2), g(x + 0.2 * ss.unit(ss.grad(g.mean)(x)), z))


def test_directions_at_a_critical_point_are_zero():
    f, origin = ss.Saddle(), torch.zeros(1, 2, dtype=T)
    exact = ss.ExactOracle(f)
    z = torch.empty(1, 0, dtype=T)
    for update in METHODS.values():
        assert torch.equal(update(exact, origin, z, rho=0.5), torch.zeros(1, 2, dtype=T))
    g = noisy(f)
    assert torch.isfinite(ss.dnsam(g, origin, draws(g, 1), rho=0.5)).all()


@pytest.mark.parametrize(("lam", "update"), [(0.0, ss.usam), (1.0, ss.sam), (0.4, partial(ss.unified_sam, lam=0.4))])
def test_fifty_steps_of_the_published_package(lam, update):
    """unifiedsam adds 1e-12 to the norm: agreement to 1e-10."""
    f, eta, rho = LANDSCAPES["tanh_network"], 0.1, 0.2
    weights = torch.nn.Parameter(torch.tensor([1.0, 1.2], dtype=T))
    theirs = unifiedSAM([weights], torch.optim.SGD, rho=rho, lambd=lam, lr=eta)
    ours = torch.tensor([1.0, 1.2], dtype=T)
    kernel = ss.optimizer(partial(update, rho=rho), ss.ExactOracle(f), eta)
    for _ in range(50):
        f(weights).backward()
        theirs.first_step(zero_grad=True)
        f(weights).backward()
        theirs.second_step(zero_grad=True)
        ours = kernel.step(ours, torch.empty(0, dtype=T))
    torch.testing.assert_close(ours, weights.data, rtol=0, atol=1e-10)
    assert float((ours - torch.tensor([1.0, 1.2], dtype=T)).norm()) > 0.1


def test_factor_noise_with_more_columns_than_rows():
    g = ss.GaussianOracle(ss.TanhNetwork(), L23)
    assert (g.dim, g.noise_dim, g.noise.shape) == (2, 3, (3,))
    x, z = points(g.mean, 4), draws(g, 4)
    torch.testing.assert_close(g(x, z) - ss.grad(g.mean)(x), torch.stack([L23 @ row for row in z]))
    assert g.pole(x) is None


def test_covariance_constructor():
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    torch.testing.assert_close(g.sigma @ g.sigma.T, SIGMA3)
    singular = ss.GaussianOracle.from_covariance(ss.TanhNetwork(), torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=T))
    torch.testing.assert_close(singular.sigma @ singular.sigma.T, torch.ones(2, 2, dtype=T))
    x = torch.ones(2, dtype=T)
    nearest = ss.norm(singular(x, singular.pole(x)))
    shifted = ss.norm(singular(x, singular.pole(x) + 0.1 * torch.randn(50, 2, dtype=T)))
    assert bool((shifted >= nearest - 1e-15).all())  # g cannot vanish: the pole is where it is smallest


def test_state_dependent_noise_is_reevaluated():
    g = ss.GaussianOracle(ss.TanhNetwork(), lambda x: torch.diag_embed(0.1 + x * x))
    assert not is_additive(g)
    x, z = points(g.mean, 3), draws(g, 3)
    torch.testing.assert_close(g(x, z), ss.grad(g.mean)(x) + (0.1 + x * x) * z)
    torch.testing.assert_close(g(x, g.pole(x)), torch.zeros(3, 2, dtype=T), rtol=0, atol=1e-12)


def test_pole_is_where_the_oracle_vanishes():
    factor = torch.tensor([[0.3, -0.1], [0.05, 0.25]], dtype=T)
    for sigma in (0.4, factor):
        g = ss.GaussianOracle(ss.TanhNetwork(), sigma)
        x = points(g.mean, 5)
        torch.testing.assert_close(g(x, g.pole(x)), torch.zeros(5, 2, dtype=T), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: noisy(ss.TanhNetwork(), -1.0), ValueError, "sigma must be >= 0, got -1.0"),
        (lambda: noisy(ss.TanhNetwork(), float("inf")), ValueError, "sigma must be finite"),
        (lambda: noisy(lambda x: (x**2).sum(-1)), ValueError, "dim must be given"),
        (lambda: ss.GaussianOracle(ss.TanhNetwork(), torch.ones(3, 3)), ValueError, "2 rows"),
        (
            lambda: ss.GaussianOracle(ss.TanhNetwork(), torch.ones(2, 2, dtype=torch.int64)),
            TypeError,
            "floats",
        ),
        (lambda: ss.GaussianOracle(ss.TanhNetwork(), torch.ones(2)), ValueError, r"factor L \(d, m\)"),
        (
            lambda: ss.GaussianOracle.from_covariance(ss.TanhNetwork(), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
            ValueError,
            "positive semi-definite, its smallest eigenvalue is -1",
        ),
        (
            lambda: ss.GaussianOracle.from_covariance(ss.TanhNetwork(), torch.tensor([[1.0, 2.0], [0.0, 1.0]])),
            ValueError,
            "symmetric",
        ),
    ],
)
def test_bad_oracles(make, error, message):
    with pytest.raises(error, match=message):
        make()
