"""What a kernel is made of: parts that step by themselves, each with its share of the noise.

Coupled, subcycled and antithetic kernels, however nested, come apart into plain ones.  A part says which numbers of a
draw it eats, with which sign, and how many draws make one of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...dynamics.controls import Antithetic, Controlled
from ...dynamics.kernels import Coupled, Kernel, Subcycled
from ...problems.noise import Choice, Noise, Normal, Product, ThreePoint, TwoPoint
from .trace import NotTraceable

__all__ = ["Form", "Part", "Stepper", "factors_of", "joined", "parts_of", "size_of", "stepper_of"]


@dataclass(frozen=True)
class Part:
    """A plain kernel inside another.

    Attributes
    ----------
    numbers : which of the numbers of a draw it eats
    share : how many draws make one of its steps: it gets their sum over √share
    sign : of what it eats, 1 or −1
    """

    kernel: Kernel
    numbers: tuple[int, ...]
    share: int = 1
    sign: int = 1


def parts_of(kernel: Kernel, numbers: tuple[int, ...] | None = None) -> tuple[Part, ...]:
    """The parts of a kernel that eats ``numbers`` (by default all) of a draw, in the order of its state."""
    numbers = tuple(range(size_of(kernel.noise))) if numbers is None else numbers
    if type(kernel) is Subcycled:  # a subclass may have a step of its own
        return parts_of(kernel.kernel, numbers)
    if type(kernel) is Antithetic:
        plus = parts_of(kernel.kernel, numbers)
        return (*plus, *(replace(p, sign=-p.sign) for p in plus))
    if type(kernel) is Coupled:
        dealt = [tuple(part[0].tolist()) for part in kernel._deal(torch.tensor([numbers]))]
        shares = [kernel.substeps // k.substeps for k in kernel.kernels]
        inner = [parts_of(k, own) for k, own in zip(kernel.kernels, dealt, strict=True)]
        return tuple(replace(p, share=s * p.share) for s, own in zip(shares, inner, strict=True) for p in own)
    return (Part(kernel, numbers),)


def joined(kernel: Kernel, states: Iterator[Any]) -> Any:
    """The state of a kernel from those of its parts; counters and sums of a coupled one are those of its start."""
    if type(kernel) is Subcycled:
        return joined(kernel.kernel, states)
    if type(kernel) is Antithetic:
        return joined(kernel.kernel, states), joined(kernel.kernel, states)
    if type(kernel) is Coupled:
        return 0, tuple(joined(k, states) for k in kernel.kernels), (0.0,) * len(kernel.kernels)
    return next(states)


def factors_of(noise: Noise) -> tuple[Noise, ...]:
    """The noises of a product, in the order in which they are drawn."""
    if type(noise) is Product:
        return tuple(f for factor in noise.factors for f in factors_of(factor))
    return (noise,)


def size_of(noise: Noise) -> int:
    """How many numbers a draw of the noise has.

    Raises
    ------
    NotTraceable
        For a noise that the fused engine does not know.
    """
    if type(noise) is Product:
        return sum(size_of(factor) for factor in noise.factors)
    if type(noise) not in _DRAWN or isinstance(noise, Product):
        kind, known = type(noise), (*_DRAWN, Product)
        derived = f", a subclass of {kind.__mro__[1].__name__}" if issubclass(kind, known) else ""
        raise NotTraceable(f"the fused engine does not draw {noise!r} ({kind.__name__}{derived})")
    return noise.B if isinstance(noise, Choice) else noise.size


_DRAWN = (Choice, Normal, ThreePoint, TwoPoint)


# ----------------------------------------------------------------- what depends on the step's number
@dataclass(frozen=True, eq=False)
class _Plain:
    """A kernel, whose step and position read no clock."""

    kernel: Kernel
    clock: Tensor

    def init(self, x0: Tensor) -> Any:
        return self.kernel.init(x0)

    def step(self, state: Any, z: Any, now: Tensor) -> Any:
        return self.kernel.step(state, z)

    def position(self, state: Any, now: Tensor) -> Tensor:
        return self.kernel.position(state)


@dataclass(frozen=True, eq=False)
class _OnPath:
    """A kernel with its linearisation: the path's point, the next one and the slope are the step's numbers."""

    kernel: Controlled
    clock: Tensor

    def init(self, x0: Tensor) -> Any:
        return self.kernel.init(x0)[1:]

    def step(self, state: Any, z: Any, now: Tensor) -> Any:
        return self._at(now).step((0, *state), z)[1:]

    def position(self, state: Any, now: Tensor) -> Tensor:
        return self._at(now).position((0, *state))

    def _at(self, now: Tensor) -> Controlled:
        d = self.kernel.path.shape[1]
        path, slope = now[: 2 * d].reshape(2, d), now[2 * d :].reshape(1, d, d)
        return replace(self.kernel, path=path, slopes=slope)


Stepper = _Plain | _OnPath  # ``step`` and ``position`` get the numbers that belong to the step, a row of ``clock``


def stepper_of(kernel: Kernel, like: Tensor) -> Stepper:
    """The kernel with its clock: no columns but for a linearised one, which is prepared for so many steps."""
    while type(kernel) is Subcycled:
        kernel = kernel.kernel
    if type(kernel) is not Controlled:
        return _Plain(kernel, like.new_empty(0, 0))
    path, slopes = kernel.path, kernel.slopes.flatten(1)
    ahead = torch.cat((path[1:], path[-1:]))
    return _OnPath(kernel, torch.cat((path, ahead, torch.cat((slopes, slopes[-1:]))), 1).to(like))


# ----------------------------------------------------------------- states as numbers
@dataclass(frozen=True)
class Form:
    """How a state is made of tensors."""

    spec: Any
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, kernel: Kernel | Stepper, rows: Tensor, name: str = "the kernel") -> Form:
        """Of the state that a kernel makes of starts (n, d)."""
        leaves, spec = pytree.tree_flatten(kernel.init(rows))
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or leaf.dtype != rows.dtype or leaf.shape[:1] != rows.shape[:1]:
                what = f"{leaf.dtype}{tuple(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf)
                raise NotTraceable(f"the state of {name} must be tensors (n, ...) of x0's dtype, it holds {what}")
        return cls(spec, tuple(tuple(leaf.shape[1:]) for leaf in leaves), rows.dtype)

    @property
    def size(self) -> int:
        """Numbers of a replicate."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def build(self, leaves: Sequence[Tensor]) -> Any:
        """The state of these tensors."""
        return pytree.tree_unflatten(list(leaves), self.spec)

    def take(self, state: Any) -> list[Tensor]:
        """The tensors of a state; truth values and integers become numbers of its dtype."""
        leaves, spec = pytree.tree_flatten(state)
        if spec != self.spec or any(not isinstance(leaf, Tensor) for leaf in leaves):
            raise NotTraceable("the state changes its form from step to step")
        return [leaf if leaf.is_floating_point() else leaf.to(self.dtype) for leaf in leaves]

    def step(self, step: Callable[[Any, Any], Any], numbers: Sequence[Tensor], several: bool) -> list[Tensor]:
        """A kernel's step on a state's tensors and then those of z, which is a tuple where there are ``several``."""
        state, z = self.build(numbers[: len(self.shapes)]), tuple(numbers[len(self.shapes) :])
        return self.take(step(state, z if several else z[0]))
