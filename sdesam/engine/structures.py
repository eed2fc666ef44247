"""What functions are made of, as a key: two kernels that differ by their numbers only are one structure.

A float counts by its sign, an array by its shape; functions by their code and by what they hold; other objects by who
they are, and they are not kept alive.  An integer counts by its value, or by its sign where the function may change it
(in a list, or a variable that its code assigns to): a counter is no structure.
"""

from __future__ import annotations

import dis
import functools
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from dataclasses import fields, is_dataclass
from threading import Lock
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar
from weakref import ref

import numpy as np
import torch
from torch import Tensor

__all__ = ["PACKAGES", "Memo", "Nameless", "Recent", "cell_value", "home", "looked_up_names", "unwrapped"]

_PLAIN = (str, bytes, torch.dtype, torch.device, type, ModuleType, BuiltinFunctionType)
_LONGEST = 1000  # entries of a list that are looked into
PACKAGES = (__name__.partition(".")[0], "torch", "numpy", "scipy")  # functions of these read no global of the user's
_CHECKERS = ("beartype", "jaxtyping", PACKAGES[0])  # whose wrappers check types in the tests
Value = TypeVar("Value")


class Nameless(Exception):
    """An object that can neither be looked into nor referred to weakly."""


class _Walk:
    """The key of a value, and weak references to the objects in it that count by who they are."""

    def __init__(self) -> None:
        self.alive: list[ref] = []
        self._path: dict[int, tuple[int, Any]] = {}  # the objects are kept meanwhile, so that no id is used again

    def key(self, value: Any, loose: bool = False) -> Any:
        """Hashable; ``loose`` for what may change from call to call."""
        if value is None or isinstance(value, (bool, np.bool_, *_PLAIN)):
            return type(value), value
        if isinstance(value, (int, np.integer)) and not loose:
            return "integer", int(value)
        if isinstance(value, (int, float, np.number)) or (isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0):
            return "number", bool(value > 0), bool(value < 0)
        if isinstance(value, (Tensor, np.ndarray)):
            return type(value), tuple(value.shape), value.dtype, str(getattr(value, "device", "")), _signs(value)
        if id(value) in self._path:  # a function that calls itself
            return "above", self._path[id(value)][0]
        self._path[id(value)] = len(self._path), value
        return self._inside(value, loose)

    def _inside(self, value: Any, loose: bool) -> Any:
        if isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
            return type(value), tuple(self.key(v, loose or isinstance(value, list)) for v in value)
        if isinstance(value, Mapping) and len(value) <= _LONGEST:
            return type(value), tuple((self.key(k), self.key(v, True)) for k, v in value.items())
        if isinstance(value, functools.partial):
            return functools.partial, self.key(value.func), self.key(value.args), *self._named(value.keywords)
        if isinstance(value, MethodType):
            return MethodType, self.key(value.__func__), self.key(value.__self__)
        if isinstance(value, FunctionType):
            return self._function(value)
        if is_dataclass(value) and not isinstance(value, torch.nn.Module):
            held = {f.name: getattr(value, f.name, None) for f in fields(value)}
            return type(value), *self._named(held, () if type(value).__dataclass_params__.frozen else held)  # pyright: ignore
        return self._itself(value)

    def _named(self, held: Mapping[str, Any], changing: Container[str] = ()) -> tuple:
        return tuple((name, self.key(v, name in changing)) for name, v in held.items())

    def _function(self, value: FunctionType) -> Any:
        value = unwrapped(value)
        known = home(value) in PACKAGES
        code = value.__code__
        held = dict(zip(code.co_freevars, map(cell_value, value.__closure__ or ()), strict=True))
        if not known:
            held |= {name: value.__globals__[name] for name in looked_up_names(code) if name in value.__globals__}
            held |= {"(defaults)": value.__defaults__, "(keywords)": value.__kwdefaults__}
        return code, *self._named(held, _assigned(code))

    def _itself(self, value: Any) -> Any:
        try:
            self.alive.append(ref(value))
        except TypeError:
            if type(value).__module__ != "builtins" or type(value).__hash__ is None:
                raise Nameless from None
            return type(value), value  # a range, a slot's descriptor
        if isinstance(value, torch.nn.Module):
            hooks = tuple(self.key(list(m._forward_hooks.values()), True) for m in value.modules())
            return type(value), id(value), tuple(m.training for m in value.modules()), hooks
        if type(value).__module__.partition(".")[0] in PACKAGES:
            return type(value), id(value)
        held = getattr(value, "__dict__", {})
        return type(value), id(value), *self._named(held, held)


