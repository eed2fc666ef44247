"""A switch of methods in the toolkit: one kernel, then another on the cloud that it left."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sdesam.dynamics.kernels import subcycle
from sdesam.dynamics.switched import Switched
from sdesam.engine.ensembles import simulate, trajectories
from sdesam.explorer import figure
from sdesam.explorer.check import check, curves, kernels_of, stopped_kernels
from sdesam.explorer.library import library_of
from sdesam.explorer.state import State
from sdesam.explorer.stopped import Stopped

SIDES = ("algorithm", "SDE")
STATE = State(
    landscape="double-well", method="sgd", eta=0.1, rho=0.5, sigma=0.3, substeps=2, horizon=1.0, start=(0.9, 0.4),
    box=(-1.5, 1.5, -1.0, 1.0), switch_at=0.4, switch_to="usam", parameters={"barrier": 2.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def library():
    return library_of()[0]


@pytest.fixture(scope="module")
def state(library):
    return library.checked(STATE)


def paths(kernel, x0, steps, n=64):
    return trajectories(kernel, x0, steps=steps, n=n, seed=3)


@pytest.mark.parametrize("side", SIDES)
def test_the_second_method_continues_from_the_first_ones_cloud(library, state, side):
    """Until the switch the first one's paths; afterwards, with no noise left, the second one's from where they are."""
    first = replace(state, switch_at=0.0)
    glued, alone = stopped_kernels(library, state)[side], stopped_kernels(library, first)[side]
    found = paths(glued, [0.9, 0.4], 4)
    torch.testing.assert_close(found, paths(alone, [0.9, 0.4], 4), rtol=0, atol=0)
    quiet = replace(state, sigma=0.0, absorb=False)
    found = paths(stopped_kernels(library, quiet)[side], [0.9, 0.4], 10, n=1)
    before = paths(kernels_of(library, replace(quiet, switch_at=0.0))[side], [0.9, 0.4], 4, n=1)
    after = paths(kernels_of(library, replace(quiet, method="usam"))[side], before[-1, 0].tolist(), 6, n=1)
    torch.testing.assert_close(found, torch.cat((before, after[1:])), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("at", "after"), [(0.4, 4), (0.41, 5), (1e-4, 1), (0.3, 3), (7.0, 70)])
def test_the_switch_is_at_the_first_step_that_begins_at_its_time(state, at, after):
    """As on the page, which asks t >= at before each step; 3 x 0.1 > 0.3 in floating point."""
    assert replace(state, switch_at=at).switched_after == after


def test_without_a_time_or_a_method_nothing_is_switched(library, state):
    for other in (replace(state, switch_at=0.0), replace(state, switch_to="")):
        assert other.switched_after is None
        assert all(isinstance(k, Stopped) for k in stopped_kernels(library, other).values())


def test_what_left_the_box_stays_where_it_was(library, state):
    """An escape before the switch is not undone by it: the flag and the place go over."""
    tight = replace(state, box=(0.8, 1.0, 0.3, 0.5), sigma=2.0)
    for kernel in stopped_kernels(library, tight).values():
        found = paths(kernel, [0.9, 0.4], 10)
        gone = ~((found[4] - torch.tensor([0.9, 0.4])).abs() < 0.1).all(-1)
        assert 32 < gone.sum() <= 64
        torch.testing.assert_close(found[10][gone], found[4][gone], rtol=0, atol=0)


@pytest.mark.parametrize("side", SIDES)
def test_the_engines_agree(library, state, side):
    kernel = stopped_kernels(library, replace(state, switch_to="sam"))[side]
    run = {
        engine: simulate(
            kernel, [0.9, 0.4], steps=10, n=200, observables={"x": lambda x: x[..., 0]},
            internals={"inside": lambda s: s[2]}, engine=engine,
        )
        for engine in ("fused", "eager")
    }  # fmt: skip
    for name in ("x", "inside"):
        values = [run[e].estimate(name).value for e in run]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-10)


@pytest.mark.parametrize("fault", [{"switch_at": 0.5}, {"switch_at": 0.3}, {"switch_to": "sgd"}, {"switch_at": 0.0}])
def test_a_wrong_time_or_method_is_noticed(library, state, fault):
    """What the tests above compare differs by far more than their tolerances."""
    quiet = replace(state, sigma=0.0, absorb=False)
    right, wrong = (
        paths(stopped_kernels(library, s)["algorithm"], [0.9, 0.4], 10, n=1) for s in (quiet, replace(quiet, **fault))
    )
    assert float((right - wrong).abs().max()) > 1e-3


def test_clocks_must_be_one(library, state):
    first, then = kernels_of(library, state).values()
    with pytest.raises(ValueError, match="then must have the kernel's clock, got"):
        Switched(Stopped(first, None), Stopped(then, None), 3)
    assert Switched(Stopped(first, None), Stopped(subcycle(first, 1), None), 3).substeps == 1


def test_a_check_and_a_figure_of_a_switched_state(library, state, tmp_path):
    short = replace(state, landscape="saddle", method="sgd", start=(0.0, 0.0), parameters={})
    answer = check(library, short.document(), n=128)
    assert len(answer["quantity"]["SDE"]["t"]) == 11 and "128 replicates" in answer["summary"]
    figure.render_state(library, library.checked(short), tmp_path / "x.png", n=128)
    assert (tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_story_of_the_switch(library):
    """The toolkit tells what the page tells: SGD keeps the network's sharpness, SAM lowers it."""
    from sdesam.explorer.presets import PRESETS

    story = next(p.state for p in PRESETS if p.name == "switch-to-sam")
    found = curves(library, library.checked(story), 1024).values("algorithm", "quantity")
    before = found["value"][np.searchsorted(found["t"], 20.0) - 1]
    assert before == pytest.approx(np.tanh(1.0) ** 2, abs=0.03) and found["value"][-1] < 0.25
