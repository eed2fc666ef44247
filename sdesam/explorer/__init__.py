"""The interactive explorer: a page that computes with the toolkit's traced kernels, and its hosts.

Families of landscapes and methods become a science (traced, printed as JavaScript), which a page shows: as one HTML
file, from the local server of ``sdesam explore``, or as the notebook's ``Explorer``.  A state says what is on the
screen, and check runs it in the toolkit.
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
