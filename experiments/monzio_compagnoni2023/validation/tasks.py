"""Four tasks of the paper's validation figures, and an optimizer against three models of it on each.

A quadratic, linear and nonlinear networks on real data, and a deep student; Gaussian noise as in the paper, and true
minibatches.  Shared by the experiments F1 to F5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from sdesam.claims.parts import Recall, chosen, packed, unpacked
from sdesam.dynamics import updates
from sdesam.problems.datasets import breast_cancer_network, iris_linear_network, teacher_student
from sdesam.problems.landscapes import Landscape, Quadratic
from sdesam.problems.minibatch import MinibatchOracle
from sdesam.problems.oracles import GaussianOracle
from sdesam.theory import model_of
from sdesam.theory.one_step import sampling_error
from sdesam.weak.comparison import apart, beside
from sdesam.weak.metrics import AGAIN, Comparison, gradient_and_radius
from sdesam.weak.models import MODELS

__all__ = ["PANELS", "SMOKE", "TASKS", "Config", "comparison", "counts", "results", "start", "task"]

TASKS = ("quadratic", "Iris", "Breast Cancer", "teacher-student")
PANELS = ("Iris", "Breast Cancer", "teacher-student", "Iris, batches")
PLANTED = {**MODELS, "turned": (-1.0, 1.0)}
WHOLE = {name: row for name, row in PLANTED.items() if name != "drift only"}
Update = Callable[..., Tensor]


@dataclass(frozen=True)
class Config:
    """Learning rate, noise and problems as recalled or read in the authors' code; all else is our choice."""

    eta: float = 0.01  # recalled
    sigma: float = 0.01  # recalled
    rhos: tuple[float, ...] = (0.01, 0.1, 0.3)  # η, √η, 3√η
    steps: int = 500
    deep_steps: int = 200  # of the 20-layer student
    save_every: int = 10
    n: int = 32
    minibatch_eta: float = 0.01
    minibatch_rho: float = 0.1
    minibatch_steps: int = 100
    minibatch_save_every: int = 10
    pairs: int = 64  # of paths on minibatches
    large_n: int = 16  # of Breast Cancer, where each pass takes 569 data; its groups of chains are known far better
    large_pairs: int = 32
    batch_size: int = 5
    batches: int = 30
    seed: int = 0
    problem_seed: int = 42
    device: str = field(default_factory=chosen)

    @property
    def root(self) -> float:
        """The radius √η, the theorems' scaling."""
        return self.rhos[1]


SMOKE = Config(
    rhos=(0.01, 0.1), steps=10, deep_steps=4, save_every=2, n=4, minibatch_steps=2, minibatch_save_every=1,
    pairs=4, large_n=4, large_pairs=4, batches=4,
)  # fmt: skip


# ----------------------------------------------------------------- tasks
@lru_cache(maxsize=8)
def task(name: str, problem_seed: int) -> tuple[Landscape, tuple[float, ...]]:
    """Landscape and start.

    The laws of H and of the starts, the decays and the standardisation follow the authors' code; widths, that the
    labels are ±1, and the seed are our choice.
    """
    rng = np.random.default_rng(problem_seed)
    f, scale = _PROBLEMS[name](rng)
    return f, tuple(scale * rng.standard_normal(f.dim))  # pyright: ignore[reportAttributeAccessIssue]


def start(x0: Sequence[float], device: str) -> Tensor:
    """The start (d,) in float64 on the device, where the whole run then is."""
    return torch.tensor(x0, dtype=torch.float64, device=device)


def _random_quadratic(rng: np.random.Generator) -> tuple[Landscape, float]:
    A = rng.standard_normal((20, 40))
    return Quadratic(torch.from_numpy(A @ A.T / 40)), 1.0


_PROBLEMS: dict[str, Callable[[np.random.Generator], tuple[Landscape, float]]] = {
    "quadratic": _random_quadratic,
    "Iris": lambda rng: (iris_linear_network(4), 4**-0.5),
    "Breast Cancer": lambda rng: (breast_cancer_network(2, weight_decay=0.1), 2**-0.5),
    "teacher-student": lambda rng: (teacher_student(5, 20, teacher=lambda a: a, weight_decay=0.01), 5**-0.5),
}


