"""Paths and means of the optimizers and their SDEs on the two-dimensional tanh network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

import sdesam as ss
from sdesam.claims.parts import Recall, packed, unpacked
from sdesam.claims.verdicts import Verdict, judge, judge_order, trusted, within, z_score
from sdesam.plotting import contours, estimate_line, new_figure
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.planted import flipped

ID = "tanh_network"
TITLE = "Paths and means on the tanh network f(u, v) = ½ tanh²(v tanh u)"
MINUTES = 0.8
CAPTION = """
Left: five paths of SAM (solid) and of its SDE driven by the same noise (dashed, black), on the level lines of f.
Middle: mean of u for each optimizer (solid, markers) and its SDE (dashed) at rho = √eta. Right: the differences of those
means, for each optimizer against its own SDE (solid) and against the SDE of SGD (dashed). Bands: 95 % pointwise. The
network is Example 4.1 of Zhou et al.; start, noise and eta are our choice.
"""
METHODS = mc23.UPDATES
REFERRED = ("SGD", "USAM", "SAM")  # whose weak errors are computed a second time, without Monte Carlo


@dataclass(frozen=True)
class Config:
    log2_eta: int = -5
    sigma: float = 0.3
    u0: float = 1.0
    v0: float = 1.2
    horizon: float = 1.0
    substeps: int = 8
    n: int = 49152
    accuracy: float = 1e-6
    paths: int = 5
    path_horizon: float = 8.0
    seed: int = 0


SMOKE = Config(n=1024, path_horizon=1.0, substeps=4, accuracy=1e-4)


def run(c: Config, recall: Recall) -> dict[str, np.ndarray]:
    eta = 2.0**c.log2_eta
    out: dict[str, np.ndarray] = {"t": np.arange(round(c.horizon / eta) + 1) * eta}
    for name in METHODS:
        out |= recall(simulated, c, name)
    for name in REFERRED:
        out |= recall(reference, c, name)
    return out | recall(paths, c)


def reference(c: Config, name: str) -> dict[str, np.ndarray]:
    """E u of the optimizer less E u of its SDE at T by deterministic quadrature, with its accuracy."""
    eta = 2.0**c.log2_eta
    g, G = ss.GaussianOracle(ss.TanhNetwork(), sigma=c.sigma), partial(METHODS[name], rho=eta**0.5)
    found = ss.by_quadrature(
        ss.optimizer(G, g, eta), model_of(G, g, eta), [c.u0, c.v0], steps=round(c.horizon / eta),
        observables={"u": ss.coordinate(0)}, accuracy=c.accuracy,
    )["u"].error[-1]  # fmt: skip
    return {f"{name}/reference": np.array([found.value, found.stderr])}


def simulated(c: Config, name: str) -> dict[str, np.ndarray]:
    u, eta = ss.coordinate(0), 2.0**c.log2_eta
    observables = {
        "algorithm": ss.of_member(u, 0),
        "sde": ss.of_member(u, 1),
        "own error": ss.difference(u, 0, 1),
        "sgd error": ss.difference(u, 0, 2),
        "flipped error": ss.difference(u, 0, 3),
    }
    moments = ss.simulate(
        together(c, name), [c.u0, c.v0], steps=round(c.horizon / eta), observables=observables, n=c.n, seed=c.seed
    )
    return {f"{name}/{key}": packed(moments.estimate(key)) for key in observables}


def paths(c: Config) -> dict[str, np.ndarray]:
    long = round(c.path_horizon / 2.0**c.log2_eta)
    found = ss.trajectories(together(c, "SAM"), [c.u0, c.v0], steps=long, n=c.paths, seed=c.seed)
    return {"paths": found[:, :, :2].numpy()}


def together(c: Config, name: str) -> ss.Kernel:
    """The optimizer, its own SDE, the SDE of SGD, and its own with rho's sign turned, on one Brownian path."""
    eta = 2.0**c.log2_eta
    g, G = ss.GaussianOracle(ss.TanhNetwork(), sigma=c.sigma), partial(METHODS[name], rho=eta**0.5)
    own = model_of(G, g, eta)
    models = (own, mc23.sgd_sde(g, eta=eta), flipped(own))
    fine = (ss.subcycle(ss.small_noise_srk(sde, eta / c.substeps), c.substeps) for sde in models)
    return ss.coupled(ss.optimizer(G, g, eta), *fine)


