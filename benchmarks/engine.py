"""CPU time per path-step of both engines beside other libraries, in one run; rewrites README.md and engine.png.

    python benchmarks/engine.py [--smoke] [--limits]

One thread on one core, the same steps and the same dtype for all, each at its best n, which is found first.  Every
peer's law is checked before its time is taken.  Rounds are interleaved and ratios taken within a round, so that a busy
machine slows all of them alike; times are those of the process, not of the clock.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hand_written
import jax_peers
import matplotlib.pyplot as plt
import numpy as np
import peers
import torch

import sdesam as ss
from sdesam.dynamics.torchsde_bridge import to_torchsde
from sdesam.engine.choice import description
from sdesam.problems.datasets import tanh_network_data
from sdesam.theory import monzio_compagnoni2023 as mc23

ETA, RHO, SIGMA = peers.ETA, peers.RHO, peers.SIGMA
HERE = Path(__file__).parent
TANH = ss.GaussianOracle(ss.TanhNetwork(), SIGMA)
STEPS = 64
LADDER = [2**10, 2**12, 2**14, 2**16, 2**18, 2**20]  # whole units of 1,024 replicates: no padding
MOST = 0.8  # seconds: a larger n whose paths should take more is not tried
ROUNDS = 5
OURS = ("fused", "fused, every step", "eager")
PEERS = ("torch", "torch.compile", "numpy", "JAX scan", "diffrax", "torchsde", "torchsde, our adapter")
Job = Callable[[], object]
JobAt = Callable[[int], Job | None]


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
def simulated(kernel: ss.Kernel, d: int, watched: dict, real: str, engine: str, every: int, n: int) -> Job:
    """A whole call of ``simulate``, as a user makes it: what it prepares anew each time is in."""
    x0 = torch.ones(d, dtype=getattr(torch, real))
    run = partial(ss.simulate, kernel, x0, observables=watched, steps=STEPS, engine=engine)
    return lambda: run(n=n, save_every=every)


def contenders(name: str, real: str) -> dict[str, JobAt]:
    """What makes a job for n paths, for each column; a library that is not installed makes None."""
    kernel, d, watched = kernels()[name]
    found: dict[str, JobAt] = {
        "fused": partial(simulated, kernel, d, watched, real, "fused", STEPS),
        "fused, every step": partial(simulated, kernel, d, watched, real, "fused", 1),
        "eager": partial(simulated, kernel, d, watched, real, "eager", STEPS),
    }
    problem = name.split(" d=")[0]
    if problem not in peers.STEPS:
        return found
    makers = {"torch": peers.by_torch, "numpy": peers.by_numpy, "JAX scan": jax_peers.by_scan}
    if COMPILES:
        makers["torch.compile"] = partial(peers.by_torch, compiled=True)
    if problem in ("A", "C DNSAM SDE"):
        adapter = partial(peers.by_torchsde, sde=to_torchsde(kernel.sde))  # pyright: ignore
        makers |= {"diffrax": jax_peers.by_diffrax, "torchsde": peers.by_torchsde, "torchsde, our adapter": adapter}
    return found | {c: lambda n, make=make: make(problem, d, real, n, STEPS) for c, make in makers.items()}


def compiler_works() -> bool:
    """Whether torch.compile finds what it needs: a C++ compiler."""
    try:
        peers.by_torch("A", 2, "float32", 64, 1, compiled=True)()
    except Exception as error:
        print(f"torch.compile does not work here: {type(error).__name__}", flush=True)
        return False
    return True


COMPILES = False  # asked once, in main


# ----------------------------------------------------------------- measuring
@dataclass(frozen=True)
class Timing:
    """Nanoseconds of CPU time a path-step in each round, at the n where they were fewest."""

    n: int
    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Half of what lies between the fastest round and the slowest."""
        return (max(self.rounds) - min(self.rounds)) / 2


def cpu_seconds(job: Job) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def at_best_n(make: JobAt, ladder: list[int], check: Callable[[object], None]) -> tuple[int, Job] | None:
    """The n with the shortest time a path: larger ones are tried until they would take long, or no longer pay."""
    best, rate, before = None, float("inf"), 0.0
    for n in ladder:
        job = make(n)
        if job is None:
            return None
        check(job())  # compiles, and warms up
        seconds = cpu_seconds(job)
        if seconds / n < rate:
            best, rate = (n, job), seconds / n
        growing = 4 * (seconds - before) if before else 0.0  # of the next one; what every n costs is no reason to stop
        if seconds / n > 1.3 * rate or growing > MOST:
            break
        before = seconds
    return best


