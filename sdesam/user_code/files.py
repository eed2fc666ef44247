"""Which files of the user's a file brings in: what it imports, at any depth, that is neither Python's nor installed.

Read off the imports in the text (those inside functions too) and off what the loaded module holds, so that it does not
depend on what else the process has imported before.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

__all__ = ["INSTALLED", "contents_of", "files_of", "identity_of", "is_users", "shadows", "two_meanings"]

INSTALLED = {"site-packages", "dist-packages"}
_PYTHONS = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_OURS = Path(__file__).resolve().parents[1]


def is_users(file: Path) -> bool:
    """Whether a file is neither Python's, nor an installed package's, nor ours."""
    file = file.resolve()
    foreign = (_OURS, *_PYTHONS)
    return not (INSTALLED & set(file.parts) or any(folder in file.parents for folder in foreign))


def files_of(module: ModuleType, file: Path) -> dict[str, Path]:
    """Files of the user's by module name; the module's own under ""."""
    found = {"": file}
    waiting: list[tuple[str, Path, ModuleType | None]] = [("", file, module)]
    while waiting:
        name, path, loaded = waiting.pop()
        for other in (*_names_in(path, name), *_names_held(loaded)):
            origin = None if other in found or _is_foreign(other.split(".")[0]) else _file_named(other)
            if origin is not None and origin != file and origin.is_file() and is_users(origin):
                found[other] = origin
                waiting.append((other, origin, sys.modules.get(other)))
    return found


def contents_of(files: Mapping[str, Path]) -> dict[str, bytes]:
    """The SHA-256 of each file; of nothing where it is gone."""
    return {name: hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest() for name, path in files.items()}


def identity_of(contents: Mapping[str, bytes]) -> str:
    """One digest of named contents, as 16 hexadecimal digits: no path is in it."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + contents[name])
    return digest.hexdigest()[:16]


# ----------------------------------------------------------------- names that stand for two files
def shadows(folder: Path) -> list[str]:
    """Loaded modules of the user's from elsewhere, under a name that this folder has as well."""
    found = []
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if "." in name or name == "__main__" or not origin or not (own := _named_in(folder, name)):
            continue
        if own != Path(origin).resolve() and is_users(Path(origin)):
            found += [name, *(n for n in list(sys.modules) if n.startswith(f"{name}."))]
    return found


def two_meanings(files: Mapping[str, Path]) -> tuple[str, Path, Path | None] | None:
    """A name that a file imports, the file of that name beside it, and the other (or Python's: None) that it means."""
    main = files[""]
    for key, path in files.items():
        for name in {n.split(".")[0] for n in _names_in(path, key)}:
            own, used = _named_in(main.parent, name), _file_named(name)
            if own and own not in (main, used):
                return name, own, used
    return None


def _named_in(folder: Path, name: str) -> Path | None:
    found = (p.resolve() for p in (folder / f"{name}.py", folder / name / "__init__.py") if p.is_file())
    return next(found, None)


# ----------------------------------------------------------------- names
def _names_in(path: Path, name: str) -> list[str]:
    """Every dotted name that a file's text imports, and those of the packages on the way."""
    if path.suffix != ".py" or not path.is_file():
        return []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return list(_imported(path.read_bytes(), package))


@lru_cache(maxsize=256)
def _imported(text: bytes, package: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found += [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(prefix for name in found for prefix in _prefixes(name)))


def _prefixes(name: str) -> Iterator[str]:
    parts = [part for part in name.split(".") if part]
    return (".".join(parts[: k + 1]) for k in range(len(parts)))


def _names_held(module: ModuleType | None) -> list[str]:
    """Modules that a module holds, or whose functions and classes it holds."""
    values = [] if module is None else list(vars(module).values())
    names = (
        getattr(v, "__name__", "") if isinstance(v, ModuleType) else getattr(v, "__module__", None) for v in values
    )
    return [name for name in names if isinstance(name, str) and name in sys.modules and name != "__main__"]


def _is_foreign(name: str) -> bool:
    """Whether a name of no dots is Python's or an installed package's: then so are all below it."""
    origin = _file_named(name)
    return name in sys.builtin_module_names or (origin is not None and not is_users(origin))


def _file_named(name: str) -> Path | None:
    """The file behind a module's name, loaded or not; None for what has none."""
    if name in sys.modules:
        origin = getattr(sys.modules[name], "__file__", None)
    else:
        spec = _spec_named(name)
        origin = None if spec is None or not spec.has_location else spec.origin
    return None if not origin else Path(origin).resolve()


def _spec_named(name: str):
    """Where a name would be found, without importing the packages on the way."""
    path, spec = None, None
    for prefix in _prefixes(name):
        spec = PathFinder.find_spec(prefix, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec
