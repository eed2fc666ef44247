"""Streaming moments that merge exactly, and estimates that never travel without their error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtri, stdtrit

from .display import about_ten, ends, html_table, numbers, some

__all__ = ["Estimate", "Moments", "fraction", "wilson"]

_ARRAYS = ("steps", "count", "nonfinite", "mean", "comoment", "m3", "m4", "low", "high")
_NAMED = ("histogram ", "edges ")
_COLUMNS = 8  # observables of a table in a notebook
HEAVY_SHARE = 0.05  # one replicate carrying more of the variance than this makes a mean undecidable
_CHANCE = 3.0  # the largest of n squared Gaussians, centred and squared, carries about 2 (ln n)²/n; half as much again
_ALWAYS_HEAVY = 0.5


def heavy_share(n: np.ndarray | int) -> np.ndarray:
    """The share of a variance that flags a heavy tail: 5 %, and with few replicates 3 (ln n)²/n, at most a half.

    The largest of n light-tailed values carries that much by chance: of squares of Gaussians about 2 (ln n)²/n, which
    is below 5 % from n = 2,500 on.

    >>> [round(float(s), 3) for s in heavy_share(np.array([16, 256, 1024, 100_000]))]
    [0.5, 0.36, 0.141, 0.05]
    """
    count = np.maximum(np.asarray(n, float), 2.0)
    return np.clip(_CHANCE * np.log(count) ** 2 / count, HEAVY_SHARE, _ALWAYS_HEAVY)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a fraction k/n: inside [0, 1], and not a point at 0 or n.

    >>> [round(v, 5) for v in (*wilson(0, 1024), *wilson(512, 1024))]
    [0.0, 0.00374, 0.46943, 0.53057]
    """
    z = 1.959963984540054
    centre, half = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, (centre - half) / (n + z * z)), min(1.0, (centre + half) / (n + z * z))


