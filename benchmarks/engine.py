"""CPU time per path-step of the fused engine beside numpy, torch, torchsde and the eager engine, in one run.

    python benchmarks/engine.py [--quick]

A: the SDE of USAM on a diagonal quadratic, Euler.  B: USAM on it.  C: SAM on the tanh network.  One thread, one saved
step at the end unless said otherwise.  Rounds are interleaved and medians reported, so that a busy machine slows all
of them alike; times are those of the process, not of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import torch
import torchsde

import sdesam as ss
from sdesam.engine.cpu import Fused, fused_moments
from sdesam.engine.models import model_of
from sdesam.engine.native import compiled
from sdesam.engine.printer import module_of
from sdesam.interop.torchsde import to_torchsde
from sdesam.theory import monzio_compagnoni2023 as mc23

ETA, RHO, SIGMA = 0.05, 0.1, 0.3
X = {"x[0]": ss.coordinate(0)}
TANH = ss.GaussianOracle(ss.TanhNetwork(), SIGMA)


def curvatures(d: int) -> torch.Tensor:
    return torch.linspace(1, 3, d, dtype=torch.float64)


def quadratic(d: int) -> ss.GaussianOracle:
    return ss.GaussianOracle(ss.Quadratic(torch.diag(curvatures(d))), SIGMA)


def kernels() -> dict[str, tuple[object, int]]:
    sam = ss.optimizer(partial(ss.sam, rho=RHO), TANH, ETA)
    found: dict[str, tuple[object, int]] = {}
    for d in (2, 10):
        sde = mc23.usam_sde(quadratic(d), eta=ETA, rho=RHO)
        found[f"A d={d}"] = ss.euler_maruyama(sde, ETA), d
        found[f"B d={d}"] = ss.optimizer(partial(ss.usam, rho=RHO), quadratic(d), ETA), d
    found["C SAM"] = sam, 2
    found["C DNSAM SDE"] = ss.euler_maruyama(mc23.dnsam_sde(TANH, eta=ETA, rho=RHO), ETA), 2
    return found


# ----------------------------------------------------------------- the contenders: a job and its path-steps
def fused(kernel: ss.Kernel, d: int, dtype: torch.dtype, n: int, steps: int, every: int) -> Callable[[], None]:
    x0 = torch.ones(d, dtype=dtype)
    found = Fused.of(model_of(kernel, x0, X, {}), dtype)
    saved = np.arange(0, steps + 1, every)
    return lambda: fused_moments(found, x0, nowhere, range(n), names=("x[0]",), saved=saved, dt=1.0, seed=0, threads=1)


def nowhere(first: int, rows: int, streams: object) -> torch.Tensor:
    raise AssertionError("all replicates start at x0")


def eager(kernel: ss.Kernel, d: int, dtype: torch.dtype, n: int, steps: int) -> Callable[[], None]:
    x0 = torch.ones(d, dtype=dtype)
    return lambda: ss.simulate(kernel, x0, steps=steps, save_every=steps, observables=X, n=n, engine="eager")


def by_hand(name: str, d: int, dtype: torch.dtype, n: int, steps: int, library: object) -> Callable[[], None]:
    """The update written out, on the whole ensemble, with the library's own normals."""
    real = np.float32 if dtype == torch.float32 else np.float64
    generator = np.random.default_rng(0)
    if library is np:
        normal, tanh = partial(generator.standard_normal, (n, d), real), np.tanh
        H, root = curvatures(d).numpy().astype(real), np.sqrt
        ones = np.ones((n, d), real)
    else:
        normal, tanh, root = partial(torch.randn, n, d, dtype=dtype), torch.tanh, torch.sqrt
        H, ones = curvatures(d).to(dtype), torch.ones(n, d, dtype=dtype)
    step = {"A": _sde_step, "B": _usam_step, "C": _sam_step}[name[0]]

    def job() -> None:
        x = ones
        for _ in range(steps):
            x = step(x, normal(), H, tanh, root)
        x[:, 0].mean()

    return job


def _sde_step(x, z, H, tanh, root):
    a = 1 + RHO * H
    return x - ETA * (a * H * x) - (ETA * SIGMA) * (a * z)


