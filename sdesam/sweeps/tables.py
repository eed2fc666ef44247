"""From a store to one table: every cell's estimates, in an order that does not depend on who computed them when."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.eager import UNIT
from ..files import StoreFailed, put, without_nan
from ..problems.fingerprints import FILES
from .cells import Row, cell_of, rows_of
from .grids import Grid
from .store import Store, canonical

__all__ = ["FORMATS", "Collection", "require_files_known", "write_table"]

_VALUES = ("value", "stderr", "low", "high", "n", "diverged", "heavy_tailed", "time", "step")


@dataclass
class Collection:
    """The cells of a store with what they should hold; ``incomplete`` fills up while the rows are read."""

    store: Store
    wanted: dict[str, int]  # canonical text -> units
    incomplete: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store) -> Collection:
        """All cells that the store's runs asked for, or, without a run's grid, all that it holds.

        Raises ``StoreFailed`` for a store of before that holds results of a user's file.
        """
        require_files_known(store)
        wanted: dict[str, int] = {}
        for run in store.runs():
            try:
                units, grid = -(-int(run["n"]) // UNIT), Grid.from_document(run["grid"])
                texts = [canonical(cell) for cell in grid]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                store.say(f"left out a run that this version cannot read: {error}")
                continue
            for text in texts:
                wanted[text] = max(units, wanted.get(text, 0))
        if not wanted:
            wanted = dict.fromkeys(store.cells(), 1)
            for cell in (vars(cell_of(text)) for text in wanted):
                _require_files(store, {cell[name]: cell[f"{name}_is"] for name in ("landscape", "method")})
        return cls(store, wanted)

    def rows(self) -> Iterator[Row]:
        """Long form, sorted by the cells' fields."""
        cells = ((cell_of(text), text) for text in self.wanted)
        for cell, text in sorted(cells, key=lambda pair: _order(pair[0])):
            sums, units = self.store.total(text, cell.sums)
            if units < self.wanted[text]:
                self.incomplete.append(f"{units} of {self.wanted[text]} units of {text}")
            if sums is not None:
                yield from rows_of(cell, sums)


def require_files_known(store: Store) -> None:
    """Raise ``StoreFailed`` for a store of before, whose keys saw a file of the user's and nothing that it imports."""
    for run in store.runs():
        grid = run.get("grid")
        _require_files(store, grid.get("stands_for", {}) if isinstance(grid, dict) else {})


def _require_files(store: Store, stands_for: Mapping[str, str]) -> None:
    for reference, meaning in stands_for.items():
        if ".py:" in reference and not str(meaning).startswith(FILES):
            raise StoreFailed(
                f"{store.folder} holds results of {reference} from a version that looked at this file alone, not at "
                "what it imports: they may be of several functions. Sweep again into another --out."
            )


def _order(cell: Any) -> tuple:
    return (type(cell).__name__, *((value is not None, value) for value in astuple(cell)))


# ----------------------------------------------------------------- formats
def write_table(rows: Iterator[Row], path: Path) -> int:
    """Write rows as .csv, .json or .nc, whole or not at all; returns how many.

    Raises
    ------
    StoreFailed
        When there is not a single row.
    ModuleNotFoundError
        For .nc without xarray and h5netcdf.
    """
    found = list(rows)
    if not found:
        raise StoreFailed("the store holds no finished chunk yet: nothing to collect.")
    content = FORMATS[path.suffix](found)
    try:
        put(path, content)
    except OSError as error:
        raise StoreFailed(f"cannot write {path}: {error.strerror}. The store is as it was.") from error
    return len(found)


def _csv(rows: list[Row]) -> bytes:
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _json(rows: list[Row]) -> bytes:
    return json.dumps({"schema": 1, "rows": without_nan(rows)}, indent=1, allow_nan=False).encode()


def _netcdf(rows: list[Row]) -> bytes:
    """Dimensions cell, observable, save; every setting is a coordinate of the cells; NaN where a cell has no entry."""
    try:
        import h5py  # noqa: F401  # what h5netcdf writes with
        import xarray
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(".nc needs xarray, h5netcdf and h5py: pip install 'sdesam[netcdf]'.") from missing
    settings = list(dict.fromkeys(name for row in rows for name in row if name not in ("observable", *_VALUES)))
    cells = {key: i for i, key in enumerate(dict.fromkeys(tuple(row.get(k) for k in settings) for row in rows))}
    names = {name: i for i, name in enumerate(dict.fromkeys(row["observable"] for row in rows))}
    saves: dict[tuple, list[Row]] = {}
    for row in rows:
        saves.setdefault((tuple(row.get(name) for name in settings), row["observable"]), []).append(row)
    shape = (len(cells), len(names), max(map(len, saves.values())))
    arrays = {value: np.full(shape, np.nan) for value in _VALUES}
    for (cell, name), entries in saves.items():
        for s, row in enumerate(entries):
            for value in _VALUES:
                arrays[value][cells[cell], names[name], s] = float(row[value])
    coordinates: dict[str, Any] = {"observable": list(names)}
    for i, name in enumerate(settings):
        column = [cell[i] for cell in cells]
        numbers = all(isinstance(v, int | float) for v in column)
        coordinates[name] = ("cell", column if numbers else ["" if v is None else str(v) for v in column])
    dimensions = ("cell", "observable", "save")
    data = xarray.Dataset({value: (dimensions, a) for value, a in arrays.items()}, coords=coordinates)
    data.attrs["schema"] = 1
    return bytes(data.to_netcdf(engine="h5netcdf"))


FORMATS = {".csv": _csv, ".json": _json, ".nc": _netcdf}
