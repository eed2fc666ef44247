"""Which engine runs, and what the result says about it."""

import json
from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine import choice, ensembles
from sdesam.engine.llvm import cpu
from sdesam.engine.purity import Impure
from sdesam.engine.statistics import Moments

T = torch.float64
X = torch.tensor([1.0, 0.5], dtype=T)
F = ss.TanhNetwork()
SAM = ss.optimizer(partial(ss.sam, rho=0.1), ss.GaussianOracle(F, 0.3), 0.05)
WATCH = {"f": F}


def untraceable(x):
    return torch.special.i0(x).sum(-1)


def branching(x):
    return x[..., 0] if float(x.sum()) > -1e9 else x[..., 1]


run = partial(ss.simulate, SAM, X, steps=2, n=2048)


# ----------------------------------------------------------------- the reason
@pytest.fixture
def always_worthwhile(monkeypatch):
    monkeypatch.setattr(choice, "COMPILING", 0.0)


def test_a_short_run_says_that_it_is_short():
    m = run(observables=WATCH)
    assert m.engine == "eager"
    assert "too short to compile" in m.engine_note
    e = ss.first_exit(SAM, X, lambda x: F(x) < 0.2, max_steps=2, n=10)
    assert (e.engine, "too short to compile" in e.engine_note) == ("eager", True)


def test_what_does_not_trace_says_why(always_worthwhile):
    m = run(observables={"b": untraceable})
    assert m.engine == "eager"
    assert "does not trace" in m.engine_note
    e = ss.first_exit(SAM, X, lambda x: untraceable(x) < 9, max_steps=2, n=10)
    assert (e.engine, "does not trace" in e.engine_note) == ("eager", True)


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
def test_what_is_wrong_is_an_error_on_every_engine(always_worthwhile, engine):
    with pytest.raises(Impure, match="'b' asks for the value of a tensor"):
        run(observables={"b": branching}, engine=engine)


def test_what_only_a_trace_shows_is_no_reason_to_run_eagerly(always_worthwhile, monkeypatch):
    """Planted: the probe is left out."""
    monkeypatch.setattr(ensembles, "probe", lambda *args: None)
    for phi in (lambda x: x[..., 0] + torch.rand(len(x)), lambda x: x[..., 0] - x[..., 0].mean()):
        with pytest.raises(Impure, match="draws random numbers|mixes replicates"):
            run(observables={"b": phi})


def test_an_engine_that_was_asked_for_or_that_compiled_needs_no_reason(always_worthwhile):
    assert [run(observables=WATCH, engine=e).engine_note for e in ("eager", "fused", "auto")] == ["", "", ""]


def test_reasons_are_merged_once_and_kept_in_files():
    first, other = (run(observables=WATCH, replicates=r) for r in (range(1024), range(1024, 2048)))
    both = first.merge(other)
    assert both.engine_note == first.engine_note
    assert Moments.from_arrays(both.arrays()).engine_note == first.engine_note
    mixed = both.merge(run(observables=WATCH, engine="eager")).merge(ensembles.replace(first, engine_note="another"))
    assert mixed.engine_note == f"{first.engine_note}\nanother"
    e = ss.first_exit(SAM, X, lambda x: F(x) < 0.2, max_steps=2, n=10)
    assert ss.ExitTimes.from_arrays(e.merge(e).arrays()).engine_note == e.engine_note != ""


def test_the_command_line_prints_the_reason(capsys):
    from sdesam.cli.app import main

    words = ["simulate", "--landscape", "tanh-network", "--eta", "0.1", "--steps", "2", "--n", "16", "--json"]
    with pytest.raises(SystemExit):
        main(words)
    assert "too short to compile" in json.loads(capsys.readouterr().out)["settings"]["engine note"]
    with pytest.raises(SystemExit):
        main([*words[:-1], "--engine", "eager"])
    assert "engine note" not in capsys.readouterr().out


def test_long_runs_of_few_replicates_are_compiled():
    """Each step is a call into torch, whatever n is: 5,000 of them cost seconds for 10 replicates."""
    assert run(observables=WATCH, steps=5000, n=10, save_every=5000).engine == "fused"
    assert ss.first_exit(SAM, X, lambda x: F(x) < 0.2, max_steps=3000, n=10).engine == "fused"
    assert run(observables=WATCH, steps=20, n=10_000, save_every=20).engine == "eager"


def test_the_estimate_counts_substeps_looks_and_replicates():
    def short(kernel=SAM, n=10, steps=100, looks=1):
        return bool(choice.short_run(kernel, n=n, steps=steps, looks=looks))

    assert short()
    assert not short(ss.subcycle(SAM, 8))
    assert not short(n=100_000)
    assert not short(looks=101, steps=400)


# ----------------------------------------------------------------- undefined observables
ROOT = {"f": F, "root": lambda x: x[..., 1].sqrt()}


def no_eager(*args, **words):
    raise AssertionError("the eager engine ran")


def test_fused_refuses_an_undefined_observable_by_name_and_step(monkeypatch):
    monkeypatch.setattr(ensembles, "visit", no_eager)
    with pytest.raises(ValueError, match=r"engine='fused' .* 'root' is NaN .* at step \d+ \(replicate \d+\)"):
        run(observables=ROOT, steps=60, n=3000, save_every=20, engine="fused")


def test_the_named_replicate_is_the_first_undefined_one():
    kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.Quadratic(torch.eye(2, dtype=T)), 0.5), 0.15)
    path = ss.trajectories(kernel, X, steps=8, n=2000, seed=2, save_every=4)[:, :, 1]
    k = int((path < 0).any(1).nonzero()[0])
    i = int((path[k] < 0).nonzero()[0])
    assert i > 0
    with pytest.raises(ValueError, match=rf"at step {4 * k} \(replicate {i}\)"):
        ss.simulate(kernel, X, steps=8, n=2000, seed=2, save_every=4, observables=ROOT, engine="fused")


def test_auto_falls_back_on_an_undefined_observable_with_the_reason(always_worthwhile, monkeypatch):
    def undefined(*args, **words):
        raise cpu.UndefinedObservable("observable 'f' is NaN")

    with pytest.raises(ValueError, match="'root' must be a number wherever x is finite, got NaN at step"):
        run(observables=ROOT, steps=60)
    monkeypatch.setattr(ensembles, "fused_moments", undefined)
    m = run(observables=WATCH)
    assert (m.engine, m.engine_note) == ("eager", "observable 'f' is NaN")
    np.testing.assert_array_equal(m.mean, run(observables=WATCH, engine="eager").mean)
