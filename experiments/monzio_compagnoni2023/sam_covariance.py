"""SAM's covariance, printed against right, by the scaled fluctuation test on a rotated saddle with anisotropic noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.linalg import expm

import sdesam as ss
from sdesam.claims.parts import Recall, packed, unpacked
from sdesam.claims.verdicts import Verdict, judge, trusted
from sdesam.engine.streams import derived
from sdesam.plotting import new_figure
from sdesam.theory.exact.anisotropic_noise import AnisotropicDirection, anisotropic_direction

ID = "sam_covariance"
TITLE = "SAM's covariance on a rotated saddle, printed against right"
MINUTES = 2.5
CAPTION = """
SAM, ρ = √η, on a rotated saddle with anisotropic Gaussian noise, against SDEs with its right drift and four first-order covariances
Σ + ρM: the right one M = S̄H + HS̄ᵀ (as a factored root), the slides' H(S̄ + S̄ᵀ) (symmetric part), the transposed reading
HS̄ + S̄ᵀH, and none. A wrong M adds (Δ√η + O(η)) to [Cov x − Cov X]/η at T = 1, with Δ a linear integral along the gradient
flow. Shown: the difference to the right SDE's covariance on the same noise, projected on its own Δ and divided by √η, with 95 %
intervals: it must tend to 1. Black: the right SDE against the algorithm, projected on the slides' Δ: it must tend to 0. Problem and
settings are our choice.
"""
Form = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
FORMS: dict[str, Form] = {
    "slides": lambda S, H: H @ (S + S.mT),
    "transposed": lambda S, H: H @ S + S.mT @ H,
    "none": lambda S, H: 0 * S,
}
COLOURS = {"slides": "#D55E00", "transposed": "#CC79A7", "none": "#0072B2", "right": "#000000"}
ENTRIES = ((0, 0), (0, 1), (1, 1))


@dataclass(frozen=True)
class Config:
    log2_eta: tuple[int, ...] = (-4, -5, -6, -7)
    angle: float = 2.0944
    sigmas: tuple[float, float] = (1.0, 0.3)
    x0: tuple[float, float] = (0.52, 0.3)
    substeps: int = 2
    n: int = 4096
    seed: int = 0


SMOKE = Config(log2_eta=(-3, -4), n=256)


@dataclass(frozen=True, eq=False)
class Model:
    """SAM's drift on a quadratic, with the root of Σ + ρ sym M (negative eigenvalues cut), or the factored root."""

    H: torch.Tensor
    L: torch.Tensor
    law: AnisotropicDirection
    eta: float
    rho: float
    form: Form | None

    def __call__(self, x):
        law = self.law(x @ self.H)
        drift = -(x @ self.H + self.rho * law.mean @ self.H)

        def diffusion(dw):
            if self.form is None:
                n = dw @ self.L.T
                return -(self.eta**0.5) * (n + self.rho * law.project(n) @ self.H)
            M = self.form(law.cross(), self.H)
            values, vectors = torch.linalg.eigh(law.covariance + self.rho * (M + M.mT) / 2)
            return (
                -(self.eta**0.5)
                * (vectors @ (values.clamp(min=0).sqrt()[..., None] * (vectors.mT @ dw[..., None])))[..., 0]
            )

        return drift, diffusion

    def cut(self, x) -> np.ndarray:
        """Share of points where Σ + ρ sym M is indefinite, and the mean of its cut eigenvalues there, over tr Σ."""
        assert self.form is not None  # the factored root is never cut
        M = self.form(self.law(x @ self.H).cross(), self.H)
        low = torch.linalg.eigvalsh(self.L @ self.L.T + self.rho * (M + M.mT) / 2)[..., 0]
        return np.array([float((low < 0).double().mean()), float(-low.clamp(max=0).mean() / (self.L * self.L).sum())])


def problem(c: Config):
    f = ss.Rotated(ss.Saddle((1.0, -1.0)), ss.rotation(c.angle))
    L = torch.diag(torch.tensor(c.sigmas, dtype=torch.float64))
    return f, L, ss.hessian(f)(torch.zeros(2, dtype=torch.float64))


def predicted(c: Config, form: Form) -> np.ndarray:
    """Δ = ∫ e^{−H(T−s)} (right M − sym M)(x(s)) e^{−H(T−s)} ds along the gradient flow, T = 1."""
    _, L, H = problem(c)
    law, out = anisotropic_direction(L), np.zeros((2, 2))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    for t, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        x = torch.from_numpy(expm(-H.numpy() * t) @ np.array(c.x0))
        S, E = law(H @ x).cross(), expm(-H.numpy() * (1 - t))
        M = form(S, H)
        out += w * E @ (S @ H + H @ S.mT - (M + M.mT) / 2).numpy() @ E
    return out


def run(c: Config, recall: Recall) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {"eta": 2.0 ** np.array(c.log2_eta)}
    for name, shift in shifts_of(c).items():
        out[f"{name}/shift"] = shift
    found = [recall(projections, c, float(eta)) for eta in out["eta"]]
    return out | {name: np.stack([f[name] for f in found], -1) for name in found[0]}


def shifts_of(c: Config) -> dict[str, np.ndarray]:
    return {name: predicted(c, form) for name, form in FORMS.items()}


