"""A list evaluated together with a bound of what rounding may change: running error analysis (Higham 2002, 3.3).

Beside its value v every node carries e, so that arithmetic of unit roundoff u, in whatever order sums and products
are taken, gives a number within e of v, to first order in u; and m >= |v|, what the sizes of all terms of a sum add up
to, since any order's partial sums are below it.  A comparison whose sides are closer than their bounds may go either
way: its e is infinite, and so is that of what depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .programs import COMPARISONS, Program

__all__ = ["Rounded", "evaluate_rounded"]

_UNITS = 4.0  # roundings of one operation: own functions are within 1.5 units in the last place, quotients within 2
_FUNCTIONS: dict[str, Callable] = {
    name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "sqrt")
}


@dataclass(frozen=True, eq=False)
class Rounded:
    """Values, their bounds, and the sizes of their terms; truth values have a bound of 0 or infinity."""

    v: np.ndarray
    e: np.ndarray
    m: np.ndarray

    @classmethod
    def of(cls, v: np.ndarray, e: float = 0.0) -> Rounded:
        """Numbers with one bound."""
        return cls(v, np.full(np.shape(v), e), np.abs(v) if v.dtype != bool else np.ones(np.shape(v)))


def evaluate_rounded(program: Program, inputs: Sequence[Rounded], dtype: np.dtype) -> list[Rounded]:
    """Outputs of a list in float64, with bounds for arithmetic in ``dtype`` on constants rounded to it."""
    u, tiny = _UNITS * float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).tiny)
    constants, tables = program.constants, [np.array(t).astype(dtype).astype(float) for t in program.tables]
    values: list[Rounded] = []
    with np.errstate(all="ignore"):
        for op, args in program.nodes:
            if op == "input":
                values.append(inputs[args[0]])
            elif op == "literal":
                values.append(Rounded.of(np.array([args[0]])))
            elif op == "constant":
                values.append(Rounded.of(np.array([dtype.type(constants[args[0]])], float)))
            elif op == "table":
                values.append(Rounded.of(tables[args[1]][values[args[0]].v]))
            else:
                values.append(_operation(op, [values[a] for a in args], u, tiny))
    return [values[o] for o in program.outputs]


def _operation(op: str, args: list[Rounded], u: float, tiny: float) -> Rounded:
    """One node, with its own roundings added where it has any."""
    if op in ("and", "or", "not", "where", "neg", "abs") or op in COMPARISONS:
        return _exact(op, args)
    v, e, m = _ARITHMETIC[op](*args) if op in _ARITHMETIC else _function(op, args[0])
    return Rounded(v, np.nan_to_num(e + u * m + tiny, nan=np.inf, posinf=np.inf), m)  # 0 times no bound is no bound


def _exact(op: str, args: list[Rounded]) -> Rounded:
    """What rounds nothing."""
    a, *rest = args
    if op in COMPARISONS:
        b = rest[0]
        v, e = COMPARISONS[op](a.v, b.v), a.e + b.e
        return Rounded(v, np.where((e > 0) & ~(np.abs(a.v - b.v) > e), np.inf, 0.0), np.ones(np.shape(v)))
    if op == "where":
        b, c = rest
        e = np.where(a.e > 0, np.inf, np.where(a.v, b.e, c.e))
        return Rounded(np.where(a.v, b.v, c.v), e, np.where(a.v, b.m, c.m))
    if op in ("neg", "abs"):
        return Rounded(-a.v if op == "neg" else np.abs(a.v), a.e, a.m)
    if op == "not":
        return Rounded(~a.v, a.e, a.m)
    join = np.logical_and if op == "and" else np.logical_or
    return Rounded(join(a.v, rest[0].v), np.maximum(a.e, rest[0].e), np.maximum(a.m, rest[0].m))


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _add(a: Rounded, b: Rounded) -> Parts:
    return a.v + b.v, a.e + b.e, a.m + b.m


def _subtract(a: Rounded, b: Rounded) -> Parts:
    return a.v - b.v, a.e + b.e, a.m + b.m


def _multiply(a: Rounded, b: Rounded) -> Parts:
    return a.v * b.v, np.abs(a.v) * b.e + np.abs(b.v) * a.e + a.e * b.e, a.m * b.m


def _divide(a: Rounded, b: Rounded) -> Parts:
    v, least = a.v / b.v, np.abs(b.v) - b.e
    return v, np.where(least > 0, (a.e + np.abs(v) * b.e) / least, np.inf), a.m / np.abs(b.v)


_ARITHMETIC: dict[str, Callable[..., Parts]] = {"add": _add, "sub": _subtract, "mul": _multiply, "div": _divide}


def _function(op: str, a: Rounded) -> Parts:
    """|f(a') − f(a)| for |a' − a| <= e."""
    v = _FUNCTIONS[op](a.v)
    if op in ("exp", "expm1"):
        e = np.exp(a.v) * np.expm1(a.e)
    elif op in ("log", "log1p"):
        least = a.v - a.e + (op == "log1p")
        e = np.where(a.e == 0, 0.0, np.where(least > 0, a.e / least, np.inf))
    elif op == "sqrt":
        e = np.where(a.e == 0, 0.0, np.where(a.v >= a.e, a.e / v, np.inf))
    else:  # tanh, sin, cos: slopes of at most 1
        e = a.e
    return v, e, np.abs(v)
