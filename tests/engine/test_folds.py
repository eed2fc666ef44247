"""One order of summation: whoever computes which units, the bits are the same."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdesam as ss
from sdesam.engine.eager import UNIT
from sdesam.engine.folds import Tree, nodes_of

SAM = ss.optimizer(partial(ss.sam, rho=0.1), ss.GaussianOracle(ss.TanhNetwork(), 0.3), 0.1)
OBSERVABLES = {"f": ss.TanhNetwork(), "x": ss.coordinate(0)}


class Word(str):
    def merge(self, other):
        return Word(f"({self}{other})")


@given(st.integers(1, 200), st.lists(st.integers(1, 199), max_size=8), st.sampled_from([1, 2, 8, 64]))
def test_any_chunking_gives_one_order(units, cuts, most):
    """Merging is written out as brackets: equal strings mean equal orders of every sum."""
    whole = Tree()
    for i in range(units):
        whole.add(i, 1, Word(f"[{i}]"))

    def part(first, count):
        tree = Tree()
        for i in range(first, first + count):
            tree.add(i, 1, Word(f"[{i}]"))
        return tree.total()

    edges = sorted({0, units, *(c for c in cuts if c < units)})
    chunked = Tree()
    for low, high in itertools.pairwise(edges):
        for first, count in nodes_of(low, high, most=most):
            assert count <= most
            chunked.add(first, count, part(first, count))
    assert chunked.total() == whole.total()


def test_a_gap_and_what_is_no_node_are_refused():
    tree = Tree()
    tree.add(0, 2, Word("a"))
    for first, count in ((3, 1), (2, 3), (1, 1)):
        with pytest.raises(ValueError, match="must be a node"):
            tree.add(first, count, Word("b"))
    with pytest.raises(ValueError, match="no units"):
        Tree().total()


def test_parts_of_a_run_merge_to_the_run_in_bits():
    n = 5 * UNIT + 100
    run = partial(ss.simulate, SAM, [1.0, 1.2], steps=4, observables=OBSERVABLES, n=n, histograms={"x": [0.5, 1.0]})
    whole, tree = run(), Tree()
    for first, count in ((0, 4), (4, 1), (5, 1)):
        stop = min((first + count) * UNIT, n)
        tree.add(first, count, run(replicates=range(first * UNIT, stop)))
    total = tree.total()
    for name, array in whole.arrays().items():
        assert np.array_equal(array, total.arrays()[name]), name
    back = ss.Moments.from_arrays(total.arrays())
    assert back.names == total.names and back.method == total.method
    assert np.array_equal(back.histograms["x"], whole.histograms["x"])


def test_parts_of_an_exit_run_add():
    run = partial(ss.first_exit, SAM, [1.0, 1.2], lambda x: x[..., 0] < 1.1, max_steps=20, n=3000)
    whole, a, b = run(), run(replicates=range(2048)), run(replicates=range(2048, 3000))
    both = ss.ExitTimes.from_arrays(a.merge(b).arrays())
    assert np.array_equal(both.counts, whole.counts)
    assert (both.censored, both.diverged, both.n) == (whole.censored, whole.diverged, 3000)
    with pytest.raises(ValueError, match="watched for the same 20 steps"):
        whole.merge(ss.first_exit(SAM, [1.0, 1.2], lambda x: x[..., 0] < 1.1, max_steps=5, n=10))


@pytest.mark.parametrize("bad", [range(0), range(10, 20), range(0, 3001), range(0, 2048, 2), range(2048, 1024)])
def test_bad_parts(bad):
    with pytest.raises(ValueError, match=r"range\(a, b\)"):
        ss.simulate(SAM, [1.0, 1.2], steps=1, observables=OBSERVABLES, n=3000, replicates=bad)


@pytest.mark.parametrize("spoil", ["mean", "count", "names"])
def test_damaged_arrays_are_refused(spoil):
    arrays = ss.simulate(SAM, [1.0, 1.2], steps=2, observables=OBSERVABLES, n=20).arrays()
    with pytest.raises(ValueError, match="must be 64-bit|64-bit"):
        ss.Moments.from_arrays({**arrays, spoil: arrays[spoil][:1] if spoil == "names" else arrays[spoil].astype("f4")})
    with pytest.raises(KeyError):
        ss.Moments.from_arrays({k: v for k, v in arrays.items() if k != spoil})
