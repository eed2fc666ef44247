"""The cells a command line can sweep: means of an ensemble, and exit times."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..arguments import require_count, require_positive, set_fields
from ..engine.ensembles import DivergenceWarning, simulate
from ..engine.exits import ExitTimes, first_exit
from ..engine.probe import probe_kernel
from ..engine.statistics import Estimate, Moments, wilson
from ..problems.fingerprints import fingerprint
from ..problems.observables import customary, observable_named
from ..setting import MODEL, SIDES, Setting
from ..user_code.failures import guarded
from .engines import ENGINES, engine_of
from .touchstones import Touchstone, touchstone_of

__all__ = ["CELLS", "Ensemble", "Escape", "Inside", "Row", "cell_of", "rows_of"]

_TYPICAL = 2.0**-4  # of eta, rho and sigma, where a structure is tried
Row = dict[str, Any]


@dataclass(frozen=True)
class _Simulated(Setting):
    """One side of a setting with its engine, and what its names stand for: an edited file is another cell.

    ``engine`` is "fused" or "eager"; by default what ``engine_of`` says.  It is a part of the cell, since the engines
    differ in last bits and a store must not mix them.
    """

    side: str = SIDES[0]
    steps: int = 100
    engine: str = ""
    landscape_is: str = ""
    method_is: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side not in SIDES:
            raise ValueError(f"side must be one of {', '.join(SIDES)}, got {self.side!r}.")
        set_fields(self, steps=require_count("steps", self.steps, least=1, why="a run needs a step"))
        for name in ("landscape", "method"):
            reference = getattr(self, name)
            if not getattr(self, f"{name}_is") and (name == "landscape" or ".py:" in reference):
                object.__setattr__(self, f"{name}_is", fingerprint(reference))

    def _choose_engine(self) -> None:
        """The last step of making a cell."""
        if self.engine not in ("", *ENGINES):
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}.")
        set_fields(self, engine=self.engine or engine_of(self))  # pyright: ignore[reportArgumentType]

    @property
    def watched(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What is looked at."""
        raise TypeError(f"{type(self).__name__} does not say what it looks at")

    def typical(self) -> _Simulated:
        """A cell of the same structure, whose numbers are the same for all of that structure.

        A method of the user's may go by its numbers: they stay.
        """
        numbers: dict[str, Any] = {
            "eta": _TYPICAL,
            "rho": _TYPICAL * bool(self.rho),
            "sigma": _TYPICAL * bool(self.sigma),
        }
        return replace(self, seed=0, engine=ENGINES[-1], **({} if ".py:" in self.method else numbers))

    @property
    def is_tame(self) -> bool:
        """Whether only compiled code of this package runs."""
        return self.engine == ENGINES[0] and not any(".py:" in name for name in (self.landscape, self.method))

    @property
    def work(self) -> float:
        """Kernel steps of a replicate."""
        return float(self.steps * (self.substeps if self.side == MODEL else 1))

    @property
    def like(self) -> tuple:
        """What a step costs depends on these."""
        which = (type(self).__name__, self.landscape, self.method, self.side, self.engine)
        return (*which, self.batch_size, self.dtype, self.x0)

    def check(self) -> None:
        """Raise ``ValueError`` unless the cell can start and its functions pass the probe."""
        self._require_same_names()
        with guarded():
            start, kernel = self.start(), self.kernel(self.side)
            kernel.init(start[None])
            probe_kernel(kernel, start)

    def touchstone(self) -> Touchstone | None:
        """What the user's functions give at fixed points, for a store to compare."""
        return touchstone_of(self)

    def _require_same_names(self) -> None:
        for name in ("landscape", "method"):
            recorded = getattr(self, f"{name}_is")
            if recorded and fingerprint(getattr(self, name)) != recorded:
                raise ValueError(f"{name} {getattr(self, name)!r} changed since this cell was made: start a new sweep.")


