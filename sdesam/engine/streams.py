"""What the random numbers are: one xoshiro128++ stream per replicate.

Replicate i of a run with seed s reads its own stream (s, i), whose 128-bit state comes from two different
64-bit hashes of (s, i).  The first hash is a bijection of i, so no two replicates of a run share a state.
Results therefore depend on (seed, replicate) only: not on the number of replicates, the chunking, the
device or what else the process has drawn.

Generator: D. Blackman and S. Vigna, "Scrambled linear pseudorandom number generators" (2021).  The mixers
are the finalisers of SplitMix64 and of D. Stafford's variant 13.
"""

from __future__ import annotations

import numpy as np

from ..arguments import require_seed

__all__ = ["Streams", "derived", "seed_hash"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_SECOND = np.uint64(0xD1B54A32D192ED03)  # an odd constant unrelated to the first
_SPLITMIX = (30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)  # shift, factor, shift, factor, shift
_STAFFORD = (33, 0xFF51AFD7ED558CCD, 29, 0xC4CEB9FE1A85EC53, 32)
_MASK = 2**64 - 1
_OFFSET, _PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a of 64 bits


class Streams:
    """The streams of replicates ``first .. first + count − 1`` under ``seed``.

    >>> Streams(seed=0, first=0, count=2).bits(1).shape
    (1, 2)
    """

    def __init__(self, *, seed: int, first: int, count: int) -> None:
        replicate = np.arange(first, first + count, dtype=np.uint64)
        hashed = np.array([seed_hash(seed)], dtype=np.uint64)
        with np.errstate(over="ignore"):
            a = _splitmix(hashed ^ (replicate * _GOLDEN))
            b = _stafford(hashed + _SECOND + replicate * _SECOND)
        halves = (a, a >> np.uint64(32), b, b >> np.uint64(32))
        self._state = [half.astype(np.uint32) for half in halves]
        self._scratch = np.empty(count, np.uint32)

    def state(self) -> np.ndarray:
        """The 128-bit states as four rows of uint32, shape (4, count)."""
        return np.stack(self._state)

    def bits(self, k: int) -> np.ndarray:
        """The next k outputs of every stream, shape (k, count)."""
        out = np.empty((k, len(self._scratch)), np.uint32)
        for row in out:
            _next(self._state, row, self._scratch)
        return out


def seed_hash(seed: int) -> int:
    """What all streams of a seed start from; raises ``ValueError`` or ``TypeError`` for what is no seed."""
    return int(_splitmix(np.array([require_seed(seed)], dtype=np.uint64))[0])


def derived(seed: int, *tags: str | int) -> int:
    """The seed of one part of a command, below 2^64: two parts of any two runs share no stream.

    h = s, then for each tag (its decimal digits, for a number) h = stafford(splitmix(h) ^ fnv(tag)), where fnv is
    the FNV-1a hash of the tag's UTF-8.  For given tags it is a bijection of the seed, so runs with different seeds
    never meet in one part; that two parts meet, as seed + 1 and the next run's seed do, has probability 2^-64 a pair.
    Integers only, so the same on every machine, and in the explorer's page.

    >>> derived(0, "SDE")
    9849030997851466272
    >>> derived(7) == 7
    True

    Raises
    ------
    ValueError, TypeError
        For what is no seed.
    """
    found = require_seed(seed)
    for tag in tags:
        found = _mix_of(_mix_of(found, *_SPLITMIX) ^ _fnv(str(tag)), *_STAFFORD)
    return found


def _fnv(tag: str) -> int:
    found = _OFFSET
    for byte in tag.encode():
        found = ((found ^ byte) * _PRIME) & _MASK
    return found


def _next(state: list[np.ndarray], out: np.ndarray, t: np.ndarray) -> None:
    """One xoshiro128++ step in place: out = rotl(a + d, 7) + a, then the linear update."""
    a, b, c, d = state
    np.add(a, d, out=out)
    np.left_shift(out, 7, out=t)
    np.right_shift(out, 25, out=out)
    np.bitwise_or(out, t, out=out)
    np.add(out, a, out=out)
    np.left_shift(b, 9, out=t)
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    np.left_shift(d, 11, out=t)
    np.right_shift(d, 21, out=d)
    d |= t


def _splitmix(x: np.ndarray) -> np.ndarray:
    return _mix(x, *_SPLITMIX)


def _stafford(x: np.ndarray) -> np.ndarray:
    return _mix(x, *_STAFFORD)


def _mix_of(x: int, s1: int, m1: int, s2: int, m2: int, s3: int) -> int:
    """``_mix`` of one number."""
    x = ((x ^ (x >> s1)) * m1) & _MASK
    x = ((x ^ (x >> s2)) * m2) & _MASK
    return x ^ (x >> s3)


def _mix(x: np.ndarray, s1: int, m1: int, s2: int, m2: int, s3: int) -> np.ndarray:
    """A bijective 64-bit finaliser: two xor-shift-multiply rounds and a last xor-shift."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(s1))) * np.uint64(m1)
        x = (x ^ (x >> np.uint64(s2))) * np.uint64(m2)
    return x ^ (x >> np.uint64(s3))
