"""A kernel taken apart at a start, with what is watched: the functions of tensors that become lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...dynamics.kernels import Kernel
from ...problems.noise import Noise, Normal
from ...problems.observables import asked
from ..streams import Streams
from ..structures import Recent
from .checks import far_draws, points_around, with_far
from .listings import Listing, Member
from .members import Form, Part, Stepper, factors_of, joined, parts_of, stepper_of
from .programs import Program
from .trace import NotTraceable

__all__ = ["Apart", "Function", "Lists", "Subject"]

Field = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Subject:
    """A kernel and what is watched of it: pairs of a name and a function."""

    kernel: Kernel
    observables: tuple[tuple[str, Field], ...]
    internals: tuple[tuple[str, Field], ...]

    @classmethod
    def of(cls, kernel: Kernel, observables: Mapping[str, Field], internals: Mapping[str, Field]) -> Subject:
        """Of mappings."""
        return cls(kernel, tuple(observables.items()), tuple(internals.items()))


@dataclass(frozen=True)
class Lists:
    """The lists of a subject: a step for each part of its kernel, and what is watched.

    Of the latest numbers for their open parameters, ``bound`` holds what the lists are with them, and ``compared`` the
    starts at which they were compared.
    """

    steps: tuple[Program, ...]
    observe: Program
    bound: Recent = field(default_factory=partial(Recent, 4), compare=False)
    compared: Recent = field(default_factory=partial(Recent, 16), compare=False)

    @property
    def distinct(self) -> Iterator[Program]:
        """Every list once, in the order of ``Apart.functions``: twins have one step."""
        yield from {id(step): step for step in self.steps}.values()
        yield self.observe


@dataclass(frozen=True)
class Function:
    """A function of tensors that is to become a list.

    Attributes
    ----------
    name : for messages
    call : maps tensors of n rows, and the clock's row, to tensors
    state, draws : its arguments at the points of ``Apart.rows``
    clock : the clock's row of a step's number
    steps : whether it gives the next state
    """

    name: str
    call: Callable[..., list[Tensor]]
    state: tuple[Tensor, ...]
    draws: tuple[Tensor, ...]
    clock: Callable[[int], Tensor]
    steps: bool

    @property
    def examples(self) -> list[Tensor]:
        """The first row: a trace is made there."""
        return [*(t[:1] for t in (*self.state, *self.draws)), self.clock(0)]


@dataclass(frozen=True)
class Apart:
    """The parts of a subject near a start.

    Attributes
    ----------
    x0 : the start (d,);  rows : points to trace and to compare at
    parts, steppers, forms : of the kernel, one each
    whole : the stepper of the kernel where it is one part
    """

    subject: Subject
    x0: Tensor
    rows: Tensor
    parts: tuple[Part, ...]
    steppers: tuple[Stepper, ...]
    forms: tuple[Form, ...]
    whole: Stepper

    @classmethod
    def of(cls, subject: Subject, x0: Tensor) -> Apart:
        """Raises ``NotTraceable`` for what has no list."""
        kernel, rows, parts = subject.kernel, with_far(points_around(x0)), parts_of(subject.kernel)
        if len(parts) > 1 and subject.internals:
            raise NotTraceable("internals of a coupled kernel are not traced")
        steppers = tuple(stepper_of(part.kernel, x0) for part in parts)
        if len(parts) > 1 and any(s.clock.numel() for s in steppers):
            raise NotTraceable(f"{kernel.name} couples a linearised kernel")
        forms = tuple(Form.of(s, rows, p.kernel.name) for s, p in zip(steppers, parts, strict=True))
        whole = steppers[0] if len(parts) == 1 else stepper_of(kernel, x0)
        return cls(subject, x0, rows, parts, steppers, forms, whole)

    def again(self, subject: Subject) -> Apart:
        """A subject of the same structure."""
        parts = parts_of(subject.kernel)
        steppers = tuple(stepper_of(part.kernel, self.x0) for part in parts)
        whole = steppers[0] if len(parts) == 1 else stepper_of(subject.kernel, self.x0)
        return replace(self, subject=subject, parts=parts, steppers=steppers, whole=whole)

    def listing(self, lists: Lists) -> Listing:
        """What the engine runs."""
        members, first = [], 0
        for part, form, step in zip(self.parts, self.forms, lists.steps, strict=True):
            members.append(Member(step, range(first, first + form.size), part.numbers, part.share, part.sign))
            first += form.size
        kernel, initial = self.subject.kernel, _Initial(self.steppers, self.forms)
        return Listing(
            tuple(members), factors_of(kernel.noise), kernel.substeps, lists.observe, initial, self.whole.clock, self.x0
        )

    @property
    def firsts(self) -> tuple[int, ...]:
        """For every part the first one of the same kernel: antithetic twins are one kernel."""
        kernels = [id(part.kernel) for part in self.parts]
        return tuple(map(kernels.index, kernels))

    @property
    def remembers(self) -> bool:
        """Whether a state holds more than a position, or what is watched is not of the position."""
        plain = all(len(f.shapes) == 1 and f.shapes[0] == tuple(self.x0.shape) for f in self.forms)
        return not plain or bool(self.subject.internals)

    def functions(self) -> list[Function]:
        """Those of all lists: the steps of different parts, and what is watched."""
        return [*(self._step(i) for i in dict.fromkeys(self.firsts)), self._watch()]

    def _step(self, i: int) -> Function:
        part, stepper, form = self.parts[i], self.steppers[i], self.forms[i]
        name = f"step of {part.kernel.name}"
        draws, several = self._draws(part)

        def step(*numbers: Tensor) -> list[Tensor]:
            *others, now = numbers
            left, z = others[: len(form.shapes)], pytree.tree_unflatten(others[len(form.shapes) :], several)
            leaves = form.take(stepper.step(form.build(left), z, now))
            _require_form(leaves, left, name)
            return leaves

        state = tuple(form.take(stepper.init(self.rows)))
        return Function(name, step, state, draws, lambda k: _now(stepper, k), True)

    def _draws(self, part: Part) -> tuple[tuple[Tensor, ...], Any]:
        """A draw for each row, as tensors and how they are nested."""
        noise = part.kernel.noise
        z = (_drawn if type(noise) is Normal else _drawn.__wrapped__)(noise, self.rows.dtype, len(self.rows))
        draws, several = pytree.tree_flatten(z)
        pairs = zip(draws, factors_of(noise), strict=True)
        return tuple(far_draws(t) if isinstance(factor, Normal) else t for t, factor in pairs), several

    def _watch(self) -> Function:
        names = [name for name, _ in (*self.subject.observables, *self.subject.internals)]
        what = f"observables {', '.join(names)}"

        def watch(*numbers: Tensor) -> list[Tensor]:
            *left, now = numbers
            state = self._joined([form.build([left.pop(0) for _ in form.shapes]) for form in self.forms])
            x = self.whole.position(state, now)
            values = [_number(name, asked(name, phi, x), x, what) for name, phi in self.subject.observables]
            values += [_number(name, asked(name, read, state), x, what) for name, read in self.subject.internals]
            return [torch.isfinite(x).reshape(len(x), -1).all(-1), *values]

        state = tuple(_Initial(self.steppers, self.forms).leaves(self.rows))
        return Function(what, watch, state, (), lambda k: _now(self.whole, 0), False)

    def _joined(self, states: list[Any]) -> Any:
        return states[0] if len(self.parts) == 1 else joined(self.subject.kernel, iter(states))


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


@lru_cache(maxsize=64)
def _drawn(noise: Noise, dtype: torch.dtype, count: int) -> Any:
    """The first draw of so many replicates of seed 0."""
    return noise.draw(Streams(seed=0, first=0, count=count).bits, dtype)


def _now(stepper: Stepper, k: int) -> Tensor:
    """The clock's row at draw k, or at the last one it is prepared for."""
    return stepper.clock[min(k, len(stepper.clock) - 1)] if len(stepper.clock) else stepper.clock.new_empty(0)


def _require_form(leaves: Sequence[Tensor], left: Sequence[Tensor], what: str) -> None:
    for new, old in zip(leaves, left, strict=True):
        if new.shape != old.shape or new.dtype != old.dtype:
            raise NotTraceable(
                f"{what} must keep the form of its state, it turned {old.dtype}{tuple(old.shape)} into "
                f"{new.dtype}{tuple(new.shape)}"
            )


def _number(name: str, value: Any, x: Tensor, what: str) -> Tensor:
    """An observable's value, one number a replicate."""
    found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    if not isinstance(value, Tensor) or value.shape != (len(x),):
        raise NotTraceable(
            f"{what} must each be one number a replicate: {name!r} must map {tuple(x.shape)} to ({len(x)},), "
            f"got {found}"
        )
    return value
