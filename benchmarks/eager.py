"""Time per path-step of the eager engine beside torchsde and plain torch, measured in one run and given as ratios.

    python benchmarks/eager.py

USAM's SDE on a diagonal quadratic, d = 2, Euler-Maruyama, float64, one thread.  Rounds are interleaved and
medians reported, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torchsde

import sdesam as ss
from sdesam.interop.torchsde import to_torchsde
from sdesam.theory import monzio_compagnoni2023 as mc23

N, STEPS, H, ETA, RHO, ROUNDS = 20_000, 50, 0.01, 0.05, 0.1, 5


def ours() -> None:
    ss.simulate(KERNEL, [1.0, 1.0], steps=STEPS, save_every=STEPS, observables={"f": F}, n=N)


def theirs() -> None:
    times = torch.tensor([0.0, STEPS * H], dtype=torch.float64)
    bm = torchsde.BrownianInterval(0.0, STEPS * H, size=(N, 2), dtype=torch.float64, entropy=0)
    start = torch.ones(N, 2, dtype=torch.float64)
    torchsde.sdeint(to_torchsde(SDE), start, times, bm=bm, method="euler", dt=H)


def bare() -> None:
    """The same arithmetic by hand, torch's own normals, no statistics: what eager torch can do."""
    x = torch.ones(N, 2, dtype=torch.float64)
    a = 1 + RHO * EIGENVALUES
    for _ in range(STEPS):
        x = x - H * EIGENVALUES * a * x - (H * ETA) ** 0.5 * 0.3 * a * torch.randn_like(x)


EIGENVALUES = torch.tensor([1.0, 3.0], dtype=torch.float64)
F = ss.Quadratic(torch.diag(EIGENVALUES))
SDE = mc23.usam_sde(ss.GaussianOracle(F, 0.3), eta=ETA, rho=RHO)
KERNEL = ss.euler_maruyama(SDE, H)


def seconds(job: Callable[[], None]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def main() -> None:
    torch.set_num_threads(1)
    jobs = {"sdesam eager": ours, "torchsde": theirs, "torch by hand": bare}
    for job in jobs.values():
        job()
    times = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    base = statistics.median(times["sdesam eager"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<14} {1e9 * median / (N * STEPS):8.1f} ns per path-step   {median / base:6.2f} x sdesam eager")


if __name__ == "__main__":
    main()
