"""The models that the command line compares with, by name, and what it says of their diffusions."""

from dataclasses import replace
from functools import partial
from typing import get_args, get_type_hints

import pytest
import torch

import sdesam as ss
from sdesam.cli.app import weak_order
from sdesam.setting import Setting, note_of
from sdesam.weak.fluctuations import says_of_the_diffusion
from sdesam.weak.named_models import NAMED_MODELS, named_model

T = torch.float64
G = ss.GaussianOracle(ss.LogCosh(1), 0.3, dim=1)
X = torch.tensor([[0.7]], dtype=T)


def drift_and_noise(name, update=ss.usam):
    sde = named_model(name, update)(G, 0.1, 0.2)
    drift, noise = sde.coefficients(X)
    size = None if noise is None else noise(torch.eye(max(sde.noise_dim, 1), dtype=T)).norm().item()
    return drift.item(), size


def test_they_are_the_options_of_the_command_line_and_are_shown_under_these_names():
    assert get_args(get_type_hints(weak_order)["model"]) == ("theory", "as-printed", "drift-only", "sgd", "ode",
                                                             "modified", "modified-2")  # fmt: skip
    shown = {name: named_model(name, ss.usam).__name__ for name in get_args(get_type_hints(weak_order)["model"])}
    assert shown == {name: name.replace("-", "_") for name in NAMED_MODELS} | {"sgd": "sgd_sde"}


def test_each_is_the_sde_of_its_name():
    own = ss.theory.model_of(partial(ss.usam, rho=0.2), G, 0.1).coefficients(X)[0].item()
    assert drift_and_noise("theory")[0] == drift_and_noise("drift-only")[0] == own
    assert drift_and_noise("drift-only")[1] in (None, 0.0) and drift_and_noise("theory")[1] > 0.01
    assert drift_and_noise("sgd") == drift_and_noise("sgd", ss.sam) and drift_and_noise("sgd")[0] != own
    exact = named_model("modified", ss.usam)(ss.ExactOracle(G.mean), 0.1, 0.2).coefficients(X)[0].item()
    assert drift_and_noise("ode")[0] == pytest.approx(exact, rel=1e-12)
    assert drift_and_noise("modified")[0] != drift_and_noise("modified-2")[0]


def test_what_there_is_not_is_one_sentence():
    with pytest.raises(ValueError, match="model as-printed exists for usam and sam, not for dnsam"):
        drift_and_noise("as-printed", ss.dnsam)
    with pytest.raises(ValueError, match="model 'moddified' is unknown: .*Did you mean 'modified'"):
        named_model("moddified", ss.usam)


@pytest.mark.parametrize(("method", "rho", "note"), [("usam", 0.0, True), ("usam", 0.1, False), ("sgd", 0.0, False)])
def test_a_radius_of_zero_is_noted(method, rho, note):
    said = note_of(Setting("saddle", method, eta=0.1, rho=rho))
    assert said == ("note: with rho = 0 usam is SGD; pass --rho for another" if note else "")


@pytest.mark.parametrize(
    ("conclusion", "drift", "power", "says"),
    [
        ("order 1", "order 1", 0.5, "the diffusion is right, its rho-term included"),
        ("order 1", "order 1/2", 1.0, "the diffusion is right, its rho-term is too small to be seen with this rho"),
        ("order 1/2", "order 1, wrong constant", 0.5, "the rho-term of the diffusion is missing or wrong"),
        ("order 1/2", "order 1/2", 0.5, "the covariance is wrong, by the diffusion or by a wrong drift"),
        ("does not converge", "order 1", 0.5, "the diffusion is wrong or missing"),
        ("no error", "order 1/2", 0.5, "neither side has any noise, or both have the same"),
        ("inconclusive", "order 1", 0.5, "nothing can be said of the diffusion"),
    ],
)
def test_what_the_order_of_s_says_depends_on_the_drift(conclusion, drift, power, says):
    S = ss.conclude([0.4, 0.2, 0.1, 0.05], ss.Estimate(torch.zeros(4).numpy(), torch.zeros(4).numpy(), 1, "quadrature"))
    assert says_of_the_diffusion(replace(S, conclusion=conclusion), ["order 1", drift], power) == says
