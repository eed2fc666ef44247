"""A kernel with its observables as lists: what the fused engine runs.

Substeps and coupling are data.  One loop draws the finest noise and adds it to every member's sum; a member steps when
its share is complete, with its sum over √share.  So a plain kernel, r small steps, an optimizer with its SDE, and two
discretisations of one SDE are the same code, and nothing is unrolled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..kernels import Coupled, Kernel, Subcycled
from ..noise import Choice, Noise, Normal, Product, ThreePoint, TwoPoint
from .reference import evaluate
from .scalars import Program
from .streams import Streams
from .trace import NotTraceable, trace

__all__ = ["Form", "Member", "Model", "compare_with", "factors_of", "model_of", "points_around", "size_of"]

Field = Callable[[Any], Tensor]
_POINTS = 4  # at which every trace is compared with the eager step; it is made at another
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}


@dataclass(frozen=True)
class Member:
    """One of the kernels that share a noise.

    Attributes
    ----------
    step : list from its state and its noise to its state
    states : its numbers in the state, ``range``
    noises : which of the numbers of a draw it eats
    share : how many draws make one of its steps
    """

    step: Program
    states: range
    noises: tuple[int, ...]
    share: int


@dataclass(frozen=True)
class Model:
    """Everything the fused engine runs.

    Attributes
    ----------
    members : one for a plain kernel
    noise : the factors of a draw, in order
    substeps : draws a step
    observe : list from the state to (position is finite, phi_1, .., phi_K)
    initial : maps starts (rows, d) to the state, one row a number, ``(numbers, rows)``
    """

    members: tuple[Member, ...]
    noise: tuple[Noise, ...]
    substeps: int
    observe: Program
    initial: Callable[[Tensor], Tensor]

    @property
    def length(self) -> int:
        """Operations of all lists."""
        return self.observe.length + sum(m.step.length for m in self.members)

    @property
    def structure(self) -> tuple:
        """All that compiled code depends on, beside the precision."""
        steps = tuple((m.step.structure, m.states, m.noises) for m in self.members)
        return steps, self.noise, self.observe.structure

    @property
    def coupled(self) -> bool:
        """Whether members have shares of the noise."""
        return len(self.members) > 1


def factors_of(noise: Noise) -> tuple[Noise, ...]:
    """The noises of a product, in the order in which they are drawn."""
    if isinstance(noise, Product):
        return tuple(f for factor in noise.factors for f in factors_of(factor))
    return (noise,)


def model_of(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Field],
    internals: Mapping[str, Field],
    most: int = 10**9,
) -> Model:
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
    inner = kernel
    while isinstance(inner, Subcycled):
        inner = inner.kernel
    if x0.device.type != "cpu" or x0.dtype not in _TOLERANCE:
        raise NotTraceable(f"the fused engine runs float32 and float64 on the CPU, x0 is {x0.dtype} on {x0.device}")
    if isinstance(inner, Coupled) and internals:
        raise NotTraceable("internals of a coupled kernel are not traced")
    kernels = inner.kernels if isinstance(inner, Coupled) else (inner,)
    if any(isinstance(k.kernel if isinstance(k, Subcycled) else k, Coupled) for k in kernels):
        raise NotTraceable(f"{kernel.name} nests coupled kernels")
    rows, noise = points_around(x0), inner.noise
    draws: Any = noise.draw(Streams(seed=0, first=0, count=len(rows)).bits, x0.dtype)
    deal: Callable[[Any], list] = inner._deal if isinstance(inner, Coupled) else _whole  # each member's numbers
    dealt = [tuple(part[0].tolist()) for part in deal(torch.arange(size_of(noise))[None])]
    parts = deal(draws)
    members, forms, start = [], [], 0
    for member, numbers, z in zip(kernels, dealt, parts, strict=True):
        form = Form.of(member, rows)
        share = inner.substeps // member.substeps if isinstance(inner, Coupled) else 1
        step = _traced_step(member, form, rows, z, most)
        members.append(Member(step, range(start, start + form.size), numbers, share))
        forms.append(form)
        start += form.size
    join = (lambda states: (0, tuple(states), (0.0,) * len(states))) if isinstance(inner, Coupled) else (lambda s: s[0])
    observe = _traced_observables(kernel, forms, join, rows, observables, internals, most)
    return Model(tuple(members), factors_of(noise), kernel.substeps, observe, _Initial(kernels, tuple(forms)))


def _whole(z: Any) -> list:
    return [z]


# ----------------------------------------------------------------- states as numbers
@dataclass(frozen=True)
class Form:
    """How a state is made of tensors."""

    spec: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, kernel: Kernel, rows: Tensor) -> Form:
        """Of the state that a kernel makes of starts (n, d)."""
        leaves, spec = pytree.tree_flatten(kernel.init(rows))
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or leaf.dtype != rows.dtype or leaf.shape[:1] != rows.shape[:1]:
                what = f"{leaf.dtype}{tuple(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf)
                raise NotTraceable(
                    f"the state of {kernel.name} must be tensors (n, ...) of x0's dtype, it holds {what}"
                )
        return cls(spec, tuple(tuple(leaf.shape[1:]) for leaf in leaves))

    @property
    def size(self) -> int:
        """Numbers of a replicate."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def build(self, leaves: Sequence[Tensor]) -> Any:
        """The state of these tensors."""
        return pytree.tree_unflatten(list(leaves), self.spec)

    def take(self, state: Any) -> list[Tensor]:
        """The tensors of a state."""
        leaves, spec = pytree.tree_flatten(state)
        if spec != self.spec or any(not isinstance(leaf, Tensor) for leaf in leaves):
            raise NotTraceable("the state changes its form from step to step")
        return leaves

    def step(self, step: Callable[[Any, Any], Any], numbers: Sequence[Tensor], several: bool) -> list[Tensor]:
        """A kernel's step on a state's tensors and then those of z, which is a tuple where there are ``several``."""
        state, z = self.build(numbers[: len(self.shapes)]), tuple(numbers[len(self.shapes) :])
        return self.take(step(state, z if several else z[0]))


