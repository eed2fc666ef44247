"""``weak_order``: is this SDE a model of this optimizer to O(eta)?  Weak errors at several eta, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_count, require_eta, require_nonnegative, require_positive, require_seed, require_steps
from ..dynamics.kernels import Kernel, optimizer, unwrap
from ..dynamics.sde import SDE
from ..dynamics.updates import sgd
from ..engine.display import ends, html_table, numbers, some
from ..engine.progress import reporting
from ..engine.start import Points, Run, Start
from ..engine.statistics import Estimate
from ..engine.streams import derived
from ..problems.noise import Normal
from ..problems.observables import Observable
from ..problems.oracles import Oracle, require_oracle
from ..theory import model_of
from ..theory.one_step import Model
from .by_grid.estimator import by_quadrature
from .conclusions import HALF_INTEGER, Order, conclude, powers_of
from .errors import WeakError, controlled_errors, coupled_errors, in_closed_form

__all__ = [
    "WeakOrder", "WeakOrders", "clock", "concluded", "errors_by", "order_of_errors", "weak_order", "weak_order_of",
]  # fmt: skip

_PILOT = 1024
_PRECISION = 0.007  # relative standard error of each point: the half-order share is then known to about ±0.1
_MOST = 40_000
_ROUNDING = 1e-13
_REFUSED = 0.1  # accuracy over error above which a computed error is not used
Estimator = Literal["coupled", "quadrature", "closed_form"]
Pair = tuple[Kernel, SDE]
PairAt = Callable[[float], Pair]
Errors = Callable[[Pair, Start, int, Mapping[str, Observable]], dict[str, WeakError]]


@dataclass(frozen=True, eq=False)
class WeakOrder:
    """The weak order of one observable.

    Attributes
    ----------
    errors : signed errors at t = horizon, one per eta, largest eta first
    sup_errors : (etas, 3): max over steps of |error|, and its simultaneous 95 % interval
    chain, sde : E phi of both at t = horizon
    order : slopes, half-order share and conclusion of ``errors``
    """

    errors: Estimate
    sup_errors: np.ndarray
    chain: Estimate
    sde: Estimate
    order: Order

    @property
    def slope(self) -> Estimate:
        """Of log |error| on log eta; reported, not the criterion."""
        return self.order.slope

    @property
    def local_slopes(self) -> Estimate:
        """Between neighbouring eta."""
        return self.order.local_slopes

    @property
    def conclusion(self) -> str:
        """Order 1, order 1/2, does not converge, inconclusive, …: see ``Order``."""
        return self.order.conclusion

    def __str__(self) -> str:
        slope = self.order.slope
        return f"{self.conclusion}: {self.order.reason} (slope {slope.value:.3f} ± {slope.stderr:.1g})"

    def __repr__(self) -> str:
        return f"Weak{self.order!r}"

    def _repr_html_(self) -> str:
        return self.order._repr_html_()


@dataclass(frozen=True, eq=False)
class WeakOrders(Mapping):
    """Observable -> ``WeakOrder``; ``model`` names the SDE that was compared."""

    found: Mapping[str, WeakOrder]
    model: str
    etas: np.ndarray

    def __getitem__(self, name: str) -> WeakOrder:
        """The order of one observable."""
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the observables."""
        return iter(self.found)

    def __len__(self) -> int:
        """Number of observables."""
        return len(self.found)

    def __repr__(self) -> str:
        found = some(f"{name}: {order.conclusion}" for name, order in self.items())
        return f"WeakOrders({found}; {self.model}, {len(self.etas)} eta {ends(self.etas)})"

    def _repr_html_(self) -> str:
        rows = [(name, o.conclusion, numbers(o.slope)[0], o.order.reason) for name, o in self.items()]
        names = ("observable", "conclusion", "slope", "reason")
        return html_table(repr(self), dict(zip(names, zip(*rows, strict=True), strict=True)))


