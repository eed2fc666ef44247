"""Quadrature where the noise grows with x, and below the spacing that one stencil allows: against exact moments."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments
from sdesam.weak.by_grid import backward, growth
from sdesam.weak.by_grid.backward import grid_about, transition
from sdesam.weak.by_grid.estimator import by_quadrature, models_by_quadrature
from sdesam.weak.by_grid.growth import Stretch, stretch_for, unstretched

pytestmark = pytest.mark.untyped

T = torch.float64
A = 0.2
SLOWER = [(0.05, 1 / 32), (0.5, 1 / 8), (0.5, 1 / 16), (0.5, 1 / 32), (0.9, 1 / 8)]
POWERS = {"x": ss.coordinate(0), "x^2": ss.squared_norm, "x^4": lambda x: x[..., 0] ** 4}


def growing(b):
    """dX = −X dt + √(0.2 + b X²) dW."""
    return ss.SDE(lambda x: (-x, lambda dw: torch.sqrt(A + b * x * x) * dw), noise_dim=1)


def euler_moments(b, h, steps):
    """E x, E x², E x⁴ of Euler's scheme from 1: x⁺ = (1 − h) x + √h σ(x) z with σ² = A + b x²."""
    q, m, m2, m4 = 1 - h, 1.0, 1.0, 1.0
    for _ in range(steps):
        squares = A * A + 2 * A * b * m2 + b * b * m4  # E σ⁴
        m, m2, m4 = (
            q * m,
            q * q * m2 + h * (A + b * m2),
            q**4 * m4 + 6 * q * q * h * (A * m2 + b * m4) + 3 * h * h * squares,
        )
    return np.array([m, m2, m4])


def sde_moments_at(b, t):
    """m2' = (b − 2) m2 + A, m4' = (6b − 4) m4 + 6A m2."""
    rates = np.array([[0, 0, 0], [A, b - 2, 0], [0, 6 * A, 6 * b - 4]])
    _, m2, m4 = expm(rates * t) @ np.ones(3)
    return np.array([math.exp(-t), m2, m4])


@pytest.mark.parametrize(
    ("b", "h"),
    [(0.2, 1 / 32), (0.5, 1 / 4), *(pytest.param(b, h, marks=pytest.mark.slow) for b, h in SLOWER)],
)
def test_moments_under_noise_that_grows_like_x(b, h):
    """Euler's own moments to rounding, the SDE's to the accuracy that is returned: 1e-8 but for x⁴ under 0.9 X²."""
    steps, sde = round(1 / h), growing(b)
    found = by_quadrature(ss.euler_maruyama(sde, h), sde, [1.0], steps=steps, observables=POWERS)
    for e, own, exact in zip(found.values(), euler_moments(b, h, steps), sde_moments_at(b, 1.0), strict=True):
        assert abs(e.chain.value[-1] - own) < 1e-11 * max(1, own)
        assert abs(e.sde.value[-1] - exact) < e.sde.stderr[-1]
        assert e.error.stderr[-1] < (1e-4 if b == 0.9 and own > 1 else 1e-8)


def test_the_second_moment_of_the_report():
    """E X² at T = 1 for b = 0.5, in closed form."""
    assert sde_moments_at(0.5, 1.0)[1] == pytest.approx(math.exp(-1.5) + 0.2 * (1 - math.exp(-1.5)) / 1.5, rel=1e-13)


def test_a_bounded_observable_under_growing_noise():
    """E cos x₂ of Euler's scheme: the second step in closed form, the first by 200 nodes."""
    b, h = 0.5, 1 / 4
    z, w = np.polynomial.hermite_e.hermegauss(200)
    x = (1 - h) + np.sqrt(h * (A + b)) * z
    exact = (w * np.cos((1 - h) * x) * np.exp(-h * (A + b * x * x) / 2)).sum() / w.sum()
    run = dict(steps=2, observables={"cos": lambda x: torch.cos(x[..., 0])}, accuracy=1e-6)
    chain = by_quadrature(ss.euler_maruyama(growing(b), h), growing(b), [1.0], **run)["cos"].chain
    assert abs(chain.value[-1] - exact) < 1e-9