@dataclass(frozen=True)
class _Initial:
    kernels: tuple[Kernel, ...]
    forms: tuple[Form, ...]

    def __call__(self, x0: Tensor) -> Tensor:
        parts = [
            leaf.reshape(len(x0), -1).T
            for k, f in zip(self.kernels, self.forms, strict=True)
            for leaf in f.take(k.init(x0))
        ]
        return torch.cat(parts)


# ----------------------------------------------------------------- traces, each compared with the eager step
def _traced_step(kernel: Kernel, form: Form, rows: Tensor, z: Any, most: int) -> Program:
    parts = z if isinstance(z, tuple) else (z,)

    def step(*numbers: Tensor) -> list[Tensor]:
        return form.step(kernel.step, numbers, isinstance(z, tuple))

    what = f"step of {kernel.name}"
    program = trace(step, [t[0].clone() for t in (*form.take(kernel.init(rows)), *parts)], what, most)
    leaves, parts = form.take(kernel.init(rows[1:])), [part[1:] for part in parts]
    for _ in range(2):
        before = [leaf.clone() for leaf in leaves]
        leaves = step(*leaves, *parts)
        compare_with(program, (*before, *parts), leaves, what)
    return program


def _traced_observables(
    kernel: Kernel,
    forms: Sequence[Form],
    join: Callable[[list], Any],
    rows: Tensor,
    observables: Mapping[str, Field],
    internals: Mapping[str, Field],
    most: int,
) -> Program:
    def watch(*numbers: Tensor) -> list[Tensor]:
        left, states = list(numbers), []
        for form in forms:
            states.append(form.build([left.pop(0) for _ in form.shapes]))
        state = join(states)
        x = kernel.position(state)
        values = [phi(x) for phi in observables.values()] + [read(state) for read in internals.values()]
        return [torch.isfinite(x).reshape(*x.shape[: x.ndim - axes], -1).all(-1), *values]

    members = kernel_members(kernel)
    leaves = [leaf for k, form in zip(members, forms, strict=True) for leaf in form.take(k.init(rows))]
    axes = kernel.position(join([k.init(rows) for k in members])).ndim - 1

    names = (*observables, *internals)
    program = trace(watch, [leaf[0].clone() for leaf in leaves], f"observables {', '.join(names)}", most)
    if len(program.outputs) != 1 + len(names):
        raise NotTraceable(f"observables {', '.join(names)} must each be one number a replicate")
    rest = [leaf[1:] for leaf in leaves]
    compare_with(program, rest, watch(*rest), f"observables {', '.join(names)}")
    return program


def kernel_members(kernel: Kernel) -> tuple[Kernel, ...]:
    """The members of a coupled kernel, or the kernel."""
    while isinstance(kernel, Subcycled):
        kernel = kernel.kernel
    return kernel.kernels if isinstance(kernel, Coupled) else (kernel,)


def compare_with(program: Program, inputs: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
    """What a trace cannot see (x.tolist(), a tensor built from numbers) shows as another value."""
    found = evaluate(program, [column for t in inputs for column in t.reshape(_POINTS, -1).T])
    wanted = [column for t in expected for column in t.reshape(_POINTS, -1).T]
    for a, b in zip(found, wanted, strict=True):
        a, b = a.double(), b.double()
        tolerance = _TOLERANCE[expected[-1].dtype if expected[-1].dtype in _TOLERANCE else torch.float64]
        bad = ~((a - b).abs() <= tolerance * (1 + b.abs())) & ~((a == b) | (a.isnan() & b.isnan()))
        if bool(bad.any()):
            i = int(bad.nonzero()[0])
            raise NotTraceable(
                f"the trace of {what} gives {float(a[i]):.6g} where the eager one gives {float(b[i]):.6g}: a number "
                "was probably taken out of a tensor (x.tolist(), torch.tensor([x[0], 1.0]))"
            )


def points_around(x0: Tensor) -> Tensor:
    """A few different points near the start."""
    shift = np.random.default_rng(0).standard_normal((1 + _POINTS, len(x0))) * 0.3
    return x0 + torch.from_numpy(shift).to(x0)


def size_of(noise: Noise) -> int:
    """How many numbers a draw of the noise has.

    Raises
    ------
    NotTraceable
        For a noise that the fused engine does not know.
    """
    if isinstance(noise, Product):
        return sum(size_of(factor) for factor in noise.factors)
    if not isinstance(noise, (Choice, Normal, ThreePoint, TwoPoint)):
        raise NotTraceable(f"the fused engine does not draw {noise}")
    return noise.B if isinstance(noise, Choice) else noise.size
