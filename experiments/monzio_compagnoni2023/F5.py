"""F5, DNSAM against USAM as a proxy of SAM, where gradients dominate the noise and where noise dominates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

import sdesam as ss
from sdesam.claims.parts import Recall, chosen, packed, unpacked
from sdesam.claims.verdicts import Verdict, judge, trusted
from sdesam.plotting import COLOURS, new_figure
from sdesam.theory import model_of
from sdesam.theory.monzio_compagnoni2023.at_run_time import effective_rho
from sdesam.weak.metrics import gradient_and_radius, metric, settling
from sdesam.weak.planted import flipped

from .validation.tasks import start, task

ID = "F5"
TITLE = "Which SDE is the better proxy of SAM: DNSAM's or USAM's"
MINUTES = 1.0
CAPTION = """
Error of g₁ = |∇f| + |x| (largest over the steps, over its mean) of four SDEs as models of SAM, all on SAM's Brownian path, against the ratio
|∇f(x₀)|/(σ√d): USAM's at the same ρ, USAM's at the radius ρA_d/σ that SAM has where noise dominates, DNSAM's, and SAM's own; bars: 95 %,
simultaneous. What lies below the error of SAM's own SDE, of size η, ranks no proxies. Lower panels: the ratio along the run, with its range over the steps (grey). Left: the convex quadratic; right: the linear
network on Iris. η = 0.01 recalled; that the ratio decides is derived for this project; ρ, σ, starts, horizon and n are our choice.
"""
TASKS = ("quadratic", "Iris")
MODELS = ("SAM", "DNSAM", "USAM", "USAM, ρA/σ", "DNSAM, turned")
LEVEL = 0.999


@dataclass(frozen=True)
class Config:
    eta: float = 0.01
    rho: float = 0.1
    ratios: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1)
    steps: int = 50
    save_every: int = 5
    substeps: int = 2
    n: int = 128
    seed: int = 0
    problem_seed: int = 42
    device: str = field(default_factory=chosen)


SMOKE = Config(ratios=(10.0, 0.1), steps=4, save_every=1, n=16)


def run(c: Config, recall: Recall) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {"ratios": np.array(c.ratios)}
    for name in TASKS:
        for ratio in c.ratios:
            out |= recall(proxies, c, name, ratio)
    return out


def proxies(c: Config, name: str, ratio: float) -> dict[str, np.ndarray]:
    """SAM and five SDEs on one path, at the sigma that gives the ratio at the start."""
    f, x0 = task(name, c.problem_seed)
    x = start(x0, c.device)
    d, length = len(x0), float(ss.norm(ss.grad(f)(x)))
    sigma = length / (ratio * d**0.5)
    g = ss.GaussianOracle(f, sigma, dim=d)
    usam, dnsam = partial(ss.usam, rho=c.rho), partial(ss.dnsam, rho=c.rho)
    sdes = {
        "SAM": model_of(partial(ss.sam, rho=c.rho), g, c.eta), "DNSAM": model_of(dnsam, g, c.eta),
        "USAM": model_of(usam, g, c.eta), "USAM, ρA/σ": model_of(partial(ss.usam, rho=effective_rho(c.rho, sigma, d)), g, c.eta),
        "DNSAM, turned": flipped(model_of(dnsam, g, c.eta)),
    }  # fmt: skip
    fine = [ss.subcycle(ss.small_noise_srk(sde, c.eta / c.substeps), c.substeps) for sde in sdes.values()]
    phi, slope = gradient_and_radius(f), ss.grad(f)
    observables = {"g1": ss.of_member(phi, 0), "ratio": lambda x: ss.norm(slope(x[..., 0, :])) / (sigma * d**0.5)}
    observables |= {model: ss.difference(phi, 0, i) for i, model in enumerate(sdes, 1)}
    moments = ss.simulate(
        ss.coupled(ss.optimizer(partial(ss.sam, rho=c.rho), g, c.eta), *fine), x, steps=c.steps,
        save_every=c.save_every, observables=observables, n=c.n, seed=c.seed,
    )  # fmt: skip
    found = {f"{name}/{ratio:g}/{key}": packed(moments.estimate(key)) for key in moments.names}
    return found | {f"{name}/{ratio:g}/lost": moments.nonfinite[-1]}


def quotient(r: dict[str, np.ndarray], c: Config, name: str, ratio: float, model: str, level: float = 0.95):
    error, scale = (unpacked(r[f"{name}/{ratio:g}/{key}"], c.n) for key in (model, "g1"))
    return metric(error, scale, level)


def figure(r: dict[str, np.ndarray], c: Config):
    fig, axes = new_figure(2, 2, width=5.5, height=4.0)
    styles = {"SAM": ("SAM", "o-"), "DNSAM": ("DNSAM", "s-"), "USAM": ("USAM", "^-"), "USAM, ρA/σ": ("USAM", "v--")}
    labels = {
        "SAM": "SAM's own SDE",
        "DNSAM": "DNSAM's",
        "USAM": "USAM's",
        "USAM, ρA/σ": r"USAM's at $\rho A_d/\sigma$",
    }
    for (top, bottom), name in zip(axes.T, TASKS, strict=True):
        for model, (method, style) in styles.items():
            value, low, high = np.array([quotient(r, c, name, ratio, model) for ratio in c.ratios]).T
            top.errorbar(c.ratios, value, [value - np.minimum(value, low), high - value], fmt=style, color=COLOURS[method],
                         markersize=3.5, linewidth=1.0, capsize=1.5, label=labels[model])  # fmt: skip
        along = np.array([r[f"{name}/{ratio:g}/ratio"][0] for ratio in c.ratios])
        bottom.plot(c.ratios, along.mean(1), "k-", linewidth=1.0)
        bottom.fill_between(c.ratios, along.min(1), along.max(1), color="0.6", alpha=0.4, linewidth=0)
        top.set(xscale="log", yscale="log", title=name)
        bottom.set(xscale="log", yscale="log", xlabel=r"$|\nabla f(x_0)|\,/\,\sigma\sqrt{d}$")
        for ax in (top, bottom):
            ax.axvline(1, color="0.8", linewidth=0.7, zorder=0)
    axes[0, 0].set_ylabel("error as a model of SAM")
    axes[1, 0].set_ylabel(r"$E|\nabla f(x_k)|\,/\,\sigma\sqrt{d}$")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=4, fontsize=7)
    return fig


# ----------------------------------------------------------------- verdicts
RECORD = {"F5-iris-gradient-regime": "inconclusive"}  # both proxies are at the error of SAM's own SDE


def verdicts(r: dict[str, np.ndarray], c: Config) -> list[Verdict]:
    return [row for name in TASKS for row in (gradients(r, c, name), noise(r, c, name))]


def nearer(r: dict[str, np.ndarray], c: Config, name: str, ratio: float, first: str, second: str) -> bool | None:
    (_, low, high), (_, other_low, other_high) = (quotient(r, c, name, ratio, m, LEVEL) for m in (first, second))
    return True if high < other_low else False if low > other_high else None


def shown(r: dict[str, np.ndarray], c: Config, name: str, ratio: float) -> str:
    parts = (f"{m} {v:.2e} [{a:.1e}, {b:.1e}]" for m in MODELS for v, a, b in [quotient(r, c, name, ratio, m, LEVEL)])
    lost = int(r[f"{name}/{ratio:g}/lost"])
    return f"ratio {ratio:g}: " + "; ".join(parts) + (f"; {lost} diverged" if lost else "")


def safe(r: dict[str, np.ndarray], c: Config, name: str, ratio: float, *models: str) -> bool:
    return (
        trusted(*(unpacked(r[f"{name}/{ratio:g}/{m}"][:, 1:], c.n) for m in models)) and not r[f"{name}/{ratio:g}/lost"]
    )


def unsettled(r: dict[str, np.ndarray], c: Config, name: str, ratio: float, first: str, *others: str) -> str:
    """How many replicates would part the intervals that are not apart."""
    e = {m: unpacked(r[f"{name}/{ratio:g}/{m}"], c.n) for m in (first, *others, "g1")}
    return "".join(
        f"; against {m}: {settling(e[first], e[m], e['g1'], LEVEL)}"
        for m in others
        if nearer(r, c, name, ratio, first, m) is None or not safe(r, c, name, ratio, first, m)
    )


def gradients(r: dict[str, np.ndarray], c: Config, name: str) -> Verdict:
    claim, ratio = f"F5-{name.lower()}-gradient-regime", max(c.ratios)
    return Verdict(
        claim=claim,
        statement=f"{name}: where |∇f| ≫ σ√d the SDE of DNSAM is a closer model of SAM than USAM's, at ρ and at ρA_d/σ",
        source="Monzio Compagnoni et al. 2023, recalled; the regime derived",
        criterion=f"|∇f(x₀)|/(σ√d) = {ratio:g}: simultaneous 99.9 % interval of DNSAM's error of g₁ below both of USAM's",
        paper_value="none given",
        observed=shown(r, c, name, ratio)
        + f" (n = {c.n})"
        + unsettled(r, c, name, ratio, "DNSAM", "USAM", "USAM, ρA/σ"),
        rejects="DNSAM's SDE with the sign of ρ turned",
        verdict=judge(
            [nearer(r, c, name, ratio, "DNSAM", other) for other in ("USAM", "USAM, ρA/σ")],
            [
                safe(r, c, name, ratio, "DNSAM", "USAM", "USAM, ρA/σ"),
                not all(nearer(r, c, name, ratio, "DNSAM, turned", other) for other in ("USAM", "USAM, ρA/σ")),
            ],
            given=False,
        ),
        expected=RECORD.get(claim, "qualitatively"),
    )


def noise(r: dict[str, np.ndarray], c: Config, name: str) -> Verdict:
    claim, ratio = f"F5-{name.lower()}-noise-regime", min(c.ratios)
    return Verdict(
        claim=claim,
        statement=f"{name}: where |∇f| ≪ σ√d it is reversed: USAM's SDE at ρA_d/σ is the closer model of SAM",
        source="derived for this project",
        criterion=f"|∇f(x₀)|/(σ√d) = {ratio:g}: simultaneous 99.9 % interval of its error of g₁ below DNSAM's",
        paper_value="none given",
        observed=shown(r, c, name, ratio) + f" (n = {c.n})" + unsettled(r, c, name, ratio, "USAM, ρA/σ", "DNSAM"),
        rejects=f"the same comparison at ratio {max(c.ratios):g}",
        verdict=judge(
            [nearer(r, c, name, ratio, "USAM, ρA/σ", "DNSAM")],
            [
                safe(r, c, name, ratio, "USAM, ρA/σ"),
                nearer(r, c, name, max(c.ratios), "USAM, ρA/σ", "DNSAM") is not True,
            ],
            given=False,
        ),
        expected=RECORD.get(claim, "qualitatively"),
    )
