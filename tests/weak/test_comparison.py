"""One optimizer beside several SDEs: rows that equal single runs, deals that are minibatches, intervals that reject."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics.variants import stratified, variants
from sdesam.problems.datasets import tanh_network_data
from sdesam.theory import model_of
from sdesam.theory.linear_stability import largest_curvature, stability
from sdesam.weak.comparison import apart, beside
from sdesam.weak.metrics import AGAIN, Comparison, gradient_and_radius, metric, settling
from sdesam.weak.models import MODELS, lean, partial_sde

T = torch.float64
SIX = tanh_network_data(
    torch.tensor([-1.5, -0.8, 0.4, 0.9, 1.3, 2.0], dtype=T), torch.tensor([-0.6, 0.3, 0.5, 0.1, 0.8, 0.4], dtype=T)
)
START = [0.9, 1.3]
RHOS = [0.1, 0.3]
PHIS = {"g1": gradient_and_radius(SIX), "f": SIX}


def gaussian(update=ss.sam, **options):
    g = ss.GaussianOracle(SIX, 0.05)
    settings = {"eta": 0.1, "rhos": RHOS, "observables": PHIS, "steps": 6, "n": 32} | options
    return beside(update, g, START, **settings)


# ----------------------------------------------------------------- rows
@pytest.mark.parametrize("update", [ss.usam, ss.dnsam, ss.sam])
def test_every_row_is_the_run_of_its_radius_alone(update):
    together, alone = gaussian(update), gaussian(update, rhos=[RHOS[1]])
    for model in ("own", "drift only", "SGD", AGAIN):
        a, b = (c[RHOS[1]].errors[model]["g1"] for c in (together, alone))
        assert np.allclose(a.value, b.value, rtol=0, atol=1e-15)
    g = ss.GaussianOracle(SIX, 0.05)
    kernel = ss.optimizer(partial(update, rho=RHOS[1]), g, 0.1)
    for model, G in (("own", partial(update, rho=RHOS[1])), ("SGD", ss.sgd)):
        pair = ss.coupled(kernel, ss.subcycle(ss.small_noise_srk(model_of(G, g, 0.1), 0.05), 2))
        if update is not ss.sam or model == "own":  # SAM's batch draws private normals, which SGD's SDE has not
            run = ss.simulate(pair, START, steps=6, observables={"f": ss.difference(SIX)}, n=32)
            error = together[RHOS[1]].errors[model]["f"]
            assert np.allclose(error.value, run.estimate("f").value, rtol=0, atol=1e-15)


def test_a_variant_is_bit_for_bit_its_kernel():
    g = ss.GaussianOracle(SIX, 0.05)
    rows = variants(lambda rho: ss.optimizer(partial(ss.dnsam, rho=rho), g, 0.1), [(rho,) for rho in RHOS])
    x, z = torch.randn(8, 2, dtype=T), torch.randn(8, 2, dtype=T)
    out = rows.step(x[:, None].expand(-1, 2, -1).clone(), z)
    for r, rho in enumerate(RHOS):
        assert torch.equal(out[:, r], ss.optimizer(partial(ss.dnsam, rho=rho), g, 0.1).step(x, z))


# ----------------------------------------------------------------- what an interval says
def test_the_right_model_is_nearer_and_planted_ones_are_not():
    f, models = ss.Quadratic(torch.diag(torch.tensor([1.0, 3.0], dtype=T))), {**MODELS, "turned": (-1.0, 1.0)}
    c = beside(
        ss.usam, ss.GaussianOracle(f, 0.05), [1.0, 0.5], eta=0.02, rhos=[0.3],
        observables={"g1": gradient_and_radius(f)}, steps=20, save_every=5, n=16, models=models,
    )[0.3]  # fmt: skip
    assert c.nearer("own", "SGD", "g1", 0.999) is True
    assert c.nearer("SGD", "own", "g1", 0.999) is False
    assert c.nearer("turned", "SGD", "g1", 0.999) is False
    assert c.nearer("own", "own", "g1") is None


def test_the_drift_alone_has_the_methods_drift_and_the_noise_of_sgd():
    g, x, dw = ss.GaussianOracle(SIX, 0.05), torch.tensor([START], dtype=T), torch.randn(1, 4, dtype=T)
    own, half, none = (partial_sde(ss.sam, g, 0.1, 0.3, share).coefficients(x) for share in (1.0, 0.5, 0.0))
    right, plain = model_of(partial(ss.sam, rho=0.3), g, 0.1).coefficients(x), model_of(ss.sgd, g, 0.1).coefficients(x)
    assert all(torch.equal(c[0], right[0]) for c in (own, half, none))
    assert torch.equal(none[1](dw), plain[1](dw[:, :2]))
    assert torch.allclose(own[1](dw), right[1](dw), rtol=0, atol=1e-16)
    assert torch.allclose(2 * half[1](dw), own[1](dw) + none[1](dw), rtol=0, atol=1e-16)


def test_equal_laws_have_a_positive_metric_and_an_interval_from_zero():
    """The optimizer against itself: the paper's quotient is biased up, the interval's lower end is 0."""
    value, low, high = gaussian()[0.1].metric(AGAIN, "g1")
    assert low == 0 < value < high


def test_the_metric_is_the_papers_quotient():
    value = np.array([0.0, -0.3, 0.2])
    flat = ss.Estimate(np.array([2.0, 1.0, 3.0]), np.zeros(3), np.full(3, 8), "Monte Carlo")
    error = ss.Estimate(value, np.zeros(3), np.full(3, 8), "Monte Carlo")
    c = Comparison(np.arange(3.0), {"f": flat}, {"m": {"f": error}}, np.zeros(3))
    assert c.metric("m", "f") == (0.15, 0.15, 0.15)


def test_intervals_cover_the_metric_at_all_steps():
    """True errors and means known, 400 samples of 12: a 90 % band covers at least 360 − 3 sd times."""
    truth, scale, rng = np.array([0.0, 0.2, -0.21, 0.19, 0.2]), np.full(5, 2.0), np.random.default_rng(0)
    covered = naive = 0
    for _ in range(400):
        samples = truth + 0.3 * rng.standard_normal((12, 5))
        stderr = samples.std(0, ddof=1) / 12**0.5
        error = ss.Estimate(samples.mean(0), stderr, np.full(5, 12), "Monte Carlo")
        value, low, high = metric(error, ss.Estimate(scale, np.zeros(5), np.full(5, 12), "Monte Carlo"), 0.9)
        covered += low <= 0.21 / 2 <= high
        naive += value > 0.21 / 2
    assert covered >= 360 - 3 * (400 * 0.09) ** 0.5
    assert naive > 250  # the maximum alone is biased up


def planted_pair(n, first=0.10, second=0.12, spread=1.0):
    """Errors of two models and the scale they are measured in, at five looks, as n replicates would know them."""
    flat, stderr = np.ones(6), np.full(6, spread / n**0.5)
    one, other = (ss.Estimate(np.r_[0.0, np.full(5, e)], stderr, np.full(6, n), "Monte Carlo") for e in (first, second))
    return one, other, ss.Estimate(flat, np.zeros(6), np.full(6, n), "Monte Carlo")


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_the_replicates_that_settle_a_row_do_settle_it(share):
    """With a tenth more than it says the intervals are apart, with a fifth fewer they are not."""

    def apart_at(n):
        one, other, scale = planted_pair(n, second=0.12 / share)
        a, b = (metric(e, scale, 0.999) for e in (one, other))
        return a[2] < share * b[1]

    said = settling(*planted_pair(100_000, second=0.12 / share), 0.999, share)
    assert said.startswith("about ")
    needed = int(said.split()[1].replace(",", ""))
    assert needed > 100_000
    assert apart_at(int(1.1 * needed))
    assert not apart_at(int(0.8 * needed))


def test_a_gap_within_the_noise_gives_a_lower_bound_and_none_gives_no_promise():
    assert settling(*planted_pair(1000, second=0.1001), 0.999).startswith("more than ")
    assert "the intervals are apart" in settling(*planted_pair(1000, second=2.0), 0.999)
    few = settling(*planted_pair(1000, second=0.1), 0.999)
    assert int(few.split()[2].replace(",", "")) > 1000


# ----------------------------------------------------------------- minibatches
@pytest.mark.parametrize("B", [1, 2, 3])
def test_a_deal_is_a_minibatch_in_law_and_its_noise_sums_to_zero(B):
    """Over all 720 orders each chain's batch is uniform; at one point a group's gradients average to the full one."""
    g = ss.MinibatchOracle(SIX, B)
    group = stratified(ss.optimizer(ss.sgd, g, 0.1))
    orders = torch.tensor(list(permutations(range(6))), dtype=T)
    hands = group.deal(orders).sort(-1).values
    for chain in range(6 // B):
        batches, counts = torch.unique(hands[:, chain], dim=0, return_counts=True)
        assert torch.equal(batches, g.noise.nodes()[0])
        assert counts.unique().tolist() == [720 // len(batches)]
    x = torch.tensor(START, dtype=T).expand(4, 6 // B, 2).clone()
    after = group.step(x, orders[:4]).mean(1)
    assert torch.allclose(after, x[:, 0] - 0.1 * ss.grad(SIX)(x[:, 0]), rtol=0, atol=1e-15)


def test_a_group_has_the_mean_of_the_optimizer_with_less_variance():
    kernel = ss.optimizer(partial(ss.sam, rho=0.2), ss.MinibatchOracle(SIX, 1), 0.1)
    plain = ss.simulate(kernel, START, steps=8, observables={"f": SIX}, n=6 * 500).estimate("f")[-1]
    group = ss.simulate(
        stratified(kernel), START, steps=8, observables={"f": lambda x: SIX(x).mean(-1)}, n=500
    ).estimate("f")[-1]
    assert abs(float(plain.value) - float(group.value)) < 4 * float(np.hypot(plain.stderr, group.stderr))
    assert float(plain.stderr) ** 2 > 20 * float(group.stderr) ** 2


@pytest.mark.parametrize("update", [ss.usam, ss.dnsam, ss.dnsam_full_numerator, ss.sam])
@pytest.mark.parametrize("sampled", [False, True])
def test_the_lean_model_is_the_model(update, sampled):
    """Drift and map, at several points, over all batches of two and over a sample of them."""
    g, x = ss.MinibatchOracle(SIX, 2), torch.randn(100, 2, dtype=T)
    nodes = g.noise.sampled(4, 0) if sampled else None
    full = model_of(partial(update, rho=0.3), g, 0.1, nodes=nodes)
    dw = torch.randn(100, full.noise_dim, dtype=T)
    for one, other in zip(at(full, x, dw), at(lean(full), x, dw), strict=True):
        size = 1 + other.norm(dim=-1, keepdim=True)  # losses of a network: gradients grow with the point
        assert bool(((one - other).abs() <= 64 * torch.finfo(T).eps * size).all())


def at(sde, x, dw):
    drift, diffusion = sde.coefficients(x)
    return drift, diffusion(dw)


@pytest.mark.untyped
def test_minibatch_errors_cover_control_variates():
    g, phi = ss.MinibatchOracle(SIX, 1), {"f": SIX}
    G = partial(ss.sam, rho=0.3)
    c = apart(ss.sam, g, START, eta=0.1, rhos=[0.3], observables=phi, steps=8, n=200, pairs=200)[0.3]
    other = ss.by_controlled_mc(
        ss.optimizer(G, g, 0.1), model_of(G, g, 0.1), START, steps=8, observables=phi, n=2000, substeps=1
    )["f"].error[-1]
    mine = c.errors["own"]["f"][-1]
    assert abs(float(mine.value) - float(other.value)) < 4 * float(np.hypot(mine.stderr, other.stderr))
    assert c.nearer("own", "SGD", "f", 0.999) is True


# ----------------------------------------------------------------- divergence
def test_one_diverging_radius_does_not_take_the_others_along():
    f = ss.Quadratic(torch.diag(torch.tensor([1.0, 100.0], dtype=T)))
    c = beside(
        ss.usam, ss.GaussianOracle(f, 0.1), [1.0, 1.0], eta=0.01, rhos=[0.001, 1e6], observables={"f": f}, steps=10,
        save_every=5, n=16,
    )  # fmt: skip
    assert c[0.001].lost.max() == 0
    assert c[1e6].lost[-1] == 16
    assert np.isfinite(c[0.001].metric("own", "f")[0])


def test_the_largest_curvature_is_the_hessians():
    for f, x in ((SIX, START), (ss.Quadratic(torch.diag(torch.tensor([1.0, -3.0, 2.0], dtype=T))), [0.1, 0.2, 0.3])):
        x = torch.tensor(x, dtype=T)
        exact = float(torch.linalg.eigvalsh(ss.hessian(f)(x))[-1])
        assert largest_curvature(f, x) == pytest.approx(exact, rel=1e-8)


def test_the_stability_limit_is_where_usam_diverges():
    lam, rho = 4.0, 0.5
    f = ss.Quadratic(torch.tensor([[lam]], dtype=T))
    for eta, stable in ((0.99 * 2 / (lam * (1 + rho * lam)), True), (1.01 * 2 / (lam * (1 + rho * lam)), False)):
        said = stability(ss.usam, f, torch.ones(1, dtype=T), eta=eta, rho=rho)
        assert (said.factor < 2) == stable
        x = ss.trajectories(ss.optimizer(partial(ss.usam, rho=rho), ss.ExactOracle(f), eta), [1.0], steps=100)
        assert (abs(float(x[-1])) < 1) == stable
    assert "4" in str(said)
    assert "2" in str(said)


# ----------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"substeps": 1}, "substeps must be >= 2"),
        ({"n": 1}, "n must be >= 2"),
        ({"rhos": []}, "rhos must be different radii"),
        ({"rhos": [0.1, 0.1]}, "rhos must be different radii"),
    ],
)
def test_bad_arguments_are_one_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        gaussian(**change)


def test_what_cannot_be_dealt_out_is_refused():
    with pytest.raises(ValueError, match="batch_size must divide N = 6"):
        stratified(ss.optimizer(ss.sgd, ss.MinibatchOracle(SIX, 4), 0.1))
    with pytest.raises(ValueError, match="needs a MinibatchOracle"):
        stratified(ss.optimizer(ss.sgd, ss.MinibatchOracle(SIX, 1, replace=True), 0.1))
    with pytest.raises(ValueError, match="rows must be at least one"):
        variants(lambda rho: ss.optimizer(ss.sgd, ss.ExactOracle(SIX), 0.1), [])
