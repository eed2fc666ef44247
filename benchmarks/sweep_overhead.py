"""What a sweep costs beside its work: scheduling at chunks of two seconds, and a grid of a million cells.

    python benchmarks/sweep_overhead.py            # a minute
    python benchmarks/sweep_overhead.py --million  # and a million cells, stored and resumed: minutes, 4 GB of disk

Overhead is 1 − (work done)/(wall time x workers) of a run long enough that starting the processes does not count: the
first second, in which they import torch, is measured by a run of its own and taken off.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sdesam.engine.statistics import Moments
from sdesam.sweeps.cells import Ensemble
from sdesam.sweeps.chunks import Plan
from sdesam.sweeps.driver import run_sweep
from sdesam.sweeps.grids import Grid
from sdesam.sweeps.store import Store, canonical, key_of

CHUNK = 2.0  # seconds


@dataclass(frozen=True)
class Sleeper:
    """A cell that waits: work without load, so that two cores do not disturb the measurement."""

    number: int
    seconds: float
    sums: ClassVar[type] = Moments

    @property
    def work(self) -> float:
        return 1.0

    @property
    def like(self) -> tuple:
        return ("Sleeper",)

    def compute(self, replicates: range) -> Moments:
        time.sleep(self.seconds)
        return Moments.of(np.ones((11, 3, 1024)), names=("a", "b", "c"), steps=np.arange(11), dt=1.0, edges={})


def overhead(workers: int, chunks: int) -> tuple[float, float]:
    """Overhead of scheduling, and the seconds that starting the workers takes."""
    walls = []
    for seconds, count in ((0.0, workers), (CHUNK, chunks)):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            report = run_sweep([Sleeper(i, seconds) for i in range(count)], Store(folder), n=1024, workers=workers)
            walls.append(time.perf_counter() - began)
            assert report.computed == count
    start, wall = walls
    ideal = CHUNK * chunks / workers
    return (wall - start - ideal) / ideal, start


def million(cells: int) -> None:
    """List a full store of many cells, and find that nothing is missing."""
    side = round(cells ** (1 / 3))
    axes = {name: tuple((i + 1) / 1000 for i in range(side)) for name in ("eta", "rho", "sigma")}
    grid = Grid(Ensemble, {"landscape": ("saddle",), "method": ("usam",), "steps": (10,), **axes})
    sums = Moments.of(np.ones((11, 3, 1024)), names=("f", "x[0]", "x[1]"), steps=np.arange(11), dt=1.0, edges={})
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.write(canonical(grid[0]), 0, 1, sums)
        content = next(Path(folder).rglob("*.npz")).read_bytes()
        began = time.perf_counter()
        for cell in grid:  # the same bytes under every name: the listing does not read them
            key = key_of(canonical(cell)).hex()
            path = Path(folder) / "chunks" / key[:3] / f"{key}.0-1.{len(content)}.npz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        print(f"{len(grid):,} cells stored (without synchronising) in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        plan = Plan(grid, store.index(), n=1024)
        listed = time.perf_counter() - began
        empty = time.perf_counter()
        Plan(grid, {}, n=1024)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"listed and found complete ({plan.missing} units missing) in {listed:.1f} s; an empty store's plan in "
            f"{time.perf_counter() - empty:.1f} s; peak memory {peak:.2f} GB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--cells", type=int, default=1_000_000)
    arguments = parser.parse_args()
    share, start = overhead(workers=2, chunks=20)
    print(f"scheduling overhead at {CHUNK:g} s chunks, 2 workers: {100 * share:.2f} % (and {start:.1f} s to start)")
    if arguments.million:
        sys.stdout.flush()
        million(arguments.cells)


if __name__ == "__main__":
    main()
