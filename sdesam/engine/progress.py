"""Progress with an estimate of the time left: a bar on a terminal, otherwise a plain line after 4 s and every 30 s."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Advance", "duration", "reporting", "speaking"]

_FIRST, _LATER = 4.0, 30.0  # seconds until a plain line
Advance = Callable[..., None]  # (done, left=None): so many more pieces, and seconds left where they are known better


@contextmanager
def reporting(enabled: bool, total: int, what: str) -> Iterator[Advance]:
    """A function ``advance(done, left)`` for a job of ``total`` pieces; it writes to stderr, or nothing at all."""
    if not enabled:
        yield lambda done, left=None: None
    elif sys.stderr.isatty():
        with _bar(total, what) as advance:
            yield advance
    else:
        job = _Job(total, what)
        with speaking(job.line):
            yield job.advance


@contextmanager
def speaking(line: Callable[[], str]) -> Iterator[None]:
    """Print ``line()`` on stderr after 4 s and every 30 s until the body ends, whether or not it goes on."""
    ended = threading.Event()

    def speak() -> None:
        wait = _FIRST
        while not ended.wait(wait):
            print(line(), file=sys.stderr, flush=True)
            wait = _LATER

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Job:
    """What is done of a job."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._began, self._left = time.monotonic(), None

    def advance(self, done: int, left: float | None = None) -> None:
        self._done, self._left = self._done + done, left

    def line(self) -> str:
        if not self._done:
            return f"{self._what}: nothing is finished yet after {duration(time.monotonic() - self._began)}"
        left = self._left
        if left is None:
            left = (time.monotonic() - self._began) * (self._total - self._done) / self._done
        return f"{self._what}: {100 * self._done / self._total:.0f} %, about {duration(left)} left"


def duration(seconds: float) -> str:
    """For the eye: 45 s, 3 min, 2.5 h.

    >>> [duration(s) for s in (0.2, 44.6, 100, 200, 9000)]
    ['0 s', '45 s', '100 s', '3 min', '2.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def _bar(total: int, what: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task(what, total=total, left="")
        began = time.monotonic()
        finished = 0

        def advance(done: int, left: float | None = None) -> None:
            nonlocal finished
            finished += done
            if left is None:
                left = (time.monotonic() - began) * (total - finished) / finished
            progress.update(task, advance=done, left=f"about {duration(left)} left")

        yield advance
