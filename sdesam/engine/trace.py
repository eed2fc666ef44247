"""From ordinary torch to a list of scalar operations: trace on one replicate, then read the graph number by number.

Three rules read the graph.  An operation without a symbol among its arguments is evaluated by torch.  Symbols are
node numbers in int64 tensors, and what only moves data (views, slices, cat) is done by torch on those.  The others
are element-wise, or reductions, and have a rule here.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._python_dispatch import TorchDispatchMode

from .rules import ELEMENTWISE, MOVES, REDUCTIONS, SHAPED
from .scalars import Program, Scalars, TooLong

__all__ = ["NotTraceable", "trace"]

_TORCH = os.path.dirname(torch.__file__)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INDEXED = {"gather": 2, "index_select": 2, "index": 1, "index_put": 1, "scatter": 2}  # which argument says where
_KINDS = {True: "f", False: "i"}


class NotTraceable(ValueError):
    """A kernel or an observable that the fused engine cannot take; the message says why."""


def trace(
    function: Callable[..., Sequence[Tensor]], examples: Sequence[Tensor], what: str, most: int = 10**9
) -> Program:
    """The list of a function of tensors of one replicate, whose inputs and outputs are their numbers, flattened.

    Parameters
    ----------
    examples : one tensor for each argument; floats become numbers, bool truth values, int64 indices of tables
    what : for messages, e.g. "step of sam"
    most : numbers that the list may have, constants included

    Raises
    ------
    NotTraceable
        For an operation without a rule, random numbers drawn inside, or Python that asks for a tensor's value.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = make_fx(lambda *a: list(function(*a)), decomposition_table=_decompositions())(*examples)
    except Exception as error:
        raise NotTraceable(
            f"{what} does not trace: {str(error).splitlines()[0]} {_line_of(traceback.extract_tb(error.__traceback__))}"
        ) from error
    try:
        return _Reader(graph, examples, most).read()
    except TooLong:
        raise NotTraceable(f"the list of {what} has more than {most} numbers: it would compile for long") from None
    except _Unknown as unknown:
        where = _locate(function, examples, unknown.target)
        raise NotTraceable(f"{what} does not trace: {unknown} {where}".rstrip()) from None
    except Exception as error:  # a use of an operation that its rule did not foresee: the eager engine runs it
        raise NotTraceable(f"{what} does not trace: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=1)
def _decompositions() -> dict:
    aten = torch.ops.aten
    extra = [
        aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.silu, aten.softplus, aten._softmax,
        aten._log_softmax, aten._softmax_backward_data, aten._log_softmax_backward_data,
    ]  # fmt: skip
    return {**core_aten_decompositions(), **get_decompositions(extra)}


@dataclass(frozen=True)
class _Symbols:
    """A tensor of node numbers, and the dtype of what they stand for."""

    ids: Tensor
    dtype: torch.dtype


class _Unknown(Exception):
    def __init__(self, message: str, target: Any) -> None:
        super().__init__(message)
        self.target = target


class _Reader:
    """Reads a graph into a list."""

    def __init__(self, graph: torch.fx.GraphModule, examples: Sequence[Tensor], most: int) -> None:
        self.graph = graph
        kinds = [_kind(e) * e.numel() for e in examples]
        self.scalars = Scalars("".join(kinds), most)
        starts = [sum(map(len, kinds[:i])) for i in range(len(kinds))]
        self.arguments = [
            _Symbols(torch.arange(s, s + e.numel()).reshape(e.shape), e.dtype)
            for s, e in zip(starts, examples, strict=True)
        ]
        self.values: dict[torch.fx.Node, Any] = {}

    def read(self) -> Program:
        """The list of the graph's outputs."""
        waiting = iter(self.arguments)
        outputs: list[int] = []
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(waiting)
            elif node.op == "get_attr":
                self.values[node] = _solid(getattr(self.graph, node.target).detach()).clone()
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            else:
                found = map_arg(node.args[0], self.values.__getitem__)
                outputs = [i for value in found for i in self.ids(value).reshape(-1).tolist()]
        return self.scalars.program(outputs)

    def ids(self, value: Any) -> Tensor:
        """Node numbers of symbols, of a tensor's constants, or of a number."""
        if isinstance(value, _Symbols):
            return value.ids
        if not isinstance(value, Tensor):
            return torch.tensor(self.scalars.constant(value))
        flat = [self.scalars.constant(v) for v in value.reshape(-1).tolist()]
        return torch.tensor(flat, dtype=torch.int64).reshape(value.shape)

    def _call(self, node: torch.fx.Node) -> Any:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise _Unknown(
                f"{node.target} draws random numbers; a step's only randomness is its argument z", node.target
            )
        args, kwargs = map_arg((node.args, dict(node.kwargs)), self.values.__getitem__)
        if not _has_symbol((args, kwargs)):
            return _solid(node.target(*args, **kwargs))  # pyright: ignore[reportCallIssue]
        name = getattr(getattr(node.target, "overloadpacket", None), "__name__", getattr(node.target, "__name__", "?"))
        if not (name.endswith("_") and not name.startswith("_")):
            return self._evaluate(node.target, name, args, kwargs)
        result = self._evaluate(getattr(torch.ops.aten, name[:-1]), name[:-1], args, kwargs)
        return self._write(node.args[0], args[0], result)

    def _write(self, target: Any, old: Any, result: _Symbols) -> _Symbols:
        """In place: other views of the same symbols see the change."""
        if isinstance(old, _Symbols) and old.ids.shape == result.ids.shape:
            old.ids.copy_(result.ids)
            return old
        self.values[target] = result
        return result

    def _evaluate(self, target: Any, name: str, args: tuple, kwargs: dict) -> Any:
        dtype = next(a.dtype for a in _leaves((args, kwargs)) if isinstance(a, _Symbols))
        if name == "getitem":
            return args[0][args[1]]
        if name in SHAPED:
            return target(*_map(lambda s: torch.zeros(s.ids.shape, dtype=s.dtype), args), **kwargs)
        if name == "index" and not isinstance(args[0], _Symbols):
            return self._lookup(target, args[0], args[1])
        if name in _INDEXED and _has_symbol(args[_INDEXED[name]]):
            raise _Unknown(f"{target} takes from a place that is computed", target)
        if name in MOVES:
            target = torch.ops.aten.reshape if name in ("view", "_unsafe_view") else target  # strides may differ
            moved = target(*_map(self._movable, args, Tensor), **(kwargs if MOVES[name] else {}))
            wrap = lambda ids: _Symbols(ids, dtype)  # noqa: E731
            return [wrap(m) for m in moved] if isinstance(moved, (list, tuple)) else wrap(moved)
        if name in ELEMENTWISE:
            return self._each(ELEMENTWISE[name], args, kwargs, target)
        if name in REDUCTIONS:
            return _Symbols(self._reduced(name, args, kwargs, target), dtype)
        raise _Unknown(f"there is no rule for {target}", target)

    def _movable(self, value: Any) -> Any:
        """Data as node numbers; index tensors as they are."""
        if isinstance(value, Tensor) and not value.is_floating_point():
            return value
        return self.ids(value)

    def _numbers(self, value: Any, target: Any) -> Tensor:
        ids = self.ids(value)
        if any(self.scalars.kind(i) == "i" for i in ids.reshape(-1).tolist()):
            raise _Unknown(f"{target} computes with an index; the fused engine only looks up tables", target)
        return ids

    def _each(self, rule: Callable, args: tuple, kwargs: dict, target: Any) -> _Symbols:
        operands = [a for a in args if isinstance(a, (_Symbols, Tensor))]
        plain = {i: self._constant(a) for i, a in enumerate(args) if not isinstance(a, (_Symbols, Tensor))}
        ids = torch.broadcast_tensors(*(self._numbers(a, target) for a in operands))
        flat = []
        for row in zip(*(i.reshape(-1).tolist() for i in ids), strict=True):
            numbers = iter(row)
            full = [plain[i] if i in plain else next(numbers) for i in range(len(args))]
            flat.append(rule(self.scalars, *full, **kwargs))
        boolean = bool(flat) and self.scalars.kind(flat[0]) == "b"
        dtype = torch.bool if boolean else next((a.dtype for a in operands if a.dtype.is_floating_point), torch.float64)
        return _Symbols(torch.tensor(flat, dtype=torch.int64).reshape(ids[0].shape), dtype)

    def _constant(self, value: Any) -> Any:
        """A Python number as a node; None and dtypes as they are."""
        return self.scalars.constant(value) if isinstance(value, (bool, int, float)) else value

    def _reduced(self, name: str, args: tuple, kwargs: dict, target: Any) -> Tensor:
        numbers = [self._numbers(a, target) if isinstance(a, (_Symbols, Tensor)) else a for a in args]
        return REDUCTIONS[name](self.scalars, *numbers, **kwargs)

    def _lookup(self, target: Any, table: Tensor, index: Sequence) -> _Symbols:
        """``table[.., i, ..]`` with a symbolic i: every number of the result is a load from a table of its own."""
        symbolic = [p for p, i in enumerate(index) if isinstance(i, _Symbols)]
        if len(symbolic) != 1 or any(i is not None for p, i in enumerate(index) if p not in symbolic):
            raise _Unknown(f"{target} with more than one index", target)
        p, ids = symbolic[0], index[symbolic[0]].ids
        rows = table.movedim(p, -1)
        shape = (*table.shape[:p], *ids.shape, *table.shape[p + 1 :])
        flat_ids = ids.reshape(-1).tolist()
        columns = rows.reshape(-1, table.shape[p]).tolist()
        out = torch.tensor([[self.scalars.table(i, c) for i in flat_ids] for c in columns], dtype=torch.int64)
        out = out.reshape(*table.shape[:p], *table.shape[p + 1 :], *ids.shape)
        for k in range(ids.ndim):
            out = out.movedim(table.ndim - 1 + k, p + k)
        return _Symbols(out.reshape(shape), table.dtype)


def _solid(value: Any) -> Any:
    """Autodiff's symbolic zeros have no data."""
    if isinstance(value, Tensor) and (value.is_meta or value._is_zerotensor()):
        return torch.zeros(value.shape, dtype=value.dtype)
    return value


def _kind(example: Tensor) -> str:
    return "b" if example.dtype == torch.bool else _KINDS[example.is_floating_point()]


def _leaves(value: Any) -> list:
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in _leaves(v)]
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, (list, tuple)) else [value]


