"""What the page computes with: kernels, observables and formulas of one landscape, traced and printed as JavaScript."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ..dynamics.integrators import euler_maruyama, small_noise_srk
from ..dynamics.kernels import optimizer
from ..engine.javascript import printed_function, printed_loop
from ..engine.tracing.checks import points_around
from ..engine.tracing.named import named_function, named_step
from ..engine.tracing.programs import Program
from ..problems.oracles import GaussianOracle
from ..theory.method import Form
from .families import Family
from .formulas import FORMULAS, landscape_functions, observables
from .methods import ShownMethod

__all__ = ["INTEGRATORS", "NUMBERS", "Printed", "Science", "ascent_point", "science_of"]

NUMBERS = {  # run-time scalars, and where they are traced
    "eta": 0.05, "rho": 0.1, "sigma": 0.3, "h": 0.0125, "reference_x": 0.2, "reference_y": -0.1,
}  # fmt: skip
# Euler's lists first: the Runge-Kutta's begin alike, which a compressor sees where they are near (6 kB of a page).
INTEGRATORS = {"euler": euler_maruyama, "srk": small_noise_srk}
_NAME = re.compile(r"\bv\d+\b")
_LOOP = "n,p,x,z,on"


@dataclass(frozen=True)
class Printed:
    """A list and how it is printed: ``loop`` over particles, ``watch`` over them into y, or a function of (p, x)."""

    program: Program
    form: str


@dataclass(frozen=True)
class Science:
    """One landscape with all its methods.

    Attributes
    ----------
    landscape : the family's name
    numbers : the names of p, in order
    lists : name -> printed list: "sam", "sam/theory/srk", "loss", ...
    noise : normals of a step, by the name without its integrator
    models : method -> model -> name of its SDE
    facts : what the page needs to know beside the functions
    """

    landscape: str
    numbers: tuple[str, ...]
    lists: Mapping[str, Printed]
    noise: Mapping[str, int]
    models: Mapping[str, Mapping[str, str]]
    facts: Mapping[str, Any]

    def constants(self) -> tuple[float, ...]:
        """The lifted constants of all lists, once each."""
        return tuple(sorted({c for printed in self.lists.values() for c in printed.program.constants}))

    def javascript(self) -> str:
        """An expression: an object with ``numbers``, ``noise``, ``models``, ``facts`` and the functions ``f``."""
        pool = {value: i for i, value in enumerate(self.constants())}
        functions = ",\n".join(f"{json.dumps(name)}:{_counted(self._text(p, pool))}" for name, p in self.lists.items())
        table = ",".join(repr(c) for c in pool)
        about = {"landscape": self.landscape, "numbers": self.numbers, "noise": self.noise, "models": self.models}
        fields = json.dumps(about | {"facts": self.facts}, separators=(",", ":"), default=dict)
        return f"(()=>{{const c=[{table}];\nreturn {{...{fields},f:{{\n{functions}}}}}}})()"

    def _text(self, printed: Printed, pool: Mapping[float, int]) -> str:
        count = len(self.numbers)
        numbers, rest = [f"p[{k}]" for k in range(count)], len(printed.program.inputs) - count
        if printed.form == "function":
            return printed_function(printed.program, numbers + [f"x[{k}]" for k in range(rest)], pool, "p,x")
        position, targets = ["x[i]", "x[n+i]"], ["x[i]", "x[n+i]"]
        loads = position + [f"z[{k}*n+i]" if k else "z[i]" for k in range(rest - 2)]
        if printed.form == "watch":
            return printed_loop(printed.program, numbers, loads, ["y[i]"], pool, "n,p,x,y", "true")
        return printed_loop(printed.program, numbers, loads, targets, pool, _LOOP, "on[i]")


def science_of(family: Family, methods: Sequence[ShownMethod]) -> Science:
    """Trace everything about a landscape and these methods; SGD's SDE is always among them.

    Raises
    ------
    NotTraceable
        With the user's line, where a landscape or an update does not trace.
    """
    scalars = NUMBERS | family.defaults()
    start = torch.tensor(family.start, dtype=torch.float64) + torch.tensor([0.13, 0.21], dtype=torch.float64)
    lists, noise, models = {}, {}, {}
    for method in methods:
        lists[method.name] = Printed(named_step(_algorithm(family, method), scalars, start), "loop")
        lists[f"{method.name}/ascent"] = Printed(_ascent(family, method, scalars, start), "function")
        noise[method.name] = 2
        models[method.name] = {model: f"{method.name}/{model}" for model in method.models}
        if "sgd" in models:
            models[method.name]["sgd"] = "sgd/theory"
        for model, sde in method.models.items():
            for name, integrator in INTEGRATORS.items():
                factory = _model(family, sde, integrator)
                lists[f"{method.name}/{model}/{name}"] = Printed(named_step(factory, scalars, start), "loop")
                noise[f"{method.name}/{model}"] = factory(**scalars).noise.size  # pyright: ignore
    rows = points_around(start)
    for name, function in observables(family).items():
        lists[name] = Printed(named_function(function, scalars, _wide(name, rows), name), "watch")
    for name, function in landscape_functions(family).items():
        lists[name] = Printed(named_function(function, scalars, _wide(name, rows), name), "function")
    lists |= _formulas(tuple(scalars))
    facts = {
        "parameters": {k: [s.default, s.low, s.high] for k, s in family.parameters.items()},
        "start": family.start, "view": family.view, "code": family.code,
        "noiseless": {m.name: m.noiseless for m in methods}, "formulas": {m.name: m.row.formulas for m in methods},
        "updates": {m.name: m.code for m in methods}, "orders": {m.name: m.order for m in methods},
    }  # fmt: skip
    return Science(family.name, tuple(scalars), lists, noise, models, facts)


# ----------------------------------------------------------------- kernels with named numbers
# The factories return Any: with traced numbers a kernel's dt is a tensor, which a run-time check of Kernel refuses.
def _oracle(family: Family, numbers: Mapping[str, Any]) -> GaussianOracle:
    f = family.landscape(**{name: numbers[name] for name in family.parameters})
    return GaussianOracle(f, numbers["sigma"], dim=2)


def _algorithm(family: Family, method: ShownMethod) -> Callable[..., Any]:
    def factory(**v: Any) -> Any:
        return optimizer(partial(method.row.update, rho=v["rho"]), _oracle(family, v), v["eta"])

    return factory


def _model(family: Family, model: Form, integrator: Callable[..., Any]) -> Callable[..., Any]:
    def factory(**v: Any) -> Any:
        return integrator(model(_oracle(family, v), eta=v["eta"], rho=v["rho"]), v["h"])

    return factory


def ascent_point(update: Callable[..., Tensor], g: GaussianOracle, x: Tensor, z: Tensor, rho: Any) -> Tensor:
    """Where an update takes its last gradient: x plus the ascent, for SAM's two half-steps."""
    visited = []

    def watched(at: Tensor, noise: Tensor) -> Tensor:
        visited.append(at)
        return g(at, noise)

    watched.noise, watched.mean = g.noise, g.mean  # pyright: ignore[reportFunctionMemberAccess]
    update(watched, x, z, rho=rho)
    return visited[-1]


