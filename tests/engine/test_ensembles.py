import warnings
from functools import partial

import numpy as np
import pytest
import torch
from cases import H3, METHODS

import sdesam as ss
from sdesam.engine import eager, ensembles
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import linear

T = torch.float64
L3 = torch.tensor([[0.7, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.2, 0.2]], dtype=T)  # Σ = L Lᵀ is full, Lᵀ L is not it
G3 = ss.GaussianOracle(ss.Quadratic(H3), L3)
TANH = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
X0 = [1.0, -1.0, 0.5]
ETA, RHO, STEPS = 0.05, 0.3, 20
USAM = ss.optimizer(partial(ss.usam, rho=RHO), G3, ETA)
SDE = mc23.usam_sde(G3, eta=ETA, rho=RHO)
FINE = ss.subcycle(ss.small_noise_srk(SDE, ETA / 4), 4)
SECOND = {**ss.products(3), **{f"x[{i}]": ss.coordinate(i) for i in range(3)}}


def deviations(kernel, path, n=100_000, seed=0):
    """Largest |simulated − exact| in standard errors, over means and second moments at five times."""
    m = ss.simulate(kernel, X0, steps=STEPS, save_every=4, observables=SECOND, n=n, seed=seed)
    worst = 0.0
    for name in m.names:
        e = m.estimate(name)
        i, *j = (int(c) for c in name if c.isdigit())
        exact = path.mean[::4, i]
        if j:
            exact = path.mean[::4, i] * path.mean[::4, j[0]] + path.covariance[::4, i, j[0]]
        with np.errstate(divide="ignore"):
            worst = max(worst, float((np.abs(e.value - exact)[1:] / e.stderr[1:]).max()))
    return worst


def exact(kernel):
    return linear.chain_path(linear.affine_chain(kernel, 3), X0, STEPS)


def test_optimizer_and_sde_have_the_exact_means_and_covariances():
    """Dense 3-d quadratic, full Σ, USAM: within 4 standard errors; the scheme's bias is exact too."""
    assert deviations(USAM, exact(USAM)) < 4
    sde = linear.sde_path(linear.linear_sde(SDE, 3), X0, ETA, STEPS)
    assert np.abs(exact(FINE).mean - sde.mean).max() < 1e-4  # the scheme's bias: a twentieth of a standard error
    assert deviations(FINE, sde) < 4


def faulty(change):
    """The SDE with a planted fault in its coefficients."""

    def coefficients(x):
        return change(*SDE.coefficients(x))

    return ss.subcycle(ss.small_noise_srk(ss.SDE(coefficients, 3), ETA / 4), 4)


FAULTS = {
    "drift of SGD": lambda b, B: (b * 0.9, B),
    "half the noise": lambda b, B: (b, lambda dw: B(dw) / 2**0.5),
    "no noise": lambda b, B: (b, lambda dw: 0 * B(dw)),
    "transposed factor": lambda b, B: (b, lambda dw: B(dw @ torch.linalg.solve(L3, L3.T).T)),
    "root of h lost": lambda b, B: (b, lambda dw: (ETA / 4) ** 0.5 * B(dw)),
}


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS)
def test_planted_faults_are_seen(change):
    sde = linear.sde_path(linear.linear_sde(SDE, 3), X0, ETA, STEPS)
    assert deviations(faulty(change), sde, n=30_000) > 8


def test_the_sdes_law_is_not_the_optimizers():
    """The tests above could not pass with the sides exchanged."""
    assert deviations(USAM, linear.sde_path(linear.linear_sde(SDE, 3), X0, ETA, STEPS)) > 8


@pytest.mark.parametrize("update", METHODS.values(), ids=METHODS)
def test_replicates_do_not_depend_on_n(update):
    kernel = ss.optimizer(partial(update, rho=0.1), G3, 0.05)
    few, many = (ss.trajectories(kernel, X0, steps=5, n=n, seed=3) for n in (1000, 5000))
    assert few.shape == (6, 1000, 3)
    assert torch.equal(few, many[:, :1000])
    assert torch.equal(ss.trajectories(kernel, X0, steps=5, n=1, seed=3), many[:, :1])


