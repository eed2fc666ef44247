"""e1, S(eta) and the corrected drift: against the tables of the fact sheet, and seen rejecting wrong diffusions."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.conclusions import THREE_HALVES, second_powers_of
from sdesam.weak.fluctuations import scaled_fluctuation, second_moments
from sdesam.weak.planted import without_noise

T = torch.float64
X = {"x": ss.coordinate(0)}
LINE = ss.GaussianOracle(ss.LogCosh(1), 0.5)
ETAS = [2.0**-k for k in range(3, 8)]


def own(update):
    return lambda g, eta, rho: model_of(partial(update, rho=rho), g, eta)


def ode(update):
    return lambda g, eta, rho: without_noise(own(update)(g, eta, rho))


def usam_without_rho_in_its_noise(g, eta, rho):
    right, plain = mc23.usam_sde(g, eta=eta, rho=rho), mc23.sgd_sde(g, eta=eta)
    return ss.SDE(lambda x: (right.coefficients(x)[0], plain.coefficients(x)[1]), noise_dim=right.noise_dim)


def bent(x):
    return x[..., 0] ** 2 / 2 + 0.25 * torch.cos(2 * x[..., 0] + 0.3)


@pytest.mark.parametrize(
    ("update", "model", "x", "square"),
    [  # weak_order fact sheet, section 1.2: predicted e1 for (x, x²)
        (ss.sgd, own, -0.30082, -0.49038),
        (ss.usam, own, -0.44081, -0.71857),
        (ss.sam, own, -0.63741, -1.03904),
        (ss.usam, ode, -0.45549, -0.69269),
        (ss.sam, ode, -0.65208, -1.01316),
    ],
)
def test_leading_constants_in_one_dimension(update, model, x, square):
    g = ss.GaussianOracle(bent, 0.4, dim=1)
    found = ss.leading_constant(
        update, g, model(update), rho_scale=1.0, x0=[1.7], horizon=1.0,
        observables={"x": ss.coordinate(0), "x^2": ss.squared_norm},
    )  # fmt: skip
    assert found["x"].e1 == pytest.approx(x, abs=2e-5)
    assert found["x^2"].e1 == pytest.approx(square, abs=2e-5)
    assert abs(found["x"].half) < 1e-7


@pytest.mark.parametrize(
    ("update", "sigma", "e1"),
    [  # the same for the tanh network, observables u, v, f
        (ss.usam, 0.3, (0.05424, 0.07597, 0.03025)),
        (ss.sam, 0.3, (0.11485, 0.25392, 0.08796)),
        (ss.dnsam, 0.2, (0.35487, 0.53441, 0.20749)),
    ],
)
def test_leading_constants_of_the_tanh_network(update, sigma, e1):
    g = ss.GaussianOracle(ss.TanhNetwork(), sigma)
    found = ss.leading_constant(
        update, g, own(update), rho_scale=1.0, x0=[1.0, 1.2], horizon=1.0,
        observables={"u": ss.coordinate(0), "v": ss.coordinate(1), "f": g.mean},
    )  # fmt: skip
    assert [c.e1 for c in found.values()] == pytest.approx(e1, abs=2e-5)


def test_a_drift_without_rho_has_a_half_order_constant():
    """Its size is that of the measured error: err/√eta tends to ``half``."""
    plain = lambda g, eta, rho: mc23.sgd_sde(g, eta=eta)  # noqa: E731
    half = ss.leading_constant(ss.usam, LINE, plain, rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X)["x"].half
    eta = 2.0**-8
    kernel = ss.optimizer(partial(ss.usam, rho=eta**0.5), LINE, eta)
    error = ss.by_quadrature(kernel, plain(LINE, eta, 0.0), [1.2], steps=256, observables=X)["x"].error.value[-1]
    assert half == pytest.approx(error / eta**0.5, rel=0.1)


@pytest.mark.untyped
def test_e1_decides_what_the_share_cannot():
    """A drift wrong at O(eta) only is of order 1; e1 of the right drift rejects it."""

    def lazy(g, eta, rho):
        right = mc23.sam_sde(g, eta=eta, rho=rho)
        return ss.SDE(
            lambda x: (right.coefficients(x)[0] * (1 + eta), right.coefficients(x)[1]), 2, private_dim=1, dim=1
        )

    setting = dict(rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X)
    e1 = {"x": ss.leading_constant(ss.sam, LINE, own(ss.sam), **setting)["x"].e1}
    run = partial(ss.weak_order, ss.sam, LINE, etas=[2.0**-k for k in range(3, 8)], estimator="quadrature", **setting)
    assert run(e1=e1)["x"].conclusion == "order 1"
    assert run(sde=lazy)["x"].conclusion == "order 1"
    rejected = run(sde=lazy, e1=e1)["x"]
    assert rejected.conclusion == "order 1, wrong constant"
    assert "is not the predicted e1" in rejected.order.reason


def pairs(update, model, g=LINE):
    return lambda eta: (
        ss.optimizer(partial(update, rho=eta**0.5), g, eta),
        model(g, eta, eta**0.5),
    )


@pytest.mark.parametrize("update", [ss.sgd, ss.usam, ss.sam])
@pytest.mark.untyped
def test_scaled_fluctuations(update):
    run = partial(ss.fluctuation_order, etas=ETAS, x0=[1.2], horizon=1.0)
    assert run(pairs(update, own(update))).conclusion == "order 1"
    assert run(pairs(update, ode(update))).conclusion == "does not converge"


@pytest.mark.untyped
def test_scaled_fluctuations_see_a_missing_rho_term():
    found = ss.fluctuation_order(pairs(ss.usam, usam_without_rho_in_its_noise), ETAS, x0=[1.2], horizon=1.0)
    assert found.conclusion == "order 1/2", found.reason


@pytest.mark.untyped
def test_scaled_fluctuations_in_closed_form_and_by_monte_carlo():
    H = torch.diag(torch.tensor([1.0, -1.0, 0.5], dtype=T))
    g = ss.GaussianOracle(ss.Quadratic(H), 0.5)
    run = partial(ss.fluctuation_order, x0=[1.0, 0.5, 0.2], horizon=1.0, estimator="closed_form")
    etas = [2.0**-k for k in range(5, 9)]
    assert run(pairs(ss.usam, own(ss.usam), g), etas).conclusion == "order 1"
    right = lambda eta: pairs(ss.usam, ode(ss.usam), g)(eta)  # noqa: E731
    assert run(right, etas).conclusion == "does not converge"
    both, phis = pairs(ss.usam, own(ss.usam))(1 / 8), second_moments([0.5])
    exact = scaled_fluctuation(ss.by_quadrature(*both, [1.2], steps=8, observables=phis), 1 / 8, 1)
    noisy = scaled_fluctuation(ss.by_coupled_mc(*both, [1.2], steps=8, observables=phis, n=8000), 1 / 8, 1)
    assert np.all(np.abs(noisy.value - exact.value) < 5 * noisy.stderr + 1e-9)


@pytest.mark.untyped
@pytest.mark.slow
def test_corrected_drifts():
    """Order 3/2 with rho, 2 without; a missing diffusion shows as order 1."""
    run = partial(ss.weak_order, g=LINE, x0=[1.2], horizon=1.0, observables=X, estimator="quadrature", rho_scale=1.0)
    etas = [2.0**-k for k in range(4, 8)]
    right = ss.corrected_drift(ss.sam, LINE, own(ss.sam))
    assert run(ss.sam, etas=etas, sde=right, powers=THREE_HALVES)["x"].conclusion == "order 3/2"
    noiseless = ss.corrected_drift(ss.sam, LINE, ode(ss.sam))
    assert run(ss.sam, etas=etas, sde=noiseless, powers=THREE_HALVES)["x"].conclusion == "order 1"
    right = ss.corrected_drift(ss.sgd, LINE, own(ss.sgd))
    assert run(ss.sgd, etas=etas, sde=right, powers=second_powers_of(0.0))["x"].conclusion == "order 2"


@pytest.mark.untyped
def test_refused_cells_are_named():
    """DNSAM close to a critical point has no moments: its cells are refused, and no order is made of them."""
    found = ss.weak_order(
        ss.dnsam, LINE, etas=[1 / 2, 1 / 4, 1 / 5, 1 / 6], rho_scale=1.0, x0=[0.7], horizon=1.0,
        observables=X, estimator="quadrature",
    )["x"]  # fmt: skip
    assert found.conclusion == "inconclusive"
    assert "refused" in found.order.reason


def test_constants_are_of_updates_that_are_the_gradient_without_rho():
    def decay(g, x, z, *, rho):
        return g(x + rho * g(x, z), z) + 0.1 * x

    setting = dict(rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X)
    with pytest.raises(ValueError, match="must be the stochastic gradient at rho = 0"):
        ss.leading_constant(decay, LINE, own(ss.usam), **setting)


def test_the_constant_with_the_right_noise_sees_a_missing_one():
    setting = dict(rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X)
    right, silent = (ss.leading_constant(ss.sam, LINE, m(ss.sam), **setting)["x"] for m in (own, ode))
    assert right.e1 == right.e1_with_noise == pytest.approx(silent.e1_with_noise)
    assert abs(silent.e1 - right.e1) > 0.1 * abs(right.e1)
    assert right.drift_is_right
    wrong = ss.leading_constant(ss.sam, LINE, lambda g, eta, rho: mc23.sgd_sde(g, eta=eta), **setting)["x"]
    assert not wrong.drift_is_right
