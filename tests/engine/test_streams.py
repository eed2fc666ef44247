"""Seeds of the parts of a command: no two parts of any two runs share noise, here and on the explorer's page."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.cli import simulate as table
from sdesam.engine.streams import Streams, derived
from sdesam.explorer.page import module_text
from sdesam.setting import ALGORITHM, MODEL, Setting

TAGS = [("SDE",), ("again",), ("pilot",), ("start",), ("SGD", 1), *(("phase", k) for k in range(4)), (0,), (1,)]


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])  # slow: 120,000 checked calls
def test_derived_seeds_are_all_distinct(count):
    seeds = range(count)
    assert derived(3) == 3
    found = [*seeds, *(derived(seed, *tags) for tags in TAGS for seed in seeds)]
    assert len(set(found)) == len(found)
    assert all(0 <= seed < 2**64 for seed in found)


def test_every_bit_of_a_seed_and_every_tag_matters():
    """One flipped bit of the seed flips half of the 64 bits: 32 ± 4 (standard deviation) each, 32 ± 0.5 on average."""
    flips = [(derived(5, "SDE") ^ derived(5 ^ (1 << k), "SDE")).bit_count() for k in range(64)]
    assert abs(np.mean(flips) - 32) < 2
    assert derived(5, "a", "b") != derived(5, "b", "a") != derived(5, "ab")
    assert derived(2**64 - 1, "SDE") != derived(0, "SDE")


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises((ValueError, TypeError), match="seed must be"):
        derived(seed, "SDE")


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")
def test_the_page_derives_the_same_seeds():
    cases = [(seed, tags) for seed in (0, 1, 7, 2**53 - 5) for tags in TAGS]
    script = module_text() + f"""
    const cases = {json.dumps(cases)};
    console.log(JSON.stringify(cases.map(([seed, tags]) => String(derived(seed, ...tags)))));"""  # fmt: skip
    found = json.loads(subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout)
    assert [int(text) for text in found] == [derived(seed, *tags) for seed, tags in cases]


# ----------------------------------------------------------------- runs that somebody pools are independent
def correlation(seed_of_model):
    """Of what 64 replicates' noise adds to a mean: the optimizer's under seed s + 1, the SDE's in the run of seed s."""

    def mean(seed):
        streams = Streams(seed=seed, first=0, count=64)
        return sum(0.9**k * float(ss.Normal(1).draw(streams.bits, torch.float64).mean()) for k in range(3))

    pairs = [(mean(s + 1), mean(seed_of_model(s))) for s in range(200)]
    return np.corrcoef(np.array(pairs).T)[0, 1]


def test_a_run_and_the_next_seeds_run_share_no_noise():
    """Zero within four standard errors, 4/√200 = 0.28; with seed + 1 for the model the same noise is read twice."""
    assert abs(correlation(lambda s: table._seed(s, MODEL))) < 4 / 200**0.5
    assert correlation(lambda s: s + 1) == pytest.approx(1)


def test_the_model_of_a_table_runs_on_its_derived_seed():
    setting = Setting("quadratic", "sgd", eta=0.1, sigma=0.3)
    found = table.side_by_side(setting, steps=2, n=16, save_every=1, model=True).sides[MODEL]
    arguments = dict(steps=2, n=16, observables={"x": ss.coordinate(0)})
    right, wrong = (
        ss.simulate(setting.kernel(MODEL), setting.start(), seed=s, **arguments) for s in (derived(0, MODEL), 1)
    )
    assert np.array_equal(found.estimate("x[0]").value, right.estimate("x").value)
    assert not np.array_equal(found.estimate("x[0]").value, wrong.estimate("x").value)


def test_the_largest_seed_has_a_model_too():
    setting = Setting("quadratic", "sgd", eta=0.1, sigma=0.3, seed=2**64 - 1)
    found = table.side_by_side(setting, steps=2, n=16, save_every=1, model=True)
    assert set(found.sides) == {ALGORITHM, MODEL}
