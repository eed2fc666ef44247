"""What an operation does to node numbers: data is moved by torch itself, the rest has a rule or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .aggregates import REDUCTIONS
from .rules import ELEMENTWISE, MOVES
from .scalars import Scalars
from .storages import Storages, Symbol, has_symbol, mapped, solid

__all__ = ["Forbidden", "Operations", "Unknown"]

_INDEXED = {"gather": 2, "index_select": 2, "index": 1, "index_put": 1, "scatter": 2}  # which argument says where


class Unknown(Exception):
    """An operation without a rule; ``inputs`` are those whose values it asks for."""

    def __init__(self, message: str, inputs: frozenset[int] = frozenset()) -> None:
        super().__init__(message)
        self.inputs = inputs


class Forbidden(Unknown):
    """What no engine may run."""


class Operations:
    """Applies operations to the node numbers of the list being written.

    A symbol stands for a tensor that depends on the inputs; other tensors and numbers become constants.
    """

    def __init__(self, scalars: Scalars, storages: Storages) -> None:
        self.scalars, self.storages = scalars, storages

    def symbol(self, value: Any) -> Any:
        """The symbol of a tensor, if it has one."""
        return (self.storages.find(value) or value) if isinstance(value, Tensor) else value

    def ids(self, value: Any) -> Tensor:
        """Node numbers of symbols, of a tensor's constants, or of a number."""
        value = self.symbol(value)
        if isinstance(value, Symbol):
            return value.ids
        if not isinstance(value, Tensor):
            return torch.tensor(self.scalars.constant(value))
        flat = [self.scalars.constant(v) for v in solid(value).reshape(-1).tolist()]
        return torch.tensor(flat, dtype=torch.int64).reshape(value.shape)

    def written(self, func: Any, name: str, target: Tensor, symbols: tuple, words: dict) -> Tensor:
        """Node numbers that an operation in place leaves in its target, of the target's kind."""
        ids = self.evaluate(getattr(torch.ops.aten, name), name, symbols, words)
        return self._each(ELEMENTWISE["_to_copy"], (Symbol(target, ids),), {"dtype": target.dtype}, func)

    def evaluate(self, target: Any, name: str, args: tuple, kwargs: dict) -> Any:
        """Node numbers of the result, or a list of those of several."""
        if name == "index" and not isinstance(args[0], Symbol):
            return self._lookup(target, args[0], args[1])
        if name in _INDEXED and has_symbol(args[_INDEXED[name]]):
            raise Unknown(f"{target} takes from a place that is computed")
        if name in MOVES:
            target = torch.ops.aten.reshape if name in ("view", "_unsafe_view") else target  # strides may differ
            moved = [self._movable(a, name, i) for i, a in enumerate(args)]
            if name == "scatter":  # of a number: its overload takes no tensor
                target, moved[3] = torch.ops.aten.scatter, moved[3].expand(moved[3].shape or args[2].shape)
            return target(*moved, **(self._motion(name, args, kwargs) if MOVES[name] else {}))
        if name in ELEMENTWISE:
            return self._each(ELEMENTWISE[name], args, kwargs, target)
        if name in REDUCTIONS:
            return self._reduced(name, args, kwargs, target)
        raise Unknown(f"there is no rule for {target}")

    def _movable(self, value: Any, name: str, place: int) -> Any:
        """Data as node numbers; what says where as it is."""
        if _INDEXED.get(name) == place:
            return value
        if name == "scatter" and place == 3:
            return self.ids(value)  # a tensor, or a number
        return mapped(self.ids, value, Tensor)

    def _motion(self, name: str, args: tuple, kwargs: dict) -> dict:
        """Keywords of an operation that moves data; node numbers must not be added up."""
        if kwargs.get("reduce") is not None or (name == "index_put" and (args[3:4] or (kwargs.get("accumulate"),))[0]):
            raise Unknown(f"{name} adds up what falls on one place")
        return {k: mapped(self.ids, v, Tensor) for k, v in kwargs.items()}

    def _numbers(self, value: Any, target: Any) -> Tensor:
        ids = self.ids(value)
        if any(self.scalars.kind(i) == "i" for i in ids.reshape(-1).tolist()):
            raise Unknown(f"{target} computes with an index; the fused engine only looks up tables")
        return ids

    def _each(self, rule: Callable, args: tuple, kwargs: dict, target: Any) -> Tensor:
        operands = [a for a in args if isinstance(a, (Symbol, Tensor))]
        plain = {i: self._constant(a) for i, a in enumerate(args) if not isinstance(a, (Symbol, Tensor))}
        ids = torch.broadcast_tensors(*(self._numbers(a, target) for a in operands))
        flat = []
        for row in zip(*(i.reshape(-1).tolist() for i in ids), strict=True):
            numbers = iter(row)
            full = [plain[i] if i in plain else next(numbers) for i in range(len(args))]
            flat.append(rule(self.scalars, *full, **kwargs))
        return torch.tensor(flat, dtype=torch.int64).reshape(ids[0].shape)

    def _constant(self, value: Any) -> Any:
        """A Python number as a node; None and dtypes as they are."""
        return self.scalars.constant(value) if isinstance(value, (bool, int, float)) else value

    def _reduced(self, name: str, args: tuple, kwargs: dict, target: Any) -> Tensor | list[Tensor]:
        numbers = [self._numbers(a, target) if isinstance(a, (Symbol, Tensor)) else a for a in args]
        return REDUCTIONS[name](self.scalars, *numbers, **kwargs)

    def _lookup(self, target: Any, table: Tensor, index: Sequence) -> Tensor:
        """``table[.., i, ..]`` with a symbolic i: every number of the result is a load from a table of its own."""
        symbolic = [p for p, i in enumerate(index) if isinstance(i, Symbol)]
        if len(symbolic) != 1 or any(i is not None for p, i in enumerate(index) if p not in symbolic):
            raise Unknown(f"{target} with more than one index")
        p, ids = symbolic[0], index[symbolic[0]].ids
        if any(self.scalars.kind(i) != "i" for i in ids.reshape(-1).tolist()):
            raise Unknown(f"{target} takes from a place that is computed")
        rows = table.movedim(p, -1)
        shape = (*table.shape[:p], *ids.shape, *table.shape[p + 1 :])
        flat_ids = ids.reshape(-1).tolist()
        columns = rows.reshape(-1, table.shape[p]).tolist()
        out = torch.tensor([[self.scalars.table(i, c) for i in flat_ids] for c in columns], dtype=torch.int64)
        out = out.reshape(*table.shape[:p], *table.shape[p + 1 :], *ids.shape)
        for k in range(ids.ndim):
            out = out.movedim(table.ndim - 1 + k, p + k)
        return out.reshape(shape)
