"""What the commands share: their errors, and checks before a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

__all__ = ["Failed", "Numbers", "Usage", "require_writable", "set_threads"]

T = TypeVar("T")
Numbers = Annotated[tuple[T, ...], Parameter(consume_multiple=True)]


class Usage(Exception):
    """A bad argument, told in one sentence: exit code 2."""


class Failed(Exception):
    """A check of the toolkit failed, or a verdict differs from the one on record: exit code 1."""


def require_writable(output: Path, formats: tuple[str, ...] = (".json", ".csv")) -> None:
    """Refuse a path that cannot be written before the run, not after it."""
    if output.suffix not in formats:
        raise Usage(f"--output must end in {' or '.join(formats)}, got {output.name!r}.")
    if output.is_dir() or not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise Usage(f"--output must be a file in a writable folder, got {str(output)!r}.")


def set_threads(threads: int | None) -> None:
    """Torch's threads, where they are given."""
    if threads is None:
        return
    if threads < 1:
        raise Usage(f"--threads must be >= 1, got {threads}.")
    import torch

    torch.set_num_threads(threads)
