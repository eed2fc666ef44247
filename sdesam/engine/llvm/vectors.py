"""Arithmetic on symbols that writes LLVM instructions on short vectors: ``a * b + 1.0`` appends to the code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

__all__ = [
    "BYTE", "INT64", "POINTER", "Builder", "Text", "Vector", "call", "choose", "fma", "fuses", "loop", "product",
    "root", "splat",
]  # fmt: skip

Builder = Any  # llvmlite declares no types that a checker understands
BYTE, INT64, POINTER = ir.IntType(8), ir.IntType(64), ir.PointerType()
_SIGNED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Text(ir.Module):
    """Code being written, for processors with or without an instruction for fused products."""

    def __init__(self, name: str, *, fuses: bool) -> None:
        super().__init__(name)
        self.fuses = fuses


class Splat(ir.Constant):
    """One number in every lane, in LLVM's short form: spelled out, constants would be most of the text."""

    def _get_reference(self) -> str:
        return f"splat ({self.constant[0]})"


def splat(kind: ir.VectorType, value: float | int) -> Splat:
    """The constant vector of one number."""
    return Splat(kind, [value] * kind.count)


class Vector:
    """A vector of floats, integers or truth values in the code being written.

    ``flags`` are those of its floating-point operations: ("reassoc",) for the user's arithmetic, none where rounding
    errors are used (``functions``).  Never "contract": which products are fused is written, so that every compiler
    rounds alike.  Never ``nnan`` or ``ninf``, since a diverging path must stay visible.
    """

    __slots__ = ("builder", "flags", "value")

    def __init__(self, builder: Builder, value: Any, flags: tuple[str, ...] = ()) -> None:
        self.builder, self.value, self.flags = builder, value, flags

    @property
    def type(self) -> Any:
        """Its LLVM type."""
        return self.value.type

    @property
    def bits(self) -> int:
        """Bits of a number."""
        element = self.type.element
        return element.width if isinstance(element, ir.IntType) else 64 if isinstance(element, ir.DoubleType) else 32

    @property
    def is_float(self) -> bool:
        """Whether it holds floats."""
        return not isinstance(self.type.element, ir.IntType)

    def like(self, value: float | int) -> Vector:
        """The same number in every lane."""
        return self.new(splat(self.type, value))

    def new(self, value: Any) -> Vector:
        """Another value in the same code."""
        return Vector(self.builder, value, self.flags)

    def to(self, element: ir.Type) -> ir.VectorType:
        """The type of as many lanes of another element."""
        return ir.VectorType(element, self.type.count)

    def plain(self) -> Vector:
        """Without permission to reorder."""
        return Vector(self.builder, self.value)

    def _other(self, other: Any) -> Any:
        return (other if isinstance(other, Vector) else self.like(other)).value

    def _binary(self, floats: str, integers: str, a: Any, b: Any) -> Vector:
        if self.is_float:
            return self.new(getattr(self.builder, floats)(a, b, flags=self.flags))
        return self.new(getattr(self.builder, integers)(a, b))

    def __add__(self, other: Any) -> Vector:
        return self._binary("fadd", "add", self.value, self._other(other))

    def __sub__(self, other: Any) -> Vector:
        return self._binary("fsub", "sub", self.value, self._other(other))

    def __rsub__(self, other: Any) -> Vector:
        return self.like(other) - self

    def __mul__(self, other: Any) -> Vector:
        return self._binary("fmul", "mul", self.value, self._other(other))

    def __truediv__(self, other: Any) -> Vector:
        return self.new(self.builder.fdiv(self.value, self._other(other), flags=self.flags))

    def __neg__(self) -> Vector:
        return self.new(self.builder.fneg(self.value))

    def __and__(self, other: Any) -> Vector:
        return self.new(self.builder.and_(self.value, self._other(other)))

    def __or__(self, other: Any) -> Vector:
        return self.new(self.builder.or_(self.value, self._other(other)))

    def __xor__(self, other: Any) -> Vector:
        return self.new(self.builder.xor(self.value, self._other(other)))

    def __lshift__(self, other: Any) -> Vector:
        return self.new(self.builder.shl(self.value, self._other(other)))

    def __rshift__(self, other: Any) -> Vector:
        """Unsigned."""
        return self.new(self.builder.lshr(self.value, self._other(other)))

    def signed_shift(self, count: int) -> Vector:
        """Arithmetic shift to the right."""
        return self.new(self.builder.ashr(self.value, self._other(count)))

    def compare(self, op: str, other: Any) -> Vector:
        """``lt le gt ge eq ne``; a NaN compares unequal, and otherwise false."""
        sign, b = _SIGNED[op], self._other(other)
        if not self.is_float:
            return self.new(self.builder.icmp_signed(sign, self.value, b))
        order = self.builder.fcmp_unordered if op == "ne" else self.builder.fcmp_ordered
        return self.new(order(sign, self.value, b))

    def cast(self, element: ir.Type) -> Vector:
        """The same bits."""
        return self.new(self.builder.bitcast(self.value, self.to(element)))

    def as_bits(self) -> Vector:
        """A float's bits."""
        return self.cast(ir.IntType(self.bits))

    def as_float(self) -> Vector:
        """The float of these bits."""
        return self.cast(ir.DoubleType() if self.bits == 64 else ir.FloatType())

    def widened(self) -> Vector:
        """Unsigned integers with 64 bits."""
        return self.new(self.builder.zext(self.value, self.to(INT64)))

    def narrowed(self, bits: int = 32) -> Vector:
        """The low bits of integers."""
        return self.new(self.builder.trunc(self.value, self.to(ir.IntType(bits))))

    def masked(self) -> Vector:
        """Truth values as integers that memory can hold."""
        return self.new(self.builder.sext(self.value, self.to(ir.IntType(32))))

    def doubled(self) -> Vector:
        """Floats in double precision."""
        return self if self.bits == 64 else self.new(self.builder.fpext(self.value, self.to(ir.DoubleType())))

    def rounded(self, element: ir.Type) -> Vector:
        """Signed integers as floats."""
        return self.new(self.builder.sitofp(self.value, self.to(element)))


