"""From ordinary torch to a list of scalar operations: the function runs once on one replicate, watched op by op.

Beside its number every tensor that depends on the inputs has node numbers of the list, an int64 tensor of its shape.
Three rules: an operation without such a tensor among its arguments is torch's own business; what only moves data
(views, slices, cat) is done by torch on the node numbers too; the others are element-wise, or reductions, and have a
rule.  Torch's own decompositions and ``torch.func`` come before: the watcher sees core operations only.
"""

from __future__ import annotations

import math
import os
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .aggregates import REDUCTIONS
from .programs import Program
from .rules import ELEMENTWISE, MOVES, SHAPED
from .scalars import Scalars, TooLong
from .storages import Storages, Symbol, solid

__all__ = ["NotTraceable", "trace"]

_TORCH = os.path.dirname(torch.__file__)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INDEXED = {"gather": 2, "index_select": 2, "index": 1, "index_put": 1, "scatter": 2}  # which argument says where
_LEAVING = (
    "tolist", "numpy", "__array__", "__dlpack__", "to_dlpack", "_to_dlpack", "untyped_storage", "storage",
    "_typed_storage", "data_ptr", "__deepcopy__", "__reduce_ex__", "tensor", "__index__",
)  # fmt: skip


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
    inputs = [e.detach().clone() for e in examples]
    watcher = _Watcher(inputs, most)
    try:
        with warnings.catch_warnings(), watcher, _Guard(watcher):
            warnings.simplefilter("ignore")
            outputs = list(function(*inputs))
        return watcher.scalars.program([i for out in outputs for i in watcher.ids(out).reshape(-1).tolist()])
    except NotTraceable:
        raise
    except TooLong:
        raise NotTraceable(f"the list of {what} has more than {most} numbers: it would compile for long") from None
    except Exception as error:  # also a use of an operation that its rule did not foresee: the eager engine runs it
        kind = "" if isinstance(error, _Unknown) else f"{type(error).__name__}: "
        line = _line_of(traceback.extract_tb(error.__traceback__))
        notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        message = f"{what} does not trace: {kind}{(str(error).splitlines() or ['?'])[0]} {line}"
        raise NotTraceable(message.rstrip() + notes) from error


@lru_cache(maxsize=1)
def _decompositions() -> dict:
    aten = torch.ops.aten
    extra = [
        aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.silu, aten.softplus, aten._softmax,
        aten._log_softmax, aten._softmax_backward_data, aten._log_softmax_backward_data,
    ]  # fmt: skip
    return {**core_aten_decompositions(), **get_decompositions(extra)}


class _Unknown(Exception):
    """An operation without a rule."""


