"""The criteria of the paper's figures, each watched failing on planted results."""

import json
from pathlib import Path

import numpy as np
import pytest

from sdesam.experiments import load

ROOT = Path(__file__).parents[1]


def recorded(name):
    """Config, results and module of a committed experiment."""
    script = load(ROOT / "experiments" / f"{name}.py")
    record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    return script, script.Config(), {k: np.array(v) for k, v in record["results"].items()}


def watch(name, claim, *planted):
    """The claim's verdict is the one on record, and none of the planted results keeps it."""
    script, config, results = recorded(name)

    def verdict(r):
        return next(v for v in script.verdicts(r, config) if v.claim == claim)

    on_record = verdict(results)
    assert on_record.verdict == on_record.expected
    for change in planted:
        assert verdict({**results, **change(results)}).verdict != on_record.expected, change(results).keys()


def louder(key, factor=1.2):
    """The estimate of that name with a larger value and the same error."""
    return lambda r: {key: r[key] * np.array([factor, 1, 1]).reshape(3, *[1] * (r[key].ndim - 1))}


def heavy(key):
    return lambda r: {key: r[key] + np.array([0, 0, 1]).reshape(3, *[1] * (r[key].ndim - 1))}


def as_is(old, new):
    return lambda r: {old: r[new]}


@pytest.mark.parametrize(
    ("claim", "planted"),
    [
        ("F6-usam-grows-with-rho", [as_is("USAM/0.5", "USAM/0.2"), heavy("USAM/0.5")]),
        ("F6-sam-grows-with-rho", [as_is("SAM/0.05", "SGD/0.05"), louder("SGD/0.5")]),
        ("F6-dnsam-grows-with-rho", [as_is("DNSAM/0.5", "DNSAM/0.05")]),
        ("F6-usam-chain-floor", [louder("USAM/0.2", 1.03), as_is("USAM/0.5", "SAM/0.5")]),
        ("F6-first-order-covariance", [louder("USAM/0.5", 0.7)]),
        ("F6-sam-floor", [louder("SAM/0.2", 1.05), as_is("SAM/0.5", "USAM/0.5")]),
        ("F6-sam-rho-squared-floor", [louder("plane", 0.88)]),
        ("F6-dnsam-closure", [as_is("DNSAM/0.2", "SAM/0.2")]),
        ("F6-usam-pl-bound", [lambda r: {"PL bound, floor, wrong bound": r["PL bound, floor, wrong bound"][:, ::-1]}]),
    ],
)
def test_role_of_rho(claim, planted):
    watch("F6", claim, *planted)


@pytest.mark.parametrize(
    ("claim", "planted"),
    [
        ("F7-sgd-floor-flat", [louder("SGD/10.0", 1.05), louder("SGD/1.0", 1.03)]),
        ("F7-usam-floor-rises", [as_is("USAM/5.0", "USAM/2.0"), heavy("USAM/2.0")]),
        ("F7-dnsam-floor-rises", [as_is("DNSAM/10.0", "DNSAM/5.0")]),
        ("F7-sam-floor-rises", [as_is("SAM/1.0", "SAM/2.0"), louder("SGD/10.0")]),
        *((f"F7-{name.lower()}-law", [louder(f"{name}/1.0", 1.06), as_is(f"{name}/2.0", f"{other}/2.0")])
          for name, other in (("SGD", "USAM"), ("USAM", "SAM"), ("SAM", "DNSAM"), ("DNSAM", "SGD"))),
    ],
)  # fmt: skip
def test_role_of_the_curvature(claim, planted):
    watch("F7", claim, *planted)
