"""The list printed as JavaScript, for the browser: one science, two languages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .tracing.programs import COMPARISONS, Program

__all__ = ["javascript_of", "printed_function", "printed_loop"]

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&&", "or": "||", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=", "eq": "===", "ne": "!==",
}  # fmt: skip
_PREFIXES = {"neg": "-", "not": "!"}
_LEAVES = ("input", "constant", "literal")
_DEEPEST = 12  # nested brackets in one expression


def javascript_of(program: Program) -> str:
    """An arrow function ``(x, c, t) => [..]`` of the inputs, the lifted constants and the tables.

    >>> from .tracing.scalars import Scalars
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


# ----------------------------------------------------------------- compact: for the explorer's page
@dataclass(frozen=True)
class _Writing:
    """How the nodes of a list are written: a node used once stands where it is used, others get a name.

    The operations and their order stay those of the list, so the numbers do too.

    Attributes
    ----------
    names : expressions of the inputs
    pool : place of each lifted constant in the array ``c`` of the surrounding text
    uniform : so many inputs, the first ones, are the same for all particles; what depends on them alone is written
        apart, to be computed once
    named_outputs : whether outputs are computed before the first of them is assigned
    """

    program: Program
    names: Sequence[str]
    pool: Mapping[float, int]
    uniform: int = 0
    named_outputs: bool = False

    def text(self) -> tuple[list[str], list[str], list[str]]:
        """Definitions of what is uniform, of the rest, and the outputs' expressions."""
        outer = self._uniform()
        stored = self._stored(outer)
        before: list[str] = []
        inside: list[str] = []
        texts: list[str] = []
        depths: list[int] = []
        for i, (op, args) in enumerate(self.program.nodes):
            text = self._expression(op, args, texts)
            depth = max((depths[a] + 1 for a in _operands(op, args)), default=0)
            if i in stored or depth > _DEEPEST:
                (before if outer[i] else inside).append(f"v{i}={text}")
                text, depth = f"v{i}", 0
            texts.append(text if depth == 0 else f"({text})")
            depths.append(depth)
        return before, inside, [texts[o] for o in self.program.outputs]

    def _uniform(self) -> list[bool]:
        found: list[bool] = []
        for op, args in self.program.nodes:
            found.append(args[0] < self.uniform if op == "input" else all(found[a] for a in _operands(op, args)))
        return found

    def _stored(self, outer: list[bool]) -> set[int]:
        nodes = self.program.nodes
        used = Counter(a for op, args in nodes for a in _operands(op, args))
        crossing = {a for i, node in enumerate(nodes) for a in _operands(*node) if outer[a] and not outer[i]}
        chosen = {i for i, count in used.items() if count > 1} | (crossing if self.uniform else set())
        chosen |= {o for o in self.program.outputs if self.named_outputs or used[o]}
        return {i for i in chosen if nodes[i][0] not in _LEAVES}

    def _expression(self, op: str, args: tuple, texts: list[str]) -> str:
        if op == "input":
            return str(self.names[args[0]])
        if op == "constant":
            return f"c[{self.pool[self.program.constants[args[0]]]}]"
        if op == "literal":
            return _literal(args[0])
        if op == "table":
            return f"{list(self.program.tables[args[1]])}[{texts[args[0]]}]"
        a, *rest = (texts[i] for i in args)
        if op in _SIGNS:
            return f"{a}{_SIGNS[op]}{rest[0]}"
        if op == "where":
            return f"{a}?{rest[0]}:{rest[1]}"
        return f"{_PREFIXES[op]}({a})" if op in _PREFIXES else f"Math.{op}({a})"


def _operands(op: str, args: tuple) -> tuple:
    return () if op in _LEAVES else args[:1] if op == "table" else args


def printed_function(program: Program, names: Sequence[str], pool: Mapping[float, int], arguments: str) -> str:
    """An arrow function of ``arguments`` that returns the outputs as an array; inputs are the expressions ``names``.

    ``pool`` numbers the lifted constants, which the surrounding text holds in an array ``c``.
    """
    _, lines, outputs = _Writing(program, names, pool).text()
    return f"({arguments})=>{{{_definitions(lines)}return [{','.join(outputs)}]}}"


def printed_loop(
    program: Program,
    uniform: Sequence[str],
    loads: Sequence[str],
    targets: Sequence[str],
    pool: Mapping[float, int],
    arguments: str,
    where: str,
) -> str:
    """An arrow function that runs the list for i = 0 .. n − 1 wherever ``where`` holds.

    Inputs are the expressions ``uniform``, the same for all i, and then ``loads``; outputs go into ``targets``.
    """
    names = [*uniform, *(f"s{k}" for k in range(len(loads)))]
    before, inside, outputs = _Writing(program, names, pool, len(uniform), named_outputs=True).text()
    inside = [f"s{k}={load}" for k, load in enumerate(loads)] + inside
    body = _definitions(inside) + ";".join(f"{t}={o}" for t, o in zip(targets, outputs, strict=True))
    return f"({arguments})=>{{{_definitions(before)}for(let i=0;i<n;i++)if({where}){{{body}}}}}"


def _definitions(lines: list[str]) -> str:
    return "const " + ",\n".join(lines) + ";" if lines else ""
