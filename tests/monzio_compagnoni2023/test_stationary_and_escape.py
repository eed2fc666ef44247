"""Radial stationary laws and exits from wells, each against a second derivation."""

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact.gaussian_noise import effective_radius_factor

STEP = {"eta": 0.01, "rho": 0.1, "sigma": 0.1}


@pytest.mark.parametrize(("h", "d"), [(0.5, 1), (2.0, 3), (5.0, 20)])
def test_usams_radial_law_has_the_papers_loss(h, d):
    law = mc23.radial_law(mc23.usam_radial(h, **STEP), d)
    formula = mc23.usam_stationary_loss(np.full(d, h), np.full(d, 0.01), eta=0.01, rho=0.1)
    assert law.loss(h) == pytest.approx(formula, rel=1e-6)
    assert law.mass.sum() == pytest.approx(1)


def test_sams_radial_law_tends_to_the_formula_near_the_minimum():
    """Its relative error is O(eta): |∇f|² ~ eta."""
    gaps = []
    for eta in (1e-2, 1e-3, 1e-4):
        step = {**STEP, "eta": eta}
        law = mc23.radial_law(mc23.sam_radial(2.0, d=10, **step), 10)
        gaps.append(law.loss(2.0) / mc23.sam_stationary_loss(np.full(10, 2.0), **step) - 1)
    assert abs(gaps[2]) < 1e-4
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


def test_the_radial_coefficients_are_those_of_the_sdes():
    x = torch.tensor([[0.0, 0.04, 0.0]], dtype=torch.float64)
    g = ss.GaussianOracle(ss.Quadratic(2.0 * torch.eye(3, dtype=torch.float64)), 0.1)
    r = np.array([0.04])
    for sde, radial in (
        (mc23.usam_sde(g, eta=0.01, rho=0.1), mc23.usam_radial(2.0, **STEP)),
        (mc23.dnsam_sde(g, eta=0.01, rho=0.1), mc23.dnsam_radial(2.0, **STEP)),
        (mc23.sam_sde(g, eta=0.01, rho=0.1), mc23.sam_radial(2.0, d=3, **STEP)),
    ):
        drift, diffusion = sde.coefficients(x)
        B = torch.cat([diffusion(row[None]) for row in torch.eye(sde.noise_dim, dtype=torch.float64)])
        inward, along, across = radial(r)
        assert -float(drift[0, 1]) == pytest.approx(float(inward[0]), rel=1e-12)
        assert float(B[:, 1].square().sum()) == pytest.approx(float(along[0]), rel=1e-9)
        assert float(B[:, 0].square().sum()) == pytest.approx(float(across[0]), rel=1e-9)


def test_dnsams_one_dimensional_density_by_two_derivations():
    step = {"eta": 0.01, "rho": 0.05, "sigma": 1.0}
    law = mc23.radial_law(mc23.dnsam_radial(1.0, **step), 1)
    density = mc23.dnsam_stationary_density(law.r, 1.0, **step)
    assert np.allclose(2 * density * (law.r[1] - law.r[0]), law.mass, atol=1e-7 * law.mass.max())
    assert law.r[np.argmax(law.mass)] == pytest.approx(mc23.dnsam_mode(1.0, **step), rel=1e-3)
    assert law.mean(np.square) == pytest.approx(0.01212, rel=1e-3)
    assert float(mc23.dnsam_stationary_density(np.zeros(1), 1.0, **step)[0]) == 0


def test_the_mean_field_radius_is_self_consistent_and_good_in_many_dimensions():
    lam = np.linspace(0.1, 3, 20)
    R = mc23.dnsam_mean_field_radius(lam, **STEP)
    covariance = 0.01 * 0.01 * (1 + R * lam) / (2 * lam)
    assert R * np.sqrt((lam**2 * covariance).sum()) == pytest.approx(STEP["rho"])
    assert mc23.dnsam_mean_field_radius(lam, eta=0.01, rho=0.0, sigma=0.1) == 0  # SGD
    errors = []
    for d in (10, 20, 40):
        exact = mc23.radial_law(mc23.dnsam_radial(2.0, **STEP), d).loss(2.0)
        R = mc23.dnsam_mean_field_radius(np.full(d, 2.0), **STEP)
        closure = mc23.usam_stationary_loss(np.full(d, 2.0), np.full(d, 0.01), eta=0.01, rho=R)
        errors.append(abs(closure / exact - 1))
    assert errors[1] < 2 / 20
    assert errors[0] > 1.8 * errors[1] > 3 * errors[2]


def test_the_two_cycle_is_where_full_batch_sam_ends():
    kernel = ss.optimizer(lambda g, x, z: ss.sam(g, x, z, rho=0.3), ss.ExactOracle(ss.Quadratic([[2.0]])), 0.1)
    path = ss.trajectories(kernel, [0.7], steps=500).abs()
    assert path[-1].item() == pytest.approx(mc23.sam_two_cycle(2.0, eta=0.1, rho=0.3), rel=1e-10)


def test_a_stationary_law_needs_a_minimum():
    with pytest.raises(ValueError, match="h must be"):
        mc23.usam_radial(-1.0, **STEP)
    with pytest.raises(ValueError, match="stationary law"):
        mc23.radial_law(lambda r: (-r, np.ones_like(r), np.ones_like(r)), 1)
    with pytest.raises(ValueError, match="must lie in"):
        mc23.sam_two_cycle(30.0, eta=0.1, rho=0.3)