def _signs(value: Any) -> Any:
    """Which of zero, positive and negative numbers an array has: one without any may switch a term off."""
    if value.dtype in (bool, torch.bool):
        return bool(value.any()), bool(value.all())
    if getattr(value, "is_meta", False) or str(value.dtype)[0] == "O":
        return None
    return bool((value > 0).any()), bool((value < 0).any()), bool((value == 0).any())


def home(value: FunctionType) -> str:
    """The top package of the module in which a function was written; ``wraps`` copies another one's ``__module__``."""
    return str(value.__globals__.get("__name__", "")).partition(".")[0]


def unwrapped(value: FunctionType) -> FunctionType:
    """A function of the packages without what checks its types, which adds nothing; the user's as they are."""
    inner = getattr(value, "__wrapped__", None)
    while isinstance(inner, FunctionType) and home(value) in _CHECKERS and _wraps_ours(inner):
        value, inner = inner, getattr(inner, "__wrapped__", None)
    return value


def _wraps_ours(value: FunctionType) -> bool:
    """Whether a function is the package's, or checks the types of one."""
    inner = getattr(value, "__wrapped__", None)
    return home(value) == PACKAGES[0] or (
        home(value) in _CHECKERS and isinstance(inner, FunctionType) and _wraps_ours(inner)
    )


def cell_value(cell: Any) -> Any:
    """What a closure's cell holds, None where it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


@functools.lru_cache(maxsize=1024)
def _assigned(code: CodeType) -> frozenset[str]:
    """Names of an outer function, or of the module, that the code assigns to."""
    stores = ("STORE_DEREF", "STORE_GLOBAL")
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in stores)


@functools.lru_cache(maxsize=1024)
def looked_up_names(code: CodeType) -> tuple[str, ...]:
    """Names that the code looks up, also inside of its own functions."""
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in looked_up_names(c)]
    return tuple(dict.fromkeys((*code.co_names, *inner)))


def _key_of(value: Any) -> tuple[Any, tuple[ref, ...]]:
    walk = _Walk()
    return walk.key(value), tuple(walk.alive)


class Recent:
    """What was found for a key, of the latest ``most`` keys; objects that a key knows by who they are must be alive."""

    def __init__(self, most: int) -> None:
        self.most, self._lock = most, Lock()
        self._found: OrderedDict[Any, tuple[tuple[ref, ...], Any]] = OrderedDict()
        self.hits = self.misses = 0

    def find(self, key: Any) -> Any | None:
        """What was kept, or None."""
        with self._lock:
            alive, found = self._found.get(key, ((), None))
            if found is None or any(r() is None for r in alive):
                self.misses += 1
                return None
            self.hits += 1
            self._found.move_to_end(key)
            return found

    def keep(self, key: Any, alive: tuple[ref, ...], found: Any) -> None:
        """Keep what is not None."""
        with self._lock:
            self._found[key] = alive, found
            self._found.move_to_end(key)
            while len(self._found) > self.most:
                self._found.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._found.clear()

    def __len__(self) -> int:
        return len(self._found)


class Memo:
    """What was found for a structure, of the latest ``most`` of them; objects in a key are not kept alive."""

    def __init__(self, most: int) -> None:
        self._recent = Recent(most)

    def once(self, value: Any, make: Callable[[], Value]) -> Value:
        """``make()``, or what it gave for a value of this structure; what raises is not remembered."""
        try:
            key, _ = _key_of(value)
        except Nameless:
            return make()
        kept = self._recent.find(key)
        if kept is not None:
            return kept[0]
        found = make()
        after, alive = _key_of(value)  # a counter may have left 0
        for known in dict.fromkeys((key, after)):
            self._recent.keep(known, alive, (found,))
        return found

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()

    def __len__(self) -> int:
        return len(self._recent)
