"""The harness, the report, and the criteria of the experiments on planted results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_experiment import TINY

from sdesam.claims import report
from sdesam.claims.execution import execute, load, rounded, unexpected
from sdesam.claims.parts import packed, unpacked
from sdesam.claims.reproduction import Repository
from sdesam.claims.verdicts import Verdict, judge, z_score
from sdesam.engine.statistics import Estimate

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "experiments").glob("*/*.py"))


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(TINY.replace("EXPECTED", '"qualitatively"'))
    return path


def test_execute_writes_the_four_files_byte_stably(tiny, tmp_path):
    record = execute(tiny, tmp_path / "a", smoke=False)
    execute(tiny, tmp_path / "b", smoke=False)
    for suffix in (".pdf", ".png", ".csv", ".json"):
        a, b = (tmp_path / folder / f"tiny{suffix}" for folder in "ab")
        assert a.read_bytes() == b.read_bytes(), suffix
    written = json.loads((tmp_path / "a" / "tiny.json").read_text())
    assert written["results"] == {"x": [0.0, 0.33333333, 0.66666667], "k": 7}
    assert written["config"] == {"n": 3}
    assert set(written["verdicts"][0]) >= {
        "claim", "statement", "source", "criterion", "observed", "verdict", "rejects", "expected",
    }  # fmt: skip
    assert "seconds" in record
    assert "seconds" not in written
    assert (tmp_path / "a" / "tiny.csv").read_text().splitlines()[1] == "x,0,0"


def test_a_figure_is_drawn_from_the_numbers_on_record(tiny, tmp_path):
    """Last bits, which differ between machines, move nothing: of the data or of the picture."""
    execute(tiny, tmp_path / "a", smoke=False)
    tiny.write_text(tiny.read_text().replace("np.arange(c.n) / 3", "np.arange(c.n) / 3 * (1 + 1e-12)"))
    execute(tiny, tmp_path / "b", smoke=False)
    for suffix in (".pdf", ".png", ".csv"):
        a, b = (tmp_path / folder / f"tiny{suffix}" for folder in "ab")
        assert a.read_bytes() == b.read_bytes(), suffix
    assert rounded(np.array([1 / 3, np.nan, 7e300])).tolist()[::2] == [0.33333333, 7e300]
    assert rounded(np.array([3, 4])).dtype.kind == "i"


PARTS = TINY.replace(
    'def run(c, recall): return {"x": np.arange(c.n) / 3, "k": np.array(7)}',
    """
from pathlib import Path
from tiny_experiment import TINY
LOG = Path(__file__).with_suffix(".log")
def part(c, i):
    with LOG.open("a") as log:
        log.write(f"{i}\\n")
    if i == 2 and not LOG.with_suffix(".go").exists():
        raise KeyboardInterrupt
    return {f"x{i}": np.array([i / 3.0])}
def run(c, recall):
    out = {"x": np.arange(3) / 3}
    for i in range(4):
        out |= recall(part, c, i)
    return out