def test_the_pl_bound_is_sharp_for_an_isotropic_quadratic_and_holds_beyond_quadratics():
    exact = mc23.usam_stationary_loss(np.full(3, 2.0), np.full(3, 0.1), eta=0.1, rho=0.4)
    assert mc23.usam_pl_bound(2.0, 2.0, 0.3, eta=0.1, rho=0.4, least=2.0) == pytest.approx(exact)
    x = np.linspace(-6, 6, 40_001)  # f = x²/2 + log cosh x: mu = 1, L = 2; law of the SDE by its scale function
    slope, curvature = x + np.tanh(x), 2 - np.tanh(x) ** 2
    a = 0.1 * (1 + 0.4 * curvature) ** 2
    rise = -2 * (1 + 0.4 * curvature) * slope / a
    log_p = np.concatenate([[0], np.cumsum((rise[1:] + rise[:-1]) / 2 * (x[1] - x[0]))]) - np.log(a)
    p = np.exp(log_p - log_p.max())
    loss = (p * (x**2 / 2 + np.log(np.cosh(x)))).sum() / p.sum()
    assert loss < mc23.usam_pl_bound(1.0, 2.0, 1.0, eta=0.1, rho=0.4, least=1.0)


# ----------------------------------------------------------------- wells
WELL = {"rho": 0.2, "sigma": 0.5, "A": 0.15}


def test_the_mean_exit_time_is_the_asymptotic_one():
    step = {**WELL, "eta": 0.004}
    z2, k = mc23.usam_well_exponent(1.0, **step), 1.2
    leading = np.sqrt(np.pi) / (2 * k * np.sqrt(z2)) * np.exp(z2) * (1 + 1 / (2 * z2))
    assert mc23.usam_well_exit_time(1.0, **step) == pytest.approx(leading, rel=0.01)


def test_chain_and_skeleton_agree_with_simulation():
    step = {**WELL, "eta": 0.02}
    g = ss.GaussianOracle(ss.Quadratic([[1.0]]), 0.5)
    kernel = ss.optimizer(lambda g, x, z: ss.usam(g, x, z, rho=0.2), g, 0.02)
    exits = ss.first_exit(kernel, [0.0], lambda x: x[..., 0].abs() < 0.15, max_steps=20_000, n=1000, seed=1)
    e = exits.restricted_mean()
    assert exits.censored == 0
    assert abs(float(e.value) - mc23.chain_exit_time(1.0, **step)) < 4 * float(e.stderr)


@pytest.mark.parametrize("lam", [0.5, 1.0])
def test_the_ratios_tend_to_their_limits_and_not_to_one(lam):
    step = {**WELL, "eta": 0.004}
    chain, skeleton = mc23.well_exit_ratio(lam, sigma=0.5, A=0.15)
    sde = mc23.usam_well_exit_time(lam, **step)
    assert mc23.chain_exit_time(lam, **step) / sde == pytest.approx(chain, rel=0.03)
    assert mc23.skeleton_exit_time(lam, **step) / sde == pytest.approx(skeleton, rel=0.03)


def test_long_exit_times_keep_their_digits():
    step = {**WELL, "eta": 0.001}  # z² = 75, T ~ 1e32: (I − K)⁻¹ would lose all sixteen digits
    coarse, fine = (mc23.chain_exit_time(1.0, nodes=nodes, **step) for nodes in (400, 600))
    assert coarse == pytest.approx(fine, rel=1e-8)
    assert fine / mc23.usam_well_exit_time(1.0, **step) == pytest.approx(
        mc23.well_exit_ratio(1.0, sigma=0.5, A=0.15)[0], rel=0.02
    )
    with pytest.raises(ValueError, match="nodes must be at least"):
        mc23.chain_exit_time(1.0, nodes=10, **step)


def test_sams_saddle_attracts_inside_a_finite_radius_only():
    inside = mc23.sam_attraction_radius(1.0, rho=1.0, sigma=0.5, d=2)
    drift = mc23.sam_sde(ss.GaussianOracle(ss.Saddle((1.0, -1.0)), 0.5), eta=0.01, rho=1.0).coefficients
    for y, sign in ((0.9 * inside, -1), (1.1 * inside, 1)):
        b, _ = drift(torch.tensor([[0.0, y]], dtype=torch.float64))
        assert float(b[0, 1]) * sign > 0
    assert inside < 1.0
    assert mc23.sam_attraction_radius(1.0, rho=0.39, sigma=0.25, d=2) == 0
    assert mc23.sam_critical_rho(1.0, sigma=0.25, d=2) == pytest.approx(0.25 / effective_radius_factor(2))


def test_the_stable_coordinates_excursions_shorten_sams_exit():
    step = {"eta": 0.01, "rho": 0.4, "sigma": 0.25, "A": 0.5, "d": 2}
    averaged, axis = mc23.sam_axis_exit_time(1.0, stable=1.0, **step), mc23.sam_axis_exit_time(1.0, **step)
    assert (averaged, axis) == (pytest.approx(93.63, abs=0.01), pytest.approx(96.89, abs=0.01))
    kernel = ss.optimizer(
        lambda g, x, z: ss.sam(g, x, z, rho=0.4), ss.GaussianOracle(ss.Saddle((1.0, -1.0)), 0.25), 0.01
    )
    exits = ss.first_exit(kernel, [0.0, 0.0], lambda x: x[..., 1].abs() < 0.5, max_steps=100_000, n=20_480, seed=5)
    e = exits.restricted_mean()
    assert abs(float(e.value) - averaged) < 4 * float(e.stderr) + 0.01 < abs(float(e.value) - axis)
    gentle = {**step, "rho": 0.1}
    assert mc23.sam_axis_exit_time(1.0, stable=1.0, **gentle) == pytest.approx(
        mc23.sam_axis_exit_time(1.0, **gentle), rel=1e-3
    )
    with pytest.raises(ValueError, match="stable must"):
        mc23.sam_axis_exit_time(1.0, stable=-1.0, **step)
