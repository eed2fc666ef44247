"""A kernel with its observables as lists, each compared with the eager function that it was traced from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...dynamics.kernels import Kernel
from ...problems.noise import Noise, Normal
from ...problems.observables import asked
from ..purity import mixed
from ..streams import Streams
from .checks import PRECISIONS, compare_with, far_draws, points_around, with_far
from .listings import Listing, Member
from .members import Form, Part, Stepper, factors_of, joined, parts_of, stepper_of
from .programs import Program
from .trace import ImpureTrace, NotTraceable, trace

__all__ = ["listing_of"]

Field = Callable[[Any], Tensor]


def listing_of(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Field],
    internals: Mapping[str, Field],
    most: int = 10**9,
) -> Listing:
    """The lists of a kernel and of what is watched, traced on one replicate and compared with the eager step.

    Parameters
    ----------
    x0 : a start (d,), near which traces are compared
    most : numbers that each list may have

    Raises
    ------
    NotTraceable
        With the reason: an operation without a rule, control flow on values, a state that is no tensor, or a trace
        that does not give what the eager step gives.
    """
    if x0.device.type != "cpu" or x0.dtype not in PRECISIONS:
        raise NotTraceable(f"the fused engine runs float32 and float64 on the CPU, x0 is {x0.dtype} on {x0.device}")
    parts, rows = parts_of(kernel), with_far(points_around(x0))
    if len(parts) > 1 and internals:
        raise NotTraceable("internals of a coupled kernel are not traced")
    steppers = [stepper_of(part.kernel, x0) for part in parts]
    if len(parts) > 1 and any(s.clock.numel() for s in steppers):
        raise NotTraceable(f"{kernel.name} couples a linearised kernel")
    forms = tuple(Form.of(s, rows, p.kernel.name) for s, p in zip(steppers, parts, strict=True))
    traced: dict[int, Program] = {}  # antithetic twins are one kernel
    members, first = [], 0
    for part, stepper, form in zip(parts, steppers, forms, strict=True):
        step = traced.get(id(part.kernel)) or _traced_step(part, stepper, form, rows, most)
        traced[id(part.kernel)] = step
        members.append(Member(step, range(first, first + form.size), part.numbers, part.share, part.sign))
        first += form.size
    whole = steppers[0] if len(parts) == 1 else stepper_of(kernel, x0)
    join = (lambda states: states[0]) if len(parts) == 1 else (lambda states: joined(kernel, iter(states)))
    initial = _Initial(tuple(steppers), forms)
    observe = _traced_observables(whole, join, initial, rows, observables, internals, most)
    return Listing(tuple(members), factors_of(kernel.noise), kernel.substeps, observe, initial, whole.clock, x0)


@dataclass(frozen=True)
class _Initial:
    steppers: tuple[Stepper, ...]
    forms: tuple[Form, ...]

    def __call__(self, x0: Tensor) -> Tensor:
        return torch.cat([leaf.reshape(len(x0), -1).T for leaf in self.leaves(x0)])

    def leaves(self, x0: Tensor) -> list[Tensor]:
        """The state's tensors at starts (rows, d)."""
        pairs = zip(self.steppers, self.forms, strict=True)
        return [leaf for stepper, form in pairs for leaf in form.take(stepper.init(x0))]


# ----------------------------------------------------------------- traces, each compared with the eager step
def _now(stepper: Stepper, k: int) -> Tensor:
    """The clock's row at draw k, or at the last one it is prepared for."""
    return stepper.clock[min(k, len(stepper.clock) - 1)] if len(stepper.clock) else stepper.clock.new_empty(0)


def _rest(leaves: Sequence[Tensor]) -> list[Tensor]:
    return [leaf[1:].clone() for leaf in leaves]


def _repeated(now: Tensor, rows: Tensor) -> Tensor:
    return now.expand(len(rows) - 1, -1)


