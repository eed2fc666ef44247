"""A model printed as LLVM code: the time loop inside, the numbers of a step in a buffer that stays in the cache.

``run`` steps one unit of 1,024 replicates in groups of lanes whose numbers lie in a flat buffer, 512 bytes a slot.
A list is cut into short loops over the group after every transcendental function, since a long body would wait for
it; values needed across a cut pass through the buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ..noise import Noise, Normal
from .eager import UNIT
from .functions import FUNCTIONS, draw
from .members import size_of
from .models import Model
from .scalars import COMPARISONS, TRANSCENDENTAL, Program
from .vectors import BYTE, INT64, POINTER, Builder, Vector, call, choose, fma, loop, root, splat

__all__ = ["ARRAYS", "SLOT", "module_of", "numbers_of", "stored_constants"]

SLOT = 512  # bytes: 64 float64 or 128 float32 lanes
ARRAYS = ("constants", "tables", "clock", "state", "rng", "values", "scratch", "shares", "scales")  # what ``run`` gets
_VECTOR = 64  # bytes of the vectors written; narrower machines split them
_LONGEST = 400  # operations of one loop: a longer one spills more than a cut costs
_CHAINED = 4  # operations for each one on the longest path: a list with fewer waits for its own results
_LONGEST_CHAINED = 100  # operations of one loop there
_TOGETHER = 2  # vectors in the loops of such a list, and of the noise, so that the processor finds other work
_FAST = ("reassoc", "contract")
_STREAM = 4  # slots of a generator's state
_SELECTED = 64  # entries of a table that is read by a tree of selections


@dataclass(frozen=True)
class _Slots:
    """Where the numbers of a group lie."""

    state: int
    noise: int
    sums: tuple[int, ...]
    free: int

    @classmethod
    def of(cls, model: Model) -> _Slots:
        noise = _STREAM + sum(len(m.states) for m in model.members)
        first = noise + sum(size_of(f) for f in model.noise)
        widths = [len(m.noises) for m in model.members] if model.coupled else []
        sums = [first + sum(widths[:i]) for i in range(len(widths))]
        return cls(_STREAM, noise, tuple(sums), first + sum(widths))


class _Group:
    """Writes code for a group of lanes: loads and stores of slots at the current place of the inner loop."""

    def __init__(self, builder: Builder, bits: int, pointers: dict[str, ir.Argument]) -> None:
        self.builder, self.bits, self.pointers = builder, bits, pointers
        self.float = ir.DoubleType() if bits == 64 else ir.FloatType()
        self.width = self._one = 8 * _VECTOR // bits
        self.lanes = 8 * SLOT // bits
        self.place: Any = INT64(0)
        self.now: Any = None  # the clock's row of the current draw
        self.most = 0

    def each(self, name: str) -> AbstractContextManager[Any]:
        """The loop over the group's lanes, a vector at a time."""
        return loop(self.builder, INT64(self.lanes // self.width), name)

    def together(self, vectors: int) -> None:
        """Take this many vectors at a time in the loops to come."""
        self.width = vectors * self._one

    def address(self, base: Any, offset: Any) -> Any:
        """A pointer ``offset`` bytes further."""
        offset = INT64(offset) if isinstance(offset, int) else offset
        return self.builder.gep(base, [offset], source_etype=BYTE)

    def _slot(self, slot: int, element: ir.Type, further: Any) -> Any:
        self.most = max(self.most, slot)
        size = 4 if isinstance(element, ir.IntType) else self.bits // 8
        start = self.address(self.pointers["scratch"], SLOT * slot)
        start = start if further is None else self.address(start, self.builder.mul(further, INT64(SLOT)))
        return self.address(start, self.builder.mul(self.place, INT64(self.width * size)))

    def load(self, slot: int, element: ir.Type | None = None, further: Any = None) -> Vector:
        """A vector of the slot, or of the one that lies ``further`` (a number of the code) slots on."""
        element = element or self.float
        kind = ir.VectorType(element, self.width)
        value = self.builder.load(self._slot(slot, element, further), typ=kind, align=32)
        return Vector(self.builder, value, _FAST)

    def store(self, slot: int, value: Vector, further: Any = None) -> None:
        """Truth values are stored as integers."""
        value = value.masked() if value.bits == 1 else value
        self.builder.store(value.value, self._slot(slot, value.type.element, further), align=32)

    def splat(self, base: Any, index: int) -> Vector:
        """One number of an array in every lane."""
        scalar = self.builder.load(self.address(base, index * self.bits // 8), typ=self.float)
        return self.spread(scalar)

    def spread(self, scalar: Any) -> Vector:
        """A scalar in every lane."""
        kind = ir.VectorType(scalar.type, self.width)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return Vector(self.builder, self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros), _FAST)

    def number(self, value: Vector) -> Vector:
        """Truth values as 0 and 1, numbers as they are."""
        return choose(value, self.literal(1.0), self.literal(0.0)) if value.bits == 1 else value

    def literal(self, value: float | bool) -> Vector:
        """A number of the list's structure."""
        element = ir.IntType(1) if isinstance(value, bool) else self.float
        kind = ir.VectorType(element, self.width)
        return Vector(self.builder, splat(kind, value), _FAST)


# ----------------------------------------------------------------- one list
class _Printer:
    """Writes one list as a sequence of loops over the group."""

    def __init__(self, group: _Group, program: Program, constants: int, tables: int, inputs: Sequence[int], free: int):
        self.group, self.program, self.inputs = group, program, inputs
        self.constants = constants
        first = constants + len(program.constants)
        self.reciprocals = {k: first + 2 * i for i, k in enumerate(program.divisors)}
        lengths = [len(t) for t in program.tables]
        self.tables = [tables + sum(lengths[:i]) for i in range(len(lengths))]
        self.chained = program.length < _CHAINED * program.depth
        self.segments = _segments(program, _LONGEST_CHAINED if self.chained else _LONGEST)
        self.temporary = _temporaries(program, self.segments, free)

    def write(self, finish: Callable[[list[Vector]], None]) -> None:
        """All loops; ``finish`` gets the outputs inside the last one."""
        self.group.together(_TOGETHER if self.chained else 1)
        for segment in self.segments:
            with self.group.each("lanes") as place:
                self.group.place = place
                self._values: dict[int, Vector] = {}
                for node in segment:
                    self._values[node] = self._operation(node)
                for node in segment:
                    if node in self.temporary:
                        self.group.store(self.temporary[node], self._values[node])
                if segment is self.segments[-1]:
                    finish([self._value(o) for o in self.program.outputs])
        self.group.together(1)

    def _value(self, node: int) -> Vector:
        if node not in self._values:
            self._values[node] = self._fetched(node)
        return self._values[node]

    def _fetched(self, node: int) -> Vector:
        op, args = self.program.nodes[node]
        kind = self.program.kinds[node]
        if op == "literal":
            return self.group.literal(args[0])
        if op == "constant":
            return self.group.splat(self.group.pointers["constants"], self.constants + args[0])
        if op == "input" and args[0] >= len(self.inputs):
            return self.group.splat(self.group.now, args[0] - len(self.inputs))
        slot = self.inputs[args[0]] if op == "input" else self.temporary[node]
        if kind == "f":
            return self.group.load(slot)
        stored = self.group.load(slot, ir.IntType(32))
        return stored if kind == "i" else stored.compare("ne", 0)

    def _operation(self, node: int) -> Vector:
        op, args = self.program.nodes[node]
        if op == "table":
            return self._lookup(self._value(args[0]), self.tables[args[1]], len(self.program.tables[args[1]]))
        a, *rest = (self._value(i) for i in args)
        if op in FUNCTIONS:
            value = FUNCTIONS[op](a)
            return Vector(value.builder, value.value, _FAST)
        if op in COMPARISONS:
            return a.compare(op, rest[0])
        if op == "div" and (divisor := self.program.nodes[args[1]])[0] == "constant":
            place = self.reciprocals.get(divisor[1][0])
            return a / rest[0] if place is None else self._quotient(a, place)
        if node in self.program.exact:
            return Vector(a.builder, _ARITHMETIC[op](a.plain(), *rest).value, _FAST)
        return _ARITHMETIC[op](a, *rest)

    def _quotient(self, a: Vector, place: int) -> Vector:
        """By a constant whose ``reciprocal`` is at ``place``: the rounded quotient, where that is not subnormal."""
        high, low = (self.group.splat(self.group.pointers["constants"], place + k) for k in (0, 1))
        value = fma(a, high, a.plain() * low)
        return Vector(value.builder, value.value, _FAST)

    def _lookup(self, index: Vector, start: int, length: int) -> Vector:
        """A short table by halving: the lowest bit selects among neighbours, the next among those, .."""
        if length > _SELECTED:
            return self._gathered(index, start)
        row = [self.group.splat(self.group.pointers["tables"], start + i) for i in range(length)]
        bit = 1
        while len(row) > 1:
            odd = (index & bit).compare("ne", 0)
            row = [choose(odd, row[i + 1], row[i]) if i + 1 < len(row) else row[i] for i in range(0, len(row), 2)]
            bit *= 2
        return row[0]

    def _gathered(self, index: Vector, start: int) -> Vector:
        builder, group = self.group.builder, self.group
        value = ir.Constant(ir.VectorType(group.float, group.width), ir.Undefined)
        for lane in range(group.width):
            k = builder.zext(builder.extract_element(index.value, ir.IntType(32)(lane)), INT64)
            offset = builder.mul(builder.add(k, INT64(start)), INT64(group.bits // 8))
            entry = builder.load(group.address(group.pointers["tables"], offset), typ=group.float)
            value = builder.insert_element(value, entry, ir.IntType(32)(lane))
        return Vector(builder, value, _FAST)


_ARITHMETIC: dict[str, Callable[..., Vector]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "abs": lambda a: call("llvm.fabs", a),
    "sqrt": root,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "not": lambda a: a ^ 1,
    "where": choose,
}


def stored_constants(program: Program) -> int:
    """How many numbers the code reads for a list's constants: them, and two for each divisor."""
    return len(program.constants) + 2 * len(program.divisors)


def _segments(program: Program, longest: int) -> list[list[int]]:
    """Operations in order, cut after every transcendental function and after ``longest`` others; never empty."""
    segments: list[list[int]] = [[]]
    for i, (op, _) in enumerate(program.nodes):
        if op in ("input", "literal", "constant"):
            continue
        segments[-1].append(i)
        if op in TRANSCENDENTAL or len(segments[-1]) >= longest:
            segments.append([])
    return segments


def _temporaries(program: Program, segments: list[list[int]], free: int) -> dict[int, int]:
    """A slot for every value that crosses a cut; slots are used again after their last reader."""
    made = {node: s for s, segment in enumerate(segments) for node in segment}
    last: dict[int, int] = {}
    for node, s in made.items():
        op, args = program.nodes[node]
        for a in args[:1] if op == "table" else args:
            last[a] = max(last.get(a, 0), s)
    last.update(dict.fromkeys(program.outputs, len(segments) - 1))
    slots: dict[int, int] = {}
    unused: list[int] = []
    busy: dict[int, list[int]] = {}
    for s, segment in enumerate(segments):
        for node in segment:
            if last.get(node, s) > s:
                slot = unused.pop() if unused else (free := free + 1) - 1
                slots[node] = slot
                busy.setdefault(last[node], []).append(slot)
        unused += busy.pop(s, [])
    return slots


# ----------------------------------------------------------------- the whole model
_RUN = [
    *((name, POINTER) for name in ARRAYS),
    *((name, INT64) for name in ("saves", "save_every", "substeps", "begin")),
]  # fmt: skip


def module_of(model: Model, bits: int) -> tuple[str, int]:
    """The code of ``run`` for a model in the given precision, and the slots that its buffer needs."""
    module = ir.Module("model")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kind for _, kind in _RUN]), "run")
    arguments = {name: argument for (name, _), argument in zip(_RUN, function.args, strict=True)}
    for (_, kind), argument in zip(_RUN, function.args, strict=True):
        if kind is POINTER:
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    group = _Group(builder, bits, arguments)
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


def _look_at_clock(group: _Group, model: Model, save: Any, step: Any, substep: Any) -> None:
    """Row ((begin + save·save_every + step)·substeps + substep) of the clock."""
    builder, p, width = group.builder, group.pointers, model.clock.shape[1]
    if width:
        steps = builder.add(builder.add(p["begin"], builder.mul(save, p["save_every"])), step)
        row = builder.add(builder.mul(steps, p["substeps"]), substep)
        group.now = group.address(p["clock"], builder.mul(row, INT64(width * group.bits // 8)))


def numbers_of(model: Model) -> int:
    """Numbers in the state."""
    return sum(len(m.states) for m in model.members)


def _exchange(group: _Group, slots: _Slots, g: Any, *, load: bool) -> None:
    """Copy the group's generators and state between the unit's arrays and the buffer; clear the sums."""
    _copy(group, g, "rng", ir.IntType(32), 0, _STREAM, load=load)
    _copy(group, g, "state", group.float, slots.state, slots.noise - slots.state, load=load)
    if load and slots.sums:
        _clear(group, range(slots.sums[0], slots.free))


def _copy(group: _Group, g: Any, array: str, element: ir.Type, slot: int, count: int, *, load: bool) -> None:
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


def _write_noise(group: _Group, model: Model, slots: _Slots) -> None:
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


def _write_draw(group: _Group, noise: Noise, slot: int, further: Any = None) -> None:
    group.together(_TOGETHER)
    with group.each("noise") as place:
        group.place = place
        state = [Vector(group.builder, group.load(i, ir.IntType(32)).value) for i in range(_STREAM)]
        for i, value in enumerate(draw(noise, state, group.bits)):
            group.store(slot + i, value, further)
        for i, s in enumerate(state):
            group.store(i, s)
    group.together(1)


def _write_members(group: _Group, model: Model, slots: _Slots, substep: Any) -> None:
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
    group: _Group, program: Program, constants: int, tables: int, states: list[int], free: int
) -> Callable[[list[int]], None]:
    def finish(outputs: list[Vector]) -> None:
        for slot, value in zip(states, outputs, strict=True):
            group.store(slot, group.number(value))

    return lambda noises: _Printer(group, program, constants, tables, [*states, *noises], free).write(finish)


def _add_shares(group: _Group, noises: list[int], sums: list[int], sign: int) -> None:
    with group.each("share") as place:
        group.place = place
        for a, b in zip(noises, sums, strict=True):
            group.store(b, group.load(b) + group.load(a) if sign > 0 else group.load(b) - group.load(a))


def _scale_sums(group: _Group, sums: list[int], member: int) -> None:
    with group.each("scale") as place:
        group.place = place
        scale = group.splat(group.pointers["scales"], member)
        for slot in sums:
            group.store(slot, group.load(slot) / scale)


def _clear(group: _Group, sums: Sequence[int]) -> None:
    with group.each("clear") as place:
        group.place = place
        for slot in sums:
            group.store(slot, group.literal(0.0))


def _write_observables(group: _Group, model: Model, slots: _Slots, g: Any, save: Any, K: int) -> None:
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

    _Printer(group, model.observe, constants, tables, states, slots.free).write(finish)
