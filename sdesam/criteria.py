"""Three-valued answers at four standard errors, which the criteria of several experiments share.

True: surely so.  False: surely not so.  None: the data leave it open.
"""

from __future__ import annotations

import numpy as np

from .experiments import SIGMAS

__all__ = ["above", "below", "fraction", "negated", "positive"]


def above(value: float, stderr: float, level: float) -> bool | None:
    """Whether a value lies above a level.

    >>> above(0.9, 0.01, 0.5), above(0.1, 0.01, 0.5), above(0.5, 0.01, 0.49)
    (True, False, None)
    """
    return True if value - SIGMAS * stderr > level else False if value + SIGMAS * stderr < level else None


def below(value: float, stderr: float, level: float) -> bool | None:
    """Whether a value lies below a level."""
    return negated(above(value, stderr, level))


def positive(gap: float, stderr: float) -> bool | None:
    """Whether a gap is positive, or negative, by more than four standard errors."""
    return above(gap, stderr, 0.0)


def negated(answer: bool | None) -> bool | None:
    """Not, where there is an answer."""
    return None if answer is None else not answer


def fraction(p: float, n: int) -> tuple[float, float]:
    """A fraction k/n and its standard error, that of (k + ½)/(n + 1): not zero where none or all of n count.

    >>> p, s = fraction(0.0, 1023)
    >>> print(p, f"{s:.1e}")
    0.0 6.9e-04
    """
    smooth = (p * n + 0.5) / (n + 1)
    return p, float(np.sqrt(smooth * (1 - smooth) / n))
