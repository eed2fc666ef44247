"""A comparison of an optimizer with its models, and the error metric of the validation figures with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from .calculus import grad, norm
from .landscapes import Landscape
from .observables import Observable
from .statistics import Estimate

__all__ = ["AGAIN", "Comparison", "gradient_and_radius", "metric", "minus"]

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

    def metric(self, model: str, phi: str, level: float = 0.95) -> tuple[float, float, float]:
        """``metric`` of a model's error."""
        return metric(self.errors[model][phi], self.algorithm[phi], level)

    def nearer(self, first: str, second: str, phi: str, level: float = 0.95) -> bool | None:
        """Whether ``first`` is nearer to the optimizer than ``second`` by ``metric``, None within the noise."""
        (_, low, high), (_, other_low, other_high) = (self.metric(m, phi, level) for m in (first, second))
        return True if high < other_low else False if low > other_high else None


def metric(error: Estimate, algorithm: Estimate, level: float = 0.95) -> tuple[float, float, float]:
    """max_k |error| over the mean of |E phi(x_k)|, k >= 1, and an interval that holds for all steps at once.

    The band of the errors is Student's with Bonferroni's level, and the denominator is taken at the ends of its own.
    The maximum of noisy numbers is biased up; the interval's lower end is not, and is 0 where noise explains all.

    Source: the quotient is Monzio Compagnoni et al. 2023 (recalled; authors' code), there without an interval.
    """
    e, s = np.abs(np.asarray(error.value))[1:], np.asarray(error.stderr)[1:]
    freedom = max(int(np.min(np.asarray(error.n))) - 1, 1)
    q = float(stdtrit(freedom, 1 - (1 - level) / 2 / len(e)))
    mean = float(np.abs(np.asarray(algorithm.value))[1:].mean())
    spread = q * float(np.asarray(algorithm.stderr)[1:].mean())
    low, high = max(0.0, float((e - q * s).max())), float((e + q * s).max())
    return float(e.max()) / mean, low / (mean + spread), high / (mean - spread) if mean > spread else float("inf")


def gradient_and_radius(f: Landscape) -> Observable:
    """phi(x) = |∇f(x)| + |x|, the statistic of the paper's validation figures (there called g1; recalled)."""
    slope = grad(f)
    return lambda x: norm(slope(x)) + norm(x)


def minus(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    heavy = np.asarray(a.heavy_tailed) | np.asarray(b.heavy_tailed)
    return Estimate(a.value - b.value, np.hypot(a.stderr, b.stderr), np.minimum(a.n, b.n), a.method, heavy)