def _counted(text: str) -> str:
    """A function whose names count from v0: like functions are then alike to a compressor."""
    names: dict[str, str] = {}
    return _NAME.sub(lambda found: names.setdefault(found[0], f"v{len(names)}"), text)


@lru_cache(maxsize=16)
def _formulas(names: tuple[str, ...]) -> dict[str, Printed]:
    """The closed forms, which know no landscape, for a p of these names."""
    scalars = dict.fromkeys(names, 1.0) | NUMBERS
    found = {n: named_function(function, scalars, rows, n) for n, (function, rows) in FORMULAS.items()}
    return {name: Printed(program, "function") for name, program in found.items()}


def _ascent(family: Family, method: ShownMethod, scalars: Mapping[str, float], start: Tensor) -> Program:
    def ascent(v: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        point = ascent_point(method.row.update, _oracle(family, v), x[..., :2], x[..., 2:], v["rho"])
        return [point[..., 0] + 0.0, point[..., 1] + 0.0]

    rows = points_around(start)
    return named_function(ascent, scalars, torch.cat((rows, rows.flip(0)), -1), f"ascent of {method.name}")


def _wide(name: str, rows: Tensor) -> Tensor:
    """The vector a function takes: a point, and for the attraction region a direction too."""
    return torch.cat((rows, rows.flip(-1) + 1.0), -1) if name == "capture" else rows