def weak_order(
    update: Callable[..., Tensor],
    g: Oracle,
    *,
    etas: Sequence[float],
    rho_scale: float,
    rho_power: float = 0.5,
    x0: Points,
    horizon: float,
    observables: Mapping[str, Observable],
    estimator: Estimator = "coupled",
    sde: Model | None = None,
    n: int | None = None,
    seed: int = 0,
    powers: tuple[float, ...] | None = None,
    e1: Mapping[str, float] | None = None,
    progress: bool = False,
) -> WeakOrders:
    """The weak order of an SDE as a model of an optimizer, with rho = rho_scale·eta^rho_power.

    Parameters
    ----------
    update : G(g, x, z, *, rho), rho not bound
    etas : at least four learning rates; horizon must be a whole number of steps of each
    observables : name -> phi
    estimator : "coupled" (Monte Carlo on one Brownian path; with control variates where the noise is minibatches),
        "quadrature" (deterministic, d <= 2) or "closed_form" (affine updates, Gaussian noise)
    sde : ``(g, eta, rho) -> SDE``; by default the paper's model of the update, else its modified equation
    n : replicates at every eta; by default from a pilot, for a relative error of 0.7 % at each point, up to 40,000
    powers : of the expansion of the error; by default those of ``powers_of(rho_power)``
    e1 : observable -> predicted limit of err/eta, which *order 1* then has to meet; see ``leading_constant``
    progress : print on stderr what is done and how long the rest takes

    Returns
    -------
    WeakOrders, a mapping from names to ``WeakOrder``; ``.model`` says which SDE was compared.

    Raises
    ------
    ValueError
        For fewer than four eta, a horizon that is no whole number of steps, a constant observable, or as the
        estimators.
    """
    require_oracle(g)
    rho_scale = require_nonnegative("rho_scale", rho_scale, "rho = rho_scale·eta^rho_power")
    rho_power = require_nonnegative("rho_power", rho_power, "rho = rho_scale·eta^rho_power")
    field = unwrap(update)[0]

    def pair_at(eta: float) -> tuple[Kernel, SDE]:
        rho = rho_scale * eta**rho_power
        bound = partial(update, rho=rho)
        model = model_of(bound, g, eta) if sde is None else sde(g, eta, rho)
        return optimizer(bound, g, eta), model

    name = getattr(sde, "__name__", "a model of yours") if sde is not None else f"the model of {field.__name__}"
    if powers is None:
        powers = powers_of(rho_power, rho=field is not sgd and rho_scale > 0)
    return weak_order_of(
        pair_at, etas, x0=x0, horizon=horizon, observables=observables, estimator=estimator, n=n, seed=seed,
        powers=powers, e1=e1, model=name, progress=progress,
    )  # fmt: skip


def weak_order_of(
    pair_at: PairAt,
    etas: Sequence[float],
    *,
    x0: Points,
    horizon: float,
    observables: Mapping[str, Observable],
    estimator: Estimator = "coupled",
    n: int | None = None,
    seed: int = 0,
    powers: tuple[float, ...] = HALF_INTEGER,
    e1: Mapping[str, float] | None = None,
    model: str = "a model of yours",
    progress: bool = False,
) -> WeakOrders:
    """As ``weak_order``, for any pair ``eta -> (kernel, SDE)`` on one clock.

    Raises
    ------
    ValueError
        As ``weak_order``.
    """
    horizon = require_positive("horizon", horizon, "it is the model time of the comparison")
    if not observables:
        raise ValueError("observables must name at least one function, got none.")
    start = Start.of(x0)
    _require_varying(observables, start)
    if n is not None:
        n = require_count("n", n, least=2, why="one replicate has no standard error")
    seed = require_seed(seed)
    if unknown := set(e1 or {}) - set(observables):
        raise ValueError(f"e1 must name observables, got {', '.join(sorted(unknown))}; there are {list(observables)}.")
    falling, steps = clock(etas, horizon)
    errors_of = errors_by(estimator, n=n, seed=seed)
    per_eta = []
    with reporting(progress, sum(steps), "weak order") as advance:
        for eta, k in zip(falling, steps, strict=True):
            per_eta.append(errors_of(pair_at(eta), start, k, observables))
            advance(k)
    found = {}
    for name in observables:
        try:
            errors = [e[name] for e in per_eta]
            found[name] = order_of_errors(falling, errors, powers=powers, e1=(e1 or {}).get(name))
        except ValueError as error:
            raise ValueError(f"observable {name!r}: {error}") from error
    return WeakOrders(found, model, np.array(falling))


def _require_varying(observables: Mapping[str, Observable], start: Start) -> None:
    """Refuse what is one number at x0 and at 64 points about it, from 1e-3 to 1e3 away: it has no error."""
    point = start.one.double()
    around = np.random.default_rng(0).standard_normal((64, start.dim)) * np.logspace(-3, 3, 64)[:, None]
    points = point + torch.from_numpy(np.concatenate((np.zeros((1, start.dim)), around)))
    for name, phi in observables.items():
        values = phi(points)
        if isinstance(values, Tensor) and values.shape == points.shape[:1] and bool((values == values[0]).all()):
            raise ValueError(
                f"observable {name!r} must depend on x, got {float(values[0])} everywhere: a constant has no error, "
                "and an error of 0 no order."
            )


def clock(etas: Sequence[float], horizon: float) -> tuple[list[float], list[int]]:
    """Four or more eta, falling, and the number of steps of each until the horizon; ``ValueError`` for all else."""
    falling = sorted((require_eta(eta) for eta in etas), reverse=True)
    if len(falling) < 4:
        raise ValueError(f"etas must be at least four, got {falling}: the expansion of the error has four terms.")
    why = "the optimizer and the SDE would be compared at different times"
    return falling, [require_steps(horizon, eta, why) for eta in falling]


