"""A list of scalar operations being written: what the tracer writes.

Equal expressions are one node, constants are folded, and what a constant 0 or 1 makes trivial is never written, so a
diagonal matrix costs O(d).  A structural zero times infinity is therefore zero here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

from .programs import COMPARISONS, Node, Program, arguments_of

__all__ = ["Scalars", "TooLong"]

_LITERALS = (0.0, 1.0, -1.0, 2.0, 0.5)  # part of the structure; every other finite constant is lifted
_COMMUTING = ("add", "mul", "eq", "ne", "and", "or")
_FOLD: dict[str, Callable] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg, "abs": abs,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": operator.not_, **COMPARISONS,
}  # fmt: skip


class TooLong(ValueError):
    """A list has more nodes than allowed."""


class Scalars:
    """A list being written; methods return node numbers.

    Raises
    ------
    TooLong
        When it gets more than ``most`` nodes: a matrix of 1,000 x 1,000 would be written for minutes.
    """

    def __init__(self, inputs: str, most: int = 10**9) -> None:
        self.inputs, self.most = inputs, most
        self._nodes: list[Node] = []
        self._kinds: list[str] = []
        self._known: dict[Node, int] = {}
        self._values: dict[int, float | bool] = {}
        self._tables: list[tuple[float, ...]] = []
        for i, kind in enumerate(inputs):
            self._node("input", (i,), kind)

    def kind(self, node: int) -> str:
        """Whether a node is a number "f", a truth value "b" or an index "i"."""
        return self._kinds[node]

    def value(self, node: int) -> float | bool | None:
        """The number a node is known to be, or None."""
        return self._values.get(node)

    def inputs_of(self, nodes: Sequence[int]) -> frozenset[int]:
        """The inputs that nodes depend on."""
        found, waiting, seen = set(), list(nodes), set()
        while waiting:
            i = waiting.pop()
            if i not in seen:
                seen.add(i)
                op, args = self._nodes[i]
                found |= {args[0]} if op == "input" else set()
                waiting += arguments_of(self._nodes[i])
        return frozenset(found)

    def constant(self, value: float | int) -> int:
        """A number or a truth value."""
        value = value if isinstance(value, bool) else float(value) + 0.0  # one zero
        literal = isinstance(value, bool) or value in _LITERALS or not math.isfinite(value)
        kind = "b" if isinstance(value, bool) else "f"
        node = self._node("literal" if literal else "constant", (repr(value),), kind)
        self._values[node] = value
        return node

    def table(self, index: int, values: Sequence[float]) -> int:
        """``values[index]``."""
        row = tuple(float(v) for v in values)
        if len(set(row)) == 1:
            return self.constant(row[0])
        if row not in self._tables:
            self._tables.append(row)
        return self._node("table", (index, self._tables.index(row)), "f")

    def apply(self, op: str, *args: int) -> int:
        """The operation on nodes, simplified.

        Raises
        ------
        TypeError
            For arithmetic on truth values, which machines hold as 0 and -1, and for logic on numbers.
        """
        self._require_kinds(op, args)
        known = [self.value(a) for a in args]
        if op in _FOLD and None not in known:
            return self.constant(_FOLD[op](*known))
        simple = self._simplified(op, args, known)
        if simple is not None:
            return simple
        if op in _COMMUTING:
            args = tuple(sorted(args))
        boolean = op in COMPARISONS or op in ("and", "or", "not") or (op == "where" and self.kind(args[1]) == "b")
        return self._node(op, args, "b" if boolean else "f")

    def _require_kinds(self, op: str, args: tuple[int, ...]) -> None:
        kinds = "".join(self._kinds[a] for a in args)
        if op in ("and", "or", "not"):
            wrong = kinds.strip("b")
        elif op == "where":
            wrong = kinds[0] != "b" or len(set(kinds[1:])) > 1
        else:
            wrong = kinds.strip("f")
        if wrong:
            logic = op in ("and", "or", "not", "where")
            raise TypeError(f"{op} of a {'number' if logic else 'truth value'}: cast it first")

    def program(self, outputs: Sequence[int]) -> Program:
        """The finished list: what the outputs need, renumbered."""
        needed = set(outputs)
        for i in reversed(range(len(self._nodes))):
            if i in needed:
                needed.update(arguments_of(self._nodes[i]))
        constants: list[float] = []
        tables: list[int] = []
        place: dict[int, int] = {}
        nodes = []
        for i in sorted(needed):
            op, args = self._nodes[i]
            if op == "constant":
                constants.append(float(self._values[i]))
                args = (len(constants) - 1,)
            elif op == "literal":
                args = (self._values[i],)
            elif op == "table":
                tables += [] if args[1] in tables else [args[1]]
                args = (place[args[0]], tables.index(args[1]))
            elif op != "input":
                args = tuple(place[a] for a in args)
            place[i] = len(nodes)
            nodes.append((op, args))
        return Program(
            tuple(nodes), "".join(self._kinds[i] for i in sorted(needed)), tuple(place[o] for o in outputs),
            self.inputs, tuple(constants), tuple(self._tables[t] for t in tables),
        )  # fmt: skip

    def _node(self, op: str, args: tuple, kind: str) -> int:
        node = self._known.get((op, args))
        if node is None:
            if len(self._nodes) >= self.most:
                raise TooLong
            node = self._known[op, args] = len(self._nodes)
            self._nodes.append((op, args))
            self._kinds.append(kind)
        return node

    def _simplified(self, op: str, args: tuple[int, ...], known: list) -> int | None:
        """What 0, 1 and −1 make trivial, as an existing or a shorter node; else None."""
        match op, known:
            case ("add", [0.0, _]) | ("mul", [1.0, _]):
                return args[1]
            case ("add" | "sub", [_, 0.0]) | ("mul" | "div", [_, 1.0]):
                return args[0]
            case ("mul", [0.0, _]) | ("mul", [_, 0.0]):
                return self.constant(0.0)
            case ("sub", [0.0, _]) | ("mul", [-1.0, _]):
                return self.apply("neg", args[1])
            case ("mul" | "div", [_, -1.0]):
                return self.apply("neg", args[0])
            case ("add", [None, None]) if args[0] == args[1]:
                return self.apply("mul", self.constant(2.0), args[0])
            case ("mul", [0.5 | 2.0 as k, _]) if (inner := self._scaled(args[1])) is not None:
                return self.apply("mul", self.constant(k * inner[0]), inner[1])
            case ("mul", [_, 0.5 | 2.0]):
                return self.apply("mul", args[1], args[0])
            case ("where", [bool(c), _, _]):
                return args[1] if c else args[2]
            case ("where", _) if args[1] == args[2]:
                return args[1]
            case ("and", _) if False in known:
                return self.constant(False)
            case ("or", _) if True in known:
                return self.constant(True)
            case ("and", _) if True in known:
                return args[1 - known.index(True)]
            case ("or", _) if False in known:
                return args[1 - known.index(False)]
            case ("neg" | "not", _) if self._nodes[args[0]][0] == op:
                return self._nodes[args[0]][1][0]
            case ("div", [float(a), float(b)]) if b:
                return self.constant(a / b)
            case ("div", [None, float(b)]) if abs(math.frexp(b)[0]) == 0.5 and 2.0**-100 < abs(b) < 2.0**100:
                return self.apply("mul", self.constant(1 / b), args[0])  # exact
            case ("sqrt", [float(a)]) if a >= 0:
                return self.constant(math.sqrt(a))
        return None

    def _scaled(self, node: int) -> tuple[float, int] | None:
        """(c, x) of a node c x: powers of two move through a product without rounding."""
        op, args = self._nodes[node]
        for c, x in (args, args[::-1]) if op == "mul" else ():
            if self.value(c) is not None:
                return float(self._values[c]), x
        return None
