"""Forked children of a process whose torch has run on several threads: they step, and give the same numbers."""

import multiprocessing

import pytest
import torch

import sdesam as ss

KERNEL = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.Quadratic([[1.0]]), 0.1), 0.1)
FIRST = {"x": lambda x: x[..., 0]}
LIMIT = 60  # seconds; a child takes 0.3, or waits for ever


def mean(n, engine="eager"):
    return ss.simulate(KERNEL, [1.0], steps=10, observables=FIRST, n=n, engine=engine).mean[-1, 0]


def _child(queue, n, engine):
    queue.put((float(mean(n, engine)), torch.get_num_threads()))


@pytest.fixture
def _two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def in_child(n, engine):
    """The mean in a forked child and its threads, or None where it does not come back in time."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_child, args=(queue, n, engine))
    child.start()
    child.join(LIMIT)
    if child.is_alive():
        child.kill()
        return None
    return queue.get()


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("n", "engine", "times"),
    [(3000, "eager", 2), pytest.param(3000, "eager", 20, marks=pytest.mark.slow),
     pytest.param(50_000, "eager", 3, marks=pytest.mark.slow),
     pytest.param(50_000, "fused", 3, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_child_does_not_wait_for_threads_it_does_not_have(n, engine, times):
    expected = float(mean(n, engine))
    mean(n)  # torch's threads are up
    assert [in_child(n, engine) for _ in range(times)] == [(expected, 1)] * times
    assert torch.get_num_threads() == 2  # the parent keeps its own
