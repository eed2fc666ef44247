"""CPU time per path-step of both engines beside other libraries, in one run; rewrites README.md's table and engine.png.

    python benchmarks/engine.py [--quick]

One thread.  Rounds are interleaved and medians reported, so that a busy machine slows all of them alike; times are
those of the process, not of the clock.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import llvmlite.binding as llvm
import matplotlib.pyplot as plt
import numpy as np
import peers
import torch

import sdesam as ss
from sdesam.datasets import tanh_network_data
from sdesam.engine.compilation import Fused
from sdesam.engine.cpu import fused_moments
from sdesam.engine.eager import UNIT
from sdesam.engine.native import compiled
from sdesam.engine.printer import module_of
from sdesam.engine.traced_models import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23

ETA, RHO, SIGMA = peers.ETA, peers.RHO, peers.SIGMA
HERE = Path(__file__).parent
TANH = ss.GaussianOracle(ss.TanhNetwork(), SIGMA)
COLUMNS = ("fused", "fused, every step", "eager", "torch", "numpy", "JAX scan", "diffrax", "torchsde")
Job = Callable[[], object]


def kernels() -> dict[str, tuple[ss.Kernel, int, dict]]:
    """The problems: kernel, dimension, what is watched."""
    watched = {"x[0]": ss.coordinate(0)}
    sam = partial(ss.sam, rho=RHO)
    found: dict[str, tuple[ss.Kernel, int, dict]] = {}
    for d in (2, 10, 20):
        g = ss.GaussianOracle(ss.Quadratic(torch.diag(torch.from_numpy(peers.curvatures(d)))), SIGMA)
        found[f"A d={d}"] = ss.euler_maruyama(mc23.usam_sde(g, eta=ETA, rho=RHO), ETA), d, watched
        found[f"B d={d}"] = ss.optimizer(partial(ss.usam, rho=RHO), g, ETA), d, watched
    optimizer = ss.optimizer(sam, TANH, ETA)
    fine = ss.subcycle(ss.small_noise_srk(mc23.sam_factored_sde(TANH, eta=ETA, rho=RHO), ETA / 2), 2)
    data = ss.MinibatchOracle(six(), 2)
    found["C SAM"] = optimizer, 2, watched
    found["C DNSAM SDE"] = ss.euler_maruyama(mc23.dnsam_sde(TANH, eta=ETA, rho=RHO), ETA), 2, watched
    found["SAM with its SDE, r = 2"] = ss.coupled(optimizer, fine), 2, {"gap": ss.difference(ss.TanhNetwork())}
    found["SAM, 2 of 6 data"] = ss.optimizer(sam, data, ETA), 2, watched
    saddle = ss.EmbeddedSaddle(tuple(np.linspace(-1, 1, 100)), lam=0.1)
    found["SAM, embedded saddle d=100"] = ss.optimizer(sam, ss.GaussianOracle(saddle, SIGMA), ETA), 100, watched
    return found


def six() -> ss.FiniteSum:
    inputs, targets = torch.linspace(-1.5, 2, 6, dtype=torch.float64), torch.linspace(-0.5, 0.8, 6, dtype=torch.float64)
    return tanh_network_data(inputs, targets)


# ----------------------------------------------------------------- jobs
def fused(kernel: ss.Kernel, d: int, watched: dict, real: str, n: int, steps: int, every: int) -> Job:
    dtype = getattr(torch, real)
    x0 = torch.ones(d, dtype=dtype)
    found = Fused.of(model_of(kernel, x0, watched, {}), dtype)
    saved = np.arange(0, steps + 1, every)
    names = tuple(watched)
    return lambda: fused_moments(found, x0, nowhere, range(n), names=names, saved=saved, dt=1.0, seed=0, threads=1)


def nowhere(first: int, rows: int, streams: object) -> torch.Tensor:
    raise AssertionError("all replicates start at x0")


def eager(kernel: ss.Kernel, d: int, watched: dict, real: str, n: int, steps: int) -> Job:
    x0 = torch.ones(d, dtype=getattr(torch, real))
    return lambda: ss.simulate(kernel, x0, steps=steps, save_every=steps, observables=watched, n=n, engine="eager")


def contenders(name: str, real: str, quick: bool) -> dict[str, tuple[Job, int]]:
    """A job and its path-steps for each column; a library that is not installed has none."""
    kernel, d, watched = kernels()[name]
    n, few, steps = (2**12, 2**10, 10) if quick else (max(1, 2**8 // d) * UNIT, 2**14, 64)  # whole units: no padding
    jobs: dict[str, tuple[Job | None, int]] = {
        "fused": (fused(kernel, d, watched, real, n, steps, steps), n * steps),
        "fused, every step": (fused(kernel, d, watched, real, n, steps, 1), n * steps),
        "eager": (eager(kernel, d, watched, real, few, 10), few * 10),
    }
    problem = name.split(" d=")[0]
    if problem in ("A", "B", "C SAM"):
        jobs["torch"] = peers.by_hand(problem, d, real, few, 20, torch), few * 20
        jobs["numpy"] = peers.by_hand(problem, d, real, few, 20, np), few * 20
    if problem in ("A", "B", "C SAM", "C DNSAM SDE"):
        jobs["JAX scan"] = peers.scanned(problem, d, real, few, 20), few * 20
    if problem in ("A", "C DNSAM SDE"):
        jobs["diffrax"] = peers.by_diffrax(problem, d, real, few, 20), few * 20
        jobs["torchsde"] = peers.by_torchsde(kernel.sde, d, real, few, 10), few * 10  # pyright: ignore
    return {column: (job, work) for column, (job, work) in jobs.items() if job is not None}


# ----------------------------------------------------------------- measuring
def cpu_seconds(job: Job) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def row_of(name: str, real: str, quick: bool) -> dict[str, float]:
    """Nanoseconds a path-step in each column, seconds to trace and to compile."""
    kernel, d, watched = kernels()[name]
    began = time.process_time()
    model = model_of(kernel, torch.ones(d, dtype=getattr(torch, real)), watched, {})
    traced = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        compiled(("benchmark",), lambda: module_of(model, int(real[-2:])), Path(folder))
    row = {"trace s": traced - began, "compile s": time.process_time() - traced}
    jobs = contenders(name, real, quick)
    times: dict[str, list[float]] = {c: [] for c in jobs}
    for _ in range(2 if quick else 6):  # the first round warms up
        for c, (job, work) in jobs.items():
            times[c].append(cpu_seconds(job) / work * 1e9)
    return {c: statistics.median(t[1:]) for c, t in times.items()} | row


def scaling(quick: bool) -> dict[str, list[tuple[int, float]]]:
    """Seconds of CPU time against n at 64 steps, and against steps at n = 10,000: trace, compiled code and run."""
    kernel, d, watched = kernels()["C SAM"]
    found: dict[str, list[tuple[int, float]]] = {"fused, n": [], "eager, n": [], "fused, steps": [], "eager, steps": []}
    x0 = torch.ones(d, dtype=torch.float64)
    for engine, most in (("fused", 10**4 if quick else 10**7), ("eager", 10**4 if quick else 10**5)):
        for what in ("n", "steps"):
            for size in [10**k for k in range(3 if what == "n" else 1, 8) if 10**k <= (most if what == "n" else 1000)]:
                n, steps = (size, 64) if what == "n" else (10_000, size)
                run = partial(ss.simulate, kernel, x0, observables=watched, n=n, steps=steps, engine=engine)
                found[f"{engine}, {what}"].append((size, cpu_seconds(partial(run, save_every=steps))))
    return found


# ----------------------------------------------------------------- table and figure
def table_of(rows: dict[str, dict[str, float]]) -> list[str]:
    columns = [*COLUMNS, "trace s", "compile s"]
    here = [c for c in columns if any(c in row for row in rows.values())]
    missing = [c for c in columns if c not in here]
    head = ["| problem | " + " | ".join(here) + " |", "|---" * (len(here) + 1) + "|"]
    cells = [f"| {name} | " + " | ".join(_cell(row, c) for c in here) + " |" for name, row in rows.items()]
    return head + cells + [f"\n{c}: not installed." for c in missing]


def _cell(row: dict[str, float], column: str) -> str:
    return "" if column not in row else f"{row[column]:.2f}" if column.endswith(" s") else f"{row[column]:.3g}"


@plt.style.context({}, after_reset=True)  # matplotlib's own defaults, not those of somebody's matplotlibrc
def draw(rows: dict[str, dict[str, float]], lines: dict[str, list[tuple[int, float]]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    chosen = [name for name in rows if name.endswith("float32") and name.startswith(("A d=2 ", "B d=2 ", "C", "SAM"))]
    drawn = [c for c in COLUMNS if any(c in rows[name] for name in chosen)]
    colours = ["#D55E00", "#E69F00", "#000000", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#999999"]
    for c, colour in zip(drawn, colours, strict=False):
        at = [i for i, name in enumerate(chosen) if c in rows[name]]
        left.plot([rows[chosen[i]][c] for i in at], at, "o", color=colour, label=c)
    left.set(xscale="log", xlabel="CPU time a path-step (ns), one thread, float32")
    left.set_yticks(range(len(chosen)), [name.removesuffix(" float32") for name in chosen])
    left.invert_yaxis()
    left.grid(axis="x", alpha=0.3)
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=4)
    for name, points in lines.items():
        engine, what = name.split(", ")
        right.loglog(
            *zip(*points, strict=True), marker="o" if what == "n" else "s", linestyle="-" if what == "n" else "--",
            color="#D55E00" if engine == "fused" else "#000000", label=f"{engine}, against {what}",
        )  # fmt: skip
    right.set(xlabel="replicates n (64 steps), or steps (n = 10,000)", ylabel="CPU time of simulate (s)")
    right.grid(alpha=0.3)
    right.legend(fontsize=7)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small ensembles, nothing is written: does it run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rows = {}
    for real in ("float32", "float64"):
        for name in kernels():
            rows[f"{name} {real}"] = row = row_of(name, real, quick)
            print(f"{name} {real}: " + ", ".join(f"{c} {v:.3g}" for c, v in row.items()), flush=True)
    lines = scaling(quick)
    instructions = "AVX-512" if llvm.get_host_cpu_features().get("avx512f") else "no AVX-512"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = [
        f"{llvm.get_host_cpu_name()}, {instructions}; peak memory of the whole run {peak:.0f} MB.",
        "",
        *table_of(rows),
    ]
    text += ["", "Seconds of `simulate` on C SAM, float64, tracing included:", ""]
    text += [f"* {name}: " + ", ".join(f"{size:,}: {t:.2g}" for size, t in points) for name, points in lines.items()]
    print("\n".join(text))
    if not quick:
        before, rest = (HERE / "README.md").read_text().split("<!-- measured -->")[:2]
        after = rest.split("<!-- end -->")[1]
        (HERE / "README.md").write_text(before + "<!-- measured -->\n" + "\n".join(text) + "\n<!-- end -->" + after)
        draw(rows, lines, HERE / "engine.png")


if __name__ == "__main__":
    main()
