"""The numbers inside a kernel, apart from all else that it is made of: its parameters and its structure.

Two kernels of one structure have the same list of operations, with other constants.  Parameters are the floats that the
package's own code computes with: eta, rho and sigma in its frozen dataclasses, and what partials of its functions bind.
While a list is made they are tensors, and only the package's code sees them.  All else counts by its value, the
numbers in the user's functions too: arrays by their bytes, functions by their code and by the globals and module
attributes that they name, objects by what they and their classes hold.  What is not understood has no structure.

What no structure shows are data that a function reads while it is called; functions that name the usual ways to do so
have none either.  Every list is compared with its kernel at every use all the same.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import math
import sysconfig
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from .remaking import Build, function_like, object_like, once, partial_of
from .structures import PACKAGES, Nameless, cell_value, home, looked_up_names, unwrapped

__all__ = ["Parameters"]

_OWN = __name__.partition(".")[0]
_PLAIN = {
    type(None), bool, int, complex, str, bytes, type(Ellipsis), range, Decimal, Fraction, torch.dtype, torch.device,
    torch.Size, torch.layout, CodeType, np.ufunc,
}  # fmt: skip
_OUTSIDE = frozenset({  # names in a function's code that say that it may read what nobody sees
    "open", "eval", "exec", "globals", "locals", "vars", "getattr", "setattr", "__dict__", "__import__",
    "import_module", "environ", "getenv", "read", "readline", "read_text", "read_bytes", "load", "loads", "loadtxt",
    "genfromtxt", "memmap", "fromfile", "input", "currentframe", "_getframe", "monotonic", "perf_counter", "time",
    "now", "today", "random", "randn", "rand", "default_rng",
})  # fmt: skip
_SHORT = 1024  # bytes of an array that are a key by themselves
_LONG = 2**23  # bytes of a tensor from which it counts by who it is and how often it was written to
_MOST = 4000  # parts that are looked into
_METACLASSES = (type, ABCMeta, type(Protocol))
_OF_EVERY_CLASS = frozenset({
    "__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__dataclass_fields__", "__qualname__",
    "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__",
    "__hash__", "__repr__", "__eq__", "__init__", "__setattr__", "__delattr__", "_is_protocol", "__subclasshook__",
    "_is_runtime_protocol", "__protocol_attrs__", "__replace__", "__static_attributes__", "__firstlineno__",
})  # fmt: skip
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
Part = tuple[Any, Build | None]


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
        """The value taken apart, or None where it holds something that is not understood."""
        walk = _Walk()
        try:
            structure, build = walk.part(value, True)
            _ = hash(structure)
        except (Nameless, RecursionError, TypeError):
            return None
        found = cls((structure, torch.get_default_dtype()), tuple(walk.numbers), tuple(walk.alive), build)
        return found.close(range(len(walk.numbers))) if walk.entangled else found

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
    """The key of a value, and how it is made again.  ``free`` is a place that only the package's code reads."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.alive: list[ref] = []
        self.entangled = False  # whether one object is met in free places and in others, or inside of itself
        self._count = 0
        self._met: dict[int, tuple[int, Part | None, Any]] = {}  # the objects are kept, so that no id is used again

    def part(self, value: Any, free: bool = False) -> Part:
        """The key, and how to build the value again, None where nothing in it changes.

        Raises
        ------
        Nameless
            For what is not understood, or too long.
        """
        self._count += 1
        if self._count > _MOST:
            raise Nameless
        kind = type(value)
        if kind in (float, np.float64):
            return self._number(float(value), free)
        if kind in _PLAIN or (isinstance(value, np.generic) and kind.__module__ == "numpy"):
            return (kind, value), None
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value), None
        if id(value) in self._met:  # shared, or a function that calls itself
            place, known, _ = self._met[id(value)]
            build = known[1] if known else None
            self.entangled |= known is None or (build is not None and not free)
            return ("met", place), build
        place = len(self._met)
        self._met[id(value)] = place, None, value
        key, build = self._inside(value, kind, free)
        build = build and once(place, build)
        self._met[id(value)] = place, (key, build), value
        return key, build

    def _number(self, value: float, free: bool) -> Part:
        if not free or value == 0 or not math.isfinite(value):
            return (float, value.hex()), None
        place = len(self.numbers)
        self.numbers.append(value)
        return ("number", value > 0), lambda numbers, done: numbers[place]

    def _inside(self, value: Any, kind: type, free: bool) -> Part:
        if kind is tuple:
            return self._parts(tuple, value, free, tuple)
        if kind is list:
            return self._parts(list, value)
        if kind in (set, frozenset):
            return (kind, frozenset(self.part(v)[0] for v in value)), None
        if kind is dict:
            return self._parts(dict, [part for pair in value.items() for part in pair])
        if kind is functools.partial:
            return self._partial(value, free and not _is_users(value))
        if kind is MethodType:
            return self._parts(MethodType, (value.__func__, value.__self__))
        if kind is FunctionType:
            return self._function(unwrapped(value), free)
        if kind is BuiltinFunctionType:
            if not isinstance(value.__self__, (type(None), ModuleType, type)):
                raise Nameless  # a bound method of a list, say
            return (kind, value), None
        if isinstance(value, type):
            return (value, self._of_class(value)), None
        if kind is ModuleType:
            return self._module(value), None
        if isinstance(value, torch.nn.Module):
            return self._network(value), None
        if isinstance(value, PurePath) and kind.__module__ == "pathlib":
            return (kind, value), None
        return self._object(value, kind, free)

    def _parts(
        self, kind: Any, held: Iterable[Any], free: bool = False, make: Callable[[list], Any] | None = None
    ) -> Part:
        """Of several parts; ``make`` puts them together again."""
        old = list(held)
        found = [self.part(part, free and make is not None) for part in old]
        whole = kind, tuple(key for key, _ in found)
        if make is None or not any(build for _, build in found):
            return whole, None
        return whole, lambda numbers, done: make(
            [part if b is None else b(numbers, done) for part, (_, b) in zip(old, found, strict=True)]
        )

    def _partial(self, value: functools.partial, free: bool) -> Part:
        names, count = tuple(value.keywords), len(value.args)
        held = (value.func, *value.args, *value.keywords.values())
        return self._parts(("partial", count, names), held, free, partial_of(count, names))

    # ------------------------------------------------------------- functions
    def _function(self, value: FunctionType, free: bool) -> Part:
        own = home(value) in PACKAGES
        if not own and not _sees_all(value.__code__):
            raise Nameless
        cells = [cell_value(cell) for cell in value.__closure__ or ()]
        key, build = self._parts(value.__code__, cells, free and home(value) == _OWN, function_like(value))
        rest = (value.__defaults__ or (), value.__kwdefaults__ or {}, vars(value) if not own else {})
        return (key, self._parts("rest", rest)[0], () if own else self._named_globals(value)), build

    def _named_globals(self, value: FunctionType) -> tuple:
        """What the user's code looks up in its module, and in modules of the user's there, at any depth."""
        names = looked_up_names(value.__code__)
        found, waiting = [], [value.__globals__]
        seen: set[int] = set()
        while waiting:
            held = waiting.pop()
            seen.add(id(held))
            for name in names:
                if name in held:
                    part = held[name]
                    found.append((name, self.part(part)[0]))
                    if isinstance(part, ModuleType) and _is_of_the_user(part) and id(vars(part)) not in seen:
                        waiting.append(vars(part))
        return tuple(found)

    def _module(self, value: ModuleType) -> Any:
        """By its name; what is named of the user's own is found by ``_named_globals``."""
        return ModuleType, value.__name__

    # ------------------------------------------------------------- objects
    def _object(self, value: Any, kind: type, free: bool) -> Part:
        if not hasattr(value, "__dict__") or isinstance(value, (tuple, list, dict, set, str, int, float, bytes)):
            raise Nameless
        if any(vars(c).get("__slots__") for c in kind.__mro__) or not _is_plain(kind):
            raise Nameless
        held = _held_by(value)
        free = free and _is_ours(kind) and is_dataclass(value) and type(value).__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
        among_users = any(_is_users(part) for part in held.values())  # who are given what lies beside them
        found = [self.part(v, free and (not among_users or type(v) is float)) for v in held.values()]
        key = self.part(kind)[0], tuple(held), tuple(k for k, _ in found)
        if not any(build for _, build in found):
            return key, None
        make, old = object_like(value, tuple(held)), list(held.values())
        return key, lambda numbers, done: make(
            [part if b is None else b(numbers, done) for part, (_, b) in zip(old, found, strict=True)]
        )

    def _of_class(self, kind: type) -> tuple:
        """What the user's own classes hold: functions, also those of properties, and values."""
        found = []
        for c in kind.__mro__:
            if c.__module__.partition(".")[0] not in (*PACKAGES, "builtins", "typing", "abc", "collections"):
                found += [(name, self.part(_bare(v))[0]) for name, v in vars(c).items() if name not in _OF_EVERY_CLASS]
        return tuple(found)

    def _network(self, value: torch.nn.Module) -> Any:
        """A module of torch's: its parts, each by its class, its numbers, its mode and its weights."""
        found = []
        for m in value.modules():
            own = {k: v for k, v in vars(m).items() if k not in ("_parameters", "_buffers", "_modules")}
            hooks = [k for k, v in own.items() if k.endswith("hooks") and v]
            if hooks:
                raise Nameless
            plain = {k: v for k, v in own.items() if not k.endswith(("hooks", "hooks_with_kwargs", "always_called"))}
            weights = [self._array(t) for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
            found.append((self.part(type(m))[0], self.part(_plain_set(plain))[0], tuple(weights)))
        return tuple(found)

    def _array(self, value: Tensor | np.ndarray) -> Any:
        if isinstance(value, Tensor) and value.nbytes > _LONG:
            self.alive.append(ref(value))
            return Tensor, id(value), value._version
        return _bytes_of(value)


# ----------------------------------------------------------------- whose
def _is_ours(kind: type) -> bool:
    """Whether a class and all that it is derived from are the package's, or Python's."""
    return all(c.__module__.partition(".")[0] in (_OWN, "builtins", "typing", "abc") for c in kind.__mro__)


def _is_users(value: Any) -> bool:
    """Whether a value is code of the user's that what holds it calls: a function, a partial or method of one."""
    while isinstance(value, (functools.partial, MethodType)):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, FunctionType):
        return home(unwrapped(value)) not in PACKAGES
    return callable(value) and not isinstance(value, type) and type(value).__module__.partition(".")[0] not in PACKAGES


