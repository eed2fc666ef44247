"""Boundary checks: one clear sentence for one bad argument, and a plain number of Python for a good one.

A hyper-parameter may come as a number of Python (int, float, Fraction, Decimal), as a scalar of numpy, or as an array
or a tensor of no dimensions.  ``require_positive`` and its siblings check it and *return* what is to be stored, a
float; a count comes back as an int.  So only numbers of Python are printed, hashed, and meet tensors.

The exception is a scalar that is no number yet, because somebody records or batches what is done with it: there ``eta``
or ``rho`` is a run-time value, and it passes untouched.  ``is_traced`` says which tensors those are.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "as_array", "as_floats", "as_plain", "holds_traced", "is_traced", "nearest", "require_count", "require_eta",
    "require_finite", "require_nonnegative", "require_positive", "require_rho", "require_seed", "require_steps",
    "require_substeps", "set_fields", "stacked",
]  # fmt: skip


# ----------------------------------------------------------------- scalars
@overload
def require_positive(name: str, value: float, why: str) -> float: ...
@overload
def require_positive(name: str, value: float | Tensor, why: str) -> float | Tensor: ...
def require_positive(name: str, value: float | Tensor, why: str) -> float | Tensor:
    """The number as a float; ``TypeError`` or ``ValueError`` unless it is finite and > 0.  Traced tensors pass."""
    return _bounded(name, value, "> 0", why)


@overload
def require_nonnegative(name: str, value: float, why: str) -> float: ...
@overload
def require_nonnegative(name: str, value: float | Tensor, why: str) -> float | Tensor: ...
def require_nonnegative(name: str, value: float | Tensor, why: str) -> float | Tensor:
    """The number as a float; ``TypeError`` or ``ValueError`` unless it is finite and >= 0.  Traced tensors pass."""
    return _bounded(name, value, ">= 0", why)


@overload
def require_finite(name: str, value: float, why: str) -> float: ...
@overload
def require_finite(name: str, value: float | Tensor, why: str) -> float | Tensor: ...
def require_finite(name: str, value: float | Tensor, why: str) -> float | Tensor:
    """The number as a float; ``TypeError`` or ``ValueError`` unless it is finite.  Traced tensors pass."""
    return _bounded(name, value, "", why)


def require_eta(eta: Any) -> float:
    """A learning rate, > 0."""
    return require_positive("eta", eta, "it is the learning rate")  # pyright: ignore[reportReturnType]  # no traced ones


def require_rho(rho: Any) -> float:
    """An ascent radius, >= 0."""
    return require_nonnegative("rho", rho, "it is the ascent radius")  # pyright: ignore[reportReturnType]


_HOLDS = {"": lambda number: True, "> 0": lambda number: number > 0, ">= 0": lambda number: number >= 0}


def _bounded(name: str, value: float | Tensor, bound: str, why: str) -> float | Tensor:
    if type(value) is not float and is_traced(value):
        return value
    number = _number(value)
    if number is None:
        raise TypeError(f"{name} must be a number{' ' * bool(bound)}{bound}, got {_shown(value)}: {why}.")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite{' and ' * bool(bound)}{bound}, got {_shown(value)}: {why}.")
    if not _HOLDS[bound](number):
        raise ValueError(f"{name} must be {bound}, got {_shown(value)}: {why}.")
    return number


def _number(value: Any) -> float | None:
    """The float of a real number, however it is wrapped; None for what is none."""
    if type(value) is float:  # the common case: the test of an abstract class takes longer
        return value
    value = _unwrapped(value)
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer or a fraction beyond the largest float
        return math.inf


def _unwrapped(value: Any) -> Any:
    """What an array, a tensor or a scalar of numpy without dimensions holds; durations and dates stay what they are."""
    if getattr(value, "ndim", None) != 0 or not hasattr(value, "item"):
        return value
    if np.ma.is_masked(value) or getattr(getattr(value, "dtype", None), "kind", "f") in "mM":
        return None
    return value.item()


def _shown(value: object) -> str:
    """A value for a message: the number itself where it is one, else its form, cut where it is long."""
    inner = _unwrapped(value)
    text = repr(value if inner is None else inner).replace("\n", " ")
    return text if len(text) <= 80 else f"{text[:77]}..."


def as_plain(value: Any) -> Any:
    """A float for a real number that is wrapped in a tensor, an array, a Fraction..; all else as it is, ints too."""
    wrapped = getattr(value, "ndim", None) == 0 or isinstance(value, (Fraction, Decimal))
    if not wrapped or is_traced(value) or isinstance(inner := _unwrapped(value), int):
        return value
    number = _number(inner)
    return value if number is None else number


def is_traced(value: Any) -> bool:
    """Whether a scalar is a tensor whose number is not to be taken out, because what is done with it is being recorded.

    Those are the tensors that ``torch.func`` wraps (a row under ``vmap``, a variable of ``grad``), tensors without
    numbers (on the meta device, fake ones, and others that dispatch for themselves), and every tensor while a
    ``TorchDispatchMode`` is active.  The last rule is the engine's: under its watcher an input is an ordinary tensor,
    which only the mode tells from a constant.
    """
    torch: Any = sys.modules.get("torch")  # not imported for the sake of a float; without it there are no tensors
    if torch is None or not isinstance(value, torch.Tensor):
        return False
    own = type(value).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)
    return bool(own or wrapped or value.is_meta or torch._C._len_torch_dispatch_stack())


def holds_traced(value: Any) -> bool:
    """Whether there is a traced tensor in a list, at any depth."""
    if isinstance(value, (list, tuple)):  # of floats alone it is quick: landscapes ask it at every call
        return set(map(type, value)) != {float} and any(map(holds_traced, value))
    return is_traced(value)


# ----------------------------------------------------------------- counts
def require_count(name: str, value: Any, *, least: int, why: str) -> int:
    """The count as an int; ``TypeError`` unless it is an integer, of numpy or torch too, ``ValueError`` if < least."""
    plain = value if type(value) is int else _unwrapped(value)
    try:
        count = None if isinstance(plain, bool) or np.ndim(plain) else operator.index(plain)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"{name} must be an integer >= {least}, got {_shown(value)}: {why}.")
    if count < least:
        raise ValueError(f"{name} must be >= {least}, got {count}: {why}.")
    return count


def require_steps(horizon: float | int, eta: float | int, why: str) -> int:
    """The steps of eta until the horizon, both > 0; ``ValueError`` unless they are a whole number."""
    horizon = require_positive("horizon", horizon, "it is the model time of a run")
    ratio = horizon / require_positive("eta", eta, "it is the learning rate")
    steps = round(ratio)
    if steps < 1 or abs(ratio - steps) > 1e-9 * steps:
        raise ValueError(
            f"horizon must be a whole number of steps of every eta, got {horizon} = {ratio:.6g} steps of {eta}: {why}."
        )
    return steps


def require_seed(seed: Any) -> int:
    """The seed as an int; ``TypeError`` or ``ValueError`` for what is no integer from 0 to 2^64 − 1."""
    seed = require_count("seed", seed, least=0, why="it names the run's streams")
    if seed >= 2**64:
        raise ValueError(f"seed must be < 2**64, got {seed}: it names the run's streams.")
    return seed


def require_substeps(substeps: Any, least: int = 1, why: str = "") -> int:
    """The number of integrator steps per optimizer step."""
    usual = "it is the number of integrator steps per optimizer step"
    return require_count("substeps", substeps, least=least, why=why or usual)


def set_fields(instance: object, **values: object) -> None:
    """Set fields of a frozen dataclass while it is being made, to what the checks returned."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


