"""Rows of sums, as the compiled code writes them, as moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..statistics import Moments
from .reductions import row_length

__all__ = ["Bins", "folded", "moments_of"]

_PER_STEP = ("steps", "count", "nonfinite", "mean", "comoment", "m3", "m4", "low", "high")


def folded(level: Moments, S: int) -> Moments:
    """The merge of a node's units, level by level; a level of the tree is one merge of longer arrays."""
    while len(level.steps) > S:
        level = _half(level, S, 0).merge(_half(level, S, 1))
    return level


def moments_of(
    rows: np.ndarray, sizes: np.ndarray, names: tuple[str, ...], steps: np.ndarray, dt: float, bins: Bins
) -> Moments:
    """Rows of sums (units, S, row_length) as moments at units·S "steps"."""
    K = len(names)
    flat = rows.reshape(-1, rows.shape[-1])
    mean, m3, m4, low, high = (flat[:, 2 + i * K : 2 + (i + 1) * K] for i in range(5))
    count, last = flat[:, 0].astype(np.int64), row_length(K)
    return Moments(
        names=names, steps=steps, dt=dt, count=count, nonfinite=np.repeat(sizes, rows.shape[1]) - count, mean=mean,
        comoment=flat[:, 2 + 5 * K : last].reshape(-1, K, K), m3=m3, m4=m4, low=low, high=high,
        histograms=bins.histograms(count, flat[:, last:]), edges=bins.named,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bins:
    """Edges of histograms, column after column; those of column k are ``edges[bounds[k] : bounds[k + 1]]``."""

    named: Mapping[str, np.ndarray]
    places: Mapping[str, int]
    edges: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, ...], named: Mapping[str, np.ndarray]) -> Bins:
        """Of the observables that have a histogram."""
        columns = [np.asarray(named.get(name, ()), float) for name in names]
        bounds = np.cumsum([0, *map(len, columns)], dtype=np.int64)
        return cls(named, {name: names.index(name) for name in named}, np.concatenate(columns), bounds)

    def histograms(self, count: np.ndarray, above: np.ndarray) -> dict[str, np.ndarray]:
        """Counts below, between and above the edges, from how many values are at or above each."""
        found = {}
        for name, k in self.places.items():
            reached = above[:, self.bounds[k] : self.bounds[k + 1]].astype(np.int64)
            found[name] = -np.diff(reached, axis=1, prepend=count[:, None], append=0)
        return found


def _half(level: Moments, S: int, which: int) -> Moments:
    """Every second unit."""
    rows = np.arange(len(level.steps)).reshape(-1, S)[which::2].reshape(-1)
    histograms = {name: h[rows] for name, h in level.histograms.items()}
    return replace(level, histograms=histograms, **{name: getattr(level, name)[rows] for name in _PER_STEP})
