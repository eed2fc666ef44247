"""Executors for sweeps: in this process, a pool that survives its workers, and how a signal ends a sweep."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context, parent_process
from typing import Any

from .files import StoreFailed

__all__ = ["Pool", "Serial", "cores", "follow_the_driver", "interruptible", "stop_at_once", "stopping"]

_MOST_DEATHS = 5


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


def cores() -> int:
    """Processors that this process may use, and no more than 61, which is what Windows can wait for."""
    ours = getattr(os, "sched_getaffinity", None)  # of Linux: a job of a cluster sees its own share
    return min(61, len(ours(0)) if ours else os.cpu_count() or 1)


class Pool:
    """The user's executor, or a pool of our own that is replaced when a worker dies."""

    def __init__(self, executor: Executor | None, workers: int | None) -> None:
        self.width = workers or getattr(executor, "_max_workers", None) or cores()
        self._own, self._deaths = executor is None, 0
        self._executor = executor or self._new()

    def _new(self) -> Executor:
        return ProcessPoolExecutor(self.width, mp_context=get_context("spawn"), initializer=follow_the_driver)

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
        if not self._own or not isinstance(error, BrokenExecutor) or not getattr(self._executor, "_broken", True):
            return
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise StoreFailed(
                f"the workers died {self._deaths} times without finishing a chunk: too little memory, a script without "
                "if __name__ == '__main__', or cells that a new process cannot import. What was saved stays."
            ) from error
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._new()

    def succeeded(self) -> None:
        """A chunk came back: the workers live."""
        self._deaths = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._own:
            stop_at_once(self._executor) if kind else self._executor.shutdown(wait=True, cancel_futures=True)


def follow_the_driver() -> None:
    """A worker's start: Ctrl-C reaches it too, but the driver decides; when the driver is gone, so is the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_driver, daemon=True).start()


def _leave_with_the_driver() -> None:
    parent = parent_process()
    while parent is not None and parent.is_alive():
        time.sleep(1.0)
    os._exit(1)


def stop_at_once(executor: Executor) -> None:
    """End a pool's processes in the middle of their work."""
    processes = list((getattr(executor, "_processes", None) or {}).values())  # shutdown forgets them
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


@contextmanager
def stopping(executor: Executor) -> Iterator[None]:
    """End the processes at once when the body is left by an exception, Ctrl-C and SIGTERM included."""
    try:
        yield
    except BaseException:
        stop_at_once(executor)
        raise


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
