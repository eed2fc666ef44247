"""Observables phi: functions ``(..., d) -> (...)``, passed in a dict whose keys are their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..arguments import is_traced

__all__ = [
    "Observable", "asked", "coordinate", "customary", "difference", "observable_named", "of_member", "products",
    "squared_norm",
]  # fmt: skip

_COORDINATE = re.compile(r"x\[(\d+)\]")
Observable = Callable[[Tensor], Tensor]


def asked(name: str, phi: Callable[[Any], Any], x: Any) -> Any:
    """phi(x); an error inside, say of an array of another length than x has, is noted with the observable's name."""
    try:
        with torch.enable_grad():  # it may differentiate something itself
            value = phi(x)
    except Exception as error:
        error.add_note(f"in observable {name!r}")
        raise
    return value.detach() if isinstance(value, Tensor) and value.requires_grad and not is_traced(value) else value


def coordinate(i: int) -> Observable:
    """phi(x) = x_i; its customary name is ``"x[i]"``."""
    return lambda x: x[..., i]


def squared_norm(x: Tensor) -> Tensor:
    """phi(x) = |x|²."""
    return (x * x).sum(-1)


def products(d: int) -> dict[str, Observable]:
    """All products x_i x_j, i <= j, whose means are the second moments; names ``"x[i]x[j]"``."""
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    return {f"x[{i}]x[{j}]": lambda x, i=i, j=j: x[..., i] * x[..., j] for i, j in pairs}


def of_member(phi: Observable, i: int) -> Observable:
    """Phi of the i-th member of a coupled kernel, whose position is ``(..., members, d)``."""
    return lambda pair: phi(pair[..., i, :])


def difference(phi: Observable, first: int = 0, second: int = 1) -> Observable:
    """phi(x) − phi(X): the difference of two members of a coupled kernel, replicate by replicate."""
    return lambda pair: phi(pair[..., first, :]) - phi(pair[..., second, :])


def customary(f: Observable, d: int) -> dict[str, Observable]:
    """What is looked at where nothing else is asked for: f and the first four coordinates."""
    return {"f": f} | {f"x[{i}]": coordinate(i) for i in range(min(d, 4))}


def observable_named(name: str, f: Observable, *, d: int | None = None) -> Observable:
    """The observable "f", "x[i]" or "|x|^2"; ``ValueError`` for another name, or for a coordinate that d has not."""
    if name == "f":
        return f
    if name == "|x|^2":
        return squared_norm
    if not (match := _COORDINATE.fullmatch(name)):
        raise ValueError(f"observables must be 'f', 'x[0]', 'x[1]', .. or '|x|^2', got {name!r}.")
    if d is not None and int(match[1]) >= d:
        raise ValueError(f"observable {name!r} must be a coordinate below d = {d}.")
    return coordinate(int(match[1]))
