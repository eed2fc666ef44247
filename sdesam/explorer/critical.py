"""Critical points in view, as the page finds them: Newton's method from a grid of starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problems.calculus import norm
from .families import Family
from .formulas import landscape_functions

__all__ = ["CriticalPoint", "critical_points"]

_GRID, _STEPS, _SAME = 9, 40, 1e-3
_RANK = ("saddle", "maximum", "minimum", "valley")


@dataclass(frozen=True)
class CriticalPoint:
    """Where the gradient vanishes, with its curvatures and what they make of it."""

    x: Tensor
    low: float
    high: float
    kind: str


def critical_points(
    family: Family, parameters: Mapping[str, float], start: Sequence[float] = (0.0, 0.0), view: float | None = None
) -> list[CriticalPoint]:
    """Saddles first, then maxima, minima and points of valleys; each kind by its distance from the start.

    ``view`` is half the width of the square they are looked for in, by default the family's.
    """
    values = {name: torch.tensor(float(v), dtype=torch.float64) for name, v in parameters.items()}
    functions, view = landscape_functions(family), view or family.view
    axis = torch.linspace(-0.97, 0.97, _GRID, dtype=torch.float64) * view
    x = torch.cartesian_prod(axis, axis)
    for _ in range(_STEPS):
        x = torch.stack(list(functions["newton"](values, x)), -1)
    size = norm(torch.stack(list(functions["gradient"](values, x)), -1))
    x = x[(size < 1e-9) & (norm(x) < 1.5 * view)]
    kept: list[Tensor] = []
    for point in x:
        if all(float(norm(point - other)) >= _SAME * view for other in kept):
            kept.append(point)
    found = [_described(functions, values, point) for point in kept]
    origin = torch.tensor(list(start), dtype=torch.float64)
    return sorted(found, key=lambda q: (_RANK.index(q.kind), float(norm(q.x - origin))))


def _described(functions: Mapping, values: Mapping[str, Tensor], x: Tensor) -> CriticalPoint:
    low, high, *_ = (float(v) for v in functions["curvature"](values, x))
    if abs(low) < 1e-6 * max(1.0, abs(high)) or abs(high) < 1e-6:
        kind = "valley"
    else:
        kind = "minimum" if low > 0 else "maximum" if high < 0 else "saddle"
    return CriticalPoint(x, low, high, kind)
