"""F1b, the scalings: rho = eta, √eta, eta^¼ and fixed, without sampling.

Changed after looking: the row on the floor at fixed rho first asked that halving rho divide it by 2.83 to 5.66, which USAM
met with 2.87; it now asks for the floor itself, which is derived.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import ndtr
from torch import Tensor

import sdesam as ss
from sdesam.claims.parts import Recall
from sdesam.claims.verdicts import Verdict, judge
from sdesam.plotting import COLOURS, new_figure
from sdesam.problems.oracles import Oracle
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.conclusions import Order, conclude, powers_of

ID = "F1b"
TITLE = "Scalings of ρ with η: who is of order 1"
MINUTES = 0.6
CAPTION = """
Weak error |E x² − E X²| at T = 1 on f = ½x² + ¼ cos(2x + 0.3), against η, for four scalings of ρ; USAM blue, SAM
vermilion. Solid: own SDE; dashed: SDE of SGD; at ρ ~ √η also, dotted, the own drift with the noise of SGD (triangles)
and with none (crosses). Deterministic quadrature, accuracy far below the markers. Grey: slopes 1 and 1/2. The paper
compares ρ = η and √η on its tasks (recalled); landscape, start, noise and η are our choice.
"""
METHODS = {name: mc23.UPDATES[name] for name in ("USAM", "SAM")}
SCALINGS = {"η": (1.0, 1.0), "√η": (1.0, 0.5), "η^¼": (0.5, 0.25), "fixed": (0.3, 0.0)}  # rho = scale·eta^power
TITLES = {"η": r"$\rho=\eta$", "√η": r"$\rho=\sqrt{\eta}$", "η^¼": r"$\rho=\eta^{1/4}/2$", "fixed": r"$\rho=0.3$"}


@dataclass(frozen=True)
class Config:  # all our choice
    log2_eta: tuple[int, ...] = (-3, -4, -5, -6, -7)
    sigma: float = 0.4
    x0: float = 1.7
    horizon: float = 1.0
    accuracy: float | None = None  # of the quadrature; by default far below the errors


SMOKE = Config(log2_eta=(-1, -2, -3, -4), horizon=0.5, accuracy=1e-3)


def washboard(x: Tensor) -> Tensor:
    return (x * x / 2 + (2 * x + 0.3).cos() / 4).sum(-1)


def derivatives(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first three of the washboard."""
    return x - np.sin(2 * x + 0.3) / 2, 1 - np.cos(2 * x + 0.3), 2 * np.sin(2 * x + 0.3)


def drift_only(g: Oracle, eta: float, rho: float, *, update) -> ss.SDE:
    """The method's drift with the noise of SGD."""
    own, plain = model_of(partial(update, rho=rho), g, eta), mc23.sgd_sde(g, eta=eta)
    return ss.SDE(lambda x: (own.coefficients(x)[0], plain.coefficients(x)[1]), noise_dim=1, dim=1)


def noise_free(g: Oracle, eta: float, rho: float, *, update) -> ss.SDE:
    own = model_of(partial(update, rho=rho), g, eta)
    return ss.SDE(lambda x: (own.coefficients(x)[0], None), noise_dim=0, dim=1)


def models(name: str) -> dict:
    update = METHODS[name]
    return {
        "own": lambda g, eta, rho: model_of(partial(update, rho=rho), g, eta),
        "SGD": lambda g, eta, rho: mc23.sgd_sde(g, eta=eta),
        "drift only": partial(drift_only, update=update),
        "no noise": partial(noise_free, update=update),
    }


def rows() -> list[tuple[str, str, str, float]]:
    """Scaling, method, model, and a factor on rho."""
    plain = [(scaling, name, model, 1.0) for scaling in SCALINGS for name in METHODS for model in ("own", "SGD")]
    blind = [("√η", name, model, 1.0) for name in METHODS for model in ("drift only", "no noise")]
    return plain + blind + [("fixed", name, "own", 0.5) for name in METHODS]


def run(c: Config, recall: Recall) -> dict[str, np.ndarray]:
    out = {"eta": 2.0 ** np.array(c.log2_eta)}
    for row in rows():
        out |= recall(errors, c, *row)
    return out | recall(on_a_quadratic, c)


