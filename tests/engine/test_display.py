"""Results show what matters in one to three lines, and as tables of escaped texts in a notebook."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.display import html_table
from sdesam.weak.orders import order_of_errors

T = torch.float64
G = ss.GaussianOracle(ss.Quadratic(torch.eye(1, dtype=T)), 0.3, dim=1)
ETAS = (0.2, 0.1, 0.05, 0.025)
LONG = 3000


def exact(eta):
    """The exact weak errors of SGD on a parabola."""
    model = ss.theory.model_of(ss.sgd, G, eta)
    observables = {"x[0]": ss.coordinate(0), "|x|^2": ss.squared_norm}
    return ss.in_closed_form(ss.optimizer(ss.sgd, G, eta), model, [1.0], steps=round(1 / eta), observables=observables)


@pytest.fixture(scope="module")
def results():
    """One of each kind, as long as they come."""
    times, value = np.arange(LONG) * 0.01, np.linspace(1.0, 0.5, LONG)
    e = ss.Estimate(value, value / 100, np.full(LONG, 1000), "Monte Carlo")
    errors = [exact(eta)["x[0]"] for eta in ETAS]
    order = order_of_errors(ETAS, errors)
    values = np.random.default_rng(0).standard_normal((LONG, 2, 16))
    inputs = torch.zeros(LONG, 4), torch.zeros(LONG, dtype=torch.int64)
    net = torch.nn.Linear(4, 2)
    return {
        "FiniteSum": ss.landscape_from_module(net, torch.nn.functional.cross_entropy, inputs),
        "ModuleLoss": ss.landscape_from_module(net, torch.nn.functional.cross_entropy, inputs).loss,
        "Estimate": e,
        "Moments": ss.Moments.of(values, names=("f", "<x>"), steps=np.arange(LONG), dt=0.01, edges={}),
        "ExitTimes": ss.ExitTimes(np.array([0, *[3] * LONG]), censored=1000, diverged=2, dt=0.01),
        "WeakError": ss.WeakError(times, e, e, e, e, 4),
        "Order": order.order,
        "WeakOrder": order,
        "WeakOrders": ss.weak_order_of(
            lambda eta: (ss.optimizer(ss.sgd, G, eta), ss.theory.model_of(ss.sgd, G, eta)), ETAS, x0=[1.0], horizon=1.0,
            observables={"x[0]": ss.coordinate(0), "<x>": ss.squared_norm}, estimator="closed_form",
        ),
        "Comparison": ss.Comparison(times, {"<x>": e, "f": e}, {"own": {"<x>": e, "f": e}}, np.ones(LONG, int)),
    }  # fmt: skip


SAYS = {
    "FiniteSum": ["N = 3000, d = 10", "loss cross_entropy of a Linear", "float32 (3000, 4) and int64 (3000,)"],
    "ModuleLoss": ["cross_entropy of a Linear"],
    "Estimate": ["3000 values 1 ± 0.01 .. 0.5 ± 0.005", "n = 1,000, Monte Carlo"],
    "Moments": ["n = 16, Monte Carlo, eager engine", "3000 saved steps 0 .. 2999, t = 0 .. 29.99", "at the last: f "],
    "ExitTimes": ["to step 3000, t = 30: n = 10,000", "left: 0.9 ± 0.003, 2 of them to a", "bound: 1,000 stayed"],
    "WeakError": ["t = 0 .. 29.99, Monte Carlo: largest |error| 1 [", "last: error 0.5 ± 0.005, chain 0.5", "bias of"],
    "Order": ["Order(order 1: share of order 1/2 ", "4 eta 0.2 .. 0.025, errors -", "slope 1."],
    "WeakOrder": ["WeakOrder(order 1: share of order 1/2 "],
    "WeakOrders": ["(x[0]: order 1, <x>: order 1; a model of yours, 4 eta 0.2 .. 0.025)"],
    "Comparison": ["of <x>, f at t = 0 .. 29.99, 1 lost", "largest error of <x> over its mean [95 %]: own 1.33 [1.2"],
}


@pytest.mark.parametrize("kind", SAYS)
def test_a_result_shows_what_matters_in_three_lines(results, kind):
    text = repr(results[kind])
    assert len(text.splitlines()) <= 3 and max(map(len, text.splitlines())) <= 160
    assert [words for words in SAYS[kind] if words not in text] == [], text
    assert "array(" not in text and "tensor(" not in text


@pytest.mark.parametrize("kind", [kind for kind in SAYS if kind not in ("FiniteSum", "ModuleLoss", "Estimate")])
def test_a_notebook_gets_a_short_table(results, kind):
    table = results[kind]._repr_html_()
    rows = table.split("<tr>")[1:]
    assert 3 <= len(rows) <= 12 and all(row.count("<td>") == rows[0].count("<th>") for row in rows[1:])
    assert "±" in table or "band" in table
    assert "<x>" not in table and ("&lt;x&gt;" in table) == (kind in ("Moments", "WeakOrders", "Comparison"))


def test_one_number_shows_its_error():
    e = ss.Estimate(0.5, 0.01, 1000, "Monte Carlo")
    assert repr(e) == "Estimate(0.5 ± 0.01, n = 1,000, Monte Carlo)"
    assert repr(replace(e, heavy_tailed=True)).endswith("Monte Carlo, heavy-tailed)")
    assert repr(ss.Estimate(np.zeros((2, 3)), 0.1, 5, "x")) == "Estimate(2 x 3 values 0 ± 0.1 .. 0 ± 0.1, n = 5, x)"
    assert repr(ss.Estimate(np.zeros(0), 0.0, 0, "x")) == "Estimate(0 values , n = 0, x)"


def test_what_a_user_names_cannot_become_markup():
    table = html_table("<b>", {"<script>": ["<img src=x>", 0.5]})
    assert table.count("&lt;") == 3 and not any(word in table for word in ("<script", "<img", "<b>"))


def test_errors_that_vanish_or_are_not_finite_show_too():
    nothing = ss.conclude(ETAS, ss.Estimate(np.zeros(4), np.zeros(4), 1, "deterministic"))
    assert repr(nothing).startswith("Order(no error: ") and "nan" in nothing._repr_html_()