@dataclass(frozen=True)
class Ensemble(_Simulated):
    """Means of observables at ``saves`` equally spaced steps; ``observables`` are "f", "x[i]" and "|x|^2"."""

    saves: int = 10
    observables: tuple[str, ...] = ()
    sums: ClassVar[type] = Moments

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, saves=require_count("saves", self.saves, least=1, why="it is the number of saved steps"))
        if self.steps % self.saves:
            raise ValueError(f"saves must divide steps = {self.steps}: the last step is saved, got {self.saves}.")
        object.__setattr__(self, "observables", tuple(self.observables))
        for name in self.observables:
            observable_named(name, lambda x: x[..., 0])
        self._choose_engine()

    @property
    def watched(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The observables by name."""
        f = self.scene.landscape
        return {name: observable_named(name, f) for name in self.observables} or customary(f, len(self.start()))

    def typical(self) -> Ensemble:
        """Of a few steps."""
        return replace(super().typical(), steps=1, saves=1)  # pyright: ignore[reportReturnType]

    @property
    def like(self) -> tuple:
        """And on what is observed."""
        return (*super().like, self.observables)

    def check(self) -> None:
        """Also that the coordinates exist."""
        super().check()
        for name in self.observables:
            observable_named(name, self.scene.landscape, d=len(self.start()))

    def compute(self, replicates: range) -> Moments:
        """Moments over these replicates; diverged ones are counted in them."""
        self._require_same_names()
        with warnings.catch_warnings(), guarded():
            warnings.simplefilter("ignore", DivergenceWarning)
            return simulate(
                self.kernel(self.side), self.start(), steps=self.steps, observables=self.watched, n=replicates.stop,
                seed=self.seed, save_every=self.steps // self.saves, replicates=replicates,
                engine=self.engine,  # pyright: ignore[reportArgumentType]
            )  # fmt: skip


@dataclass(frozen=True)
class Inside:
    """Whether a point has not left: |x| < exit_at, or |x[axis]| < exit_at."""

    exit_at: float | int
    axis: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """``(..., d) -> (...)`` booleans."""
        distance = torch.linalg.vector_norm(x, dim=-1) if self.axis is None else x[..., self.axis].abs()
        return distance < self.exit_at


@dataclass(frozen=True)
class Escape(_Simulated):
    """Exit times from |x| < exit_at, or from |x[axis]| < exit_at where an axis is given."""

    exit_at: float | int = 1.0
    axis: int | None = None
    sums: ClassVar[type] = ExitTimes

    def __post_init__(self) -> None:
        super().__post_init__()
        set_fields(self, exit_at=require_positive("exit_at", self.exit_at, "it is the distance of the exit"))
        if self.axis is not None:
            set_fields(self, axis=require_count("axis", self.axis, least=0, why="it is a coordinate's index"))
        self._choose_engine()

    @property
    def watched(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Whether a point has not left."""
        return {"inside": Inside(self.exit_at, self.axis)}

    def typical(self) -> Escape:
        """Of a few steps."""
        return replace(super().typical(), steps=1, exit_at=1.0)  # pyright: ignore[reportReturnType]

    @property
    def like(self) -> tuple:
        """And on what is watched."""
        return (*super().like, self.axis)

    def check(self) -> None:
        """Also that the axis exists."""
        super().check()
        if self.axis is not None and self.axis >= len(self.start()):
            raise ValueError(f"axis must be < {len(self.start())}, the dimension, got {self.axis}.")

    def compute(self, replicates: range) -> ExitTimes:
        """Exit times over these replicates."""
        self.check()
        with guarded():
            return first_exit(
                self.kernel(self.side), self.start(), self.watched["inside"], max_steps=self.steps, n=replicates.stop,
                seed=self.seed, replicates=replicates,
                engine=self.engine,  # pyright: ignore[reportArgumentType]
            )  # fmt: skip


CELLS = {kind.__name__: kind for kind in (Ensemble, Escape)}


def cell_of(text: str) -> Ensemble | Escape:
    """The cell of a canonical text; raises ``ValueError`` for a kind this command line does not know."""
    document: dict[str, Any] = json.loads(text)
    kind = CELLS.get(document.pop("cell"))
    if kind is None or document.pop("schema") is None:
        raise ValueError("the store holds cells of a program of your own: collect them with Store.total.")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
    return kind(**values)


# ----------------------------------------------------------------- tables
def rows_of(cell: Ensemble | Escape, sums: Any) -> list[Row]:
    """The cell's results in long form: one row an observable and saved step, each value with its standard error."""
    settings = {entry.name: getattr(cell, entry.name) for entry in fields(cell)}
    settings = {k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in settings.items()}
    found = _moment_rows(sums) if isinstance(sums, Moments) else _exit_rows(sums)
    return [{"kind": type(cell).__name__, **settings, **row} for row in found]


def _moment_rows(moments: Moments) -> list[Row]:
    found = []
    for name in moments.names:
        e = moments.estimate(name)
        for i, k in enumerate(moments.steps):
            found.append(_row(name, int(k), float(moments.times[i]), e[i], int(moments.nonfinite[i])))
    return found


def _exit_rows(exits: ExitTimes) -> list[Row]:
    last, end = len(exits.counts) - 1, float(exits.times[-1])
    median, low, high = exits.median()
    rows = [
        _row("escaped", last, end, exits.escaped(), exits.diverged),
        _row("exit time, restricted mean", last, end, exits.restricted_mean(), exits.diverged),
        _row("exit time, median", last, end, Estimate(median, float("nan"), exits.n, "Monte Carlo"), exits.diverged),
    ]
    rows[0] |= dict(zip(("low", "high"), wilson(exits.n - exits.censored, exits.n), strict=True))
    rows[-1] |= {"low": low, "high": high}
    return rows


def _row(name: str, step: int, time: float, e: Estimate, diverged: int) -> Row:
    low, high = (float(v) for v in e.interval())
    return {
        "observable": name, "step": step, "time": time, "value": float(e.value), "stderr": float(e.stderr), "low": low,
        "high": high, "n": int(e.n), "diverged": diverged, "heavy_tailed": bool(e.heavy_tailed),
    }  # fmt: skip
