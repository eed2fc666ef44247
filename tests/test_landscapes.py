import pytest
import torch
from cases import FINITE_SUM, LANDSCAPES, points

import sdesam as ss
from sdesam.landscapes import require_landscape

T = torch.float64
KNOWN = {k: f for k, f in LANDSCAPES.items() if hasattr(f, "minimizers")}


@pytest.mark.parametrize("f", KNOWN.values(), ids=KNOWN)
def test_known_points_are_critical_and_of_their_kind(f):
    for x in f.minimizers:
        assert float(ss.norm(ss.grad(f)(x))) == 0
        assert float(torch.linalg.eigvalsh(ss.hessian(f)(x)).min()) >= -1e-15
    for x in f.saddles:
        assert float(ss.norm(ss.grad(f)(x))) == 0
        values = torch.linalg.eigvalsh(ss.hessian(f)(x))
        assert float(values.min()) < 0 < float(values.max())


def test_every_landscape_has_a_known_point_or_says_none():
    assert sum(len(f.minimizers) + len(f.saddles) for f in KNOWN.values()) >= 8


def test_tanh_network_curvature_on_the_valley():
    u = torch.linspace(-2, 2, 9, dtype=T)
    H = ss.hessian(ss.TanhNetwork())(torch.stack((u, torch.zeros(9, dtype=T)), -1))
    expected = torch.zeros(9, 2, 2, dtype=T)
    expected[:, 1, 1] = torch.tanh(u) ** 2
    torch.testing.assert_close(H, expected, rtol=0, atol=1e-15)


def test_log_cosh_is_accurate_at_zero_and_far_out():
    f = ss.LogCosh(1)
    x = torch.tensor([[1e-12], [0.3], [-15.0], [25.0], [-800.0]], dtype=T)
    expected = torch.logaddexp(x, -x)[:, 0] - torch.log(torch.tensor(2.0, dtype=T))
    torch.testing.assert_close(f(x)[1:], expected[1:], rtol=1e-15, atol=0)
    torch.testing.assert_close(f(x)[0], torch.tensor(0.5e-24, dtype=T), rtol=1e-12, atol=0)
    torch.testing.assert_close(ss.grad(f)(x), torch.tanh(x), rtol=1e-15, atol=0)
    assert float(ss.hessian(f)(torch.zeros(1, dtype=T))) == 1
    torch.testing.assert_close(ss.hessian(f)(x)[..., 0], 1 / torch.cosh(x) ** 2, rtol=1e-12, atol=4e-16)


def test_finite_sum_is_the_mean_of_its_losses():
    x = points(FINITE_SUM, 2, 3)
    losses = FINITE_SUM.losses(x)
    assert losses.shape == (2, 3, 5)
    a, b = FINITE_SUM.data
    one = (torch.tanh(x[1, 2, 0] * a) * x[1, 2, 1] - b) ** 2 / 2
    torch.testing.assert_close(losses[1, 2], one)
    torch.testing.assert_close(FINITE_SUM(x), losses.mean(-1))


def test_iris_network():
    from sdesam.datasets import iris, iris_linear_network

    f = iris_linear_network()
    features, labels = iris()
    assert (f.dim, f.N) == (28, 150)
    x = points(f)
    logits = features @ (x[16:].reshape(3, 4) @ x[:16].reshape(4, 4)).T
    torch.testing.assert_close(f(x), torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ss.Quadratic(torch.ones(2, 3)), ValueError, r"square matrix \(d, d\), got shape \(2, 3\)"),
        (lambda: ss.Quadratic(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), ValueError, "symmetric"),
        (lambda: ss.Quadratic(torch.tensor([[1, 0], [0, 1]])), TypeError, "floats"),
        (lambda: ss.Quadratic(torch.tensor([[float("nan")]])), ValueError, "finite"),
        (lambda: ss.Saddle((1.0, 2.0)), ValueError, "both signs"),
        (lambda: ss.LogCosh(0), ValueError, "dim must be >= 1"),
        (
            lambda: ss.FiniteSum(lambda x, d: x.sum(), (torch.ones(3), torch.ones(4))),
            ValueError,
            "one length",
        ),
    ],
)
def test_bad_landscapes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_shape_law_is_checked():
    x = torch.zeros(2, dtype=T)
    with pytest.raises(ValueError, match="miss dim=-1"):
        require_landscape(lambda x: (x**2).sum(), x)
    with pytest.raises(ValueError, match=r"returned \(2, 3, 2\)"):
        require_landscape(lambda x: x**2, x)
    with pytest.raises(ValueError, match="last dimension 3"):
        require_landscape(LANDSCAPES["quadratic"], x)
    with pytest.raises(ValueError, match="scalar for one point"):
        ss.FiniteSum(lambda x, datum: x * datum, torch.ones(3, dtype=T))(x)
