"""The criteria of the validation figures F1 to F5, each watched failing on planted results."""

import json
from pathlib import Path

import numpy as np
import pytest

from sdesam.claims.execution import load
from sdesam.claims.reproduction import Repository

ROOT = Path(__file__).parents[2]
TASKS = ("quadratic", "Iris", "Breast Cancer", "teacher-student")
PANELS = ("Iris", "Breast Cancer", "teacher-student", "Iris, batches")
AGAIN = "the optimizer again"


def watch(name, claim, *planted):
    """The claim's verdict is the one on record, and none of the planted results keeps it."""
    script = load(Repository(ROOT).scripts([name])[name])
    record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    results = {k: np.array(v) for k, v in record["results"].items()}

    def verdict(r):
        return next(v for v in script.verdicts(r, script.Config()) if v.claim == claim)

    on_record = verdict(results)
    assert on_record.verdict == on_record.expected
    for change in planted:
        assert verdict({**results, **change(results)}).verdict != on_record.expected, change(results).keys()


def as_is(old, new):
    """Under every key that ends in ``old`` what stands under the one that ends in ``new``."""
    return lambda r: {k: r[k.removesuffix(old) + new] for k in r if k.endswith(old)}


def swapped(first, second):
    return lambda r: {**as_is(first, second)(r), **as_is(second, first)(r)}


def grown(key, factor):
    return lambda r: {k: r[k] * np.array([factor, 1, 1])[:, None] for k in r if k.endswith(key)}


def heavy(key):
    return lambda r: {k: r[k] + np.array([0, 0, 1])[:, None] for k in r if k.endswith(key)}


def lost(key):
    return lambda r: {k: r[k] + 1 for k in r if k.endswith(key)}


def settled(prefix, own, *others):
    """No heavy tails, a thousandth of each standard error, and the first model a thousandth as far off."""

    def change(r):
        keys = [k for k in r if k.startswith(prefix) and k.endswith((own, *others))]
        return {k: r[k] * np.array([1e-3 if k.endswith(own) else 1, 1e-3, 0])[:, None] for k in keys}

    return change


def record_of(name, claim):
    record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    return next(v["verdict"] for v in record["verdicts"] if v["claim"] == f"{name}-{claim}")


@pytest.mark.parametrize("name", ["F1", "F2", "F3"])
@pytest.mark.parametrize("task", [*TASKS, *(f"minibatch {panel}" for panel in PANELS)])
def test_the_own_sde_is_nearer(name, task):
    slug = task.lower().replace(", ", "-").replace(" ", "-")
    phi = "f" if task.startswith("minibatch") else "g1"
    planted = [swapped(f"{task}/0.1/{phi}/own", f"{task}/0.1/{phi}/SGD"), lost(f"{task}/0.1/lost"),
               as_is(f"{task}/0.1/{phi}/own", f"{task}/0.1/{phi}/turned")]  # fmt: skip
    clear = [settled(f"{task}/0.1/{phi}/", "/own", "/SGD", "/turned")]  # an open row is open for want of these
    watch(name, f"{name}-{slug}", *(planted if record_of(name, slug) == "qualitatively" else clear))


@pytest.mark.parametrize("name", ["F1", "F2", "F3"])
def test_the_rows_over_all_tasks(name):
    watch(name, f"{name}-sgd-fails", *(grown(f"{task}/0.3/g1/SGD", 0.1) for task in TASKS))
    watch(name, f"{name}-noise-term", grown("/0.1/g1/drift only", 3.0))
    watch(name, f"{name}-floor", grown(f"/0.1/g1/{AGAIN}", 1e-6))
    exchanged, clear = swapped("/0.3/g1/own", "/0.3/g1/SGD"), settled("", "/0.3/g1/own", "/0.3/g1/SGD")
    watch(name, f"{name}-beyond-root", exchanged if record_of(name, "beyond-root") == "qualitatively" else clear)


@pytest.mark.parametrize("task", TASKS)
def test_loss_curves(task):
    slug = task.lower().replace(" ", "-")
    planted = [swapped(f"{task}/SAM/own", f"{task}/SAM/SGD"), heavy(f"{task}/USAM/own")]
    watch("F4", f"F4-{slug}", *(planted if record_of("F4", slug) == "qualitatively" else []))


@pytest.mark.parametrize("name", ["F1", "F2", "F3", "F5"])
def test_an_open_row_says_what_would_settle_it(name):
    """How many replicates, or that its tails must be lighter."""
    script = load(Repository(ROOT).scripts([name])[name])
    record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    for row in script.verdicts({k: np.array(v) for k, v in record["results"].items()}, script.Config()):
        told = any(words in row.observed for words in ("would settle it", "lighter tails", "no number can be told"))
        assert told or row.verdict != "inconclusive", row.claim


@pytest.mark.parametrize("task", ["quadratic", "iris"])
def test_proxies_of_sam(task):
    name = {"quadratic": "quadratic", "iris": "Iris"}[task]
    exchanged = swapped(f"{name}/0.1/DNSAM", f"{name}/0.1/USAM, ρA/σ")
    watch("F5", f"F5-{task}-noise-regime", exchanged)
    away = as_is(f"{name}/10/DNSAM", f"{name}/10/DNSAM, turned")
    clear = settled(f"{name}/10/", "/DNSAM", "/USAM", "/USAM, ρA/σ")  # of an open row: what would close it
    planted = away if record_of("F5", f"{task}-gradient-regime") == "qualitatively" else clear
    watch("F5", f"F5-{task}-gradient-regime", planted)
