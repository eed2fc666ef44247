"""The fused engine against the eager one, on the same noise."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from cases import FINITE_SUM, LANDSCAPES, METHODS, SIX, points
from scipy.special import ndtr

import sdesam as ss
from sdesam.dynamics.controls import antithetic, averaged, controlled, linearised
from sdesam.engine import choice
from sdesam.engine.choice import fused_or_reason
from sdesam.engine.llvm import calls, compilation, cpu, native
from sdesam.engine.start import Run, Start
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import linear

T = torch.float64
X = torch.tensor([1.0, 0.5], dtype=T)
TANH = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
F = ss.TanhNetwork()
SUMS = ("mean", "comoment", "m3", "m4", "low", "high")
WATCH = {"f": F, "x": ss.coordinate(0)}


def sam(eta=0.05, rho=0.1, g=TANH):
    return ss.optimizer(partial(ss.sam, rho=rho), g, eta)


def method(name, g, eta=0.05):
    update = METHODS[name]
    return ss.optimizer(update if name == "sgd" else partial(update, rho=0.1), g, eta)


def both(kernel, x0=X, steps=20, observables=WATCH, n=1500, **options):
    run = partial(ss.simulate, kernel, x0, steps=steps, observables=observables, n=n, **options)
    return run(engine="eager"), run(engine="fused")


def apart(a, b):
    """Largest difference of the sums, each relative to the size of its values and the number of replicates."""
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_array_equal(a.nonfinite, b.nonfinite)
    size = np.maximum(np.maximum(np.abs(a.low), np.abs(a.high)), 1).max()
    powers = {"mean": 1, "low": 1, "high": 1, "comoment": 2, "m3": 3, "m4": 4}
    scale = {k: size**p * (1 if p == 1 else a.count.max()) for k, p in powers.items()}
    return max(float(np.abs(getattr(a, k) - getattr(b, k)).max()) / scale[k] for k in SUMS)


@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.untyped
def test_fused_equals_eager_on(name):
    """Every landscape x method, 8 steps: only rounding differs, 1e-12."""
    f = LANDSCAPES[name]
    for update in METHODS:
        kernel = method(update, ss.GaussianOracle(f, 0.1), eta=0.02)
        watched = {"f": f} if update == "sam" else {f"x[{i}]": ss.coordinate(i) for i in range(2)}
        a, b = both(kernel, points(f) / 2, observables=watched, n=100, steps=8, save_every=4)
        assert (a.engine, b.engine) == ("eager", "fused")
        assert apart(a, b) < 1e-12, update


SDE = mc23.sam_sde(TANH, eta=0.05, rho=0.1)
L = torch.tensor([[0.3, -0.1], [0.05, 0.25]], dtype=T)
PAIR = ss.coupled(sam(), ss.subcycle(ss.small_noise_srk(SDE, 0.05 / 2), 2))
TRIPLE = ss.coupled(
    sam(), ss.subcycle(ss.small_noise_srk(SDE, 0.05 / 4), 4), ss.subcycle(ss.small_noise_srk(SDE, 0.05 / 2), 2)
)
D = {"d": ss.difference(F), "e": ss.of_member(F, 1), "x": ss.of_member(ss.coordinate(0), 0)}
PAIRS = {name: averaged(phi) for name, phi in D.items()}
SIMPLE = mc23.usam_sde(TANH, eta=0.05, rho=0.1)
HALF = ss.small_noise_srk(SIMPLE, 0.05 / 2)
QUARTER = ss.small_noise_srk(SIMPLE, 0.05 / 4)
NESTED = ss.coupled(ss.coupled(sam(), ss.subcycle(HALF, 2)), ss.subcycle(ss.coupled(QUARTER, QUARTER), 4))
KERNELS = {
    "antithetic": (antithetic(sam()), {"f": averaged(F)}),
    "antithetic triple": (antithetic(ss.coupled(sam(), ss.subcycle(QUARTER, 4), ss.subcycle(HALF, 2))), PAIRS),
    "nested": (NESTED, {"f": lambda x: F(x[..., 1, 1, :]) - F(x[..., 0, 0, :]) + x[..., 1, 0, 0]}),
    "linearised": (linearised(sam(), X, 20), {"f": controlled(F)}),
    "linearised x4": (ss.subcycle(linearised(ss.small_noise_srk(SDE, 0.05 / 4), X, 80), 4), {"f": controlled(F)}),
    "linearised minibatch": (linearised(sam(g=ss.MinibatchOracle(SIX, 2)), X, 20), {"f": controlled(F)}),
    "usam sde": (ss.euler_maruyama(mc23.usam_sde(ss.GaussianOracle(F, L), eta=0.05, rho=0.1), 0.05), WATCH),
    "sam sde x4": (ss.subcycle(ss.small_noise_srk(SDE, 0.05 / 4), 4), WATCH),
    "platen": (ss.platen(mc23.usam_sde(ss.GaussianOracle(F, L), eta=0.05, rho=0.1), 0.05), WATCH),
    "ode": (ss.heun(mc23.sam_ode(F, rho=0.1), 0.05), WATCH),
    "pair": (PAIR, D),
    "triple": (TRIPLE, D),
    "minibatch": (sam(g=ss.MinibatchOracle(SIX, 2)), WATCH),
    "weighted": (sam(g=ss.MinibatchOracle(FINITE_SUM, 1, p=(0.1, 0.2, 0.3, 0.2, 0.2))), WATCH),
    "replaced": (sam(g=ss.MinibatchOracle(FINITE_SUM, 3, replace=True)), WATCH),
}


DEAR = ("antithetic triple", "nested")  # they compile for long


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DEAR)) for n in KERNELS])
@pytest.mark.untyped
def test_sdes_couplings_and_minibatches_too(name):
    kernel, watched = KERNELS[name]
    assert apart(*both(kernel, observables=watched, n=300, save_every=5)) < 1e-12


@pytest.mark.parametrize("start", ["point", "points", "cloud"])
def test_starts_and_parts_of_a_run(start):
    x0 = {"point": X, "points": torch.randn(2500, 2, dtype=T, generator=torch.Generator().manual_seed(0)),
          "cloud": ss.Cloud(X, 0.3)}[start]  # fmt: skip
    a, b = both(sam(), x0, n=2500, seed=7, save_every=4)
    assert apart(a, b) < 1e-12
    a, b = both(sam(), x0, n=2500, seed=7, replicates=range(1024, 2500))
    assert apart(a, b) < 1e-12
    assert a.count[0] == 1476


def test_a_linearised_kernel_runs_as_far_as_it_is_prepared():
    kernel = linearised(sam(), X, 20)
    run = partial(ss.simulate, kernel, X, observables={"f": controlled(F)}, n=10, engine="fused")
    assert len(run(steps=20).steps) == 21
    with pytest.raises(ValueError, match="steps must be at most 20, for which the kernel is prepared"):
        run(steps=21)


@pytest.mark.untyped
def test_a_linearised_kernel_keeps_its_clock_across_windows(monkeypatch):
    kernel, watched = KERNELS["linearised x4"]
    run = partial(ss.simulate, kernel, X, steps=20, observables=watched, n=300, engine="fused")
    whole = run()
    monkeypatch.setattr(calls, "_WINDOW_BYTES", 1)
    assert bits(whole) == bits(run())


def test_float32_agrees_to_its_precision():
    a, b = both(sam(), X.float())
    assert 1e-9 < apart(a, b) < 1e-5


def test_planted_faults_are_seen():
    exact = both(sam())[0]
    for kernel, seed, least in ((sam(0.05 + 1e-9), 0, 1e-10), (sam(), 1, 1e-4), (sam(rho=0.1 + 1e-9), 0, 1e-11)):
        wrong = ss.simulate(kernel, X, steps=20, observables=WATCH, n=1500, seed=seed, engine="fused")
        assert np.abs(wrong.mean - exact.mean).max() > least


# ----------------------------------------------------------------- determinism
def bits(m):
    return b"".join(np.ascontiguousarray(getattr(m, k)).tobytes() for k in (*SUMS, "count", "nonfinite"))


def _nowhere(start, first, rows, streams):
    raise AssertionError("a common start needs no other")


def test_threads_windows_and_parts_do_not_change_a_bit(monkeypatch):
    found = fused_or_reason(sam(), X, WATCH, {})
    monkeypatch.setattr(Start, "rows", _nowhere)
    n = 7 * 1024 + 100
    run = partial(cpu.fused_moments, found, Run(Start.of(X), 12, n, seed=1), names=tuple(WATCH), dt=0.05)
    whole = run(range(n), threads=1)
    assert bits(whole) == bits(run(range(n), threads=2)) == bits(run(range(n), threads=1))
    monkeypatch.setattr(calls, "_WINDOW_BYTES", 1)
    assert bits(whole) == bits(run(range(n), threads=1))
    monkeypatch.setattr(cpu, "_MOST_UNITS", 1)
    assert bits(whole) == bits(run(range(n), threads=2))
    parts = run(range(4096)).merge(run(range(4096, n)))
    assert bits(whole) == bits(parts)


def test_one_start_and_equal_starts_are_the_same_run():
    a = ss.simulate(sam(), X, steps=5, observables=WATCH, n=1100, engine="fused")
    b = ss.simulate(sam(), X.expand(1100, -1), steps=5, observables=WATCH, n=1100, engine="fused")
    assert bits(a) == bits(b)


def test_the_start_has_no_spread():
    watched = WATCH | {"c": lambda x: 0 * x[..., 0] + 0.1}
    m = ss.simulate(sam(), X, steps=1, observables=watched, n=1100, engine="fused")
    assert not m.comoment[0].any()
    assert not m.comoment[1, 2].any()
    assert m.mean[1, 2] == 0.1
    assert m.low[0, 1] == m.high[0, 1] == m.mean[0, 1] == 1.0


def test_histograms_are_those_of_the_eager_engine():
    edges = {"x": np.linspace(-0.5, 1.5, 9).tolist(), "f": [0.01, 0.05, 0.2]}
    a, b = both(sam(0.2, g=ss.GaussianOracle(F, 1.0)), n=5000, save_every=5, histograms=edges)
    assert b.engine == "fused"
    for name, e in edges.items():
        np.testing.assert_array_equal(a.histograms[name], b.histograms[name])
        assert b.histograms[name].shape == (5, len(e) + 1)
        assert (b.histograms[name][-1] > 0).all()
        np.testing.assert_array_equal(b.edges[name], e)


# ----------------------------------------------------------------- divergence
def test_divergence_is_counted_as_by_the_eager_engine():
    """A quartic with a step far too long: some replicates overflow, others stay; f overflows before x does."""
    kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.DoubleWell(2), 3.0), 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ss.DivergenceWarning)
        a, b = both(kernel, observables={"f": ss.DoubleWell(2), "x": ss.coordinate(0)}, steps=8)
    assert 0 < b.nonfinite[-1] < 1500
    np.testing.assert_array_equal(a.nonfinite, b.nonfinite)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-8)
    with pytest.warns(ss.DivergenceWarning, match="non-finite from step"):
        ss.simulate(kernel, X, steps=8, observables=WATCH, n=1500, engine="fused")


# ----------------------------------------------------------------- exits
def _within(x):
    return (x * x).sum(-1) < 1.5


@pytest.mark.parametrize("start", ["point", "cloud"])
def test_first_exits_are_those_of_the_eager_engine(start):
    x0 = {"point": X, "cloud": ss.Cloud(X, 0.5)}[start]
    kernel = sam(0.1, g=ss.GaussianOracle(F, 1.0))
    run = partial(ss.first_exit, kernel, x0, _within, max_steps=150, n=2500, seed=3)
    a, b = run(engine="eager"), run(engine="fused")
    np.testing.assert_array_equal(a.counts, b.counts)
    assert (a.censored, a.diverged, b.engine) == (b.censored, b.diverged, "fused")
    assert 0 < b.censored < 2500
    part = run(engine="fused", replicates=range(1024)).merge(run(engine="fused", replicates=range(1024, 2500)))
    np.testing.assert_array_equal(part.counts, b.counts)


def test_units_of_which_all_have_left_stop_and_divergence_is_an_exit():
    kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.DoubleWell(2), 9.0), 1.0)
    run = partial(ss.first_exit, kernel, X, lambda x: x[..., 0] < 1e300, max_steps=400, n=1500)
    a, b = run(engine="eager"), run(engine="fused")
    np.testing.assert_array_equal(a.counts, b.counts)
    assert (a.censored, a.diverged) == (b.censored, b.diverged)
    assert b.diverged > 0


# ----------------------------------------------------------------- choice
def test_auto_falls_back_and_fused_refuses_with_the_reason():
    def untraceable(x):
        return torch.special.i0(x).sum(-1)

    big = {"steps": 5000, "n": 5000, "save_every": 5000}
    run = partial(ss.simulate, sam(), X)
    assert run(observables=WATCH, **big).engine == "fused"
    assert run(observables=WATCH, steps=5, n=500).engine == "eager"  # too short to compile for
    with pytest.raises(ValueError, match=r"engine='fused' cannot run this: observables b does not trace"):
        run(observables={"b": untraceable}, steps=2, n=10, engine="fused")


def test_long_lists_are_refused_with_their_length(monkeypatch):
    monkeypatch.setattr(choice, "LIMIT", 50)
    assert "operations, more than 50" in fused_or_reason(sam(), X, WATCH, {})
    monkeypatch.setattr(choice, "LIMIT", 5)
    assert "has more than 15 numbers" in fused_or_reason(sam(), X, WATCH, {})  # given up before it is whole


def test_a_sweep_compiles_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(compilation, "_KEPT", {})
    monkeypatch.setenv("SDESAM_CACHE", str(tmp_path))
    monkeypatch.setattr(compilation, "module_of", lambda *a, **k: written.append(1) or module_of(*a, **k))
    for i in range(4):
        assert isinstance(fused_or_reason(sam(0.01 + 0.003 * i, 0.11 + 0.07 * i), X, WATCH, {}), compilation.Fused)
    assert len(written) == 1
    compilation._KEPT.clear()
    fused_or_reason(sam(), X, WATCH, {})
    assert len(written) == 1  # from the file


module_of = compilation.module_of


def test_broken_and_foreign_files_are_compiled_again(tmp_path):
    found = fused_or_reason(sam(), X, WATCH, {})
    key, write = ("a key",), lambda: compilation.module_of(found.model, 64)
    assert not native.compiled(key, write, tmp_path).cached
    assert native.compiled(key, write, tmp_path).cached
    (path,) = tmp_path.glob("*.o")
    whole = path.read_bytes()
    for damaged in (b"", whole[:30], whole[:-7], whole[:100] + b"x" + whole[101:]):
        path.write_bytes(damaged)
        assert not native.compiled(key, write, tmp_path).cached
        assert path.read_bytes() == whole
    assert [p.suffix for p in tmp_path.iterdir()] == [".o"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    found = fused_or_reason(sam(), X, WATCH, {})
    (tmp_path / "file").write_text("")
    assert not native.compiled(("b",), lambda: compilation.module_of(found.model, 64), tmp_path / "file").cached


def test_an_inside_that_is_no_boolean_is_refused():
    with pytest.raises(ValueError, match="inside must return booleans"):
        ss.first_exit(sam(), X, lambda x: x[..., 0], max_steps=3, n=10, engine="fused")


def test_the_description_names_engines_and_code():
    assert {
        "engines",
        "code",
        "bits",
        "ARM",
        "threads",
        "compiled kernels",
        "traced kernels",
    } == choice.description().keys()
    assert native.machine_name() in choice.description()["code"]


# ----------------------------------------------------------------- laws
H3 = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.5, 0.5], [0.0, 0.5, 0.75]], dtype=T)
L3 = torch.tensor([[0.7, 0.0, 0.0], [0.5, 0.4, 0.0], [-0.3, 0.2, 0.2]], dtype=T)
SECOND = {**ss.products(3), **{f"x[{i}]": ss.coordinate(i) for i in range(3)}}


def deviation(kernel, n, dtype=T):
    """Largest |simulated − exact| in standard errors, means and second moments at five times."""
    x0 = torch.tensor([1.0, -1.0, 0.5], dtype=dtype)
    path = linear.chain_path(linear.affine_chain(kernel, 3), x0.tolist(), 20)
    m = ss.simulate(kernel, x0, steps=20, save_every=4, observables=SECOND, n=n, engine="fused")
    worst = 0.0
    for name in m.names:
        i, *j = (int(c) for c in name if c.isdigit())
        exact = path.mean[::4, i]
        if j:
            exact = path.mean[::4, i] * path.mean[::4, j[0]] + path.covariance[::4, i, j[0]]
        e = m.estimate(name)
        worst = max(worst, float((np.abs(e.value - exact)[1:] / e.stderr[1:]).max()))
    return worst


@pytest.mark.parametrize("n", [300_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_means_and_covariances_of_a_dense_quadratic_are_exact(n):
    """45 comparisons: the largest of as many standard normals exceeds 4.5 with probability 3e-4."""
    g = ss.GaussianOracle(ss.Quadratic(H3), L3)
    sde = ss.subcycle(ss.small_noise_srk(mc23.usam_sde(g, eta=0.05, rho=0.3), 0.05 / 4), 4)
    for kernel in (ss.optimizer(partial(ss.usam, rho=0.3), g, 0.05), sde):
        assert deviation(kernel, n) < 4.5
    assert deviation(ss.optimizer(partial(ss.usam, rho=0.3), g, 0.05), n, torch.float32) < 4.5


def test_the_law_of_the_normals():
    """Moments to order 6 of 4 million numbers, and their tails, within 4.5 standard errors of the exact ones."""
    still = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.DoubleWell(2), 1.0), 1.0)  # from 0: x = −z after a step
    powers = {f"{i} {p}": (lambda x, i=i, p=p: x[..., i] ** p) for i in (0, 1) for p in range(1, 7)}
    tails = {f"{i} > {c}": (lambda x, i=i, c=c: (x[..., i] > c).to(x.dtype)) for i in (0, 1) for c in (-3, -1, 0, 2, 4)}
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 5: (0, 945), 6: (15, 10170)}  # E z^p and Var z^p
    for dtype in (T, torch.float32):
        watched = {**powers, **tails, "xy": lambda x: x[..., 0] * x[..., 1]}
        x0, n = torch.zeros(2, dtype=dtype), 2_000_000
        m = ss.simulate(still, x0, steps=1, observables=watched, n=n, engine="fused", seed=9)
        for name in watched:
            found = float(m.estimate(name).value[1])
            if ">" in name:
                p = float(ndtr(-float(name.split()[2])))
                mean, variance = p, p * (1 - p)
            else:
                mean, variance = moments[int(name[2])] if name != "xy" else (0, 1)
            assert abs(found - mean) < 4.5 * (variance / n) ** 0.5, name
