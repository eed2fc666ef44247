"""Backward propagation: exact laws, the oracle values of the fact sheet, another scheme, and its own accuracy."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.by_grid.backward import grid_about, interpolate, propagate, transition
from sdesam.weak.by_grid.estimator import by_quadrature, models_by_quadrature, tabulated
from sdesam.weak.errors import by_coupled_mc, in_closed_form

T = torch.float64
X = {"x": ss.coordinate(0)}
LINE = ss.GaussianOracle(ss.LogCosh(1), 0.5)


def pair(update, g, eta, rho):
    bound = partial(update, rho=rho)
    return ss.optimizer(bound, g, eta), model_of(bound, g, eta)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("update", [ss.sgd, ss.usam])
@pytest.mark.parametrize("eta", [0.25, 1 / 64])
def test_agrees_with_the_closed_form_on_quadratics(d, update, eta):
    H = torch.tensor([[1.0, 0.4], [0.4, 2.0]], dtype=T)[:d, :d]
    g = ss.GaussianOracle(ss.Quadratic(H), torch.tensor([[0.5, 0.0], [0.2, 0.3]], dtype=T)[:d, :d])
    phis = {"x": ss.coordinate(0), "f": g.mean, "x^3": lambda x: x[..., 0] ** 3}
    setting = dict(steps=round(1 / eta), observables=phis)
    exact = in_closed_form(*pair(update, g, eta, eta**0.5), [1.0, -0.5][:d], **setting)
    found = by_quadrature(*pair(update, g, eta, eta**0.5), [1.0, -0.5][:d], **setting)
    for name, e in exact.items():
        f = found[name]
        assert f.error.method == "quadrature"
        assert np.abs(f.error.value - e.error.value).max() < (1e-8 if d == 1 else 1e-6)
        assert np.all(
            np.abs(f.error.value - e.error.value) <= 3 * f.error.stderr + 1e-12
        )  # its own estimate of accuracy
        assert np.abs(f.chain.value - e.chain.value).max() < (1e-8 if d == 1 else 1e-6)


# E x at T = 1, optimizer and SDE (factored root): weak_order fact sheet, section 4, sigma = 0.5, x0 = 1.2, rho = √eta
@pytest.mark.parametrize(
    ("update", "model", "k", "chain", "sde"),
    [
        (ss.sam, mc23.sam_factored_sde, 3, 0.433749805, 0.421968646),
        (ss.sam, mc23.sam_factored_sde, 5, 0.477023284, 0.473290979),
        (ss.sam, mc23.sam_factored_sde, 8, 0.510253320, 0.509752178),
        (ss.usam, mc23.usam_sde, 3, 0.445842287, 0.445945674),
        (ss.usam, mc23.usam_sde, 8, 0.514009377, 0.513856316),
    ],
)
def test_oracle_values_in_one_dimension(update, model, k, chain, sde):
    eta = 2.0**-k
    kernel = ss.optimizer(partial(update, rho=eta**0.5), LINE, eta)
    found = by_quadrature(kernel, model(LINE, eta=eta, rho=eta**0.5), [1.2], steps=2**k, observables=X)["x"]
    assert abs(found.chain.value[-1] - chain) < 2e-9
    assert abs(found.sde.value[-1] - sde) < 2e-9


@pytest.mark.untyped
@pytest.mark.slow
def test_oracle_values_in_two_dimensions():
    """Tanh network, sigma = 0.3, from (1, 1.2).  The sheet's 2-d accuracy is 1e-6; its SDE value of SAM is 9e-6 off:
    Platen's scheme, another discretisation, confirms ours (next test)."""
    g, eta = ss.GaussianOracle(ss.TanhNetwork(), 0.3), 2.0**-3
    for update, chain, sde in ((ss.usam, 0.8259858, 0.8203337), (ss.sam, 0.8386401, None)):
        found = by_quadrature(*pair(update, g, eta, eta**0.5), [1.0, 1.2], steps=8, observables=X)["x"]
        assert abs(found.chain.value[-1] - chain) < 1e-6
        assert sde is None or abs(found.sde.value[-1] - sde) < 2e-6


