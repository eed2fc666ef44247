"""Files that exist whole or not at all, and results that are computed once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["UNREADABLE", "put", "remembered", "remove_if_forgotten"]

UNREADABLE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_FORGOTTEN = 86_400.0  # seconds: a writer's unfinished file is younger


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
