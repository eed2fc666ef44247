"""Names a command line may use for landscapes, and ``file.py:function`` for the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..arguments import nearest
from ..user_code.failures import UserCodeFailed, guarded
from ..user_code.loading import load_file
from .datasets import breast_cancer_network, iris_linear_network, teacher_student
from .finite_sums import FiniteSum, ModuleLoss, flat_parameters
from .landscapes import DoubleWell, Landscape, LogCosh, Quadratic, Saddle, TanhNetwork
from .saddles_and_valleys import EmbeddedSaddle, LinearAutoencoder, ProductValley, Rotated, WenValley, rotation

__all__ = ["LANDSCAPES", "Scene", "find_landscape", "load_function"]


@dataclass(frozen=True)
class Scene:
    """A landscape with the start a command line uses when none is given."""

    landscape: Landscape
    start: tuple[float, ...] | None


def _quadratic() -> Scene:
    return Scene(Quadratic(torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))), (1.0, 1.0))


LANDSCAPES: dict[str, Callable[[], Scene]] = {
    "quadratic": _quadratic,
    "saddle": lambda: Scene(Saddle((1.0, -1.0)), (0.0, 0.0)),
    "log-cosh": lambda: Scene(LogCosh(1), (1.2,)),
    "double-well": lambda: Scene(DoubleWell(1), (0.4,)),
    "tanh-network": lambda: Scene(TanhNetwork(), (1.0, 1.2)),
    "embedded-saddle": lambda: Scene(EmbeddedSaddle((1.0, -1.0), lam=0.1), (1.0, 0.1)),
    "rotated-saddle": lambda: Scene(Rotated(Saddle((1.0, -1.0)), rotation(0.6)), (0.0, 0.0)),
    "product-valley": lambda: Scene(ProductValley(), (2.0, 0.5)),
    "wen-valley": lambda: Scene(WenValley(), (1.0, 0.5, 0.5, 0.5)),
    "autoencoder": lambda: Scene(LinearAutoencoder(), None),
    "iris": lambda: Scene(iris_linear_network(), None),
    "breast-cancer": lambda: Scene(breast_cancer_network(), None),
    "teacher-student": lambda: Scene(teacher_student(), None),
}


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
    return LANDSCAPES[name]()


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