def law_of(name: str) -> tuple[float, float, tuple[float, float]]:
    """Mean and variance of x[0] after the steps, and their standard errors.

    Euler's exact ones for A and B; for C those of the fused engine on 2^17 paths (its steps have closed-form tests).
    """
    if name[0] in "AB":
        return *peers.exact_moments(STEPS), (0.0, 0.0)
    kernel, d, watched = kernels()[name]
    n, watched = 2**17, watched | {"x[0]^2": lambda x: x[..., 0] ** 2}
    run = simulated(kernel, d, watched, "float64", "fused", STEPS, n)()
    mean, second = (float(run.estimate(w).value[-1]) for w in watched)  # pyright: ignore
    variance = second - mean**2
    return mean, variance, ((variance / n) ** 0.5, variance * (2 / n) ** 0.5)


def row_of(name: str, real: str, smoke: bool) -> dict[str, Timing]:
    makers, jobs = contenders(name, real), {}
    law = law_of(name) if "numpy" in makers else None
    for c, make in makers.items():

        def check(x: object, who: str = f"{c}, {name}, {real}", compared: bool = c in PEERS) -> None:
            if compared and law and len(x) == 2**12:  # pyright: ignore
                peers.require_moments(who, x, *law)  # pyright: ignore

        ladder = LADDER[:2] if smoke else LADDER
        if (found := at_best_n(make, ladder, check)) is not None:
            jobs[c] = found
    times: dict[str, list[float]] = {c: [] for c in jobs}
    for _ in range(2 if smoke else ROUNDS):
        for c, (n, job) in jobs.items():
            times[c].append(cpu_seconds(job) / (n * STEPS) * 1e9)
    return {c: Timing(n, times[c]) for c, (n, _) in jobs.items()}


