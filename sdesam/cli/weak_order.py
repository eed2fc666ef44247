"""``sdesam weak-order``: is this SDE right?  A table, a conclusion for each observable, and one for the diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..dynamics.kernels import optimizer, unwrap
from ..dynamics.sde import SDE
from ..dynamics.updates import sgd
from ..problems.noise import Choice, Normal
from ..problems.observables import observable_named
from ..problems.oracles import ExactOracle, Oracle
from ..setting import Setting
from ..theory.one_step import Model
from ..weak.conclusions import Order, powers_of, second_powers_of
from ..weak.fluctuations import fluctuation_order, says_of_the_diffusion
from ..weak.leading_constants import LeadingConstant, follows_gradient, leading_constant
from ..weak.named_models import named_model
from ..weak.orders import WeakOrders, weak_order

__all__ = ["Answer", "document", "order_of", "text"]


@dataclass(frozen=True)
class Answer:
    """The weak orders, and where they were computed without Monte Carlo what theory predicts and S(eta) says."""

    orders: WeakOrders
    rho_power: float
    fluctuations: Order | None
    predicted: dict[str, LeadingConstant]


def order_of(
    setting: Setting,
    *,
    etas: Sequence[float],
    rho_scale: float,
    rho_power: float,
    horizon: float,
    observables: Sequence[str],
    estimator: Any,
    model: str,
    n: int | None,
) -> Answer:
    """The weak order of a setting's method; the setting's own eta and rho are not used.

    Raises
    ------
    ValueError
        As ``weak_order``, and for a printed form that does not exist.
    """
    start = setting.start()
    phis = {name: observable_named(name, setting.scene.landscape, d=len(start)) for name in observables}
    g, update = setting.oracle(len(start)), unwrap(setting.update())[0]
    _require_all_batches(g)
    sde, rho = named_model(model, update), update is not sgd and rho_scale > 0
    powers = powers_of(rho_power, rho=rho)
    predicted: dict[str, LeadingConstant] = {}
    if estimator == "coupled":
        _require_shared_noise(g, sde(g, max(etas), rho_scale * max(etas) ** rho_power), model)
    known = len(start) <= 2 and (rho_power == 0.5 or not rho) and model != "modified-2"
    if known and follows_gradient(update, g, start.double()):
        predicted = leading_constant(
            update, g, sde, rho_scale=rho_scale, x0=start, horizon=horizon, observables=phis
        )  # fmt: skip
    orders = weak_order(
        update, g, etas=etas, rho_scale=rho_scale, rho_power=rho_power, estimator=estimator, observables=phis, n=n,
        seed=setting.seed, sde=None if model == "theory" else sde, x0=start, horizon=horizon,
        powers=second_powers_of(rho_power, rho=rho) if model == "modified-2" else powers,
        e1={name: c.e1_with_noise for name, c in predicted.items() if c.drift_is_right}, progress=True,
    )  # fmt: skip
    if estimator == "coupled" or isinstance(g, ExactOracle):
        return Answer(orders, rho_power, None, predicted)
    pair_at = partial(_pair, update, g, sde, rho_scale, rho_power)
    S = fluctuation_order(pair_at, etas, x0=start, horizon=horizon, estimator=estimator, powers=powers)
    return Answer(orders, rho_power, S, predicted)


def _require_all_batches(g: Oracle) -> None:
    """An SDE made of some of the minibatches has their error, which does not vanish with eta."""
    if not isinstance(g.noise, Choice):
        return
    try:
        g.noise.nodes()
    except ValueError as error:
        raise ValueError(
            f"--batch-size {g.noise.B} of {g.noise.N} data has more than 10,000 minibatches, and sampling them would "
            "leave an error of the model that no eta removes: take a smaller batch for weak-order."
        ) from error


def _require_shared_noise(g: Oracle, sde: SDE, model: str) -> None:
    m = getattr(g.noise, "size", None)
    if isinstance(g.noise, Normal) and sde.noise_dim - sde.private_dim != m:
        raise ValueError(
            f"model {model} has a noise of its own for every node of a rule, {sde.noise_dim} of them, and cannot be "
            f"coupled with an optimizer that has {m}: use --estimator quadrature (d <= 2)."
        )


def _pair(update: Callable, g: Oracle, sde: Model, scale: float, power: float, eta: float) -> tuple[Any, SDE]:
    rho = scale * eta**power
    return optimizer(partial(update, rho=rho), g, eta), sde(g, eta, rho)


def document(answer: Answer) -> dict[str, Any]:
    """Everything as plain values."""
    orders = answer.orders
    rows = [
        {
            "observable": name, "eta": float(eta), "chain": float(o.chain.value[i]), "sde": float(o.sde.value[i]),
            "error": float(o.errors.value[i]), "stderr": float(o.errors.stderr[i]), "n": int(o.errors.n[i]),
            "sup": o.sup_errors[i].tolist(),
        }
        for name, o in orders.items() for i, eta in enumerate(orders.etas)
    ]  # fmt: skip
    conclusions = {
        name: {
            "conclusion": o.conclusion, "reason": o.order.reason, "needed n": o.order.needed,
            "slope": [float(o.slope.value), float(o.slope.stderr)],
            "half-order share": [float(o.order.share.value), float(o.order.share.stderr)],
        }
        for name, o in orders.items()
    }  # fmt: skip
    found = {"schema": 2, "model": orders.model, "conclusions": conclusions, "rows": rows}
    if (S := answer.fluctuations) is not None:
        found["fluctuations"] = {
            "conclusion": S.conclusion, "reason": S.reason, "eta": S.etas.tolist(),
            "S": np.asarray(S.errors.value).tolist(), "accuracy": np.asarray(S.errors.stderr).tolist(),
        }  # fmt: skip
    return found | {
        "predicted": {
            name: {"half": c.half, "e1": c.e1, "e1 with noise": c.e1_with_noise} for name, c in answer.predicted.items()
        }
    }


def text(answer: Answer) -> str:
    """A table for the eye, and the conclusion of each observable."""
    orders = answer.orders
    lines = [f"optimizer against {orders.model}"]
    for name, o in orders.items():
        lines += ["", f"{name:<10}{'eta':>10}{'E optimizer':>14}{'E SDE':>14}   error"]
        for i, eta in enumerate(orders.etas):
            error = f"{o.errors.value[i]:+.4e} ± {o.errors.stderr[i]:.1e}"
            lines.append(f"{'':<10}{eta:>10.5g}{o.chain.value[i]:>14.7g}{o.sde.value[i]:>14.7g}   {error}")
        lines.append(f"  {o}")
        if o.order.needed:
            lines.append(f"  about n = {o.order.needed:,} would settle it")
        if name in answer.predicted:
            c = answer.predicted[name]
            right = c.drift_is_right
            says = (
                f"{c.e1:.4g} eta, with the right noise {c.e1_with_noise:.4g} eta"
                if right
                else (f"{c.half:.4g} √eta, a wrong drift")
            )
            lines.append(
                f"  predicted: {says}" + (f"; fitted b = {float(o.order.constant.value):.4g}" if right else "")
            )
    if answer.fluctuations is None:
        blind = "Order 1 speaks of the drift only: any diffusion of size O(eta) passes, even none."
        return "\n".join(lines if answer.predicted else [*lines, "", blind])
    S = answer.fluctuations
    says = says_of_the_diffusion(S, [o.conclusion for o in orders.values()], answer.rho_power)
    values = "  ".join(f"{v:.3g}" for v in np.asarray(S.errors.value))
    return "\n".join([*lines, "", f"max |Cov x − Cov X|/eta: {values}", f"  {S.conclusion}: {says} ({S.reason})"])
