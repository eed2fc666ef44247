"""Which engine runs a kernel: the fused one where it can, with the reason where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
import torch
from torch import Tensor

from ..kernels import Kernel
from .cpu import Fused
from .models import Model, model_of
from .native import cache_folder
from .trace import NotTraceable

__all__ = ["LIMIT", "WORTHWHILE", "description", "fused_or_reason"]

LIMIT = 12_000  # operations: longer lists compile for seconds and run no faster than torch's matrix products
WORTHWHILE = 2e7  # replicates times small steps: eager takes about as long for them as tracing and compiling


def fused_or_reason(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Callable[[Tensor], Tensor]],
    internals: Mapping[str, Callable[[Any], Tensor]],
) -> Fused | str:
    """The compiled kernel with what is watched, or why there is none.

    Parameters
    ----------
    x0 : one start, (d,)
    """
    try:
        model: Model = model_of(kernel, x0, observables, internals, 3 * LIMIT)  # as many constants, at worst
    except NotTraceable as error:
        return str(error)
    except Exception as error:  # unforeseen: the eager engine runs it, or says what is wrong with it
        first = (str(error).splitlines() or ["?"])[0]
        return f"{kernel.name} with its observables does not trace: {type(error).__name__}: {first}"
    if model.length > LIMIT:
        return (
            f"the list of {kernel.name} with its observables has {model.length} operations, more than {LIMIT}: it "
            "would compile for long, and torch's matrix products are as fast"
        )
    try:
        return Fused.of(model, x0.dtype)
    except NotTraceable as error:
        return str(error)


def description() -> dict[str, str]:
    """What there is to run on, for ``sdesam info``: engines, the machine that code is made for, the cache."""
    has = llvm.get_host_cpu_features().get
    width = 512 if has("avx512f") else 256 if has("avx2") else 128
    version = ".".join(map(str, llvm.llvm_version_info))
    return {
        "engines": "fused (CPU, float32 and float64), eager (any device)",
        "code": f"LLVM {version} for {llvm.get_host_cpu_name()}, {width}-bit vectors",
        "threads": str(torch.get_num_threads()),
        "compiled kernels": str(cache_folder()),
    }
