"""The landscapes and methods of one host, with the user's own among them, and the sciences traced so far."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..arguments import nearest
from ..problems.catalogue import load_function
from .families import FAMILIES, Family, family_named, family_of, own_name
from .methods import METHODS, ShownMethod, method_of
from .presets import PRESETS
from .science import Science, science_of
from .state import State

__all__ = ["Library", "first_state", "library_of"]


@dataclass(frozen=True)
class Library:
    """What a page may ask for.

    Attributes
    ----------
    families, methods : by name, the user's own included
    """

    families: Mapping[str, Family]
    methods: Mapping[str, ShownMethod]
    _known: dict[tuple[str, str], Science] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def science(self, landscape: str, method: str) -> Science:
        """A landscape with one method, SGD, and what the method is without noise; traced at the first request.

        Raises
        ------
        ValueError
            For a name that is not here, or what does not trace.
        """
        for name, known, what in ((landscape, self.families, "landscape"), (method, self.methods, "method")):
            if name not in known:
                raise ValueError(f"{what} {name[:40]!r} is not in this explorer: {nearest(name[:40], known)}")
        with self._lock:
            if (landscape, method) not in self._known:
                found = science_of(self.families[landscape], self._with_kin(method))
                self._known[landscape, method] = found
            return self._known[landscape, method]

    def everything(self, landscape: str) -> Science:
        """A landscape with all methods, for a file."""
        with self._lock:
            if (landscape, "*") not in self._known:
                self._known[landscape, "*"] = science_of(self.families[landscape], list(self.methods.values()))
            return self._known[landscape, "*"]

    def checked(self, state: State) -> State:
        """The state with all parameters of its landscape; raises ``ValueError`` for names that are not here."""
        if state.landscape not in self.families:
            name = state.landscape[:40]
            raise ValueError(f"landscape {name!r} is not here: {nearest(name, self.families)}")
        for name in {state.method, state.switch_to or state.method}:
            if name not in self.methods:
                raise ValueError(f"method {name[:40]!r} is not here: {nearest(name[:40], self.methods)}")
        if state.model not in ("sgd", *self.methods[state.method].models):
            raise ValueError(f"model {state.model!r} does not exist for {state.method}: it is SAM's.")
        return state.on(self.families[state.landscape])

    def _with_kin(self, method: str) -> list[ShownMethod]:
        names = ("sgd", method, self.methods[method].noiseless)
        return list({name: self.methods[name] for name in names}.values())


def library_of(
    landscape: str | Callable[..., Any] | None = None, update: str | Callable[..., Any] | None = None
) -> tuple[Library, str | None, str | None]:
    """A library with what the user brings, and the names of it.

    Parameters
    ----------
    landscape : a name, ``file.py:function`` or a function of planar points
    update : a name, ``file.py:function`` or an update field G(g, x, z, *, rho)
    """
    families, methods = dict(FAMILIES), dict(METHODS)
    family = None if landscape is None else _family(landscape)
    method = None if update is None else _method(update)
    if family is not None:
        families[family.name] = family
    if method is not None:
        methods[method.name] = method
    return Library(families, methods), family and family.name, method and method.name


def first_state(library: Library, family: str | None, method: str | None, given: State | None) -> State:
    """The given state on what the user brought; else a story, or the start of the user's landscape.

    Parameters of another landscape than the user's are left out.

    Raises
    ------
    ValueError
        Where the state does not fit the library.
    """
    state = given or (PRESETS[0].state if family is None and method is None else _start_of(library, family))
    changes: dict[str, Any] = {k: v for k, v in (("landscape", family), ("method", method)) if v is not None}
    if state.landscape != changes.get("landscape", state.landscape):
        changes["parameters"] = {}
    return library.checked(replace(state, **changes))


def _start_of(library: Library, family: str | None) -> State:
    chosen = library.families[family or "saddle"]
    (x, y), half = chosen.start, max(0.5, chosen.view / 2)
    return State(landscape=chosen.name, start=chosen.start, box=(x - half, x + half, y - half, y + half))


def _family(landscape: str | Callable[..., Any]) -> Family:
    if isinstance(landscape, str):
        return family_named(landscape)
    return family_of(landscape, getattr(landscape, "__name__", type(landscape).__name__))


def _method(update: str | Callable[..., Any]) -> ShownMethod:
    if not isinstance(update, str):
        known = next((m for m in METHODS.values() if update in (m.row, m.row.update)), None)
        code = getattr(update, "__name__", "update")
        return known or method_of(update, own_name(update, METHODS, "update"), code, "")
    if ".py:" in update:
        function = load_function(str(Path(update)))
        name = own_name(function, METHODS, "update")
        return method_of(function, name, f"sdesam.problems.catalogue.load_function({update!r})", update)
    if update not in METHODS:
        raise ValueError(f"method {update!r} is unknown: {nearest(update, METHODS)} Or give file.py:function.")
    return METHODS[update]
