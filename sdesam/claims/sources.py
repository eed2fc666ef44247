"""Which sources a figure comes from, and their hashes: of its numbers, of its drawing, and of its criteria.

A script is split by what ``run``, ``figure`` and ``verdicts`` reach in it; with each part go the modules of the package
and the siblings that it imports, at any depth.  Hashed is what those *say*, in a normal form: the syntax tree without
comments, docstrings, annotations, ``__all__`` and the texts of refusals.  It depends neither on the formatting nor on
the version of Python (3.11 to 3.14: fields that newer trees add are empty here, and empty fields are left out).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..names import MODULE_OF, MOVED
from .normal_form import normal_form, parsed, reached

__all__ = ["Hashes", "around", "closure", "hashes"]

_PACKAGE = Path(__file__).parents[1]
_NAME = _PACKAGE.name
_STYLE = f"{_NAME}.mplstyle"
# as this process found them when it began: later edits are not what it runs
_FILES = {path.relative_to(_PACKAGE).as_posix(): path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}
_PLOTTING = frozenset({"plotting.py"})  # what it imports are types: of the drawing it counts alone
# They draw, print or keep what others computed; everything else that a script's run reaches may change a number.
_NO_NUMBERS = _PLOTTING | {"engine/display.py", "engine/javascript.py", "engine/progress.py", "files.py"}
_BESIDE = "experiments"
_ROOTS = {
    "numbers": ("run", "Config"),
    "drawing": ("figure",),
    "criteria": ("verdicts", "ID", "TITLE", "CAPTION", "MINUTES"),
}


@dataclass(frozen=True)
class Hashes:
    """SHA-256, in 16 digits each, of what a figure on record comes from.

    Attributes
    ----------
    numbers : what ``run`` and ``Config`` reach: where it changed, everything is computed again
    drawing : what ``figure`` reaches, with the style: where it alone changed, kept numbers are drawn again
    criteria : what ``verdicts`` reaches, the caption and the title: kept numbers are judged again
    """

    numbers: str
    drawing: str
    criteria: str


def hashes(script: Path, files: Mapping[str, bytes] = _FILES) -> Hashes:
    """The three hashes of a script; a module that a part cannot reach (the command line) does not change its own."""
    tree, files = parsed(script.read_bytes()), around(script, files)
    numbers, drawing, criteria = (reached(tree, roots) for roots in _ROOTS.values())
    style = (_PACKAGE / _STYLE).read_bytes().replace(b"\r\n", b"\n")
    return Hashes(
        numbers=_digest(numbers, _closure(numbers, files, without=_NO_NUMBERS), files),
        drawing=_digest(drawing, _closure(drawing, files, leaves=_PLOTTING), files, style),
        criteria=_digest(criteria, _closure(criteria, files, without=_NO_NUMBERS), files),
    )


def around(script: Path, files: Mapping[str, bytes] = _FILES) -> dict[str, bytes]:
    """The package's files and what lies beside a script and below, named as if its folder were a package of ours."""
    folder = script.parent
    beside = {f"{_BESIDE}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in sorted(folder.rglob("*.py"))}
    return {**files, **beside}


def _digest(part: ast.Module, names: list[str], files: Mapping[str, bytes], style: bytes = b"") -> str:
    digest = hashlib.sha256(normal_form(part).encode() + b"\0" + style)
    for name in names:
        digest.update(f"{name}\0{_said_by(name, files)[0]}\0".encode())
    return digest.hexdigest()[:16]


def closure(script: bytes, files: Mapping[str, bytes] = _FILES) -> list[str]:
    """The files that a script reaches through its imports, at any depth, in order.

    The package's own ``__init__`` only maps names to modules: it is passed through, never counted.
    """
    return _closure(parsed(script), files)


def _closure(
    tree: ast.Module,
    files: Mapping[str, bytes],
    *,
    without: frozenset[str] = frozenset(),
    leaves: frozenset[str] = frozenset(),
) -> list[str]:
    """As ``closure``; files in ``without`` are passed over, and those in ``leaves`` lead nowhere."""
    found: set[str] = set()
    looks: set[str] = set()  # the table of methods has their colours
    waiting = [name for names in _imported(tree, (_BESIDE,)) for name in _files_of(names, files)]
    while waiting:
        name = waiting.pop()
        if name in found or name in without:
            continue
        found.add(name)
        if name in leaves:
            looks |= {n for n in files if n.startswith("theory/") and n.endswith(("method.py", "methods.py"))}
            continue
        waiting += [n for names in _said_by(name, files)[1] for n in _files_of(names, files)]
    return sorted(found | looks)


@cache
def _module(content: bytes, folder: tuple[str, ...]) -> tuple[str, list[tuple[str, ...]]]:
    """The hash of what a module says, and what it imports."""
    tree = parsed(content)
    return hashlib.sha256(normal_form(tree).encode()).hexdigest(), list(_imported(tree, folder))


def _said_by(name: str, files: Mapping[str, bytes]) -> tuple[str, list[tuple[str, ...]]]:
    return _module(files[name], tuple(name.split("/")[:-1]))


def _imported(tree: ast.Module, folder: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Dotted names inside the package that a tree imports, or uses as ``sdesam.a.b``."""
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from _from(node, folder)
        elif isinstance(node, ast.Import):
            ours = [a for a in node.names if a.name.split(".")[0] == _NAME]
            aliases |= {a.asname or _NAME for a in ours}
            yield from (tuple(a.name.split(".")[1:]) for a in ours)
    if aliases:
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
    if names and names[0] in MODULE_OF:
        names = (*MODULE_OF[names[0]].split("."), *names[1:])
    for depth in (2, 1):
        if (new := MOVED.get(".".join(names[:depth]))) and len(names) >= depth:
            names = (*new.split("."), *names[depth:])
            break
    for depth in range(1, len(names) + 1):
        stem = "/".join(names[:depth])
        yield from (name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in files)
