"""Executors for sweeps: in this process, a pool that survives its workers, and how a signal ends a sweep."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from typing import Any

__all__ = ["Pool", "Serial", "interruptible"]


class Serial(Executor):
    """An executor that computes at once, in this process: for tests, profiling and nested use."""

    _max_workers = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Call now; the future is done when this returns."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Pool:
    """The user's executor, or a pool of our own that is replaced when a worker dies."""

    def __init__(self, executor: Executor | None, workers: int | None) -> None:
        self.width = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        self._own = executor is None
        self._executor = executor or self._new()

    def _new(self) -> Executor:
        return ProcessPoolExecutor(self.width, mp_context=get_context("spawn"), initializer=_ignore_interrupts)

    def submit(self, fn: Callable[..., Any], *arguments: Any) -> Future:
        """Submit, or return the failure as a future."""
        try:
            return self._executor.submit(fn, *arguments)
        except BrokenExecutor as error:
            self.renew_if_broken(error)
            future: Future = Future()
            future.set_exception(error)
            return future

    def renew_if_broken(self, error: BaseException) -> None:
        """A dead worker breaks a process pool for good: take another."""
        if self._own and isinstance(error, BrokenExecutor) and getattr(self._executor, "_broken", True):
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._new()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._executor.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """A Ctrl-C on a terminal reaches the workers too; the driver decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second raises ``KeyboardInterrupt``."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("stopping after the chunks in flight; interrupt again to stop at once", file=sys.stderr, flush=True)

    with _handling(handle) if threading.current_thread() is threading.main_thread() else nullcontext():
        yield stop


@contextmanager
def _handling(handle: Callable[[int, Any], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, handle) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, previous, strict=True):
            signal.signal(number, old)
