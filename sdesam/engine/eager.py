"""The eager engine: batched torch, block by block, with the streams of ``streams``.

A *unit* is 1,024 replicates.  Statistics are summed per unit and folded as a binary tree over units, so totals depend
on (seed, n) only, not on how many units are stepped together or computed by whom.  Blocks are padded to a multiple
of 16 rows, whose surplus is dropped: matrix products choose their kernel by the number of rows, and without the
padding a replicate's last bits would depend on n.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..dynamics.kernels import Kernel
from .start import Run
from .streams import Streams

__all__ = ["UNIT", "blocks", "moved_to", "visit"]

UNIT = 1024
_LANES = 16
_BLOCK_NUMBERS = 2**19  # state numbers stepped together: about 4 MB of float64, a share of the cache

# A forked child inherits torch's pool without its threads, and would wait for them for ever; one thread needs none.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

Look = Callable[[int, Any], bool]


@dataclass(frozen=True)
class Block:
    """Replicates ``first .. first + count − 1`` of a run."""

    first: int
    count: int

    @property
    def rows(self) -> int:
        """The count, padded to full lanes."""
        return -(-self.count // _LANES) * _LANES


def blocks(replicates: range, d: int, *, units: int | None = None) -> Iterator[Block]:
    """The replicates in blocks of whole units; ``units`` a block, or as many as fit the cache."""
    size = UNIT * (units or max(1, _BLOCK_NUMBERS // (UNIT * max(d, 32))))
    for first in range(replicates.start, replicates.stop, size):
        yield Block(first, min(size, replicates.stop - first))


def visit(kernel: Kernel, block: Block, run: Run, look: Look) -> None:
    """Run a block, calling ``look(k, state)`` at k = 0, 1, .., ``run.steps`` until it returns True.

    Noise is drawn in the state's precision and moved to its device; the state's rows past the block's count
    are padding.
    """
    streams = Streams(seed=run.seed, first=block.first, count=block.rows)
    x0 = run.start.rows(block.first, block.rows, streams)
    state = kernel.init(x0)
    if look(0, state):
        return
    for k in range(1, run.steps + 1):
        for _ in range(kernel.substeps):
            state = stepped(kernel, state, moved_to(kernel.noise.draw(streams.bits, x0.dtype), x0.device))
        if look(k, state):
            return


def stepped(kernel: Kernel, state: Any, z: Any) -> Any:
    """The next state; functions inside may differentiate for themselves, and no graph of theirs is kept."""
    with torch.enable_grad():
        return without_graph(kernel.step(state, z))


def without_graph(tree: Any) -> Any:
    """The same numbers, in a tensor or a tree of them, without what they were computed from."""
    return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def moved_to(z: Any, device: torch.device) -> Any:
    """A draw, a tuple of a product's included, on another device."""
    if isinstance(z, tuple):
        return tuple(moved_to(part, device) for part in z)
    return z.to(device, non_blocking=True)