def figure(r: dict[str, np.ndarray], c: Config):
    fig, axes = new_figure(1, 3, height=2.6)
    plane, means, errors = axes[0]
    paths = r["paths"]
    low, high = paths.min((0, 1, 2)) - 0.1, paths.max((0, 1, 2)) + 0.1
    contours(plane, ss.TanhNetwork(), tuple(low), tuple(high))
    for i in range(paths.shape[1]):
        label = {0: ("SAM", "its SDE")}.get(i, (None, None))
        plane.plot(*paths[:, i, 0].T, color="#D55E00", linewidth=0.7, alpha=0.8, label=label[0])
        plane.plot(*paths[:, i, 1].T, color="#000000", linewidth=0.6, linestyle="--", alpha=0.8, label=label[1])
    plane.plot([c.u0], [c.v0], "k*", markersize=6, label="start")
    plane.set(xlabel="$u$", ylabel="$v$", title="paths on one noise")
    for name in METHODS:
        for key, kind in (("algorithm", "algorithm"), ("sde", "SDE")):
            e = unpacked(r[f"{name}/{key}"], c.n)
            estimate_line(means, r["t"], e, method=name, kind=kind, label=name if key == "algorithm" else None, every=8)
        for key, kind in (("own error", "algorithm"), ("sgd error", "SDE")):
            if name != "SGD" or key == "own error":
                e = unpacked(r[f"{name}/{key}"][:, 1:], c.n)
                estimate_line(errors, r["t"][1:], e, method=name, kind=kind, label=None, marker="")
    means.set(xlabel=r"time $t=k\eta$", ylabel="$E\\,u$", title="means")
    errors.set(xlabel=r"time $t=k\eta$", ylabel=r"$E\,u(x_k)-E\,u(X_{k\eta})$", title="weak errors")
    errors.plot([], [], color="0.4", label="against its own SDE")
    errors.plot([], [], color="0.4", linestyle="--", label="against the SDE of SGD")
    errors.set_ylim(top=1.35 * errors.get_ylim()[1])
    for ax, where in ((plane, "upper left"), (means, "upper right"), (errors, "upper left")):
        ax.legend(loc=where)
    return fig


def verdicts(r: dict[str, np.ndarray], c: Config) -> list[Verdict]:
    return [weak_error(r, c, name) for name in REFERRED] + [own_model(r, c, name) for name in ("USAM", "DNSAM", "SAM")]


def weak_error(r: dict[str, np.ndarray], c: Config, name: str) -> Verdict:
    own, other = (unpacked(r[f"{name}/{which} error"], c.n)[-1] for which in ("own", "sgd"))
    (value, stderr), (plain, plain_stderr) = ((float(e.value), float(e.stderr)) for e in (own, other))
    exact, accuracy = r[f"{name}/reference"]
    error = float(np.hypot(stderr, accuracy))
    z_zero = z_score(0.0, exact, error)
    z_plain = z_score(plain, exact, float(np.hypot(plain_stderr, accuracy)))
    wrong = {"no error at all (Euler with step eta)": z_zero} | ({} if name == "SGD" else {"SGD's SDE": z_plain})
    return Verdict(
        claim=f"tanh-{name.lower()}-weak-error",
        statement=f"E u of {name} differs from that of its SDE at T = 1 by the deterministically computed amount",
        source="derived for this project (backward propagation on a grid)",
        criterion="coupled Monte Carlo difference within 4 s.e. of the reference",
        paper_value="none given",
        observed=f"{value:.3e} ± {stderr:.1e} (n = {c.n}); reference {exact:.5e}, known to {accuracy:.0e}",
        rejects="; ".join(f"{what} (z = {z:.0f})" for what, z in wrong.items()),
        verdict=judge(
            [within(value, exact, error) if trusted(own) else None],
            [z > 4 for z in wrong.values()],
            given=False,
        ),
        expected="qualitatively",
    )


def own_model(r: dict[str, np.ndarray], c: Config, name: str) -> Verdict:
    (own, own_error), (plain, plain_error), (flip, flip_error) = (
        r[f"{name}/{which} error"][:2, -1] for which in ("own", "sgd", "flipped")
    )
    safe = trusted(*(unpacked(r[f"{name}/{which} error"], c.n)[-1] for which in ("own", "sgd")))
    gap, spread = abs(plain) - abs(own), float(np.hypot(own_error, plain_error))
    wrong, wrong_spread = abs(plain) - abs(flip), float(np.hypot(flip_error, plain_error))
    return Verdict(
        claim=f"tanh-{name.lower()}-own-sde",
        statement=f"At rho = √eta the SDE of {name} is the better model of it: the SDE of SGD errs more",
        source="Monzio Compagnoni et al. 2023, recalled",
        criterion="|error of SGD's SDE| − |error of its own| at T above 4 s.e.",
        paper_value="none given",
        observed=f"{abs(plain):.2e} against {abs(own):.2e}, difference {gap:.2e} ± {spread:.1e} (n = {c.n})",
        rejects=f"its SDE with the sign of rho turned, difference {wrong:.2e} ± {wrong_spread:.1e}",
        verdict=judge_order(gap, spread, [safe, not wrong > 4 * wrong_spread]),
        expected="qualitatively",
    )