def test_platen_agrees_with_the_extrapolated_scheme():
    g, eta, x0 = ss.GaussianOracle(ss.TanhNetwork(), 0.3), 2.0**-3, np.array([1.0, 1.2])
    model = mc23.sam_factored_sde(g, eta=eta, rho=eta**0.5)
    kernel = ss.optimizer(partial(ss.sgd, rho=0.0), g, eta)  # any optimizer
    ours = by_quadrature(kernel, model, x0.tolist(), steps=8, observables=X)["x"].sde.value[-1]
    grid = grid_about(x0, np.array([0.0, -0.1]), np.array([1.8, 2.0]), 26)

    def by_platen(steps):
        scheme = ss.platen(model, 1 / steps)
        z, w = scheme.noise.nodes(3)

        def arrivals():
            for points in grid.points.split(400):
                x = points[:, None].expand(-1, len(w), 2).clone()
                own = tuple(part.expand(len(x), *part.shape).clone() for part in z)
                yield scheme.advance(x, own).numpy(), w.expand(len(x), len(w)).numpy()

        return propagate(transition(grid, arrivals()), grid.points.numpy(), grid.start, steps)[-1, 0]

    coarse, fine = by_platen(8), by_platen(16)
    assert abs(ours - (4 * fine - coarse) / 3) < 1e-6
    assert abs(ours - coarse) > 5e-5  # seen to matter


def test_minibatch_noise_and_any_update_are_enumerated():
    """Batch-dependent quadratics: the exact moments of theory/affine_noise are met by the grid."""
    from sdesam.theory.exact.affine_noise import kernel_moments

    a, b = torch.tensor([0.5, 1.0, 1.5, 3.0], dtype=T), torch.tensor([1.0, -1.0, 0.5, -0.25], dtype=T)
    data = ss.quadratics(a[:, None, None], b[:, None])
    g = ss.MinibatchOracle(data, 1)
    kernel, sde = pair(ss.usam, g, 1 / 16, 0.25)
    found = by_quadrature(kernel, sde, [1.5], steps=16, observables={"x^2": ss.squared_norm})["x^2"]
    path = kernel_moments(kernel, [1.5], 16)
    assert np.abs(found.chain.value - (path.mean[:, 0] ** 2 + path.covariance[:, 0, 0])).max() < 1e-9


def test_coupled_monte_carlo_covers_it():
    eta = 1 / 16
    both = pair(ss.sam, LINE, eta, eta**0.5)
    exact = by_quadrature(*both, [1.2], steps=16, observables=X)["x"].error
    noisy = by_coupled_mc(*both, [1.2], steps=16, observables=X, n=20_000, substeps=4)["x"].error
    z = (noisy.value - exact.value)[1:] / noisy.stderr[1:]
    assert np.abs(z).max() < 4.5


def test_models_share_the_optimizer_and_a_wrong_one_is_seen():
    eta = 1 / 32
    kernel, own = pair(ss.sam, LINE, eta, eta**0.5)
    found = models_by_quadrature(
        kernel, {"own": own, "sgd": mc23.sgd_sde(LINE, eta=eta)}, [1.2], steps=32, observables=X
    )
    assert np.array_equal(found["own"]["x"].chain.value, found["sgd"]["x"].chain.value)
    assert abs(found["sgd"]["x"].error.value[-1]) > 10 * abs(found["own"]["x"].error.value[-1])


@pytest.mark.untyped
def test_second_order_models_are_of_order_two():
    """weak_order fact sheet, section 1.7: SAM on log cosh at fixed rho = 0.3; and SGD's is that of Li, Tai and E."""
    G = partial(ss.sam, rho=0.3)
    errors = {1: [], 2: []}
    for k in (3, 4, 5, 6):
        eta = 2.0**-k
        models = {str(o): ss.modified_equation(G, LINE, eta, order=o) for o in (1, 2)}
        found = models_by_quadrature(ss.optimizer(G, LINE, eta), models, [1.2], steps=2**k, observables=X)
        for o in (1, 2):
            errors[o].append(found[str(o)]["x"].error.value[-1])
    local = {o: np.diff(np.log(np.abs(e))) / np.log(0.5) for o, e in errors.items()}
    assert local[1][-1] == pytest.approx(1.0, abs=0.02)
    assert local[2][-1] == pytest.approx(2.0, abs=0.02)
    x = torch.tensor([[0.3], [1.4]], dtype=T)
    drift, _ = ss.modified_equation(ss.sgd, LINE, 0.1, order=2).coefficients(x)
    loss = lambda y: ss.LogCosh(1)(y) + 0.1 / 4 * ss.grad(ss.LogCosh(1))(y).square().sum(-1)  # noqa: E731
    assert torch.allclose(drift, -ss.grad(loss)(x), atol=1e-12)


def test_second_order_drift_by_brute_force():
    """−Ḡ − (eta/2) DḠ Ḡ with DḠ by differences of Ḡ, for SAM, a non-gradient field and no noise."""
    A = torch.tensor([[1.0, 2.0], [-0.5, 0.7]], dtype=T)

    def spiral(g, x, z):
        return torch.tanh(g(x, z) @ A.T)

    g = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
    x = torch.tensor([[1.0, 1.2]], dtype=T)
    for update, oracle in ((partial(ss.sam, rho=0.2), g), (spiral, g), (spiral, ss.ExactOracle(ss.TanhNetwork()))):
        mean = lambda y, u=update, o=oracle: -ss.modified_equation(u, o, 0.1).coefficients(y)[0]  # noqa: E731
        v, e = mean(x), 1e-5
        along = (mean(x + e * v) - mean(x - e * v)) / (2 * e)
        second = ss.modified_equation(update, oracle, 0.1, order=2).coefficients(x)[0]
        assert torch.allclose(second, -v - 0.05 * along, atol=1e-8)


