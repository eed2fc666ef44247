"""A model made into machine code: its tables checked, its numbers rounded, its code kept in the process and tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock

import numpy as np
import torch

from ...problems.noise import Choice
from ..tracing.listings import Listing
from ..tracing.members import size_of
from ..tracing.programs import Program
from ..tracing.trace import NotTraceable
from .native import Code, compiled, machine_fuses
from .printer import module_of
from .trial import Numbers, require_agreement

__all__ = ["Fused", "numbers_at_run_time", "reciprocal", "require_tables"]


@dataclass(frozen=True, eq=False)
class Fused:
    """A compiled model with its numbers.

    Attributes
    ----------
    model : the lists
    code : machine code of its ``run``
    dtype : float64 or float32
    numbers : what the code reads at run time
    """

    model: Listing
    code: Code
    dtype: np.dtype
    numbers: Numbers

    @classmethod
    def of(cls, model: Listing, dtype: torch.dtype) -> Fused:
        """Compile, or take from the caches, the code of a model; new code is tried first.

        Raises
        ------
        NotTraceable
            When an index of the noise may lie outside of a table: the code would read what is not its own.  When the
            code does not give what its list gives.
        """
        require_tables(model)
        kind = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        bits = 8 * kind.itemsize
        key = model.structure, bits
        numbers = numbers_at_run_time(model, kind)

        def tried() -> Code:
            code = compiled(key, lambda: module_of(model, bits, fuses=machine_fuses()))
            require_agreement(model, code, numbers)
            return code

        return cls(model, _kept(key, tried), kind, numbers)


def numbers_at_run_time(model: Listing, kind: np.dtype) -> Numbers:
    """What the code reads: constants, tables and shares of all lists, in the order in which they are printed."""
    programs = [*(m.step for m in model.members), model.observe]
    shares = np.array([m.share for m in model.members], np.int64)
    with np.errstate(over="ignore"):
        return Numbers(
            np.array([c for p in programs for c in _constants(p, kind)] or [0.0]).astype(kind),
            np.array([v for p in programs for t in p.tables for v in t] or [0.0]).astype(kind),
            np.ascontiguousarray(model.clock.numpy(), kind),
            shares,
            np.sqrt(shares).astype(kind),
        )


def require_tables(model: Listing) -> None:
    """Raise ``NotTraceable`` where a table is shorter than the range of a noise's indices."""
    bounds = [f.N if isinstance(f, Choice) else 0 for f in model.noise for _ in range(size_of(f))]
    for member in model.members:
        inputs = [*(0 for _ in member.states), *(bounds[k] for k in member.noises)]
        for op, args in member.step.nodes:
            if op == "table":
                source, length = member.step.nodes[args[0]], len(member.step.tables[args[1]])
                if source[0] == "input" and inputs[source[1][0]] > length:
                    raise NotTraceable(f"one of {inputs[source[1][0]]} indices is taken of a table of {length} entries")


def _constants(program: Program, kind: np.dtype) -> list[float]:
    """The lifted constants, and then the reciprocals of those that divide."""
    pairs = [reciprocal(program.constants[k], kind) for k in program.divisors]
    return [*program.constants, *(part for pair in pairs for part in pair)]


def reciprocal(b: float, kind: np.dtype) -> tuple[float, float]:
    """1/b for the rounded b as high + low, two numbers of one sign.

    The quotient is then a high + a low with one rounding at the end: right but for one in about 2^50 of a.  Of one
    sign, so that an infinite a gives an infinity; for that high is below 1/b in size even where 1/b is exact.
    """
    exact = 1 / Fraction(float(kind.type(b)))
    high = kind.type(float(exact))
    if abs(Fraction(float(high))) >= abs(exact):
        high = np.nextafter(high, kind.type(0))
    return float(high), float(kind.type(float(exact - Fraction(float(high)))))


_MOST_KEPT = 256
_KEPT: dict[tuple, Code] = {}  # code of this process, the latest used last: a memo, it changes no result
_KEEPING = Lock()


def _kept(key: tuple, make: Callable[[], Code]) -> Code:
    with _KEEPING:
        code = _KEPT.pop(key, None)
    code = code or make()
    with _KEEPING:
        _KEPT[key] = code
        while len(_KEPT) > _MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
    return code
