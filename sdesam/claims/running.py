"""Experiments side by side in processes of their own, the longest first, with what is done and left."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.progress import duration, speaking
from ..processes import cores, follow_the_driver, stopping
from .execution import execute, load
from .parts import computing_on
from .sources import Hashes, hashes

__all__ = ["ExperimentFailed", "run_all"]


class ExperimentFailed(Exception):
    """A script raised an error."""


@dataclass
class _Schedule:
    """Minutes on record of what is to run, and what has ended since."""

    minutes: Mapping[str, float]
    workers: int
    began: float = field(default_factory=time.monotonic)
    took: dict[str, float] = field(default_factory=dict)  # seconds of those that ended

    @property
    def left(self) -> float:
        """Seconds, where those to come deviate from their minutes on record as those that ended did.

        The record counts as much as a quarter of all would: one short experiment says little about the others.
        """
        ended, doubt = 60 * sum(self.minutes[name] for name in self.took), 15 * sum(self.minutes.values())
        pace = (sum(self.took.values()) + doubt) / (ended + doubt)
        whole = 60 * pace * max(sum(self.minutes.values()) / self.workers, max(self.minutes.values()))
        return max(whole - (time.monotonic() - self.began), 0.0)

    def first(self) -> str:
        """Before anything runs."""
        names = f"{len(self.minutes)} experiments" if len(self.minutes) > 3 else ", ".join(self.minutes)
        return f"repro: {names} in {self.workers} processes, about {duration(self.left)} by the minutes on record"

    def line(self) -> str:
        """For a log."""
        under_way = [name for name in self.minutes if name not in self.took]
        shown = ", ".join(under_way[:4]) + ", .." * (len(under_way) > 4)
        left = f"about {duration(self.left)} left" if self.left else "longer than by the minutes on record"
        return f"repro: {len(self.took)} of {len(self.minutes)} done, {left}; to come: {shown}"


def run_all(
    scripts: Mapping[str, Path],
    folder: Path,
    *,
    smoke: bool,
    results: Path | None,
    jobs: int | None,
    device: str,
    say: Callable[[str], object] | None,
) -> list[dict[str, Any]]:
    """Records of experiments, by their IDs; ``say`` is told of each that ends.

    Raises
    ------
    ExperimentFailed
        When a script raises; what finished before is written.
    """
    say = say or (lambda text: None)
    workers = min(len(scripts), jobs or cores())
    minutes = {name: float(load(path).MINUTES) for name, path in scripts.items()}
    longest_first = sorted(scripts, key=lambda name: -minutes[name])
    schedule = _Schedule({name: minutes[name] for name in longest_first}, workers)
    say(f"repro: {len(scripts)} experiments, small" if smoke else schedule.first())
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=follow_the_driver)
    with speaking(schedule.line), pool, stopping(pool):
        paths = {name: scripts[name] for name in longest_first}
        futures = {
            pool.submit(_execute_on, device, path, folder, smoke, results, hashes(path)): path
            for path in paths.values()
        }
        records = []
        for future in as_completed(futures):
            record = _result(future, futures[future], pool)
            records.append(record)
            schedule.took[futures[future].stem] = record["seconds"]
            say(f"{futures[future].stem}: done after {time.monotonic() - schedule.began:.0f} s")
    return sorted(records, key=lambda r: r["id"])


def _result(future: Future, path: Path, pool: ProcessPoolExecutor) -> dict[str, Any]:
    try:
        return future.result()
    except Exception as error:
        pool.shutdown(cancel_futures=True)
        raise ExperimentFailed(f"{path.name} failed: {type(error).__name__}: {error}") from error


def _execute_on(
    device: str, path: Path, folder: Path, smoke: bool, results: Path | None, sources: Hashes
) -> dict[str, Any]:
    with computing_on(device):
        return execute(path, folder, smoke=smoke, results_folder=results, expected=sources)
