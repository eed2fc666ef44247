"""Planar landscapes with numbers that sliders move: a function of the point and of named parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from ..arguments import nearest
from ..problems.landscapes import DoubleWell, Landscape, LogCosh, TanhNetwork, require_landscape

__all__ = ["FAMILIES", "Family", "Slider", "family_named", "family_of", "own_name"]

Function = Callable[..., Tensor]
_TAKEN = ("eta", "rho", "sigma", "h", "reference_x", "reference_y", "x", "n", "seed")


@dataclass(frozen=True)
class Slider:
    """A parameter's default and range; ``low > 0`` makes its slider logarithmic."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Family:
    """A landscape f(x, **parameters) on the plane, and where a screen looks at it.

    Attributes
    ----------
    name : as in the address of a state
    function : ``(x: (..., 2), **parameters) -> (...)``
    parameters : name -> slider
    start : where particles begin
    view : half the width of the map, centred at the origin
    code : Python that makes the landscape, with {parameter} for its numbers
    source : of a user's landscape its file.py:function, or "" where it came as a function; None for the explorer's own
    """

    name: str
    function: Function
    parameters: Mapping[str, Slider] = field(default_factory=dict)
    start: tuple[float, float] = (0.0, 0.0)
    view: float = 1.5
    code: str = ""
    source: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def defaults(self) -> dict[str, float]:
        """Every parameter at its default."""
        return {name: slider.default for name, slider in self.parameters.items()}

    def landscape(self, **values: float | Tensor) -> Landscape:
        """The function of x alone."""
        return partial(self.function, **values)


def _quadratic(x: Tensor, *, flat: float | Tensor, sharp: float | Tensor) -> Tensor:
    return (flat * x[..., 0] ** 2 + sharp * x[..., 1] ** 2) / 2


def _saddle(x: Tensor, *, curvature: float | Tensor) -> Tensor:
    return (x[..., 0] ** 2 - curvature * x[..., 1] ** 2) / 2


def _rotated_saddle(x: Tensor, *, curvature: float | Tensor, angle: float | Tensor) -> Tensor:
    angle = torch.as_tensor(angle, dtype=x.dtype)
    c, s = torch.cos(angle), torch.sin(angle)
    turned = torch.stack((c * x[..., 0] + s * x[..., 1], c * x[..., 1] - s * x[..., 0]), -1)
    return _saddle(turned, curvature=curvature)


def _embedded_saddle(x: Tensor, *, curvature: float | Tensor, quartic: float | Tensor) -> Tensor:
    return _saddle(x, curvature=curvature) + quartic * (x**4).sum(-1)


def _double_well(x: Tensor, *, barrier: float | Tensor) -> Tensor:
    return barrier * DoubleWell(2)(x)


def _log_cosh(x: Tensor, *, curvature: float | Tensor) -> Tensor:
    return curvature * LogCosh(2)(x)


def _product_valley(x: Tensor, *, bottom: float | Tensor) -> Tensor:
    return LogCosh(1)((x[..., 0] * x[..., 1] - bottom)[..., None])


def _tanh_network(x: Tensor) -> Tensor:
    return TanhNetwork()(x)


_CURVATURE = Slider(1.0, 0.1, 10.0)
_CATALOGUE = (
    Family("saddle", _saddle, {"curvature": _CURVATURE}, (0.0, 0.0), 1.0, "ss.Saddle((1.0, -{curvature}))"),
    Family(
        "rotated-saddle", _rotated_saddle, {"curvature": _CURVATURE, "angle": Slider(0.6, -1.6, 1.6)}, (0.0, 0.0), 1.0,
        "ss.Rotated(ss.Saddle((1.0, -{curvature})), ss.rotation({angle}))",
    ),
    Family(
        "embedded-saddle", _embedded_saddle, {"curvature": _CURVATURE, "quartic": Slider(0.1, 0.01, 1.0)}, (1.0, 0.1),
        3.0, "ss.EmbeddedSaddle((1.0, -{curvature}), lam={quartic})",
    ),
    Family(
        "double-well", _double_well, {"barrier": _CURVATURE}, (1.0, 0.0), 1.8,
        "lambda x: {barrier} * ss.DoubleWell(2)(x)",
    ),
    Family(
        "quadratic", _quadratic, {"flat": _CURVATURE, "sharp": Slider(3.0, 0.1, 30.0)}, (1.0, 1.0), 1.5,
        "ss.Quadratic([[{flat}, 0.0], [0.0, {sharp}]])",
    ),
    Family(
        "log-cosh", _log_cosh, {"curvature": _CURVATURE}, (1.2, 0.6), 2.0,
        "lambda x: {curvature} * ss.LogCosh(2)(x)",
    ),
    Family("product-valley", _product_valley, {"bottom": Slider(0.0, -2.0, 2.0)}, (0.6, 1.8), 2.4,
           "ss.ProductValley(bottom={bottom})"),
    Family("tanh-network", _tanh_network, {}, (1.0, 1.2), 2.0, "ss.TanhNetwork()"),
)  # fmt: skip
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _CATALOGUE})


def family_named(name: str) -> Family:
    """A family of the explorer, or the user's ``file.py:function``.

    Raises
    ------
    ValueError
        For an unknown name, or a function that is no landscape of the plane.
    """
    from ..problems.catalogue import load_function

    if ".py:" in name:
        return family_of(load_function(name), f"sdesam.problems.catalogue.load_function({name!r})", name)
    if name not in FAMILIES:
        what = f"landscape {name!r} is not in the explorer"
        raise ValueError(f"{what}: {nearest(name, FAMILIES)} Or give file.py:function.")
    return FAMILIES[name]


def family_of(function: Function, code: str, source: str = "") -> Family:
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
    return Family(name, function, sliders, (0.5, 0.5), 2.0, f"partial({code}{numbers})" if sliders else code, source)


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