def _has_symbol(value: Any) -> bool:
    return any(isinstance(leaf, _Symbols) for leaf in _leaves(value))


def _map(change: Callable, value: Any, *also: type) -> Any:
    if isinstance(value, (list, tuple)):
        mapped = [_map(change, v, *also) for v in value]
        return tuple(mapped) if isinstance(value, tuple) else mapped
    return change(value) if isinstance(value, (_Symbols, *also)) else value


# ----------------------------------------------------------------- the user's line
def _line_of(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line outside torch, the user's own if there is one."""
    own = [f for f in frames if not f.filename.startswith((_TORCH, "<")) and "site-packages" not in f.filename]
    outside = [f for f in own if not f.filename.startswith(_PACKAGE)]
    chosen = (outside or own)[-1:]
    return "".join(f"({os.path.basename(f.filename)}, line {f.lineno}: {f.line})" for f in chosen)


class _StopAt(TorchDispatchMode):
    def __init__(self, target: Any) -> None:
        super().__init__()
        self.target = target

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is self.target:
            raise _Unknown("found", func)
        return func(*args, **(kwargs or {}))


def _locate(function: Callable, examples: Sequence[Tensor], target: Any) -> str:
    """Run again eagerly and stop at the operation: the traceback holds the line."""
    try:
        with _StopAt(target):
            function(*examples)
    except Exception as error:
        return _line_of([f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(__file__)])
    return ""
