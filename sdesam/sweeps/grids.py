"""Grids of cells: the product of lists of values, given as a TOML file or as options."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, overload

from ..arguments import nearest, require_steps
from ..problems.fingerprints import fingerprint
from ..setting import SIDES
from .cells import CELLS, Ensemble, Escape
from .engines import ENGINES, engine_of
from .store import canonical

__all__ = ["Grid", "read_grid"]

_LISTS = ("x0", "observables")  # their values are lists themselves
_DERIVED = ("landscape_is", "method_is")
_HORIZON = "horizon"
_TEXTS = ("landscape", "method", "side", "dtype", "device", "engine", "observables")
_COUNTS = ("steps", "substeps", "seed", "saves", "batch_size", "batches", "axis")


@dataclass(frozen=True, eq=False)
class Grid(Sequence):
    """All combinations of the values of each axis, as a sequence of cells made when they are asked for.

    Parameters
    ----------
    kind : ``Ensemble`` or ``Escape``
    axes : field -> its values; ``horizon`` (model time) may stand for ``steps``, which is then horizon/eta
    stands_for : what the names stood for when the grid was made; by default what they stand for now
    engines : canonical text of a typical cell -> engine, for the structures met so far: a grid of before needs no file

    Raises
    ------
    ValueError
        For an unknown field (with the nearest name), an axis without values, or both steps and horizon.
    """

    kind: type[Ensemble] | type[Escape]
    axes: Mapping[str, tuple]
    stands_for: Mapping[str, str] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {entry.name for entry in fields(self.kind)} - set(_DERIVED) | {_HORIZON}
        for name, values in self.axes.items():
            if name not in known:
                raise ValueError(f"{name!r} is no key of a grid: {nearest(name, known)}")
            if len(values) == 0:
                raise ValueError(f"{name} must have at least one value, got none: the grid would be empty.")
        if ("steps" in self.axes) == (_HORIZON in self.axes):
            raise ValueError("a grid must give steps, or horizon (model time), and not both.")
        for name in ("landscape", "method", "eta"):
            if name not in self.axes:
                raise ValueError(f"a grid must give {name}.")
        if not self.stands_for:
            paths = {r: fingerprint(r) for name in ("landscape", "method") for r in self.axes[name] if ".py:" in r}
            named = {r: fingerprint(r) for r in self.axes["landscape"]}
            object.__setattr__(self, "stands_for", paths | named)

    def __len__(self) -> int:
        """Number of combinations."""
        return math.prod(len(values) for values in self.axes.values())

    @overload
    def __getitem__(self, index: int) -> Ensemble | Escape: ...
    @overload
    def __getitem__(self, index: slice) -> list: ...
    def __getitem__(self, index: int | slice) -> Any:
        """The cell of a combination; the last axis varies fastest."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        chosen: dict[str, Any] = {}
        for name in reversed(list(self.axes)):
            index, i = divmod(index, len(self.axes[name]))
            chosen[name] = self.axes[name][i]
        if _HORIZON in chosen:
            chosen["steps"] = require_steps(chosen.pop(_HORIZON), chosen["eta"], "a run ends with a step")
        meanings = {f"{name}_is": self.stands_for.get(chosen[name], "") for name in ("landscape", "method")}
        values: dict[str, Any] = chosen | meanings
        return self.kind(**values) if "engine" in chosen else self._with_engine(self.kind(engine=ENGINES[-1], **values))

    def _with_engine(self, cell: Ensemble | Escape) -> Ensemble | Escape:
        text = canonical(cell.typical())
        if text not in self.engines:
            self.engines[text] = engine_of(cell)
        return replace(cell, engine=self.engines[text])

    def document(self) -> dict[str, Any]:
        """Plain values, for a run's provenance."""
        return {
            "kind": self.kind.__name__, "axes": dict(self.axes), "stands_for": dict(self.stands_for),
            "engines": dict(self.engines),
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Grid:
        """What ``document`` gave."""
        axes = {
            name: tuple(tuple(v) if isinstance(v, list) else v for v in values)
            for name, values in document["axes"].items()
        }
        return cls(CELLS[document["kind"]], axes, document["stands_for"], dict(document["engines"]))


def read_grid(path: Path) -> tuple[Grid, int | None]:
    """The grid of a TOML file, and its ``n`` where it gives one.

    Every key is a field of a cell; a list of values is an axis (for ``x0`` and ``observables``, a list of lists).
    With ``exit_at`` the cells are exit times, otherwise means.  ``side`` is both by default.  A relative ``file.py``
    is looked for beside the grid's file first, then in the working folder.

    Raises
    ------
    ValueError
        For a file that is not TOML, and as ``Grid``.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad begins a file with a mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} must be TOML: {error}.") from error
    document = {name: _whole(value) if name in (*_COUNTS, "n") else value for name, value in document.items()}
    n = document.pop("n", None)
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise ValueError(f"n must be an integer >= 1, got {n!r}: it is the number of replicates.")
    document.setdefault("side", list(SIDES))
    known = {entry.name for kind in CELLS.values() for entry in fields(kind)} - set(_DERIVED) | {_HORIZON, "n"}
    for name in document:
        if name not in known:
            raise ValueError(f"{name!r} is no key of a grid: {nearest(name, known)}")
    axes = {name: _axis(name, value) for name, value in document.items()}
    for name in ("landscape", "method"):
        axes |= {name: tuple(_beside(path.parent, r) for r in axes[name])} if name in axes else {}
    return Grid(Escape if "exit_at" in axes else Ensemble, axes), n


def _whole(value: Any) -> Any:
    """1e4 is a float in TOML; where a count is asked for, it is 10000."""
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _beside(folder: Path, reference: str) -> str:
    """A file of the user's beside the grid's file, where there is one; else below the working folder."""
    file = Path(reference.rpartition(":")[0])
    if ".py:" not in reference or file.is_absolute():
        return reference
    if (folder / file).is_file():
        return str(folder / file) + reference[len(str(reference.rpartition(":")[0])) :]
    if not file.is_file():
        places = dict.fromkeys((str(folder.resolve()), str(Path.cwd())))
        raise ValueError(f"{reference!r}: there is no file {str(file)!r} (looked in {' and '.join(places)}).")
    return reference


def _axis(name: str, value: Any) -> tuple:
    if isinstance(value, dict):
        raise ValueError(f"{name} must be a value or a list of values, got a table: a grid has no sections.")
    _require_type(name, value, depth=2 if name in _LISTS else 1)
    if name in _LISTS and not isinstance(value, list):
        raise ValueError(f"{name} must be a list, got {value!r}: write [{value!r}].")
    if name in _LISTS:
        nested = isinstance(value, list) and all(isinstance(v, list) for v in value)
        return tuple(tuple(v) for v in value) if nested else (tuple(value),)
    return tuple(value) if isinstance(value, list) else (value,)


def _require_type(name: str, value: Any, depth: int) -> None:
    """Numbers where numbers belong, texts where texts do; lists no deeper than the field's values allow."""
    if isinstance(value, list):
        if depth == 0:
            raise ValueError(f"{name} must hold plain values, got the list {value!r} inside a list.")
        for part in value:
            _require_type(name, part, depth - 1)
        return
    text = name in _TEXTS
    if isinstance(value, bool) or not isinstance(value, str if text else int | float):
        raise ValueError(f"{name} must be {'a text' if text else 'a number'}, got {value!r}.")
    if name in _COUNTS and not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, got {value!r}.")