@pytest.mark.parametrize("d", [20, 28])
def test_replicates_do_not_depend_on_n_in_matrix_products(d):
    """Matrix products choose their kernel by the number of rows: blocks are padded to full lanes."""
    A = torch.randn(d, d, dtype=T, generator=torch.Generator().manual_seed(0))
    g = ss.GaussianOracle(ss.Quadratic(A @ A.T / d), 0.3)
    kernel = ss.optimizer(partial(ss.sam, rho=0.1), g, 0.05)
    many = ss.trajectories(kernel, [1.0] * d, steps=3, n=1030)
    for n in (1, 7, 1023, 1029):
        assert torch.equal(ss.trajectories(kernel, [1.0] * d, steps=3, n=n), many[:, :n])


def test_two_chunkings_give_the_same_bits(monkeypatch):
    def moments(units):
        real = eager.blocks
        monkeypatch.setattr(ensembles, "blocks", lambda replicates, d: real(replicates, d, units=units))
        m = ss.simulate(USAM, X0, steps=4, observables=SECOND, n=9000, seed=1)
        monkeypatch.undo()
        return m

    one, three = moments(1), moments(3)
    for field in ("count", "mean", "comoment", "m3", "m4", "low", "high"):
        assert np.array_equal(getattr(one, field), getattr(three, field)), field


def test_a_run_is_the_merge_of_its_units():
    m = ss.simulate(USAM, X0, steps=4, observables=SECOND, n=3000, seed=1)
    paths = ss.trajectories(USAM, X0, steps=4, n=3000, seed=1)
    np.testing.assert_allclose(m.estimate("x[1]").value, paths[..., 1].mean(1).numpy(), rtol=1e-13)
    np.testing.assert_allclose(m.estimate("x[1]").stderr, (paths[..., 1].std(1) / 3000**0.5).numpy(), rtol=1e-10)


def test_methods_share_their_noise_at_equal_seeds():
    """rho = 0: SAM and SGD agree to the last bit, replicate by replicate."""
    a, b = (
        ss.trajectories(ss.optimizer(partial(u, rho=0.0), TANH, 0.1), [1.0, 1.2], steps=5, n=50)
        for u in (ss.sam, ss.sgd)
    )
    assert torch.equal(a, b)


def test_starts():
    opt = ss.optimizer(ss.sgd, TANH, 0.1)
    one = ss.trajectories(opt, [1.0, 1.2], steps=2, n=3)
    for x0 in (np.array([1.0, 1.2]), torch.tensor([1.0, 1.2], dtype=T), [[1.0, 1.2]] * 3):
        assert torch.equal(ss.trajectories(opt, x0, steps=2, n=3), one)
    single = ss.trajectories(opt, torch.tensor([1.0, 1.2]), steps=2, n=3)
    assert single.dtype == torch.float32
    cloud = ss.trajectories(opt, ss.Cloud([1.0, 1.2], 0.5), steps=1, n=20_000)[0]
    assert float((cloud.mean(0) - torch.tensor([1.0, 1.2])).abs().max()) < 4.5 * 0.5 / 20_000**0.5
    assert torch.equal(cloud[:100], ss.trajectories(opt, ss.Cloud([1.0, 1.2], 0.5), steps=1, n=100)[0])


def test_a_global_default_dtype_changes_nothing():
    opt = ss.optimizer(partial(ss.sam, rho=0.1), TANH, 0.1)
    before = ss.trajectories(opt, [1.0, 1.2], steps=3, n=8)
    torch.set_default_dtype(T)
    try:
        torch.manual_seed(1)
        assert torch.equal(ss.trajectories(opt, [1.0, 1.2], steps=3, n=8), before)
    finally:
        torch.set_default_dtype(torch.float32)


def test_deterministic_runs_say_so():
    opt = ss.optimizer(partial(ss.sam, rho=0.1), ss.ExactOracle(ss.TanhNetwork()), 0.1)
    e = ss.simulate(opt, [1.0, 1.2], steps=3, observables={"f": ss.TanhNetwork()}, n=1).estimate("f")
    assert e.method == "deterministic"
    assert np.all(e.stderr == 0)


