"""``sdesam weak-order``: is this SDE right?  One table, one conclusion for each observable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .cells import observable_named
from .kernels import unwrap
from .oracles import Oracle
from .orders import WeakOrders, weak_order
from .sde import SDE
from .setting import Setting
from .theory import model_of
from .theory import monzio_compagnoni2023 as mc23
from .updates import sam, usam

__all__ = ["MODELS", "document", "order_of", "text"]

_PRINTED: dict[Callable, Callable[..., SDE]] = {usam: mc23.usam_sde_as_printed, sam: mc23.sam_sde_as_printed}
MODELS = ("theory", "as-printed", "sgd", "ode")


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
) -> WeakOrders:
    """The weak order of a setting's method; the setting's own eta and rho are not used.

    Raises
    ------
    ValueError
        As ``weak_order``, and for a printed form that does not exist.
    """
    start = setting.start()
    g, update = setting.oracle(len(start)), unwrap(setting.update())[0]
    f = setting.scene.landscape
    return weak_order(
        update, g, etas=etas, rho_scale=rho_scale, rho_power=rho_power, x0=start, horizon=horizon, estimator=estimator,
        observables={name: observable_named(name, f) for name in observables}, n=n, seed=setting.seed,
        sde=_model(update, model),
    )  # fmt: skip


def _model(update: Callable, name: str) -> Callable[[Oracle, float, float], SDE] | None:
    from functools import partial

    def of_theory(g: Oracle, eta: float, rho: float) -> SDE:
        return model_of(partial(update, rho=rho), g, eta)

    def sgd_sde(g: Oracle, eta: float, rho: float) -> SDE:
        return mc23.sgd_sde(g, eta=eta)

    def as_printed(g: Oracle, eta: float, rho: float) -> SDE:
        if update not in _PRINTED:
            raise ValueError(f"model as-printed exists for usam and sam, not for {update.__name__}.")
        return _PRINTED[update](g, eta=eta, rho=rho)

    def ode(g: Oracle, eta: float, rho: float) -> SDE:
        return without_noise(of_theory(g, eta, rho))

    return {"theory": None, "sgd": sgd_sde, "as-printed": as_printed, "ode": ode}[name]


def without_noise(sde: SDE) -> SDE:
    """The same drift, no diffusion; it keeps the noise dimension, so that it can be coupled."""

    def coefficients(x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        drift, _ = sde.coefficients(x)
        return drift, lambda dw: torch.zeros_like(drift)

    return SDE(coefficients, noise_dim=sde.noise_dim, private_dim=sde.private_dim, dim=sde.dim, row_size=sde.row_size)


def document(orders: WeakOrders) -> dict[str, Any]:
    """Everything as plain values."""
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
    return {"schema": 1, "model": orders.model, "conclusions": conclusions, "rows": rows}


def text(orders: WeakOrders) -> str:
    """A table for the eye, and the conclusion of each observable."""
    lines = [f"optimizer against {orders.model}"]
    for name, o in orders.items():
        lines += ["", f"{name:<10}{'eta':>10}{'E chain':>14}{'E SDE':>14}   error"]
        for i, eta in enumerate(orders.etas):
            error = f"{o.errors.value[i]:+.4e} ± {o.errors.stderr[i]:.1e}"
            lines.append(f"{'':<10}{eta:>10.5g}{o.chain.value[i]:>14.7g}{o.sde.value[i]:>14.7g}   {error}")
        lines.append(f"  {o}")
        if o.order.needed:
            lines.append(f"  about n = {o.order.needed:,} would settle it")
    lines += ["", "Order 1 speaks of the drift only: any diffusion of size O(eta) passes, even none."]
    return "\n".join(lines)
