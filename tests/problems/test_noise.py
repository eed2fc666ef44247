"""The numbers and the rules: moments of the draws, exactness of the nodes, the streams' promises."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sdesam as ss
from sdesam.engine.streams import Streams
from sdesam.problems.noise import integers, normals, uniforms

T = torch.float64
MASK = 2**32 - 1


def reference_state(seed: int, replicate: int) -> list[int]:
    """The stream's state in Python integers, written from the definition."""

    def mix(x, s1, m1, s2, m2, s3):
        x = ((x ^ (x >> s1)) * m1) % 2**64
        x = ((x ^ (x >> s2)) * m2) % 2**64
        return x ^ (x >> s3)

    def splitmix(x):
        return mix(x, 30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)

    hashed = splitmix(seed)
    a = splitmix(hashed ^ (replicate * 0x9E3779B97F4A7C15 % 2**64))
    second = 0xD1B54A32D192ED03
    b = mix((hashed + second + replicate * second) % 2**64, 33, 0xFF51AFD7ED558CCD, 29, 0xC4CEB9FE1A85EC53, 32)
    return [a & MASK, a >> 32, b & MASK, b >> 32]


def reference_next(s: list[int]) -> int:
    """xoshiro128++ as published."""

    def rotl(x, k):
        return ((x << k) | (x >> (32 - k))) & MASK

    out = (rotl((s[0] + s[3]) & MASK, 7) + s[0]) & MASK
    t = (s[1] << 9) & MASK
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotl(s[3], 11)
    return out


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_streams_are_xoshiro128pp_of_seed_and_replicate(seed, replicate):
    state = reference_state(seed, replicate)
    expected = [reference_next(state) for _ in range(5)]
    assert Streams(seed=seed, first=replicate, count=3).bits(5)[:, 0].tolist() == expected


def test_a_replicate_does_not_depend_on_its_neighbours():
    few, many = (Streams(seed=3, first=0, count=n).bits(7) for n in (1000, 5000))
    late = Streams(seed=3, first=900, count=50).bits(7)
    assert np.array_equal(few, many[:, :1000])
    assert np.array_equal(late, many[:, 900:950])
    assert not np.array_equal(few, Streams(seed=4, first=0, count=1000).bits(7))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a"])
def test_bad_seeds(seed):
    with pytest.raises((ValueError, TypeError), match="seed"):
        Streams(seed=seed, first=0, count=1)


def drawn(noise, n=200_000, seed=0, dtype=T):
    return noise.draw(Streams(seed=seed, first=0, count=n).bits, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, T])
def test_normals_have_the_moments_of_normals(dtype):
    z = torch.cat([drawn(ss.Normal(3), dtype=dtype, seed=s) for s in range(3)]).double()
    n = len(z)
    for power, mean, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert float(((z**power).mean(0) - mean).abs().max()) < 4.5 * spread / n**0.5
    correlation = torch.corrcoef(z.T) - torch.eye(3, dtype=T)
    assert float(correlation.abs().max()) < 4.5 / n**0.5
    step = torch.cat([drawn(ss.Normal(1), n=1), drawn(ss.Normal(1), n=1, seed=1)])
    assert float(step[0, 0]) != float(step[1, 0])


def test_consecutive_draws_of_a_stream_are_uncorrelated():
    bits = Streams(seed=0, first=0, count=100_000).bits
    a, b = (normals(bits, 1, T)[:, 0] for _ in range(2))
    assert abs(float((a * b).mean())) < 4.5 / 100_000**0.5


def test_uniforms_are_open_at_both_ends():
    def extremes(k):
        return np.repeat(np.array([[0, 2**32 - 1]], np.uint32), k, axis=0)

    for dtype in (torch.float32, T):
        u = uniforms(extremes, 1, dtype)
        assert float(u.min()) > 0
        assert torch.isfinite(normals(extremes, 2, dtype)).all()
    assert float(uniforms(extremes, 1, T).max()) < 1


def test_integers_cover_their_range_evenly():
    counts = torch.bincount(integers(Streams(seed=1, first=0, count=120_000).bits, [6])[:, 0], minlength=6)
    assert len(counts) == 6
    assert float(((counts - 20_000) ** 2 / 20_000).sum()) < 25.7  # chi² with 5 degrees, 99.99 %


@pytest.mark.parametrize("noise", [ss.TwoPoint(2), ss.ThreePoint(2)])
def test_point_noises_match_normal_moments(noise):
    z, w = noise.nodes()
    degrees = (1, 2, 3) if isinstance(noise, ss.TwoPoint) else (1, 2, 3, 4, 5)
    for power in degrees:
        expected = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0}[power]
        torch.testing.assert_close((w[:, None] * z**power).sum(0), torch.full((2,), float(expected), dtype=T))
    sample = drawn(noise)
    assert set(sample.flatten().tolist()) == set(z.flatten().tolist())
    assert float((sample**2).mean() - 1) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("N", "B"), [(6, 3), (5, 5), (4, 1)])
def test_choice_without_replacement_is_uniform_over_batches(N, B):
    noise = ss.Choice(N, B)
    nodes, weights = noise.nodes()
    assert float(weights.sum()) == pytest.approx(1)
    found, counts = torch.unique(drawn(noise, n=60_000), dim=0, return_counts=True)
    assert torch.equal(found, nodes)
    expected = 60_000 / len(nodes)
    assert float(((counts - expected) ** 2 / expected).sum()) < len(nodes) - 1 + 6 * (2 * len(nodes)) ** 0.5