class _Guard(TorchFunctionMode):
    """Refuses what takes numbers out of a tensor behind the watcher's back.

    ``as_tensor`` and ``asarray`` may keep a tensor, so only lists of tensors are refused there.
    """

    def __init__(self, watcher: _Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = getattr(func, "__name__", "")
        mixed = name in ("as_tensor", "asarray")
        if name in _LEAVING or (mixed and isinstance(args[0], (list, tuple))):
            with torch._C.DisableTorchFunction():
                if self._watcher.depends(args):
                    raise _Unknown(f"{name} takes numbers out of a tensor, which has others for every replicate")
        return func(*args, **(kwargs or {}))


class _Watcher(TorchDispatchMode):
    """Writes the list while a function runs."""

    def __init__(self, inputs: Sequence[Tensor], most: int) -> None:
        super().__init__()
        kinds = [_kind(e) * e.numel() for e in inputs]
        self.scalars = Scalars("".join(kinds), most)
        self._storages = Storages(self.scalars.constant)
        self._precision = max((_digits(e.dtype) for e in inputs), default=0)
        starts = [sum(map(len, kinds[:i])) for i in range(len(kinds))]
        for start, tensor in zip(starts, inputs, strict=True):
            self._storages.record(tensor, torch.arange(start, start + tensor.numel()).reshape(tensor.shape))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._dispatch(func, args, kwargs or {})

    def depends(self, value: Any) -> bool:
        """Whether there is a tensor inside that depends on the inputs, under torch.func's wrappers too."""
        return _has_symbol(_map(lambda t: self._symbol(_bare(t)), value, Tensor))

    def _dispatch(self, func: Any, args: tuple, kwargs: dict) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise _Unknown(f"{func} draws random numbers; a step's only randomness is its argument z")
        symbols, words = _map(self._symbol, args, Tensor), {k: self._symbol(v) for k, v in kwargs.items()}
        if not _has_symbol((symbols, *words.values())):
            return func(*args, **kwargs)
        for simpler in (_decompositions().get(func), func.decompose):
            if simpler is not None:
                with self:
                    result = simpler(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        return self._watched(func, args, kwargs, symbols, words)

    def ids(self, value: Any) -> Tensor:
        """Node numbers of symbols, of a tensor's constants, or of a number."""
        value = self._symbol(value)
        if isinstance(value, Symbol):
            return value.ids
        if not isinstance(value, Tensor):
            return torch.tensor(self.scalars.constant(value))
        flat = [self.scalars.constant(v) for v in solid(value).reshape(-1).tolist()]
        return torch.tensor(flat, dtype=torch.int64).reshape(value.shape)

    def _symbol(self, value: Any) -> Any:
        return (self._storages.find(value) or value) if isinstance(value, Tensor) else value

    def _watched(self, func: Any, args: tuple, kwargs: dict, symbols: tuple, words: dict) -> Any:
        """The operation's result, with the node numbers of its tensors recorded."""
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            raise _Unknown("Python asks for the value of a tensor, which is another one for every replicate")
        if name in SHAPED:
            return func(*args, **kwargs)
        if name == "as_strided":  # by memory
            return self._not_narrower(func(*args, **kwargs), args)
        if torch.Tag.inplace_view in func.tags:  # a new shape of the same numbers
            self._storages.numbers(args[0])
            return func(*args, **kwargs)
        if name.endswith("_") and not name.startswith("_"):
            return self._written(func, name[:-1], args, kwargs, symbols, words)
        if func._schema.is_mutable:
            raise _Unknown(f"{func} writes into an argument")
        ids = self._evaluate(func, name, symbols, words)
        result = self._not_narrower(func(*args, **kwargs), args)
        for tensor, part in zip(result, ids, strict=True) if isinstance(ids, (list, tuple)) else [(result, ids)]:
            self._storages.record(tensor, part)
        return result

    def _written(self, func: Any, name: str, args: tuple, kwargs: dict, symbols: tuple, words: dict) -> Any:
        """In place; what is written takes the target's kind."""
        target = self._not_narrower(args[0], args)
        ids = self._evaluate(getattr(torch.ops.aten, name), name, symbols, words)
        kept = self._each(ELEMENTWISE["_to_copy"], (Symbol(target, ids),), {"dtype": target.dtype}, func)
        self._storages.write(target, kept)
        return func(*args, **kwargs)

    def _not_narrower(self, result: Any, args: tuple) -> Any:
        """The list has one precision: numbers cut to fewer digits than the inputs have would keep theirs."""
        least = min((_digits(t.dtype) for t in _tensors(result) if t.is_floating_point()), default=self._precision)
        if least < self._precision and any(_digits(t.dtype) > least for t in _tensors(args) if self.depends(t)):
            raise _Unknown("numbers are narrowed below the precision of the run")
        return result

    def _evaluate(self, target: Any, name: str, args: tuple, kwargs: dict) -> Any:
        """Node numbers of the result, or a list of those of several."""
        if name == "index" and not isinstance(args[0], Symbol):
            return self._lookup(target, args[0], args[1])
        if name in _INDEXED and _has_symbol(args[_INDEXED[name]]):
            raise _Unknown(f"{target} takes from a place that is computed")
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
        raise _Unknown(f"there is no rule for {target}")

    def _movable(self, value: Any, name: str, place: int) -> Any:
        """Data as node numbers; what says where as it is."""
        if _INDEXED.get(name) == place:
            return value
        if name == "scatter" and place == 3:
            return self.ids(value)  # a tensor, or a number
        return _map(self.ids, value, Tensor)

    def _motion(self, name: str, args: tuple, kwargs: dict) -> dict:
        """Keywords of an operation that moves data; node numbers must not be added up."""
        if kwargs.get("reduce") is not None or (name == "index_put" and (args[3:4] or (kwargs.get("accumulate"),))[0]):
            raise _Unknown(f"{name} adds up what falls on one place")
        return {k: _map(self.ids, v, Tensor) for k, v in kwargs.items()}

    def _numbers(self, value: Any, target: Any) -> Tensor:
        ids = self.ids(value)
        if any(self.scalars.kind(i) == "i" for i in ids.reshape(-1).tolist()):
            raise _Unknown(f"{target} computes with an index; the fused engine only looks up tables")
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
            raise _Unknown(f"{target} with more than one index")
        p, ids = symbolic[0], index[symbolic[0]].ids
        if any(self.scalars.kind(i) != "i" for i in ids.reshape(-1).tolist()):
            raise _Unknown(f"{target} takes from a place that is computed")
        rows = table.movedim(p, -1)
        shape = (*table.shape[:p], *ids.shape, *table.shape[p + 1 :])
        flat_ids = ids.reshape(-1).tolist()
        columns = rows.reshape(-1, table.shape[p]).tolist()
        out = torch.tensor([[self.scalars.table(i, c) for i in flat_ids] for c in columns], dtype=torch.int64)
        out = out.reshape(*table.shape[:p], *table.shape[p + 1 :], *ids.shape)
        for k in range(ids.ndim):
            out = out.movedim(table.ndim - 1 + k, p + k)
        return out.reshape(shape)


def _digits(dtype: torch.dtype) -> int:
    """Binary digits of a float's fraction; none of what is no float, which nothing narrows."""
    return round(-math.log2(torch.finfo(dtype).eps)) if dtype.is_floating_point else 0


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(t, Tensor)]


def _bare(tensor: Any) -> Any:
    """Without torch.func's wrappers."""
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def _kind(example: Tensor) -> str:
    return "b" if example.dtype == torch.bool else "f" if example.is_floating_point() else "i"


def _has_symbol(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_symbol, value))
    return isinstance(value, Symbol)


def _map(change: Callable, value: Any, *also: type) -> Any:
    if isinstance(value, (list, tuple)):
        mapped = [_map(change, v, *also) for v in value]
        return tuple(mapped) if isinstance(value, tuple) else mapped
    return change(value) if isinstance(value, (Symbol, *also)) else value


# ----------------------------------------------------------------- the user's line
def _line_of(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line outside torch, the user's own if there is one."""
    own = [f for f in frames if not f.filename.startswith((_TORCH, "<")) and "site-packages" not in f.filename]
    outside = [f for f in own if not f.filename.startswith(_PACKAGE)]
    chosen = (outside or own)[-1:]
    return "".join(f"({os.path.basename(f.filename)}, line {f.lineno}: {f.line})" for f in chosen)
