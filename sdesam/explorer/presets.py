"""Stories: states with one sentence each, whose truth the tests check by simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .state import State

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A state worth looking at, and what is to be seen there."""

    name: str
    title: str
    sentence: str
    state: State

    def document(self) -> dict[str, Any]:
        """Plain values, for the page."""
        return {"name": self.name, "title": self.title, "sentence": self.sentence, "state": self.state.document()}


_SADDLE = {"landscape": "saddle", "parameters": {"curvature": 1.0}, "start": (0.0, 0.0)}
_BOX = (-0.5, 0.5, -0.5, 0.5)
PRESETS: tuple[Preset, ...] = (
    Preset(
        "sam-trapped", "SAM is trapped where SGD escapes",
        "At this saddle SGD leaves the box within a few units of time; SAM at the same η and σ is held by its own "
        "ascent: change the method to SGD and watch the box empty.",
        State(method="sam", eta=0.02, rho=0.4, sigma=0.1, horizon=10.0, box=_BOX, **_SADDLE),
    ),
)  # fmt: skip
