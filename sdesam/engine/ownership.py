"""Whose code and whose classes: the package's, the user's, or others'; and what of them can be looked into."""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
from abc import ABCMeta
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from .structures import PACKAGES, home, looked_up_names, unwrapped

__all__ = [
    "OWN", "bare", "class_items", "held_by", "is_of_the_user", "is_ours", "is_plain", "is_users", "plain_set",
    "sees_all",
]  # fmt: skip

OWN = PACKAGES[0]
_OUTSIDE = frozenset({  # names in a function's code that say that it may read what nobody sees
    "open", "eval", "exec", "globals", "locals", "vars", "getattr", "setattr", "__dict__", "__import__",
    "import_module", "environ", "getenv", "read", "readline", "read_text", "read_bytes", "load", "loads", "loadtxt",
    "genfromtxt", "memmap", "fromfile", "input", "currentframe", "_getframe", "monotonic", "perf_counter", "time",
    "now", "today", "random", "randn", "rand", "default_rng",
})  # fmt: skip
_METACLASSES = (type, ABCMeta, type(Protocol))
_OF_EVERY_CLASS = frozenset({
    "__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__dataclass_fields__", "__qualname__",
    "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__",
    "__hash__", "__repr__", "__eq__", "__init__", "__setattr__", "__delattr__", "_is_protocol", "__subclasshook__",
    "_is_runtime_protocol", "__protocol_attrs__", "__replace__", "__static_attributes__", "__firstlineno__",
})  # fmt: skip
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_ours(kind: type) -> bool:
    """Whether a class and all that it is derived from are the package's, or Python's."""
    return all(c.__module__.partition(".")[0] in (OWN, "builtins", "typing", "abc") for c in kind.__mro__)


def is_users(value: Any) -> bool:
    """Whether a value is code of the user's that what holds it calls: a function, a partial or method of one."""
    while isinstance(value, (functools.partial, MethodType)):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, FunctionType):
        return home(unwrapped(value)) not in PACKAGES
    return callable(value) and not isinstance(value, type) and type(value).__module__.partition(".")[0] not in PACKAGES


def is_of_the_user(module: ModuleType) -> bool:
    """Whether a module is neither of this package, nor of Python's, nor installed; one without a file may be."""
    known = module.__name__.partition(".")[0] in (*PACKAGES, *sys.stdlib_module_names) and module.__name__ != "__main__"
    return not known and not str(getattr(module, "__file__", None)).startswith(_LIBRARIES)


def is_plain(kind: type) -> bool:
    """Whether instances are what their ``__dict__`` and classes hold."""
    ways = ("__getattr__", "__getattribute__")
    return not any(way in vars(c) for c in kind.__mro__[:-1] for way in ways) and type(kind) in _METACLASSES


def bare(value: Any) -> Any:
    """The functions of a descriptor."""
    if isinstance(value, property):
        return value.fget, value.fset
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return value.func if isinstance(value, functools.cached_property) else value


def held_by(value: Any) -> dict[str, Any]:
    """What an object holds; what the package's objects have computed for themselves and keep is left out."""
    own = dict(vars(value))
    if is_ours(type(value)):
        computed = functools.cached_property
        own = {name: v for name, v in own.items() if not isinstance(getattr(type(value), name, None), computed)}
    if is_dataclass(value):
        own |= {f.name: getattr(value, f.name) for f in fields(value) if f.name not in own and hasattr(value, f.name)}
    return own


def plain_set(held: Mapping[str, Any]) -> dict[str, Any]:
    """Without sets of torch's that say nothing."""
    return {name: v for name, v in held.items() if name != "_non_persistent_buffers_set"}


@lru_cache(maxsize=1024)
def sees_all(code: CodeType) -> bool:
    """Whether nothing in the user's code says that it reads more than its arguments, its closure and its globals."""
    if _OUTSIDE & set(looked_up_names(code)):
        return False
    names = {i.opname for i in dis.get_instructions(code)}
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return not names & {"IMPORT_NAME", "IMPORT_FROM"} and all(map(sees_all, inner))


def class_items(kind: type) -> list[tuple[str, Any]]:
    """What the user's own among a class and its bases hold, but what every class has."""
    others = (*PACKAGES, "builtins", "typing", "abc", "collections")
    own = [c for c in kind.__mro__ if c.__module__.partition(".")[0] not in others]
    return [(name, bare(v)) for c in own for name, v in vars(c).items() if name not in _OF_EVERY_CLASS]
