"""The key of a value, by what it is made of, and how it is made again with other numbers; see ``parameters``."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from .ownership import OWN, class_items, held_by, is_of_the_user, is_ours, is_plain, is_users, plain_set, sees_all
from .remaking import Build, function_like, object_like, once, partial_of
from .structures import PACKAGES, Nameless, cell_value, home, looked_up_names, unwrapped

__all__ = ["Walk"]

_PLAIN = {
    type(None), bool, int, complex, str, bytes, type(Ellipsis), range, Decimal, Fraction, torch.dtype, torch.device,
    torch.Size, torch.layout, CodeType, np.ufunc,
}  # fmt: skip
_SHORT = 1024  # bytes of an array that are a key by themselves
_LONG = 2**23  # bytes of a tensor from which it counts by who it is and how often it was written to
_MOST = 4000  # parts that are looked into
Part = tuple[Any, Build | None]


class Walk:
    """The key of a value, and how it is made again.  ``free`` is a place that only the package's code reads."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.alive: list[ref] = []
        self.tame = True  # whether no code of the user's is met
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
            return self._partial(value, free and not is_users(value))
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
            if is_of_the_user(value):  # in a closure, say: which of its names are read is not known
                raise Nameless
            return (ModuleType, value.__name__), None
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
        self.tame &= own
        if not own and not sees_all(value.__code__):
            raise Nameless
        cells = [cell_value(cell) for cell in value.__closure__ or ()]
        key, build = self._parts(value.__code__, cells, free and home(value) == OWN, function_like(value))
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
                    if type(part) is ModuleType and is_of_the_user(part):
                        found.append((name, part.__name__))
                        waiting += [vars(part)] * (id(vars(part)) not in seen)
                    else:
                        found.append((name, self.part(part)[0]))
        return tuple(found)

    # ------------------------------------------------------------- objects
    def _object(self, value: Any, kind: type, free: bool) -> Part:
        if not hasattr(value, "__dict__") or isinstance(value, (tuple, list, dict, set, str, int, float, bytes)):
            raise Nameless
        if any(vars(c).get("__slots__") for c in kind.__mro__) or not is_plain(kind):
            raise Nameless
        held = held_by(value)
        self.tame &= is_ours(kind)
        free = free and is_ours(kind) and is_dataclass(value) and type(value).__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
        among_users = any(is_users(part) for part in held.values())  # who are given what lies beside them
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
        return tuple((name, self.part(v)[0]) for name, v in class_items(kind))

    def _network(self, value: torch.nn.Module) -> Any:
        """A module of torch's: its parts, each by its class, its numbers, its mode and its weights."""
        found, self.tame = [], False
        for m in value.modules():
            own = {k: v for k, v in vars(m).items() if k not in ("_parameters", "_buffers", "_modules")}
            hooks = [k for k, v in own.items() if k.endswith("hooks") and v]
            if hooks:
                raise Nameless
            plain = {k: v for k, v in own.items() if not k.endswith(("hooks", "hooks_with_kwargs", "always_called"))}
            weights = [self._array(t) for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
            found.append((self.part(type(m))[0], self.part(plain_set(plain))[0], tuple(weights)))
        return tuple(found)

    def _array(self, value: Tensor | np.ndarray) -> Any:
        if isinstance(value, Tensor) and value.nbytes > _LONG:
            self.alive.append(ref(value))
            return Tensor, id(value), value._version
        return _bytes_of(value)


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