def test_histograms_and_internals():
    m = ss.simulate(
        USAM, X0, steps=2, observables={"x[0]": ss.coordinate(0)}, n=500,
        histograms={"x[0]": [-1.0, 0.0, 1.0]}, internals={"size": lambda state: state.abs().sum(-1)},
    )  # fmt: skip
    assert m.histograms["x[0]"].sum(-1).tolist() == [500] * 3
    assert m.names == ("x[0]", "size")


def test_divergence_is_counted_reported_and_not_averaged():
    opt = ss.optimizer(partial(ss.usam, rho=0.5), ss.GaussianOracle(ss.DoubleWell(1), 2.0), 0.9)
    with pytest.warns(ss.DivergenceWarning, match=r"diverged: \d+ of 2000 replicates of usam .*rho=0.5"):
        m = ss.simulate(opt, [1.0], steps=6, observables={"bounded": lambda x: torch.tanh(x[..., 0])}, n=2000)
    assert 0 < m.nonfinite[-1] <= 2000
    assert np.all(m.count + m.nonfinite == 2000)


def test_large_n_is_chunked():
    m = ss.simulate(ss.optimizer(ss.sgd, TANH, 0.1), [1.0, 1.2], steps=1, observables={"f": TANH.mean}, n=200_001)
    assert m.count.tolist() == [200_001] * 2


OBSERVE = {"f": TANH.mean}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be >= 1, got 0"),
        ({"n": 0}, ValueError, "n must be >= 1"),
        ({"save_every": 3}, ValueError, "save_every must divide steps = 4"),
        ({"seed": -1}, ValueError, "seed must be >= 0"),
        ({"observables": {}}, ValueError, "observables must name at least one"),
        ({"observables": {"pair": lambda x: x}}, ValueError, r"observable 'pair' must map .* to \(16,\)"),
        ({"observables": {"log": lambda x: torch.log(-x[..., 0])}}, ValueError, "NaN at step 0, x = "),
        ({"x0": [1, 2]}, TypeError, "write 1.0 instead of 1"),
        ({"x0": torch.tensor([1, 2])}, TypeError, r"float32 or float64\), got torch.int64"),
        ({"x0": [1.0, 2.0, 3.0]}, ValueError, "last dimension 2, that of GaussianOracle, got 3"),
        ({"x0": [[1.0, 2.0]] * 3}, ValueError, "must have 10 = n rows, got 3"),
        ({"x0": [float("nan"), 0.0]}, ValueError, "x0 must be finite"),
        ({"x0": torch.zeros(2, 3, 2)}, ValueError, r"shape \(d,\) or \(n, d\)"),
        ({"histograms": {"g": [0.0, 1.0]}}, ValueError, "histograms must name observables"),
        ({"histograms": {"f": [1.0, 0.0]}}, ValueError, "increasing bin edges"),
    ],
)
def test_bad_input_is_one_sentence(arguments, error, message):
    good = {"x0": [1.0, 1.2], "steps": 4, "observables": OBSERVE, "n": 10}
    kernel = ss.optimizer(ss.sgd, TANH, 0.1)
    call = good | arguments
    with pytest.raises(error, match=message):
        ss.simulate(kernel, call.pop("x0"), **call)


def test_a_landscape_that_breaks_the_shape_law_is_refused():
    g = ss.GaussianOracle(lambda x: torch.tanh(x.sum()), 0.1, dim=2)
    with pytest.raises(ValueError, match="miss dim=-1"):
        ss.simulate(ss.optimizer(ss.sgd, g, 0.1), [1.0, 1.0], steps=1, observables=OBSERVE, n=4)


def test_runs_on_every_device(device):
    x0 = torch.tensor([1.0, 1.2], dtype=T, device=device)
    for name, update in METHODS.items():
        opt = ss.optimizer(partial(update, rho=0.1), TANH, 0.05)
        here = ss.simulate(opt, x0, steps=10, observables=OBSERVE, n=200).estimate("f")
        cpu = ss.simulate(opt, [1.0, 1.2], steps=10, observables=OBSERVE, n=200).estimate("f")
        np.testing.assert_allclose(here.value, cpu.value, rtol=1e-10, err_msg=name)


def test_progress_goes_to_stderr(capsys):
    with warnings.catch_warnings():
        ss.simulate(USAM, X0, steps=2, observables=SECOND, n=10, progress=True)
    assert capsys.readouterr().out == ""
