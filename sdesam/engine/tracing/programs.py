"""A list of scalar operations, in single-assignment form: what every printer reads.

Constants other than 0, ±1, 2 and ½ are *lifted*: their values are no part of the list's structure but entries of a
run-time vector, so that one compiled list serves every learning rate, radius and curvature.
"""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

__all__ = ["COMPARISONS", "TRANSCENDENTAL", "Node", "Program", "arguments_of"]

Node = tuple[str, tuple]  # an operation and its arguments: numbers of earlier nodes, unless it is one of _LEAVES
COMPARISONS = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
TRANSCENDENTAL = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos")
_LEAVES = ("input", "literal", "constant")
_PASSING = ("add", "sub", "neg", "abs", "mul", "div", "where")  # an exact zero of an argument may reach the result


@dataclass(frozen=True)
class Program:
    """A list of scalar operations.

    Attributes
    ----------
    nodes : (operation, arguments) each.  ``("input", (i,))`` is input i, ``("literal", (value,))`` a number,
        ``("constant", (i,))`` the i-th lifted constant, ``("table", (k, i))`` entry number node k of the i-th table
    kinds : per node "f" number, "b" boolean, "i" index
    outputs : node numbers
    inputs : kinds of the inputs
    constants, tables : the lifted values
    """

    nodes: tuple[Node, ...]
    kinds: str
    outputs: tuple[int, ...]
    inputs: str
    constants: tuple[float, ...]
    tables: tuple[tuple[float, ...], ...]

    @cached_property
    def structure(self) -> tuple:
        """All that compiled code depends on: everything but the lifted values.

        Literals are texts in it, since True equals 1.0 and NaN does not equal itself.
        """
        nodes = tuple((op, (repr(args[0]),)) if op == "literal" else (op, args) for op, args in self.nodes)
        return nodes, self.kinds, self.outputs, self.inputs, tuple(len(t) for t in self.tables), self.divisors

    @cached_property
    def divisors(self) -> tuple[int, ...]:
        """Lifted constants of moderate size that something is divided by: two products do it in a tenth of the time."""
        below = {args[1] for op, args in self.nodes if op == "div"}
        places = {self.nodes[i][1][0] for i in below if self.nodes[i][0] == "constant"}
        return tuple(sorted(k for k in places if 2.0**-100 < abs(self.constants[k]) < 2.0**100))

    @cached_property
    def exact(self) -> frozenset[int]:
        """Sums whose rounding decides: of products, on their way to a root, a logarithm or a comparison.

        A fused product there turns the zero of ``x x - y y`` at x = y into a negative number.  Sums of squares are
        none where only a root follows: they stay positive.
        """
        watched: dict[int, bool] = {}  # node: whether a comparison follows
        for i in reversed(range(len(self.nodes))):
            op, args = self.nodes[i]
            if op in ("sqrt", "log") or op in COMPARISONS:
                passed, compared = args, op in COMPARISONS
            elif i in watched and op in _PASSING:
                passed, compared = args, watched[i]
            else:
                continue
            for a in passed:
                watched[a] = watched.get(a, False) or compared
        return frozenset(i for i, compared in watched.items() if self._decides(i, compared))

    @cached_property
    def fused(self) -> dict[int, int]:
        """Sums that are rounded once together with a product that nothing else reads: the sum, the product's place.

        Of two products the last.  Written down, since a compiler that may choose rounds as its machine likes.
        """
        readers = Counter(a for node in self.nodes for a in arguments_of(node)) + Counter(self.outputs)
        found = {}
        for i, (op, args) in enumerate(self.nodes):
            if op in ("add", "sub") and i not in self.exact:
                places = [k for k in (1, 0) if self.nodes[args[k]][0] == "mul" and readers[args[k]] == 1]
                found.update({i: places[0]} if places else {})
        return found

    def _decides(self, node: int, compared: bool) -> bool:
        op, args = self.nodes[node]
        products = [a for a in args if self._signless(a)[0] == "mul"] if op in ("add", "sub") else []
        squares = op == "add" and all(self.nodes[a][0] == "mul" and len(set(self.nodes[a][1])) == 1 for a in products)
        return bool(products) and (compared or not squares)

    def _signless(self, node: int) -> Node:
        op, args = self.nodes[node]
        return self.nodes[args[0]] if op == "neg" else (op, args)

    @property
    def watches_truth(self) -> bool:
        """Whether all outputs are truth values."""
        return all(self.kinds[o] == "b" for o in self.outputs)

    @property
    def length(self) -> int:
        """Number of operations."""
        return sum(op not in _LEAVES for op, _ in self.nodes)

    @property
    def depth(self) -> int:
        """Operations on the longest path."""
        depths: list[int] = []
        for node in self.nodes:
            depths.append(int(node[0] not in _LEAVES) + max((depths[a] for a in arguments_of(node)), default=0))
        return max(depths, default=0)


def arguments_of(node: Node) -> tuple[int, ...]:
    """The nodes that a node reads."""
    op, args = node
    return () if op in _LEAVES else args[:1] if op == "table" else args
