"""The engine of a cell: part of its key, chosen by a rule that sees the cell only; and what is told while cells run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from toy_cells import Toy, toys

from sdesam.engine.ensembles import simulate
from sdesam.processes import Pool, Serial
from sdesam.sweeps import driver, engines
from sdesam.sweeps.cells import Ensemble, Escape
from sdesam.sweeps.chunks import Plan
from sdesam.sweeps.driver import run_sweep
from sdesam.sweeps.grids import Grid
from sdesam.sweeps.lines import CellsDone, EscapeLines
from sdesam.sweeps.sessions import Means, collect, sweep
from sdesam.sweeps.store import Store, canonical

CELL = Ensemble("saddle", "usam", eta=0.05, rho=0.1, sigma=0.3, side="SDE", steps=4, substeps=2, saves=2)
EXIT = Escape("saddle", "sgd", eta=0.1, sigma=0.3, steps=5, exit_at=0.2)
LOSSES = """
import torch
def smooth(x):
    return (x * x).sum(-1) / 2
def sorted_one(x):
    return torch.linalg.vector_norm(torch.sort(x * x, -1).values, dim=-1)
def broken(x):
    raise RuntimeError("no")
"""


@pytest.fixture
def losses(tmp_path):
    file = tmp_path / "losses.py"
    file.write_text(LOSSES)
    return lambda name: f"{file}:{name}"


# ----------------------------------------------------------------- the rule
def test_what_traces_is_fused_and_the_rest_eager(losses):
    assert CELL.engine == EXIT.engine == "fused"
    of = {name: replace(EXIT, landscape=losses(name), landscape_is="", engine="", x0=(0.1, 0.1)).engine
          for name in ("smooth", "sorted_one", "broken")}  # fmt: skip
    assert of == {"smooth": "fused", "sorted_one": "eager", "broken": "eager"}
    with pytest.raises(ValueError, match="engine must be one of fused, eager, got 'gpu'"):
        replace(CELL, engine="gpu")


def test_numbers_do_not_choose_the_engine():
    own = replace(CELL, method="mine.py:up", method_is="known", engine="eager")
    assert own.typical().rho == own.rho  # the user's method may go by it
    for change in ({"eta": 0.9}, {"rho": 3.0}, {"sigma": 2.0}, {"seed": 9}, {"steps": 4000, "saves": 5}):
        assert replace(CELL, **change).typical() == CELL.typical()
    assert replace(CELL, rho=0.0).typical() != CELL.typical()  # another list


def test_the_engine_is_in_the_key_and_is_the_one_that_runs():
    eager = replace(CELL, engine="eager")
    assert json.loads(canonical(CELL))["engine"] == "fused" and canonical(CELL) != canonical(eager)
    found = {cell.engine: cell.compute(range(1024)) for cell in (CELL, eager)}
    assert {name: m.engine for name, m in found.items()} == {"fused": "fused", "eager": "eager"}
    again = simulate(
        CELL.kernel("SDE"), CELL.start(), steps=4, observables=CELL.watched, n=1024, save_every=2, engine="fused"
    )
    for name in again.names:
        np.testing.assert_array_equal(found["fused"].estimate(name).value, again.estimate(name).value)
        np.testing.assert_allclose(found["eager"].estimate(name).value, again.estimate(name).value, rtol=1e-11)
    assert EXIT.compute(range(2048)).engine == "fused"


def test_chunks_of_both_engines_do_not_meet(tmp_path):
    store = Store(tmp_path / "s")
    run_sweep([CELL, replace(CELL, engine="eager")], store, Serial(), n=2048)
    assert {json.loads(text)["engine"] for text in store.cells()} == {"fused", "eager"}
    for text in store.cells():
        total, units = store.total(text, CELL.sums)
        assert units == 2 and total.engine == json.loads(text)["engine"]


def test_a_store_is_collected_without_the_users_file(tmp_path, losses):
    axes = {"landscape": (losses("smooth"), losses("sorted_one")), "method": ("sgd",), "eta": (0.1, 0.2),
            "sigma": (0.1,), "side": ("algorithm",), "x0": ((0.3, 0.2),), "steps": (2,), "saves": (1,)}  # fmt: skip
    grid = Grid(Ensemble, axes)
    sweep(grid, 1024, tmp_path / "s", Means("serial"), "test")
    assert sorted(set(grid.engines.values())) == ["eager", "fused"]
    (tmp_path / "losses.py").unlink()
    engines._engine_of_structure.cache_clear()
    rows, collection = collect(tmp_path / "s", tmp_path / "a.json")
    assert collection.incomplete == [] and rows == len(json.loads((tmp_path / "a.json").read_text())["rows"])


# ----------------------------------------------------------------- in this process first
def test_a_short_sweep_starts_no_process(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a process")

    monkeypatch.setattr(Pool, "submit", refuse)
    report = run_sweep([CELL, EXIT], Store(tmp_path / "s"), n=3 * 1024)
    assert (report.complete, report.failed) == (2, [])


def test_what_could_take_this_process_down_runs_in_another(tmp_path, losses):
    cell = replace(EXIT, landscape=losses("smooth"), landscape_is="", engine="", x0=(0.1, 0.1))
    assert EXIT.is_tame and not cell.is_tame and not replace(EXIT, engine="eager").is_tame
    report = run_sweep([Toy(1.0, trouble="die"), CELL], Store(tmp_path / "s"), n=1024)
    assert report.complete == 1 and len(report.failed) == 1


def test_a_long_one_goes_on_in_others(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_ALONE", 0.0)
    cells = [replace(CELL, rho=rho) for rho in (0.1, 0.2, 0.3)]
    report = run_sweep(cells, Store(tmp_path / "s"), n=4 * 1024)
    assert (report.complete, report.failed) == (3, [])


def test_what_fails_here_is_tried_again(tmp_path):
    report = run_sweep([Toy(1.0, trouble="raise"), *toys(2)], Store(tmp_path / "s"), Serial(), n=1024)
    assert report.complete == 2 and "this cell cannot be computed" in report.failed[0]


# ----------------------------------------------------------------- what is told
def test_estimates_settle_although_the_first_chunk_also_compiles():
    plan = Plan(toys(10), {}, n=100 * 1024)
    assert plan.seconds_left == math.inf
    told = []
    for k, chunk in enumerate(plan):
        plan.measured(chunk, 0.01 * chunk.count + (3.0 if k == 0 else 0.0))
        told.append(plan.seconds_left)
    assert told[0] > 1000 and told[1] == pytest.approx(9.98) and told[-1] == pytest.approx(0.0)


def test_a_resumed_sweep_counts_what_was_missing(tmp_path):
    axes = {"landscape": ("saddle",), "method": ("sgd",), "eta": (0.1, 0.2, 0.05), "sigma": (0.3,), "steps": (10,)}
    grid, said = Grid(Ensemble, {**axes, "side": ("algorithm",)}), []
    Store(tmp_path / "s").write(canonical(grid[0]), 0, 1, grid[0].compute(range(1024)))
    tell = lambda total: CellsDone(grid, total, said.append).finished  # noqa: E731
    sweep(grid, 1024, tmp_path / "s", Means("serial"), "test", watch=tell)
    assert said[-1].startswith("2 of 2 cells done")


def test_cells_are_told_as_they_end(tmp_path):
    ended = []
    cells = toys(3)
    run_sweep(cells, Store(tmp_path / "s"), Serial(), n=5 * 1024, finished=ended.append)
    assert ended == cells
    run_sweep(cells, Store(tmp_path / "s"), Serial(), n=5 * 1024, finished=ended.append)
    assert ended == cells  # nothing was missing


def test_lines_come_in_the_grids_order_each_once(tmp_path):
    axes = {"landscape": ("saddle",), "method": ("sgd",), "eta": (0.1, 0.2, 0.05), "sigma": (0.3,), "steps": (5,),
            "side": ("algorithm",), "exit_at": (0.2,)}  # fmt: skip
    grid, written, store = Grid(Escape, axes), [], Store(tmp_path / "s")
    lines = EscapeLines(grid, 1024, tmp_path / "s", written.append)
    for i, seen in ((1, 0), (0, 2), (2, 3)):
        store.write(canonical(grid[i]), 0, 1, grid[i].compute(range(1024)))
        lines.finished(grid[i])
        assert len(written) == seen
    lines.finished()
    assert len(written) == 3 and written[0].startswith("side") and not any(w.startswith("side") for w in written[1:])


def test_no_more_than_a_line_a_second_for_cells(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sdesam.sweeps.lines.time.monotonic", lambda: now[0])
    axes = {"landscape": ("saddle",), "method": ("sgd",), "eta": (0.1, 0.2), "sigma": (0.3,), "steps": (10,)}
    grid, written = Grid(Ensemble, {**axes, "side": ("algorithm", "SDE")}), []
    done = CellsDone(grid, 4, written.append)
    for i in range(4):
        done.finished(grid[i])
        now[0] += 0.6
    assert [w.split(" of ")[0] for w in written] == ["1", "3", "4"]
    assert "eta = 0.2, side = SDE" in written[-1]
