"""The paper's validation for a landscape and an update of the user: ``sdesam validate``, the table and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..arguments import require_rho
from ..dynamics.kernels import unwrap
from ..files import without_nan
from ..plotting import COLOURS, new_figure, save, style
from ..problems.minibatch import MinibatchOracle
from ..problems.oracles import ExactOracle
from ..setting import Setting
from ..theory.linear_stability import Stability, stability
from ..theory.methods import row_of
from ..weak.comparison import apart, beside
from ..weak.metrics import AGAIN, Comparison, gradient_and_radius
from ..weak.models import MODELS
from .terminal import settings_line

__all__ = ["Validation", "validated"]

_LESS = "fewer --steps, replicates (--n) or radii (--rho) take less"
_STYLES = {
    "own": ("o-", "#0072B2"),
    "drift only": ("x--", "#E69F00"),
    "SGD": ("s-", COLOURS["SGD"]),
    AGAIN: (":", "0.6"),
}


@dataclass(frozen=True, eq=False)
class Validation:
    """What was asked, the linear stability at the start, and a comparison for every radius."""

    settings: dict[str, Any]
    stability: dict[float, Stability]
    comparisons: dict[float, Comparison]

    def rows(self) -> list[dict[str, Any]]:
        """One row a radius, model and observable: the metric with its interval, and the weak error at the end."""
        return [
            _row(rho, c, model, phi) for rho, c in self.comparisons.items() for model in c.errors for phi in c.algorithm
        ]

    def document(self) -> dict[str, Any]:
        """Settings, stability, rows and answers, for JSON."""
        stable = {f"{rho:g}": asdict(s) | {"factor": s.factor} for rho, s in self.stability.items()}
        found = {"schema": 1, "settings": self.settings, "stability": stable, "rows": self.rows()}
        return without_nan(found | {"answers": {f"{rho:g}": answers(c) for rho, c in self.comparisons.items()}})

    def text(self) -> str:
        """For the eye."""
        lines = [settings_line(self.settings)]
        for rho, c in self.comparisons.items():
            lines += ["", f"rho = {rho:g}: {self.stability[rho]}", *self._losses(rho, c)]
            for phi in c.algorithm:
                lines += [f"  {phi:<28}max|error|/mean  [95 % over all steps]      error at the end"]
                lines += [_line(_row(rho, c, model, phi)) for model in c.errors]
            lines += [f"  {answer}" for answer in answers(c)]
        return "\n".join(lines)

    def _losses(self, rho: float, c: Comparison) -> list[str]:
        if not c.lost.any():
            return []
        first = int(np.flatnonzero(c.lost)[0]) * self.settings["save_every"]
        return [
            f"  DIVERGED: {int(c.lost.max())} replicates non-finite by step {first} (eta = {self.settings['eta']:g}, "
            f"rho = {rho:g}); they are left out below"
        ]

    def write_figure(self, file: Path) -> None:
        """The metric against rho, and the relative error of the loss over time at the largest radius."""
        with style():
            fig, ((left, right),) = new_figure(1, 2, width=5.5)
            rhos, last = list(self.comparisons), next(reversed(self.comparisons))
            for model, (kind, colour) in _STYLES.items():
                value, low, high = np.array([c.metric(model, "g1") for c in self.comparisons.values()]).T
                bars = [value - np.minimum(low, value), high - value]
                left.errorbar(rhos, value, bars, fmt=kind, color=colour, markersize=3, capsize=1.5, label=model)
                _over_time(right, self.comparisons[last], model, colour)
            left.set(xlabel=r"radius $\rho$", ylabel=r"$\max_k|$error of $g_1|$ / mean $g_1$", yscale="log")
            right.set(xlabel=r"time $t=k\eta$", ylabel=r"relative error of $E\,f$", title=rf"$\rho={last:g}$")
            if len(rhos) > 1 and min(rhos) > 0:
                left.set_xscale("log")
            left.legend(fontsize=6.5)
            save(fig, file.with_suffix(""))


def answers(c: Comparison) -> list[str]:
    """Which models can be told apart, in sentences."""
    found = []
    for first, second in (("own", "SGD"), ("own", "drift only"), ("own", AGAIN)):
        nearer = c.nearer(first, second, "g1")
        says = {True: "nearer to it than", False: "farther from it than", None: "within the noise of"}[nearer]
        found.append(f"the optimizer's own SDE is {says} {'SGD’s' if second == 'SGD' else second} (g1)"
                     if second != AGAIN else _against_itself(nearer))  # fmt: skip
    return found


def _against_itself(nearer: bool | None) -> str:
    if nearer is False:
        return "the own SDE's error is real: it exceeds the difference of two runs of the optimizer"
    return "independent runs of this size would not resolve the own SDE's error"


def _row(rho: float, c: Comparison, model: str, phi: str) -> dict[str, Any]:
    value, low, high = c.metric(model, phi)
    end = c.errors[model][phi][-1]
    return {
        "rho": rho, "model": model, "observable": phi, "metric": value, "low": low, "high": high,
        "error": float(end.value), "stderr": float(end.stderr), "n": int(end.n), "diverged": int(c.lost.max()),
        "heavy_tailed": bool(np.any(c.errors[model][phi].heavy_tailed)),
    }  # fmt: skip


def _line(row: Mapping[str, Any]) -> str:
    heavy = "  heavy-tailed" if row["heavy_tailed"] else ""
    return (f"    {row['model']:<22}{row['metric']:>14.3e}  [{row['low']:.2e}, {row['high']:.2e}]"
            f"{row['error']:>14.3e} ± {row['stderr']:.1e}{heavy}")  # fmt: skip


def _over_time(ax: Any, c: Comparison, model: str, colour: str) -> None:
    e, scale = c.errors[model]["f"], np.asarray(c.algorithm["f"].value)
    low, high = e.interval(0.95)
    ax.plot(c.times, np.asarray(e.value) / scale, color=colour)
    ax.fill_between(c.times, np.asarray(low) / scale, np.asarray(high) / scale, color=colour, alpha=0.2, linewidth=0)


# ----------------------------------------------------------------- computing
def validated(setting: Setting, rhos: Sequence[float], *, steps: int, n: int, save_every: int) -> Validation:
    """Run the comparison of a setting at several radii.

    Raises
    ------
    ValueError
        Without gradient noise; for minibatches that are too many and not sampled; or as ``beside`` and ``apart``.
    """
    rhos = [require_rho(rho) for rho in rhos]
    start = setting.start()
    g = setting.oracle(len(start))
    if isinstance(g, ExactOracle):
        raise ValueError("validate compares under gradient noise: give sigma (--sigma) or batch_size (--batch-size).")
    _require_rule(setting, g)
    update, f = _unbound(setting), setting.scene.landscape
    arguments: dict[str, Any] = {
        "eta": setting.eta, "rhos": list(rhos), "steps": steps, "n": n, "seed": setting.seed, "save_every": save_every,
        "observables": {"g1": gradient_and_radius(f), "f": f}, "substeps": setting.substeps, "models": MODELS,
        "progress": _LESS + ("; so do sampled minibatches in the SDEs (--batches)" if setting.batch_size else ""),
    }  # fmt: skip
    row = row_of(update)
    if row is not None and row.shares_noise and not isinstance(g, MinibatchOracle):
        found = beside(update, g, start, **arguments)
    else:
        found = apart(update, g, start, pairs=n, nodes=_nodes(setting, g), **arguments)
    settings = asdict(setting) | {"rho": list(rhos), "x0": start.tolist(), "steps": steps, "n": n,
                                  "save_every": save_every}  # fmt: skip
    stable = {rho: stability(update, f, start, eta=setting.eta, rho=rho) for rho in rhos}
    return Validation(settings, stable, found)


def _require_rule(setting: Setting, g: Any) -> None:
    """Refuse minibatches that the SDEs cannot sum over, before anything is computed and in the command's words."""
    if setting.batch_size is None or setting.batches is not None:
        return
    try:
        _ = g.noise.nodes()
    except ValueError as error:
        raise ValueError(
            f"--batch-size {g.noise.B} of {g.noise.N} data has too many minibatches for a sum over all: pass "
            "--batches 64, say, to take so many at random, with an error of 1/√64."
        ) from error


def _unbound(setting: Setting) -> Any:
    """The update without its rho, which the comparison binds."""
    field, bound = unwrap(setting.update())
    assert not set(bound) - {"rho"}
    return field


def _nodes(setting: Setting, g: Any) -> tuple[Any, Tensor] | None:
    return None if setting.batches is None else g.noise.sampled(setting.batches, setting.seed)