def test_without_the_stretch_it_explodes_and_is_refused(monkeypatch):
    """Negative control: on a uniform grid, with one stencil a row, values leave the range of phi: not returned."""
    monkeypatch.setattr(growth, "_EVEN", {1: math.inf})
    monkeypatch.setattr(backward, "_FITS", math.inf)
    sde, run = growing(0.5), dict(steps=32, observables={"x^2": ss.squared_norm})
    kernel = ss.euler_maruyama(sde, 1 / 32)
    with pytest.raises(ValueError, match=r"E x\^2 of EulerMaruyama.* must stay between"):
        by_quadrature(kernel, sde, [1.0], **run)
    chain = models_by_quadrature(kernel, {"model": sde}, [1.0], **run)["model"]["x^2"].chain
    assert np.isnan(chain.value[-1])
    assert np.isinf(chain.stderr[-1])


def test_growth_that_no_grid_holds_is_refused_before_computing():
    sde = growing(0.5)
    with pytest.raises(ValueError, match=r"observable 'e' must not grow faster than \|x\|\^8"):
        by_quadrature(
            ss.euler_maruyama(sde, 1 / 8), sde, [1.0], steps=8, observables={"e": lambda x: torch.exp(3 * x[..., 0])}
        )
    square = ss.SDE(lambda x: (-x, lambda dw: 3 * x * x * dw), noise_dim=1)
    with pytest.raises(ValueError, match=r"must not outgrow x .* grows like \|x\|\^2"):
        by_quadrature(ss.euler_maruyama(square, 1 / 4), square, [0.3], steps=2, observables=POWERS)


def non_commuting():
    """dX = D X dt + Σ_j (B_j X + n_j) dW_j with two matrices that do not commute."""
    D = torch.tensor([[-1.0, 0.4], [-0.3, -0.8]], dtype=T)
    B = torch.tensor([[[0.5, 0.1], [0.0, 0.2]], [[0.0, -0.2], [0.3, 0.25]]], dtype=T)
    n = torch.tensor([[0.3, 0.1], [0.0, 0.4]], dtype=T)

    def coefficients(x):
        return x @ D.T, lambda dw: (dw[..., :, None] * (torch.einsum("jik,...k->...ji", B, x) + n)).sum(-2)

    return ss.SDE(coefficients, noise_dim=2)


@pytest.mark.slow
def test_in_the_plane():
    sde, x0, h = non_commuting(), [1.0, 0.5], 1 / 4
    kernel = ss.euler_maruyama(sde, h)
    phis = {"x": ss.coordinate(0), "xy": lambda x: x[..., 0] * x[..., 1]}
    found = by_quadrature(kernel, sde, x0, steps=4, observables=phis, accuracy=1e-2)
    own, exact = kernel_moments(kernel, x0, 4), sde_moments(sde, x0, h, 4)
    for name, path in (("chain", own), ("sde", exact)):
        x, xy = (getattr(found[phi], name) for phi in phis)
        assert abs(x.value[-1] - path.mean[-1, 0]) < min(1e-4, 3 * x.stderr[-1])
        assert abs(xy.value[-1] - path.second[-1, 0, 1]) < min(1e-4, 3 * xy.stderr[-1])


@pytest.mark.parametrize("d", [1, 2])
def test_rows_about_every_arrival_are_exact_for_wide_noise(d):
    """The weights of a row sum to 1, and it has the mean of a step whose noise is 5 nodes wide."""
    x0, one = np.full(d, 0.3), np.ones(d)
    grid = grid_about(x0, -one, one, 12, unstretched(d))
    z, w = (t.numpy() for t in ss.Normal(d).nodes(8))
    s = 5 * grid.h[0]

    def arrivals():
        x = grid.points.numpy()
        yield x[:, None] + s * z, np.broadcast_to(w, (len(x), len(w)))

    P = transition(grid, arrivals())
    assert (P @ np.ones(math.prod(grid.shape)))[grid.start] == pytest.approx(1, abs=1e-13)
    assert (P @ grid.points.numpy()[:, 0])[grid.start] == pytest.approx(0.3, abs=1e-9)


