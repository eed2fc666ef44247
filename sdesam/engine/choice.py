"""Which engine runs a kernel: the fused one where it can, with the reason where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
import torch
from torch import Tensor

from ..dynamics.kernels import Kernel
from .llvm.compilation import Fused
from .llvm.native import cache_folder, host_features, machine_fuses, machine_name
from .purity import Impure
from .tracing.listed import TRACES, listing_of
from .tracing.listings import Listing
from .tracing.trace import NotTraceable

__all__ = ["LIMIT", "description", "fused_or_reason", "listing_or_reason", "short_run"]

LIMIT = 12_000  # operations: longer lists compile for seconds and run no faster than torch's matrix products
COMPILING = 0.5  # seconds to trace and compile: 0.07 to 0.5 for d = 2, once 0.7 more in a process
_CALL = 1e-3  # seconds of an eager step, or look, whatever n is: 0.5e-3 (SGD) to 4e-3 (Runge-Kutta of SAM's SDE)
_REPLICATE = 2e-7  # more for each replicate: 1.8e-7 to 1e-6, of which most is noise; looks 2e-7


def short_run(kernel: Kernel, *, n: int, steps: int, looks: int) -> str:
    """Why a run does not pay for compiling, or nothing where it does.

    The eager engine takes about (steps·substeps + looks)(c + n p) seconds: c for each call into torch, p for each
    replicate.  The constants are fixed, so that what runs does not depend on the machine or its load.
    """
    seconds = (steps * kernel.substeps + looks) * (_CALL + n * _REPLICATE)
    if seconds >= COMPILING:
        return ""
    return f"the run is too short to compile for: about {seconds:.2g} s eagerly, against {COMPILING:g} s to compile"


def listing_or_reason(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Callable[[Tensor], Tensor]],
    internals: Mapping[str, Callable[[Any], Tensor]],
) -> Listing | str:
    """The lists of a kernel with what is watched, or why the fused engine does not take them.

    It depends on the functions and the start only, not on the machine.

    Parameters
    ----------
    x0 : one start, (d,)

    Raises
    ------
    Impure
        For what no engine may run.
    """
    try:
        model: Listing = listing_of(kernel, x0, observables, internals, 3 * LIMIT)  # as many constants, at worst
    except Impure:
        raise
    except NotTraceable as error:
        return str(error)
    except Exception as error:  # unforeseen: the probe has passed, so the eager engine runs it
        first = (str(error).splitlines() or ["?"])[0]
        return f"{kernel.name} with its observables does not trace: {type(error).__name__}: {first}"
    if model.length > LIMIT:
        return (
            f"the list of {kernel.name} with its observables has {model.length} operations, more than {LIMIT}: it "
            "would compile for long, and torch's matrix products are as fast"
        )
    return model


def fused_or_reason(
    kernel: Kernel,
    x0: Tensor,
    observables: Mapping[str, Callable[[Tensor], Tensor]],
    internals: Mapping[str, Callable[[Any], Tensor]],
) -> Fused | str:
    """The compiled kernel with what is watched, or why there is none; see ``listing_or_reason``."""
    found = listing_or_reason(kernel, x0, observables, internals)
    try:
        return found if isinstance(found, str) else Fused.of(found, x0.dtype)
    except NotTraceable as error:
        return str(error)


def description() -> dict[str, str]:
    """What there is to run on, for ``sdesam info``: engines, the machine that code is made for, the cache."""
    has = host_features().get
    width = 512 if has("avx512f") else 256 if has("avx2") else 128
    wide = f", {width}-bit vectors" if machine_name() == llvm.get_host_cpu_name() else ", by $SDESAM_CPU"
    version = ".".join(map(str, llvm.llvm_version_info))
    return {
        "engines": "fused (CPU, float32 and float64), eager (any device)",
        "code": f"LLVM {version} for {machine_name()}{wide}",
        "bits": "those of every processor with fused products"
        if machine_fuses()
        else "own, for want of fused products",
        "ARM": "the same code compiles for it; it was run under an emulator only",
        "threads": str(torch.get_num_threads()),
        "compiled kernels": str(cache_folder()),
        "traced kernels": f"{len(TRACES)} kept in this process, {TRACES.hits} times used again, {TRACES.misses} traced",
    }