""",
)


def test_an_interrupted_experiment_resumes_and_an_unchanged_one_only_redraws(tmp_path):
    script = tmp_path / "tiny.py"
    script.write_text(PARTS.replace("EXPECTED", '"qualitatively"'))
    log, results = tmp_path / "tiny.log", tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        execute(script, tmp_path / "f", smoke=False, results_folder=results)
    (tmp_path / "tiny.go").touch()
    resumed = execute(script, tmp_path / "f", smoke=False, results_folder=results)
    assert log.read_text().split() == ["0", "1", "2", "2", "3"]
    again = execute(script, tmp_path / "f", smoke=False, results_folder=results)
    assert log.read_text().split() == ["0", "1", "2", "2", "3"]
    assert again["results"] == resumed["results"]
    assert resumed["results"]["x3"] == [1.0]
    execute(script, tmp_path / "f", smoke=False)  # nothing is remembered without a folder
    assert len(log.read_text().split()) == 9
    text = script.read_text()
    for other in (text.replace("to see.", "new."), text + "# anew\n", text.replace('"here", "c"', '"here", "d"')):
        assert other != text
        script.write_text(other)
        execute(script, tmp_path / "f", smoke=False, results_folder=results)
    assert len(log.read_text().split()) == 9  # drawn and judged again, from kept parts
    script.write_text(text.replace("i / 3.0", "i / 4.0"))  # other numbers, other parts
    execute(script, tmp_path / "f", smoke=False, results_folder=results)
    assert len(log.read_text().split()) == 13
    assert len(list((results / "parts").iterdir())) == 1


def test_a_changed_verdict_is_named(tiny, tmp_path):
    tiny.write_text(TINY.replace("EXPECTED", '"not reproduced"'))
    record = execute(tiny, tmp_path, smoke=True)
    assert unexpected(record) == ["tiny-claim: qualitatively, on record not reproduced"]


def test_the_report_lists_every_claim_and_keeps_prose(tiny, tmp_path):
    records = [execute(tiny, tmp_path, smoke=False)]
    first = report.build_report(records)
    assert "| tiny-claim | one \\| two | here | `sdesam repro tiny` |" in first
    edited = first.replace("<!-- prose:tiny -->\n", "<!-- prose:tiny -->\nBy hand.\n")
    again = report.build_report(records, edited)
    assert again == edited
    assert report.build_report(records, again) == again


def test_the_committed_report_is_fresh():
    previous = (ROOT / "paper_repro.md").read_text()
    assert report.build_report(report.read_records(ROOT / "figures"), previous) == previous


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_figures_on_record_have_their_files_and_expected_verdicts(path):
    record = json.loads((ROOT / "figures" / f"{path.stem}.json").read_text())
    assert record["id"] == load(path).ID == path.stem
    assert unexpected(record) == []
    for suffix in (".pdf", ".png", ".csv"):
        assert (ROOT / "figures" / f"{path.stem}{suffix}").is_file()
    assert len({v["claim"] for v in record["verdicts"]}) == len(record["verdicts"])


# ----------------------------------------------------------------- criteria watched failing
def test_judge_is_three_valued():
    assert judge([True], [True], given=True) == "reproduced"
    assert judge([True, False], [True], given=True) == "in part"
    assert judge([False], [True], given=True) == "not reproduced"
    assert judge([None], [True], given=True) == "inconclusive"
    assert judge([True], [False], given=True) == "inconclusive"


def test_verdicts_have_known_names():
    with pytest.raises(ValueError, match="verdict must be one of"):
        Verdict("a", "b", "c", "d", "e", "f", "g", "true", "reproduced")


def test_estimates_survive_packing():
    e = Estimate(np.arange(3.0), np.ones(3), 9, "Monte Carlo", np.array([False, True, False]))
    back = unpacked(packed(e), 9)
    assert np.array_equal(back.heavy_tailed, e.heavy_tailed)
    assert z_score(1.0, 1.0, 0.0) == 0
    assert z_score(1.0, 2.0, 0.0) == np.inf


def recorded(name):
    """Config, results and module of a committed experiment."""
    script = load(Repository(ROOT).scripts([name])[name])
    record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
    return script, script.Config(), {k: np.array(v) for k, v in record["results"].items()}


def verdict_of(script, results, config, claim):
    return next(v.verdict for v in script.verdicts(results, config) if v.claim == claim)


def test_the_floor_criterion_refuses_a_wrong_formula_and_a_wrong_simulation(monkeypatch):
    script, config, results = recorded("quadratic")
    claim = "quadratic-usam-floor"
    assert verdict_of(script, results, config, claim) == "reproduced"
    real = script.floors(config)
    monkeypatch.setattr(script, "floors", lambda c: {**real, "USAM": 1.2 * real["USAM"]})
    assert verdict_of(script, results, config, claim) == "not reproduced"
    monkeypatch.undo()
    shifted = {**results, "USAM/sde": results["USAM/sde"] * np.array([[1.1], [1.0], [1.0]])}
    assert verdict_of(script, shifted, config, claim) == "not reproduced"
    heavy = {**results, "USAM/sde": results["USAM/sde"] + np.array([[0.0], [0.0], [1.0]])}
    assert verdict_of(script, heavy, config, claim) == "inconclusive"


@pytest.mark.parametrize(
    ("name", "claim", "swap"),
    [
        ("quadratic", "quadratic-sam-own-sde", ("SAM/own error", "SAM/sgd error")),
        ("tanh_network", "tanh-sam-own-sde", ("SAM/own error", "SAM/sgd error")),
        ("iris", "iris-sam-own-sde-rho-0.1", ("0.1/SAM/own error", "0.1/SAM/sgd error")),
    ],
)
def test_own_model_criteria_refuse_exchanged_and_equal_models(name, claim, swap):
    script, config, results = recorded(name)
    a, b = swap
    assert verdict_of(script, results, config, claim) == "qualitatively"
    assert verdict_of(script, {**results, a: results[b], b: results[a]}, config, claim) == "not reproduced"
    assert verdict_of(script, {**results, b: results[a]}, config, claim) == "inconclusive"
    flip = a.replace("own", "flipped")
    assert verdict_of(script, {**results, flip: results[a]}, config, claim) == "inconclusive"


def test_the_weak_error_criterion_refuses_another_difference():
    script, config, results = recorded("tanh_network")
    for claim in ("tanh-sam-weak-error", "tanh-usam-weak-error"):
        assert verdict_of(script, results, config, claim) == "qualitatively"
        wrong = {k: v * 1.3 if "own error" in k else v for k, v in results.items()}
        assert verdict_of(script, wrong, config, claim) == "not reproduced"


def test_exit_criteria_refuse_other_exit_times():
    script, config, results = recorded("saddle")
    claim = "saddle-sam-exit-time"
    assert verdict_of(script, results, config, claim) == "qualitatively"
    wrong = {**results}
    for kind in ("algorithm", "SDE"):
        wrong[f"SAM {kind}/exit steps, counts"] = results[f"USAM {kind}/exit steps, counts"]
    assert verdict_of(script, wrong, config, claim) != "qualitatively"
    swapped = {**results, "trapping SAM SDE/exit steps, counts": results["trapping SAM factored/exit steps, counts"]}
    swapped["trapping SAM SDE/censored, diverged"] = results["trapping SAM factored/censored, diverged"]
    assert verdict_of(script, swapped, config, "saddle-sam-full-covariance") == "not reproduced"
    free = {**results, "full batch": 1 - results["full batch"]}
    assert verdict_of(script, free, config, "saddle-full-batch-traps") == "not reproduced"


@pytest.mark.parametrize(
    ("claim", "planted"),
    [  # the rows of one model in the place of another's; not of SAM, whose verdict on record is open
        ("certificate-usam", ("log cosh|USAM|right", "log cosh|USAM|no ρ")),
        ("certificate-usam", ("log cosh|USAM|right", "log cosh|USAM|Σ only")),
        ("certificate-usam", ("tanh network|USAM|right", "tanh network|USAM|no noise")),
        ("certificate-usam", ("log cosh|USAM|modified 2", "log cosh|USAM|modified 1")),
        ("certificate-usam", ("log cosh|USAM|corrected", "log cosh|USAM|corrected, no noise")),
        ("certificate-rejects-sigma-only", ("log cosh|SAM|Σ only", "log cosh|SAM|right")),
        ("certificate-rejects-printed", ("rotated saddle|SAM|printed", "rotated saddle|SAM|right")),
        ("certificate-rejects-no-rho", ("six data|USAM|no ρ", "six data|USAM|right")),
        ("certificate-rho-scaling", ("rho power 0.25", "rho power right")),
        ("certificate-rejects-gaussian-surrogate", ("six data|SAM|surrogate", "six data|SAM|right")),
        ("certificate-rejects-fresh-draw", ("log cosh|USAM|fresh draw", "log cosh|USAM|right")),
        ("certificate-rejects-rho-turned", ("log cosh|DNSAM|ρ turned", "log cosh|DNSAM|right")),
        ("certificate-rejects-weaker-noise", ("log cosh|SGD|weaker noise", "log cosh|SGD|right")),
        ("certificate-dnsam", ("quadratic|DNSAM|right", "quadratic|DNSAM|no ρ")),
        ("certificate-usam", ("log cosh, d = 10|USAM|right", "log cosh, d = 10|USAM|no ρ")),
    ],
)
def test_the_certificate_refuses_exchanged_models(claim, planted):
    script, config, results = recorded("certificate")
    results["rho power right"] = results["log cosh|SAM|right"][1]
    old, new = planted
    assert verdict_of(script, results, config, claim) == "qualitatively"
    assert verdict_of(script, {**results, old: results[new]}, config, claim) != "qualitatively"


# ----------------------------------------------------------------- finding the checkout
def test_the_checkout_is_found_from_below_and_missed_outside(tmp_path):
    assert Repository.find(ROOT / "tests").root == ROOT
    with pytest.raises(FileNotFoundError, match="run this inside a checkout"):
        Repository.find(tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'saddle'"):
        Repository(ROOT).scripts(["sadle"])


def test_configs_are_frozen_and_smoke_is_smaller():
    for path in SCRIPTS:
        script = load(path)
        if not hasattr(script.SMOKE, "n"):  # exact moments: fewer and larger steps instead of fewer replicates
            assert min(script.SMOKE.log2_eta) > min(script.Config().log2_eta)
            continue
        assert script.SMOKE.n < script.Config().n
        with pytest.raises(AttributeError):
            script.SMOKE.n = 5
        assert replace(script.SMOKE, seed=3).seed == 3


def test_the_other_criteria_refuse_planted_results():
    """Each remaining verdict is watched leaving the one on record under a fault of its own."""
    script, config, results = recorded("quadratic")
    up = np.array([[1.1], [1.0], [1.0]])  # ten per cent more loss, the same error bars
    for claim, key in (
        ("quadratic-sam-effective-radius", "SAM"),
        ("quadratic-usam-exact", "USAM"),
        ("quadratic-sgd-exact", "SGD"),
    ):
        wrong = {**results, f"{key}/algorithm": results[f"{key}/algorithm"] * up}
        assert verdict_of(script, results, config, claim) == "qualitatively"
        assert verdict_of(script, wrong, config, claim) == "not reproduced", claim

    script, config, results = recorded("saddle")
    key = "DNSAM SDE/escaped, by time"
    leaves = {**results, key: np.array([*np.linspace(0.045, 0.45, 10), 1.0])}
    assert verdict_of(script, leaves, config, "saddle-dnsam-sde-hovers") != "qualitatively"
    assert verdict_of(script, leaves, config, "saddle-dnsam-sde-models-exits") != "not reproduced"
    same = {**results}
    for method in ("USAM", "SAM"):
        for part in ("exit steps, counts", "censored, diverged"):
            same[f"{method} algorithm/{part}"] = results[f"SGD algorithm/{part}"]
    assert verdict_of(script, same, config, "saddle-slower-than-sgd") == "inconclusive"

    script, config, results = recorded("iris")
    swapped = {**results, "0.1/DNSAM/sde": results["0.1/USAM/sde"], "0.1/USAM/sde": results["0.1/DNSAM/sde"]}
    assert verdict_of(script, results, config, "iris-dnsam-proxy-rho-0.1") == "qualitatively"
    assert verdict_of(script, swapped, config, "iris-dnsam-proxy-rho-0.1") == "not reproduced"


def test_the_criteria_of_the_general_theory_refuse_planted_results():
    script, config, results = recorded("variance_regulariser")
    claims = ("usam-mean-square-d1-b1", "usam-squared-mean-d1-b1")
    right, printed = "d=1, B=1/right", "d=1, B=1/printed"
    swapped = {**results, right: results[printed], printed: results[right]}
    assert [verdict_of(script, results, config, claim) for claim in claims] == ["qualitatively", "not reproduced"]
    assert verdict_of(script, swapped, config, claims[0]) == "inconclusive"  # the planted model then passes
    assert verdict_of(script, {**results, right: results[printed]}, config, claims[0]) == "not reproduced"
    assert verdict_of(script, {**results, printed: results[right]}, config, claims[1]) == "qualitatively"

    script, config, results = recorded("gaussian_surrogate")
    claims = ("surrogate-usam-frozen", "surrogate-sam-law")
    assert [verdict_of(script, results, config, claim) for claim in claims] == ["qualitatively"] * 2
    assert verdict_of(script, {**results, "frozen": results["anew"]}, config, claims[0]) == "not reproduced"
    assert verdict_of(script, {**results, "anew": results["frozen"]}, config, claims[0]) == "inconclusive"
    equal = {**results, "SAM/Gaussian": results["SAM/minibatch"]}
    assert verdict_of(script, equal, config, claims[1]) == "not reproduced"
    seen = {**results, "SGD/Gaussian": results["SGD/minibatch"] + np.array([[0.01], [0.0], [0.0]])}
    assert verdict_of(script, seen, config, claims[1]) == "inconclusive"

    script, config, results = recorded("sam_covariance")
    claims = ("sam-covariance-right", "sam-covariance-as-printed")
    assert [verdict_of(script, results, config, claim) for claim in claims] == ["qualitatively", "not reproduced"]
    assert verdict_of(script, {**results, "right": results["slides"]}, config, claims[0]) == "not reproduced"
    assert verdict_of(script, {**results, "none": results["right"]}, config, claims[0]) == "inconclusive"
    assert verdict_of(script, {**results, "slides": results["right"]}, config, claims[1]) == "qualitatively"
    blurred = {**results, "right": results["right"] * np.array([[1.0], [9.0], [1.0]])}
    assert verdict_of(script, blurred, config, claims[0]) == "inconclusive"


def test_the_escape_maps_criteria_refuse_planted_results():
    script, config, results = recorded("escape_map")
    for name, other in (("USAM", "SAM"), ("SAM", "USAM")):
        claim = f"escape-map-{name.lower()}"
        assert verdict_of(script, results, config, claim) == "qualitatively"
        wrong = {**results, f"{name}/mean exit": results[f"{other}/mean exit"]}
        assert verdict_of(script, wrong, config, claim) in ("not reproduced", "inconclusive")
        exchanged = {**results, f"{name}/SDE": results[f"{other}/SDE"]}
        assert verdict_of(script, exchanged, config, f"{claim}-sde") == "not reproduced"
        equal = {**results, f"{other}/SDE": results[f"{name}/algorithm"]}
        assert verdict_of(script, equal, config, f"{claim}-sde") == "inconclusive"  # the planted model then passes
    claim = "escape-map-dnsam-kicks"
    trapped = {**results, "DNSAM/algorithm": results["SAM/algorithm"]}
    assert verdict_of(script, results, config, claim) == "qualitatively"
    assert verdict_of(script, trapped, config, claim) == "not reproduced"