def test_interpolation_and_the_edge():
    grid = grid_about(np.array([0.3, -0.2]), np.array([-1.0, -1.0]), np.array([1.0, 1.5]), 20)
    p = grid.points.numpy()
    assert np.allclose(p[grid.start], [0.3, -0.2])
    x = np.array([[0.123, 0.456], [-0.9, 1.4]])
    values = np.stack([np.sin(p[:, 0] + 2 * p[:, 1]), p[:, 0] * p[:, 1]], -1)
    exact = np.stack([np.sin(x[:, 0] + 2 * x[:, 1]), x[:, 0] * x[:, 1]], -1)
    assert np.abs(interpolate(grid, values, x) - exact).max() < 1e-6
    outside = interpolate(grid, p[:, :1], np.array([[9.0, 0.0]]))
    assert outside[0, 0] == pytest.approx(9.0)  # the line through the last two nodes


def test_tables_of_coefficients():
    g = ss.GaussianOracle(ss.TanhNetwork(), torch.tensor([[0.3, 0.1], [0.0, 0.2]], dtype=T))
    sde = mc23.sam_sde(g, eta=0.1, rho=0.3)
    x = torch.tensor([[1.0, 1.2], [0.5, -0.7]], dtype=T)
    drift, root = tabulated(sde, x)
    b, diffusion = sde.coefficients(x)
    columns = torch.stack([diffusion(torch.eye(4, dtype=T)[j].expand(2, 4)) for j in range(4)], -1)
    assert np.allclose(drift, b)
    assert np.allclose(root @ root, columns @ columns.mT)


@pytest.mark.filterwarnings("ignore::sdesam.engine.ensembles.DivergenceWarning")
@pytest.mark.parametrize(
    ("x0", "changes", "message"),
    [
        ([1.0, 0.0, 0.0], dict(g=ss.GaussianOracle(ss.LogCosh(3), 0.5)), "d <= 2"),
        ([[1.2], [1.3]], dict(), r"x0 must be one start \(d,\), got shape \(2, 1\)"),
        ([2.5], dict(g=ss.GaussianOracle(ss.DoubleWell(1), 0.5), eta=1.0), "must not diverge"),
        ([1.2], dict(phi=lambda x: x.sum()), "must map"),
    ],
)
def test_bad_input(x0, changes, message):
    g, eta, phi = (changes.get(k, v) for k, v in (("g", LINE), ("eta", 0.25), ("phi", ss.coordinate(0))))
    with pytest.raises((ValueError, TypeError), match=message):
        by_quadrature(*pair(ss.usam, g, eta, 0.1), x0, steps=4, observables={"x": phi})


def test_what_a_reviewer_broke():
    """A kink that no rule is laid about is in the accuracy; subcycled SAM keeps its pole; a stiff long run its box."""

    def clipped(g, x, z):
        return g(x, z).clamp(-1, 1)

    parabola = ss.GaussianOracle(ss.Quadratic(torch.eye(1, dtype=T)), 0.5)
    run = partial(by_quadrature, observables=X)
    chain = run(ss.optimizer(clipped, parabola, 0.125), mc23.sgd_sde(parabola, eta=0.125), [0.9], steps=1)["x"].chain
    off = abs(chain.value[-1] - 0.806679851)  # closed form
    assert 1e-5 < off < 1.1 * chain.stderr[-1]
    sam = ss.optimizer(partial(ss.sam, rho=0.5), LINE, 0.125)
    model = mc23.sgd_sde(LINE, eta=0.125)
    two, one = run(sam, model, [0.2], steps=2)["x"], run(ss.subcycle(sam, 2), model, [0.2], steps=1)["x"]
    assert abs(two.chain.value[-1] - one.chain.value[-1]) < 1e-9
    stiff = ss.GaussianOracle(ss.Quadratic(20 * torch.eye(1, dtype=T)), 0.5)
    square = {"x": ss.squared_norm}
    pair = (ss.optimizer(ss.sgd, stiff, 1 / 64), mc23.sgd_sde(stiff, eta=1 / 64))
    exact = in_closed_form(*pair, [1.0], steps=512, observables=square)["x"].chain.value[-1]
    assert abs(by_quadrature(*pair, [1.0], steps=512, observables=square)["x"].chain.value[-1] - exact) < 1e-9
