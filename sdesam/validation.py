"""Boundary checks: one clear sentence for one bad argument.

Only Python numbers are examined.  A traced or batched tensor passes through untouched, so the same
constructors serve the tracer, where ``eta`` or ``rho`` are run-time scalars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real

__all__ = ["nearest", "require_count", "require_nonnegative", "require_positive"]


def require_positive(name: str, value: object, why: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number > 0 (tensors pass)."""
    _require_finite(name, value, "> 0", why)
    if isinstance(value, Real) and not value > 0:
        raise ValueError(f"{name} must be > 0, got {value!r}: {why}.")


def require_nonnegative(name: str, value: object, why: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number >= 0 (tensors pass)."""
    _require_finite(name, value, ">= 0", why)
    if isinstance(value, Real) and not value >= 0:
        raise ValueError(f"{name} must be >= 0, got {value!r}: {why}.")


def _require_finite(name: str, value: object, bound: str, why: str) -> None:
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise TypeError(f"{name} must be a number {bound}, got {value!r}: {why}.")
    if isinstance(value, Real) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite and {bound}, got {value!r}: {why}.")


def require_count(name: str, value: object, *, least: int, why: str) -> None:
    """Raise unless ``value`` is an integer >= ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}: {why}.")
    if value.__index__() < least:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"{name} must be >= {least}, got {value!r}: {why}.")


def nearest(word: str, choices: Iterable[str]) -> str:
    """The ending of an unknown-name message: the choices and, when one is close, a suggestion."""
    names = sorted(choices)
    close = get_close_matches(word, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"choose one of {', '.join(names)}.{hint}"
