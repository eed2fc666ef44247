"""The user's own Python: the one place that loads ``file.py``, again when it or what it imports was edited.

A file becomes a module named after its whole path, ``sdesam.user_code.loading.file_…``: it clashes with no other
module, dataclasses and pickle find it, and a new process that is sent one of its functions loads the same file.  Its
folder is importable, after the standard library and before what is installed.
"""

from __future__ import annotations

import base64
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import CodeType, ModuleType

from .failures import UserCodeFailed, first_line, mark, place_of, to_stderr
from .files import INSTALLED, contents_of, files_of, identity_of, is_users, shadows, two_meanings

__all__ = ["identity", "load_file"]

__path__: list[str] = []  # a package of modules that the finder below makes, so that a new process may import them
_PREFIX = f"{__name__}.file_"


@dataclass(frozen=True)
class _Loaded:
    module: ModuleType
    files: Mapping[str, Path]
    contents: Mapping[str, bytes]


_LOADED: dict[Path, _Loaded] = {}
_LOADING = threading.RLock()
_FOLDERS: set[str] = set()  # that were put into sys.path here; the newest comes first


def load_file(file: Path) -> ModuleType:
    """The module of a file of the user's, as it and all files of the user's that it imports are now.

    Raises
    ------
    UserCodeFailed
        When it exits or raises (``KeyboardInterrupt`` passes), or imports a name that stands for two files.
    """
    path = file.resolve()
    with _LOADING:
        known = _LOADED.get(path)
        if known is None or contents_of(files_of(known.module, path)) != known.contents:
            known = _LOADED[path] = _loaded(file, path, known)
        return known.module


def identity(file: Path) -> str:
    """What a file means, as 16 digits: the contents of all files of the user's that it brings in.  Raises as above."""
    with _LOADING:
        load_file(file)
        return identity_of(_LOADED[file.resolve()].contents)


def _loaded(file: Path, path: Path, before: _Loaded | None) -> _Loaded:
    mark([path])
    for old in (_name_of(path), *(before.files if before else ()), *shadows(path.parent)):
        sys.modules.pop(old, None)
    _make_importable(path.parent)
    module = _imported(file, path)
    files = files_of(module, path)
    mark(list(files.values()))
    if found := two_meanings(files):
        name, own, used = found
        raise UserCodeFailed(
            f"{file} imports {name!r}, which may be {own} or {used or 'a module of Python'} here: rename the first."
        )
    return _Loaded(module, files, contents_of(files))


def _imported(file: Path, path: Path) -> ModuleType:
    importlib.invalidate_caches()
    try:
        with to_stderr(), _no_bytecode():
            return importlib.import_module(_name_of(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = {frame.filename for frame in extract_tb(error.__traceback__)}
        place = place_of(
            error, {name for name in frames if Path(name).is_file() and is_users(Path(name))} | {str(path)}
        )
        where = f" ({place})" if place and not isinstance(error, SyntaxError) else ""
        raise UserCodeFailed(f"{file} failed to import: {first_line(error)}{where}") from error


def _make_importable(folder: Path) -> None:
    """After the standard library, whose names a user's file must not take; before what is installed."""
    others = [p for p in sys.path if p != str(folder)] if str(folder) in _FOLDERS else list(sys.path)
    if str(folder) in _FOLDERS or str(folder) not in others:
        installed = (i for i, p in enumerate(others) if _FOLDERS & {p} or INSTALLED & set(Path(p).parts))
        at = next(installed, len(others))
        sys.path[:] = [*others[:at], str(folder), *others[at:]]
        _FOLDERS.add(str(folder))


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Cached bytecode is told from its source by size and second: two edits within a second would be one."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


# ----------------------------------------------------------------- names of modules
def _name_of(path: Path) -> str:
    return _PREFIX + base64.b32encode(os.fsencode(path)).decode().rstrip("=").lower()


class _Source(SourceFileLoader):
    """Compiles what the file holds now."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


class _Finder:
    """Finds the file whose path a module's name spells."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module of this package; None for all others."""
        if not name.startswith(_PREFIX):
            return None
        spelt = name.removeprefix(_PREFIX).upper()
        file = os.fsdecode(base64.b32decode(spelt + "=" * (-len(spelt) % 8)))
        return spec_from_file_location(name, file, loader=_Source(name, file))


sys.meta_path.append(_Finder)  # pyright: ignore[reportArgumentType]