def _traced_step(part: Part, stepper: Stepper, form: Form, rows: Tensor, most: int) -> Program:
    what = f"step of {part.kernel.name}"
    draws, several = _draws(part.kernel.noise, rows)

    def step(*numbers: Tensor) -> list[Tensor]:
        *others, now = numbers
        left, z = others[: len(form.shapes)], pytree.tree_unflatten(others[len(form.shapes) :], several)
        leaves = form.take(stepper.step(form.build(left), z, now))
        _require_form(leaves, left, what)
        return leaves

    leaves = form.take(stepper.init(rows))
    examples = [*(t[:1] for t in (*leaves, *draws)), _now(stepper, 0)]
    program = trace(step, examples, what, most)
    leaves, draws = _rest(leaves), _rest(draws)
    for k in range(2):
        now, before = _now(stepper, k), [leaf.clone() for leaf in leaves]
        leaves = step(*leaves, *(t.clone() for t in draws), now)
        with _mixing_named(lambda *rest, now=now: step(*rest, now), (*before, *draws), leaves, what):
            compare_with(program, (*before, *draws, _repeated(now, rows)), leaves, what, before)
    _require_same(program, trace(step, examples, what, most), what)
    return program


def _draws(noise: Noise, rows: Tensor) -> tuple[list[Tensor], Any]:
    """A draw for each row, as tensors and how they are nested."""
    z = noise.draw(Streams(seed=0, first=0, count=len(rows)).bits, rows.dtype)
    draws, several = pytree.tree_flatten(z)
    pairs = zip(draws, factors_of(noise), strict=True)
    return [far_draws(t) if isinstance(factor, Normal) else t for t, factor in pairs], several


def _require_form(leaves: Sequence[Tensor], left: Sequence[Tensor], what: str) -> None:
    for new, old in zip(leaves, left, strict=True):
        if new.shape != old.shape or new.dtype != old.dtype:
            raise NotTraceable(
                f"{what} must keep the form of its state, it turned {old.dtype}{tuple(old.shape)} into "
                f"{new.dtype}{tuple(new.shape)}"
            )


def _require_same(program: Program, again: Program, what: str) -> None:
    """A second trace, some calls later."""
    if repr(program) != repr(again):
        raise ImpureTrace(f"{what} changes from call to call: something in it counts, and is no part of the state")


@contextmanager
def _mixing_named(
    function: Callable[..., list[Tensor]], given: Sequence[Tensor], found: Sequence[Tensor], what: str
) -> Iterator[None]:
    """A list that differs from its function on several rows: are they mixed?"""
    try:
        yield
    except NotTraceable as error:
        if mixed(function, given, found):
            raise ImpureTrace(f"{what} mixes replicates, several give other values than each alone: {error}") from None
        raise


def _traced_observables(
    whole: Stepper,
    join: Callable[[list], Any],
    initial: _Initial,
    rows: Tensor,
    observables: Mapping[str, Field],
    internals: Mapping[str, Field],
    most: int,
) -> Program:
    names, now = (*observables, *internals), _now(whole, 0)
    what = f"observables {', '.join(names)}"

    def watch(*numbers: Tensor) -> list[Tensor]:
        *left, now = numbers
        state = join([form.build([left.pop(0) for _ in form.shapes]) for form in initial.forms])
        x = whole.position(state, now)
        values = [_number(name, asked(name, phi, x), x, what) for name, phi in observables.items()]
        values += [_number(name, asked(name, read, state), x, what) for name, read in internals.items()]
        return [torch.isfinite(x).reshape(len(x), -1).all(-1), *values]

    leaves = initial.leaves(rows)
    examples = [*(leaf[:1] for leaf in leaves), now]
    program = trace(watch, examples, what, most)
    values = watch(*_rest(leaves), now)
    with _mixing_named(lambda *rest: watch(*rest, now), _rest(leaves), values, what):
        compare_with(program, (*_rest(leaves), _repeated(now, rows)), values, what)
    _require_same(program, trace(watch, examples, what, most), what)
    return program


def _number(name: str, value: Any, x: Tensor, what: str) -> Tensor:
    """An observable's value, one number a replicate."""
    found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    if not isinstance(value, Tensor) or value.shape != (len(x),):
        raise NotTraceable(
            f"{what} must each be one number a replicate: {name!r} must map {tuple(x.shape)} to ({len(x)},), "
            f"got {found}"
        )
    return value
