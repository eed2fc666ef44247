"""The device that an experiment computes on: a field of its Config, so that parts of different devices never mix.

A script that can run elsewhere writes ``device: str = field(default_factory=chosen)`` in its Config and puts its starts
there; the engine follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields

import torch

__all__ = ["chosen", "computing_on", "require_device", "takes_device"]

_CHOSEN: ContextVar[str] = ContextVar("device", default="cpu")


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
