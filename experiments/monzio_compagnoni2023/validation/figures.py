"""The figure of one method on the four validation tasks, for F1 to F3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdesam.plotting import COLOURS, new_figure
from sdesam.weak.metrics import AGAIN

from .tasks import PANELS, TASKS, Config, comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]


def draw(r: dict[str, np.ndarray], c: Config, method: str):
    """Top: the paper's metric against rho; bottom: the signed relative error of the loss on minibatches."""
    fig, axes = new_figure(2, 4, height=4.0)
    styles = {
        "own": dict(color=COLOURS[method], marker="o", label=f"{method}'s SDE"),
        "drift only": dict(color="#E69F00", marker="x", linestyle="--", label="its drift, SGD's noise"),
        "SGD": dict(color=COLOURS["SGD"], marker="s", label="SGD's SDE"),
        AGAIN: dict(color="0.6", linestyle=":", label="two runs of the optimizer"),
    }
    for ax, name in zip(axes[0], TASKS, strict=True):
        _metric_panel(ax, r, c, name, styles)
    for ax, panel in zip(axes[1], PANELS, strict=True):
        _minibatch_panel(ax, r, c, panel, styles)
    axes[0, 0].set_ylabel(r"$\max_k|E\,g_1(x_k)-E\,g_1(X_{k\eta})|$" "\n" r"over mean $E\,g_1(x_k)$", fontsize=7)
    axes[1, 0].set_ylabel(r"$E\,f(x_k)/E\,f(X_{k\eta})-1$, %", fontsize=7)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=7)
    return fig


def _metric_panel(ax: Axes, r: dict[str, np.ndarray], c: Config, name: str, styles: dict) -> None:
    for model, style in styles.items():
        rows = np.array([comparison(r, c, name, rho).metric(model, "g1") for rho in c.rhos]).T
        value, low, high = rows
        line = {"markersize": 3, "linewidth": 1.0, **style}
        if model == AGAIN:
            ax.plot(c.rhos, value, **line)
            ax.fill_between(c.rhos, 1e-12, high, color="0.6", alpha=0.15, linewidth=0)
        else:
            ax.errorbar(c.rhos, value, [value - np.minimum(low, value), high - value], capsize=1.5, **line)
    ax.set(xscale="log", yscale="log", title=name, xlabel=r"radius $\rho$")
    floor = min(comparison(r, c, name, rho).metric("own", "g1")[0] for rho in c.rhos)
    ax.set_ylim(floor / 3, None)


def _minibatch_panel(ax: Axes, r: dict[str, np.ndarray], c: Config, panel: str, styles: dict) -> None:
    found = comparison(r, c, f"minibatch {panel}", c.minibatch_rho)
    scale = 100 / np.asarray(found.algorithm["f"].value)
    for model, style in styles.items():
        if model in found.errors:
            e = found.errors[model]["f"]
            low, high = (np.asarray(end) * scale for end in e.interval(0.95))
            line = {k: v for k, v in style.items() if k in ("color", "linestyle")}
            ax.plot(found.times, np.asarray(e.value) * scale, linewidth=1.0, **line)
            ax.fill_between(found.times, low, high, color=style["color"], alpha=0.2, linewidth=0)
    B = c.batch_size if panel.endswith("batches") else 1
    ax.set(title=f"{panel.split(',')[0]}, $B={B}$", xlabel=r"time $t=k\eta$")
