"""What an experiment's script says its results with: verdicts and how they are judged, estimates as arrays, parts.

``execution`` runs a script; it draws, hashes and writes, which these words need not know.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .sde import SDE
from .statistics import Estimate

__all__ = [
    "VERDICTS", "Recall", "Verdict", "directly", "flipped", "judge", "judge_order", "packed", "together", "trusted",
    "unpacked", "within", "z_score",
]  # fmt: skip

VERDICTS = ("reproduced", "qualitatively", "in part", "not reproduced", "inconclusive", "not attempted")
SIGMAS = 4.0  # with 60 rows at 95 %, three would fail by chance; at four standard errors, 0.004
Answer = bool | np.bool_
Recall = Callable[..., dict[str, np.ndarray]]


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


def flipped(model: SDE) -> SDE:
    """The model with the sign of rho turned: the planted wrong model of many criteria."""
    coefficients = model.coefficients
    return replace(model, coefficients=replace(coefficients, rho=-coefficients.rho))  # pyright: ignore


def packed(estimate: Estimate) -> np.ndarray:
    """Value, standard error and heavy-tail flag as one array (3, S), for results."""
    return np.stack([np.broadcast_to(part, np.shape(estimate.value)) for part in
                     (estimate.value, estimate.stderr, estimate.heavy_tailed)])  # fmt: skip


def unpacked(array: np.ndarray, n: int) -> Estimate:
    """The estimate that ``packed`` stored."""
    return Estimate(array[0], array[1], n, "Monte Carlo", array[2] > 0)


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


# ----------------------------------------------------------------- parts side by side
def together(recall: Recall, parts: Sequence[tuple], workers: int = 2) -> list[dict[str, np.ndarray]]:
    """``[recall(*part) for part in parts]``, for experiments of many long parts: in forked processes on Linux.

    Nothing is pickled but indices and arrays.  Other systems cannot fork, or not beside the threads of their libraries:
    there one part follows the other.
    """
    if sys.platform != "linux":
        return [recall(*part) for part in parts]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, initializer=_inherit, initargs=(recall, parts)) as pool:
        return list(pool.map(_part, range(len(parts))))


_inherited: tuple[Recall, Sequence[tuple]] | None = None  # of a forked worker


def _inherit(recall: Recall, parts: Sequence[tuple]) -> None:
    global _inherited
    _inherited = recall, parts


def _part(i: int) -> dict[str, np.ndarray]:
    assert _inherited is not None, "only a worker computes parts"
    recall, parts = _inherited
    return recall(*parts[i])


def directly(compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
    """A recall that remembers nothing."""
    return {name: np.asarray(value) for name, value in compute(*arguments).items()}
