"""Cells for the tests of stores and sweeps, importable by worker processes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sdesam.engine.statistics import Moments
from sdesam.sweeps.cells import Ensemble
from sdesam.sweeps.grids import Grid


@dataclass(frozen=True)
class Toy:
    """One number a unit: mean and spread depend on the unit, so that any order but the tree's changes bits."""

    scale: float
    delay: float = 0.0
    trouble: str = ""
    sums: ClassVar[type] = Moments

    @property
    def work(self):
        return 1.0

    @property
    def like(self):
        return ("Toy",)

    def compute(self, replicates):
        if self.trouble == "raise":
            raise ValueError("this cell cannot be computed")
        if self.trouble == "die":
            os._exit(9)
        if self.trouble and replicates.start >= 2048 and not Path(self.trouble).exists():
            Path(self.trouble).touch()
            os._exit(9)  # as the out-of-memory killer would
        time.sleep(self.delay)
        from sdesam.engine.folds import Tree

        tree = Tree()
        for first in range(replicates.start, replicates.stop, 1024):
            values = self.scale * np.random.default_rng(first).standard_normal((1, 1, 1024))
            tree.add(first // 1024, 1, Moments.of(values, names=("x",), steps=np.array([0]), dt=1.0, edges={}))
        return tree.total()


def toys(count, **settings):
    return [Toy(scale=1.0 + i, **settings) for i in range(count)]


def ensembles():
    """Six real cells of four steps."""
    axes = {
        "side": ("algorithm", "SDE"), "landscape": ("saddle",), "method": ("usam",), "eta": (0.05,),
        "rho": (0.1, 0.2, 0.5), "sigma": (0.3,), "steps": (4,), "substeps": (2,), "saves": (2,),
    }  # fmt: skip
    return Grid(Ensemble, axes)


def sweep_in_small_chunks(n, folder):
    """The six cells in this process, with chunks of one unit."""
    from sdesam.sweeps import chunks
    from sdesam.sweeps.sessions import Means, sweep

    chunks._TARGET = 0.002
    sweep(ensembles(), n, folder, Means("serial"), "test")
