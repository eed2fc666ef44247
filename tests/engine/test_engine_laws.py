"""The fused engine's normals, streams that know nothing of each other, and inputs that ask for trouble."""

import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from scipy import stats

import sdesam as ss
from sdesam.engine.llvm import compilation, cpu, native
from sdesam.engine.tracing.listed import listing_of
from sdesam.problems.noise import Normal

T = torch.float64
X = torch.tensor([1.0, 0.5], dtype=T)
F = ss.TanhNetwork()
SAM = ss.optimizer(partial(ss.sam, rho=0.1), ss.GaussianOracle(F, 0.3), 0.05)
FRESH = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.Quadratic(torch.eye(2, dtype=T)), 1.0), 1.0)  # x⁺ = −z
EDGES = stats.norm.ppf(np.arange(1, 200) / 200)
FAR = np.array([-5.5, -5.0, -4.5, -4.0, 4.0, 4.5, 5.0, 5.5])


@dataclass(frozen=True)
class Mutating:
    """A kernel that writes into its state, as users do."""

    noise: object = Normal(2)
    substeps: int = 1
    dt: float = 1.0
    name: str = "mutating"

    def init(self, x0):
        return x0

    def position(self, state):
        return state

    def step(self, state, z):
        state *= 0.9
        state[..., 0] += 0.1 * z[..., 1]
        return state


# ----------------------------------------------------------------- the law of the normals
def drawn(n, dtype, **observables):
    """Moments over five steps of fresh normals: 10 n draws in two columns."""
    watched = {"a": ss.coordinate(0), "b": ss.coordinate(1), **observables}
    edges = {name: np.sort(np.concatenate((EDGES, FAR))).tolist() for name in "ab"}
    x0 = torch.zeros(2, dtype=dtype)
    return ss.simulate(FRESH, x0, steps=5, observables=watched, n=n, seed=3, histograms=edges, engine="fused")


def bins_of(m, n):
    """Chi-square of 200 equal bins, 1e8 draws at most, and how far each tail count is from its mean, in sd."""
    counts = sum(m.histograms[name][1:].sum(0) for name in "ab")
    edges = np.sort(np.concatenate((EDGES, FAR)))
    place = np.searchsorted(EDGES, np.concatenate((edges, [np.inf])), side="left")
    grouped = np.bincount(place, counts, minlength=200)
    chi = float(((grouped - n / 20) ** 2 / (n / 20)).sum())
    tails = []
    for c in FAR:
        seen = counts[: np.searchsorted(edges, c) + 1].sum() if c < 0 else counts[np.searchsorted(edges, c) + 1 :].sum()
        expected = 10 * n * stats.norm.sf(abs(c))
        tails.append((seen - expected) / expected**0.5)
    return chi, np.abs(tails)


@pytest.mark.parametrize("dtype", [T, torch.float32], ids=str)
@pytest.mark.parametrize("n", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_normals_fill_bins_tails_and_moments_as_they_should(n, dtype):
    """10 n draws.  Chi-square of 199 degrees below its 1 − 1e-5 quantile; the others within 4.5 standard errors."""
    powers = {f"a{p}": (lambda x, p=p: x[..., 0] ** p) for p in range(2, 7)}
    m = drawn(n, dtype, ab=lambda x: x[..., 0] * x[..., 1], **powers)
    chi, tails = bins_of(m, n)
    assert chi < stats.chi2.ppf(1 - 1e-5, 199)
    enough = 10 * n * stats.norm.sf(np.abs(FAR)) > 20
    assert (tails[enough] < 4.5).all()
    exact = {"a": (0, 1), "a2": (1, 2), "a3": (0, 15), "a4": (3, 96), "a5": (0, 945), "a6": (15, 10170), "ab": (0, 1)}
    for name, (mean, variance) in exact.items():
        assert abs(float(m.estimate(name).value[1:].mean()) - mean) < 4.5 * (variance / (5 * n)) ** 0.5, name


def test_a_million_normals_pass_kolmogorov_and_smirnov():
    found = compilation.Fused.of(cpu_model(FRESH), T)
    values = cpu.fused_values(found, _zeros, range(500_000), saved=np.array([0, 1]), seed=5)[1, 1:]
    assert stats.kstest(values.reshape(-1), "norm").pvalue > 1e-4
    assert stats.kstest(values.reshape(-1) * 1.01, "norm").pvalue < 1e-4  # it would see one percent


def cpu_model(kernel):
    return listing_of(kernel, torch.zeros(2, dtype=T), {"a": ss.coordinate(0), "b": ss.coordinate(1)}, {})


def _zeros(first, rows, streams):
    return torch.zeros(rows, 2, dtype=T)


def test_streams_of_other_seeds_replicates_and_steps_are_uncorrelated():
    """21 correlations of 200,000 pairs: the largest exceeds 4.5/√n with probability 1e-4."""
    found, n = compilation.Fused.of(cpu_model(FRESH), T), 200_000
    saved = np.arange(3)
    one, two, far = (
        cpu.fused_values(found, _zeros, range(n), saved=saved, seed=s)[1:, 1:].reshape(4, n) for s in (7, 8, 7 + 2**32)
    )
    others = [(one, two), (one, far), (one, np.roll(one, 1, axis=1)), (one, np.roll(one, 1024, axis=1))]
    pairs = [(a[i], b[i]) for a, b in others for i in range(4)]
    pairs += [(one[i], one[j]) for i in range(4) for j in range(i)][:5]
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a, b in pairs) < 4.5 / n**0.5