def test_weighted_choice():
    noise = ss.Choice(3, 2, p=(0.5, 0.3, 0.2), replace=True)
    z, w = noise.nodes()
    assert len(z) == 9
    assert float(w.sum()) == pytest.approx(1)
    share = torch.bincount(drawn(noise).flatten(), minlength=3) / 400_000
    torch.testing.assert_close(share.double(), torch.tensor([0.5, 0.3, 0.2], dtype=T), rtol=0, atol=0.004)


def test_product_noise():
    noise = ss.Product(ss.Normal(1), ss.TwoPoint(2))
    z, w = noise.nodes(3)
    assert (z[0].shape, z[1].shape, w.shape) == ((12, 1), (12, 2), (12,))
    assert float((w * z[0][:, 0] ** 2 * z[1][:, 0] ** 2).sum()) == pytest.approx(1)
    a, b = drawn(noise, n=10)
    assert (a.shape, b.shape) == ((10, 1), (10, 2))


@pytest.mark.parametrize("dtype", [torch.float32, T])
@pytest.mark.parametrize("shape", [(0,), (0, 2), (3, 0)])
@pytest.mark.parametrize("kind", [ss.Normal, ss.TwoPoint, ss.ThreePoint])
def test_noises_of_nothing(kind, shape, dtype):
    """A draw has no numbers and reads no bits; the rule is one node of weight 1."""
    noise, streams = kind(*shape), Streams(seed=1, first=0, count=5)
    assert noise.draw(streams.bits, dtype).shape == (5, *shape)
    assert np.array_equal(streams.bits(1), Streams(seed=1, first=0, count=5).bits(1))
    assert [tuple(t.shape) for t in noise.nodes(3)] == [(1, 0), (1,)]
    assert noise.nodes(3)[1].dtype == T
    assert noise.sampled(4, 0).z.shape == (4, *shape)
    beside = ss.Product(noise, ss.TwoPoint(1))
    assert [tuple(t.shape) for t in beside.draw(streams.bits, dtype)] == [(5, *shape), (5, 1)]
    assert beside.nodes(3)[1].tolist() == [0.5, 0.5]


def test_a_product_within_a_product_has_its_nodes():
    (inner, last), w = ss.Product(ss.Product(ss.TwoPoint(1), ss.Normal(0)), ss.ThreePoint(1)).nodes(3)
    assert float((w * inner[0][:, 0] ** 2 * last[:, 0] ** 4).sum()) == pytest.approx(3)
    assert inner[1].shape == (6, 0)


def test_hermite_rule_is_exact_for_polynomials():
    z, w = ss.Normal(2).nodes(4)
    assert float((w * z[:, 0] ** 6 * z[:, 1] ** 2).sum()) == pytest.approx(15)
    assert ss.Normal(0).nodes(5)[1].tolist() == [1.0]


@pytest.mark.parametrize("pole", [[0.0], [0.7], [-5.0], [12.0]])
def test_split_rule_integrates_a_kink(pole):
    from scipy.special import erf

    p = torch.tensor(pole, dtype=T)
    z, w = ss.Normal(1).nodes(32, p)
    assert float(w.sum()) == pytest.approx(1, abs=1e-13)
    assert float((w * torch.sign(z[:, 0] - p)).sum()) == pytest.approx(-erf(pole[0] / 2**0.5), abs=1e-13)


def test_polar_rule_is_batched_over_poles():
    p = torch.tensor([[0.0, 0.0], [1.0, -2.0], [15.0, 0.0]], dtype=T)
    z, w = ss.Normal(2).nodes(32, p)
    assert z.shape == (3, 4096, 2)
    torch.testing.assert_close(w.sum(-1), torch.ones(3, dtype=T), rtol=0, atol=1e-12)
    torch.testing.assert_close((w * z[..., 0] ** 2).sum(-1), torch.ones(3, dtype=T), rtol=0, atol=1e-11)


def test_too_many_nodes_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"sampled\(n, seed\)"):
        ss.Normal(5).nodes(10)
    with pytest.raises(ValueError, match=r"sampled\(n, seed\)"):
        ss.Choice(100, 10).nodes()
    with pytest.raises(ValueError, match="m = 1 and 2"):
        ss.Normal(3).nodes(4, torch.zeros(3, dtype=T))
    z, w = ss.Normal(5).sampled(2048, seed=1)
    assert z.shape == (2048, 5)
    assert float((w[:, None] * z).sum(0).abs().max()) < 4.5 / 2048**0.5
    assert torch.equal(z, ss.Normal(5).sampled(2048, seed=1)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ss.Normal(-1), "shape must be >= 0"),
        (lambda: ss.Normal(2, private=3), "private must be <= 2"),
        (lambda: ss.Choice(3, 4), "B must be <= N"),
        (lambda: ss.Choice(3, 2, p=(0.5, 0.5, 0.5), replace=True), "summing to 1"),
        (lambda: ss.Choice(3, 2, p=(0.5, 0.3, 0.2)), "replace=True"),
        (lambda: ss.Choice(0, 1), "N must be >= 1"),
        (lambda: ss.Choice(2, 0), "B must be >= 1"),
        (lambda: ss.Product(), "at least one noise"),
    ],
)
def test_bad_noises(make, message):
    with pytest.raises(ValueError, match=message):
        make()
