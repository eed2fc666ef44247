"""The list printed as JavaScript, for the browser: one science, two languages."""

from __future__ import annotations

import math

from .scalars import COMPARISONS, Program

__all__ = ["javascript_of"]

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&&", "or": "||", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=", "eq": "===", "ne": "!==",
}  # fmt: skip
_PREFIXES = {"neg": "-", "not": "!"}


def javascript_of(program: Program) -> str:
    """An arrow function ``(x, c, t) => [..]`` of the inputs, the lifted constants and the tables.

    >>> from .scalars import Scalars
    >>> s = Scalars("ff")
    >>> print(javascript_of(s.program([s.apply("tanh", s.apply("mul", 0, 1))])))
    (x, c, t) => {
    const v2 = x[0] * x[1];
    const v3 = Math.tanh(v2);
    return [v3];
    }
    """
    names: list[str] = []
    lines = []
    for i, (op, args) in enumerate(program.nodes):
        text = _expression(op, args, names)
        if op in ("input", "constant", "literal"):
            names.append(text)
        else:
            names.append(f"v{i}")
            lines.append(f"const v{i} = {text};")
    outputs = ", ".join(names[o] for o in program.outputs)
    return "\n".join(["(x, c, t) => {", *lines, f"return [{outputs}];", "}"])


def _expression(op: str, args: tuple, names: list[str]) -> str:
    if op == "input":
        return f"x[{args[0]}]"
    if op == "constant":
        return f"c[{args[0]}]"
    if op == "literal":
        return _literal(args[0])
    if op == "table":
        return f"t[{args[1]}][{names[args[0]]}]"
    a, *rest = (names[i] for i in args)
    if op in _SIGNS or op in COMPARISONS:
        return f"{a} {_SIGNS[op]} {rest[0]}"
    if op == "where":
        return f"{a} ? {rest[0]} : {rest[1]}"
    return f"{_PREFIXES[op]}({a})" if op in _PREFIXES else f"Math.{op}({a})"


def _literal(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if math.isfinite(value):
        return f"({value!r})"
    return "NaN" if math.isnan(value) else "(-Infinity)" if value < 0 else "Infinity"
