"""Verdicts on claims, and the criteria that they are judged with.

An answer has three values.  True: surely so, at four standard errors.  False: surely not so.  None: the data leave it
open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.statistics import Estimate

__all__ = [
    "SIGMAS", "VERDICTS", "Verdict", "above", "below", "judge", "judge_order", "negated", "positive",
    "trusted", "within", "z_score",
]  # fmt: skip

VERDICTS = ("reproduced", "qualitatively", "in part", "not reproduced", "inconclusive", "not attempted")
SIGMAS = 4.0  # with 60 rows at 95 %, three would fail by chance; at four standard errors, 0.004
Answer = bool | np.bool_


@dataclass(frozen=True)
class Verdict:
    """One claim and what a computed criterion says about it.

    Attributes
    ----------
    claim : short id, unique in the repository
    statement : the claim, in words
    source : where it stands, and whether it was read, recalled or derived
    criterion : the rule, fixed before the run
    paper_value : the paper's number, or "none given"
    observed : what was measured, with standard errors and n
    rejects : the planted wrong models and how clearly the criterion refuses each
    verdict : one of ``VERDICTS``, computed
    expected : the verdict on record; a run that differs from it fails
    """

    claim: str
    statement: str
    source: str
    criterion: str
    paper_value: str
    observed: str
    rejects: str
    verdict: str
    expected: str

    def __post_init__(self) -> None:
        for name in ("verdict", "expected"):
            if getattr(self, name) not in VERDICTS:
                raise ValueError(f"{name} must be one of {', '.join(VERDICTS)}, got {getattr(self, name)!r}.")


def judge(holds: Sequence[Answer | None], refused: Sequence[Answer], *, given: bool) -> str:
    """The verdict of named criteria, given that each planted wrong model was refused.

    A criterion holds (True), its complement is established (False), or neither (None).  All hold: "reproduced"
    where the paper gives the number, else "qualitatively".  Some hold: "in part".  All complements established:
    "not reproduced".  Anything undecided, or a wrong model that passes: "inconclusive".

    >>> judge([True, True], [True], given=False), judge([False], [True], given=True), judge([True], [False], given=True)
    ('qualitatively', 'not reproduced', 'inconclusive')
    """
    if not all(refused) or any(h is None for h in holds):
        return "inconclusive"
    if all(holds):
        return "reproduced" if given else "qualitatively"
    return "in part" if any(holds) else "not reproduced"


def judge_order(gap: float, stderr: float, refused: Sequence[Answer], *, given: bool = False) -> str:
    """The verdict of "gap > 0" at four standard errors: its complement is established, or it is inconclusive.

    >>> judge_order(1.0, 0.1, [True]), judge_order(-1.0, 0.1, [True]), judge_order(0.1, 0.1, [True])
    ('qualitatively', 'not reproduced', 'inconclusive')
    """
    if abs(gap) <= SIGMAS * stderr:
        return "inconclusive"
    return judge([gap > 0], refused, given=given)


def trusted(*estimates: Estimate) -> bool:
    """Whether no replicate carries too much of a variance: else no verdict may rest on these numbers."""
    return not any(np.any(e.heavy_tailed) for e in estimates)


def z_score(value: float, target: float, stderr: float) -> float:
    """|value − target| in standard errors; 0 for equal numbers, infinite for different exact ones."""
    if value == target:
        return 0.0
    return abs(value - target) / stderr if stderr else float("inf")


def within(value: float, target: float, stderr: float, *, sigmas: float = SIGMAS) -> bool:
    """Whether a value agrees with a target to ``sigmas`` standard errors."""
    return bool(abs(value - target) <= sigmas * stderr)


# ----------------------------------------------------------------- answers
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
