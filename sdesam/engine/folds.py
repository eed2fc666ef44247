"""One fixed order of summation: units of replicates fold as the nodes of a binary tree.

Floating-point sums depend on their order.  Here the order is that of the binary tree over units 0, 1, 2, ..: a node is
``2^k`` units starting at a multiple of ``2^k``, and it is the merge of its two halves.  A run of any length is the
merge of at most log2 nodes, from the right.  So whoever computes which units, in chunks of whatever size, whole nodes
merge to the same bits, and a chunk that is one node needs one set of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

__all__ = ["Mergeable", "Tree", "nodes_of"]


@runtime_checkable
class Mergeable(Protocol):
    """Sums over a group of replicates that add to those of another group."""

    def merge(self, other: Any) -> Any:
        """The sums of both."""
        ...


Sums = TypeVar("Sums", bound=Mergeable)


def nodes_of(first: int, stop: int, *, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Units ``first .. stop − 1`` as nodes (first, count) of the tree, the largest that fit, of at most ``most`` units.

    >>> list(nodes_of(0, 7)), list(nodes_of(3, 8)), list(nodes_of(0, 8, most=4))
    ([(0, 4), (4, 2), (6, 1)], [(3, 1), (4, 4)], [(0, 4), (4, 4)])
    """
    while first < stop:
        count = node_at(first, stop, most=most)
        yield first, count
        first += count


def node_at(first: int, stop: int, *, most: int | None = None) -> int:
    """Units of the largest node that starts at ``first``, ends by ``stop`` and has at most ``most`` units."""
    count = 1 << (min(stop - first, most or stop).bit_length() - 1)
    return min(count, first & -first) if first else count


class Tree(Generic[Sums]):
    """A fold in progress: add nodes in order, without gaps; ``total`` is the merge of what was added."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, int, Sums]] = []

    @property
    def stop(self) -> int | None:
        """The unit after the last one added; None before the first."""
        return self._stack[-1][0] + self._stack[-1][1] if self._stack else None

    def add(self, first: int, count: int, sums: Sums) -> None:
        """Add the node of ``count`` units at ``first``; raises ``ValueError`` for a gap or what is no node."""
        if self.stop not in (None, first) or count & (count - 1) or first % count:
            raise ValueError(f"node ({first}, {count}) must be a node of the tree at unit {self.stop}.")
        self._stack.append((first, count, sums))
        while len(self._stack) > 1:
            (left, size, a), (_, other, b) = self._stack[-2:]
            if size != other or left % (2 * size):
                break
            self._stack[-2:] = [(left, 2 * size, a.merge(b))]

    def total(self) -> Sums:
        """The merge of all nodes, from the right; raises ``ValueError`` when there is none."""
        if not self._stack:
            raise ValueError("a fold of no units has no total.")
        *rest, (_, _, result) = self._stack
        for _, _, sums in reversed(rest):
            result = sums.merge(result)
        return result
