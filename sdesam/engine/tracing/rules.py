"""What the tracer knows about torch's core operations: which move data, and which act on numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from .powers import power
from .programs import COMPARISONS, TRANSCENDENTAL
from .scalars import Scalars

__all__ = ["ELEMENTWISE", "MOVES", "SHAPED", "maximum", "minimum", "number", "truth"]

Rule = Callable[..., int]


# ----------------------------------------------------------------- moving and making
_MOVING = (
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "select",
    "slice", "diagonal", "cat", "stack", "flip", "index_select", "gather", "unbind", "split", "split_with_sizes",
    "as_strided", "repeat", "index", "select_scatter", "slice_scatter", "diagonal_scatter", "index_put", "scatter",
    "tril", "triu", "unfold", "roll", "movedim", "view_as", "expand_as", "unflatten",
)  # fmt: skip
_COPYING = ("clone", "alias", "detach", "lift_fresh_copy", "lift_fresh", "contiguous")
MOVES = {**dict.fromkeys(_MOVING, True), **dict.fromkeys(_COPYING, False)}  # whether their keywords matter
SHAPED = (
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_empty_strided", "empty_strided", "sym_size", "size", "sym_numel", "numel",
)  # fmt: skip


# ----------------------------------------------------------------- number by number
def number(s: Scalars, node: int) -> int:
    """A truth value as 0 or 1."""
    return s.apply("where", node, s.constant(1.0), s.constant(0.0)) if s.kind(node) == "b" else node


def _plain(op: str) -> Rule:
    """An operation on numbers; ``alpha`` multiplies the last."""

    def rule(s: Scalars, *args: int, alpha: float | int = 1) -> int:
        nodes = [number(s, a) for a in args]
        if alpha != 1:
            nodes[-1] = s.apply("mul", s.constant(float(alpha)), nodes[-1])
        return s.apply(op, *nodes)

    return rule


def _of_numbers(rule: Rule) -> Rule:
    """A rule whose operands are numbers: truth values become 0 and 1."""
    return lambda s, *args, **words: rule(s, *(None if a is None else number(s, a) for a in args), **words)


def _not(s: Scalars, a: int) -> int:
    return s.apply("not", a)


def _logical(op: str) -> Rule:
    return lambda s, a, b: s.apply(op, truth(s, a), truth(s, b))


def truth(s: Scalars, node: int) -> int:
    """A number as whether it is not 0."""
    return node if s.kind(node) == "b" else s.apply("ne", node, s.constant(0.0))


def _where(s: Scalars, c: int, a: int, b: int) -> int:
    if s.kind(a) != s.kind(b):
        a, b = number(s, a), number(s, b)
    return s.apply("where", truth(s, c), a, b)


def _nan(s: Scalars, a: int) -> int:
    a = number(s, a)
    return s.apply("ne", a, a)


def _extreme(comparison: str, of_truths: str) -> Rule:
    """The larger or smaller of two; a NaN of either argument survives: comparisons with it are false."""

    def rule(s: Scalars, a: int, b: int) -> int:
        if s.kind(a) == s.kind(b) == "b":
            return s.apply(of_truths, a, b)
        a, b = number(s, a), number(s, b)
        return s.apply("where", s.apply("or", s.apply(comparison, a, b), _nan(s, a)), a, b)

    return rule


maximum, minimum = _extreme("gt", "or"), _extreme("lt", "and")


def _clamp(s: Scalars, a: int, low: int | None = None, high: int | None = None) -> int:
    """A NaN passes, and so does that of a bound."""
    for comparison, bound in (("lt", low), ("gt", high)):
        if bound is not None:
            beyond = s.apply("or", s.apply(comparison, a, bound), _nan(s, bound))
            a = s.apply("where", beyond, bound, a)
    return a


def _clamp_above(s: Scalars, a: int, high: int) -> int:
    return _clamp(s, a, None, high)


def _sign(s: Scalars, a: int) -> int:
    zero = s.constant(0.0)
    negative = s.apply("where", s.apply("lt", a, zero), s.constant(-1.0), zero)
    return s.apply("where", s.apply("gt", a, zero), s.constant(1.0), negative)


def _sinh(s: Scalars, a: int) -> int:
    """2 sinh(a/2) cosh(a/2), which overflows where sinh a does: (p − q)(1 + (p + q)/2), p, q = e^±(a/2) − 1."""
    half = s.apply("mul", s.constant(0.5), a)
    p, q = s.apply("expm1", half), s.apply("expm1", s.apply("neg", half))
    cosh = s.apply("add", s.constant(1.0), s.apply("mul", s.constant(0.5), s.apply("add", p, q)))
    return s.apply("mul", s.apply("sub", p, q), cosh)


def _cosh(s: Scalars, a: int) -> int:
    """(h/2) h + (1/h/2)/h, h = e^(a/2), which overflows where cosh a does."""
    half = s.constant(0.5)
    h = s.apply("exp", s.apply("mul", half, a))
    r = s.apply("div", s.constant(1.0), h)
    up, down = (s.apply("mul", s.apply("abs", s.apply("mul", half, e)), e) for e in (h, r))  # not reordered past abs
    return s.apply("add", up, down)


def _sigmoid(s: Scalars, a: int) -> int:
    one = s.constant(1.0)
    return s.apply("div", one, s.apply("add", one, s.apply("exp", s.apply("neg", a))))


def _relu(s: Scalars, a: int) -> int:
    zero = s.constant(0.0)
    return s.apply("where", s.apply("le", a, zero), zero, a)


def _reciprocal_root(s: Scalars, a: int) -> int:
    return s.apply("div", s.constant(1.0), s.apply("sqrt", a))


def _finite(s: Scalars, a: int) -> int:
    return s.apply("lt", s.apply("abs", a), s.constant(math.inf))


def _same(s: Scalars, a: int, dtype: torch.dtype | None = None, **kwargs: Any) -> int:
    """A change of dtype: truth values become numbers, and numbers truth values; the list has one precision."""
    if dtype is None:
        return a
    if dtype == torch.bool:
        return truth(s, a)
    if not dtype.is_floating_point and s.kind(a) == "f":
        raise NotImplementedError(f"numbers cut to {dtype}")
    return number(s, a)


ELEMENTWISE: dict[str, Rule] = {
    **{name: _plain(name) for name in ("add", "sub", "mul", "div", "neg", "abs", "sqrt", *TRANSCENDENTAL)},
    **{name: _plain(name) for name in COMPARISONS},
    "rsub": lambda s, a, b, alpha=1: _plain("sub")(s, b, a, alpha=alpha),
    "reciprocal": _of_numbers(lambda s, a: s.apply("div", s.constant(1.0), a)),
    "square": _of_numbers(lambda s, a: s.apply("mul", a, a)),
    "rsqrt": _of_numbers(_reciprocal_root),
    "sigmoid": _of_numbers(_sigmoid),
    "relu": _of_numbers(_relu),
    "sinh": _of_numbers(_sinh),
    "cosh": _of_numbers(_cosh),
    "sign": _of_numbers(_sign),
    "sgn": _of_numbers(_sign),
    "pow": _of_numbers(power),
    "maximum": maximum,
    "minimum": minimum,
    "clamp": _of_numbers(_clamp),
    "clamp_min": _of_numbers(_clamp),
    "clamp_max": _of_numbers(_clamp_above),
    "where": _where,
    "masked_fill": lambda s, a, mask, value: _where(s, mask, value, a),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "bitwise_and": lambda s, a, b: s.apply("and", a, b),  # of truth values only: the list refuses others
    "bitwise_or": lambda s, a, b: s.apply("or", a, b),
    "logical_not": lambda s, a: _not(s, truth(s, a)),
    "bitwise_not": _not,
    "isnan": _nan,
    "isinf": _of_numbers(lambda s, a: s.apply("eq", s.apply("abs", a), s.constant(math.inf))),
    "isfinite": _of_numbers(_finite),
    "_to_copy": _same,
    "to": _same,
    "convert_element_type": _same,
    "copy": lambda s, a, b, *rest: b,
    "fill": lambda s, a, b: b,
}
