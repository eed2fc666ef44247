"""A kernel with its observables as lists, each compared with the eager function that it was traced from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor

from ...dynamics.kernels import Kernel
from ..parameters import Parameters
from ..purity import mixed
from ..structures import Recent
from .apart import Apart, Function, Lists, Subject
from .binding import bound
from .checks import PRECISIONS, compare_with, require_alike
from .listings import Listing
from .programs import Program
from .trace import ImpureTrace, NotTraceable, trace

__all__ = ["TRACES", "listing_of"]

TRACES = Recent(256)  # by structure: lists with open parameters, or which to close; a memo, it changes no result
_NEW, _KEPT = 2, 1  # steps at which a list is compared, where the state is the position


def listing_of(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Callable[[Any], Tensor]],
    internals: Mapping[str, Callable[[Any], Tensor]],
    most: int = 10**9,
) -> Listing:
    """The lists of a kernel and of what is watched, traced on one replicate and compared with the eager step.

    What was traced is kept for its structure, with its parameters open (see ``Parameters``): new numbers and a new
    start cost no trace.  A parameter whose value Python asks for, in a condition say, is closed: it is a part of the
    structure.  The lists are compared with the functions at every call all the same, and traced anew where they do not
    fit any more: a function may read what no structure shows.  Where all code is the package's, they are compared once
    with the same numbers and start.

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
    apart = Apart.of(Subject.of(kernel, observables, internals), x0)
    parameters = Parameters.of(apart.subject)
    if parameters is None:
        return apart.listing(_traced(apart, None, most))
    while True:
        found = _found(apart, parameters, most)
        if isinstance(found, Lists):
            return apart.listing(found)
        parameters = parameters.close(found)


def _found(apart: Apart, parameters: Parameters, most: int) -> Lists | frozenset[int]:
    """The kept lists where they still fit, else new ones; or which parameters to close first.

    It depends on the functions and their numbers only, not on what was traced before: so do the bits of a run.
    """
    key = parameters.key, len(apart.x0), apart.x0.dtype, most
    kept = TRACES.find(key)
    if isinstance(kept, frozenset):
        return kept
    if kept is not None:
        try:
            lists = _bound(kept, parameters.numbers)
            here = parameters.numbers, apart.x0.numpy().tobytes()
            if not (parameters.tame and kept.compared.find(here)):
                _compare(apart, lists, _KEPT)
                kept.compared.keep(here, (), True)
            return lists
        except NotTraceable:  # its functions read what no structure shows
            pass
    try:
        lists = _traced(apart, parameters, most)
    except ImpureTrace:
        raise
    except NotTraceable as error:
        places = frozenset(parameters.open[i] for i in error.asked)
        if places:
            TRACES.keep(key, parameters.alive, places)
        elif not (places := frozenset(parameters.open)):
            raise
        return places
    if _same(parameters, Parameters.of(apart.subject)):  # else its functions keep something from call to call
        TRACES.keep(key, parameters.alive, lists)
    return _bound(lists, parameters.numbers)


def _same(before: Parameters, after: Parameters | None) -> bool:
    return after is not None and (before.structure, before.values) == (after.structure, after.values)


def _bound(lists: Lists, numbers: tuple[float, ...]) -> Lists:
    """With these numbers for the parameters; the latest few are kept, for a new seed or n."""
    if not numbers:
        return lists
    known = lists.bound.find(numbers)
    if known is None:
        made = {id(program): bound(program, numbers) for program in lists.distinct}
        known = Lists(tuple(made[id(step)] for step in lists.steps), made[id(lists.observe)])
        lists.bound.keep(numbers, (), known)
    return known


# ----------------------------------------------------------------- traces, each compared with the eager step
def _traced(apart: Apart, parameters: Parameters | None, most: int) -> Lists:
    """New lists, compared with their functions, and with those of a second trace, some calls later.

    With open parameters the second trace has their numbers: code that goes by a parameter unseen gives another list.
    """
    numbers = () if parameters is None else parameters.numbers
    lists = _lists(apart, parameters, most)
    _compare(apart, _bound(lists, numbers), _NEW)
    again = _lists(apart, None, most)
    pairs = zip(apart.functions(), _bound(lists, numbers).distinct, again.distinct, strict=True)
    for function, one, other in pairs:
        if numbers:
            require_alike(one, other, function.name)
        elif repr(one) != repr(other):
            raise ImpureTrace(
                f"{function.name} changes from call to call: something in it counts, and is no part of the state"
            )
    return lists


def _lists(apart: Apart, parameters: Parameters | None, most: int) -> Lists:
    functions = apart.functions()
    numbers = [] if parameters is None else [apart.x0.new_tensor(v) for v in parameters.numbers]

    def with_parameters(place: int) -> Callable[..., list[Tensor]]:
        def call(*inputs: Tensor) -> list[Tensor]:
            rest, chosen = inputs[: len(inputs) - len(numbers)], inputs[len(inputs) - len(numbers) :]
            subject = parameters.with_numbers(apart.subject, chosen) if parameters else apart.subject
            return apart.again(subject).functions()[place].call(*rest)

        return call

    programs = [
        trace(with_parameters(i) if numbers else f.call, [*f.examples, *numbers], f.name, most, len(numbers))
        for i, f in enumerate(functions)
    ]
    of_part = dict(zip(dict.fromkeys(apart.firsts), programs[:-1], strict=True))
    return Lists(tuple(of_part[i] for i in apart.firsts), programs[-1])


def _compare(apart: Apart, lists: Lists, times: int) -> None:
    """Every list with its function: a step at several states, each one where the last led, and what is watched.

    A state of zeros hides what multiplies it, a momentum say: states that hold more than the position are stepped.
    """
    *steps, watch = apart.functions()
    *programs, observe = lists.distinct
    led: list[list[Tensor]] = []
    for function, program in zip(steps, programs, strict=True):
        rest = [t[1:].clone() for t in function.state]
        for k in range(_NEW if apart.remembers else times):
            rest = _compared(function, program, rest, k)
        led.append(rest)
    _compared(watch, observe, [t[1:].clone() for t in watch.state], 0)
    if apart.remembers:
        places = list(dict.fromkeys(apart.firsts))
        _compared(watch, observe, [t.clone() for i in apart.firsts for t in led[places.index(i)]], 0)


def _compared(function: Function, program: Program, rest: list[Tensor], k: int) -> list[Tensor]:
    """A list with its function at some states; returns what the function gives there."""
    now, before = function.clock(k), [t.clone() for t in rest]
    draws = [t[1:].clone() for t in function.draws]
    found = function.call(*rest, *(t.clone() for t in draws), now)
    given = (*before, *draws)
    with _mixing_named(partial(_at, function, now), given, found, function.name):
        clock = now.expand(len(found[0]), -1)
        compare_with(program, (*given, clock), found, function.name, before if function.steps else ())
    return found


def _at(function: Function, now: Tensor, *given: Tensor) -> list[Tensor]:
    return function.call(*given, now)


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