def errors_by(estimator: str, *, n: int | None, seed: int, accuracy: float | None = None) -> Errors:
    """The weak errors by the estimator of that name, as a function of the pair, start, steps and observables.

    Parameters
    ----------
    n : replicates of a Monte Carlo; None for as many as a pilot says
    accuracy : quadrature's
    """
    if estimator == "quadrature":
        return partial(_computed, partial(by_quadrature, accuracy=accuracy))
    if estimator == "closed_form":
        return partial(_computed, in_closed_form)
    if estimator != "coupled":
        raise ValueError(f"estimator must be 'coupled', 'quadrature' or 'closed_form', got {estimator!r}.")
    return partial(_sampled, n, seed)


def _computed(
    by: Callable[..., dict[str, WeakError]], pair: Pair, start: Start, steps: int, phis: Mapping[str, Observable]
) -> dict[str, WeakError]:
    return by(*pair, start.alone("it is computed from one point"), steps=steps, observables=phis)


def _sampled(
    n: int | None, seed: int, pair: Pair, start: Start, steps: int, phis: Mapping[str, Observable]
) -> dict[str, WeakError]:
    by = coupled_errors if isinstance(pair[0].noise, Normal) else controlled_errors
    if n is not None:
        return by(*pair, Run(start, steps, n, seed), phis)
    pilot = by(*pair, Run(start, steps, _PILOT, derived(seed, "pilot")), phis)
    r = max(e.substeps for e in pilot.values()) // 2
    return by(*pair, Run(start, steps, max(_wanted(e) for e in pilot.values()), seed), phis, max(r, 1))


def _wanted(e: WeakError) -> int:
    """Replicates for a relative standard error of 0.7 % at the last step, by the pilot."""
    error = e.error[-1]
    size = max(abs(float(error.value)), float(error.stderr))
    if size == 0:
        return _PILOT
    return min(_MOST, max(_PILOT, math.ceil(_PILOT * (float(error.stderr) / (_PRECISION * size)) ** 2)))


def order_of_errors(
    etas: Sequence[float],
    errors: Sequence[WeakError],
    *,
    powers: tuple[float, ...] = HALF_INTEGER,
    e1: float | None = None,
) -> WeakOrder:
    """The weak order of one observable from its weak errors at each eta, largest eta first.

    Raises
    ------
    ValueError
        For fewer than four eta, or errors that are not finite.
    """
    at_end = _joined([e.error[-1] for e in errors])
    order = concluded(np.array(etas), at_end, powers, e1)
    if np.any(at_end.heavy_tailed):
        reason = "one replicate carries too much of a variance: no interval can be trusted; bound the observable"
        order = replace(order, conclusion="inconclusive", reason=reason, needed=None)
    sup = np.array([e.sup() for e in errors])
    chain, sde = (_joined([getattr(e, side)[-1] for e in errors]) for side in ("chain", "sde"))
    return WeakOrder(at_end, sup, chain, sde, order)


def concluded(
    etas: np.ndarray, errors: Estimate, powers: tuple[float, ...] = HALF_INTEGER, e1: float | None = None
) -> Order:
    """The conclusion without the cells that quadrature refuses: those known to worse than a tenth of themselves.

    Without the smallest eta there is none: the order is that of the limit.
    """
    value, off = np.abs(np.asarray(errors.value)), np.asarray(errors.stderr)
    kept = off <= _REFUSED * value if errors.method == "quadrature" else np.ones(len(etas), bool)
    if kept.all() or np.all(value < _ROUNDING):
        return conclude(
            etas, replace(errors, value=np.where(value < _ROUNDING, 0.0, errors.value)), powers=powers, e1=e1
        )
    bad = zip(etas[~kept], off[~kept], value[~kept], strict=True)
    cells = ", ".join(f"eta = {eta:g} ({o:.1g} for {v:.1g})" for eta, o, v in bad)
    refused = f"refused, their accuracy is worse than a tenth of the error: {cells}"
    if kept.sum() >= max(4, len(powers)):
        order = conclude(etas[kept], errors[kept], powers=powers, e1=e1)
        lost = not kept[np.argmin(etas)]
        return replace(
            order, reason=f"{order.reason}; {refused}", conclusion="inconclusive" if lost else order.conclusion
        )
    nothing = Estimate(math.nan, math.inf, 1, errors.method)
    local = Estimate(np.full(len(etas) - 1, math.nan), np.full(len(etas) - 1, math.inf), 1, errors.method)
    return Order(etas, errors, nothing, local, nothing, nothing, math.inf, "inconclusive", refused)


def _joined(estimates: list[Estimate]) -> Estimate:
    value, stderr, n, heavy = (
        np.array([float(getattr(e, part)) for e in estimates]) for part in ("value", "stderr", "n", "heavy_tailed")
    )
    return Estimate(value, stderr, n.astype(int), estimates[0].method, heavy > 0)
