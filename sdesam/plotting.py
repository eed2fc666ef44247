"""Figures: one style file, one colour a method, one line style a kind, and a labelled band on every estimate.

Functions take an ``Axes`` and return it.  Output is byte-stable.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .engine.exits import ExitTimes
from .engine.statistics import Estimate
from .theory.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "OTHER", "WIDTHS", "contours", "estimate_line", "new_figure", "save", "style", "survival_line",
    "theory_line", "tint",
]  # fmt: skip

OTHER = "#CC79A7"  # of what stands in no table
COLOURS = {row.title: row.colour for row in METHODS.values()}
WIDTHS = {"column": 3.25, "text": 5.5, "page": 6.75}  # inches
_STYLE = Path(__file__).with_name("sdesam.mplstyle")
_LINE = {
    "algorithm": {"linestyle": "-", "marker": "o"},
    "SDE": {"linestyle": "--", "marker": ""},
    "theory": {"linestyle": ":", "marker": ""},
}


def new_figure(
    rows: int, columns: int, *, width: float = WIDTHS["page"], height: float = 2.4
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, always a 2-d array, drawn without a display; call it inside ``style()``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False)


def style() -> AbstractContextManager[None]:
    """The package's style sheet as a context, for drawing and for saving.

    It is laid over matplotlib's own defaults, so that a figure does not depend on the user's matplotlibrc.
    """
    from matplotlib import style as sheets

    return sheets.context(_STYLE, after_reset=True)


def estimate_line(
    ax: Axes,
    t: np.ndarray,
    estimate: Estimate,
    *,
    method: str,
    kind: str,
    level: float = 0.95,
    every: int = 1,
    **style,
) -> Axes:
    """An estimate over time with its ``level`` confidence band; the kind rules the line style."""
    colour = COLOURS.get(method, OTHER)
    low, high = estimate.interval(level)
    label = style.pop("label", f"{method} {kind}")
    line = {**_LINE[kind], "color": colour, "markevery": every, **style}
    ax.plot(t, np.asarray(estimate.value), label=label, **line)
    ax.fill_between(t, low, high, color=colour, alpha=0.18, linewidth=0)
    return ax


def survival_line(ax: Axes, exits: ExitTimes, *, method: str, kind: str, level: float = 0.95, **style) -> Axes:
    """S(t) as a step function with its simultaneous band."""
    colour = style.pop("color", COLOURS.get(method, OTHER))
    low, high = exits.band(level)
    label = style.pop("label", f"{method} {kind}")
    ax.step(
        exits.times,
        exits.survival,
        where="post",
        color=colour,
        linestyle=_LINE[kind]["linestyle"],
        label=label,
        **style,
    )
    ax.fill_between(exits.times, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
    return ax


def theory_line(ax: Axes, t: np.ndarray, value: np.ndarray, *, method: str, label: str | None, **style) -> Axes:
    """An exact or predicted curve, dotted."""
    colour = COLOURS.get(method, OTHER)
    ax.plot(t, value, label=label, **{**_LINE["theory"], "color": colour, "zorder": 5, **style})
    return ax


def tint(colour: str, share: float) -> tuple[float, ...]:
    """The colour mixed with white: all of it at share 1, a quarter of it at 0."""
    from matplotlib.colors import to_rgb

    return tuple(1 - (0.25 + 0.75 * share) * (1 - v) for v in to_rgb(colour))


def contours(ax: Axes, f, low: tuple[float, float], high: tuple[float, float], *, levels: int = 14) -> Axes:
    """Grey level lines of a two-dimensional landscape."""
    import torch

    u, v = (np.linspace(low[i], high[i], 160) for i in range(2))
    grid = torch.from_numpy(np.stack(np.meshgrid(u, v), -1))
    ax.contour(u, v, f(grid).numpy(), levels=levels, colors="0.75", linewidths=0.5)
    return ax


def save(fig: Figure, stem: Path) -> list[Path]:
    """Write ``stem.pdf`` and ``stem.png`` without dates, so that equal figures are equal files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(".pdf"), stem.with_suffix(".png")]
    with style():
        fig.savefig(paths[0], metadata={"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None})
        fig.savefig(paths[1], metadata={"Software": None})
    return paths
