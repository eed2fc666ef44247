"""The models that ``sdesam weak-order`` compares an optimizer with, by name: right ones, printed ones, poorer ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..arguments import nearest
from ..dynamics.sde import SDE
from ..problems.oracles import ExactOracle, Oracle
from ..theory import model_of
from ..theory import monzio_compagnoni2023 as mc23
from ..theory.methods import METHODS, row_of
from ..theory.one_step import Model, modified_equation
from .models import Update
from .planted import without_noise

__all__ = ["NAMED_MODELS", "named_model"]


def theory(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The paper's SDE of the update, else its modified equation."""
    return model_of(partial(update, rho=rho), g, eta)


def sgd_sde(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The SDE of SGD, whatever the update."""
    return mc23.sgd_sde(g, eta=eta)


def as_printed(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The form that the paper prints, where it is another one."""
    row = row_of(update)
    if row is None or row.as_printed is None:
        known = " and ".join(name for name, other in METHODS.items() if other.as_printed)
        raise ValueError(f"model as-printed exists for {known}, not for {getattr(update, '__name__', update)}.")
    return row.as_printed(g, eta=eta, rho=rho)


def drift_only(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The paper's drift without noise."""
    return without_noise(theory(update, g, eta, rho))


def ode(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The ODE of the update on the full batch."""
    full_batch = modified_equation(partial(update, rho=rho), ExactOracle(g.mean), eta)
    return without_noise(full_batch, like=theory(update, g, eta, rho))


def modified(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The update's modified equation of order 1."""
    return modified_equation(partial(update, rho=rho), g, eta)


def modified_2(update: Update, g: Oracle, eta: float, rho: float) -> SDE:
    """The update's modified equation of order 2."""
    return modified_equation(partial(update, rho=rho), g, eta, order=2)


NAMED_MODELS: dict[str, Callable[[Update, Oracle, float, float], SDE]] = {
    "theory": theory, "sgd": sgd_sde, "as-printed": as_printed, "drift-only": drift_only, "ode": ode,
    "modified": modified, "modified-2": modified_2,
}  # fmt: skip


def named_model(name: str, update: Update) -> Model:
    """The model of that name for an update; raises ``ValueError`` for another name."""
    if name not in NAMED_MODELS:
        raise ValueError(f"model {name!r} is unknown: {nearest(name, NAMED_MODELS)}")
    build = NAMED_MODELS[name]

    def model(g: Oracle, eta: float, rho: float) -> SDE:
        return build(update, g, eta, rho)

    model.__name__ = build.__name__  # what ``WeakOrders.model`` shows
    return model