# ----------------------------------------------------------------- arrays
_FLOATS = "write 1.0 instead of 1"
_HINTS = {"i": _FLOATS, "u": _FLOATS, "b": _FLOATS, "c": "take the real part, if that is meant"}


def as_floats(name: str, value: object) -> Tensor:
    """A float32 or float64 tensor; lists and arrays become float64 (float32 stays), whatever torch's default dtype is.

    Arrays are copied, so that any memory layout, byte order and read-only array will do.  A tensor is taken without its
    history: nothing here differentiates with respect to an argument, unless ``torch.func`` or a tracer does.

    Raises
    ------
    TypeError
        For integers, complex numbers, tensors of less than float32, and whatever is not an array of numbers.
    ValueError
        For masked entries, or a list of lists of different lengths.
    """
    import torch

    if isinstance(value, (list, tuple)) and holds_traced(value):
        return stacked(value, torch.float64)
    if isinstance(value, torch.Tensor):
        if value.dtype not in (torch.float32, torch.float64):
            kind = "f" if value.is_floating_point() else "c" if value.is_complex() else "i"
            hint = _HINTS.get(kind, "pass x.float() or x.double(), which hold the same numbers")
            raise TypeError(f"{name} must hold floats (float32 or float64), got {value.dtype}: {hint}.")
        return value.detach() if value.requires_grad and not is_traced(value) else value
    array = as_array(name, value)
    if array.dtype.kind != "f":
        hint = _HINTS.get(array.dtype.kind, "it is no array of numbers")
        raise TypeError(f"{name} must hold floats, got {array.dtype}: {hint}.")
    return torch.from_numpy(array if array.dtype == np.float32 else array.astype(np.float64))


def stacked(values: Any, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """``torch.tensor`` of a list of numbers, at any depth, some of which may be traced."""
    import torch

    if not holds_traced(values):
        return torch.tensor(values, dtype=dtype, device=device)
    if isinstance(values, (list, tuple)):
        return torch.stack([stacked(value, dtype, device) for value in values])
    return values.to(device, dtype)


def as_array(name: str, value: object) -> np.ndarray:
    """An array of one's own: a copy in this machine's byte order, contiguous and writable, whatever the value's was.

    Raises
    ------
    ValueError
        For masked entries, whose numbers are not meant, and for rows of different lengths.
    """
    if np.ma.is_masked(value):
        count = int(np.ma.count_masked(value))
        raise ValueError(f"{name} must not have masked entries, got {count}: fill them, or leave those rows out.")
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ValueError(f"{name} must be an array of numbers with rows of one length, got {_shown(value)}.") from error
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def nearest(word: str, choices: Iterable[str]) -> str:
    """The ending of an unknown-name message: the choices and, when one is close, a suggestion."""
    names = sorted(choices)
    close = get_close_matches(word, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"choose one of {', '.join(names)}.{hint}"
