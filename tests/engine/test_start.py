"""x0 and the counts of a run, each checked once: what is made of them, and the sentences of what is refused."""

from dataclasses import replace

import pytest
import torch

import sdesam as ss
from sdesam.engine.start import Run, Start
from sdesam.engine.streams import Streams

POINTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_a_point_is_common_points_and_clouds_are_not():
    one, several, cloud = (Start.of(x0) for x0 in ([1.0, 2.0], POINTS, ss.Cloud([1.0, 2.0], 0.0)))
    assert one.common is one.points and several.common is None and cloud.common is None
    assert [s.dim for s in (one, several, cloud)] == [2, 2, 2]
    assert all(s.one.tolist() == [1.0, 2.0] for s in (one, several, cloud))
    assert several.rows(1, 4, Streams(seed=0, first=1, count=4)).tolist() == [*POINTS[1:], POINTS[2], POINTS[2]]
    assert one.rows(0, 2, Streams(seed=0, first=0, count=2)).tolist() == [[1.0, 2.0]] * 2
    drawn = replace(cloud, scale=0.5).rows(0, 2, Streams(seed=0, first=0, count=2))
    assert torch.equal(drawn, ss.trajectories(_kernel(), ss.Cloud([1.0, 2.0], 0.5), steps=1, n=2)[0])


def test_alone_refuses_starts_that_are_several():
    for x0, what in ((POINTS, r"shape \(3, 2\)"), (ss.Cloud([1.0, 2.0], 0.5), "Cloud")):
        with pytest.raises(ValueError, match=rf"x0 must be one start \(d,\), got {what}: it is one path"):
            Start.of(x0).alone("it is one path")


@pytest.mark.parametrize(
    ("x0", "says"),
    [
        ([], r"x0 must have shape \(d,\) or \(n, d\)"),
        ([[[1.0]]], r"x0 must have shape \(d,\) or \(n, d\)"),
        (ss.Cloud(POINTS, 1.0), r"x0\.mean must have shape \(d,\)"),
        ([float("nan")], "x0 must be finite"),
        (ss.Cloud([float("inf")], 1.0), r"x0\.mean must be finite"),
    ],
)
def test_bad_starts_are_refused(x0, says):
    with pytest.raises(ValueError, match=says):
        Start.of(x0)


def test_a_run_of_another_n_is_checked_again():
    run = Run(Start.of(POINTS), steps=4, n=3, save_every=2)
    assert run.saved.tolist() == [0, 2, 4]
    for change, says in (
        (dict(n=4), "must have 4 = n rows, got 3"),
        (dict(steps=3), "save_every must divide steps = 3"),
        (dict(n=0), "n must be >= 1"),
        (dict(seed=-1), "seed must be >= 0"),
    ):
        with pytest.raises(ValueError, match=says):
            replace(run, **change)


def _kernel():
    return ss.optimizer(ss.sgd, ss.GaussianOracle(ss.Quadratic(torch.eye(2, dtype=torch.float64)), 0.5), 0.1)
