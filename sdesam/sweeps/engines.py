"""Which engine computes a cell: a rule that depends on the cell only, since a store must not mix their last bits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ..engine.choice import listing_or_reason
from ..user_code.failures import guarded

__all__ = ["ENGINES", "engine_of"]

ENGINES = ("fused", "eager")


def engine_of(cell: Any) -> str:
    """The engine of a cell: the fused one wherever a cell of its structure traces, on every machine.

    A cell has ``typical()``, one of its structure, which says what it simulates by ``kernel(side)``, ``start()`` and
    ``watched``.  The seed and the number of steps do not matter, nor do eta, rho and sigma unless the method is a file
    of the user's; a device other than the CPU is eager.  So is what fails, until it is found out why: ``check`` raises.
    """
    if cell.device != "cpu":
        return "eager"
    try:
        return _engine_of_structure(cell.typical())
    except Exception:
        return "eager"


@lru_cache(maxsize=1024)  # failures are not kept
def _engine_of_structure(cell: Any) -> str:
    with guarded(), torch.no_grad():
        found = listing_or_reason(cell.kernel(cell.side), cell.start(), cell.watched, {})
    return "eager" if isinstance(found, str) else "fused"
