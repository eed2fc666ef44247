"""What the commands share: their errors, and checks before a run."""

from __future__ import annotations

import functools
import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from cyclopts import Parameter

from ..engine.progress import duration, speaking
from ..user_code.failures import results, to_stderr

__all__ = [
    "Count", "Failed", "Numbers", "Usage", "computing", "deliver", "deliver_to", "require_writable", "say",
    "set_threads", "settings_line", "speak_any_text",
]  # fmt: skip

T = TypeVar("T")
P = ParamSpec("P")
Numbers = Annotated[tuple[T, ...], Parameter(consume_multiple=True)]


def _whole(kind: object, tokens: Sequence[Any]) -> int:
    """An integer, also as 1e4 or 2.5e3 where that is one."""
    try:
        value = Decimal(tokens[0].value)
        if value.is_finite() and value.adjusted() < 30 and value == value.to_integral_value():
            return int(value)
    except InvalidOperation:
        pass
    raise ValueError("must be an integer, such as 10000 or 1e4")


Count = Annotated[int, Parameter(converter=_whole)]


class Usage(Exception):
    """A bad argument, told in one sentence: exit code 2."""


class Failed(Exception):
    """A check of the toolkit failed, or a verdict differs from the one on record: exit code 1."""


def computing(command: Callable[P, T]) -> Callable[P, T]:
    """The command with stdout kept for what it delivers: whatever else prints, the user's code too, goes to stderr.

    Where it is silent for long, it says that it is at work.
    """

    @functools.wraps(command)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        began = time.monotonic()
        name = command.__name__.replace("_", "-")
        with to_stderr(), speaking(lambda: f"{name}: at work for {duration(time.monotonic() - began)}"):
            return command(*arguments, **named)

    return run


def deliver(text: str) -> None:
    """Print a result on stdout, at once; where a full disk takes none, on stderr, so that nothing computed is lost."""
    try:
        print(text, file=results(), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(text, file=sys.stderr)
        raise Usage(f"cannot write to stdout: {error.strerror}; the result is on stderr instead.") from error


def say(text: str) -> None:
    """Print a message on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def deliver_to(output: Path, text: str) -> None:
    """Write a result to a file; where that fails, print it on stdout, so that nothing computed is lost, and raise."""
    try:
        output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        deliver(text)
        raise Usage(f"cannot write {output}: {error.strerror}; the result is on stdout instead.") from error


def settings_line(settings: Mapping[str, Any]) -> str:
    """The settings that are not None, in one line, for the eye: of more than four numbers the count.

    >>> settings_line({"eta": 0.1, "rho": None, "x0": [0.0] * 27})
    'eta = 0.1, x0 = 27 numbers'
    """
    return ", ".join(f"{name} = {_short(value)}" for name, value in settings.items() if value is not None)


def _short(value: Any) -> Any:
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} numbers"
    return f"{value:.6g}" if isinstance(value, float) else value


def speak_any_text() -> None:
    """Let no character stop a result: a file or pipe gets UTF-8, a terminal its own encoding, with codes for the rest.

    Who sets PYTHONIOENCODING gets that encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=stream.encoding if own else "utf-8", errors="backslashreplace")


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