def projections(c: Config, eta: float) -> dict[str, np.ndarray]:
    shifts = shifts_of(c)
    f, L, H = problem(c)
    rho, steps = eta**0.5, round(1 / eta)
    law = anisotropic_direction(L, accuracy=1e-4)
    models = [Model(H, L, law, eta, rho, form) for form in (None, *FORMS.values())]
    fine = (ss.subcycle(ss.small_noise_srk(ss.SDE(m, 2, dim=2), eta / c.substeps), c.substeps) for m in models)
    pair = ss.coupled(ss.optimizer(partial(ss.sam, rho=rho), ss.GaussianOracle(f, L), eta), *fine)
    means = {str(2 * i + j): (lambda x, i=i, j=j: x[..., i, j]) for i in range(len(models) + 1) for j in range(2)}
    pilot = ss.simulate(
        pair,
        list(c.x0),
        steps=steps,
        save_every=steps,
        observables=means,
        n=min(c.n, 1024),
        seed=derived(c.seed, "pilot"),
    )
    centres = torch.tensor([float(pilot.estimate(k)[-1].value) for k in means], dtype=torch.float64).reshape(-1, 2)

    def spread(i: int, j: int, shift: np.ndarray):
        """<Cov of member i − Cov of member j, Δ>/<Δ, Δ>/η^{3/2}, each about its pilot mean."""
        weight = torch.from_numpy(shift / (shift * shift).sum() / eta**1.5)

        def observe(x):
            a, b = x[..., i, :] - centres[i], x[..., j, :] - centres[j]
            return ((a @ weight) * a).sum(-1) - ((b @ weight) * b).sum(-1)

        return observe

    observables = {name: spread(1, 2 + k, shifts[name]) for k, name in enumerate(FORMS)}
    observables["right"] = spread(0, 1, shifts["slides"])
    run = ss.simulate(pair, list(c.x0), steps=steps, save_every=steps, observables=observables, n=c.n, seed=c.seed)
    cut = models[2].cut(torch.from_numpy(run_points(pair, c, steps)))
    return {name: packed(run.estimate(name))[:, -1] for name in observables} | {"cut": cut}


def run_points(pair: ss.Kernel, c: Config, steps: int) -> np.ndarray:
    """Where 64 paths of the slides' SDE are at every step."""
    return ss.trajectories(pair, list(c.x0), steps=steps, n=64, seed=c.seed)[:, :, 2].numpy()


def extrapolated(r: dict[str, np.ndarray], name: str) -> tuple[float, float]:
    """The value at η = 0 of a weighted fit p₀ + p₁ √η, with its standard error."""
    value, error, _ = r[name]
    design = np.stack((np.ones_like(r["eta"]), r["eta"] ** 0.5), -1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return float((covariance @ design.T @ (value / error))[0]), float(covariance[0, 0] ** 0.5)


def figure(r: dict[str, np.ndarray], c: Config):
    fig, axes = new_figure(1, 1, height=2.8)
    ax, x = axes[0, 0], r["eta"] ** 0.5
    for name, colour in COLOURS.items():
        value, error, _ = r[name]
        label = "right against SAM" if name == "right" else {"none": "no ρ-term"}.get(name, name)
        ax.errorbar(x, value, 1.96 * error, fmt="o", color=colour, markersize=3, capsize=2, label=label)
        p0, _ = extrapolated(r, name)
        slope = np.polyfit(x, value, 1, w=1 / error)[0]
        ax.plot([0, x.max()], [p0, p0 + slope * x.max()], color=colour, linewidth=0.7, linestyle=":")
    for level in (0, 1):
        ax.axhline(level, color="0.7", linewidth=0.6)
    ax.set(
        xlabel=r"$\sqrt{\eta}$",
        ylabel=r"$\langle\Delta\mathrm{Cov},\Delta\rangle/(|\Delta|^2\eta^{3/2})$",
        xlim=(0, None),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def verdicts(r: dict[str, np.ndarray], c: Config) -> list[Verdict]:
    fits = {name: extrapolated(r, name) for name in (*FORMS, "right")}
    text = {name: f"{p:.2f} ± {s:.2f}" for name, (p, s) in fits.items()}
    safe = {name: trusted(unpacked(r[name], c.n)) for name in fits}

    def zero(name: str) -> bool | None:
        """Whether |p₀| is below 0.5, half way to a wrong form (True), above (False), by four s.e., or neither."""
        p, s = fits[name]
        if not safe[name]:
            return None
        return True if abs(p) + 4 * s < 0.5 else False if abs(p) - 4 * s > 0.5 else None

    source = "Monzio Compagnoni et al. 2023, slides (read)"
    return [
        Verdict(
            claim="sam-covariance-right",
            statement="Σ + rho(S̄H + HS̄ᵀ), as the factored root, has the right rho-term on a rotated saddle",
            source="derived for this project (the general theorem's Ŝ + Ŝᵀ, recalled)",
            criterion="half-order part of Cov x − Cov X along the slides' error, extrapolated: |p₀| + 4 s.e. < 0.5, half way to a wrong form",
            paper_value="none given",
            observed=f"p₀ = {text['right']} (n = {c.n} per η)",
            rejects="; ".join(f"{name}: p₀ = {text[name]}" for name in FORMS),
            verdict=judge([zero("right")], [zero(name) is False for name in FORMS], given=False),
            expected="qualitatively",
        ),
        Verdict(
            claim="sam-covariance-as-printed",
            statement="Σ + rho H(S̄ + S̄ᵀ), the slides' covariance (symmetric part), has the right rho-term there",
            source=source,
            criterion="the same, for its difference from the right SDE on the same noise",
            paper_value="none given",
            observed=f"p₀ = {text['slides']}, predicted 1 (n = {c.n} per η); indefinite at up to {r['cut'][0].max():.1%} of "
            f"the points, where the negative eigenvalue is cut",
            rejects=f"no rho-term at all: p₀ = {text['none']}; the right form passes in the row above",
            verdict=judge([zero("slides")], [zero("none") is False], given=False),
            expected="not reproduced",
        ),
    ]
