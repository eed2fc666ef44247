"""Which experiments ``sdesam repro`` runs, and what it says meanwhile."""

from pathlib import Path

import pytest
from command_line import call
from tiny_experiment import TINY

from sdesam.claims import reproduction, running
from sdesam.claims.execution import load
from sdesam.claims.reproduction import Repository, whats_left

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ran(monkeypatch):
    """The IDs that would run; nothing does."""
    found = []

    def record(repository, ids, **how):
        found.append((list(ids), how["smoke"]))
        return "verdicts"

    monkeypatch.setattr(reproduction, "reproduce", record)
    monkeypatch.chdir(ROOT)
    return found


def test_every_paper_has_one_headline_that_takes_minutes():
    repository = Repository(ROOT)
    papers = {path.parent.name for path in repository.scripts().values()} - {"toolkit"}
    scripts = repository.scripts(repository.headlines())
    assert sorted(path.parent.name for path in scripts.values()) == sorted(papers)
    assert sum(load(path).MINUTES for path in scripts.values()) <= 4


def test_without_a_name_the_headlines_run_and_the_rest_is_named(capsys, ran, monkeypatch):
    monkeypatch.setattr(Repository, "stale", lambda self: {"F1": ["numbers"], "saddle": ["numbers"]})
    code, out, err = call(capsys, "repro")
    assert (code, ran) == (0, [(["saddle"], False)]) and "verdicts" in out
    assert "1 other figures on record come from sources that have changed since: F1. `sdesam repro --stale`" in err


def test_stale_all_names_and_smoke(capsys, ran, monkeypatch):
    monkeypatch.setattr(Repository, "stale", lambda self: {"F1": ["numbers"], "F9": ["criteria"]})
    for flags, ids, smoke in (
        (("--stale",), ["F1", "F9"], False), (("--all",), [], False), (("F5",), ["F5"], False),
        (("--smoke",), [], True), (("--all", "--smoke"), [], True),
    ):  # fmt: skip
        assert call(capsys, "repro", *flags)[0] == 0
        assert ran[-1] == (ids, smoke)  # none named: all
    assert call(capsys, "repro", "F5", "--all")[0] == 2
    monkeypatch.setattr(Repository, "stale", lambda self: {})
    before = len(ran)
    code, _, err = call(capsys, "repro", "--stale")
    assert code == 0 and len(ran) == before and "all figures on record come from the sources as they are" in err


def test_what_is_left_leaves_out_what_was_made(monkeypatch):
    monkeypatch.setattr(Repository, "stale", lambda self: {"F1": ["numbers"], "F2": ["numbers"]})
    repository = Repository(ROOT)
    assert whats_left(repository, ["F1", "F2"]).startswith("all figures")
    assert "1 other figures on record come from sources that have changed since: F2." in whats_left(repository, ["F1"])


# ----------------------------------------------------------------- meanwhile
def test_the_schedule_learns_from_what_ended(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    schedule = running._Schedule({"F1": 10.0, "F2": 6.0, "F9": 2.0, "F4": 2.0}, workers=2)
    schedule.began = 0.0
    assert schedule.first() == "repro: 4 experiments in 2 processes, about 10 min by the minutes on record"
    now[0] = 240.0
    schedule.took["F9"] = 240.0  # twice as long as on record
    assert schedule.left == pytest.approx(600 * (240 + 300) / (120 + 300) - 240)
    assert schedule.line() == "repro: 1 of 4 done, about 9 min left; to come: F1, F2, F4"
    now[0] = 10_000.0
    assert "longer than by the minutes on record" in schedule.line()


def test_each_is_told_as_it_ends(tmp_path):
    said = []
    script = tmp_path / "experiments" / "paper"
    script.mkdir(parents=True)
    for name in ("one", "two"):
        text = TINY.replace("EXPECTED", '"qualitatively"').replace('"tiny", "A tiny', f'"{name}", "A tiny')
        (script / f"{name}.py").write_text(text)
    scripts = {name: script / f"{name}.py" for name in ("one", "two")}
    records = running.run_all(scripts, tmp_path / "f", smoke=True, results=None, jobs=2, device="cpu", say=said.append)
    assert [r["id"] for r in records] == ["one", "two"]
    assert said[0].startswith("repro: 2 experiments, small") and {s.split(":")[0] for s in said[1:]} == {"one", "two"}
