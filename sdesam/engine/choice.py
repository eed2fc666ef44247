"""Which engine runs a kernel: the fused one where it can, with the reason where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..kernels import Kernel
from .cpu import Fused
from .models import Model, model_of
from .trace import NotTraceable

__all__ = ["LIMIT", "WORTHWHILE", "fused_or_reason"]

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
    if model.length > LIMIT:
        return (
            f"the list of {kernel.name} with its observables has {model.length} operations, more than {LIMIT}: it "
            "would compile for long, and torch's matrix products are as fast"
        )
    return Fused.of(model, x0.dtype)