def _is_of_the_user(module: ModuleType) -> bool:
    """Whether a module's text is neither of this package, nor of Python's, nor installed."""
    file = getattr(module, "__file__", None)
    return bool(file) and module.__name__.partition(".")[0] not in PACKAGES and not str(file).startswith(_LIBRARIES)


def _is_plain(kind: type) -> bool:
    """Whether instances are what their ``__dict__`` and classes hold."""
    ways = ("__getattr__", "__getattribute__")
    return not any(way in vars(c) for c in kind.__mro__[:-1] for way in ways) and type(kind) in _METACLASSES


def _bare(value: Any) -> Any:
    """The functions of a descriptor."""
    if isinstance(value, property):
        return value.fget, value.fset
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return value.func if isinstance(value, functools.cached_property) else value


def _held_by(value: Any) -> dict[str, Any]:
    """What an object holds; what the package's objects have computed for themselves and keep is left out."""
    own = dict(vars(value))
    if _is_ours(type(value)):
        computed = functools.cached_property
        own = {name: v for name, v in own.items() if not isinstance(getattr(type(value), name, None), computed)}
    if is_dataclass(value):
        own |= {f.name: getattr(value, f.name) for f in fields(value) if f.name not in own and hasattr(value, f.name)}
    return own


def _plain_set(held: Mapping[str, Any]) -> dict[str, Any]:
    """Without sets of torch's that say nothing."""
    return {name: v for name, v in held.items() if name != "_non_persistent_buffers_set"}


@lru_cache(maxsize=1024)
def _sees_all(code: CodeType) -> bool:
    """Whether nothing in the user's code says that it reads more than its arguments, its closure and its globals."""
    if _OUTSIDE & set(looked_up_names(code)):
        return False
    names = {i.opname for i in dis.get_instructions(code)}
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return not names & {"IMPORT_NAME", "IMPORT_FROM"} and all(map(_sees_all, inner))


# ----------------------------------------------------------------- keys
def _bytes_of(value: Any) -> Any:
    """An array by its bytes."""
    if isinstance(value, np.ndarray):
        if value.dtype == object or type(value) is not np.ndarray:
            raise Nameless
        return np.ndarray, value.shape, value.dtype.str, _short(value.tobytes())
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided and not value.is_meta
    if not plain or torch._C._functorch.is_functorch_wrapped_tensor(value):  # pyright: ignore[reportAttributeAccessIssue]
        raise Nameless
    held = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return Tensor, tuple(value.shape), value.dtype, str(value.device), _short(held.tobytes())


def _short(content: bytes) -> bytes:
    return content if len(content) <= _SHORT else hashlib.blake2b(content, digest_size=20).digest()
