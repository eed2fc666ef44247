"""``sdesam simulate``: one optimizer and its SDE, as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..arguments import require_count
from ..engine.display import about_ten
from ..engine.ensembles import Engine, simulate
from ..engine.statistics import Moments
from ..engine.streams import derived
from ..files import without_nan
from ..problems.calculus import norm
from ..problems.observables import customary
from ..setting import ALGORITHM, MODEL, TITLES, Setting, note_of, spacing
from ..theory.one_step import sampling_error
from .terminal import say, settings_line

__all__ = ["Table", "side_by_side"]

_ROWS = 10


@dataclass(frozen=True)
class Table:
    """Estimates of both sides, one row for each of the saved steps whose places are ``shown``."""

    settings: dict[str, Any]
    sides: dict[str, Moments]
    shown: tuple[int, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One row per side, observable and step shown."""
        found = []
        for side, moments in self.sides.items():
            for name in moments.names:
                e = moments.estimate(name)
                for i in self.shown:
                    found.append({
                        "side": side, "observable": name,
                        "step": int(moments.steps[i]), "time": float(moments.times[i]),
                        "value": float(np.asarray(e.value)[i]), "stderr": float(np.asarray(e.stderr)[i]),
                        "n": int(moments.count[i]), "diverged": int(moments.nonfinite[i]),
                        "heavy_tailed": bool(np.broadcast_to(e.heavy_tailed, moments.steps.shape)[i]),
                    })  # fmt: skip
        return found

    def document(self) -> dict[str, Any]:
        """Settings and rows, for JSON."""
        return without_nan({"schema": 1, "settings": self.settings, "rows": self.rows()})

    def csv(self) -> str:
        """The rows in long form."""
        out = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def text(self) -> str:
        """A table for the eye: value ± standard error, one column a side."""
        lines = [settings_line(self.settings)]
        first = next(iter(self.sides.values()))
        for name in first.names:
            estimates = {side: m.estimate(name) for side, m in self.sides.items()}
            lines += ["", f"{name:<10}" + f"{'time':>8}  " + "".join(f"{TITLES[side]:>26}" for side in estimates)]
            for i in self.shown:
                cells = "".join(f"{_cell(e.value, e.stderr, i):>26}" for e in estimates.values())
                lines.append(f"step {int(first.steps[i]):<5}{first.times[i]:>8.4g}  {cells}")
        lost = {TITLES[side]: int(m.nonfinite[-1]) for side, m in self.sides.items() if m.nonfinite[-1]}
        return "\n".join([*lines, f"\ndiverged: {lost}"] if lost else lines)


def _cell(value: Any, stderr: Any, i: int) -> str:
    return f"{float(np.asarray(value)[i]):.6g} ± {float(np.asarray(stderr)[i]):.1e}"


def side_by_side(
    setting: Setting, *, steps: int, n: int, save_every: int | None, model: bool, engine: Engine = "auto"
) -> Table:
    """Simulate the optimizer and, with ``model``, its SDE from the same start on independent streams.

    Raises
    ------
    ValueError, TypeError
        One sentence for each bad argument.
    """
    steps = require_count("steps", steps, least=1, why="a run needs a step")
    if note := note_of(setting):
        say(note)
    start = setting.start()
    sides = (ALGORITHM, MODEL) if model else (ALGORITHM,)
    kernels = {side: setting.kernel(side) for side in sides}
    observables = customary(setting.scene.landscape, len(start))
    found = {
        side: simulate(
            kernel, start, steps=steps, observables=observables, n=n, seed=_seed(setting.seed, side), engine=engine,
            save_every=spacing(steps, _ROWS) if save_every is None else save_every, progress=True,
        )
        for side, kernel in kernels.items()
    }  # fmt: skip
    engines = " and ".join(sorted({m.engine for m in found.values()}))
    notes = {side: m.engine_note for side, m in found.items() if m.engine_note}
    same = len(set(notes.values())) == 1 and len(notes) == len(found)
    each = [f"{side}: {text}" for side, text in notes.items()]
    note = next(iter(notes.values())) if same else "; ".join(each) or None
    settings = asdict(setting) | {"x0": start.tolist(), "steps": steps, "n": n, "engine": engines, "engine note": note}
    if not model:
        settings["substeps"] = None
    elif setting.batches is not None:
        drift, trace = sampling_error(setting.model(), start)
        settings |= {"drift error at x0": float(norm(drift)), "trace error at x0": float(trace)}
    saved = len(found[ALGORITHM].steps)
    return Table(settings, found, tuple(range(saved)) if save_every is not None else tuple(about_ten(saved)))


def _seed(seed: int, side: str) -> int:
    """The optimizer's is the run's own, as in ``simulate``; the model's is derived from it."""
    return seed if side == ALGORITHM else derived(seed, side)