def errors(c: Config, scaling: str, name: str, model: str, factor: float) -> dict[str, np.ndarray]:
    """Signed errors of E x and E x², and their accuracies, shape (2, 2, etas)."""
    (scale, power), g = SCALINGS[scaling], ss.GaussianOracle(washboard, c.sigma, dim=1)
    pair = {"x": lambda x: x[..., 0], "x²": lambda x: x[..., 0] ** 2}
    found = []
    for k in c.log2_eta:
        eta = 2.0**k
        rho = factor * scale * eta**power
        kernel = ss.optimizer(partial(METHODS[name], rho=rho), g, eta)
        e = ss.by_quadrature(
            kernel,
            models(name)[model](g, eta, rho),
            [c.x0],
            steps=round(c.horizon / eta),
            observables=pair,
            accuracy=c.accuracy,
        )
        found.append(
            [[float(e[phi].error[-1].value) for phi in pair], [float(e[phi].error[-1].stderr) for phi in pair]]
        )
    return {label(scaling, name, model, factor): np.array(found).transpose(2, 1, 0)}


def label(scaling: str, name: str, model: str, factor: float = 1.0) -> str:
    return f"{scaling}/{name}/{model}" + ("" if factor == 1 else f" x {factor:g}")


def on_a_quadratic(c: Config) -> dict[str, np.ndarray]:
    """E x² of USAM against its SDE on ½x², rho = 0.3 fixed: exact."""
    g, found = ss.GaussianOracle(ss.Quadratic([[1.0]]), c.sigma), []
    for k in c.log2_eta:
        kernel, sde = ss.optimizer(partial(ss.usam, rho=0.3), g, 2.0**k), mc23.usam_sde(g, eta=2.0**k, rho=0.3)
        e = ss.in_closed_form(
            kernel, sde, [c.x0], steps=round(c.horizon / 2.0**k), observables={"x²": lambda x: x[..., 0] ** 2}
        )
        found.append(float(e["x²"].error[-1].value))
    return {"quadratic": np.array([found, np.zeros(len(found))])}


# ----------------------------------------------------------------- figure
def figure(r: dict[str, np.ndarray], c: Config):
    fig, axes = new_figure(1, 4, height=2.7)
    styles = {"own": "o-", "SGD": "s--", "drift only": "^:", "no noise": "x:"}
    for ax, scaling in zip(axes[0], SCALINGS, strict=True):
        for name in METHODS:
            for model, style in styles.items():
                if label(scaling, name, model) in r:
                    err = np.abs(r[label(scaling, name, model)][1, 0])
                    ax.loglog(r["eta"], err, style, color=COLOURS[name], markersize=3, linewidth=1.0)
        ax.set(title=TITLES[scaling], xlabel=r"learning rate $\eta$", ylim=(3e-4, 3))
        low, high = r["eta"].min(), r["eta"].max()
        for slope, top in ((1.0, 0.035 if scaling == "η" else 0.055), (0.5, 2.0)):
            ax.plot([low, high], [top * (low / high) ** slope, top], color="0.7", linewidth=0.8)
        if ax is not axes[0, 0]:
            ax.tick_params(labelleft=False)
    first = axes[0, 0]
    first.set_ylabel(r"$|E\,x_k^2-E\,X_{k\eta}^2|$, $k\eta=1$")
    for name in METHODS:
        first.plot([], [], color=COLOURS[name], label=name)
    for model, style in styles.items():
        axes[0, 1].plot(
            [], [], style, color="0.3", markersize=3, label={"own": "own SDE", "SGD": "SGD's SDE"}.get(model, model)
        )
    first.legend(fontsize=6.5, loc="lower right")
    axes[0, 1].legend(fontsize=6, loc="lower right")
    return fig


# ----------------------------------------------------------------- verdicts
def order(r: dict[str, np.ndarray], key: str, phi: int) -> Order:
    """What the errors of E x (0) or E x² (1) show."""
    value, accuracy = r[key][phi]
    power = SCALINGS[key.split("/")[0]][1]
    return conclude(r["eta"], ss.Estimate(value, accuracy, 1, "quadrature"), powers=powers_of(power))


def orders(r: dict[str, np.ndarray], scaling: str, model: str) -> dict[str, Order]:
    return {
        f"{name} {phi}": order(r, label(scaling, name, model), i)
        for name in METHODS
        for i, phi in enumerate(("E x", "E x²"))
    }


def described(found: dict[str, Order]) -> str:
    """Conclusions, with the last local slope."""
    return "; ".join(
        f"{name}: {o.conclusion} (last slope {float(np.asarray(o.local_slopes.value)[-1]):.2f})"
        for name, o in found.items()
    )


def is_order(found: dict[str, Order], *names: str) -> list[bool | None]:
    """Whether each conclusion is one of these; undecided ones stay so."""
    return [None if o.conclusion == "inconclusive" else o.conclusion in names for o in found.values()]


FLOORED = ("below order 1/2", "does not converge")


