"""Results that survive: chunks of mergeable sums in files that exist whole or not at all.

A *cell* is a frozen dataclass of plain values that determines a result; its key is the SHA-256 of its canonical JSON.
A *chunk* is a node of units of a cell's replicates (``folds``); replicate i reads stream (seed, i), so it does not
matter who computes it, or when.  A chunk file holds sums, so that more replicates tighten an interval instead of
starting over.

    DIR/store.json                               schema and version of the writer
    DIR/chunks/abc/KEY.FIRST-COUNT.SIZE.npz      units FIRST .. FIRST + COUNT − 1 of the cell with that key, SIZE bytes
    DIR/values/*.json                            what the user's functions gave at fixed points, see ``touchstones``
    DIR/runs/*.json                              who computed what, when, with which command: provenance, not identity

A file is written under another name, synchronised and renamed.  Its name tells its size, so that a listing sees a file
that was cut; the archive's checksums tell the rest when it is read.  A damaged or foreign file is renamed ``.bad``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..engine.folds import Mergeable, Tree
from ..files import UNREADABLE, StoreFailed, put, remove_if_forgotten

__all__ = ["SCHEMA", "Cell", "Index", "Store", "StoreFailed", "Sums", "canonical", "key_of"]

SCHEMA = 2  # 2: a cell knows its engine
_NAME = re.compile(r"([0-9a-f]{64})\.(\d+)-(\d+)\.(\d+)\.npz")

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

Index = dict[bytes, tuple[tuple[int, int], ...]]


@runtime_checkable
class Sums(Mergeable, Protocol):
    """Mergeable sums that become arrays and come back: ``Moments``, ``ExitTimes``."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Any:
        """Back from arrays; raises for anything else."""
        ...


@runtime_checkable
class Cell(Protocol):
    """A frozen dataclass of plain values (numbers, texts, None and tuples of them) that can compute its sums.

    ``sums`` is the type of what ``compute`` returns; ``work`` is the cost of a replicate, in any unit, and ``like``
    says which cells share that unit: chunks are sized by it.  A cell may have ``touchstone() -> Touchstone | None``.
    """

    sums: ClassVar[type]

    @property
    def work(self) -> float:
        """Cost of a replicate."""
        ...

    @property
    def like(self) -> tuple:
        """Cells of equal ``like`` cost the same per work."""
        ...

    def compute(self, replicates: range) -> Any:
        """The sums over these replicates."""
        ...


