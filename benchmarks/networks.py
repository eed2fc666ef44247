"""Cost of a step against d: radii as rows of one batch beside one radius at a time, four widths of a network on Iris.

    python benchmarks/networks.py [--device cuda]

Prints a table; ratios of one run may be compared, times on another machine differ.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch

import sdesam as ss
from sdesam.dynamics.variants import variants
from sdesam.problems.datasets import iris_linear_network
from sdesam.weak.models import partial_sde

RHOS = (0.01, 0.03, 0.1, 0.3)
REPLICATES = 32
ROUNDS = 5


def kernels(hidden: int):
    """USAM's SDE at four radii, as rows and one by one, and SGD's optimizer as the unit."""
    f = iris_linear_network(hidden)
    g, eta = ss.GaussianOracle(f, 0.01), 0.01

    def fine(rho):
        return ss.small_noise_srk(partial_sde(ss.usam, g, eta, rho, 1.0), eta / 2)

    return f.dim, variants(fine, [(rho,) for rho in RHOS]), [fine(rho) for rho in RHOS], ss.optimizer(ss.sgd, g, eta)


def seconds(work, device: torch.device) -> float:
    """Of the fastest of a few calls, the first of which is not counted."""
    best = float("inf")
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    print(f"{'d':>6} {'SGD step, ms':>13} {'SRK step, 4 radii':>18} {'rows of one batch':>18} {'gain':>6}")
    for hidden in (2, 8, 32, 128):
        d, rows, single, sgd = kernels(hidden)
        x, z = (torch.randn(REPLICATES, d, dtype=torch.float64, device=device) for _ in range(2))
        batch = rows.init(x)
        unit = seconds(partial(sgd.step, x, z), device)
        one_by_one = seconds(lambda x=x, z=z, single=single: [k.step(x, z) for k in single], device)
        together = seconds(partial(rows.step, batch, z), device)
        apart, rows_ratio = one_by_one / unit, together / unit
        print(f"{d:>6} {unit * 1e3:>13.2f} {apart:>18.1f} {rows_ratio:>18.1f} {apart / rows_ratio:>6.2f}")


if __name__ == "__main__":
    main()
