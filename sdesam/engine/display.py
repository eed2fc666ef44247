"""How results show themselves: numbers with their errors in one to three lines, and as a table in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

__all__ = ["about_ten", "ends", "html_table", "numbers", "some"]

_ROWS = 10


def numbers(estimate: Any) -> list[str]:
    """Each number of an estimate with its standard error, in as many digits as that leaves, six at most."""
    shape = np.shape(estimate.value)
    value, stderr = (np.broadcast_to(part, shape).ravel() for part in (estimate.value, estimate.stderr))
    return [f"{v:.{_digits(v, s)}g} ± {s:.2g}" for v, s in zip(value, stderr, strict=True)]


def _digits(value: float, stderr: float) -> int:
    """The significant digits of a value down to the second one of its error.

    >>> _digits(0.00319768, 0.0001), _digits(0.01, 2.0), _digits(0.5, 0.0), _digits(float("nan"), 1.0)
    (3, 1, 6, 6)
    """
    if not (0 < stderr < math.inf and 0 < abs(value) < math.inf):
        return 6
    return min(max(math.floor(math.log10(abs(value))) - math.floor(math.log10(stderr)) + 2, 1), 6)


def ends(values: Sequence | np.ndarray) -> str:
    """The first and the last of some numbers, or of texts.

    >>> ends([0.125, 0.0625, 0.03125]), ends([7]), ends([])
    ('0.125 .. 0.03125', '7', '')
    """
    return " .. ".join(_text(values[i]) for i in ((0, -1) if len(values) > 1 else range(len(values))))


def some(texts: Iterable[str], most: int = 3) -> str:
    """The first few texts, and how many there are besides.

    >>> some("abcde")
    'a, b, c and 2 more'
    """
    texts = list(texts)
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def about_ten(count: int) -> list[int]:
    """Places of ten rows after the first, evenly spread; all where they are not more than twice as many.

    >>> about_ten(5), about_ten(102)
    ([0, 1, 2, 3, 4], [0, 10, 20, 30, 40, 50, 61, 71, 81, 91, 101])
    """
    if count <= 2 * _ROWS + 1:
        return list(range(count))
    return [round(i * (count - 1) / _ROWS) for i in range(_ROWS + 1)]


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def html_table(caption: str, columns: Mapping[str, Iterable]) -> str:
    """A table for a notebook, from its columns by name; texts are escaped.

    >>> html_table("a < b", {"|x|": [0.1234567, "&"]})
    '<table><caption>a &lt; b</caption><tr><th>|x|</th></tr><tr><td>0.123457</td></tr><tr><td>&amp;</td></tr></table>'
    """
    rows = [_row(columns, "th"), *(_row(row, "td") for row in zip(*columns.values(), strict=True))]
    return f"<table><caption>{_lines(caption)}</caption>{''.join(rows)}</table>"


def _row(cells: Iterable, tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(_text(cell))}</{tag}>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
