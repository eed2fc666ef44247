"""Which sources a script's numbers come from: the modules of the package that it reaches through imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from . import _HOME

__all__ = ["closure", "source_hash"]

_PACKAGE = Path(__file__).parent
_NAME = _PACKAGE.name
_STYLE = f"{_NAME}.mplstyle"
# as this process found them when it began: later edits are not what it runs
_FILES = {path.relative_to(_PACKAGE).as_posix(): path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}


def source_hash(script: Path, files: Mapping[str, bytes] = _FILES) -> str:
    """SHA-256, in 16 digits, over the script, the sources that it reaches, and the figures' style.

    A module that the script cannot reach (the command line, another paper's theory) does not change it.
    """
    digest = hashlib.sha256((_PACKAGE / _STYLE).read_bytes())
    text = script.read_bytes()
    for name, content in ((script.name, text), *((name, files[name]) for name in closure(text, files))):
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]


def closure(script: bytes, files: Mapping[str, bytes] = _FILES) -> list[str]:
    """The package's files that a script reaches through its imports, at any depth, in order.

    The package's own ``__init__`` only maps names to modules: it is passed through, never counted.
    """
    found: set[str] = set()
    waiting = [name for names in _imported(script, ()) for name in _files_of(names, files)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            folder = tuple(name.split("/")[:-1])
            waiting += [n for names in _imports_of(files[name], folder) for n in _files_of(names, files)]
    return sorted(found)


@cache
def _imports_of(content: bytes, folder: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(_imported(content, folder))


def _imported(content: bytes, folder: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Dotted names inside the package that a text imports, or uses as ``sdesam.a.b``."""
    tree = ast.parse(content)
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from _from(node, folder)
        elif isinstance(node, ast.Import):
            ours = [a for a in node.names if a.name.split(".")[0] == _NAME]
            aliases |= {a.asname or _NAME for a in ours}
            yield from (tuple(a.name.split(".")[1:]) for a in ours)
    yield from (names[1:] for names in map(_dotted, ast.walk(tree)) if names[0] in aliases)


def _dotted(node: ast.AST) -> tuple[str, ...]:
    """The names of ``a.b.c``, and of anything else one that is no alias."""
    if isinstance(node, ast.Name):
        return (node.id,)
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else ("",)
    return (*before, node.attr) if isinstance(node, ast.Attribute) else before


def _from(node: ast.ImportFrom, folder: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    parts = tuple((node.module or "").split(".")) if node.module else ()
    if node.level:
        parts = (*folder[: len(folder) - node.level + 1], *parts)
    elif parts[:1] == (_NAME,):
        parts = parts[1:]
    else:
        return
    yield from ((*parts, a.name) for a in node.names)


def _files_of(names: tuple[str, ...], files: Mapping[str, bytes]) -> Iterator[str]:
    """The files behind a dotted name: its module, and the ``__init__`` of every package on the way."""
    if names and names[0] in _MODULES:
        names = (_MODULES[names[0]], *names[1:])
    for depth in range(1, len(names) + 1):
        stem = "/".join(names[:depth])
        yield from (name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in files)


_MODULES = {name: module for module, names in _HOME.items() for name in names}
