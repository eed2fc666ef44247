import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import sdesam as ss


def moments(values, edges=None):
    """Moments of values (S, K, n)."""
    S, K, _ = values.shape
    names = tuple("abc"[:K])
    return ss.Moments.of(values, names=names, steps=np.arange(S), dt=0.5, edges=edges or {})


def sample(n, seed=0, scale=1.0, shift=0.0):
    return shift + scale * np.random.default_rng(seed).standard_normal((2, 3, n)) ** 3


def agree(a: ss.Moments, b: ss.Moments, rtol=1e-11):
    """Equal to rounding, measured in each field's natural scale (a power of the spread and the mean)."""
    scale = np.abs(b.high).max() + np.abs(b.low).max() + np.abs(b.mean).max()
    powers = {"count": 0, "nonfinite": 0, "mean": 1, "comoment": 2, "m3": 3, "m4": 4, "low": 1, "high": 1}
    for field, power in powers.items():
        np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=rtol, atol=rtol * scale**power)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(-1e3, 1e3))
def test_merge_is_the_moments_of_the_union(n, m, shift):
    values = sample(n + m, shift=shift)
    agree(moments(values[..., :n]).merge(moments(values[..., n:])), moments(values), rtol=1e-9)


def test_merge_is_associative_to_rounding():
    a, b, c = (moments(sample(50, seed)) for seed in range(3))
    agree(a.merge(b).merge(c), a.merge(b.merge(c)))


def test_against_numpy_and_scipy():
    values = sample(4000)
    m = moments(values)
    e = m.estimate("b")
    np.testing.assert_allclose(e.value, values[:, 1].mean(-1), rtol=1e-13)
    np.testing.assert_allclose(e.stderr, stats.sem(values[:, 1], axis=-1), rtol=1e-12)
    np.testing.assert_allclose(m.covariance()[1], np.cov(values[1]), rtol=1e-12)
    v = m.variance("b")
    np.testing.assert_allclose(v.value, values[:, 1].var(-1, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(m.times, [0, 0.5])
    low, high = e.interval(0.9)
    expected = stats.t.interval(0.9, 3999, loc=e.value, scale=e.stderr)
    np.testing.assert_allclose([low, high], expected, rtol=1e-9)


def test_large_offsets_do_not_cancel():
    values = 1e9 + np.random.default_rng(0).standard_normal((1, 1, 5000))
    exact = (values - 1e9).var(ddof=1)
    assert moments(values).variance("a").value[0] == pytest.approx(exact, rel=1e-6)


def test_intervals_cover():
    """400 groups: the 95 % interval covers 380 ± 13 times (3 sd), for the mean and for the variance."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((400, 1, 1, 500))
    mean_hits = var_hits = 0
    for group in groups:
        m = moments(group)
        low, high = m.estimate("a").interval(0.95)
        mean_hits += bool(low[0] <= 0 <= high[0])
        low, high = m.variance("a").interval(0.95)
        var_hits += bool(low[0] <= 1 <= high[0])
    assert 367 <= mean_hits <= 393
    assert 367 <= var_hits <= 393


def test_half_the_standard_error_would_not_cover():
    """Negative control of the test above: the planted fault is seen."""
    rng = np.random.default_rng(0)
    hits = 0
    for group in rng.standard_normal((400, 1, 1, 500)):
        e = moments(group).estimate("a")
        hits += abs(e.value[0]) <= 1.96 * e.stderr[0] / 2
    assert not 367 <= hits <= 393


def test_nonfinite_replicates_are_counted_and_left_out():
    values = sample(100)
    values[1, 2, 7] = np.nan
    values[1, 0, 8] = np.inf
    m = moments(values)
    assert m.nonfinite.tolist() == [0, 2]
    assert m.count.tolist() == [100, 98]
    kept = np.delete(values[1, 1], [7, 8])
    assert m.estimate("b").value[1] == pytest.approx(kept.mean())
    lost = moments(np.full((1, 1, 4), np.nan))
    assert np.isnan(lost.estimate("a").value[0])
    assert lost.estimate("a").stderr[0] == np.inf


def test_one_replicate_has_no_error_bar():
    e = moments(sample(1)).estimate("a")
    assert np.all(e.stderr == np.inf)
    with pytest.raises(ValueError, match="at least two"):
        moments(sample(1)).variance("a")


def test_a_heavy_tail_is_flagged():
    values = np.random.default_rng(0).standard_normal((1, 1, 2000))
    assert not moments(values).estimate("a").heavy_tailed.any()
    values[0, 0, 3] = 30.0
    assert moments(values).estimate("a").heavy_tailed.all()
    assert "heavy" in str(moments(values).estimate("a")[0])


@pytest.mark.parametrize("n", [128, 256, 1024, 4096])
def test_few_light_tailed_replicates_are_not_called_heavy(n):
    """Gaussians and their squares, 300 samples each: at most 3 % are flagged; Cauchy variables nearly always."""
    rng = np.random.default_rng(n)
    normal = rng.standard_normal((1, 300, n))
    flagged = []
    for values in (normal, normal**2, rng.standard_cauchy((1, 300, n))):
        names = tuple(str(k) for k in range(300))
        sums = ss.Moments.of(values, names=names, steps=np.array([0]), dt=1.0, edges={}, size=n)
        flagged.append(np.mean([bool(sums.estimate(name).heavy_tailed.any()) for name in names]))
    assert max(flagged[:2]) <= 0.03
    assert flagged[2] > 0.4


def test_histograms_count_everything():
    values = sample(1000)
    edges = np.array([-1.0, 0.0, 0.5])
    h = moments(values, {"a": edges}).histograms["a"]
    assert h.shape == (2, 4)
    assert h.sum(-1).tolist() == [1000, 1000]
    assert h[0, 0] == (values[0, 0] < -1).sum()
    assert h[0, 2] == ((values[0, 0] >= 0) & (values[0, 0] < 0.5)).sum()


def test_sums_of_different_things_do_not_add():
    with pytest.raises(ValueError, match="do not add"):
        moments(sample(5)).merge(moments(sample(5)[:, :2]))
    with pytest.raises(KeyError, match="no observable 'z'"):
        moments(sample(5)).estimate("z")
    with pytest.raises(ValueError, match="level"):
        moments(sample(5)).estimate("a").interval(1.5)


def test_zero_events_are_not_certainty():
    e = ss.ExitTimes(np.zeros(5, np.int64), censored=100, diverged=0, dt=1.0).escaped()
    assert e.value == 0
    assert 0 < e.stderr < 0.02
    assert e.interval()[1] > 0


def test_scalars_broadcast_over_saved_steps():
    e = ss.Estimate(np.arange(3.0), np.ones(3), 10, "Monte Carlo")
    assert (float(e[1].value), int(e[1].n)) == (1.0, 10)
    assert "last 2" in str(e)


def test_a_diverged_deterministic_run_is_not_zero():
    kernel = ss.optimizer(ss.sgd, ss.ExactOracle(ss.DoubleWell(1)), 5.0)
    with pytest.warns(ss.DivergenceWarning):
        m = ss.simulate(kernel, [2.0], steps=40, save_every=40, observables={"x": ss.coordinate(0)}, n=1)
    assert np.isnan(m.estimate("x").value[-1])
    assert np.isnan(m.estimate("x").stderr[-1])


def test_histograms_with_other_edges_do_not_add():
    a, b = (moments(sample(10), {"a": np.array(e)}) for e in ([0.0, 1.0], [0.0, 2.0]))
    with pytest.raises(ValueError, match="same histogram edges"):
        a.merge(b)
