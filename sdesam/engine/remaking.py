"""Values made again with other numbers inside: partials, functions and objects, whose constructors are not called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import CellType, FunctionType
from typing import Any

__all__ = ["Build", "function_like", "object_like", "once", "partial_of"]

Build = Callable[[Sequence[Any], dict[int, Any]], Any]  # of all numbers, and of what is made already: shared parts stay


def once(place: int, build: Build) -> Build:
    """What is shared is made once."""

    def made(numbers: Sequence[Any], done: dict[int, Any]) -> Any:
        if place not in done:
            done[place] = build(numbers, done)
        return done[place]

    return made


def partial_of(count: int, names: tuple[str, ...]) -> Callable[[list], Any]:
    """A partial of (function, ``count`` arguments, one value for each name)."""

    def made(parts: list) -> functools.partial:
        function, *bound = parts
        return functools.partial(function, *bound[:count], **dict(zip(names, bound[count:], strict=True)))

    return made


def function_like(value: FunctionType) -> Callable[[list], FunctionType]:
    """The function with what its closure holds."""

    def made(parts: list) -> FunctionType:
        closure = tuple(CellType(v) for v in parts)
        new = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, closure or None)
        new.__kwdefaults__, new.__module__, new.__qualname__ = (
            value.__kwdefaults__,
            value.__module__,
            value.__qualname__,
        )
        new.__dict__.update(value.__dict__)
        return new

    return made


def object_like(value: Any, names: tuple[str, ...]) -> Callable[[list], Any]:
    """An object of the same class with these fields."""

    def made(parts: list) -> Any:
        new = object.__new__(type(value))
        for name, part in zip(names, parts, strict=True):
            object.__setattr__(new, name, part)
        return new

    return made
