"""Progress with an estimate of the time left: a bar on a terminal, one plain line every 30 s otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["reporting"]

_PLAIN_INTERVAL = 30.0  # seconds


@contextmanager
def reporting(enabled: bool, total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function ``advance(done)`` for a job of ``total`` pieces; it writes to stderr, or nothing at all."""
    if not enabled:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(total, what) as advance:
            yield advance
    else:
        yield _plain(total, what)


@contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


def _plain(total: int, what: str) -> Callable[[int], None]:
    began = last = time.monotonic()
    finished = 0

    def advance(done: int) -> None:
        nonlocal finished, last
        finished += done
        now = time.monotonic()
        if now - last >= _PLAIN_INTERVAL:
            last, left = now, (now - began) * (total - finished) / finished
            print(
                f"{what}: {100 * finished / total:.0f} %, about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    return advance
