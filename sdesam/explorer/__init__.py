"""The interactive explorer: a page that computes with the toolkit's traced kernels, and its hosts.

families, methods ── science: traced, printed as JavaScript ──┬── page: one HTML file
state, presets ── library ── check: the same in the toolkit ──┼── server: ``sdesam explore``
                                                              └── widget: ``Explorer`` in a notebook
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Explorer"]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from .widget import Explorer


def __getattr__(name: str) -> object:
    if name == "Explorer":
        from .widget import Explorer

        return Explorer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