def _usam_step(x, z, H, tanh, root):
    n = SIGMA * z
    return x - ETA * (H * (x + RHO * (H * x + n)) + n)


def _sam_step(x, z, H, tanh, root):
    n = SIGMA * z
    a, b = _tanh_gradient(x[:, 0], x[:, 1], tanh)
    a, b = a + n[:, 0], b + n[:, 1]
    scale = RHO / root(a * a + b * b)
    c, e = _tanh_gradient(x[:, 0] + scale * a, x[:, 1] + scale * b, tanh)
    out = x - ETA * n
    out[:, 0] -= ETA * c
    out[:, 1] -= ETA * e
    return out


def _tanh_gradient(u, v, tanh):
    t = tanh(u)
    w = tanh(v * t)
    s = w * (1 - w * w)
    return s * v * (1 - t * t), s * t


def theirs(sde: object, d: int, dtype: torch.dtype, n: int, steps: int) -> Callable[[], None]:
    times = torch.tensor([0.0, steps * ETA], dtype=dtype)

    def job() -> None:
        bm = torchsde.BrownianInterval(0.0, steps * ETA, size=(n, d), dtype=dtype, entropy=0)
        torchsde.sdeint(to_torchsde(sde), torch.ones(n, d, dtype=dtype), times, bm=bm, method="euler", dt=ETA)

    return job


# ----------------------------------------------------------------- one table
def cpu_seconds(job: Callable[[], None]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def contenders(name: str, dtype: torch.dtype, quick: bool) -> dict[str, tuple[Callable[[], None], int]]:
    kernel, d = kernels()[name]
    n, few, steps = (2**14, 2**12, 20) if quick else (2**17, 2**14, 100)
    jobs = {
        "fused": (fused(kernel, d, dtype, n, steps, steps), n * steps),
        "fused, every step": (fused(kernel, d, dtype, n, steps, 1), n * steps),
        "eager": (eager(kernel, d, dtype, few, 10), few * 10),
    }
    if name != "C DNSAM SDE":
        jobs["torch"] = by_hand(name, d, dtype, few, 20, torch), few * 20
        jobs["numpy"] = by_hand(name, d, dtype, few, 20, np), few * 20
    if hasattr(kernel, "sde"):
        jobs["torchsde"] = theirs(kernel.sde, d, dtype, few, 10), few * 10
    return jobs


def compile_seconds(kernel: ss.Kernel, d: int, dtype: torch.dtype) -> tuple[float, float]:
    """Tracing, and printing with compiling into an empty cache."""
    began = time.perf_counter()
    model = model_of(kernel, torch.ones(d, dtype=dtype), X, {})
    traced = time.perf_counter()
    bits = 64 if dtype == torch.float64 else 32
    with tempfile.TemporaryDirectory() as folder:
        compiled(("benchmark", name_of(dtype)), lambda: module_of(model, bits), Path(folder))
    return traced - began, time.perf_counter() - traced


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small ensembles: does it run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    instructions = "AVX-512" if llvm.get_host_cpu_features().get("avx512f") else "no AVX-512"
    print(f"ns of CPU time per path-step, one thread, medians; {llvm.get_host_cpu_name()}, {instructions}\n")
    columns = ["fused", "fused, every step", "eager", "torch", "numpy", "torchsde"]
    print("| problem | " + " | ".join(columns) + " | trace s | compile s |")
    print("|---" * (len(columns) + 3) + "|")
    for dtype in (torch.float32, torch.float64):
        for name, (kernel, d) in kernels().items():
            traced, built = compile_seconds(kernel, d, dtype)
            jobs = contenders(name, dtype, quick)
            times: dict[str, list[float]] = {c: [] for c in jobs}
            for _ in range(2 if quick else 6):  # the first round warms up
                for c, (job, work) in jobs.items():
                    times[c].append(cpu_seconds(job) / work * 1e9)
            cells = [f"{statistics.median(times[c][1:]):.3g}" if c in times else "" for c in columns]
            print(f"| {name} {name_of(dtype)} | " + " | ".join(cells) + f" | {traced:.2f} | {built:.2f} |", flush=True)


if __name__ == "__main__":
    main()
