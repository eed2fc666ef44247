"""The options that commands share: what is simulated, and how; each field is an option, and its help stands by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from cyclopts import Parameter

from ..names import LANDSCAPES, METHODS
from .terminal import Count, Numbers

__all__ = [
    "METHOD", "X0", "AtOneRate", "Computing", "Executors", "Json", "Landscape", "Method", "OnDevice", "Output",
    "Problem", "Running", "Substeps",
]  # fmt: skip

T = TypeVar("T")
LANDSCAPE = (
    f"{', '.join(LANDSCAPES)}, or file.py:function: a landscape (..., d) -> (...), a FiniteSum, or a function without "
    "arguments that returns one, such as landscape_from_module(model, loss, data), which starts at the module's own "
    "parameters"
)
METHOD = f"{', '.join(METHODS)}, or file.py:function"
START = "start, d numbers; by default the landscape's own; a function of yours needs it"

Executors = Literal["processes", "dask", "serial"]
Json = Annotated[bool, Parameter(name="--json", help="print one JSON document")]
Landscape = Annotated[str, Parameter(help=LANDSCAPE)]
Method = Annotated[T, Parameter(help=METHOD)]
Output = Annotated[T, Parameter(name=["--output", "-o"])]
Substeps = Annotated[Count, Parameter(help="small-noise Runge-Kutta steps of the SDE per optimizer step")]
X0 = Annotated[Numbers[float], Parameter(help=START, show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Problem:
    """An optimizer and its noise on a landscape."""

    landscape: Landscape
    method: Method[str] = "sam"
    sigma: float = 0.0
    """standard deviation of the Gaussian gradient noise"""
    batch_size: Count | None = None
    """minibatches of this many data, without replacement, instead of Gaussian noise; the landscape must be a finite sum
    (iris, breast-cancer, teacher-student, or a FiniteSum of your own)"""
    x0: X0 = ()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AtOneRate(Problem):
    """And at one learning rate, with an SDE that may be sampled."""

    eta: float
    """learning rate"""
    batches: Count | None = None
    """compute the SDE from this many sampled minibatches, where all of them are too many; the error is printed"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Running:
    """How a command computes, and what it prints."""

    seed: Count = 0
    """replicate i reads stream (seed, i)"""
    dtype: Literal["float32", "float64"] = "float64"
    """precision"""
    as_json: Json = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Computing(Running):
    """And with how many threads."""

    threads: Count | None = None
    """threads of either engine"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OnDevice(Computing):
    """And on which device."""

    device: str = "cpu"
    """torch device, for example cuda"""
