"""Weak errors E phi(x_k) − E phi(X_{k eta}) of an optimizer and an SDE, with standard errors at every step.

    by_coupled_mc     both on one Brownian path, the SDE with h and h/2: the variance of the difference falls like eta²
                      to eta⁴, and the SDE's own discretisation bias is measured on the same paths
    by_controlled_mc  each with its own noise and its own linearisation as control variate: for minibatches
    in_closed_form    affine updates and linear SDEs under Gaussian noise: exact, every step, any d

Errors are signed, algorithm minus SDE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from ..arguments import require_substeps
from ..dynamics.controls import antithetic, averaged, controlled, linearised
from ..dynamics.integrators import heun, small_noise_srk
from ..dynamics.kernels import Kernel, coupled, subcycle
from ..dynamics.sde import SDE
from ..engine.display import about_ten, ends, html_table, numbers
from ..engine.ensembles import Watched, simulated
from ..engine.probe import probe
from ..engine.start import Points, Run, Start
from ..engine.statistics import Estimate, Moments
from ..engine.streams import derived
from ..problems.noise import Normal
from ..problems.observables import Observable, difference, of_member
from ..theory.exact.linear import GaussianPath, affine_chain, chain_path, linear_sde, sde_path

__all__ = ["WeakError", "by_controlled_mc", "by_coupled_mc", "controlled_errors", "coupled_errors", "in_closed_form"]

_MOST_SUBSTEPS = 64
_HERMITE = {1: 40, 2: 24, 3: 12}  # Gauss-Hermite nodes per dimension for phi of a Gaussian law; 5 for larger d


@dataclass(frozen=True, eq=False)
class WeakError:
    """The weak error of one observable at steps 0..K.

    Attributes
    ----------
    times : model time
    error : E phi(x_k) − E phi(X_t), with standard errors of the paired difference
    chain, sde : E phi of both
    bias : E phi of the SDE's scheme with h minus that with h/2, the finer of which ``error`` uses; 0 where exact
    substeps : integrator steps per eta behind ``sde`` (0: exact)
    """

    times: np.ndarray
    error: Estimate
    chain: Estimate
    sde: Estimate
    bias: Estimate
    substeps: int

    def sup(self, level: float = 0.95) -> tuple[float, float, float]:
        """max_k |error|, with an interval [max(0, max(|e_k| − q s_k)), max(|e_k| + q s_k)] that holds for all steps.

        q is Bonferroni's quantile over the K steps: conservative.  The maximum itself is biased up by noise.
        """
        e, s = np.abs(np.asarray(self.error.value))[1:], np.asarray(self.error.stderr)[1:]
        q = float(ndtri(1 - (1 - level) / 2 / len(e)))
        return float(e.max()), max(0.0, float((e - q * s).max())), float((e + q * s).max())

    def __repr__(self) -> str:
        parts = {"error": self.error, "chain": self.chain, "SDE": self.sde, "bias of the scheme": self.bias}
        last = ", ".join(f"{name} {numbers(e[-1])[0]}" for name, e in parts.items())
        sup = "largest |error| {:.3g} [{:.3g}, {:.3g}]".format(*self.sup()) if len(self.times) > 1 else "one time"
        return f"WeakError at t = {ends(self.times)}, {self.error.method}: {sup}\n  at the last: {last}"

    def _repr_html_(self) -> str:
        at = about_ten(len(self.times))
        parts = {"error": self.error, "chain": self.chain, "SDE": self.sde}
        shown = {name: numbers(e[at]) for name, e in parts.items()}
        return html_table(repr(self).splitlines()[0], {"time": self.times[at]} | shown)


def by_coupled_mc(
    optimizer: Kernel,
    sde: SDE,
    x0: Points,
    *,
    steps: int,
    observables: Mapping[str, Observable],
    n: int,
    seed: int = 0,
    substeps: int = 2,
    pairs: bool = False,
) -> dict[str, WeakError]:
    """Weak errors by simulating the optimizer and its SDE, with h and h/2, on one Brownian path.

    ``substeps`` (r = eta/h) is doubled while the bias at the last step exceeds its standard error and a tenth of the
    error, up to 64: the scheme is of second order for small noise, so the finer one's bias is below the measured one.

    Parameters
    ----------
    optimizer : a kernel with dt = eta
    sde : its model, of the optimizer's noise dimension (the factored root couples best)
    pairs : replicates are antithetic pairs, z and −z: twice the cost, one power of eta less in the variance where the
        update is nearly linear in z (SGD, USAM), little for SAM

    Raises
    ------
    ValueError
        When the two cannot be coupled (minibatch noise has no Brownian motion), or as ``simulate``.
    """
    return coupled_errors(optimizer, sde, Run(Start.of(x0), steps, n, seed), observables, substeps, pairs)


def coupled_errors(
    optimizer: Kernel,
    sde: SDE,
    run: Run,
    observables: Mapping[str, Observable],
    substeps: int = 2,
    pairs: bool = False,
) -> dict[str, WeakError]:
    """As ``by_coupled_mc``, of arguments that are checked."""
    return _refined(partial(_coupled_once, optimizer, sde, run, observables, pairs), substeps)


def _refined(once: Callable[[int], dict[str, WeakError]], substeps: int) -> dict[str, WeakError]:
    """The first result whose bias hides in its standard error, or in a tenth of the error; substeps are doubled."""
    substeps = require_substeps(substeps)
    while True:
        found = once(substeps)
        if 2 * substeps >= _MOST_SUBSTEPS or not any(_biased(e) for e in found.values()):
            return found
        substeps *= 2


def _coupled_once(
    optimizer: Kernel, sde: SDE, run: Run, observables: Mapping[str, Observable], pairs: bool, r: int
) -> dict[str, WeakError]:
    fine = (subcycle(_scheme(sde, optimizer.dt / k), k) for k in (r, 2 * r))
    kernel = coupled(optimizer, *fine)
    phis: dict[str, Observable] = {}
    for name, phi in observables.items():
        phis |= {
            f"{name}|error": difference(phi, 0, 2), f"{name}|bias": difference(phi, 1, 2),
            f"{name}|chain": of_member(phi, 0), f"{name}|sde": of_member(phi, 2),
        }  # fmt: skip
    if pairs:
        kernel, phis = antithetic(kernel), {name: averaged(phi) for name, phi in phis.items()}
    moments = simulated(kernel, run, Watched(phis))
    return {name: _weak_error(moments, name, 2 * r) for name in observables}


def _scheme(sde: SDE, h: float) -> Kernel:
    return small_noise_srk(sde, h) if sde.noise_dim else heun(sde, h)


def _weak_error(moments: Moments, name: str, substeps: int) -> WeakError:
    parts = {kind: moments.estimate(f"{name}|{kind}") for kind in ("error", "chain", "sde", "bias")}
    return WeakError(moments.times, substeps=substeps, **parts)


def _biased(e: WeakError) -> bool:
    bias, error = e.bias[-1], e.error[-1]
    size = abs(float(bias.value))
    return size > float(error.stderr) and size > 0.1 * abs(float(error.value))


# ----------------------------------------------------------------- no noise to share
def by_controlled_mc(
    optimizer: Kernel,
    sde: SDE,
    x0: Points,
    *,
    steps: int,
    observables: Mapping[str, Observable],
    n: int,
    seed: int = 0,
    substeps: int = 2,
) -> dict[str, WeakError]:
    """Weak errors by simulating the optimizer and its SDE apart, each with its linearisation as control variate.

    For minibatch noise, which has no Brownian motion to share.  The variance is O(eta²), that of plain means O(eta);
    ``by_coupled_mc`` reaches O(eta³) where it applies.  The scheme's bias is that of h against h/2 on one path.

    Parameters
    ----------
    x0 : one point
    n : replicates of each side

    Raises
    ------
    ValueError
        For more than one start, minibatches that cannot be enumerated, or as ``simulate``.
    """
    start = Start(Start.of(x0).alone("control variates follow one path"))
    return controlled_errors(optimizer, sde, Run(start, steps, n, seed), observables, substeps)


def controlled_errors(
    optimizer: Kernel, sde: SDE, run: Run, observables: Mapping[str, Observable], substeps: int = 2
) -> dict[str, WeakError]:
    """As ``by_controlled_mc``, of arguments that are checked."""
    return _refined(partial(_controlled_once, optimizer, sde, run, observables), substeps)


def _controlled_once(
    optimizer: Kernel, sde: SDE, run: Run, observables: Mapping[str, Observable], r: int
) -> dict[str, WeakError]:
    start, steps = run.start.alone("control variates follow one path"), run.steps
    coarse, fine = (_scheme(sde, optimizer.dt / k) for k in (r, 2 * r))
    phis = Watched({name: controlled(phi) for name, phi in observables.items()})
    gaps = Watched({name: difference(phi) for name, phi in observables.items()})
    chain = simulated(linearised(optimizer, start, steps * optimizer.substeps), run, phis)
    other = replace(run, seed=derived(run.seed, "SDE"))
    model = simulated(subcycle(linearised(fine, start, steps * 2 * r), 2 * r), other, phis)
    bias = simulated(coupled(subcycle(coarse, r), subcycle(fine, 2 * r)), other, gaps)
    found = {}
    for name in observables:
        a, b = chain.estimate(name), model.estimate(name)
        heavy = np.asarray(a.heavy_tailed) | np.asarray(b.heavy_tailed)
        error = Estimate(a.value - b.value, np.hypot(a.stderr, b.stderr), a.n, "Monte Carlo", heavy)
        found[name] = WeakError(chain.times, error, a, b, bias.estimate(name), 2 * r)
    return found


# ----------------------------------------------------------------- exact
@torch.no_grad()
def in_closed_form(
    optimizer: Kernel, sde: SDE, x0: Points, *, steps: int, observables: Mapping[str, Observable]
) -> dict[str, WeakError]:
    """Weak errors of an affine update and a linear SDE under Gaussian noise: exact, at every step.

    Both laws are Gaussian, with means and covariances by recursion; E phi is taken by Gauss-Hermite quadrature, exact
    for polynomials up to degree 9 (23 for d = 3, 47 for d = 2, 79 for d = 1); for all else a smaller rule checks it.

    Raises
    ------
    ValueError
        When the step or the SDE is not affine with additive Gaussian noise, or phi is not smooth enough.
    """
    start = Start.of(x0).alone("its law is computed from one point")
    d = start.shape[-1]
    for kernel, watched in ((optimizer, observables), (_scheme(sde, optimizer.dt), {})):
        probe(kernel, start, watched, {})
    chain = chain_path(affine_chain(optimizer, d), start.tolist(), steps)
    model = sde_path(linear_sde(sde, d), start.tolist(), float(optimizer.dt), steps)
    times = np.arange(steps + 1) * float(optimizer.dt)
    found = {}
    for name, phi in observables.items():
        a, b = (_gaussian_mean(path, phi, name) for path in (chain, model))
        found[name] = WeakError(times, _known(a - b), _known(a), _known(b), _known(0 * a), 0)
    return found


def _known(value: np.ndarray) -> Estimate:
    return Estimate(value, np.zeros_like(value), np.ones(len(value), int), "deterministic")


def _gaussian_mean(path: GaussianPath, phi: Observable, name: str) -> np.ndarray:
    d = path.mean.shape[1]
    order = _HERMITE.get(d, 5)
    mean, root = torch.from_numpy(path.mean), _roots(path.covariance)
    value, coarser = (_expectation(phi, mean, root, k) for k in (order, max(2, (2 * order) // 3)))
    error = float((value - coarser).abs().max())
    if not error <= 1e-9 * (1 + float(value.abs().max())):
        raise ValueError(
            f"observable {name!r} must be smooth (a polynomial, say) for the closed form, its expectation is off by "
            f"{error:.2g}: use by_coupled_mc."
        )
    return value.numpy()


def _expectation(phi: Observable, mean: Tensor, root: Tensor, order: int) -> Tensor:
    z, w = Normal(mean.shape[1]).nodes(order)
    return (w * phi(mean[:, None] + z @ root.mT)).sum(-1)


def _roots(covariance: np.ndarray) -> Tensor:
    values, vectors = np.linalg.eigh(covariance)
    return torch.from_numpy(vectors * np.sqrt(np.maximum(values, 0))[:, None, :])