# ----------------------------------------------------------------- inputs that ask for trouble
def both(kernel, x0, **options):
    run = partial(ss.simulate, kernel, x0, **({"steps": 6, "n": 1030} | options))
    return run(engine="eager"), run(engine="fused")


def agree(a, b):
    assert (a.engine, b.engine) == ("eager", "fused")
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(a.comoment, b.comoment, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
def test_a_step_that_writes_into_its_state_is_refused_and_leaves_x0(engine):
    x0 = X.clone()
    with pytest.raises(ValueError, match="must not write into its argument"):
        ss.simulate(Mutating(), x0, steps=3, observables={"f": F}, n=8, engine=engine)
    assert torch.equal(x0, X)


def test_observables_may_be_counts_truth_values_and_constants():
    watched = {
        "positive": lambda x: x[..., 0] > 0.9, "count": lambda x: (x > 0.9).sum(-1), "rows": lambda x: x[:, 1],
        "one": lambda x: torch.ones(len(x)),
    }  # fmt: skip
    agree(*both(SAM, X, observables=watched))


@pytest.mark.parametrize("n", [1, 7, 1023, 1025])
def test_any_number_of_replicates(n):
    agree(*both(SAM, X, n=n, observables={"f": F}))


def test_starts_in_any_memory_order():
    x0 = torch.randn(2, 1030, dtype=T, generator=torch.Generator().manual_seed(1)).T
    assert not x0.is_contiguous()
    agree(*both(SAM, x0, observables={"f": F}))


def test_an_observable_that_mixes_replicates_is_refused():
    with pytest.raises(ValueError, match="'centred' mixes replicates"):
        both(SAM, X, observables={"centred": lambda x: x[:, 0] - x[:, 0].mean()})


# ----------------------------------------------------------------- compiling
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of the x86")
@pytest.mark.parametrize("processor", ["x86-64-v3", "x86-64"])
def test_processors_without_the_wide_instructions_get_the_same_numbers(processor, monkeypatch, tmp_path):
    native._machine()  # LLVM is set up
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=processor, opt=2, jit=True)
    monkeypatch.setattr(native, "_machine", lambda: (machine, processor))
    monkeypatch.setenv("SDESAM_CACHE", str(tmp_path))
    monkeypatch.setattr(compilation, "_KEPT", {})
    agree(*both(SAM, X, observables={"f": F}))
    assert len(list(tmp_path.glob("*.o"))) == 1  # it was compiled here


def test_a_run_that_is_stopped_while_it_writes_leaves_a_cache_that_works(monkeypatch, tmp_path):
    def stopped(*a):
        raise KeyboardInterrupt

    write = partial(compilation.module_of, cpu_model(SAM), 64)
    with monkeypatch.context() as patch:
        patch.setattr(native.os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            native.compiled(("key",), write, tmp_path)
    assert not list(tmp_path.glob("*.o"))
    assert not native.compiled(("key",), write, tmp_path).cached
    assert native.compiled(("key",), write, tmp_path).cached


@pytest.mark.slow
def test_two_processes_that_compile_at_once_agree(tmp_path):
    code = """
import sdesam as ss
m = ss.simulate(ss.optimizer(ss.sgd, ss.GaussianOracle(ss.LogCosh(2), 0.3), 0.1), [1.0, 0.5], steps=3,
                observables={"f": ss.LogCosh(2)}, n=2000, engine="fused")
print(m.mean.tobytes().hex())
"""
    environment = {**native.os.environ, "SDESAM_CACHE": str(tmp_path)}
    pair = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    first, second = (p.communicate(timeout=300)[0] for p in pair)
    assert first == second != b""
    assert not list(tmp_path.glob("*.tmp"))
