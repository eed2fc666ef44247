"""The numbers inside a kernel, apart from all else that it is made of: its parameters and its structure.

Two kernels of one structure have the same list of operations, with other constants.  Parameters are the floats in the
fields of frozen dataclasses, in what partials bind, in closures and in defaults: eta, rho and sigma among them.  All
else counts by its value: arrays by their bytes, functions by their code and by the globals and module attributes that
they name, objects by what they hold.  Nothing here is trusted blindly: a list is compared with its kernel at every use.
"""

from __future__ import annotations

import functools
import hashlib
import math
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from .remaking import Build, function_like, held_by, object_like, once, partial_of
from .structures import PACKAGES, Nameless, assigned_names, cell_value, looked_up_names, unwrapped

__all__ = ["Parameters"]

_PLAIN = (str, bytes, int, bool, complex, torch.dtype, torch.device, torch.Size, BuiltinFunctionType, CodeType)
_SHORT = 1024  # bytes of an array that are a key by themselves
_LONG = 2**23  # bytes of a tensor from which it counts by who it is and how often it was written to
_MOST = 10_000  # objects that are looked into
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@dataclass(frozen=True, eq=False)
class Parameters:
    """A value taken apart.

    Attributes
    ----------
    structure : all that it is made of but its numbers, hashable
    values : its numbers, in the order in which they were met
    alive : weak references to objects that the structure knows by who they are
    closed : places of the numbers that count by their value
    """

    structure: Any
    values: tuple[float, ...]
    alive: tuple[ref, ...]
    _build: Build | None
    closed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, value: Any) -> Parameters | None:
        """The value taken apart, or None where it holds something that can neither be looked into nor referred to."""
        walk = _Walk()
        try:
            structure, build = walk.part(value, True)
        except (Nameless, RecursionError):
            return None
        return cls(structure, tuple(walk.numbers), tuple(walk.alive), build)

    @property
    def key(self) -> tuple:
        """The structure, and the values of the closed numbers."""
        return self.structure, tuple((i, self.values[i].hex()) for i in sorted(self.closed))

    @property
    def open(self) -> tuple[int, ...]:
        """Places of the other numbers."""
        return tuple(i for i in range(len(self.values)) if i not in self.closed)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The open numbers."""
        return tuple(self.values[i] for i in self.open)

    def close(self, places: Iterable[int]) -> Parameters:
        """The same, with these numbers as a part of the structure."""
        return replace(self, closed=self.closed | frozenset(places))

    def with_numbers(self, value: Any, numbers: Sequence[Any]) -> Any:
        """``value`` with other open numbers, which may be tensors: constructors are not called again."""
        chosen = list(self.values)
        for place, number in zip(self.open, numbers, strict=True):
            chosen[place] = number
        return value if self._build is None else self._build(chosen, {})


class _Walk:
    """The key of a value, and how it is made again."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.alive: list[ref] = []
        self._met: dict[int, tuple[int, Build | None, Any]] = {}  # the objects are kept, so that no id is used again

    def part(self, value: Any, free: bool) -> tuple[Any, Build | None]:
        """The key, and how to build the value again, None where nothing in it changes; ``free`` where a float may."""
        if isinstance(value, float):
            return self._number(float(value), free)
        if value is None or isinstance(value, (*_PLAIN, np.generic)):
            return (type(value), value), None
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value), None
        if id(value) in self._met:  # shared, or a function that calls itself
            place, build, _ = self._met[id(value)]
            return ("met", place), build
        if len(self._met) > _MOST:
            raise Nameless
        place = len(self._met)
        self._met[id(value)] = place, None, value
        key, build = self._inside(value, free)
        if build is not None:
            build = once(place, build)
            self._met[id(value)] = place, build, value
        return key, build

    def _number(self, value: float, free: bool) -> tuple[Any, Build | None]:
        if not free or value == 0 or not math.isfinite(value):
            return (float, value.hex()), None
        place = len(self.numbers)
        self.numbers.append(value)
        return ("number", value > 0), lambda numbers, done: numbers[place]

    def _inside(self, value: Any, free: bool) -> tuple[Any, Build | None]:
        if type(value) is tuple:
            return self._parts(type(value), value, free, tuple)
        if isinstance(value, (list, tuple)):
            return self._parts(type(value), value, False, None)
        if isinstance(value, (set, frozenset)):
            return (type(value), frozenset(self.part(v, False)[0] for v in value)), None
        if isinstance(value, Mapping):
            return self._parts(type(value), [part for pair in value.items() for part in pair], False, None)
        if isinstance(value, functools.partial):
            held = (value.func, *value.args, *value.keywords.values())
            names = tuple(value.keywords)
            return self._parts(("partial", len(value.args), names), held, free, partial_of(len(value.args), names))
        if isinstance(value, MethodType):
            return self._parts(MethodType, (value.__func__, value.__self__), free, lambda two: MethodType(*two))
        if isinstance(value, FunctionType):
            return self._function(unwrapped(value), free)
        if isinstance(value, type):
            return (value, self._of_class(value)), None
        if isinstance(value, ModuleType):
            return (ModuleType, value.__name__), None
        return self._object(value, free)

    def _parts(
        self, kind: Any, held: Iterable[Any], free: bool, make: Callable[[list], Any] | None
    ) -> tuple[Any, Build | None]:
        """Of several parts; ``make`` puts them together again."""
        keys, builds, old = [], [], []
        for part in held:
            key, build = self.part(part, free)
            keys.append(key)
            builds.append(build)
            old.append(part)
        whole = kind, tuple(keys)
        if make is None or not any(builds):
            return whole, None
        return whole, lambda numbers, done: make(
            [part if b is None else b(numbers, done) for part, b in zip(old, builds, strict=True)]
        )

    def _function(self, value: FunctionType, free: bool) -> tuple[Any, Build | None]:
        code, cells, defaults = value.__code__, value.__closure__ or (), value.__defaults__ or ()
        held = [cell_value(cell) for cell in cells]
        changing = assigned_names(code)
        free_cells = free and not changing & set(code.co_freevars)
        words = value.__kwdefaults__ or {}

        key, build = self._parts(code, (*held, *defaults), free_cells, function_like(value))
        return (key, self.part(words, False)[0], self._named_globals(value, code)), build

    def _named_globals(self, value: FunctionType, code: CodeType) -> tuple:
        """Of the user's functions: what their code looks up in its module, and in modules of the user's there."""
        if (value.__module__ or "").partition(".")[0] in PACKAGES:
            return ()
        names = looked_up_names(code)
        found = [(name, value.__globals__[name]) for name in names if name in value.__globals__]
        keys = [(name, self.part(held, False)[0]) for name, held in found]
        for _, module in found:
            if isinstance(module, ModuleType) and _is_users(module):
                keys += [(name, self.part(vars(module)[name], False)[0]) for name in names if name in vars(module)]
        return tuple(keys)

    def _of_class(self, kind: type) -> tuple:
        """The functions and values of the user's own classes."""
        own = [c for c in kind.__mro__ if c.__module__.partition(".")[0] not in (*PACKAGES, "builtins", "typing")]
        held = [(name, v) for c in own for name, v in vars(c).items() if not name.startswith("__") or callable(v)]
        return tuple((name, self.part(v, False)[0]) for name, v in held if isinstance(v, (FunctionType, float, int)))

    def _object(self, value: Any, free: bool) -> tuple[Any, Build | None]:
        if isinstance(value, torch.nn.Module):
            return self._module(value), None
        if is_dataclass(value) or hasattr(value, "__dict__"):
            held = held_by(value)
            if not is_dataclass(value) and not held:
                return self._itself(value), None
            frozen = is_dataclass(value) and type(value).__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
            names = tuple(held)
            key, build = self._parts((type(value), names), held.values(), free and frozen, object_like(value, names))
            return (self.part(type(value), False)[0], key), build
        return self._itself(value), None

    def _array(self, value: Tensor | np.ndarray) -> Any:
        if isinstance(value, Tensor) and value.nbytes > _LONG:
            return self._itself(value), value._version
        return _bytes_of(value)

    def _module(self, value: torch.nn.Module) -> Any:
        """A module of torch's, by its weights too."""
        self.alive.append(ref(value))
        weights = tuple(self._array(t) for t in (*value.parameters(), *value.buffers()))
        modes = tuple((m.training, tuple(map(id, m._forward_hooks.values()))) for m in value.modules())
        return type(value), id(value), modes, weights

    def _itself(self, value: Any) -> Any:
        try:
            self.alive.append(ref(value))
        except TypeError:
            if type(value).__hash__ in (None, object.__hash__):
                raise Nameless from None
            return type(value), value  # a path, a range, a fraction: equal ones are the same
        return type(value), id(value)


# ----------------------------------------------------------------- keys
def _bytes_of(value: Any) -> Any:
    """An array by its bytes."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            raise Nameless
        return np.ndarray, value.shape, value.dtype.str, _short(value.tobytes())
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided and not value.is_meta
    if not plain or torch._C._functorch.is_functorch_wrapped_tensor(value):  # pyright: ignore[reportAttributeAccessIssue]
        raise Nameless
    held = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return Tensor, tuple(value.shape), value.dtype, str(value.device), _short(held.tobytes())


def _short(content: bytes) -> bytes:
    return content if len(content) <= _SHORT else hashlib.blake2b(content, digest_size=20).digest()


def _is_users(module: ModuleType) -> bool:
    """Whether a module's text is neither of this package, nor of Python's, nor installed."""
    file = getattr(module, "__file__", None)
    return bool(file) and module.__name__.partition(".")[0] not in PACKAGES and not str(file).startswith(_LIBRARIES)
