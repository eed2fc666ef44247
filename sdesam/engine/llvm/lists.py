"""A list printed as short loops over a group of lanes.

It is cut after every transcendental function, since a long body would wait for it; values needed across a cut pass
through the buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ..tracing.programs import COMPARISONS, TRANSCENDENTAL, Program
from .functions import FUNCTIONS
from .lanes import FAST, Group
from .vectors import INT64, Vector, call, choose, fma, fuses, root

__all__ = ["TOGETHER", "ListPrinter", "stored_constants"]

_LONGEST = 400  # operations of one loop of a list that mixes its numbers: a longer one spills more than a cut costs
_MIXED = 64  # operations for each output from which a list is one, as that of a dense matrix is
_CHAINED = 4  # operations for each one on the longest path: a list with fewer waits for its own results
_LONGEST_CHAINED = 100  # operations of one loop there
TOGETHER = 2  # vectors in the loops of such a list, and of the noise, so that the processor finds other work
_SELECTED = 64  # entries of a table that is read by a tree of selections


class ListPrinter:
    """Writes one list as a sequence of loops over the group."""

    def __init__(self, group: Group, program: Program, constants: int, tables: int, inputs: Sequence[int], free: int):
        self.group, self.program, self.inputs = group, program, inputs
        self.constants = constants
        first = constants + len(program.constants)
        self.reciprocals = {k: first + 2 * i for i, k in enumerate(program.divisors)}
        lengths = [len(t) for t in program.tables]
        self.tables = [tables + sum(lengths[:i]) for i in range(len(lengths))]
        self.chained = program.length < _CHAINED * program.depth
        self.segments = _segments(program, self._longest)
        self.fused = _fused(program, self.segments)
        self.absorbed = {program.nodes[i][1][place] for i, place in self.fused.items()}
        self.temporary = _temporaries(program, self.segments, free)

    @property
    def _longest(self) -> int:
        """Operations of one loop; lists whose numbers hardly meet, as on a separable loss, are not cut."""
        program = self.program
        if self.chained:
            return _LONGEST_CHAINED
        return _LONGEST if program.length > _MIXED * len(program.outputs) else program.length

    def write(self, finish: Callable[[list[Vector]], None]) -> None:
        """All loops; ``finish`` gets the outputs inside the last one."""
        self.group.together(TOGETHER if self.chained else 1)
        for segment in self.segments:
            with self.group.each("lanes") as place:
                self.group.place = place
                self._values: dict[int, Vector] = {}
                for node in segment:
                    if node not in self.absorbed:
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
        if node in self.fused:
            return self._fused_sum(op, args, self.fused[node])
        a, *rest = (self._value(i) for i in args)
        if op in FUNCTIONS:
            value = FUNCTIONS[op](a)
            return Vector(value.builder, value.value, FAST)
        if op in COMPARISONS:
            return a.compare(op, rest[0])
        if op == "div" and fuses(a.builder) and (divisor := self.program.nodes[args[1]])[0] == "constant":
            place = self.reciprocals.get(divisor[1][0])
            return a / rest[0] if place is None else self._quotient(a, place)
        if node in self.program.exact:
            return Vector(a.builder, _ARITHMETIC[op](a.plain(), *rest).value, FAST)
        return _ARITHMETIC[op](a, *rest)

    def _fused_sum(self, op: str, args: tuple[int, ...], place: int) -> Vector:
        """A b + c, a b − c or c − a b."""
        a, b = (self._value(i) for i in self.program.nodes[args[place]][1])
        c = self._value(args[1 - place])
        if op == "sub":
            a, c = (-a, c) if place else (a, -c)
        return fma(a, b, c)

    def _quotient(self, a: Vector, place: int) -> Vector:
        """By a constant whose ``reciprocal`` is at ``place``: the rounded quotient, where that is not subnormal."""
        high, low = (self.group.splat(self.group.pointers["constants"], place + k) for k in (0, 1))
        value = fma(a, high, a.plain() * low)
        return Vector(value.builder, value.value, FAST)

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
        return Vector(builder, value, FAST)


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


def _fused(program: Program, segments: list[list[int]]) -> dict[int, int]:
    """The fused sums whose product stands in the same loop."""
    where = {node: s for s, segment in enumerate(segments) for node in segment}
    return {i: k for i, k in program.fused.items() if where[i] == where[program.nodes[i][1][k]]}


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
