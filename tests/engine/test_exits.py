import math
from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23

SADDLE = ss.GaussianOracle(ss.Saddle((1.0, -1.0)), 0.25)


def inside(x):
    return x[..., 1].abs() < 0.5


def exits(update, n=400, steps=1500, seed=0):
    return ss.first_exit(ss.optimizer(update, SADDLE, 0.01), [0.0, 0.0], inside, max_steps=steps, n=n, seed=seed)


def test_counts_are_those_of_the_paths():
    e = exits(ss.sgd, n=50, steps=300)
    paths = ss.trajectories(ss.optimizer(ss.sgd, SADDLE, 0.01), [0.0, 0.0], steps=300, n=50)
    out = ~inside(paths)
    first = [int(row.nonzero()[0]) if bool(row.any()) else None for row in out.T]
    expected = np.bincount([k for k in first if k is not None], minlength=301)
    assert np.array_equal(e.counts, expected)
    assert e.censored == first.count(None) > 0
    assert e.n == 50


def test_mean_exit_time_of_sgd_is_the_integral():
    e = exits(ss.sgd, n=1000)
    mean = e.restricted_mean()
    theory = mc23.usam_axis_exit_time(1.0, eta=0.01, rho=0.0, sigma=0.25, A=0.5)
    assert e.censored == 0
    assert abs(mean.value - theory) < 4 * mean.stderr + 0.01  # + eta: looked at once a step
    wrong = mc23.usam_axis_exit_time(1.0, eta=0.01, rho=0.2, sigma=0.25, A=0.5)
    assert abs(mean.value - wrong) > 4 * mean.stderr + 0.01


def test_survival_band_median_and_censoring():
    e = exits(partial(ss.usam, rho=0.1), n=300, steps=400)
    low, high = e.band()
    assert np.all((low <= e.survival) & (e.survival <= high))
    assert high[50] - low[50] <= 2 * math.sqrt(math.log(40) / 600) + 1e-12
    median, lower, upper = e.median()
    times = np.repeat(e.times, e.counts)
    full = np.sort(np.concatenate([times, np.full(e.censored, np.inf)]))
    assert median == pytest.approx(full[149])
    assert lower <= median <= upper
    assert "restricted" in e.restricted_mean().method
    assert e.escaped().value == pytest.approx(1 - e.censored / 300)
    none = exits(partial(ss.dnsam_full_numerator, rho=0.1), n=20, steps=50)
    assert none.median() == (math.inf,) * 3


def test_band_covers_a_known_survival():
    """Geometric exits with S(k) = 0.9^k: 95 % bands from 200 seeds hold everywhere at least 183 times."""
    coin = ss.GaussianOracle(lambda x: 0 * x.sum(-1), 1.0, dim=1)
    kernel = ss.optimizer(ss.sgd, coin, 1.0)  # x after one step is −z
    q = 1.6448536269514722  # P(|z| > q) = 0.1
    hits = 0
    for seed in range(200):
        one = ss.first_exit(kernel, [0.0], lambda x: x[..., 0].abs() < q, max_steps=1, n=100, seed=seed)
        low, high = one.band()
        hits += bool(low[1] <= 0.9 <= high[1])
    assert hits >= 183


def test_a_divergent_path_has_left_and_is_counted():
    wild = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.DoubleWell(1), 5.0), 2.0)
    e = ss.first_exit(wild, [1.0], lambda x: torch.ones(len(x), dtype=torch.bool), max_steps=12, n=100)
    assert e.diverged == e.counts.sum() > 0


def test_starting_outside_is_an_exit_at_step_zero():
    e = ss.first_exit(ss.optimizer(ss.sgd, SADDLE, 0.01), [0.0, 2.0], inside, max_steps=3, n=7)
    assert e.counts.tolist() == [7, 0, 0, 0]


def test_bad_regions():
    opt = ss.optimizer(ss.sgd, SADDLE, 0.01)
    with pytest.raises(ValueError, match="inside must return booleans"):
        ss.first_exit(opt, [0.0, 0.0], lambda x: x[..., 0], max_steps=3, n=7)
    with pytest.raises(ValueError, match="max_steps must be >= 1"):
        ss.first_exit(opt, [0.0, 0.0], inside, max_steps=0, n=7)