@runtime_checkable
class Touchstone(Protocol):
    """What a cell's functions give at fixed points, see ``touchstones``; ``name`` tells what it is about."""

    @property
    def name(self) -> str:
        """A file's name."""
        ...

    def document(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def difference(self, document: Mapping[str, Any]) -> str | None:
        """What differs from an earlier document, in words."""
        ...


def canonical(cell: Any) -> str:
    """A cell as canonical JSON: sorted keys, no spaces, no NaN.

    Raises
    ------
    ValueError
        For NaN or infinite entries: they name no result.
    """
    try:
        document = {"schema": SCHEMA, "cell": type(cell).__name__, **vars(cell)}
        return _ENCODER.encode(document)
    except ValueError as error:
        raise ValueError(f"a cell must hold finite numbers, got {cell}.") from error


def key_of(text: str) -> bytes:
    """The SHA-256 of a canonical JSON text."""
    return hashlib.sha256(text.encode()).digest()


class Store:
    """A folder of chunks; safe for any number of writers, since a file's name says all that is in it."""

    def __init__(
        self, folder: Path | str, *, create: bool = True, say: Callable[[str], object] = warnings.warn
    ) -> None:
        """Open or create; ``say`` is told what is set aside, or cannot be read.

        Raises
        ------
        StoreFailed
            When the folder cannot be written, is no store, or was written under another schema.
        """
        self.folder = Path(folder)
        self.say = say
        self.set_aside: list[str] = []
        mark = self.folder / "store.json"
        if not mark.exists():
            if not create:
                raise StoreFailed(f"{self.folder} is no store: it has no store.json. Give the --out folder of a sweep.")
            if self.folder.is_dir() and self._is_foreign() and not mark.exists():
                raise StoreFailed(f"{self.folder} must be empty or a store, it holds other files: give another --out.")
            self._put(mark, json.dumps({"schema": SCHEMA, "sdesam": _version()}).encode())
        _require_schema(mark)

    def _is_foreign(self) -> bool:
        """Whether the folder holds what no store does; another writer may be creating it at this moment."""
        own = ("store.json", "chunks", "runs", "values")
        return any(p.name not in own and not p.name.startswith(".") for p in self.folder.iterdir())

    # ------------------------------------------------------------- writing
    def write(self, text: str, first: int, count: int, sums: Sums) -> None:
        """Save the sums of units ``first .. first + count − 1`` of the cell with this canonical text.

        Raises
        ------
        StoreFailed
            When the disk is full or the folder read-only; what was saved before stays.
        """
        buffer = io.BytesIO()
        node = np.array([first, count])
        np.savez_compressed(buffer, allow_pickle=False, cell=np.array(text), node=node, **sums.arrays())
        key = key_of(text).hex()
        folder = self.folder / "chunks" / key[:3]
        self._put(folder / f"{key}.{first}-{count}.{buffer.tell()}.npz", buffer.getvalue())

    def log_run(self, name: str, document: Mapping[str, Any]) -> None:
        """Save a run's provenance as runs/NAME.json."""
        self._put(self.folder / "runs" / f"{name}.json", json.dumps(document, indent=1).encode())

    def _put(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, content)
        except OSError as error:
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise StoreFailed(
                f"cannot write to {self.folder}: {reason}. What was saved stays; run the same command again when it is "
                "writable."
            ) from error

    def require_same(self, stone: Touchstone) -> None:
        """Keep what a cell's functions give at fixed points; where it is kept already, compare.

        Raises
        ------
        StoreFailed
            When they differ: sums of two functions must not be added.
        """
        path = self.folder / "values" / f"{stone.name}.json"
        if not path.exists():
            self._put(path, json.dumps(stone.document()).encode())
        try:
            difference = stone.difference(json.loads(path.read_text(encoding="utf-8")))
        except UNREADABLE as error:
            raise StoreFailed(f"{path} is damaged: give another --out.") from error
        if difference:
            raise StoreFailed(
                f"{self.folder} holds results of other functions: {difference}. The files are the same, so what they "
                "read is not (data, environment, random numbers): restore it, or give another --out."
            )

    # ------------------------------------------------------------- reading
    def index(self) -> Index:
        """Key -> nodes (first, count), by listing; files whose size is not the one in their name are set aside."""
        found: Index = {}
        for folder in self._folders():
            for entry in os.scandir(folder):
                if entry.name.startswith("."):
                    remove_if_forgotten(entry)
                if entry.name.startswith(".") or entry.name.endswith(".bad"):
                    continue
                parts = _NAME.fullmatch(entry.name)
                if not parts or entry.stat().st_size != int(parts[4]) or parts[1][:3] != folder.name:
                    self._set_aside(Path(entry.path), "not a whole chunk file")
                    continue
                key = bytes.fromhex(parts[1])
                found[key] = (*found.get(key, ()), (int(parts[2]), int(parts[3])))
        return found

    def chunks(self, text: str) -> dict[tuple[int, int], Path]:
        """Files of one cell by node."""
        key = key_of(text).hex()
        paths = (self.folder / "chunks" / key[:3]).glob(f"{key}.*.npz")
        named = ((_NAME.fullmatch(path.name), path) for path in paths)
        return {(int(name[2]), int(name[3])): path for name, path in named if name}

    def read(self, path: Path, sums: type, text: str) -> Any | None:
        """The sums of a chunk file; None, and the file is set aside, when it is damaged or another cell's."""
        found = self._arrays(path)
        if found is None:
            return None
        name, node = _NAME.fullmatch(path.name), found.pop("node", np.zeros(2)).tolist()
        if str(found.pop("cell", "")) != text or not name or node != [int(name[2]), int(name[3])]:
            self._set_aside(path, "it belongs to another cell, or to other units")
            return None
        try:
            return sums.from_arrays(found)
        except UNREADABLE as error:
            self._set_aside(path, str(error))
            return None

    def cells(self) -> list[str]:
        """Canonical texts of all cells that have a readable chunk, sorted."""
        texts = set()
        for folder in self._folders():
            seen = set()
            for path in sorted(folder.glob("*.npz")):
                if path.name[:64] not in seen and (found := self._arrays(path)) and "cell" in found:
                    seen.add(path.name[:64])
                    texts.add(str(found["cell"]))
        return sorted(texts)

    def total(self, text: str, sums: type) -> tuple[Any | None, int]:
        """The fold of a cell's units 0, 1, .. as far as they go without a gap, and their number."""
        chunks, tree, at = self.chunks(text), Tree(), 0
        while fitting := [node for node in chunks if node[0] == at]:
            node = max(fitting)
            found = self.read(chunks.pop(node), sums, text)
            if found is not None:
                tree.add(*node, found)
                at += node[1]
        return (tree.total(), at) if at else (None, 0)

    def runs(self) -> list[dict[str, Any]]:
        """The provenance of all runs that can be read, by name."""
        found = []
        for path in sorted((self.folder / "runs").glob("*.json")):
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                self._set_aside(path, "not JSON")
        return found

    def _folders(self) -> list[Path]:
        chunks = self.folder / "chunks"
        return sorted(p for p in chunks.iterdir() if p.is_dir()) if chunks.is_dir() else []

    def _arrays(self, path: Path) -> dict[str, np.ndarray] | None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            return None
        except (*UNREADABLE, OSError) as error:
            self._set_aside(path, f"{type(error).__name__}: {error}")
            return None

    def _set_aside(self, path: Path, why: str) -> None:
        self.set_aside.append(f"{path.name}: {why}")
        try:
            os.replace(path, path.with_name(path.name + ".bad"))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreFailed(f"{path} is damaged and cannot be set aside: {error.strerror}.") from error
        self.say(f"set aside {path.name} as .bad: {why}")


def _require_schema(mark: Path) -> None:
    try:
        schema = json.loads(mark.read_text(encoding="utf-8"))["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreFailed(f"{mark} is damaged: restore {{'schema': {SCHEMA}}} if this is a store.") from error
    if schema != SCHEMA:
        raise StoreFailed(
            f"{mark.parent} was written under schema {schema}, this version reads {SCHEMA}: use the sdesam that wrote "
            "it, or another --out."
        )


def _version() -> str:
    from .. import __version__

    return __version__
