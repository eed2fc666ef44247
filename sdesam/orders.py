"""``weak_order``: is this SDE a model of this optimizer to O(eta)?  Weak errors at several eta, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from torch import Tensor

from .conclusions import HALF_INTEGER, INTEGER, Order, conclude
from .ensembles import Points
from .kernels import Kernel, optimizer, unwrap
from .observables import Observable
from .oracles import Oracle, require_oracle
from .sde import SDE
from .statistics import Estimate
from .theory import model_of
from .updates import sgd
from .validation import require_nonnegative, require_positive
from .weak_error import WeakError, by_coupled_mc, in_closed_form

__all__ = ["WeakOrder", "WeakOrders", "weak_order", "weak_order_of"]

_PILOT = 1024
_PRECISION = 0.007  # relative standard error of each point: the half-order share is then known to about ±0.1
_MOST = 40_000
Model = Callable[[Oracle, float, float], SDE]
PairAt = Callable[[float], tuple[Kernel, SDE]]


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
        """Order 1, order 1/2, does not converge, or inconclusive."""
        return self.order.conclusion

    def __str__(self) -> str:
        slope = self.order.slope
        return f"{self.conclusion}: {self.order.reason} (slope {slope.value:.3f} ± {slope.stderr:.1g})"


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
    estimator: Literal["coupled", "closed_form"] = "coupled",
    sde: Model | None = None,
    n: int | None = None,
    seed: int = 0,
) -> WeakOrders:
    """The weak order of an SDE as a model of an optimizer, with rho = rho_scale·eta^rho_power.

    Parameters
    ----------
    update : G(g, x, z, *, rho), rho not bound
    etas : at least four learning rates; horizon must be a whole number of steps of each
    observables : name -> phi
    estimator : "coupled" (Monte Carlo on one Brownian path) or "closed_form" (affine updates, Gaussian noise)
    sde : ``(g, eta, rho) -> SDE``; by default the paper's model of the update, else its modified equation
    n : replicates at every eta; by default from a pilot, for a relative error of 0.7 % at each point, up to 40,000

    Returns
    -------
    WeakOrders, a mapping from names to ``WeakOrder``; ``.model`` says which SDE was compared.

    Raises
    ------
    ValueError
        For fewer than four eta, a horizon that is no whole number of steps, an observable without error (a constant),
        or as the estimators.
    """
    require_oracle(g)
    require_nonnegative("rho_scale", rho_scale, "rho = rho_scale·eta^rho_power")
    require_nonnegative("rho_power", rho_power, "rho = rho_scale·eta^rho_power")
    field = unwrap(update)[0]

    def pair_at(eta: float) -> tuple[Kernel, SDE]:
        rho = rho_scale * eta**rho_power
        bound = partial(update, rho=rho)
        model = model_of(bound, g, eta) if sde is None else sde(g, eta, rho)
        return optimizer(bound, g, eta), model

    name = getattr(sde, "__name__", "a model of yours") if sde is not None else f"the model of {field.__name__}"
    powers = INTEGER if field is sgd or rho_scale == 0 else HALF_INTEGER
    return weak_order_of(
        pair_at, etas, x0=x0, horizon=horizon, observables=observables, estimator=estimator, n=n, seed=seed,
        powers=powers, model=name,
    )  # fmt: skip


def weak_order_of(
    pair_at: PairAt,
    etas: Sequence[float],
    *,
    x0: Points,
    horizon: float,
    observables: Mapping[str, Observable],
    estimator: Literal["coupled", "closed_form"] = "coupled",
    n: int | None = None,
    seed: int = 0,
    powers: tuple[float, ...] = HALF_INTEGER,
    model: str = "a model of yours",
) -> WeakOrders:
    """As ``weak_order``, for any pair ``eta -> (kernel, SDE)`` on one clock.

    Raises
    ------
    ValueError
        As ``weak_order``.
    """
    require_positive("horizon", horizon, "it is the model time of the comparison")
    if not observables:
        raise ValueError("observables must name at least one function, got none.")
    falling = sorted((float(eta) for eta in etas), reverse=True)
    if len(falling) < 4:
        raise ValueError(f"etas must be at least four, got {falling}: the expansion of the error has four terms.")
    steps = [_steps(horizon, eta) for eta in falling]
    per_eta = [
        _errors_at(pair_at(eta), x0, k, observables, estimator, n, seed) for eta, k in zip(falling, steps, strict=True)
    ]
    found = {name: _weak_order(name, falling, [e[name] for e in per_eta], powers) for name in observables}
    return WeakOrders(found, model, np.array(falling))


def _steps(horizon: float, eta: float) -> int:
    require_positive("eta", eta, "it is the learning rate")
    steps = round(horizon / eta)
    if steps < 1 or abs(horizon / eta - steps) > 1e-9 * steps:
        raise ValueError(
            f"horizon must be a whole number of steps of every eta, got {horizon} = {horizon / eta:.6g} x {eta}: the "
            "optimizer and the SDE would be compared at different times."
        )
    return steps


def _errors_at(
    pair: tuple[Kernel, SDE],
    x0: Points,
    steps: int,
    observables: Mapping[str, Observable],
    estimator: str,
    n: int | None,
    seed: int,
) -> dict[str, WeakError]:
    if estimator == "closed_form":
        return in_closed_form(*pair, x0, steps=steps, observables=observables)
    if estimator != "coupled":
        raise ValueError(f"estimator must be 'coupled' or 'closed_form', got {estimator!r}.")
    run = partial(by_coupled_mc, *pair, x0, steps=steps, observables=observables)
    if n is not None:
        return run(n=n, seed=seed)
    pilot = run(n=_PILOT, seed=seed + 1)
    r = max(e.substeps for e in pilot.values()) // 2
    return run(n=max(_wanted(e) for e in pilot.values()), seed=seed, substeps=max(r, 1))


def _wanted(e: WeakError) -> int:
    """Replicates for a relative standard error of 0.7 % at the last step, by the pilot."""
    error = e.error[-1]
    size = max(abs(float(error.value)), float(error.stderr))
    if size == 0:
        return _PILOT
    return min(_MOST, max(_PILOT, math.ceil(_PILOT * (float(error.stderr) / (_PRECISION * size)) ** 2)))


def _weak_order(name: str, etas: list[float], errors: list[WeakError], powers: tuple[float, ...]) -> WeakOrder:
    at_end = _joined([e.error[-1] for e in errors])
    try:
        order = conclude(etas, at_end, powers=powers)
    except ValueError as error:
        raise ValueError(f"observable {name!r}: {error}") from error
    if np.any(at_end.heavy_tailed):
        reason = "one replicate carries over 5 % of a variance: no interval can be trusted; bound the observable"
        order = replace(order, conclusion="inconclusive", reason=reason, needed=None)
    sup = np.array([e.sup() for e in errors])
    chain, sde = (_joined([getattr(e, side)[-1] for e in errors]) for side in ("chain", "sde"))
    return WeakOrder(at_end, sup, chain, sde, order)


def _joined(estimates: list[Estimate]) -> Estimate:
    value, stderr, n, heavy = (
        np.array([float(getattr(e, part)) for e in estimates]) for part in ("value", "stderr", "n", "heavy_tailed")
    )
    return Estimate(value, stderr, n.astype(int), estimates[0].method, heavy > 0)
