"""Boundary checks: one clear sentence for one bad argument.

Only Python numbers are examined.  A traced or batched tensor passes through untouched, so the same
constructors serve the tracer, where ``eta`` or ``rho`` are run-time scalars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["as_floats", "nearest", "require_count", "require_nonnegative", "require_positive"]


def require_positive(name: str, value: object, why: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number > 0 (tensors pass)."""
    number = _finite(name, value, "> 0", why)
    if number is not None and not number > 0:
        raise ValueError(f"{name} must be > 0, got {value!r}: {why}.")


def require_nonnegative(name: str, value: object, why: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number >= 0 (tensors pass)."""
    number = _finite(name, value, ">= 0", why)
    if number is not None and not number >= 0:
        raise ValueError(f"{name} must be >= 0, got {value!r}: {why}.")


def _finite(name: str, value: object, bound: str, why: str) -> float | None:
    """A Python number as a float; None for a tensor of no dimensions."""
    plain = type(value) is float or type(value) is int  # the common case: the test of an abstract class takes longer
    if not plain and (isinstance(value, bool) or not isinstance(value, Real)):
        if not isinstance(value, bool) and getattr(value, "ndim", None) == 0:
            return None
        raise TypeError(f"{name} must be a number {bound}, got {value!r}: {why}.")
    if not math.isfinite(value):  # pyright: ignore[reportArgumentType]
        raise ValueError(f"{name} must be finite and {bound}, got {value!r}: {why}.")
    return float(value)  # pyright: ignore[reportArgumentType]


def require_count(name: str, value: object, *, least: int, why: str) -> None:
    """Raise unless ``value`` is an integer >= ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}: {why}.")
    if value.__index__() < least:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"{name} must be >= {least}, got {value!r}: {why}.")


def as_floats(name: str, value: object) -> Tensor:
    """A float32 or float64 tensor; lists and arrays become float64, whatever torch's default dtype is.

    Raises
    ------
    TypeError
        For integers, complex numbers and whatever is not an array of numbers.
    """
    import torch

    if isinstance(value, torch.Tensor):
        if value.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} must hold floats (float32 or float64), got {value.dtype}: write 1.0 instead of 1.")
        return value
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must hold floats, got {array.dtype}: write 1.0 instead of 1.")
    return torch.from_numpy(array if array.dtype == np.float32 else array.astype(np.float64))


def nearest(word: str, choices: Iterable[str]) -> str:
    """The ending of an unknown-name message: the choices and, when one is close, a suggestion."""
    names = sorted(choices)
    close = get_close_matches(word, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"choose one of {', '.join(names)}.{hint}"
