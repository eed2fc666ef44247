"""Cost and memory of one step of the minibatch SAM SDE on Breast Cancer, for three widths: O(N d) per replicate.

    python benchmarks/minibatch_sam.py

Each width runs in a process of its own, so that its peak memory is its own.  The ratios matter, not the times.
"""

from __future__ import annotations

import multiprocessing
import resource
import time

REPLICATES = 16
WIDTHS = (2, 4, 8)


def measure(hidden: int, queue: multiprocessing.Queue) -> None:
    """Seconds a replicate and step, and peak memory beyond that of one small step, for one width."""
    import torch

    import sdesam as ss
    from sdesam.problems.datasets import breast_cancer_network
    from sdesam.theory import monzio_compagnoni2023 as mc23

    torch.set_num_threads(1)
    f = breast_cancer_network(hidden)
    sde = mc23.sam_sde(ss.MinibatchOracle(f, 1), eta=0.05, rho=0.1)
    kernel = ss.euler_maruyama(sde, 0.05)
    x = torch.randn(REPLICATES, f.dim, dtype=torch.float64) / hidden**0.5
    z = torch.randn(REPLICATES, sde.noise_dim, dtype=torch.float64)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kernel.step(x, z)
    best = min(_timed(kernel, x, z) for _ in range(3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    queue.put((f.dim, f.N, best / REPLICATES, peak / 1024))


def _timed(kernel, x, z) -> float:
    began = time.perf_counter()
    kernel.step(x, z)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    context = multiprocessing.get_context("spawn")
    print(f"{'hidden':>6} {'d':>6} {'N d':>9} {'ms/replicate/step':>18} {'ns/(N d)':>9} {'peak MB':>8}")
    for hidden in WIDTHS:
        queue = context.Queue()
        process = context.Process(target=measure, args=(hidden, queue))
        process.start()
        d, N, seconds, megabytes = queue.get()
        process.join()
        print(f"{hidden:>6} {d:>6} {N * d:>9} {seconds * 1e3:>18.2f} {seconds / (N * d) * 1e9:>9.1f} {megabytes:>8.0f}")


if __name__ == "__main__":
    main()
