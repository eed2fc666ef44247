"""The page as text: its module in one piece, and the HTML file that needs nothing else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import __version__
from .families import FAMILIES, Family
from .methods import METHODS, ShownMethod
from .presets import PRESETS, Preset
from .science import Science
from .state import CHOICES, RANGES, State

__all__ = ["config_of", "module_text", "page_html", "science_module", "style_text"]

_FOLDER = Path(__file__).parent / "page"
_ORDER = (  # each imports from those before it
    "random", "ensemble", "theory", "paint", "state", "contours", "maps", "plots", "phase", "controls", "exports",
    "outlet", "theme", "panel", "pointer", "pictures", "clock", "main", "hosts",
)  # fmt: skip
_MOST_STEPS = 100_000
_BREAK = "\f"  # between style and module: in neither, since JSON escapes it
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*//.*\n", re.MULTILINE)


@lru_cache(maxsize=1)
def module_text() -> str:
    """The page's sources as one module: concatenated, without imports, indentation and comment lines."""
    parts = []
    for name in _ORDER:
        text = _COMMENT.sub("", _IMPORT.sub("", (_FOLDER / f"{name}.js").read_text(encoding="utf-8")))
        text = re.sub(r"^export \{[^}]*\};?\n", "", text, flags=re.MULTILINE)
        parts.append(re.sub(r"^[ \t]+", "", re.sub(r"^export ", "", text, flags=re.MULTILINE), flags=re.MULTILINE))
    return "".join(parts)


@lru_cache(maxsize=1)
def style_text() -> str:
    """The style sheet."""
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


def config_of(
    state: State, families: Mapping[str, Family] = FAMILIES, methods: Mapping[str, ShownMethod] = METHODS,
    presets: Sequence[Preset] = PRESETS,
) -> dict[str, Any]:  # fmt: skip
    """What the page knows at start: the state, bounds, landscapes, methods and stories."""
    plain = State().document()
    schema = {"ranges": dict(RANGES), "choices": dict(CHOICES), "defaults": plain, "mostSteps": _MOST_STEPS}
    return {
        "version": __version__,
        "schema": schema,
        "state": state.document(),
        "methods": list(methods),
        "titles": {name: method.row.title for name, method in methods.items()},
        "landscapes": {name: _about(family) for name, family in families.items()},
        "sources": {"landscape": _sources(families), "method": _sources(methods)},
        "presets": [preset.document() for preset in presets],
        "story": next((p.name for p in presets if p.state == state), ""),
    }


def _sources(things: Mapping[str, Family] | Mapping[str, ShownMethod]) -> dict[str, str]:
    """Where what the user brought can be loaded from, by name."""
    return {name: thing.source for name, thing in things.items() if thing.source is not None}


def _about(family: Family) -> dict[str, Any]:
    sliders = {name: (s.default, s.low, s.high) for name, s in family.parameters.items()}
    return {"start": family.start, "view": family.view, "parameters": sliders}


def science_module(science: Science) -> str:
    """A module that exports one science."""
    return f"export const science = {science.javascript()};\n"


def entry_text(config: Mapping[str, Any], sciences: Sequence[Science], *, server: bool) -> str:
    """The module with its data, which opens the page."""
    data = json.dumps(dict(config) | {"server": server}, separators=(",", ":")).replace("<", "\\u003c")
    held = ",\n".join(science.javascript() for science in sciences)
    start = "globalThis.sdesam = openPage(config);\n"
    return f"{module_text()}\nconst config = {data};\nconfig.sciences = [{held}];\n{start}"


def page_html(config: Mapping[str, Any], sciences: Sequence[Science], title: str = "sdesam") -> str:
    """One file that runs from disk: style and module, compressed; its policy allows nothing but these."""
    module, style = entry_text(config, sciences, server=False), style_text()
    packed = base64.b64encode(gzip.compress(_BREAK.join((style, module)).encode(), 9, mtime=0)).decode()
    loader = _LOADER.replace("PACKED", packed)
    scripts = f"script-src {_hash(loader)} {_hash(module)}"
    policy = f"default-src 'none'; {scripts}; style-src {_hash(style)}; img-src blob: data:"
    return _HTML.format(title=_plain(title), policy=policy, loader=loader)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


_LOADER = """
const bytes = Uint8Array.from(atob("PACKED"), (c) => c.charCodeAt(0));
new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text().then((text) => {
  const [style, module] = text.split("\f");
  for (const [tag, type, content] of [["style", "text/css", style], ["script", "module", module]])
    document.head.append(Object.assign(document.createElement(tag), { type, textContent: content }));
});
"""
_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<body>
<main id="sdesam" class="sdesam">This page simulates in the browser and needs JavaScript.</main>
<script>{loader}</script>
</body>
</html>
"""
