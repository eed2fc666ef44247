"""What happens while the user's own Python runs: its printing goes to stderr, its failures become one sentence.

A failure is the user's where a file of the user's is on the way to it; all others are bugs of ours, with their
traceback.  Imports nothing heavy, so that the command line starts at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any

__all__ = ["UserCodeFailed", "failure_of", "first_line", "guarded", "mark", "place_of", "results", "to_stderr"]

_MARKED: set[str] = set()  # files whose code is the user's, as tracebacks name them


class UserCodeFailed(ValueError):
    """The user's code cannot be loaded, or failed while it ran: one sentence with file, line and function."""


def mark(files: Collection[Path]) -> None:
    """From now on code of these files is the user's."""
    _MARKED.update(map(str, files))


def first_line(error: BaseException) -> str:
    """An error's type and the first line of what it says: torch's messages have many."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def place_of(error: BaseException, files: Collection[str] = _MARKED) -> str | None:
    """File, line and function of the last frame of the user's on the way to an error; None without one."""
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return None
    file, last = Path(frames[-1].filename), frames[-1]
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f"{shown}, line {last.lineno}" + ("" if last.name == "<module>" else f", in {last.name}")


def failure_of(error: BaseException) -> str | None:
    """One sentence for an error that the user's code raised, or that was raised because of one; None for all others."""
    if isinstance(error, UserCodeFailed):
        return str(error)
    if place := place_of(error):
        return f"{place}: {first_line(error)}"
    if isinstance(error, SystemExit):
        return None  # a parser's exit says what it has to say, whatever came before
    cause = _cause(error)
    if cause is None or failure_of(cause) is None:
        return None
    said, place = (str(error).splitlines() or [type(error).__name__])[0], None
    while place is None and cause is not None:
        place, cause = place_of(cause), _cause(cause)
    return f"{said} ({place})" if place else said


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@contextmanager
def guarded() -> Iterator[None]:
    """Where the user's code runs: printing goes to stderr, and a failure of it becomes ``UserCodeFailed``."""
    with to_stderr():
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            sentence = failure_of(error)
            if sentence is None or isinstance(error, UserCodeFailed):
                raise
            raise UserCodeFailed(sentence) from error


# ----------------------------------------------------------------- stdout
_COUNTING = threading.Lock()
_inside, _stdout = 0, sys.stdout


@contextmanager
def to_stderr() -> Iterator[None]:
    """Printing goes to stderr, in all threads, until the last of the nested or concurrent blocks is left."""
    global _inside, _stdout
    with _COUNTING:
        if _inside == 0:
            _stdout, sys.stdout = sys.stdout, sys.stderr
        _inside += 1
    try:
        yield
    finally:
        with _COUNTING:
            _inside -= 1
            if _inside == 0:
                sys.stdout = _stdout


def results() -> Any:
    """Where results go: stdout, also while printing goes to stderr."""
    return _stdout if _inside else sys.stdout
