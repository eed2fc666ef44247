"""A model printed as LLVM code: ``run`` steps a unit of 1,024 replicates group by group, the time loop inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ...problems.noise import Noise, Normal
from ..eager import UNIT
from ..tracing.listings import Listing
from ..tracing.members import size_of
from ..tracing.programs import Program
from .draws import draw
from .lanes import Group
from .lists import TOGETHER, ListPrinter, stored_constants
from .vectors import INT64, POINTER, Text, Vector, loop

__all__ = ["ARRAYS", "module_of", "numbers_of"]

ARRAYS = ("constants", "tables", "clock", "state", "rng", "values", "scratch", "shares", "scales")  # what ``run`` gets
_STREAM = 4  # slots of a generator's state


@dataclass(frozen=True)
class _Slots:
    """Where the numbers of a group lie."""

    state: int
    noise: int
    sums: tuple[int, ...]
    free: int

    @classmethod
    def of(cls, model: Listing) -> _Slots:
        noise = _STREAM + sum(len(m.states) for m in model.members)
        first = noise + sum(size_of(f) for f in model.noise)
        widths = [len(m.noises) for m in model.members] if model.coupled else []
        sums = [first + sum(widths[:i]) for i in range(len(widths))]
        return cls(_STREAM, noise, tuple(sums), first + sum(widths))


_RUN = [
    *((name, POINTER) for name in ARRAYS),
    *((name, INT64) for name in ("saves", "save_every", "substeps", "begin")),
]  # fmt: skip


def module_of(model: Listing, bits: int, *, fuses: bool = True) -> tuple[str, int]:
    """The code of ``run`` for a model in the given precision, and the slots that its buffer needs.

    Parameters
    ----------
    fuses : whether the processor rounds a b + c once; the text depends on nothing else of it
    """
    module = Text("model", fuses=fuses)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kind for _, kind in _RUN]), "run")
    arguments = {name: argument for (name, _), argument in zip(_RUN, function.args, strict=True)}
    for (_, kind), argument in zip(_RUN, function.args, strict=True):
        if kind is POINTER:
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    group = Group(builder, bits, arguments)
    slots, K = _Slots.of(model), len(model.observe.outputs)
    with loop(builder, INT64(UNIT // group.lanes), "group") as g:
        _exchange(group, slots, g, load=True)
        with loop(builder, arguments["saves"], "save") as save:
            with (
                loop(builder, arguments["save_every"], "step") as step,
                loop(builder, arguments["substeps"], "substep") as substep,
            ):
                _look_at_clock(group, model, save, step, substep)
                _write_noise(group, model, slots)
                _write_members(group, model, slots, substep)
            _look_at_clock(group, model, builder.add(save, INT64(1)), INT64(0), INT64(0))
            _write_observables(group, model, slots, g, save, K)
        _exchange(group, slots, g, load=False)
    builder.ret_void()
    attributes = 'nounwind "min-legal-vector-width"="512" "prefer-vector-width"="512"'
    head, body = str(module).split('define void @"run"(', 1)
    signature, rest = body.split("\n", 1)
    return f'{head}define void @"run"({signature} {attributes}\n{rest}', group.most + 1


def _look_at_clock(group: Group, model: Listing, save: Any, step: Any, substep: Any) -> None:
    """Row ((begin + save·save_every + step)·substeps + substep) of the clock."""
    builder, p, width = group.builder, group.pointers, model.clock.shape[1]
    if width:
        steps = builder.add(builder.add(p["begin"], builder.mul(save, p["save_every"])), step)
        row = builder.add(builder.mul(steps, p["substeps"]), substep)
        group.now = group.address(p["clock"], builder.mul(row, INT64(width * group.bits // 8)))


def numbers_of(model: Listing) -> int:
    """Numbers in the state."""
    return sum(len(m.states) for m in model.members)


def _exchange(group: Group, slots: _Slots, g: Any, *, load: bool) -> None:
    """Copy the group's generators and state between the unit's arrays and the buffer; clear the sums."""
    _copy(group, g, "rng", ir.IntType(32), 0, _STREAM, load=load)
    _copy(group, g, "state", group.float, slots.state, slots.noise - slots.state, load=load)
    if load and slots.sums:
        _clear(group, range(slots.sums[0], slots.free))


def _copy(group: Group, g: Any, array: str, element: ir.Type, slot: int, count: int, *, load: bool) -> None:
    builder, kind = group.builder, ir.VectorType(element, group.width)
    size = 4 if isinstance(element, ir.IntType) else group.bits // 8
    group.most = max(group.most, slot + count - 1)
    with loop(builder, INT64(count), array) as row, group.each("copy") as place:
        group.place = place
        lane = builder.add(builder.mul(g, INT64(group.lanes)), builder.mul(place, INT64(group.width)))
        offset = builder.mul(builder.add(lane, builder.mul(row, INT64(UNIT))), INT64(size))
        address = group.address(group.pointers[array], offset)
        if load:
            group.store(slot, Vector(builder, builder.load(address, typ=kind, align=4)), row)
        else:
            builder.store(group.load(slot, element, row).value, address, align=4)


def _write_noise(group: Group, model: Listing, slots: _Slots) -> None:
    """Normals pair by pair, in one loop however many; then each other noise."""
    slot = slots.noise
    for noise in model.noise:
        size = size_of(noise)
        group.most = max(group.most, slot + size - 1)
        pairs = size // 2 if type(noise) is Normal else 0
        if pairs:
            with loop(group.builder, INT64(pairs), "pair") as pair:
                _write_draw(group, Normal(2), slot, group.builder.mul(pair, INT64(2)))
        if size > 2 * pairs:
            _write_draw(group, Normal(1) if pairs else noise, slot + 2 * pairs)
        slot += size


def _write_draw(group: Group, noise: Noise, slot: int, further: Any = None) -> None:
    group.together(TOGETHER)
    with group.each("noise") as place:
        group.place = place
        state = [Vector(group.builder, group.load(i, ir.IntType(32)).value) for i in range(_STREAM)]
        for i, value in enumerate(draw(noise, state, group.bits)):
            group.store(slot + i, value, further)
        for i, s in enumerate(state):
            group.store(i, s)
    group.together(1)


def _write_members(group: Group, model: Listing, slots: _Slots, substep: Any) -> None:
    builder, constants, tables = group.builder, 0, 0
    for i, member in enumerate(model.members):
        states = [slots.state + k for k in member.states]
        noises = [slots.noise + k for k in member.noises]
        write = _member_writer(group, member.step, constants, tables, states, slots.free)
        if not model.coupled:
            write(noises)
        else:
            sums = [slots.sums[i] + k for k in range(len(noises))]
            _add_shares(group, noises, sums, member.sign)
            share = builder.load(group.address(group.pointers["shares"], 8 * i), typ=INT64)
            count = builder.add(substep, INT64(1))
            complete = builder.icmp_signed("==", builder.srem(count, share), INT64(0))
            with builder.if_then(complete):
                _scale_sums(group, sums, i)
                write(sums)
                _clear(group, sums)
        constants += stored_constants(member.step)
        tables += sum(len(t) for t in member.step.tables)


def _member_writer(
    group: Group, program: Program, constants: int, tables: int, states: list[int], free: int
) -> Callable[[list[int]], None]:
    def finish(outputs: list[Vector]) -> None:
        for slot, value in zip(states, outputs, strict=True):
            group.store(slot, group.number(value))

    return lambda noises: ListPrinter(group, program, constants, tables, [*states, *noises], free).write(finish)


def _add_shares(group: Group, noises: list[int], sums: list[int], sign: int) -> None:
    with group.each("share") as place:
        group.place = place
        for a, b in zip(noises, sums, strict=True):
            group.store(b, group.load(b) + group.load(a) if sign > 0 else group.load(b) - group.load(a))


def _scale_sums(group: Group, sums: list[int], member: int) -> None:
    with group.each("scale") as place:
        group.place = place
        scale = group.splat(group.pointers["scales"], member)
        for slot in sums:
            group.store(slot, group.load(slot) / scale)


def _clear(group: Group, sums: Sequence[int]) -> None:
    with group.each("clear") as place:
        group.place = place
        for slot in sums:
            group.store(slot, group.literal(0.0))


def _write_observables(group: Group, model: Listing, slots: _Slots, g: Any, save: Any, K: int) -> None:
    """Values in float64, one row of 1,024 an observable; the first row says where the position is finite."""
    builder = group.builder
    constants = sum(stored_constants(m.step) for m in model.members)
    tables = sum(len(t) for m in model.members for t in m.step.tables)
    states = list(range(slots.state, slots.noise))

    def finish(outputs: list[Vector]) -> None:
        for k, value in enumerate(outputs):
            value = group.number(value)
            row = builder.add(builder.mul(save, INT64(K)), INT64(k))
            lane = builder.add(builder.mul(g, INT64(group.lanes)), builder.mul(group.place, INT64(group.width)))
            offset = builder.mul(builder.add(builder.mul(row, INT64(UNIT)), lane), INT64(8))
            builder.store(value.doubled().value, group.address(group.pointers["values"], offset), align=32)

    ListPrinter(group, model.observe, constants, tables, states, slots.free).write(finish)