def test_a_stretch_and_its_inverse():
    stretch = Stretch(np.array([0.3, -1.0]), np.array([0.5, math.inf]))
    y = np.random.default_rng(0).standard_normal((50, 2)) * 4
    np.testing.assert_allclose(stretch.flat(stretch.back(y)), y, rtol=1e-13, atol=1e-13)
    assert np.array_equal(unstretched(2).flat(y), y)


def test_even_noise_keeps_the_plain_grid():
    paths, low, high = np.zeros((3, 1)), -np.ones(1), np.ones(1)
    assert stretch_for([lambda x: 0.1 + 0 * x], paths, low, high) is None
    saturating = stretch_for([lambda x: 0.1 + 0.4 * np.tanh(x * x)], paths, low, high)
    assert saturating is not None
    assert np.isinf(saturating.width).all()
    grown = stretch_for([lambda x: np.sqrt(0.04 + x * x)], paths, low, high)
    assert grown is not None
    assert grown.width[0] == pytest.approx(0.2, rel=0.02)


def test_sam_on_the_double_well_at_a_large_step():
    """Two steps at eta = 1/8 from between saddle and minimum, against a rule split where the gradient vanishes."""
    eta, sigma, rho = 1 / 8, 0.5, 0.5 * 2**-0.5
    g = ss.GaussianOracle(ss.DoubleWell(1), sigma)

    def update(g, x, z):
        return ss.sam(g, x, z, rho=rho)

    nodes, weights = np.polynomial.legendre.leggauss(120)

    def step(x):
        """All arrivals from points x (n,), and their weights: (n, 240) each."""
        slope = x * (x * x - 1)
        pole = np.clip(-slope / sigma, -8.5, 8.5)[:, None]
        z = np.concatenate(
            [(pole - 8.5) / 2 + (pole + 8.5) / 2 * nodes, (pole + 8.5) / 2 + (8.5 - pole) / 2 * nodes], 1
        )
        w = np.concatenate([(pole + 8.5) / 2 * weights, (8.5 - pole) / 2 * weights], 1) * np.exp(-z * z / 2)
        at = x[:, None] + rho * np.sign(slope[:, None] + sigma * z)
        return x[:, None] - eta * (at * (at * at - 1) + sigma * z), w / (2 * np.pi) ** 0.5

    (first,), (w,) = step(np.array([0.5]))
    second, v = step(first)
    exact = (w * (v * np.tanh(second)).sum(1)).sum()
    run = dict(steps=2, observables={"tanh": lambda x: torch.tanh(x[..., 0])})
    chain = by_quadrature(ss.optimizer(update, g, eta), model_of(update, g, eta), [0.5], **run)["tanh"].chain
    assert abs(chain.value[-1] - exact) < chain.stderr[-1] < 1e-8


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.0), (1.0, 0.0), (0.2, 0.5)])
def test_a_model_noisier_than_its_optimizer_has_a_box_of_its_own(a, b):
    """E X² of dX = −X dt + √(a + b X²) dW from 1: m' = a − (2 − b) m; the optimizer's noise is 0.1."""
    optimizer = ss.optimizer(ss.sgd, ss.GaussianOracle(lambda x: (x * x).sum(-1) / 2, 0.1, dim=1), 0.1)
    model = ss.SDE(lambda x: (-x, lambda dw: torch.sqrt(a + b * x * x) * dw), noise_dim=1)
    found = by_quadrature(optimizer, model, [1.0], steps=8, observables={"x^2": ss.squared_norm})["x^2"]
    rate, decayed = 2 - b, math.exp(-(2 - b) * 0.8)
    exact = decayed + a / rate * (1 - decayed)
    assert abs(found.sde.value[-1] - exact) < 1e-8
    assert found.sde.stderr[-1] < 1e-6