def fraction(p: float, n: int) -> tuple[float, float]:
    """A fraction k/n and its standard error, that of (k + ½)/(n + 1): not zero where none or all of n count.

    >>> p, s = fraction(0.0, 1023)
    >>> print(p, f"{s:.1e}")
    0.0 6.9e-04
    """
    smooth = (p * n + 0.5) / (n + 1)
    return p, math.sqrt(smooth * (1 - smooth) / n)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number (or an array of them) with its standard error.

    Attributes
    ----------
    value, stderr : equal shapes
    n : replicates behind each value
    method : how it was obtained; a "deterministic" result has stderr 0 and says so, and with "quadrature" it is the
        estimated numerical error, which intervals are made of as they are
    heavy_tailed : True where one replicate carries over ``heavy_share(n)``, 5 % for large n, of the variance: the
        standard error is then not to be trusted, and no verdict may rest on the value
    """

    value: np.ndarray | float
    stderr: np.ndarray | float
    n: np.ndarray | int | np.integer
    method: str
    heavy_tailed: np.ndarray | bool | np.bool_ = False

    def interval(self, level: float = 0.95) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Two-sided confidence interval from Student's t with n − 1 degrees of freedom.

        >>> low, high = Estimate(1.0, 0.1, 1000, "Monte Carlo").interval(0.95)
        >>> print(f"{low:.3f} {high:.3f}")
        0.804 1.196
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), got {level!r}: it is a coverage probability.")
        p = (1 + level) / 2
        freedom = np.maximum(np.asarray(self.n) - 1, 1)
        exact = self.method in ("deterministic", "quadrature")
        quantile = np.where(exact, 0.0, np.where(freedom > 1e6, ndtri(p), stdtrit(freedom, p)))
        with np.errstate(invalid="ignore"):
            half = np.where(exact, 1.0, quantile) * self.stderr
        return np.asarray(self.value) - half, np.asarray(self.value) + half

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> Estimate:
        """The estimate at one (or some) of the saved steps."""
        shape = np.shape(self.value)
        value, stderr, n, heavy = (
            np.broadcast_to(part, shape)[index] for part in (self.value, self.stderr, self.n, self.heavy_tailed)
        )
        return Estimate(value, stderr, n, self.method, heavy)

    def __str__(self) -> str:
        mark = " (heavy-tailed)" if np.any(self.heavy_tailed) else ""
        if np.ndim(self.value) == 0:
            return f"{float(self.value):.6g} ± {float(self.stderr):.2g} (n = {int(self.n)}){mark}"
        return f"{np.size(self.value)} values, last {self[-1]}"

    def __repr__(self) -> str:
        shape, n, shown = np.shape(self.value), np.ravel(self.n), ends(numbers(self))
        what = f"{' x '.join(map(str, shape))} values {shown}" if shape else shown
        mark = ", heavy-tailed" if np.any(self.heavy_tailed) else ""
        return f"Estimate({what}, n = {int(n[-1]) if len(n) else 0:,}, {self.method}{mark})"


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over replicates of K observables at S saved steps; never a trajectory.

    Attributes
    ----------
    names : the observables
    steps, dt : saved steps (integers) and the model time of one step: ``times = steps * dt``
    count, nonfinite : finite and non-finite replicates per saved step, shape (S,).  A replicate with a
        non-finite position or observable is left out of all sums of that step, so that columns stay
        comparable, and counted here: in a coupled run the partners of a diverging member go with it.
    mean, low, high : (S, K);  m3, m4 : centred third and fourth power sums (S, K)
    comoment : centred cross sums Σ (a − ā)(b − b̄), shape (S, K, K)
    histograms, edges : name -> counts (S, bins + 2), the first and last below and above the bin edges
    method : "Monte Carlo" or "deterministic"
    engine : which engine ran, "eager", "fused", or "mixed" for a merge of both
    engine_note : why it was the eager one where the other was not refused; a merge keeps each reason once, a line each
    """

    names: tuple[str, ...]
    steps: np.ndarray
    dt: float
    count: np.ndarray
    nonfinite: np.ndarray
    mean: np.ndarray
    comoment: np.ndarray
    m3: np.ndarray
    m4: np.ndarray
    low: np.ndarray
    high: np.ndarray
    histograms: Mapping[str, np.ndarray] = field(default_factory=dict)
    edges: Mapping[str, np.ndarray] = field(default_factory=dict)
    method: str = "Monte Carlo"
    engine: str = "eager"
    engine_note: str = ""

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        *,
        names: tuple[str, ...],
        steps: np.ndarray,
        dt: float,
        edges: Mapping[str, np.ndarray],
        size: int | None = None,
    ) -> Moments:
        """Moments of a block of replicates ``values (S, K, n)``; the last n − size are padding, not replicates.

        Non-finite replicates are counted and left out.
        """
        n = values.shape[-1]
        finite = np.isfinite(values).all(axis=1) & (np.arange(n) < (n if size is None else size))
        count = finite.sum(axis=-1)
        kept, divisor = finite[:, None, :], np.maximum(count, 1)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # a sum that overflows shows as inf or NaN
            mean = np.where(kept, values, 0.0).sum(-1) / divisor
            mean = mean + np.where(kept, values - mean[..., None], 0.0).sum(-1) / divisor  # removes its rounding
            centred = np.where(kept, values - mean[..., None], 0.0)
            squares = centred * centred
            return cls(
                names=names,
                steps=steps,
                dt=dt,
                count=count,
                nonfinite=(n if size is None else size) - count,
                mean=mean,
                comoment=np.einsum("skn,sln->skl", centred, centred),
                m3=(squares * centred).sum(-1),
                m4=(squares * squares).sum(-1),
                low=np.where(kept, values, np.inf).min(-1),
                high=np.where(kept, values, -np.inf).max(-1),
                histograms={name: _histograms(values[:, names.index(name)], finite, e) for name, e in edges.items()},
                edges=dict(edges),
            )

    @classmethod
    def over_time(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of the same replicates at successive saved steps, joined along the first axis."""
        first = parts[0]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS}
        histograms = {name: np.concatenate([p.histograms[name] for p in parts]) for name in first.histograms}
        return replace(first, **joined, histograms=histograms)

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint groups of replicates (Chan et al. 1983; Pébay 2008).

        Raises
        ------
        ValueError
            When the two do not hold the same observables at the same saved times.
        """
        if self.names != other.names or self.dt != other.dt or not np.array_equal(self.steps, other.steps):
            raise ValueError(
                f"other must hold observables {self.names} at the same {len(self.steps)} saved steps and dt, "
                f"got {other.names} at {len(other.steps)} steps: sums of different quantities do not add."
            )
        if self.edges.keys() != other.edges.keys() or any(
            not np.array_equal(e, other.edges[name]) for name, e in self.edges.items()
        ):
            raise ValueError(
                f"other must have the same histogram edges, got {dict(other.edges)} for {dict(self.edges)}."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            return self._merged(other)

    def _merged(self, other: Moments) -> Moments:
        a, b = self.count.astype(float)[:, None], other.count.astype(float)[:, None]
        n = np.maximum(a + b, 1.0)
        delta = other.mean - self.mean
        s2, o2 = self._squares(), other._squares()
        weight = (a * b / n)[..., None]
        m3 = self.m3 + other.m3 + delta**3 * a * b * (a - b) / n**2 + 3 * delta * (a * o2 - b * s2) / n
        m4 = (
            self.m4 + other.m4 + delta**4 * a * b * (a * a - a * b + b * b) / n**3
            + 6 * delta**2 * (a * a * o2 + b * b * s2) / n**2 + 4 * delta * (a * other.m3 - b * self.m3) / n
        )  # fmt: skip
        return replace(
            self,
            count=self.count + other.count,
            nonfinite=self.nonfinite + other.nonfinite,
            mean=self.mean + delta * b / n,
            comoment=self.comoment + other.comoment + weight * delta[:, :, None] * delta[:, None, :],
            m3=m3,
            m4=m4,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            histograms={k: v + other.histograms[k] for k, v in self.histograms.items()},
            engine=self.engine if self.engine == other.engine else "mixed",
            engine_note=notes_joined(self.engine_note, other.engine_note),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        plain = {name: getattr(self, name) for name in _ARRAYS}
        texts = {"names": np.array(self.names), "method": np.array(self.method), "dt": np.array(self.dt)}
        texts |= engine_arrays(self.engine, self.engine_note)
        counts = {f"histogram {name}": h for name, h in self.histograms.items()}
        return plain | texts | counts | {f"edges {name}": e for name, e in self.edges.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Moments:
        """What ``arrays`` gave; raises ``KeyError`` or ``ValueError`` for anything else."""
        names = tuple(str(name) for name in arrays["names"])
        S, K = len(arrays["steps"]), len(names)
        shapes = dict.fromkeys(_ARRAYS, (S, K)) | dict.fromkeys(("steps", "count", "nonfinite"), (S,))
        for name, shape in (shapes | {"comoment": (S, K, K)}).items():
            kind = "i" if len(shape) == 1 else "f"
            if arrays[name].shape != shape or arrays[name].dtype.kind != kind or arrays[name].dtype.itemsize != 8:
                raise ValueError(
                    f"{name} must be 64-bit of shape {shape}, got {arrays[name].dtype}{arrays[name].shape}."
                )
        found = {kind: {k.split(" ", 1)[1]: v for k, v in arrays.items() if k.startswith(kind)} for kind in _NAMED}
        plain = {name: arrays[name] for name in _ARRAYS}
        return cls(
            names=names, dt=float(arrays["dt"]), method=str(arrays["method"]), histograms=found["histogram "],
            edges=found["edges "], engine=str(arrays.get("engine", "eager")),
            engine_note=str(arrays.get("engine_note", "")), **plain,
        )  # fmt: skip

    @property
    def times(self) -> np.ndarray:
        """Model time t = k·dt of the saved steps (k itself where dt counts steps)."""
        return self.steps * self.dt

    def estimate(self, name: str) -> Estimate:
        """E phi at every saved step, with standard error √(s²/n); infinite when n = 1, NaN when none is finite."""
        k = self._index(name)
        n, squares = self.count, self._squares()[:, k]
        mean = np.where(n > 0, self.mean[:, k], np.nan)
        if self.method == "deterministic":
            return Estimate(mean, np.where(n > 0, 0.0, np.nan), n, self.method)
        with np.errstate(over="ignore", invalid="ignore"):
            extreme = np.maximum(self.high[:, k] - mean, mean - self.low[:, k]) ** 2
            stderr = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1)), np.inf)
            light = (squares == 0) | (extreme <= heavy_share(n) * squares)
        return Estimate(mean, stderr, n, self.method, (n > 1) & ~(light & np.isfinite(squares)))

    def variance(self, name: str) -> Estimate:
        """Var phi at every saved step; its standard error √((M4/n − s⁴(n−3)/(n−1))/n)."""
        k, n = self._index(name), self.count.astype(float)
        if np.any(n < 2):
            raise ValueError(f"variance of {name!r} needs at least two finite replicates at every saved step.")
        s2 = self._squares()[:, k] / (n - 1)
        spread = np.maximum(self.m4[:, k] / n - s2**2 * (n - 3) / (n - 1), 0.0)
        return Estimate(s2, np.sqrt(spread / n), self.count, self.method, self.estimate(name).heavy_tailed)

    def covariance(self) -> np.ndarray:
        """Sample covariance of the observables at every saved step, shape (S, K, K)."""
        return self.comoment / np.maximum(self.count - 1, 1)[:, None, None]

    def __repr__(self) -> str:
        lost, last = int(self.nonfinite[-1]), [f"{k} {numbers(self.estimate(k)[-1])[0]}" for k in self.names]
        return (
            f"Moments of {some(self.names)}: n = {int(self.count[-1]):,}, {self.method}, {self.engine} engine\n"
            f"  {len(self.steps)} saved steps {ends(self.steps)}, t = {ends(self.times)}\n"
            f"  at the last: {some(last)}{f'; {lost:,} diverged' * (lost > 0)}"
        )

    def _repr_html_(self) -> str:
        at = about_ten(len(self.steps))
        shown = {name: numbers(self.estimate(name)[at]) for name in self.names[:_COLUMNS]}
        return html_table(repr(self).splitlines()[0], {"step": self.steps[at], "time": self.times[at]} | shown)

    def _squares(self) -> np.ndarray:
        return np.diagonal(self.comoment, axis1=1, axis2=2)

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise KeyError(f"no observable {name!r} was recorded; there are {', '.join(self.names)}.")
        return self.names.index(name)


def notes_joined(a: str, b: str) -> str:
    """The lines of both, each once."""
    return a if a == b else "\n".join(dict.fromkeys([*a.splitlines(), *b.splitlines()]))


def engine_arrays(engine: str, note: str) -> dict[str, np.ndarray]:
    """Which engine ran and why, for a file: nothing for what an eager run without a reason always held."""
    texts = {"engine": engine if engine != "eager" else "", "engine_note": note}
    return {name: np.array(text) for name, text in texts.items() if text}


def _histograms(values: np.ndarray, finite: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Per row, counts below the edges, in the bins [e_i, e_(i+1)), and at or above the last edge."""
    bins = [np.searchsorted(edges, row[kept], side="right") for row, kept in zip(values, finite, strict=True)]
    return np.stack([np.bincount(b, minlength=len(edges) + 1) for b in bins])
