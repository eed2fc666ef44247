"""An experiment of a few lines, for the tests of what runs experiments."""

__all__ = ["TINY"]

TINY = """
from dataclasses import dataclass
import numpy as np
from sdesam.claims.verdicts import Verdict
from sdesam.plotting import new_figure
ID, TITLE, MINUTES, CAPTION = "tiny", "A tiny one", 0.1, "Nothing to see."
@dataclass(frozen=True)
class Config:
    n: int = 3
SMOKE = Config(n=1)
def run(c, recall): return {"x": np.arange(c.n) / 3, "k": np.array(7)}
def figure(r, c):
    fig, axes = new_figure(1, 1)
    axes[0, 0].plot(r["x"])
    return fig
def verdicts(r, c):
    return [Verdict("tiny-claim", "one | two", "here", "c", "none given", "o", "r", "qualitatively", EXPECTED)]
"""