def verdicts(r: dict[str, np.ndarray], c: Config) -> list[Verdict]:
    return [linear(r), square_root(r), blind(r), quarter(r), fixed(r), floor(r, c), quadratic(r)]


def linear(r: dict[str, np.ndarray]) -> Verdict:
    plain, own, wrong = orders(r, "η", "SGD"), orders(r, "η", "own"), orders(r, "√η", "SGD")
    return Verdict(
        claim="F1b-rho-eta",
        statement="At ρ = η the SDE of SGD is already an order-1 model of USAM and SAM",
        source="Monzio Compagnoni et al. 2023, recalled",
        criterion="order 1 by its half-order share, E x and E x², both methods; and so for their own SDEs",
        paper_value="none given",
        observed=f"{described(plain)}; own SDEs: {', '.join(o.conclusion for o in own.values())}",
        rejects=f"the same SDE at ρ = √η: {', '.join(o.conclusion for o in wrong.values())}",
        verdict=judge(
            is_order(plain, "order 1") + is_order(own, "order 1"),
            [v is False for v in is_order(wrong, "order 1")],
            given=False,
        ),
        expected="qualitatively",
    )


def square_root(r: dict[str, np.ndarray]) -> Verdict:
    own, plain = orders(r, "√η", "own"), orders(r, "√η", "SGD")
    return Verdict(
        claim="F1b-rho-sqrt-eta",
        statement="At ρ = √η the own SDEs are of order 1 and that of SGD is of order 1/2",
        source="Monzio Compagnoni et al. 2023, recalled; the order 1/2 derived",
        criterion="conclusions order 1 and order 1/2 by half-order share, E x and E x², both methods",
        paper_value="order 1",
        observed=f"own: {described(own)}; SGD's: {described(plain)}",
        rejects="the models exchanged: their conclusions differ in every row",
        verdict=judge(
            is_order(own, "order 1") + is_order(plain, "order 1/2"),
            [v is False for v in is_order(own, "order 1/2") + is_order(plain, "order 1")],
            given=True,
        ),
        expected="reproduced",
    )


def blind(r: dict[str, np.ndarray]) -> Verdict:
    without, none = orders(r, "√η", "drift only"), orders(r, "√η", "no noise")
    control = orders(r, "√η", "SGD")
    lower = [v if v is None else not v for v in is_order(without, "order 1") + is_order(none, "order 1")]
    return Verdict(
        claim="F1b-order-1-sees-the-noise",
        statement="The order-1 theorem distinguishes the SDEs' noise terms: without the ρ-term, or without noise, the order falls",
        source="a reading of the theorems; every noise term enters a step's moments at η²",
        criterion="not order 1 for the own drift with SGD's noise, nor with none, E x and E x², both methods",
        paper_value="none given",
        observed=f"SGD's noise: {described(without)}; none: {described(none)}",
        rejects=f"can hold: a wrong drift is seen ({', '.join(o.conclusion for o in control.values())})",
        verdict=judge(lower, [v is False for v in is_order(control, "order 1")], given=False),
        expected="not reproduced",
    )


def quarter(r: dict[str, np.ndarray]) -> Verdict:
    own, control = orders(r, "η^¼", "own"), orders(r, "√η", "own")
    return Verdict(
        claim="F1b-rho-quarter",
        statement="The SDEs keep order 1 at ρ ~ η^¼",
        source="outside the theorems' ρ = O(√η); derived: the neglected ρ²/2 D³f[v, v] is of size √η",
        criterion="order 1 by half-order share, E x and E x², both methods",
        paper_value="none given",
        observed=described(own),
        rejects=f"can hold: at ρ = √η ({', '.join(o.conclusion for o in control.values())})",
        verdict=judge(is_order(own, "order 1"), [v is True for v in is_order(control, "order 1")], given=False),
        expected="not reproduced",
    )


def fixed(r: dict[str, np.ndarray]) -> Verdict:
    """First asked for "does not converge" alone; USAM's error still falls at these η, towards a floor, as it should."""
    own, control = orders(r, "fixed", "own"), orders(r, "√η", "own")
    return Verdict(
        claim="F1b-rho-fixed",
        statement="At fixed ρ the error of the SDEs still vanishes with η",
        source="outside the theorems; derived",
        criterion='a conclusion other than "does not converge" or "below order 1/2" (a share of η⁰), E x and E x², both methods',
        paper_value="none given",
        observed=described(own),
        rejects=f"can hold: at ρ = √η ({', '.join(o.conclusion for o in control.values())})",
        verdict=judge(
            [v if v is None else not v for v in is_order(own, *FLOORED)],
            [v is False for v in is_order(control, *FLOORED)],
            given=False,
        ),
        expected="not reproduced",
    )


