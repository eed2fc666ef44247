"""What is told of a sweep while it runs: exit times line by line, and which cells are done."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.eager import UNIT
from ..files import StoreFailed
from ..setting import TITLES
from .cells import Ensemble, Escape, Row, rows_of
from .grids import Grid
from .store import Store, canonical

__all__ = ["CellsDone", "EscapeLines", "escape_table"]


def escape_rows(cell: Ensemble | Escape, n: int, store: Store) -> list[Row]:
    """Rows of a cell; raises ``StoreFailed`` where not all of n replicates are there."""
    sums, units = store.total(canonical(cell), cell.sums)
    if sums is None or units * UNIT < n:
        raise StoreFailed(f"{units * UNIT} of {n} replicates of {cell} are there: run the same command again.")
    return rows_of(cell, sums)


def escape_table(grid: Grid, n: int, folder: Path, *, say: Callable[[str], object] = warnings.warn) -> list[Row]:
    """Rows of the cells of one grid, in the grid's order."""
    store = Store(folder, create=False, say=say)
    return [row for cell in grid for row in escape_rows(cell, n, store)]


@dataclass
class EscapeLines:
    """Exit times for the eye, one line a cell, in the grid's order, each as soon as all before it are there."""

    grid: Grid
    n: int
    folder: Path
    write: Callable[[str], object]
    shown: int = 0

    def finished(self, cell: Any = None) -> None:
        """Write the lines that are ready."""
        store = Store(self.folder, create=False)
        while self.shown < len(self.grid):
            try:
                rows = escape_rows(self.grid[self.shown], self.n, store)
            except StoreFailed:
                return
            self.write((self.shown == 0) * f"{_HEADER}\n" + _line(rows))
            self.shown += 1


_HEADER = f"{'side':<10}{'method':<12}{'eta':>9}{'rho':>9}{'sigma':>9}  {'escaped':<20}{'median [95 %]':<28}mean"


def _line(rows: Sequence[Row]) -> str:
    escaped, mean, median = rows
    part = f"{escaped['value']:.4f} ± {escaped['stderr']:.1e}"
    middle = f"{median['value']:.4g} [{median['low']:.4g}, {median['high']:.4g}]"
    bound = "" if escaped["value"] == 1 else " (restricted)"
    return (
        f"{TITLES[escaped['side']]:<10}{escaped['method']:<12}{escaped['eta']:>9.4g}{escaped['rho']:>9.4g}"
        f"{escaped['sigma']:>9.4g}  {part:<20}{middle:<28}{mean['value']:.4g} ± {mean['stderr']:.1e}{bound}"
    )


class CellsDone:
    """A line for a finished cell of a sweep, by what varies in the grid; no more than one a second.

    ``total`` cells have something to do.
    """

    def __init__(self, grid: Grid, total: int, write: Callable[[str], object]) -> None:
        self._varying = [name for name, values in grid.axes.items() if len(values) > 1 and name != "horizon"]
        self._total, self._write = total, write
        self._done, self._last = 0, -math.inf

    def finished(self, cell: Any) -> None:
        """Count it, and perhaps tell."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= 1.0 or self._done == self._total:
            self._last = now
            what = ", ".join(f"{name} = {getattr(cell, name)}" for name in self._varying)
            self._write(f"{self._done} of {self._total} cells done" + f"; last: {what}" * bool(what))
