"""The general SDEs, for minibatches and noise that depends on x: modified equation, brute force, sheets, faults."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from cases import H3, L23, SIGMA3, SIX, points
from test_models import SKEW, TANH, X, distances, law

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments
from sdesam.weak.planted import flipped

T = torch.float64
A4, B4 = torch.tensor([0.5, 1, 1.5, 3], dtype=T), torch.tensor([1, -1, 0.5, -0.25], dtype=T)
QUADRATICS = ss.quadratics(A4[:, None, None], B4[:, None])


def dependent(x):
    """A factor that depends on x, with a derivative that is not symmetric."""
    rows = (
        torch.stack((0.3 + x[..., 1] ** 2 / 5, x[..., 0] / 5), -1),
        torch.stack((x[..., 0] * 0, 0.2 + x[..., 1] / 9), -1),
    )
    return torch.stack(rows, -2)


ORACLES = {
    "B=1": ss.MinibatchOracle(SIX, 1),
    "B=2": ss.MinibatchOracle(SIX, 2),
    "replaced": ss.MinibatchOracle(SIX, 2, replace=True),
    "weights": ss.MinibatchOracle(SIX, 1, p=(0.12, 0.22, 0.13, 0.2, 0.15, 0.18)),
    "L(x)": ss.GaussianOracle(TANH, dependent),
}
MODELS = {
    ss.usam: mc23.usam_sde,
    ss.dnsam: mc23.dnsam_sde,
    ss.dnsam_full_numerator: mc23.dnsam_full_numerator_sde,
    ss.sam: mc23.sam_sde,
}
PAIRS = [(update, model, g) for update, model in MODELS.items() for g in ORACLES.values()]
IDS = [f"{update.__name__}-{name}" for update in MODELS for name in ORACLES]


@pytest.mark.parametrize(("update", "model", "g"), PAIRS, ids=IDS)
def test_general_forms_equal_the_modified_equation_to_first_order(update, model, g):
    """Halving rho quarters the difference, in the drift and in the covariance."""
    coarse, fine = distances(update, model, g)
    assert np.all((coarse / fine > 3.5) & (coarse / fine < 4.5))


@pytest.mark.parametrize(("update", "model", "g"), PAIRS, ids=IDS)
@pytest.mark.untyped
def test_a_flipped_rho_is_seen(update, model, g):
    """Negative control: with rho -> −rho both differences only halve."""
    coarse, fine = distances(update, model, g, flipped)
    np.testing.assert_allclose(coarse / fine, 2, rtol=0.15)


def brute_force(g, x, ascent, rho):
    """Drift and covariance from the losses themselves, one datum and one matrix at a time."""
    m = torch.zeros(2, dtype=T)
    gradients, hessians = [], []
    for a, b in zip(*g.mean.data, strict=True):
        loss = partial(g.mean.loss, datum=(a, b))
        gradients.append(torch.autograd.functional.jacobian(loss, x))
        hessians.append(torch.autograd.functional.hessian(loss, x))
    m = torch.stack(gradients).mean(0)
    fields, drift = [], -m
    for gradient, H in zip(gradients, hessians, strict=True):
        response = H @ ascent(gradient, m)
        drift = drift - rho * response / len(gradients)
        fields.append(gradient + rho * response)
    centred = torch.stack(fields) - torch.stack(fields).mean(0)
    return drift, centred.T @ centred / len(fields)


ASCENTS = {
    ss.usam: lambda v, m: v,
    ss.dnsam: lambda v, m: v / m.norm(),
    ss.dnsam_full_numerator: lambda v, m: m / m.norm(),
    ss.sam: lambda v, m: v / v.norm(),
}


@pytest.mark.parametrize("update", MODELS)
def test_single_data_by_brute_force(update):
    g = ORACLES["B=1"]
    drift, cov = law(MODELS[update](g, eta=0.1, rho=0.3), X)
    for i in range(len(X)):
        expected_drift, expected_cov = brute_force(g, X[i], ASCENTS[update], 0.3)
        torch.testing.assert_close(drift[i], expected_drift)
        torch.testing.assert_close(cov[i], 0.1 * expected_cov)


@pytest.mark.parametrize("name", ["B=1", "B=2", "replaced", "weights"])
def test_drifts_are_minus_the_gradients_of_the_regularised_losses(name):
    g = ORACLES[name]
    for model, loss in ((mc23.usam_sde, mc23.usam_loss), (mc23.sam_sde, mc23.sam_loss)):
        drift, _ = model(g, eta=0.1, rho=0.2).coefficients(X)
        torch.testing.assert_close(drift, -ss.grad(loss(g, rho=0.2))(X), rtol=1e-9, atol=1e-11)
    printed = -ss.grad(mc23.usam_loss_as_printed(SIX, rho=0.2))(X)
    right, _ = mc23.usam_sde(g, eta=0.1, rho=0.2).coefficients(X)
    assert float((printed - right).abs().max()) > 1e-3  # rho/2 |∇f|² misses rho/2 ∇tr Σ


def test_dnsams_drift_is_no_gradient_under_batch_dependent_hessians():
    """Its Jacobian is not symmetric; that of the full numerator is."""
    g = ORACLES["B=1"]

    def asymmetry(model):
        J = torch.func.jacrev(lambda x: model(g, eta=0.1, rho=0.3).coefficients(x)[0])(X[0])
        return float((J - J.T).abs().max())

    assert asymmetry(mc23.dnsam_sde) > 1e-3
    assert asymmetry(mc23.dnsam_full_numerator_sde) < 1e-12


def test_sgd_for_any_batch_size_from_one_pass():
    for name in ("B=1", "B=2", "replaced", "weights", "L(x)"):
        g = ORACLES[name]
        sde = mc23.sgd_sde(g, eta=0.1)
        torch.testing.assert_close(law(sde, X), law(ss.modified_equation(ss.sgd, g, 0.1), X), rtol=1e-7, atol=1e-10)
    assert mc23.sgd_sde(ss.MinibatchOracle(SIX, 3), eta=0.1).noise_dim == 6
    assert mc23.sgd_sde(ORACLES["L(x)"], eta=0.1).noise_dim == 2  # the oracle's own normals: can be coupled


# ----------------------------------------------------------------- numbers of the fact sheet
def slopes(model, B):
    """Slopes of max_k |E x² error| over eta = 2^-6 .. 2^-12, rho = √eta, exact moments."""
    g, errors = ss.MinibatchOracle(QUADRATICS, B), []
    for k in range(6, 13):
        eta = 2.0**-k
        chain = kernel_moments(ss.optimizer(partial(ss.usam, rho=eta**0.5), g, eta), [1.5], 2**k)
        sde = sde_moments(model(g, eta=eta, rho=eta**0.5), [1.5], eta, 2**k)
        errors.append(np.abs(chain.second - sde.second).max())
    return np.polyfit(-np.arange(6, 13), np.log2(errors), 1)[0]


@pytest.mark.parametrize(
    ("model", "B", "sheet"),
    [
        (mc23.usam_sde, 1, 1.04),
        (mc23.usam_sde, 2, 1.04),
        (mc23.usam_sde_as_printed, 1, 0.489),
        (mc23.usam_sde_as_printed, 2, 0.553),
    ],
)
def test_slopes_of_the_one_dimensional_finite_sum(model, B, sheet):
    assert slopes(model, B) == pytest.approx(sheet, abs=0.5 * 10 ** -(2 if sheet > 1 else 3))


def frozen_usam(g, x, z, *, rho):
    """USAM on one vector L(x)z for both gradients, not re-evaluated at x + rho v."""
    n = g.scatter(x, z)
    return ss.grad(g.mean)(x + rho * (ss.grad(g.mean)(x) + n)) + n


@pytest.mark.parametrize(("B", "sheet"), [(1, 0.451), (2, 0.459)])
@pytest.mark.untyped
def test_a_frozen_gaussian_draw_loses_half_an_order(B, sheet):
    g = ss.MinibatchOracle(QUADRATICS, B)
    surrogate, errors = ss.gaussian_surrogate(g), {"frozen": [], "re-evaluated": []}
    for k in range(6, 13):
        eta = 2.0**-k
        true = kernel_moments(ss.optimizer(partial(ss.usam, rho=eta**0.5), g, eta), [1.5], 2**k)
        for name, update in (("frozen", frozen_usam), ("re-evaluated", ss.usam)):
            kernel = ss.optimizer(partial(update, rho=eta**0.5), surrogate, eta)
            errors[name].append(np.abs(true.second - kernel_moments(kernel, [1.5], 2**k).second).max())
    fit = {name: np.polyfit(-np.arange(6, 13), np.log2(e), 1)[0] for name, e in errors.items()}
    assert fit["frozen"] == pytest.approx(sheet, abs=5e-4)
    assert fit["re-evaluated"] > 1.5


def test_the_right_drift_is_of_order_one_in_three_dimensions():
    """Random finite sum of quadratics, d = 3: mean and second moments; the printed form is of order 1/2."""
    rng = np.random.default_rng(5)
    A, b = rng.standard_normal((4, 3, 3)) / 2, rng.standard_normal((4, 3))
    f = ss.quadratics(A @ A.transpose(0, 2, 1) + 0.3 * np.eye(3), b)
    g, found = ss.MinibatchOracle(f, 1), []
    for model in (mc23.usam_sde, mc23.usam_sde_as_printed):
        errors = []
        for k in (9, 11):
            eta = 2.0**-k
            chain = kernel_moments(ss.optimizer(partial(ss.usam, rho=eta**0.5), g, eta), [1.0, -0.5, 0.8], 2**k)
            sde = sde_moments(model(g, eta=eta, rho=eta**0.5), [1.0, -0.5, 0.8], eta, 2**k)
            errors.append(np.abs(chain.second - sde.second).max())
        found.append(np.log2(errors[0] / errors[1]) / 2)
    assert found[0] == pytest.approx(1, abs=0.08)
    assert found[1] == pytest.approx(0.5, abs=0.08)


def test_six_data_norm_and_response_against_gaussian_noise():
    """E|∇f_γ| and E[H_γ v] of a six-sample tanh network, written out by hand; a Gaussian of equal Σ has others."""
    from sdesam.theory.exact.anisotropic_noise import anisotropic_direction

    u, v = 0.9, 1.3
    a, b = (part.numpy() for part in SIX.data)
    t = np.tanh(u * a)
    o = np.tanh(v * t)
    s, r = 1 - o * o, o - b
    dt, dtt = a * (1 - t * t), -2 * a * a * t * (1 - t * t)
    grad_o = np.stack((s * v * dt, s * t))  # of the output in (u, v)
    hess_o = np.array([[s * v * dtt - 2 * o * s * (v * dt) ** 2, s * dt - 2 * o * s * v * dt * t],
                       [s * dt - 2 * o * s * v * dt * t, -2 * o * s * t * t]])  # fmt: skip
    g = r * grad_o
    H = grad_o[:, None] * grad_o[None] + r * hess_o
    direction = g / np.linalg.norm(g, axis=0)
    length, response = np.linalg.norm(g, axis=0).mean(), np.einsum("ijn,jn->i", H, direction) / 6

    oracle, x = ORACLES["B=1"], torch.tensor([u, v], dtype=T)
    found = float(mc23.sam_loss(oracle, rho=1.0)(x) - SIX(x))
    drift, _ = mc23.sam_sde(oracle, eta=0.1, rho=1.0).coefficients(x)
    assert found == pytest.approx(length, rel=1e-12)
    np.testing.assert_allclose((-drift - ss.grad(SIX)(x)).numpy(), response, rtol=1e-11)
    gaussian = anisotropic_direction(ss.gaussian_surrogate(oracle).sigma(x))(ss.grad(SIX)(x))
    assert abs(float(gaussian.length) / length - 1) > 0.02
    simplified = (ss.hessian(SIX)(x) @ torch.from_numpy(direction.mean(1))).numpy()  # H E[v], the additive form
    assert np.abs(simplified - response).max() > 0.02


# ----------------------------------------------------------------- refusals, sampling
def test_additive_forms_refuse_every_other_noise():
    forms = [mc23.sgd_sde_additive, mc23.usam_sde_additive, mc23.dnsam_sde_additive, mc23.sam_sde_additive,
             mc23.dnsam_full_numerator_sde_additive, mc23.sam_factored_sde]  # fmt: skip
    for form in forms:
        for g in ORACLES.values():
            with pytest.raises(ValueError, match="must have additive noise"):
                form(g, eta=0.1, rho=0.1)
    with pytest.raises(ValueError, match="must be a MinibatchOracle or have additive noise"):
        mc23.usam_loss(ORACLES["L(x)"], rho=0.1)


def test_too_many_batches_name_the_way_out():
    g = ss.MinibatchOracle(ss.FiniteSum(SIX.loss, tuple(part.repeat(20) for part in SIX.data), dim=2), 5)
    with pytest.raises(ValueError, match=r"sampled\(n, seed\)"):
        mc23.sam_sde(g, eta=0.1, rho=0.1)
    assert mc23.sgd_sde(g, eta=0.1).noise_dim == 120  # no enumeration of batches


def test_sampled_nodes_report_their_error():
    """Over 40 samples of 200 batches the reported standard errors cover the enumerated drift and trace."""
    g = ORACLES["replaced"]
    x = X[0]
    exact_drift, exact_cov = law(mc23.sam_sde(g, eta=0.1, rho=0.3), x[None])
    scores = []
    for seed in range(40):
        sde = mc23.sam_sde(g, eta=0.1, rho=0.3, nodes=g.noise.sampled(200, seed))
        drift_error, trace_error = ss.sampling_error(sde, x)
        drift, cov = law(sde, x[None])
        trace = (cov - exact_cov).diagonal(dim1=-2, dim2=-1).sum(-1)[0]
        scores.append([*((drift - exact_drift)[0] / drift_error).tolist(), float(trace / trace_error)])
    rms = np.sqrt(np.mean(np.square(scores), axis=0))
    assert np.all((rms > 0.65) & (rms < 1.4))  # 40 squares of a standard normal: 1 ± 0.11
    assert float(ss.sampling_error(mc23.sam_sde(g, eta=0.1, rho=0.3), x)[0].abs().max()) == 0


@pytest.mark.parametrize("update", [ss.usam, ss.dnsam, ss.dnsam_full_numerator])
def test_sampled_nodes_leave_these_drifts_exact(update):
    g = ORACLES["B=2"]
    exact, _ = MODELS[update](g, eta=0.1, rho=0.3).coefficients(X)
    sampled = MODELS[update](g, eta=0.1, rho=0.3, nodes=g.noise.sampled(50, 0))
    torch.testing.assert_close(sampled.coefficients(X)[0], exact, rtol=1e-10, atol=1e-12)
    assert float(ss.sampling_error(sampled, X)[0].max()) == 0


def test_models_run_in_simulate_and_rows_do_not_depend_on_the_chunks(monkeypatch):
    from sdesam.dynamics import integrators

    g = ORACLES["B=1"]
    kernel = ss.small_noise_srk(mc23.sam_sde(g, eta=0.1, rho=0.1), 0.05)
    run = partial(ss.simulate, kernel, [0.9, 1.3], steps=3, observables={"x": ss.coordinate(0)}, n=500)
    whole = run().estimate("x").value
    monkeypatch.setattr(integrators, "NUMBERS_AT_ONCE", 32 * 12)
    np.testing.assert_allclose(run().estimate("x").value, whole, rtol=1e-13)
    assert model_of(partial(ss.sam, rho=0.1), g, 0.1).noise_dim == 6


# ----------------------------------------------------------------- additive noise of any covariance
ANISOTROPIC = [SKEW, ss.GaussianOracle(TANH, L23)]


@pytest.mark.parametrize("model", [mc23.sam_sde, mc23.sam_factored_sde])
@pytest.mark.untyped
def test_anisotropic_sam_equals_the_modified_equation_to_first_order(model):
    coarse, fine = distances(ss.sam, model, SKEW)
    assert np.all((coarse / fine > 3.5) & (coarse / fine < 4.5))
    coarse, fine = distances(ss.sam, model, SKEW, flipped)
    np.testing.assert_allclose(coarse / fine, 2, rtol=0.15)


def test_anisotropic_sam_with_more_normals_than_dimensions():
    """M = 3, d = 2: the law of the equivalent square factor, 5 = m + d normals, of which d are private."""
    square = ss.GaussianOracle.from_covariance(TANH, L23 @ L23.T)
    wide = mc23.sam_sde(ANISOTROPIC[1], eta=0.1, rho=0.3)
    assert (wide.noise_dim, wide.private_dim) == (5, 2)
    torch.testing.assert_close(law(wide), law(mc23.sam_sde(square, eta=0.1, rho=0.3)), rtol=1e-9, atol=1e-11)


@pytest.mark.untyped
def test_anisotropic_sam_covariance_is_complete_on_quadratics():
    f = ss.Quadratic(torch.tensor([[1.0, 0.6], [0.6, -0.5]], dtype=T))
    g = ss.GaussianOracle(f, SKEW.sigma)
    x = torch.tensor([[0.3, -0.2], [0.0, 0.0], [1.5, 0.5]], dtype=T)
    exact = law(ss.modified_equation(partial(ss.sam, rho=0.7), g, 0.1, points=48), x)
    torch.testing.assert_close(exact, law(mc23.sam_sde(g, eta=0.1, rho=0.7), x), rtol=1e-8, atol=1e-9)


def test_anisotropic_sam_in_three_dimensions_against_sampling():
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    x = points(g.mean, 2)
    sampled = ss.modified_equation(partial(ss.sam, rho=0.4), g, 0.1, nodes=g.noise.sampled(100_000, 0))
    drift_error, trace_error = ss.sampling_error(sampled, x)
    fields = sampled.coefficients.terms(x).centred()
    drift, cov = law(mc23.sam_sde(g, eta=0.1, rho=0.4), x)
    assert float(((sampled.coefficients(x)[0] - drift).abs() / drift_error).max()) < 4.5
    assert float((0.1 * fields.mT @ fields - cov).abs().max()) < 4.5 * float(trace_error.max())


def test_isotropic_matrix_and_number_are_one_model():
    number = mc23.sam_sde(ss.GaussianOracle(TANH, 0.3), eta=0.1, rho=0.2)
    matrix = mc23.sam_sde(ss.GaussianOracle(TANH, 0.3 * torch.eye(2, dtype=T)), eta=0.1, rho=0.2)
    torch.testing.assert_close(law(number), law(matrix), rtol=1e-10, atol=1e-12)
    dw = torch.randn(3, 4, dtype=T, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(number.coefficients(X)[1](dw), matrix.coefficients(X)[1](dw), rtol=1e-6, atol=1e-8)


def test_a_planted_transposition_is_seen():
    """Negative control: Lᵀ for L changes drift and covariance of SAM at zeroth and first order."""
    right = law(mc23.sam_sde(SKEW, eta=0.1, rho=0.1))
    wrong = law(mc23.sam_sde(replace_sigma(SKEW, SKEW.sigma.T.clone()), eta=0.1, rho=0.1))
    assert float((right[0] - wrong[0]).abs().max()) > 1e-4
    assert float((right[1] - wrong[1]).abs().max()) > 1e-4


def replace_sigma(g, sigma):
    return ss.GaussianOracle(g.mean, sigma)


@pytest.mark.parametrize("model", [*MODELS.values(), mc23.sgd_sde, mc23.usam_sde_as_printed])
def test_bad_hyper_parameters(model):
    g = ORACLES["B=1"]
    with pytest.raises(ValueError, match="eta must be > 0"):
        model(g, eta=0.0, rho=0.1)
    if model is not mc23.sgd_sde:
        with pytest.raises(ValueError, match="rho must be >= 0"):
            model(g, eta=0.1, rho=-0.1)
    with pytest.raises(TypeError, match="racle"):
        model(TANH, eta=0.1, rho=0.1)


def test_flipped_turns_the_sign_of_a_general_model():
    g = ORACLES["B=1"]
    sde = mc23.usam_sde(g, eta=0.1, rho=0.2)
    turned = replace(sde, coefficients=replace(sde.coefficients, rho=-0.2))
    torch.testing.assert_close(law(flipped(sde)), law(turned))
