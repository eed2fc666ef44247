"""Which tensors of a trace depend on its inputs, and on which node numbers: by tensor, and by the memory they share.

A write into a view is seen by the whole tensor and by its other views.  So once a memory is written to, or met through
a tensor that no operation returned (``x.data``), it has node numbers of its own, one for each of its places, and every
tensor on it reads them with its shape, strides and offset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Storages", "Symbol", "has_symbol", "mapped", "solid"]


class Symbol:
    """A tensor with its node numbers."""

    __slots__ = ("ids", "tensor")

    def __init__(self, tensor: Tensor, ids: Tensor) -> None:
        self.tensor, self.ids = tensor, ids


class Storages:
    """The tensors with node numbers; they are kept, so that no address is used again.

    Parameters
    ----------
    constant : the node of a number
    """

    def __init__(self, constant: Callable[[float | bool], int]) -> None:
        self._constant = constant
        self._known: dict[int, Symbol] = {}
        self._sharing: dict[int, list[Symbol]] = {}
        self._places: dict[int, Tensor] = {}

    def record(self, tensor: Tensor, ids: Tensor) -> None:
        """An operation's result."""
        symbol = self._known[id(tensor)] = Symbol(tensor, ids.clone())
        self._sharing.setdefault(_memory(tensor), []).append(symbol)

    def find(self, tensor: Tensor) -> Symbol | None:
        """The tensor with its node numbers, or None where it depends on no input."""
        memory = _memory(tensor)
        if memory and (memory in self._places or (memory in self._sharing and id(tensor) not in self._known)):
            return Symbol(tensor, _seen(self.numbers(tensor), tensor))
        return self._known.get(id(tensor))

    def write(self, target: Tensor, ids: Tensor) -> None:
        """In place; call it before torch writes, for what is not written stays what it is.

        Raises
        ------
        RuntimeError
            Where several of the target's entries are one place.
        """
        _seen(self.numbers(target), target).copy_(ids)

    def numbers(self, tensor: Tensor) -> Tensor:
        """Node numbers of all of a tensor's memory: known ones, and constants elsewhere."""
        memory = _memory(tensor)
        if memory not in self._places:
            size = tensor.untyped_storage().nbytes() // tensor.element_size()
            sharing = self._sharing.setdefault(memory, [])
            flat = torch.full((size,), -1)
            for symbol in sharing:
                _seen(flat, symbol.tensor)[...] = symbol.ids
            sharing.append(Symbol(tensor, flat))  # kept
            values = torch.as_strided(tensor.detach(), (size,), (1,), 0).tolist()
            full = [self._constant(v) if i < 0 else i for i, v in zip(flat.tolist(), values, strict=True)]
            self._places[memory] = torch.tensor(full, dtype=torch.int64)
        return self._places[memory]


def _seen(flat: Tensor, tensor: Tensor) -> Tensor:
    return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _memory(tensor: Tensor) -> int:
    """What tells one memory from another; 0 for a tensor that has none."""
    if tensor.is_meta or tensor._is_zerotensor() or not tensor.numel():
        return 0
    return tensor.untyped_storage()._cdata


def solid(value: Tensor) -> Tensor:
    """Autodiff's symbolic zeros have no data."""
    if value.is_meta or value._is_zerotensor():
        return torch.zeros(value.shape, dtype=value.dtype)
    return value


def has_symbol(value: Any) -> bool:
    """Whether there is a symbol in lists of lists."""
    if isinstance(value, (list, tuple)):
        return any(map(has_symbol, value))
    return isinstance(value, Symbol)


def mapped(change: Callable, value: Any, *also: type) -> Any:
    """Lists of lists with their symbols changed, and what is of the types ``also``."""
    if isinstance(value, (list, tuple)):
        changed = [mapped(change, v, *also) for v in value]
        return tuple(changed) if isinstance(value, tuple) else changed
    return change(value) if isinstance(value, (Symbol, *also)) else value
