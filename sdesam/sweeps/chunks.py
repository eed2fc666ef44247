"""Which units of which cells are missing, cut into chunks of about two seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from ..arguments import require_count
from ..engine.eager import UNIT
from ..engine.folds import node_at
from .store import Cell, Index, canonical, key_of

__all__ = ["Chunk", "Plan", "gaps"]

_TARGET = 2.0  # seconds of work in a chunk
_MOST_UNITS = 2**14


@dataclass(frozen=True)
class Chunk:
    """Units ``first .. first + count − 1`` of a cell."""

    cell: Cell
    text: str
    first: int
    count: int

    @property
    def replicates(self) -> range:
        """Its replicates."""
        return range(self.first * UNIT, (self.first + self.count) * UNIT)


class Plan:
    """Which units are missing, cut lazily into chunks, sized by the pace measured so far."""

    def __init__(self, cells: Sequence, index: Index, *, n: int, shard: tuple[int, int] = (0, 1)) -> None:
        """Look up every cell once; ``shard = (i, of)`` takes the i-th of equal shares of all units."""
        n = require_count("n", n, least=1, why="it is the number of replicates")
        if len(cells) == 0:
            raise ValueError("cells must hold at least one cell, got none.")
        i, of = shard
        if not 0 <= i < of:
            raise ValueError(f"shard must be (i, of) with 0 <= i < of, got {shard}.")
        self.cells = cells
        self.units = -(-n // UNIT)
        self._pace: dict[str, float] = {}  # of the cell being cut: others may cost a hundred times as much
        self._paces: dict[tuple, float] = {}  # like -> the least seconds per work seen: a first chunk also compiles
        self._to_do: dict[str, int] = {}  # canonical text -> missing units, of the cells under way
        self._current = ""
        self.is_whole = of == 1
        total = len(cells) * self.units
        self._low, self._high = total * i // of, total * (i + 1) // of
        self._holes: list[tuple[int, int, int]] = []  # (cell, first, stop)
        self.missing, self.work = 0, 0.0
        self.work_by_kind: dict[tuple, tuple[Cell, float]] = {}  # like -> one of these cells, and their missing work
        for c in range(self._low // self.units, -(-self._high // self.units)):
            self._look(c, index)

    def _look(self, c: int, index: Index) -> None:
        cell = self.cells[c]
        low, high = (min(max(edge - c * self.units, 0), self.units) for edge in (self._low, self._high))
        for first, stop in gaps(low, high, index.get(key_of(canonical(cell)), ())):
            self._holes.append((c, first, stop))
            work = (stop - first) * UNIT * cell.work
            self.missing += stop - first
            self.work += work
            one, sum_so_far = self.work_by_kind.get(cell.like, (cell, 0.0))
            self.work_by_kind[cell.like] = one, sum_so_far + work

    def __iter__(self) -> Iterator[Chunk]:
        """The missing chunks, cell by cell."""
        for c, holes in groupby(self._holes, key=itemgetter(0)):
            cell, gaps_of = self.cells[c], [(first, stop) for _, first, stop in holes]
            self._current = text = canonical(cell)
            self._to_do[text] = self._to_do.get(text, 0) + sum(stop - first for first, stop in gaps_of)
            for first, stop in gaps_of:
                while first < stop:
                    count = node_at(first, stop, most=self._affordable(text))
                    yield Chunk(cell, text, first, count)
                    first += count

    def _affordable(self, text: str) -> int:
        """Units that take about two seconds by this cell's own pace; one while that is not known."""
        seconds = self._pace.get(text)
        return 1 if seconds is None else int(min(max(_TARGET / seconds, 1), _MOST_UNITS))

    def measured(self, chunk: Chunk, seconds: float) -> bool:
        """Learn from a finished chunk; returns whether it was the last one of its cell."""
        per_unit = max(seconds / chunk.count, 1e-9)
        if chunk.text == self._current:
            self._pace = {chunk.text: per_unit}
        like, work = chunk.cell.like, UNIT * chunk.cell.work
        self._paces[like] = min(per_unit / work, self._paces.get(like, math.inf))
        cell, left = self.work_by_kind[like]
        self.work_by_kind[like] = cell, left - chunk.count * work
        self._to_do[chunk.text] -= chunk.count
        return not (self._to_do[chunk.text] or self._to_do.pop(chunk.text))

    @property
    def unfinished(self) -> int:
        """Cells of which something is missing."""
        return len({c for c, _, _ in self._holes})

    @property
    def seconds_left(self) -> float:
        """Of one worker, for all that is missing; kinds of cells without a pace yet take the mean of the others."""
        if not self._paces:
            return math.inf
        usual = sum(self._paces.values()) / len(self._paces)
        return sum(max(left, 0.0) * self._paces.get(like, usual) for like, (_, left) in self.work_by_kind.items())


def gaps(low: int, high: int, nodes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What nodes leave uncovered of [low, high); nodes are nested or disjoint."""
    at = low
    for first, count in sorted(nodes):
        if at >= high:
            return
        if first > at:
            yield at, min(first, high)
        at = max(at, first + count)
    if at < high:
        yield at, high
