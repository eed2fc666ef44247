"""Progress with an estimate of the time left: a bar on a terminal, otherwise a plain line after 4 s and every 30 s.

One thread speaks for the process, of the innermost of the jobs that are under way: a command that prepares, a sweep in
it, a simulation in that.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Advance", "duration", "reporting", "speaking"]

_FIRST, _LATER = 4.0, 30.0  # seconds until a plain line
_LONG = 60.0  # seconds ahead from which advice is given
Advance = Callable[..., None]  # (done, left=None): so many more pieces, and seconds left where they are known better
Line = Callable[[], str]


@contextmanager
def reporting(enabled: bool | str, total: int, what: str) -> Iterator[Advance]:
    """A function ``advance(done, left)`` for a job of ``total`` pieces; it writes to stderr, or nothing at all.

    Parameters
    ----------
    enabled : a text instead of True is advice, printed once where more than a minute is ahead
    """
    if not enabled:
        yield lambda done, left=None: None
        return
    job = _Job(total, what, enabled if isinstance(enabled, str) else "")
    if sys.stderr.isatty():
        with _bar(job) as advance:
            yield advance
    else:
        with speaking(job.line):
            yield job.advance


class _Job:
    """What is done of a job."""

    def __init__(self, total: int, what: str, advice: str) -> None:
        self.total, self.what, self._advice = total, what, advice
        self.done, self.left = 0, None
        self._began = self._first = time.monotonic()
        self._done_first = 0

    def advance(self, done: int, left: float | None = None) -> None:
        """So many more pieces are done."""
        now = time.monotonic()
        if not self.done:
            self._first, self._done_first = now, done  # it also imports, traces and compiles
        self.done += done
        self.left = self._estimated(now) if left is None else left
        if self._advice and self.done > self._done_first and self.left > _LONG:
            print(f"{self.what}: about {duration(self.left)} ahead; {self._advice}", file=sys.stderr, flush=True)
            self._advice = ""

    def _estimated(self, now: float) -> float:
        rest = self.total - self.done
        if self.done > self._done_first:
            return (now - self._first) * rest / (self.done - self._done_first)
        return (now - self._began) * rest / max(self.done, 1)

    def line(self) -> str:
        """For a log."""
        if self.left is None:
            return f"{self.what}: at work for {duration(time.monotonic() - self._began)}, nothing is finished yet"
        return f"{self.what}: {100 * self.done / self.total:.0f} %, about {duration(self.left)} left"


def duration(seconds: float | int) -> str:
    """For the eye.

    >>> [duration(s) for s in (0.2, 44.6, 100, 200, 9000)]
    ['0 s', '45 s', '100 s', '3 min', '2.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ----------------------------------------------------------------- the one who speaks
_JOBS: dict[object, Line | None] = {}  # under way, the latest last; None for one that shows itself
_CHANGING = threading.Condition()
_SPEAKERS: list[threading.Thread] = []  # none or one


@contextmanager
def speaking(line: Line | None) -> Iterator[None]:
    """Print ``line()`` on stderr after 4 s and every 30 s until the body ends, whether or not it goes on.

    Where this happens already, ``line`` is what is said meanwhile; None for silence.
    """
    job = object()
    try:
        with _CHANGING:
            _JOBS[job] = line
            if not _SPEAKERS:
                _SPEAKERS.append(threading.Thread(target=_speak, daemon=True))
                _SPEAKERS[0].start()
        yield
    finally:
        with _CHANGING:
            _JOBS.pop(job, None)
            if _SPEAKERS and _SPEAKERS[0].ident is None:  # it could not be started
                _SPEAKERS.clear()
            _CHANGING.notify_all()


def _speak() -> None:
    """Until no job is under way."""
    next_at = time.perf_counter() + _FIRST
    while True:
        with _CHANGING:
            while _JOBS and (wait := next_at - time.perf_counter()) > 0:
                _CHANGING.wait(wait)
            if not _JOBS:
                _SPEAKERS.clear()
                return
            line = next(reversed(_JOBS.values()))
        next_at = time.perf_counter() + _LATER
        if line is not None:
            _say(line)


def _say(line: Line) -> None:
    try:
        print(line(), file=sys.stderr, flush=True)
    except Exception:  # a closed stderr, say: progress stops no computation
        return


@contextmanager
def _bar(job: _Job) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task(job.what, total=job.total, left="")

        def advance(done: int, left: float | None = None) -> None:
            job.advance(done, left)
            progress.update(task, advance=done, left=f"about {duration(job.left or 0.0)} left")

        with speaking(None):
            yield advance
