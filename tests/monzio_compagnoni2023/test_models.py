"""The paper's SDEs: against the modified equation, the regularised losses, and one-step moments; faults planted."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from cases import H3, L23, SIGMA3, points

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.planted import flipped

T = torch.float64
TANH = ss.TanhNetwork()
ISOTROPIC = ss.GaussianOracle(TANH, 0.3)
RECTANGULAR = ss.GaussianOracle(TANH, L23)  # d = 2, m = 3
SKEW = ss.GaussianOracle(TANH, torch.tensor([[0.3, 0.0], [0.25, 0.2]], dtype=T))
X = torch.tensor([[0.9, 1.3], [1.0, -0.7], [-0.4, 0.8]], dtype=T)


def law(sde, x=X):
    """Drift (n, d) and diffusion covariance (n, d, d) of an SDE."""
    drift, diffusion = sde.coefficients(x)
    if diffusion is None:
        return drift, torch.zeros(*x.shape, x.shape[-1], dtype=T)
    basis = torch.eye(sde.noise_dim, dtype=T)[:, None, :].expand(-1, len(x), -1)
    columns = diffusion(basis)
    return drift, torch.einsum("qni,qnj->nij", columns, columns)


def exact(update, g, rho, eta=0.1):
    """The modified equation; rectangular Gaussian noise has no pole and gets a Hermite rule."""
    rectangular = isinstance(g, ss.GaussianOracle) and g.noise_dim != g.dim
    nodes = g.noise.nodes(16) if rectangular else None
    return law(ss.modified_equation(partial(update, rho=rho), g, eta, points=32, nodes=nodes))


PAIRS = [
    (ss.usam, mc23.usam_sde, ISOTROPIC),
    (ss.usam, mc23.usam_sde, RECTANGULAR),
    (ss.dnsam, mc23.dnsam_sde, SKEW),
    (ss.dnsam, mc23.dnsam_sde, RECTANGULAR),
    (ss.dnsam_full_numerator, mc23.dnsam_full_numerator_sde, SKEW),
    (ss.sam, mc23.sam_sde, ISOTROPIC),
    (ss.sam, mc23.sam_factored_sde, ISOTROPIC),
]
IDS = [f"{model.__name__}-m{g.noise_dim}" for _, model, g in PAIRS]


def distances(update, model, g, change=lambda sde: sde):
    """Largest drift and covariance differences at rho and rho/2, over eta."""
    found = []
    for rho in (0.02, 0.01):
        drift, cov = exact(update, g, rho)
        other_drift, other_cov = law(change(model(g, eta=0.1, rho=rho)))
        found.append((float((drift - other_drift).abs().max()), float((cov - other_cov).abs().max()) / 0.1))
    return np.array(found)


@pytest.mark.parametrize(("update", "model", "g"), PAIRS, ids=IDS)
def test_theorem_formulas_are_first_order_in_rho(update, model, g):
    """Halving rho quarters the difference from the modified equation: in the drift and in the covariance."""
    coarse, fine = distances(update, model, g)
    exact_already = coarse < 1e-13  # the covariance of the full numerator: rho does not enter it
    assert np.all(exact_already | ((coarse / fine > 3.6) & (coarse / fine < 4.4)))


@pytest.mark.parametrize(("update", "model", "g"), PAIRS, ids=IDS)
def test_a_flipped_rho_is_first_order_wrong(update, model, g):
    """Negative control: the same test sees rho -> -rho in the drift, where the difference only halves."""
    coarse, fine = distances(update, model, g, flipped)
    assert coarse[0] / fine[0] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(("update", "model", "g"), [p for p in PAIRS if p[0] is not ss.dnsam_full_numerator],
                         ids=[i for i in IDS if "full_numerator" not in i])  # fmt: skip
def test_plain_noise_is_first_order_wrong(update, model, g):
    """Negative control: Σ alone instead of the rho-corrected covariance only halves too."""

    def plain(sde):
        coefficients = replace(sde.coefficients, rho=0.0)
        return replace(sde, coefficients=coefficients)

    coarse, fine = distances(update, model, g, plain)
    assert coarse[1] / fine[1] == pytest.approx(2, rel=0.1)


def test_transposed_factor_is_seen():
    """A non-symmetric L: Lᵀ in the place of L has another covariance."""
    right, wrong = (
        law(mc23.usam_sde(SKEW, eta=0.1, rho=0.1)),
        law(mc23.usam_sde(ss.GaussianOracle(TANH, SKEW.sigma.T.clone()), eta=0.1, rho=0.1)),
    )
    assert float((right[1] - wrong[1]).abs().max()) > 1e-3


def test_usam_and_sgd_are_exact_on_quadratics_at_any_rho():
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    x = points(g.mean, 4)
    nodes = g.noise.nodes(3)  # USAM is linear in z: three Hermite nodes are exact
    for update, model in ((ss.usam, mc23.usam_sde), (ss.sgd, mc23.sgd_sde)):
        a = law(ss.modified_equation(partial(update, rho=0.8), g, 0.1, nodes=nodes), x)
        b = law(model(g, eta=0.1, rho=0.8), x)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_sam_covariance_is_complete_on_quadratics():
    """With a constant Hessian the one-step covariance is Σ + rho(S̄H + HS̄ᵀ) + rho² H Cov(v) H, exactly."""
    g = ss.GaussianOracle(ss.Quadratic(torch.tensor([[1.0, 0.6], [0.6, -0.5]], dtype=T)), 0.4)
    x = torch.tensor([[0.3, -0.2], [0.0, 0.0], [1.5, 0.5]], dtype=T)
    a = law(ss.modified_equation(partial(ss.sam, rho=0.7), g, 0.1, points=40), x)
    torch.testing.assert_close(a, law(mc23.sam_sde(g, eta=0.1, rho=0.7), x), rtol=1e-10, atol=1e-11)
    factored = law(mc23.sam_factored_sde(g, eta=0.1, rho=0.7), x)
    assert float((a[1] - factored[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("eta", [0.1, 0.4])
@pytest.mark.parametrize("model", [mc23.usam_sde, mc23.dnsam_sde, mc23.sam_factored_sde, mc23.sgd_sde])
def test_the_map_carries_the_optimizers_sign(model, eta):
    """With rho = 0 every map is −√eta L."""
    _, diffusion = model(ISOTROPIC, eta=eta, rho=0.0).coefficients(X)
    dw = torch.randn(3, 2, dtype=T)
    torch.testing.assert_close(diffusion(dw), -(eta**0.5) * 0.3 * dw)


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (mc23.usam_sde, lambda rho: mc23.usam_loss(ISOTROPIC, rho=rho)),
        (mc23.dnsam_sde, lambda rho: mc23.dnsam_loss(TANH, rho=rho)),
        (mc23.sam_sde, lambda rho: mc23.sam_loss(ISOTROPIC, rho=rho)),
    ],
)
def test_drift_is_minus_the_gradient_of_the_regularised_loss(model, loss):
    drift, _ = model(ISOTROPIC, eta=0.1, rho=0.2).coefficients(X)
    torch.testing.assert_close(drift, -ss.grad(loss(0.2))(X), rtol=1e-10, atol=1e-11)


def test_full_batch_odes():
    g, H = ss.grad(TANH)(X), ss.hessian(TANH)(X)
    eye = torch.eye(2, dtype=T)
    usam, none = mc23.usam_ode(TANH, rho=0.3).coefficients(X)
    torch.testing.assert_close(usam, -((eye + 0.3 * H) @ g[..., None])[..., 0])
    assert none is None
    sam, _ = mc23.sam_ode(TANH, rho=0.3).coefficients(X)
    torch.testing.assert_close(sam, -((eye + 0.3 * H / ss.norm(g)[:, None, None]) @ g[..., None])[..., 0])
    tiny = ss.GaussianOracle(TANH, 1e-7)
    torch.testing.assert_close(mc23.sam_sde(tiny, eta=0.1, rho=0.3).coefficients(X)[0], sam, rtol=1e-9, atol=1e-9)
    zero = mc23.sam_sde(ss.GaussianOracle(TANH, 0.0), eta=0.1, rho=0.3).coefficients(X)
    torch.testing.assert_close(zero[0], sam)
    assert float(zero[1](torch.ones(3, 2, dtype=T)).abs().max()) == 0


def test_models_work_at_one_point_and_at_critical_points():
    saddle = ss.GaussianOracle(ss.Saddle(), 0.3)
    for model in (mc23.sgd_sde, mc23.usam_sde, mc23.dnsam_sde, mc23.sam_sde):
        sde = model(saddle, eta=0.1, rho=0.2)
        drift, diffusion = sde.coefficients(torch.zeros(2, dtype=T))
        assert float(ss.norm(drift)) == 0
        assert diffusion(torch.eye(sde.noise_dim, dtype=T)).shape == (sde.noise_dim, 2)
        assert torch.isfinite(diffusion(torch.eye(sde.noise_dim, dtype=T))).all()


def test_model_of_sees_through_partial():
    for update, model in ((ss.usam, mc23.usam_sde), (ss.sam, mc23.sam_sde), (ss.dnsam, mc23.dnsam_sde)):
        a = law(model_of(partial(partial(update, rho=0.9), rho=0.2), ISOTROPIC, 0.1))
        torch.testing.assert_close(a, law(model(ISOTROPIC, eta=0.1, rho=0.2)))
    generic = model_of(partial(ss.unified_sam, lam=0.5, rho=0.2), ISOTROPIC, 0.1)
    assert type(generic.coefficients).__name__ == "_OneStepMoments"


def test_state_dependent_noise_has_a_modified_equation():
    dependent = ss.GaussianOracle(TANH, lambda x: torch.diag_embed(0.1 + x * x))
    drift, cov = law(ss.modified_equation(partial(ss.usam, rho=0.1), dependent, 0.1))
    assert torch.isfinite(drift).all()
    assert torch.isfinite(cov).all()


@pytest.mark.parametrize(("eta", "rho", "name"), [(0.0, 0.1, "eta"), (0.1, -0.1, "rho"), (0.1, float("nan"), "rho")])
def test_bad_hyper_parameters(eta, rho, name):
    for model in (mc23.sgd_sde, mc23.usam_sde, mc23.dnsam_sde, mc23.sam_sde):
        with pytest.raises(ValueError, match=f"{name} must be"):
            model(ISOTROPIC, eta=eta, rho=rho)


def test_modified_equation_says_when_it_has_no_rule():
    g = ss.GaussianOracle(ss.Quadratic(H3), 0.3)
    with pytest.raises(ValueError, match=r"sampled\(n, seed\)"):
        ss.modified_equation(partial(ss.sam, rho=0.1), g, 0.1)
    sampled = ss.modified_equation(partial(ss.sam, rho=0.1), g, 0.1, nodes=g.noise.sampled(4096, 0))
    drift, _ = sampled.coefficients(points(g.mean, 3))
    expected, _ = mc23.sam_sde(g, eta=0.1, rho=0.1).coefficients(points(g.mean, 3))
    torch.testing.assert_close(drift, expected, rtol=0, atol=5 * 0.3 / 4096**0.5)


def test_modified_equation_of_a_deterministic_method():
    sde = ss.modified_equation(partial(ss.sam, rho=0.1), ss.ExactOracle(TANH), 0.1)
    assert sde.noise_dim == 0
    drift, none = sde.coefficients(X)
    torch.testing.assert_close(drift, -ss.sam(ss.ExactOracle(TANH), X, torch.empty(3, 0, dtype=T), rho=0.1))
    assert none is None


# ----------------------------------------------------------------- closed forms
def test_stationary_losses_solve_lyapunov_equations():
    from sdesam.theory.exact import linear

    values, vectors = torch.linalg.eigh(H3)
    rotated = (vectors.T @ SIGMA3 @ vectors).numpy()
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    eta, rho = 0.1, 0.4
    sde = linear.linear_sde(mc23.usam_sde(g, eta=eta, rho=rho), 3)
    chain = linear.affine_chain(ss.optimizer(partial(ss.usam, rho=rho), g, eta), 3)
    continuous = float(np.trace(H3.numpy() @ linear.stationary_sde(sde)) / 2)
    discrete = float(np.trace(H3.numpy() @ linear.stationary_chain(chain)) / 2)
    kwargs = {"eta": eta, "rho": rho}
    assert mc23.usam_stationary_loss(values.numpy(), rotated, **kwargs) == pytest.approx(continuous, rel=1e-12)
    assert mc23.usam_stationary_loss(values.numpy(), rotated, discrete=True, **kwargs) == pytest.approx(
        discrete, rel=1e-12
    )

    def drift_only(x):
        drift, _ = mc23.usam_sde(g, eta=eta, rho=rho).coefficients(x)
        return drift, lambda dw: -(eta**0.5) * (dw @ g.sigma.T)

    wrong = linear.stationary_sde(linear.linear_sde(ss.SDE(drift_only, 3), 3))
    expected = mc23.drift_only_stationary_loss(values.numpy(), rotated, **kwargs)
    assert float(np.trace(H3.numpy() @ wrong) / 2) == pytest.approx(expected, rel=1e-12)


def test_flat_directions_carry_no_loss():
    loss = mc23.usam_stationary_loss(np.array([0.0, 1.0, 2.0]), np.ones(3), eta=0.01, rho=0.3)
    assert loss == pytest.approx(0.00725)


def test_sam_stationary_loss_in_the_fact_sheets_rows():
    """Formula values quoted there beside simulations of 4.040e-5 and 6.793e-5."""
    assert mc23.sam_stationary_loss(np.array([1.0, 3.0]), sigma=0.1, eta=0.002, rho=0.2) == pytest.approx(
        4.008e-5, rel=2e-4
    )
    lam = np.linspace(0.5, 2, 5)
    assert mc23.sam_stationary_loss(lam, sigma=0.1, eta=0.002, rho=0.3) == pytest.approx(6.753e-5, rel=2e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mc23.usam_stationary_loss(np.array([-1.0]), np.ones(1), eta=0.1, rho=0.1),
            "eigenvalues must be >= 0",
        ),
        (
            lambda: mc23.usam_stationary_loss(np.ones(2), np.ones(3), eta=0.1, rho=0.1),
            "covariance must match",
        ),
        (
            lambda: mc23.usam_stationary_loss(np.array([30.0]), np.ones(1), eta=0.1, rho=0.1, discrete=True),
            "< 2",
        ),
        (lambda: mc23.usam_axis_exit_time(1.0, eta=0.01, rho=1.5, sigma=0.1, A=0.5), "rho·mu must be < 1"),
        (lambda: mc23.sam_critical_rho(0.0, sigma=0.1, d=2), "mu must be > 0"),
        (lambda: mc23.sam_stationary_loss(np.ones(2), sigma=0.0, eta=0.1, rho=0.1), "two-cycle"),
    ],
)
def test_bad_closed_form_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ----------------------------------------------------------------- saddles and exits
@pytest.mark.parametrize(("rho", "expected"), [(0.0, 3.977), (0.1, 4.477), (0.4, 7.054)])
def test_axis_exit_times_of_the_fact_sheet(rho, expected):
    closed = mc23.usam_axis_exit_time(1.0, eta=0.01, rho=rho, sigma=0.25, A=0.5)
    assert closed == pytest.approx(expected, abs=6e-4)
    k, s2 = 1 - rho, 0.01 * 0.25**2 * (1 - rho) ** 2
    assert mc23.mean_exit_time(lambda y: (k * y, s2 + 0 * y), 0.5) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(
    ("rho", "sigma", "expected"),
    [(0.1, 0.25, 5.399), (0.4, 0.25, 96.9), (0.1, 0.5, 3.818), (0.1, 1.0, 2.787)],
)
def test_sam_axis_exit_times_of_the_fact_sheet(rho, sigma, expected):
    found = mc23.sam_axis_exit_time(1.0, eta=0.01, rho=rho, sigma=sigma, A=0.5, d=2)
    assert found == pytest.approx(expected, rel=3e-4)


def test_exit_integral_solves_the_boundary_value_problem():
    """½ a T'' + b T' = −1, T(±A) = 0, by finite differences: another derivation."""
    n, A = 2001, 0.8
    y = np.linspace(-A, A, n)
    h = y[1] - y[0]
    b, a = -2 * np.sin(y[1:-1]), 0.3 + 0.2 * y[1:-1] ** 2
    L = np.zeros((n - 2, n - 2))
    i = np.arange(n - 2)
    L[i, i] = -a / h**2
    L[i[1:], i[:-1]] = (a / 2 / h**2 - b / 2 / h)[1:]
    L[i[:-1], i[1:]] = (a / 2 / h**2 + b / 2 / h)[:-1]
    T_mid = np.linalg.solve(L, -np.ones(n - 2))[(n - 3) // 2]
    found = mc23.mean_exit_time(lambda y: (-2 * np.sin(y), 0.3 + 0.2 * y**2), A)
    assert found == pytest.approx(T_mid, rel=1e-5)


def test_thresholds():
    assert mc23.usam_critical_rho(2.0) == 0.5
    assert mc23.sam_critical_rho(1.0, sigma=0.25, d=2) == pytest.approx(0.25 / 0.6266570687)
    assert mc23.dnsam_capture_radius(2.0, rho=0.1) == pytest.approx(0.2)


def test_exit_integral_survives_steep_exponents():
    """e^{I} alone would overflow: at rho = 0 the Dawson formula is the oracle, in weak noise and small steps."""
    for eta, sigma in ((0.01, 0.1), (0.002, 0.25), (1e-4, 0.2)):
        dawson = mc23.usam_axis_exit_time(1.0, eta=eta, rho=0.0, sigma=sigma, A=0.5)
        sam = mc23.sam_axis_exit_time(1.0, eta=eta, rho=0.0, sigma=sigma, A=0.5, d=2)
        assert sam == pytest.approx(dawson, rel=1e-6)
    assert np.isfinite(mc23.sam_axis_exit_time(1.0, eta=0.01, rho=0.1, sigma=0.15, A=0.5, d=2))


def test_rectangular_noise_has_the_law_of_its_square_root():
    """d = 1, m = 2, Σ = .01: SAM's modified equation must not depend on the factor."""
    f, x = ss.LogCosh(1), torch.tensor([[0.02], [0.3]], dtype=T)
    update = partial(ss.sam, rho=0.1)
    wide = ss.GaussianOracle(f, torch.tensor([[0.06, 0.08]], dtype=T))
    a, b = (law(ss.modified_equation(update, g, 0.1), x) for g in (wide, ss.GaussianOracle(f, 0.1)))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_state_dependent_noise_that_vanishes_somewhere():
    g = ss.GaussianOracle(ss.LogCosh(1), lambda x: 0.5 * x[..., None])
    x = torch.tensor([[0.0], [0.5], [1.0]], dtype=T)
    drift, cov = law(ss.modified_equation(partial(ss.sam, rho=0.1), g, 0.1), x)
    assert torch.isfinite(drift).all()
    alone = law(ss.modified_equation(partial(ss.sam, rho=0.1), g, 0.1), x[1:2])
    torch.testing.assert_close((drift[1:2], cov[1:2]), alone)


def test_minibatch_indices_as_nodes():
    """A hand-made minibatch oracle: drift by enumeration equals the mean over batches."""
    from dataclasses import dataclass

    a = torch.tensor([0.5, 1.0, 1.5, 3.0], dtype=T)

    @dataclass(frozen=True)
    class Batch:
        noise = ss.Choice(4, 1)
        mean = ss.LogCosh(1)

        def __call__(self, x, z):
            return a.to(x)[z] * x

    sde = ss.modified_equation(partial(ss.usam, rho=0.2), Batch(), 0.1)
    drift, _ = sde.coefficients(torch.tensor([[2.0]], dtype=T))
    assert float(drift) == pytest.approx(-float((a * (1 + 0.2 * a)).mean()) * 2.0)
