"""The landscapes that have names at the command line and in the explorer, and ``file.py:function`` for others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..arguments import nearest
from ..user_code.failures import UserCodeFailed, guarded
from ..user_code.loading import load_file
from .datasets import breast_cancer_network, iris_linear_network, teacher_student
from .finite_sums import FiniteSum, ModuleLoss, flat_parameters
from .landscapes import DoubleWell, Landscape, LogCosh, Quadratic, Saddle, TanhNetwork
from .saddles_and_valleys import EmbeddedSaddle, LinearAutoencoder, ProductValley, Rotated, WenValley, rotation

__all__ = ["LANDSCAPES", "Plane", "Row", "Scene", "Slider", "find_landscape", "load_function"]


@dataclass(frozen=True)
class Scene:
    """A landscape with the start a command line uses when none is given."""

    landscape: Landscape
    start: tuple[float, ...] | None


@dataclass(frozen=True)
class Slider:
    """A parameter's default and range; ``low > 0`` makes its slider logarithmic."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Plane:
    """How the explorer shows a landscape of the plane.

    Attributes
    ----------
    landscape : ``(**parameters) -> landscape``, of floats and of traced scalars
    start : where particles begin
    view : half the width of the map, centred at the origin
    code : Python that makes the landscape, with {parameter} for its numbers
    parameters : name -> slider
    """

    landscape: Callable[..., Landscape]
    start: tuple[float, float]
    view: float
    code: str
    parameters: Mapping[str, Slider] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def defaults(self) -> dict[str, float]:
        """Every parameter at its default."""
        return {name: slider.default for name, slider in self.parameters.items()}


@dataclass(frozen=True)
class Row:
    """A landscape of the catalogue: what makes it, its start at the command line, and how the explorer shows it."""

    landscape: Callable[[], Landscape]
    start: tuple[float, ...] | None
    plane: Plane | None = None


def _planar(
    landscape: Callable[..., Landscape], start: tuple[float, float], view: float, code: str, **parameters: Slider
) -> Row:
    """A landscape that the command line shows as the explorer does before a slider is moved."""
    plane = Plane(landscape, start, view, code, parameters)
    return Row(partial(landscape, **plane.defaults()), start, plane)


_UNIT = Slider(1.0, 0.1, 10.0)

# A new landscape is one row here, and its name in names.py, for the help.
LANDSCAPES: Mapping[str, Row] = MappingProxyType({
    "saddle": _planar(
        lambda curvature: Saddle((1.0, -curvature)), (0.0, 0.0), 1.0, "ss.Saddle((1.0, -{curvature}))", curvature=_UNIT
    ),
    "rotated-saddle": _planar(
        lambda curvature, angle: Rotated(Saddle((1.0, -curvature)), rotation(angle)), (0.0, 0.0), 1.0,
        "ss.Rotated(ss.Saddle((1.0, -{curvature})), ss.rotation({angle}))",
        curvature=_UNIT, angle=Slider(0.6, -1.6, 1.6),
    ),
    "embedded-saddle": _planar(
        lambda curvature, quartic: EmbeddedSaddle((1.0, -curvature), lam=quartic), (1.0, 0.1), 3.0,
        "ss.EmbeddedSaddle((1.0, -{curvature}), lam={quartic})", curvature=_UNIT, quartic=Slider(0.1, 0.01, 1.0),
    ),
    "double-well": Row(DoubleWell, (0.4,), Plane(
        lambda barrier: lambda x: barrier * DoubleWell(2)(x), (1.0, 0.0), 1.8,
        "lambda x: {barrier} * ss.DoubleWell(2)(x)", {"barrier": _UNIT},
    )),
    "quadratic": _planar(
        lambda flat, sharp: Quadratic([[flat, 0.0], [0.0, sharp]]), (1.0, 1.0), 1.5,
        "ss.Quadratic([[{flat}, 0.0], [0.0, {sharp}]])", flat=_UNIT, sharp=Slider(3.0, 0.1, 30.0),
    ),
    "log-cosh": Row(LogCosh, (1.2,), Plane(
        lambda curvature: lambda x: curvature * LogCosh(2)(x), (1.2, 0.6), 2.0,
        "lambda x: {curvature} * ss.LogCosh(2)(x)", {"curvature": _UNIT},
    )),
    "product-valley": Row(ProductValley, (2.0, 0.5), Plane(
        lambda bottom: ProductValley(bottom=bottom), (0.6, 1.8), 2.4,
        "ss.ProductValley(bottom={bottom})", {"bottom": Slider(0.0, -2.0, 2.0)},
    )),
    "tanh-network": _planar(TanhNetwork, (1.0, 1.2), 2.0, "ss.TanhNetwork()"),
    "wen-valley": Row(WenValley, (1.0, 0.5, 0.5, 0.5)),
    "autoencoder": Row(LinearAutoencoder, None),
    "iris": Row(iris_linear_network, None),
    "breast-cancer": Row(breast_cancer_network, None),
    "teacher-student": Row(teacher_student, None),
})  # fmt: skip


def find_landscape(name: str) -> Scene:
    """A catalogued landscape, or the user's ``file.py:function`` mapping ``(..., d) -> (...)``.

    A function without parameters makes the landscape; one made of a torch module starts at the module's parameters.
    """
    if ".py:" in name:
        f = load_function(name)
        if inspect.isfunction(f) and not inspect.signature(f).parameters:
            with guarded():
                f = f()
        return Scene(f, _start_of_module(f))
    if name not in LANDSCAPES:
        raise ValueError(f"landscape {name!r} is unknown: {nearest(name, LANDSCAPES)} Or give file.py:function.")
    return Scene(LANDSCAPES[name].landscape(), LANDSCAPES[name].start)


def _start_of_module(f: object) -> tuple[float, ...] | None:
    if isinstance(f, FiniteSum) and isinstance(f.loss, ModuleLoss):
        return tuple(flat_parameters(f.loss.module).tolist())
    return None


def load_function(reference: str) -> Any:
    """The callable named by ``file.py:function``.

    Raises
    ------
    ValueError
        When the file or the function does not exist, or the file fails to import (then ``UserCodeFailed``).
    """
    file, _, function = reference.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{reference!r}: there is no file {file!r} (looked in {path.absolute().parent}).")
    try:
        module = load_file(path)
    except UserCodeFailed as failed:
        raise UserCodeFailed(f"{reference!r}: {failed}") from failed
    found = getattr(module, function, None)
    if not callable(found):
        defined = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise ValueError(f"{reference!r}: {file} defines no function {function!r}: {nearest(function, defined)}")
    return found