# ----------------------------------------------------------------- computing
def results(update: Update, c: Config, recall: Recall) -> dict[str, np.ndarray]:
    """Every task under Gaussian noise, then every panel of minibatches, each a part of its own."""
    found: dict[str, np.ndarray] = {}
    for name in TASKS:
        found |= recall(gaussian, c, name, update.__name__)
    for panel in PANELS:
        found |= recall(minibatches, c, panel, update.__name__)
    return found


def _update(name: str) -> Update:
    return getattr(updates, name)


def gaussian(c: Config, name: str, method: str) -> dict[str, np.ndarray]:
    """The three models and the planted one at all radii, on the optimizer's Brownian path."""
    f, x0 = task(name, c.problem_seed)
    steps = c.deep_steps if name == "teacher-student" else c.steps
    found = beside(
        _update(method), GaussianOracle(f, c.sigma, dim=len(x0)), start(x0, c.device), eta=c.eta, rhos=c.rhos,
        steps=steps, observables={"g1": gradient_and_radius(f), "f": f}, n=c.n, save_every=c.save_every, seed=c.seed,
        models=PLANTED,
    )  # fmt: skip
    return _arrays(name, found)


def minibatches(c: Config, panel: str, method: str) -> dict[str, np.ndarray]:
    """B = 1 with exact sums over the data, or larger batches, of which the SDE sees a sample; that error beside."""
    f, x0 = task(panel.split(",")[0], c.problem_seed)
    B = c.batch_size if panel.endswith("batches") else 1
    g = MinibatchOracle(f, B)  # pyright: ignore[reportArgumentType]
    nodes = None if B == 1 else g.noise.sampled(c.batches, c.seed)
    x, (n, pairs) = start(x0, c.device), counts(c, panel)
    found = apart(
        _update(method), g, x, eta=c.minibatch_eta, rhos=[c.minibatch_rho], steps=c.minibatch_steps, n=n,
        pairs=pairs, observables={"f": f}, save_every=c.minibatch_save_every, seed=c.seed, models=WHOLE, nodes=nodes,
    )  # fmt: skip
    arrays = _arrays(f"minibatch {panel}", found)
    if nodes is not None:
        own = model_of(partial(_update(method), rho=c.minibatch_rho), g, c.minibatch_eta, nodes=nodes)
        drift = own.coefficients(x)[0]
        arrays[f"minibatch {panel}/drift error"] = (sampling_error(own, x)[0].norm() / drift.norm()).cpu().numpy()
    return arrays


def counts(c: Config, panel: str) -> tuple[int, int]:
    """Groups of chains, and pairs of paths."""
    return (c.large_n, c.large_pairs) if panel == "Breast Cancer" else (c.n, c.pairs)


def _arrays(name: str, found: dict[float, Comparison]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for rho, c in found.items():
        arrays |= {f"{name}/t": c.times, f"{name}/{rho:g}/lost": c.lost}
        for phi, e in c.algorithm.items():
            arrays[f"{name}/{rho:g}/{phi}"] = packed(e)
            arrays |= {f"{name}/{rho:g}/{phi}/{m}": packed(errors[phi]) for m, errors in c.errors.items()}
    return arrays


def comparison(r: dict[str, np.ndarray], c: Config, name: str, rho: float) -> Comparison:
    """What ``_arrays`` took apart."""
    n = min(counts(c, name.removeprefix("minibatch "))) if name.startswith("minibatch") else c.n
    models = [m for m in (*PLANTED, AGAIN) if f"{name}/{rho:g}/f/{m}" in r]
    phis = [phi for phi in ("g1", "f") if f"{name}/{rho:g}/{phi}" in r]
    errors = {m: {phi: unpacked(r[f"{name}/{rho:g}/{phi}/{m}"], n) for phi in phis} for m in models}
    algorithm = {phi: unpacked(r[f"{name}/{rho:g}/{phi}"], n) for phi in phis}
    return Comparison(r[f"{name}/t"], algorithm, errors, r[f"{name}/{rho:g}/lost"])
