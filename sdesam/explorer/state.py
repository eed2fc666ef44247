"""The state of a screen: everything that decides its picture, seed included, as it stands in an address."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from .entries import RANGES, converted, number_of, parsed, points_of, require_in_range, text_of

if TYPE_CHECKING:
    from .families import Family

__all__ = ["CHOICES", "RANGES", "State", "read_state"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "model": ("theory", "as-printed", "sgd"),
    "integrator": ("srk", "euler"),
    "quantity": ("distance", "sharpness", "x[0]", "x[1]"),
}
_MOST_STEPS = 100_000
_SOON = 1e-9  # of model time: sums of eta are rounded


@dataclass(frozen=True)
class State:
    """One screen.

    Parameters
    ----------
    landscape, method : names of the explorer, or of what the user brought
    model : the SDE beside the method: its own ("theory"), with the printed covariance, or SGD's
    integrator, substeps : small-noise Runge-Kutta or Euler-Maruyama, and its steps per optimizer step
    start, spread : where particles begin, and the standard deviation about it
    box : left, right, bottom, top of the region that is left; ``absorb`` stops particles there
    shared : one noise for both sides
    switch_at, switch_to : at this model time the method becomes another; 0 for never
    parameters : the landscape's numbers

    Raises
    ------
    ValueError
        One sentence for each bad entry.
    """

    landscape: str = "saddle"
    method: str = "sam"
    model: str = "theory"
    integrator: str = "srk"
    eta: float = 0.01
    rho: float = 0.1
    sigma: float = 0.25
    substeps: int = 8
    n: int = 2000
    seed: int = 0
    horizon: float = 10.0
    start: tuple[float, float] = (0.0, 0.0)
    spread: float = 0.0
    box: tuple[float, float, float, float] = (-0.5, 0.5, -0.5, 0.5)
    absorb: bool = True
    shared: bool = False
    quantity: str = "distance"
    switch_at: float = 0.0
    switch_to: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in RANGES:
            require_in_range(name, getattr(self, name))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        for name in ("start", "box"):
            object.__setattr__(self, name, points_of(name, getattr(self, name)))
        left, right, bottom, top = self.box
        if not (left < right and bottom < top):
            raise ValueError(f"box must be left < right and bottom < top, got {self.box}.")
        if self.horizon / self.eta > _MOST_STEPS:
            raise ValueError(f"horizon / eta must be <= {_MOST_STEPS} steps, got {self.horizon / self.eta:.3g}.")
        object.__setattr__(self, "parameters", {k: number_of(k, v) for k, v in dict(self.parameters).items()})

    @property
    def steps(self) -> int:
        """Optimizer steps to the horizon."""
        return max(1, round(self.horizon / self.eta))

    @property
    def switched_after(self) -> int | None:
        """Steps before the method becomes ``switch_to``, as on the page: the first at whose beginning it is time."""
        if not (self.switch_at > 0 and self.switch_to):
            return None
        return math.ceil((self.switch_at - _SOON) / self.eta)

    def on(self, family: Family) -> State:
        """With every parameter of its landscape; raises ``ValueError`` for one that it does not have."""
        unknown = set(self.parameters) - set(family.parameters)
        if unknown:
            known = ", ".join(family.parameters) or "none"
            raise ValueError(f"parameters of {family.name} are {known}, got {', '.join(map(str, unknown))}.")
        return replace(self, landscape=family.name, parameters=family.defaults() | dict(self.parameters))

    def fragment(self) -> str:
        """Name=value pairs, those that differ from the default, as they stand after # in an address."""
        plain, pairs = State(), [("landscape", self.landscape), ("method", self.method)]
        for name in _PLAIN:
            value = getattr(self, name)
            if value != getattr(plain, name) and name not in ("landscape", "method"):
                pairs.append((name, text_of(value)))
        pairs += [(f"p.{name}", text_of(value)) for name, value in self.parameters.items()]
        return "&".join(f"{k}={quote(v, safe=',.-_[]')}" for k, v in pairs)

    def document(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)
        } | {"parameters": dict(self.parameters)}  # fmt: skip

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> State:
        """What ``document`` gave; raises ``ValueError`` for anything else."""
        if not isinstance(document, Mapping):
            raise ValueError(f"state must be an object with entries like eta, got {type(document).__name__}.")
        unknown = set(document) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"state has unknown entries {', '.join(sorted(map(str, unknown)))}.")
        for name in ("landscape", "method", "model", "integrator", "quantity", "switch_to"):
            if not isinstance(document.get(name, ""), str):
                raise ValueError(f"{name} must be a name, got {document[name]!r}.")
        for name in ("absorb", "shared"):
            if not isinstance(document.get(name, True), bool):
                raise ValueError(f"{name} must be true or false, got {document[name]!r}.")
        if not isinstance(document.get("parameters", {}), Mapping):
            raise ValueError(f"parameters must be an object, got {document['parameters']!r}.")
        return cls(**{name: converted(name, value) for name, value in document.items()})

    @classmethod
    def from_fragment(cls, text: str) -> State:
        """The state of an address (all of it, or what follows #)."""
        found: dict[str, Any] = {}
        parameters: dict[str, Any] = {}
        for key, value in parse_qsl(text.rpartition("#")[2], keep_blank_values=True):
            if key.startswith("p."):
                parameters[key[2:]] = number_of(key, value)
            elif key in _PLAIN:
                found[key] = parsed(key, value)
            else:
                raise ValueError(f"state has the unknown entry {key!r}: {', '.join(_PLAIN)} are known.")
        return cls.of({**found, "parameters": parameters})


_PLAIN = tuple(f.name for f in fields(State) if f.name != "parameters")


def read_state(text: str) -> State:
    """A state from an address, its fragment, or a JSON file that the page exported.

    Raises
    ------
    ValueError
        For an unreadable file or a bad entry.
    """
    if not text.endswith(".json"):
        return State.from_fragment(text)
    try:
        document = json.loads(Path(text).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"state file {text!r} cannot be read: {error}.") from error
    return State.of(document.get("state", document) if isinstance(document, Mapping) else document)
