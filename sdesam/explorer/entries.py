"""One entry of a state: its range, and its value from JSON or from an address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["RANGES", "SIZES", "converted", "number_of", "parsed", "points_of", "require_in_range", "text_of"]

# name -> (lowest, highest, whole number?)
RANGES: Mapping[str, tuple[float, float, bool]] = {
    "eta": (1e-4, 2.0, False),
    "rho": (0.0, 2.0, False),
    "sigma": (0.0, 5.0, False),
    "substeps": (1, 64, True),
    "n": (10, 20_000, True),
    "seed": (0, 2**53 - 4, True),
    "horizon": (0.05, 1000.0, False),
    "spread": (0.0, 2.0, False),
    "switch_at": (0.0, 1000.0, False),
}
SIZES = {"start": 2, "box": 4}
_FARTHEST = 20.0  # of starts and boxes


def converted(name: str, value: Any) -> Any:
    """The value of an entry from a document: JSON has one kind of number and no tuples."""
    if name in ("start", "box"):
        return points_of(name, value)
    if name == "parameters":
        return {key: number_of(key, v) for key, v in value.items()}
    if name not in RANGES:
        return value
    require_in_range(name, value)
    return value if RANGES[name][2] else number_of(name, value)


def parsed(name: str, text: str) -> Any:
    """The value of an entry that stands in an address."""
    if name in ("start", "box"):
        return tuple(number_of(name, part) for part in text.split(","))
    if name in ("absorb", "shared"):
        if text not in ("0", "1"):
            raise ValueError(f"{name} must be 0 or 1, got {text!r}.")
        return text == "1"
    if name not in RANGES:
        return text
    number = number_of(name, text)
    return int(number) if RANGES[name][2] and number == int(number) else number


def text_of(value: Any) -> str:
    """The text of a value in an address: 12 digits."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(map(text_of, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def number_of(name: str, value: Any) -> float:
    """A finite number; raises ``ValueError`` for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}.")
    return number


def points_of(name: str, value: Any) -> tuple[float, ...]:
    """The numbers of start or box, within the page's bound."""
    count = SIZES[name]
    if not isinstance(value, (list, tuple)) or len(value) != count:
        raise ValueError(f"{name} must be {count} numbers, got {value!r}.")
    numbers = tuple(number_of(name, v) for v in value)
    if max(map(abs, numbers)) > _FARTHEST:
        raise ValueError(f"{name} must lie within ±{_FARTHEST:g}, got {value!r}.")
    return numbers


def require_in_range(name: str, value: Any) -> None:
    """Raise ``ValueError`` for what is not a number of this entry's range."""
    low, high, whole = RANGES[name]
    number = number_of(name, value)
    if not low <= number <= high or (whole and not isinstance(value, int)):
        what = "a whole number" if whole else "a number"
        raise ValueError(f"{name} must be {what} from {low:g} to {high:g}, got {value!r}.")
