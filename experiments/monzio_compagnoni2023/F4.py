"""F4, loss curves of the optimizers and their SDEs on a quadratic and three networks, rho = sqrt(eta)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import sdesam as ss
from sdesam.claims.parts import Recall, chosen, packed, unpacked
from sdesam.claims.verdicts import Verdict, judge, trusted
from sdesam.plotting import COLOURS, estimate_line, new_figure
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.comparison import beside
from sdesam.weak.metrics import AGAIN, Comparison

from .validation.tasks import TASKS, start, task

ID = "F4"
TITLE = "Loss curves of four optimizers and their SDEs, ρ = √η"
MINUTES = 2.8
CAPTION = """
Top: mean loss of each optimizer (solid, markers) and of its SDE (dashed) on the four tasks under Gaussian gradient noise; bands: 95 %
pointwise (that of an SDE is the optimizer's and the difference's, added). Bottom: distance of each optimizer's mean loss from that of its
own SDE (solid) and of the SDE of SGD (dashed), on the same Brownian paths, relative to the loss; dotted grey: two runs of SAM on different
noise. Tasks and starts as in F1 to F3; η = ρ² = σ = 0.01 (η and σ recalled); the horizon and n are our choice.
"""
METHODS = mc23.UPDATES
MODELS = {"own": (1.0, 1.0), "SGD": (0.0, 1.0)}
LEVEL = 0.999


@dataclass(frozen=True)
class Config:
    eta: float = 0.01
    rho: float = 0.1
    sigma: float = 0.01
    steps: int = 150
    deep_steps: int = 60  # of the 20-layer student
    save_every: int = 10
    n: int = 32
    seed: int = 0
    problem_seed: int = 42
    device: str = field(default_factory=chosen)


SMOKE = Config(steps=4, deep_steps=2, save_every=1, n=4)


def run(c: Config, recall: Recall) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    for name in TASKS:
        for method in METHODS:
            out |= recall(losses, c, name, method)
    return out


def losses(c: Config, name: str, method: str) -> dict[str, np.ndarray]:
    f, x0 = task(name, c.problem_seed)
    steps = c.deep_steps if name == "teacher-student" else c.steps
    found = beside(
        METHODS[method], ss.GaussianOracle(f, c.sigma, dim=len(x0)), start(x0, c.device), eta=c.eta, rhos=[c.rho], steps=steps,
        observables={"f": f}, n=c.n, save_every=c.save_every, seed=c.seed, models=MODELS,
    )[c.rho]  # fmt: skip
    key = f"{name}/{method}"
    errors = {f"{key}/{model}": packed(e["f"]) for model, e in found.errors.items()}
    return {f"{name}/t": found.times, key: packed(found.algorithm["f"]), f"{key}/lost": found.lost, **errors}


def comparison(r: dict[str, np.ndarray], c: Config, name: str, method: str) -> Comparison:
    key = f"{name}/{method}"
    errors = {m: {"f": unpacked(r[f"{key}/{m}"], c.n)} for m in (*MODELS, AGAIN)}
    return Comparison(r[f"{name}/t"], {"f": unpacked(r[key], c.n)}, errors, r[f"{key}/lost"])


def figure(r: dict[str, np.ndarray], c: Config):
    fig, axes = new_figure(2, 4, height=4.0)
    for (top, bottom), name in zip(axes.T, TASKS, strict=True):
        for method in METHODS:
            x = comparison(r, c, name, method)
            f, own = x.algorithm["f"], x.errors["own"]["f"]
            sde = ss.Estimate(f.value - own.value, np.asarray(f.stderr) + own.stderr, c.n, "Monte Carlo")
            estimate_line(
                top, x.times, f, method=method, kind="algorithm", label=method, every=5, markersize=2.5, linewidth=1.0
            )
            estimate_line(top, x.times, sde, method=method, kind="SDE", label=None, linewidth=1.0)
            for model, kind in (("own", "algorithm"), ("SGD", "SDE")):
                if method != "SGD" or model == "own":
                    relative(bottom, x, x.errors[model]["f"], method=method, kind=kind, marker="", linewidth=1.0)
            if method == "SAM":
                relative(bottom, x, x.errors[AGAIN]["f"], method="", kind="theory", color="0.6", linewidth=1.0)
        bottom.set_ylim(min(abs(r[f"{name}/{m}/own"][0, -1]) / r[f"{name}/{m}"][0, -1] for m in METHODS) / 10, None)
        top.set(title=name)
        bottom.set(yscale="log", xlabel=r"time $t=k\eta$")
    axes[0, 0].set_ylabel(r"mean loss $E\,f$")
    axes[1, 0].set_ylabel(r"$|E f(x_k)-E f(X_{k\eta})|\,/\,E f(x_k)$", fontsize=7)
    axes[0, 0].legend(fontsize=6.5)
    axes[1, 0].plot([], [], color="0.4", label="own SDE")
    axes[1, 0].plot([], [], color="0.4", linestyle="--", label="SDE of SGD")
    axes[1, 0].legend(fontsize=6.5, loc="lower right")
    return fig


def relative(ax, x: Comparison, e: ss.Estimate, **style) -> None:
    """|error| over the loss, without step 0, where both are at the start."""
    scale = np.asarray(x.algorithm["f"].value)[1:]
    size = ss.Estimate(np.abs(np.asarray(e.value)[1:]) / scale, np.asarray(e.stderr)[1:] / scale, e.n, e.method)
    line = _line(**style)
    low, high = size.interval()
    ax.plot(x.times[1:], size.value, **line)
    ax.fill_between(x.times[1:], np.maximum(low, 1e-3 * size.value), high, color=line["color"], alpha=0.15, linewidth=0)


def _line(*, method: str, kind: str, **style) -> dict:
    dashes = {"algorithm": "-", "SDE": "--", "theory": ":"}[kind]
    return {"color": COLOURS.get(method), "linestyle": dashes, **style}


# ----------------------------------------------------------------- verdicts
RECORD: dict[str, str] = {}


def verdicts(r: dict[str, np.ndarray], c: Config) -> list[Verdict]:
    return [overlap(r, c, name) for name in TASKS]


def safe(x: Comparison) -> bool:
    return trusted(x.errors["own"]["f"][1:], x.errors["SGD"]["f"][1:]) and not x.lost.any()


def overlap(r: dict[str, np.ndarray], c: Config, name: str) -> Verdict:
    found = {m: comparison(r, c, name, m) for m in METHODS if m != "SGD"}
    claim = f"F4-{name.lower().replace(' ', '-')}"

    def holds(x: Comparison, model: str) -> bool | None:
        (_, low, high), (_, other_low, other_high) = (x.metric(m, "f", LEVEL) for m in (model, "SGD"))
        return True if high < other_low / 5 else False if low > other_high / 5 else None

    answers = {m: holds(x, "own") for m, x in found.items()}
    settling = "".join(
        f"; {m} open, {x.settling('own', 'SGD', 'f', LEVEL, 0.2)}"
        for m, x in found.items()
        if answers[m] is None or not safe(x)
    )
    sizes = {m: [x.metric(model, "f", LEVEL) for model in ("own", "SGD")] for m, x in found.items()}
    return Verdict(
        claim=claim,
        statement=f"{name}: the loss curves of USAM, DNSAM and SAM and of their SDEs overlap",
        source="Monzio Compagnoni et al. 2023, recalled (figure)",
        criterion="max_k |E f(x_k) − E f(X_kη)| under a fifth of that of SGD's SDE (which tells the methods apart), simultaneous "
        "99.9 % intervals, each method",
        paper_value="none given",
        observed="; ".join(f"{m}: own {own[0]:.1e} [{own[1]:.1e}, {own[2]:.1e}], SGD's {sgd[0]:.1e} of the mean loss" for m, (own, sgd) in sizes.items())
        + f" (n = {c.n})" + settling,
        rejects="the SDE of SGD as the own one",
        verdict=judge(
            list(answers.values()),
            [holds(x, "SGD") is not True and safe(x) for x in found.values()],
            given=False,
        ),
        expected=RECORD.get(claim, "qualitatively"),
    )  # fmt: skip
