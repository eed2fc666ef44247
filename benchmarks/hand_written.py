"""The limit: four problems as LLVM loops written by hand, everything in registers, and nothing but x at the end.

The generator, Box-Muller and the elementary functions are the engine's own, so that what is compared is what the engine
adds: its lists, the buffer of its lanes, its statistics.  The formulas of a step are derived and written out here, in
the order in which one would write them; the final points agree with the engine's to rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import peers
import torch
from llvmlite import ir

import sdesam as ss
from sdesam.engine.choice import fused_or_reason
from sdesam.engine.llvm.compilation import Fused
from sdesam.engine.llvm.cpu import fused_values
from sdesam.engine.llvm.draws import draw
from sdesam.engine.llvm.functions import FUNCTIONS
from sdesam.engine.llvm.native import compiled, machine_fuses
from sdesam.engine.llvm.vectors import INT64, POINTER, Text, Vector, fma, loop, root
from sdesam.engine.start import Start
from sdesam.engine.streams import Streams
from sdesam.problems.noise import Normal

__all__ = ["PROBLEMS", "by_hand", "require_same"]

ETA, RHO, SIGMA = peers.ETA, peers.RHO, peers.SIGMA
Point = list[Vector]
Job = Callable[[], np.ndarray]
tanh = FUNCTIONS["tanh"]


# ----------------------------------------------------------------- steps
def usam_sde(x: Point, z: Point) -> Point:
    """Euler: X⁺ = X − eta (I + rho H) H X − eta sigma (I + rho H) z, H = diag(h)."""
    moved = []
    for h, a, b in zip(peers.curvatures(len(x)), x, z, strict=True):
        factor = float(ETA * (1 + RHO * h))
        moved.append(fma(a * float(h) + b * SIGMA, -factor, a))
    return moved


def _gradient(x: Point) -> Point:
    """Of ½ tanh²(v tanh u): s (v (1 − t²), t) with t = tanh u, o = tanh(v t), s = o (1 − o²)."""
    u, v = x
    t = tanh(u)
    o = tanh(v * t)
    s = o * (1.0 - o * o)
    return [s * v * (1.0 - t * t), s * t]


def sam(x: Point, z: Point) -> Point:
    """X⁺ = x − eta g(x + rho g/|g|)."""
    noise = [b * SIGMA for b in z]
    a = [m + n for m, n in zip(_gradient(x), noise, strict=True)]
    scale = a[0].like(RHO) / root(fma(a[0], a[0], a[1] * a[1]))
    ahead = [fma(scale, g, p) for g, p in zip(a, x, strict=True)]
    return [p - (m + n) * ETA for p, m, n in zip(x, _gradient(ahead), noise, strict=True)]


def dnsam_sde(x: Point, z: Point) -> Point:
    """Euler: X⁺ = X − eta (m + rho H m/|m|) − eta sigma (z + rho H z/|m|), m = ∇f, H its derivative."""
    u, v = x
    t = tanh(u)
    o = tanh(v * t)
    rest, slope = 1.0 - o * o, 1.0 - t * t
    s = o * rest
    bend = rest * (1.0 - o * o * 3.0)  # ds/d(v t)
    m = [s * v * slope, s * t]
    uu = bend * v * v * slope * slope - s * v * t * slope * 2.0
    uv, vv = bend * v * t * slope + s * slope, bend * t * t
    scale = m[0].like(RHO) / root(fma(m[0], m[0], m[1] * m[1]))
    p = [a + b * SIGMA for a, b in zip(m, z, strict=True)]
    H = [uu * p[0] + uv * p[1], uv * p[0] + vv * p[1]]
    return [a - fma(scale, h, b) * ETA for a, b, h in zip(x, p, H, strict=True)]


PROBLEMS: dict[str, tuple[int, Callable[[Point, Point], Point]]] = {
    "A d=2": (2, usam_sde), "A d=10": (10, usam_sde), "C SAM": (2, sam), "C DNSAM SDE": (2, dnsam_sde),
}  # fmt: skip


# ----------------------------------------------------------------- the loop
def _module(problem: str, bits: int, together: int) -> str:
    """``run(rng, x, vectors, n, steps)``: generators (4, n) and points (d, n), ``together`` vectors of 512 bits."""
    d, step = PROBLEMS[problem]
    module = Text("hand", fuses=machine_fuses())
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, POINTER, INT64, INT64, INT64]), "run")
    rng, points, vectors, n, steps = function.args
    for pointer in (rng, points):
        pointer.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    width = together * 512 // bits
    real = ir.DoubleType() if bits == 64 else ir.FloatType()
    kinds = [*[ir.VectorType(ir.IntType(32), width)] * 4, *[ir.VectorType(real, width)] * d]
    held = [builder.alloca(kind) for kind in kinds]

    def exchange(v: ir.Value, *, load: bool) -> None:
        for i, (place, kind) in enumerate(zip(held, kinds, strict=True)):
            base, row, size = (rng, i, 4) if i < 4 else (points, i - 4, bits // 8)
            offset = builder.mul(builder.add(builder.mul(n, INT64(row)), builder.mul(v, INT64(width))), INT64(size))
            address = builder.gep(base, [offset], source_etype=ir.IntType(8))
            if load:
                builder.store(builder.load(address, typ=kind, align=4), place)
            else:
                builder.store(builder.load(place, typ=kind), address, align=4)

    with loop(builder, vectors, "vector") as v:
        exchange(v, load=True)
        with loop(builder, steps, "step"):
            state = [Vector(builder, builder.load(p, typ=k)) for p, k in zip(held[:4], kinds[:4], strict=True)]
            x = [Vector(builder, builder.load(p, typ=k)) for p, k in zip(held[4:], kinds[4:], strict=True)]
            moved = step(x, draw(Normal(d), state, bits))
            for place, value in zip(held, [*state, *moved], strict=True):
                builder.store(value.value, place)
        exchange(v, load=False)
    builder.ret_void()
    attributes = 'nounwind "min-legal-vector-width"="512" "prefer-vector-width"="512"'
    head, body = str(module).split('define void @"run"(', 1)
    signature, rest = body.split("\n", 1)
    return f'{head}define void @"run"({signature} {attributes}\n{rest}'


def by_hand(problem: str, real: str, n: int, steps: int, together: int = 1) -> Job:
    """A job that gives x[0] of n paths (a multiple of 1,024) from (1, .., 1), the engine's replicates of seed 0."""
    bits = 8 * np.dtype(real).itemsize
    d, _ = PROBLEMS[problem]
    code = compiled(("hand", problem, bits, together), lambda: (_module(problem, bits, together), 0))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3)(code.address("run"))
    first = 1024 * together  # a piece that stays in the cache
    width = together * 512 // bits

    def job() -> np.ndarray:
        out = np.empty(n, real)
        for begin in range(0, n, first):
            count = min(first, n - begin)
            rng = Streams(seed=0, first=begin, count=count).state()
            x = np.ones((d, count), real)
            run(rng.ctypes.data, x.ctypes.data, count // width, count, steps)
            out[begin : begin + count] = x[0]
        return out

    job.code = code  # pyright: ignore[reportFunctionMemberAccess]  # keeps the machine code alive
    return job


def require_same(problem: str, kernel: ss.Kernel, real: str, steps: int = 8) -> None:
    """Refuse a loop whose points are not those of the engine, replicate by replicate, up to rounding."""
    d, _ = PROBLEMS[problem]
    x0 = torch.ones(d, dtype=getattr(torch, real))
    found = fused_or_reason(kernel, x0, {"x": ss.coordinate(0)}, {})
    assert isinstance(found, Fused), found
    engine = fused_values(found, Start.of(x0).rows, range(2048), saved=np.array([0, steps]), seed=0)[-1, 1]
    for together in (1, 2):
        hand = by_hand(problem, real, 2048, steps, together)()
        apart = np.abs(hand - engine).max()
        if not apart <= (1e-13 if real == "float64" else 2e-5):
            raise AssertionError(f"the loop of {problem} by hand, {real}, is another map: it is {apart:.2g} away")
