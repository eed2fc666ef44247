"""Files that exist whole or not at all, and what JSON can hold.  Imports little: the command line starts with it."""

from __future__ import annotations

import math
import os
import secrets
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

__all__ = ["UNREADABLE", "StoreFailed", "put", "remove_if_forgotten", "without_nan"]

UNREADABLE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_FORGOTTEN = 86_400.0  # seconds: a writer's unfinished file is younger


class StoreFailed(Exception):
    """Results are incomplete, or a store cannot be used: exit code 3."""


def put(path: Path, content: bytes) -> None:
    """Write a file so that it exists whole or not at all, even after a power cut."""
    temporary = path.parent / f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # the umask decides, as for any file
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_if_forgotten(entry: os.DirEntry) -> None:
    """Remove the unfinished file of a writer that was killed, a day after."""
    try:
        if entry.name.endswith(".tmp") and time.time() - entry.stat().st_mtime > _FORGOTTEN:
            os.unlink(entry.path)
    except OSError:
        return  # another process was faster, or it may not be removed: it does no harm


def without_nan(value: Any) -> Any:
    """The value with None for each NaN and infinity, in dicts and lists at any depth: JSON has neither.

    >>> without_nan({"rows": [{"value": float("nan"), "n": 3}], "limits": [float("-inf"), 0.5]})
    {'rows': [{'value': None, 'n': 3}], 'limits': [None, 0.5]}
    """
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