def limit(r: dict[str, np.ndarray], key: str) -> np.ndarray:
    """The errors' limits at eta = 0, of E x and E x²: by a fit with powers 0 to 3 of eta."""
    design = r["eta"][:, None] ** np.arange(4)
    return np.linalg.lstsq(design, r[key][:, 0].T, rcond=None)[0][0]


@cache
def derived(c: Config, name: str, rho: float, order: int) -> np.ndarray:
    """That limit for E x and E x², of the SDE whose drift keeps the powers of rho up to ``order``.

    At eta = 0 the algorithm is the flow x' = −E f'(x + rho v), v random still, and the SDE that of its Taylor sum: order 0
    is SGD's, 1 the theorem's, 2 adds rho²/2 D³f E v².
    """
    z, w = np.polynomial.hermite_e.hermegauss(40)

    def flow(exact: bool) -> np.ndarray:
        def field(_, x: np.ndarray) -> list[float]:
            slope, second, third = derivatives(x)
            v, p = slope + c.sigma * z, w / w.sum()
            if name == "SAM":  # in one dimension the direction is a sign
                v, p = np.array([1.0, -1.0]), ndtr(np.concatenate([slope, -slope]) / c.sigma)
            if exact:
                return [-float(p @ derivatives(x + rho * v)[0])]
            return [-float(p @ sum(t * (rho * v) ** k for k, t in enumerate((slope, second, third / 2)[: order + 1])))]

        end = solve_ivp(field, (0, c.horizon), [c.x0], rtol=1e-10, atol=1e-12).y[0, -1]
        return np.array([end, end**2])

    return flow(True) - flow(False)


def floor(r: dict[str, np.ndarray], c: Config) -> Verdict:
    room, off, power = 0.01, {}, {}
    for k in range(3):
        ratios = [
            limit(r, label("fixed", n, "own", x)) / derived(c, n, 0.3 * x, k) - 1 for n in METHODS for x in (1.0, 0.5)
        ]
        powers = [np.log2(derived(c, n, 0.02, k) / derived(c, n, 0.01, k)) for n in METHODS]
        off[k], power[k] = np.abs(np.concatenate(ratios)), np.concatenate(powers)
    small = np.abs(power[1] - 2) < 0.1
    shares = {n: np.abs(limit(r, label("fixed", n, "own")) / limit(r, label("fixed", n, "SGD"))).max() for n in METHODS}
    return Verdict(
        claim="F1b-fixed-rho-floor",
        statement="The floor at fixed ρ is of size ρ²: the neglected second-order term of the ascent",
        source="derived for this project",
        criterion=f"limits of the errors at η = 0, ρ = 0.3 and 0.15, within {room:.0%} of the derived floors, and these of local "
        "order 2 ± 0.1 at ρ = 0.01; E x and E x², both methods",
        paper_value="none given",
        observed=f"off by at most {off[1].max():.2%}; derived orders {', '.join(f'{v:.2f}' for v in power[1])}; as a share of "
        f"the floor of SGD's SDE {', '.join(f'{n} {v:.0%}' for n, v in shares.items())}",
        rejects="; ".join(
            f"the floor of {what} (off by {off[k].min():.0%} at least; order {power[k].mean():.1f})"
            for k, what in ((0, "SGD's SDE"), (2, "an SDE with the second-order term"))
        ),
        verdict=judge(
            [*(off[1] < room), *small],
            [(off[k] > room).all() and (np.abs(power[k] - 2) > 0.1).all() for k in (0, 2)],
            given=False,
        ),
        expected="qualitatively",
    )


def quadratic(r: dict[str, np.ndarray]) -> Verdict:
    found = conclude(
        r["eta"], ss.Estimate(r["quadratic"][0], r["quadratic"][1], 1, "deterministic"), powers=powers_of(0.0)
    )
    other = order(r, label("fixed", "USAM", "own"), 1)
    return Verdict(
        claim="F1b-quadratic-is-blind-to-rho",
        statement="On a quadratic USAM's SDE has order 1 at fixed ρ too: quadratics cannot test the scaling",
        source="derived for this project (D³f = 0)",
        criterion="order 1 of E x² on ½x² at ρ = 0.3, exact moments",
        paper_value="none given",
        observed=f"{found.conclusion}, share {float(found.share.value):+.3f}",
        rejects=f"the washboard at the same ρ: {other.conclusion}",
        verdict=judge([found.conclusion == "order 1"], [other.conclusion != "order 1"], given=False),
        expected="qualitatively",
    )
