"""The numbers inside a kernel, apart from all else that it is made of: its parameters and its structure.

Two kernels of one structure have the same list of operations, with other constants.  Parameters are the floats that the
package's own code computes with: eta, rho and sigma in its frozen dataclasses, and what partials of its functions bind.
While a list is made they are tensors, and only the package's code sees them.  All else counts by its value, the
numbers in the user's functions too: arrays by their bytes, functions by their code and by the globals and module
attributes that they name, objects by what they and their classes hold.  What is not understood has no structure.

What no structure shows are data that a function reads while it is called; functions that name the usual ways to do so
have none either.  Every list is compared with its kernel at every use all the same, but for kernels of the package's
code alone, with numbers and a start at which they were compared before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import ref

import torch

from .remaking import Build
from .structures import Nameless
from .walks import Walk

__all__ = ["Parameters"]


@dataclass(frozen=True, eq=False)
class Parameters:
    """A value taken apart.

    Attributes
    ----------
    structure : all that it is made of but its numbers, hashable
    values : its numbers, in the order in which they were met
    alive : weak references to objects that the structure knows by who they are
    tame : whether there is no code of the user's in it, which might read what no structure shows
    closed : places of the numbers that count by their value
    """

    structure: Any
    values: tuple[float, ...]
    alive: tuple[ref, ...]
    tame: bool
    _build: Build | None
    closed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, value: Any) -> Parameters | None:
        """The value taken apart, or None where it holds something that is not understood."""
        walk = Walk()
        try:
            structure, build = walk.part(value, True)
            _ = hash(structure)
        except (Nameless, RecursionError, TypeError):
            return None
        found = cls((structure, torch.get_default_dtype()), tuple(walk.numbers), tuple(walk.alive), walk.tame, build)
        return found.close(range(len(walk.numbers))) if walk.entangled else found

    @property
    def key(self) -> tuple:
        """The structure, and the values of the closed numbers."""
        return self.structure, tuple((i, self.values[i].hex()) for i in sorted(self.closed))

    @property
    def open(self) -> tuple[int, ...]:
        """Places of the other numbers."""
        return tuple(i for i in range(len(self.values)) if i not in self.closed)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The open numbers."""
        return tuple(self.values[i] for i in self.open)

    def close(self, places: Iterable[int]) -> Parameters:
        """The same, with these numbers as a part of the structure."""
        return replace(self, closed=self.closed | frozenset(places))

    def with_numbers(self, value: Any, numbers: Sequence[Any]) -> Any:
        """``value`` with other open numbers, which may be tensors: constructors are not called again."""
        chosen = list(self.values)
        for place, number in zip(self.open, numbers, strict=True):
            chosen[place] = number
        return value if self._build is None else self._build(chosen, {})
