"""The randomness a step eats, declared as data: how to draw it from raw bits, and a quadrature of its law.

A kernel never draws.  It says *which* noise it needs; the engine supplies the bits, replicate by replicate,
which buys common random numbers, replay and deterministic quadrature.  ``bits(k)`` returns ``k`` rows of
independent uint32 numbers, one column a replicate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_count, require_seed, set_fields
from .quadrature import hermite, polar_about, split_at, tensor_rule

__all__ = ["Bits", "Choice", "Noise", "Normal", "Product", "Sample", "ThreePoint", "TwoPoint"]

Bits = Callable[[int], np.ndarray]
MOST_NODES = 10_000


# ----------------------------------------------------------------- numbers from bits
def uniforms(bits: Bits, count: int, dtype: torch.dtype) -> Tensor:
    """Uniforms on (0, 1), shape (count, n): 52 random bits for float64, 31 for float32, never 0."""
    if dtype == torch.float64:
        raw = bits(2 * count)
        high, low = raw[0::2], raw[1::2]
        mantissa = (high.astype(np.uint64) << np.uint64(20)) | (low >> np.uint32(12))
        return torch.from_numpy(mantissa.astype(np.float64) * 2.0**-52 + 2.0**-53)  # odd multiples of 2^-53
    u = (bits(count) >> np.uint32(1)).astype(np.float32)
    return torch.from_numpy(u * np.float32(2.0**-31) + np.float32(2.0**-32))


def normals(bits: Bits, count: int, dtype: torch.dtype) -> Tensor:
    """Standard normals, shape (n, count), by Box-Muller; an odd count drops the last of its pairs.

    The tails end at 8.6 (float64) and 6.7 (float32).
    """
    pairs = (count + 1) // 2
    u = uniforms(bits, 2 * pairs, dtype)
    radius, angle = torch.sqrt(-2 * torch.log(u[0::2])), 2 * math.pi * u[1::2]
    z = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=1)
    return z.flatten(0, 1)[:count].T.contiguous()


def integers(bits: Bits, bounds: Sequence[int]) -> Tensor:
    """Uniform integers, column j in [0, bounds[j]), shape (n, len(bounds)), by multiply and shift.

    The bias is at most bound/2^32 per value.
    """
    scaled = bits(len(bounds)).astype(np.uint64) * np.asarray(bounds, np.uint64)[:, None]
    return torch.from_numpy((scaled >> np.uint64(32)).astype(np.int64).T.copy())


# ----------------------------------------------------------------- the noises
class Sample(NamedTuple):
    """A fixed random rule: nodes z and equal weights w, drawn from the law of a noise."""

    z: Any
    w: Tensor


def _require_affordable(count: int, what: str, fewer: str = "lower the order") -> None:
    if count > MOST_NODES:
        size = str(count) if count < 1e12 else f"about 10^{math.log10(count):.0f}"
        raise ValueError(
            f"nodes of {what} would be {size} points, more than {MOST_NODES}: {fewer}, or pass "
            "nodes=noise.sampled(n, seed), a fixed random rule whose error sampling_error reports."
        )


def _sample(draw: Callable[[Bits, torch.dtype], Any], n: int, seed: int) -> Sample:
    n = require_count("n", n, least=2, why="a random rule needs points")
    generator = np.random.default_rng(require_seed(seed))
    z = draw(lambda k: generator.integers(0, 2**32, size=(k, n), dtype=np.uint32), torch.float64)
    return Sample(z, torch.full((n,), 1 / n, dtype=torch.float64))


class _Sampled:
    """Noises that can be replaced by a fixed random rule."""

    def draw(self, bits: Bits, dtype: torch.dtype) -> Tensor:
        """One draw per replicate."""
        raise TypeError(f"{type(self).__name__} does not say how to draw")

    def sampled(self, n: int, seed: int) -> Sample:
        """A fixed random rule of n equal weights; its error is that of a mean of n draws."""
        return _sample(self.draw, n, seed)


@dataclass(frozen=True, init=False)
class Normal(_Sampled):
    """Independent standard normals of the given shape; ``Normal(0)`` is the noise of a deterministic method.

    ``private`` of them, the last ones, belong to this kernel alone: ``coupled`` shares the others only.

    >>> Normal(2).nodes(3)[1].sum().item()
    1.0
    """

    shape: tuple[int, ...]
    private: int = field(default=0)

    def __init__(self, *shape: int, private: int = 0) -> None:
        _set_shape(self, shape)
        private = require_count("private", private, least=0, why="it counts components no partner shares")
        if private > self.size:
            raise ValueError(f"private must be <= {self.size}, the number of normals, got {private}.")
        object.__setattr__(self, "private", private)

    @property
    def size(self) -> int:
        """Number of normals a step."""
        return math.prod(self.shape)

    def draw(self, bits: Bits, dtype: torch.dtype) -> Tensor:
        """(n, *shape) normals, in Box-Muller pairs."""
        z = normals(bits, self.size, dtype)
        return z.reshape(len(z), *self.shape)

    def nodes(self, order: int, pole: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quadrature nodes (Q, m) and weights (Q,) of the law.

        Without a pole, tensor Gauss-Hermite.  A ``pole (..., m)`` is the z at which an oracle vanishes: there
        SAM's direction is not smooth and Gauss-Hermite fails, so the rule is split (m = 1) or polar (m = 2)
        about it, with batched nodes (..., Q, m) and weights (..., Q).

        Raises
        ------
        ValueError
            For more than 10,000 nodes, and for a pole when m > 2.
        """
        order = require_count("order", order, least=1, why="it is the number of quadrature nodes per dimension")
        m = self.size
        if m == 0:
            return torch.empty(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        if pole is None:
            _require_affordable(order**m, f"Normal({m}) at order {order}")
            return hermite(order, m)
        if m > 2:
            raise ValueError(
                f"a rule about a pole exists for m = 1 and 2, got m = {m}: use sampled(n, seed), or "
                "nodes(order) without the pole if the update is smooth in z (SGD, USAM, DNSAM are; SAM is not)."
            )
        _require_affordable(4 * order if m == 1 else 4 * order**2, f"Normal({m}) about a pole")
        return split_at(pole, order) if m == 1 else polar_about(pole, order)


@dataclass(frozen=True, init=False)
class _TwoOrThreePoint(_Sampled):
    shape: tuple[int, ...]

    def __init__(self, *shape: int) -> None:
        _set_shape(self, shape)

    @property
    def size(self) -> int:
        """Number of components a step."""
        return math.prod(self.shape)

    def _atoms(self) -> tuple[list[float], list[float]]:
        raise TypeError(f"{type(self).__name__} does not say what its values are")

    def nodes(self, order: int = 0, pole: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All values and their probabilities; ``order`` and ``pole`` are not needed."""
        values, p = self._atoms()
        _require_affordable(len(values) ** self.size, f"{type(self).__name__}({self.size})")
        return tensor_rule(np.array(values), np.array(p), self.size)


class TwoPoint(_TwoOrThreePoint):
    """±1 with probability 1/2 each: matches a normal's first three moments (weak order 1)."""

    def _atoms(self) -> tuple[list[float], list[float]]:
        return [-1.0, 1.0], [0.5, 0.5]

    def draw(self, bits: Bits, dtype: torch.dtype) -> Tensor:
        """(n, *shape) signs, one bit of 32 each."""
        k = integers(bits, [2] * self.size)
        return (2 * k - 1).to(dtype).reshape(len(k), *self.shape)


class ThreePoint(_TwoOrThreePoint):
    """±√3 with probability 1/6 each, else 0: matches a normal's first five moments (weak order 2)."""

    def _atoms(self) -> tuple[list[float], list[float]]:
        return [-math.sqrt(3), 0.0, math.sqrt(3)], [1 / 6, 2 / 3, 1 / 6]

    def draw(self, bits: Bits, dtype: torch.dtype) -> Tensor:
        """(n, *shape) values."""
        k = integers(bits, [6] * self.size)
        return (((k == 5).to(dtype) - (k == 0).to(dtype)) * math.sqrt(3)).reshape(len(k), *self.shape)


@dataclass(frozen=True)
class Choice(_Sampled):
    """B indices out of N: the minibatch of one step, with or without replacement, uniform or with weights p.

    Raises
    ------
    ValueError
        When B > N without replacement, when p is not a probability vector of length N, or when weights are
        asked for without replacement (the inclusion probabilities would not be p).
    """

    N: int
    B: int
    p: tuple[float, ...] | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        set_fields(
            self,
            N=require_count("N", self.N, least=1, why="it is the number of data"),
            B=require_count("B", self.B, least=1, why="it is the minibatch size"),
            replace=bool(self.replace),
        )
        if not self.replace and self.B > self.N:
            raise ValueError(f"B must be <= N = {self.N} without replacement, got {self.B}.")
        if self.p is None:
            return
        object.__setattr__(self, "p", tuple(float(q) for q in self.p))
        total = math.fsum(self.p)
        if not (len(self.p) == self.N and all(q >= 0 for q in self.p) and abs(total - 1) <= 1e-12):
            raise ValueError(
                f"p must be {self.N} probabilities summing to 1 within 1e-12 (normalise in float64), got "
                f"{len(self.p)} numbers summing to {total!r}."
            )
        if not self.replace and self.B > 1:
            raise ValueError("p needs replace=True: drawn without replacement, inclusion is not ruled by p.")

    def draw(self, bits: Bits, dtype: torch.dtype) -> Tensor:
        """(n, B) int64 indices; without replacement they are sorted."""
        if self.p is not None:
            edges = torch.tensor(self.p, dtype=torch.float64).cumsum(0)[:-1]
            return torch.searchsorted(edges, uniforms(bits, self.B, torch.float64).T.contiguous(), right=True)
        if self.replace:
            return integers(bits, [self.N] * self.B)
        picks = integers(bits, [self.N - k for k in range(self.B)])
        chosen = picks[:, :1]
        for k in range(1, self.B):  # the pick counts the values not chosen yet; the j-th chosen has c_j − j below it
            pick, place = picks[:, k : k + 1], torch.arange(k + 1)
            below = (chosen - place[:k] <= pick).sum(1, keepdim=True)
            shifted = chosen.gather(1, (place - (place > below).long()).clamp(max=k - 1))
            chosen = torch.where(place == below, pick + below, shifted)
        return chosen

    def nodes(self, order: int = 0, pole: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All batches and their probabilities; ``order`` and ``pole`` are not needed."""
        count = self.N**self.B if self.replace else math.comb(self.N, self.B)
        _require_affordable(count, f"Choice({self.N}, {self.B})", "take a smaller batch")
        indices = range(self.N)
        batches = itertools.product(indices, repeat=self.B) if self.replace else itertools.combinations(indices, self.B)
        z = torch.tensor(list(batches), dtype=torch.int64)
        if self.p is None:
            return z, torch.full((count,), 1 / count, dtype=torch.float64)
        return z, torch.tensor(self.p, dtype=torch.float64)[z].prod(-1)


@dataclass(frozen=True, init=False)
class Product:
    """Independent noises side by side; z is the tuple of their draws.

    Raises
    ------
    ValueError
        Without a factor: ``Normal(0)`` is the noise of a deterministic method.
    """

    factors: tuple[Noise, ...]

    def __init__(self, *factors: Noise) -> None:
        if not factors:
            raise ValueError("factors must hold at least one noise, got none: a deterministic method has Normal(0).")
        object.__setattr__(self, "factors", factors)

    def draw(self, bits: Bits, dtype: torch.dtype) -> tuple:
        """One draw of each factor."""
        return tuple(f.draw(bits, dtype) for f in self.factors)

    def sampled(self, n: int, seed: int) -> Sample:
        """A fixed random rule of n equal weights."""
        return _sample(self.draw, n, seed)

    def nodes(self, order: int, pole: Tensor | None = None) -> tuple[tuple, Tensor]:
        """The tensor product of the factors' rules."""
        rules = [f.nodes(order) for f in self.factors]
        _require_affordable(math.prod(len(w) for _, w in rules), "Product")
        index = torch.cartesian_prod(*(torch.arange(len(w)) for _, w in rules)).reshape(-1, len(rules))
        z = tuple(_picked(points, index[:, i]) for i, (points, _) in enumerate(rules))
        weights = torch.stack([w[index[:, i]] for i, (_, w) in enumerate(rules)]).prod(0)
        return z, weights


def _picked(points: Any, index: Tensor) -> Any:
    """Some nodes of a rule; those of a product are a tuple."""
    return tuple(_picked(p, index) for p in points) if isinstance(points, tuple) else points[index]


Noise = Normal | TwoPoint | ThreePoint | Choice | Product


def _set_shape(noise: object, shape: tuple[int, ...]) -> None:
    why = "it counts the random numbers of one step"
    set_fields(noise, shape=tuple(require_count("shape", length, least=0, why=why) for length in shape))