def first_calls(name: str, real: str) -> tuple[float, float]:
    """Seconds of the first two ``simulate`` of a kernel at n = 1,024: the first traces, checks and compiles it."""
    kernel, d, watched = kernels()[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDESAM_CACHE"] = folder
        job = simulated(kernel, d, watched, real, "fused", STEPS, 1024)
        return cpu_seconds(job), cpu_seconds(job)


def scaling(smoke: bool) -> dict[str, list[tuple[int, float]]]:
    """Seconds of CPU time of ``simulate`` against n at 64 steps, and against steps at n = 10,000."""
    kernel, d, watched = kernels()["C SAM"]
    found: dict[str, list[tuple[int, float]]] = {"fused, n": [], "eager, n": [], "fused, steps": [], "eager, steps": []}
    x0 = torch.ones(d, dtype=torch.float64)
    for engine, most in (("fused", 10**4 if smoke else 10**7), ("eager", 10**4 if smoke else 10**5)):
        for what in ("n", "steps"):
            for size in [10**k for k in range(3 if what == "n" else 1, 8) if 10**k <= (most if what == "n" else 1000)]:
                n, steps = (size, STEPS) if what == "n" else (10_000, size)
                run = partial(ss.simulate, kernel, x0, observables=watched, n=n, steps=steps, engine=engine)
                found[f"{engine}, {what}"].append((size, cpu_seconds(partial(run, save_every=steps))))
    return found


# ----------------------------------------------------------------- the limit, and what a call costs
def beside_the_limit(smoke: bool) -> dict[str, list[float]]:
    """CPU time of ``simulate(engine="fused")`` in units of the loop written by hand, round by round.

    Both make 1e8 path-steps, in calls of the fused engine's best n; their final points are compared first.
    """
    found = {}
    for real in ("float32",) if smoke else ("float32", "float64"):
        for name in hand_written.PROBLEMS:
            kernel, d, watched = kernels()[name]
            hand_written.require_same(name, kernel, real)
            n = 2**16 if smoke else 2**20 + 2**19  # times 64 steps: 1e8
            ours = simulated(kernel, d, watched, real, "fused", STEPS, n)
            loops = [hand_written.by_hand(name, real, n, STEPS, together) for together in (1, 2)]
            ours()
            best = min(loops, key=lambda job: (job(), cpu_seconds(job))[1])
            ratios = []
            for _ in range(2 if smoke else ROUNDS):
                limit = cpu_seconds(best)
                ratios.append(cpu_seconds(ours) / limit)
            found[f"{name} {real}"] = ratios
            print(f"{name} {real}: {statistics.median(ratios):.2f} of a loop by hand", flush=True)
    return found


def calls(smoke: bool) -> dict[str, list[float]]:
    """Milliseconds of warm calls on C SAM, float64: n = 1 and one step, n = 1,000 and 100 steps; and torch by hand."""
    _, d, watched = kernels()["C SAM"]
    x0 = torch.ones(d, dtype=torch.float64)
    rates = iter(np.linspace(ETA, 2 * ETA, 10**4))

    def ours(n: int, steps: int, anew: bool = False) -> Job:
        def job() -> object:
            kernel = ss.optimizer(partial(ss.sam, rho=RHO), TANH, next(rates) if anew else ETA)
            run = partial(ss.simulate, kernel, x0, observables=watched, engine="fused", n=n, steps=steps)
            return run(save_every=steps)

        return job

    jobs = {
        "one replicate, one step": ours(1, 1),
        "the same with another eta each time": ours(1, 1, anew=True),
        "1,000 replicates, 100 steps": ours(1000, 100),
        "1,000 replicates, 100 steps, another eta": ours(1000, 100, anew=True),
        "1,000 replicates, 100 steps, torch by hand": peers.by_torch("C SAM", d, "float64", 1000, 100),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(3 if smoke else 20):
        for name, job in jobs.items():
            found[name].append(1e3 * cpu_seconds(job))
    return found


def busy() -> str:
    """A sentence where other work is under way on this machine, nothing where it is quiet."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"BUSY: the load was {load:.1f} before this began; measure on a quiet machine." if load > 0.7 else ""


# ----------------------------------------------------------------- tables and figure
def vectors() -> str:
    """The instruction set that the engine compiles for, as ``sdesam info`` says it: "256-bit"."""
    found = re.search(r"(\d+-bit) vectors", description()["code"])
    return found[1] if found else "unknown"


def columns_in(rows: dict[str, dict[str, Timing]], wanted: tuple[str, ...]) -> list[str]:
    return [c for c in wanted if any(c in row for row in rows.values())]


def ratio_of(row: dict[str, Timing], column: str) -> tuple[float, float, float]:
    """Median, least and largest ratio of a column to the fused engine, round by round."""
    ratios = [a / b for a, b in zip(row[column].rounds, row["fused"].rounds, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(head: list[str], rows: dict[str, list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]


def spread_of(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def text_of_limits(limits: dict[str, list[float]], times: dict[str, list[float]]) -> list[str]:
    what = "1,000 replicates, 100 steps"
    ours, anew, hand = (statistics.median(times[f"{what}{more}"]) for more in ("", ", another eta", ", torch by hand"))
    return [
        "",
        "CPU time of `simulate` in units of a loop written by hand (`hand_written.py`), 1e8 path-steps: the median of",
        "the rounds, the least and the largest.",
        "",
        *table(["problem", "fused / by hand"], {name: [spread_of(ratios)] for name, ratios in limits.items()}),
        "",
        "Milliseconds of CPU time of a warm call, C SAM, float64: the median, the least and the largest.",
        "",
        *table(["call", "ms"], {name: [spread_of(v, 1)] for name, v in times.items()}),
        "",
        f"A small run takes {ours / hand:.2f} of its time in torch by hand, with another eta {anew / hand:.2f}.",
    ]


def text_of(rows: dict[str, dict[str, Timing]], first: dict[str, tuple[float, float]], lines: dict) -> list[str]:
    ours, theirs = columns_in(rows, OURS), columns_in(rows, PEERS)
    compared = {name: row for name, row in rows.items() if any(c in row for c in theirs)}

    def cells(row: dict[str, Timing], wanted: list[str], cell: Callable[[str], str]) -> list[str]:
        return [cell(c) if c in row else "" for c in wanted]

    def ratio(row: dict[str, Timing], c: str) -> str:
        median, low, high = ratio_of(row, c)
        return f"{median:.2g} ({low:.2g} to {high:.2g})"

    code, torch_code = description()["code"], torch.backends.cpu.get_cpu_capability()
    text = [
        f"{code}; torch: {torch_code}.",
        "",
        f'How many times the CPU time of `simulate(engine="fused")`, on {vectors()} vectors: the median of',
        "the rounds, the least and the largest.",
        "",
        *table(
            ["problem", "vectors", *theirs],
            {name: [vectors(), *cells(row, theirs, partial(ratio, row))] for name, row in compared.items()},
        ),
        *[f"\n{c}: not installed." for c in PEERS if c not in theirs],
        "",
        "Nanoseconds of CPU time a path-step: the median, and half of what lies between the fastest round and the",
        "slowest; seconds of the first call of `simulate` at n = 1,024, which traces and compiles, and of the next.",
        "",
        *table(
            ["problem", "vectors", *ours, *theirs, "first call, s", "next, s"],
            {
                name: [
                    vectors(),
                    *cells(
                        row, [*ours, *theirs], lambda c, row=row: f"{_round(row[c].median)} ± {_round(row[c].spread)}"
                    ),
                    *[f"{seconds:.2g}" for seconds in first[name]],
                ]
                for name, row in rows.items()
            },
        ),
        "",
        "The n at which each takes the shortest time a path, which is where it was timed:",
        "",
        *table(
            ["problem", *ours, *theirs],
            {name: cells(row, [*ours, *theirs], lambda c, row=row: _power(row[c].n)) for name, row in rows.items()},
        ),
    ]
    text += ["", f"Seconds of `simulate` on C SAM, float64, tracing included, {vectors()} vectors:", ""]
    return text + [f"* {w}: " + ", ".join(f"{size:,}: {t:.2g}" for size, t in points) for w, points in lines.items()]


def _round(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 1 else f"{x:.2f}"


def _power(n: int) -> str:
    return f"2^{n.bit_length() - 1}"


def draw(rows: dict[str, dict[str, Timing]], lines: dict[str, list[tuple[int, float]]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    chosen = [name for name, row in rows.items() if name.endswith("float32") and any(c in row for c in PEERS)]
    colours = ["#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#D55E00", "#E69F00", "#999999"]
    for c, colour in zip(PEERS, colours, strict=True):
        at = [i for i, name in enumerate(chosen) if c in rows[name]]
        found = np.array([ratio_of(rows[chosen[i]], c) for i in at]).reshape(-1, 3)
        if len(at):
            error = (found[:, 0] - found[:, 1], found[:, 2] - found[:, 0])
            left.errorbar(found[:, 0], at, xerr=error, fmt="o", color=colour, markersize=4, label=c)
    left.axvline(1, color="#000000", linewidth=0.8)
    left.set(xscale="log", xlabel="CPU time in units of the fused engine's, bars: all rounds")
    left.set_title(f"one thread, float32, {vectors()} vectors, each at its best n", fontsize=9)
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
    right.set_title(f"C SAM, float64, {vectors()} vectors", fontsize=9)
    right.grid(alpha=0.3)
    right.legend(fontsize=7)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def written_into(readme: str, text: list[str], what: str = "measured") -> str:
    """README.md with what stands between its marks replaced."""
    before, rest = readme.split(f"<!-- {what} -->\n")
    after = rest.split(f"<!-- end {what} -->")[1]
    return before + f"<!-- {what} -->\n" + "\n".join(text) + f"\n<!-- end {what} -->" + after


def one_core() -> None:
    """Whatever a library starts, it shares one core; the last one, since others often begin at the first."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few problems, one n, written to a temporary folder")
    parser.add_argument("--limits", action="store_true", help="only beside a loop by hand, and what a call costs")
    arguments = parser.parse_args()
    smoke = arguments.smoke
    warning = busy()
    print(warning or "the machine is quiet", flush=True)
    one_core()
    folder = Path(tempfile.mkdtemp(prefix="sdesam-bench-")) if smoke else HERE
    readme = (HERE / "README.md").read_text("utf-8")
    head = [f"{description()['code']}. {warning}".rstrip()]
    limits = [*head, *text_of_limits(beside_the_limit(smoke), calls(smoke))]
    readme = written_into(readme, limits, "limits")
    print("\n".join(limits))
    if not arguments.limits:
        readme = written_into(readme, [*([warning, ""] if warning else []), *beside_others(smoke, folder)])
    (folder / "README.md").write_text(readme, "utf-8")
    print(f"written: {folder / 'README.md'}")


def beside_others(smoke: bool, folder: Path) -> list[str]:
    global COMPILES
    COMPILES = compiler_works()
    names = ["A d=2", "B d=2", "C SAM", "C DNSAM SDE", "SAM, 2 of 6 data"] if smoke else list(kernels())
    rows, first = {}, {}
    for real in ("float32",) if smoke else ("float32", "float64"):
        for name in names:
            first[f"{name} {real}"] = first_calls(name, real)
            with tempfile.TemporaryDirectory() as cache:
                os.environ["SDESAM_CACHE"] = cache
                rows[f"{name} {real}"] = row = row_of(name, real, smoke)
            print(
                f"{name} {real}: " + ", ".join(f"{c} {t.median:.3g} at {_power(t.n)}" for c, t in row.items()),
                flush=True,
            )
    lines = scaling(smoke)
    text = text_of(rows, first, lines)
    print("\n".join(text))
    draw(rows, lines, folder / "engine.png")
    return text


if __name__ == "__main__":
    main()
