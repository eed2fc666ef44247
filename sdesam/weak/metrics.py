"""A comparison of an optimizer with its models, and the error metric of the validation figures with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..engine.display import ends, html_table, numbers, some
from ..engine.statistics import Estimate
from ..problems.calculus import grad, norm
from ..problems.landscapes import Landscape
from ..problems.observables import Observable

__all__ = ["AGAIN", "Comparison", "gradient_and_radius", "metric", "minus", "settling"]

AGAIN = "the optimizer again"


@dataclass(frozen=True, eq=False)
class Comparison:
    """An optimizer and its models at one radius, at the saved steps.

    Attributes
    ----------
    times : model time t = k·eta
    algorithm : observable -> E phi(x_k)
    errors : model -> observable -> E phi(x_k) − E phi(X_{k eta}), signed.  ``AGAIN`` is the optimizer against a second
        run of itself on other noise: what equal laws look like
    lost : replicates with a non-finite member, at each saved step; they are in no estimate
    """

    times: np.ndarray
    algorithm: dict[str, Estimate]
    errors: dict[str, dict[str, Estimate]]
    lost: np.ndarray

    def __repr__(self) -> str:
        phi, lost = next(iter(self.algorithm)), int(self.lost.max())
        found = (f"{model} {self._shown(model, phi)}" for model in self.errors)
        lines = f"Comparison of {some(self.algorithm)} at t = {ends(self.times)}{f', {lost:,} lost' * (lost > 0)}"
        return f"{lines}\n  largest error of {phi} over its mean [95 %]: {some(found, 5)}"

    def _repr_html_(self) -> str:
        pairs = [(phi, model) for phi in self.algorithm for model in self.errors]
        rows = [(p, m, self._shown(m, p), numbers(self.errors[m][p][-1])[0]) for p, m in pairs]
        names = ("observable", "model", "largest error over mean [95 %]", "error at the end")
        return html_table(repr(self).splitlines()[0], dict(zip(names, zip(*rows, strict=True), strict=True)))

    def _shown(self, model: str, phi: str) -> str:
        with np.errstate(all="ignore"):
            return "{:.3g} [{:.3g}, {:.3g}]".format(*self.metric(model, phi))

    def metric(self, model: str, phi: str, level: float = 0.95) -> tuple[float, float, float]:
        """``metric`` of a model's error."""
        return metric(self.errors[model][phi], self.algorithm[phi], level)

    def nearer(self, first: str, second: str, phi: str, level: float = 0.95) -> bool | None:
        """Whether ``first`` is nearer to the optimizer than ``second`` by ``metric``, None within the noise."""
        (_, low, high), (_, other_low, other_high) = (self.metric(m, phi, level) for m in (first, second))
        return True if high < other_low else False if low > other_high else None

    def settling(self, first: str, second: str, phi: str, level: float = 0.95, share: float = 1.0) -> str:
        """``settling`` of two models' errors."""
        return settling(self.errors[first][phi], self.errors[second][phi], self.algorithm[phi], level, share)


def metric(error: Estimate, algorithm: Estimate, level: float = 0.95) -> tuple[float, float, float]:
    """max_k |error| over the mean of |E phi(x_k)|, k >= 1, and an interval that holds for all steps at once.

    The band of the errors is Student's with Bonferroni's level, and the denominator is taken at the ends of its own.
    The maximum of noisy numbers is biased up; the interval's lower end is not, and is 0 where noise explains all.

    Source: the quotient is Monzio Compagnoni et al. 2023 (recalled; authors' code), there without an interval.
    """
    e, s = np.abs(np.asarray(error.value))[1:], np.asarray(error.stderr)[1:]
    q = _quantile(error, level)
    mean = float(np.abs(np.asarray(algorithm.value))[1:].mean())
    spread = q * float(np.asarray(algorithm.stderr)[1:].mean())
    low, high = max(0.0, float((e - q * s).max())), float((e + q * s).max())
    return float(e.max()) / mean, low / (mean + spread), high / (mean - spread) if mean > spread else float("inf")


def _quantile(error: Estimate, level: float) -> float:
    """Student's at Bonferroni's level for the steps after the start."""
    freedom, looks = max(int(np.min(np.asarray(error.n))) - 1, 1), len(np.asarray(error.value)) - 1
    return float(stdtrit(freedom, 1 - (1 - level) / 2 / looks))


def settling(first: Estimate, second: Estimate, algorithm: Estimate, level: float, share: float = 1.0) -> str:
    """How many replicates part the intervals of two metrics, first < share·second or first > share·second, in words.

    Half-widths shrink as 1/√n, so that n·(half/gap)² replicates bring the sum of both down to the measured gap.  Where
    the gap is below twice its standard error (both added), it is taken at the upper end, and the number is a lower
    bound.  Heavy tails, which need not shrink so, are not looked at: intervals that are apart are said to be apart.
    """
    (a, _, a_high), (b, _, b_high) = (metric(e, algorithm, level) for e in (first, second))
    n, gap, half = int(np.min(np.asarray(first.n))), abs(share * b - a), a_high - a + share * (b_high - b)
    if gap >= half:
        return "the intervals are apart, more replicates would have to show lighter tails"
    noise = half / _quantile(first, level)
    needed = n * (half / (gap if gap > 2 * noise else gap + 2 * noise)) ** 2
    if not math.isfinite(needed):
        return f"no number can be told from n = {n}"
    return f"{'about' if gap > 2 * noise else 'more than'} {int(float(f'{needed:.1e}')):,} replicates would settle it"


def gradient_and_radius(f: Landscape) -> Observable:
    """phi(x) = |∇f(x)| + |x|, the statistic of the paper's validation figures (there called g1; recalled)."""
    slope = grad(f)
    return lambda x: norm(slope(x)) + norm(x)


def minus(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    heavy = np.asarray(a.heavy_tailed) | np.asarray(b.heavy_tailed)
    return Estimate(a.value - b.value, np.hypot(a.stderr, b.stderr), np.minimum(a.n, b.n), a.method, heavy)
