"""``weak_order``: right models get order 1, models without rho order 1/2, and mistakes one sentence."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
LINE = ss.GaussianOracle(ss.LogCosh(1), 0.5)
X = {"x": ss.coordinate(0)}
QUADRATIC = ss.GaussianOracle(ss.Quadratic(torch.diag(torch.tensor([1.0, 2.0], dtype=T))), 0.5)


def without_rho(g, eta, rho):
    return mc23.sgd_sde(g, eta=eta)


@pytest.mark.untyped
def test_closed_form_orders_of_right_and_wrong_models():
    run = partial(
        ss.weak_order, g=QUADRATIC, etas=[2.0**-k for k in range(5, 11)], rho_scale=1.0, x0=[1.0, 1.0], horizon=1.0,
        observables={"f": QUADRATIC.mean, "x": ss.coordinate(0)}, estimator="closed_form",
    )  # fmt: skip
    for update in (ss.sgd, ss.usam):
        orders = run(update)
        assert orders.model == f"the model of {update.__name__}"
        assert [o.conclusion for o in orders.values()] == ["order 1"] * 2, [str(o) for o in orders.values()]
    wrong = run(ss.usam, sde=without_rho)
    assert wrong.model == "without_rho"
    assert [o.conclusion for o in wrong.values()] == ["order 1/2"] * 2
    fixed = run(ss.usam, rho_scale=0.3, rho_power=0.0, sde=without_rho)
    assert fixed["x"].conclusion == "does not converge"


@pytest.mark.untyped
def test_oracle_values_of_the_sheet():
    """log cosh, eta = 2^-3: E x of chain and SDE from a deterministic computation, section 4 of the sheet."""
    orders = ss.weak_order(
        ss.usam, LINE, etas=[1 / 4, 1 / 5, 1 / 6, 1 / 8], rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X, n=5000
    )
    x = orders["x"]
    assert orders.etas[-1] == 1 / 8
    assert abs(x.chain.value[-1] - 0.445842287) < 4 * x.chain.stderr[-1]
    assert abs(x.sde.value[-1] - 0.445945674) < 4 * x.sde.stderr[-1]


@pytest.mark.untyped
def test_heavy_tails_do_not_decide():
    g = ss.GaussianOracle(ss.LogCosh(1), 0.5)
    with np.errstate(all="ignore"):
        orders = ss.weak_order(
            ss.dnsam, g, etas=[0.5, 0.4, 0.25, 0.2], rho_scale=1.0, x0=[0.05], horizon=2.0, n=300,
            observables={"x^2": ss.squared_norm},
        )  # fmt: skip
    assert orders["x^2"].conclusion == "inconclusive"
    assert "bound the observable" in orders["x^2"].order.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(etas=[0.1, 0.2, 0.5]), "at least four"),
        (dict(etas=[0.1, 0.2, 0.25, 0.3]), "whole number of steps of every eta"),
        (dict(observables={"one": lambda x: 0 * x[..., 0] + 1}), "'one' must depend on x, got 1.0 everywhere"),
        (dict(observables={"sum": lambda x: x.sum()}), "must map"),
        (dict(observables={}), "at least one function"),
        (dict(estimator="closed_form"), "must be affine"),
        (dict(estimator="magic"), "estimator must be|estimator"),
        (dict(rho_scale=-1.0), "rho_scale must be >= 0"),
        (dict(horizon=0.0), "horizon must be > 0"),
    ],
)
def test_bad_input(changes, message):
    settings = dict(etas=[0.5, 0.25, 0.2, 0.1], rho_scale=1.0, x0=[1.2], horizon=1.0, observables=X, n=64) | changes
    with pytest.raises((ValueError, TypeError), match=message):
        ss.weak_order(ss.sam, LINE, **settings)
