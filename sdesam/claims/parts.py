"""The parts of an experiment: computed once and kept, some of them side by side or on another device.

The device that an experiment computes on is a field of its Config, so that parts of different devices never mix.  A
script that can run elsewhere writes ``device: str = field(default_factory=chosen)`` in its Config and puts its starts
there; the engine follows them.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.statistics import Estimate
from ..files import UNREADABLE, put

__all__ = [
    "Recall", "chosen", "computing_on", "directly", "packed", "remembered", "require_device", "takes_device",
    "together", "unpacked",
]  # fmt: skip

Recall = Callable[..., dict[str, np.ndarray]]
_CHOSEN: ContextVar[str] = ContextVar("device", default="cpu")


def packed(estimate: Estimate) -> np.ndarray:
    """Value, standard error and heavy-tail flag as one array (3, S), for results."""
    return np.stack([np.broadcast_to(part, np.shape(estimate.value)) for part in
                     (estimate.value, estimate.stderr, estimate.heavy_tailed)])  # fmt: skip


def unpacked(array: np.ndarray, n: int) -> Estimate:
    """The estimate that ``packed`` stored."""
    return Estimate(array[0], array[1], n, "Monte Carlo", array[2] > 0)


# ----------------------------------------------------------------- kept
def remembered(folder: Path) -> Callable[..., dict[str, np.ndarray]]:
    """A function ``recall(compute, *arguments)`` that calls compute once and reads its arrays from then on.

    ``compute(*arguments)`` returns a dict of arrays; the arguments are plain values or dataclasses of them.  The folder
    must belong to one version of the code: it is not part of the key.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def recall(compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
        plain = [asdict(a) if hasattr(a, "__dataclass_fields__") else a for a in arguments]
        text = json.dumps([compute.__name__, plain], sort_keys=True, allow_nan=False)
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (FileNotFoundError, *UNREADABLE):
            found = {name: np.asarray(value) for name, value in compute(*arguments).items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **found)
        put(path, buffer.getvalue())
        return found

    return recall


def directly(compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
    """A recall that remembers nothing."""
    return {name: np.asarray(value) for name, value in compute(*arguments).items()}


# ----------------------------------------------------------------- parts side by side
def together(recall: Recall, parts: Sequence[tuple], workers: int = 2) -> list[dict[str, np.ndarray]]:
    """``[recall(*part) for part in parts]``, for experiments of many long parts: in forked processes on Linux.

    Nothing is pickled but indices and arrays.  Other systems cannot fork, or not beside the threads of their libraries:
    there one part follows the other.
    """
    if sys.platform != "linux":
        return [recall(*part) for part in parts]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, initializer=_inherit, initargs=(recall, parts)) as pool:
        return list(pool.map(_part, range(len(parts))))


_inherited: tuple[Recall, Sequence[tuple]] | None = None  # of a forked worker


def _inherit(recall: Recall, parts: Sequence[tuple]) -> None:
    global _inherited
    _inherited = recall, parts


def _part(i: int) -> dict[str, np.ndarray]:
    assert _inherited is not None, "only a worker computes parts"
    recall, parts = _inherited
    return recall(*parts[i])


# ----------------------------------------------------------------- where they are computed
def chosen() -> str:
    """The device of the ``computing_on`` around this call, else the CPU."""
    return _CHOSEN.get()


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """Configs made inside have this device, where they have one at all."""
    token = _CHOSEN.set(device)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def takes_device(config: type) -> bool:
    """Whether a Config has a field ``device``."""
    return "device" in {f.name for f in fields(config)}


def require_device(device: str) -> None:
    """Raise ``ValueError`` unless torch can compute in float64 there."""
    try:
        float(torch.ones(1, dtype=torch.float64, device=device))
    except (RuntimeError, AssertionError, TypeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"device must be one torch can use here, in float64, got {device!r}: {why}") from error
