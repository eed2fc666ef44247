"""What a name stands for, in 16 digits: results under one name belong together only where the fingerprints agree."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from ..user_code.loading import identity
from .catalogue import find_landscape, load_function
from .landscapes import Landscape

__all__ = ["FILES", "fingerprint"]

FILES = "files:"  # begins the fingerprint of a user's files
# of landscapes whose data are computed (means, products, sines): their last bits, so their digests, depend on the CPU
_COMPUTED = {
    "rotated-saddle": "b8b67b278406e479",
    "iris": "1ec5b955524fb848",
    "breast-cancer": "e78459306ac96b81",
    "teacher-student": "2606dc36a03feb4f",
}


def fingerprint(reference: str) -> str:
    """What a name or ``file.py:function`` stands for, as 16 digits: all constants, or, after "files:", all files.

    Two results belong together only where these agree, so it is part of a cell.  The files are the user's own that an
    import brings in (``user_code.files``); what they read besides, ``Touchstone`` sees.  Raises ``ValueError`` for a
    name that is no landscape, or a file that cannot be loaded.
    """
    if ".py:" not in reference:
        return _fingerprint_of_name(reference)
    load_function(reference)  # says what is wrong with a reference
    return FILES + identity(Path(reference.rpartition(":")[0]))


@lru_cache(maxsize=64)
def _fingerprint_of_name(name: str) -> str:
    return _COMPUTED.get(name) or _digest_of(find_landscape(name).landscape)


def _digest_of(f: Landscape) -> str:
    digest = hashlib.sha256()
    _feed(digest, f)
    return digest.hexdigest()[:16]


def _feed(digest: Any, value: Any) -> None:
    """Types, fields and numbers of a landscape; functions by name."""
    digest.update(type(value).__name__.encode() + b"\0")
    if isinstance(value, Tensor):
        digest.update(str((value.dtype, tuple(value.shape))).encode() + value.cpu().numpy().tobytes())
    elif is_dataclass(value):
        for entry in fields(value):
            _feed(digest, getattr(value, entry.name))
    elif isinstance(value, tuple):
        for part in value:
            _feed(digest, part)
    elif callable(value):
        digest.update(getattr(value, "__qualname__", type(value).__name__).encode())
    else:
        digest.update(repr(value).encode())