def call(name: str, first: Vector, *rest: Any) -> Vector:
    """An LLVM intrinsic, by the name without its type."""
    arguments = [first.value, *(first._other(r) for r in rest)]
    full = f"{name}.v{first.type.count}f{first.bits}"
    module = first.builder.module
    function = module.globals.get(full)
    if function is None:
        function = ir.Function(module, ir.FunctionType(first.type, [a.type for a in arguments]), full)
    return first.new(first.builder.call(function, arguments))


def fuses(builder: Builder) -> bool:
    """Whether the code is for a processor that rounds a b + c once."""
    return getattr(builder.module, "fuses", True)


def fma(a: Vector, b: Any, c: Any) -> Vector:
    """A b + c, rounded once; rounded twice where the processor cannot, since the C library would be called for it."""
    return call("llvm.fma", a, b, c) if fuses(a.builder) else a * b + c


def product(a: Vector, b: float) -> tuple[Vector, Vector]:
    """A b rounded, and what the rounding lost, exactly: by a fused product, else from halves (T. J. Dekker, 1971)."""
    rounded = a * b
    if fuses(a.builder):
        return rounded, fma(a, b, -rounded)
    (high, low), (b_high, b_low) = _halves(a), _halves(a.like(b))
    lost = ((high * b_high - rounded) + high * b_low + low * b_high) + low * b_low
    return rounded, lost


def _halves(a: Vector) -> tuple[Vector, Vector]:
    """A number as two of half its digits (G. W. Veltkamp, 1968)."""
    shifted = a * (2.0**27 + 1 if a.bits == 64 else 2.0**12 + 1)
    high = shifted - (shifted - a)
    return high, a - high


def root(a: Vector) -> Vector:
    """√a, correctly rounded."""
    return call("llvm.sqrt", a)


def choose(c: Vector, a: Any, b: Any) -> Vector:
    """A where c, else b; one of them is a vector."""
    like = a if isinstance(a, Vector) else b
    return like.new(like.builder.select(c.value, like._other(a), like._other(b)))


@contextmanager
def loop(builder: Builder, count: Any, name: str) -> Iterator[Any]:
    """``for i in range(count)``; yields i."""
    before, body = builder.block, builder.append_basic_block(name)
    test, after = builder.append_basic_block(name + ".test"), builder.append_basic_block(name + ".end")
    builder.branch(test)
    builder.position_at_end(test)
    i = builder.phi(INT64, name)
    i.add_incoming(INT64(0), before)
    builder.cbranch(builder.icmp_signed("<", i, count), body, after)
    builder.position_at_end(body)
    yield i
    i.add_incoming(builder.add(i, INT64(1), flags=("nsw",)), builder.block)
    builder.branch(test)
    builder.position_at_end(after)
