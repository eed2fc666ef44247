"""Landscapes of the plane with numbers that sliders move: those of the catalogue, and the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from ..arguments import nearest
from ..problems.catalogue import LANDSCAPES, Plane, Slider, load_function
from ..problems.landscapes import require_landscape

__all__ = ["FAMILIES", "Family", "family_named", "family_of", "own_name"]

_TAKEN = ("eta", "rho", "sigma", "h", "reference_x", "reference_y", "x", "n", "seed")


@dataclass(frozen=True)
class Family(Plane):
    """A landscape of the explorer.

    Attributes
    ----------
    name : as in the address of a state
    source : of a user's landscape its file.py:function, or "" where it came as a function; None for the catalogue's
    """

    name: str = ""
    source: str | None = None


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {name: Family(**vars(row.plane), name=name) for name, row in LANDSCAPES.items() if row.plane}
)


def family_named(name: str) -> Family:
    """A family of the explorer, or the user's ``file.py:function``.

    Raises
    ------
    ValueError
        For an unknown name, or a function that is no landscape of the plane.
    """
    if ".py:" in name:
        return family_of(load_function(name), f"sdesam.problems.catalogue.load_function({name!r})", name)
    if name not in FAMILIES:
        what = f"landscape {name!r} is not in the explorer"
        raise ValueError(f"{what}: {nearest(name, FAMILIES)} Or give file.py:function.")
    return FAMILIES[name]


def family_of(function: Callable[..., Tensor], code: str, source: str = "") -> Family:
    """A user's landscape of the plane; its keyword-only numbers with defaults become sliders.

    Positive ones range from a tenth to ten times their default, others over their default ± 2.

    Raises
    ------
    ValueError, TypeError
        Where the function does not map points ``(..., 2)`` to ``(...)``, or a keyword has no number as its default.
    """
    known = inspect.signature(function).parameters.values() if not hasattr(function, "dim") else ()
    sliders = {p.name: _slider(p) for p in known if p.kind is p.KEYWORD_ONLY}
    try:
        require_landscape(function, torch.tensor([0.3, -0.2], dtype=torch.float64))
    except ValueError as error:
        raise ValueError(f"the explorer shows the plane, x = (..., 2): {error}") from error
    numbers = "".join(f", {name}={{{name}}}" for name in sliders)
    name = own_name(function, FAMILIES, "landscape")
    code = f"partial({code}{numbers})" if sliders else code
    return Family(partial(partial, function), (0.5, 0.5), 2.0, code, sliders, name, source)


def own_name(function: Callable[..., object], taken: Collection[str], what: str) -> str:
    """A function's name in letters, digits, - and _, other than the explorer's own names.

    >>> own_name(lambda x: x, (), "landscape"), own_name(sum, ("sum",), "landscape")
    ('lambda', 'my-sum')
    """
    name = getattr(function, "__name__", type(function).__name__)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-") or what
    return f"my-{name}" if name in taken else name


def _slider(parameter: inspect.Parameter) -> Slider:
    name, default = parameter.name, parameter.default
    if name in _TAKEN or name.startswith("__"):
        raise ValueError(f"keyword {name} of the landscape is a number of the screen itself: give it another name.")
    if isinstance(default, bool) or not isinstance(default, (int, float)) or not math.isfinite(default):
        came = "none" if default is parameter.empty else repr(default)
        raise ValueError(f"keyword {name} of the landscape must have a number as default, got {came}.")
    if default > 0:
        return Slider(float(default), default / 10, default * 10)
    return Slider(float(default), default - 2.0, default + 2.0)
