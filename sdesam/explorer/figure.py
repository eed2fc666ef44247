"""A state as a figure in the style of the papers: both clouds on the landscape, and the three curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..dynamics.kernels import Kernel
from ..engine.choice import fused_or_reason
from ..engine.ensembles import trajectories
from ..engine.llvm.cpu import Fused, fused_values
from ..engine.start import Cloud, Start
from ..plotting import COLOURS, OTHER, contours, new_figure, style
from ..problems.observables import coordinate
from ..setting import ALGORITHM, MODEL
from ..theory.methods import METHODS
from .check import Curves, curves, seed_of, stopped_kernels
from .critical import critical_points
from .library import Library
from .state import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["render_state"]

_SHOWN = 300  # particles of a map
_LABELS = {"distance": "distance, rms", "sharpness": r"sharpness $\lambda_{\max}$", "x[0]": r"$x_0$", "x[1]": r"$x_1$"}
_LINES = {ALGORITHM: "-", MODEL: "--"}


def render_state(library: Library, state: State, output: Path, *, n: int) -> None:
    """Simulate a state with n replicates a side and write the figure, .pdf or .png.

    Raises
    ------
    ValueError
        As ``curves``.
    """
    found = curves(library, state, n)
    with style():
        fig, axes = new_figure(2, 3, height=4.2)
        for ax, side in zip(axes[0], (ALGORITHM, MODEL), strict=False):
            _map(ax, library, state, side)
        for ax, what, label in (
            (axes[1, 0], "quantity", _LABELS[state.quantity]),
            (axes[1, 1], "inside", "fraction still inside"),
            (axes[1, 2], "loss", r"loss $f$"),
        ):
            _curve(ax, found, what, label)
        _legend(axes[0, 2], state, int(found.runs[ALGORITHM].count[0]))
        fig.savefig(output, metadata={"CreationDate": None} if output.suffix == ".pdf" else {"Software": None})


def _colour(state: State, side: str) -> str:
    return COLOURS.get(_title(state.method), OTHER) if side == ALGORITHM else "0.35"


def _map(ax: Axes, library: Library, state: State, side: str) -> None:
    family = library.families[state.landscape]
    view = max(family.view, *(abs(v) for v in state.box))
    contours(ax, family.landscape(**state.parameters), (-view, -view), (view, view))
    box = state.box if state.absorb else None
    last = _last_points(stopped_kernels(library, state)[side], state, seed_of(state, side))
    marker = "o" if side == ALGORITHM else "D"
    ax.plot(last[:, 0], last[:, 1], marker, color=_colour(state, side), markersize=2, alpha=0.5, linestyle="")
    for point in critical_points(family, state.parameters):
        ax.plot(*point.x.tolist(), "x" if point.kind == "saddle" else ".", color="black", markersize=5)
    if box is not None:
        left, right, bottom, top = box
        ax.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color="black", linewidth=0.8)
    ax.set(xlim=(-view, view), ylim=(-view, view), aspect="equal", title=f"{side}, $t={state.horizon:g}$")


def _last_points(kernel: Kernel, state: State, seed: int) -> np.ndarray:
    """Where the first replicates are at the horizon, (n, 2); compiled, where it can be: seconds instead of minutes."""
    x0 = Cloud(list(state.start), state.spread) if state.spread > 0 else list(state.start)
    start = Start.of(x0)
    fused = fused_or_reason(kernel, start.one, {"x": coordinate(0), "y": coordinate(1)}, {})
    if isinstance(fused, Fused):
        return fused_values(fused, start.rows, range(_SHOWN), saved=np.array([0, state.steps]), seed=seed)[-1, 1:].T
    return trajectories(kernel, x0, steps=state.steps, n=_SHOWN, seed=seed, save_every=state.steps)[-1].numpy()


def _curve(ax: Axes, found: Curves, what: str, label: str) -> None:
    for side in found.runs:
        line, colour = found.values(side, what), _colour(found.state, side)
        ax.plot(line["t"], line["value"], _LINES[side], color=colour)
        ax.fill_between(line["t"], line["low"], line["high"], color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel=r"time $t=k\eta$", ylabel=label)


def _title(method: str) -> str:
    return METHODS[method].title if method in METHODS else method


def _method(state: State) -> str:
    if state.switched_after is None:
        return _title(state.method)
    return f"{_title(state.method)}, from $t={state.switch_at:g}$ {_title(state.switch_to)}"


def _legend(ax: Axes, state: State, n: int) -> None:
    ax.axis("off")
    for side in (ALGORITHM, MODEL):
        name = _method(state) if side == ALGORITHM else f"SDE ({state.model})"
        ax.plot([], [], _LINES[side], color=_colour(state, side), label=name)
    ax.legend(loc="upper left", title="95 % bands")
    numbers = {"eta": state.eta, "rho": state.rho, "sigma": state.sigma, **state.parameters, "n": n, "seed": state.seed}
    text = "\n".join([state.landscape, *(f"{name} = {value:g}" for name, value in numbers.items())])
    ax.text(0.02, 0.02, text, transform=ax.transAxes, fontsize=7, va="bottom")
