"""Torch watched op by op while a function runs: every result gets the node numbers of the list being written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .operations import Forbidden, Operations, Unknown
from .rules import SHAPED
from .scalars import Scalars
from .storages import Storages, has_symbol, mapped

__all__ = ["Guard", "Watcher"]

_LEAVING = (
    "tolist", "numpy", "__array__", "__dlpack__", "to_dlpack", "_to_dlpack", "untyped_storage", "storage",
    "_typed_storage", "data_ptr", "__deepcopy__", "__reduce_ex__", "tensor", "__index__",
)  # fmt: skip


@lru_cache(maxsize=1)
def _decompositions() -> dict:
    aten = torch.ops.aten
    extra = [
        aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.silu, aten.softplus, aten._softmax,
        aten._log_softmax, aten._softmax_backward_data, aten._log_softmax_backward_data,
    ]  # fmt: skip
    return {**core_aten_decompositions(), **get_decompositions(extra)}


class Guard(TorchFunctionMode):
    """Refuses what takes numbers out of a tensor behind the watcher's back.

    ``as_tensor`` and ``asarray`` may keep a tensor, so only lists of tensors are refused there.
    """

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = getattr(func, "__name__", "")
        mixed = name in ("as_tensor", "asarray")
        if name in _LEAVING or (mixed and isinstance(args[0], (list, tuple))):
            with torch._C.DisableTorchFunction():
                if self._watcher.depends(args):
                    message = f"{name} takes numbers out of a tensor, which has others for every replicate"
                    raise Unknown(message, self._watcher.inputs_of(args))
        return func(*args, **(kwargs or {}))


class Watcher(TorchDispatchMode):
    """Writes the list while a function runs."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled by torch here; it would import its compiler for a second or two

    def __init__(self, inputs: Sequence[Tensor], most: int) -> None:
        super().__init__()
        kinds = [_kind(e) * e.numel() for e in inputs]
        self.scalars = Scalars("".join(kinds), most)
        self.asked: list[frozenset[int]] = []
        self._storages = Storages(self.scalars.constant)
        self.operations = Operations(self.scalars, self._storages)
        self._precision = max((_digits(e.dtype) for e in inputs), default=0)
        starts = [sum(map(len, kinds[:i])) for i in range(len(kinds))]
        for start, tensor in zip(starts, inputs, strict=True):
            self._storages.record(tensor, torch.arange(start, start + tensor.numel()).reshape(tensor.shape))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._dispatch(func, args, kwargs or {})

    def depends(self, value: Any) -> bool:
        """Whether there is a tensor inside that depends on the inputs, under torch.func's wrappers too."""
        return has_symbol(mapped(lambda t: self.operations.symbol(_bare(t)), value, Tensor))

    def inputs_of(self, value: Any) -> frozenset[int]:
        """The inputs that the tensors inside depend on, whose values are asked for: remembered, whoever catches it."""
        found: list[int] = []
        mapped(lambda t: found.extend(self.operations.ids(_bare(t)).reshape(-1).tolist()), value, Tensor)
        inputs = self.scalars.inputs_of(found)
        self.asked.append(inputs)
        return inputs

    def _dispatch(self, func: Any, args: tuple, kwargs: dict) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise Forbidden(f"{func} draws random numbers; a step's only randomness is its argument z")
        symbol = self.operations.symbol
        symbols, words = mapped(symbol, args, Tensor), {k: symbol(v) for k, v in kwargs.items()}
        if not has_symbol((symbols, *words.values())):
            return func(*args, **kwargs)
        for simpler in (_decompositions().get(func), func.decompose):
            if simpler is not None:
                with self:
                    result = simpler(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        return self._watched(func, args, kwargs, symbols, words)

    def _watched(self, func: Any, args: tuple, kwargs: dict, symbols: tuple, words: dict) -> Any:
        """The operation's result, with the node numbers of its tensors recorded."""
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            message = "Python asks for the value of a tensor, which is another one for every replicate"
            raise Unknown(message, self.inputs_of(args))
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
            raise Unknown(f"{func} writes into an argument")
        ids = self.operations.evaluate(func, name, symbols, words)
        result = self._not_narrower(func(*args, **kwargs), args)
        for tensor, part in zip(result, ids, strict=True) if isinstance(ids, (list, tuple)) else [(result, ids)]:
            self._storages.record(tensor, part)
        return result

    def _written(self, func: Any, name: str, args: tuple, kwargs: dict, symbols: tuple, words: dict) -> Any:
        """In place; what is written takes the target's kind."""
        target = self._not_narrower(args[0], args)
        self._storages.write(target, self.operations.written(func, name, target, symbols, words))
        return func(*args, **kwargs)

    def _not_narrower(self, result: Any, args: tuple) -> Any:
        """The list has one precision: numbers cut to fewer digits than the inputs have would keep theirs."""
        least = min((_digits(t.dtype) for t in _tensors(result) if t.is_floating_point()), default=self._precision)
        if least < self._precision and any(_digits(t.dtype) > least for t in _tensors(args) if self.depends(t)):
            raise Unknown("numbers are narrowed below the precision of the run")
        return result


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
