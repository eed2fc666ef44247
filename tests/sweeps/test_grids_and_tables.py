"""Grids, tables and the command line of sweeps: what is asked is what is run, and mistakes are one sentence."""

import csv
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call

from sdesam.problems.fingerprints import fingerprint
from sdesam.sweeps.cells import Ensemble, Escape, cell_of, rows_of
from sdesam.sweeps.grids import Grid, read_grid
from sdesam.sweeps.store import canonical

GRID = """
landscape = "saddle"
method = ["sgd", "usam"]
eta = [0.1, 0.05]
rho = [0.1]
sigma = 0.3
horizon = 0.2
saves = 1
substeps = 2
n = 2000
"""


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path / "grid.toml"


def edited(grid, **changes):
    lines = [line for line in GRID.splitlines() if line and line.split(" = ")[0] not in changes]
    grid.write_text("\n".join(lines + [f"{k} = {v}" for k, v in changes.items() if v is not None]))
    return str(grid)


# ----------------------------------------------------------------- grids
def test_a_grid_is_the_product_of_its_axes(grid):
    cells, n = read_grid(grid)
    assert n == 2000
    assert len(cells) == 8
    settings = {(c.method, c.eta, c.side, c.steps) for c in cells}
    assert ("usam", 0.05, "SDE", 4) in settings
    assert len(settings) == 8
    assert cells[-8:] == list(cells)
    with pytest.raises(IndexError):
        cells[8]


def test_a_grid_survives_its_document(grid):
    cells, _ = read_grid(grid)
    again = Grid.from_document(json.loads(json.dumps(cells.document())))
    assert [canonical(c) for c in again] == [canonical(c) for c in cells]
    assert [cell_of(canonical(c)) for c in cells] == list(cells)


def test_the_readmes_grid_is_one(tmp_path):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (tmp_path / "grid.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    cells, n = read_grid(tmp_path / "grid.toml")
    assert (len(cells), n, type(cells[0])) == (36, 10240, Escape)


def test_lists_of_lists_are_axes_of_starts(grid):
    edited(grid, x0="[[0.1, 0.0], [0.2, 0.0]]", observables='["|x|^2", "x[1]"]')
    cells, _ = read_grid(grid)
    assert len(cells) == 16
    assert {c.x0 for c in cells} == {(0.1, 0.0), (0.2, 0.0)}
    assert cells[0].observables == ("|x|^2", "x[1]")
    edited(grid, x0="[0.1, 0]")
    assert len(read_grid(grid)[0]) == 8


def test_equal_settings_are_equal_cells_however_they_are_written():
    a = Ensemble("saddle", "usam", eta=1, rho=0, steps=10)
    b = Ensemble("saddle", "usam", eta=1.0, rho=0.0, steps=10)
    assert canonical(a) == canonical(b)
    assert canonical(a) != canonical(replace(a, dtype="float32"))


def test_an_edited_file_is_another_cell(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("def f(x): return (x * x).sum(-1)\n")
    reference = f"{file}:f"
    cell = Ensemble(reference, "sgd", eta=0.1, steps=10, x0=(1.0,))
    file.write_text("def f(x): return (x * x).sum(-1) / 2\n")
    assert canonical(Ensemble(reference, "sgd", eta=0.1, steps=10, x0=(1.0,))) != canonical(cell)
    with pytest.raises(ValueError, match="changed since this cell was made"):
        cell.compute(range(10))
    assert fingerprint("saddle") != fingerprint("rotated-saddle") != fingerprint("quadratic")


def test_cells_compute_what_simulate_and_first_exit_do():
    cell = Ensemble("saddle", "usam", eta=0.1, rho=0.1, sigma=0.3, steps=4, saves=2, observables=("x[1]",))
    moments = cell.compute(range(100))
    assert moments.names == ("x[1]",)
    assert moments.steps.tolist() == [0, 2, 4]
    exits = Escape("saddle", "sgd", eta=0.1, sigma=0.5, steps=30, exit_at=0.5, axis=1).compute(range(200))
    anywhere = Escape("saddle", "sgd", eta=0.1, sigma=0.5, steps=30, exit_at=0.5).compute(range(200))
    assert exits.censored > 0
    assert anywhere.censored < exits.censored
    with pytest.raises(ValueError, match="axis must be < 2"):
        Escape("saddle", "sgd", eta=0.1, sigma=0.5, steps=3, axis=2).compute(range(2))


BAD = {
    "unknown key": (dict(etta="[0.1]"), "'etta' is no key of a grid", "Did you mean 'eta'?"),
    "empty axis": (dict(eta="[]"), "eta must have at least one value", "the grid would be empty"),
    "nan": (dict(eta="[0.1, nan]", horizon=None, steps="10"), "eta must be finite", ""),
    "infinite": (dict(sigma="inf"), "sigma must be finite", ""),
    "both": (dict(steps="10"), "steps, or horizon", ""),
    "neither": (dict(horizon=None), "steps, or horizon", ""),
    "no whole number": (dict(horizon="0.17"), "must be a whole number of steps", "1.7 steps"),
    "no method": (dict(method=None), "must give method", ""),
    "dtype": (dict(dtype='"float16"'), "dtype must be one of float32, float64", ""),
    "landscape": (dict(landscape='"sadle"'), "Did you mean 'saddle'", ""),
    "method": (dict(method='"samm"'), "Did you mean 'sam'", ""),
    "saves": (dict(saves="3"), "saves must divide steps", ""),
    "observable": (dict(observables='["y"]'), "observables must be 'f'", ""),
    "side": (dict(side='"both"'), "side must be one of algorithm, SDE", ""),
    "n": (dict(n="0"), "n must be an integer >= 1", ""),
    "table": (dict(rho="{a = 1}"), "a grid has no sections", ""),
    "x0": (dict(x0="[1.0, 2.0, 3.0]"), "x0 must have 2 numbers", ""),
    "text": (dict(eta='"large"'), "eta must be a number, got 'large'", ""),
    "flag": (dict(rho="true"), "rho must be a number, got True", ""),
    "number": (dict(landscape="3"), "landscape must be a text, got 3", ""),
    "nested": (dict(method='[["sgd"]]'), "inside a list", ""),
    "plain x0": (dict(x0="1.0"), "x0 must be a list, got 1.0", ""),
    "horizon text": (dict(horizon='"0.5"'), "horizon must be a number", ""),
    "horizon nan": (dict(horizon="nan"), "horizon must be finite", ""),
    "horizon inf": (dict(horizon="inf"), "horizon must be finite", ""),
    "eta zero": (dict(eta="0.0"), "eta must be > 0", ""),
    "fraction": (dict(substeps="1.5"), "substeps must be an integer", ""),
    "coordinate": (dict(observables='["x[7]"]'), "must be a coordinate below d = 2", ""),
    "axis": (dict(exit_at="0.5", axis="5", saves=None), "axis must be < 2", ""),
    "large seed": (dict(seed=str(2**64)), "seed must be < 2**64", ""),
    "seed": (dict(seed="-1"), "seed must be >= 0", ""),
}


@pytest.mark.parametrize(("changes", "sentence", "more"), BAD.values(), ids=BAD)
def test_bad_grids_are_one_sentence_and_store_nothing(capsys, tmp_path, grid, changes, sentence, more):
    arguments = ("sweep", edited(grid, **changes), "--out", str(tmp_path / "s"), "--executor", "serial")
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err and more in err
    assert "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_files_that_are_no_grid(capsys, tmp_path):
    (tmp_path / "bad.toml").write_text("eta = [0.1")
    assert "must be TOML" in call(capsys, "sweep", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "s"))[2]
    assert "no grid file" in call(capsys, "sweep", str(tmp_path / "none.toml"), "--out", str(tmp_path / "s"))[2]
    assert call(capsys, "sweep", str(tmp_path / "none.toml"))[0] == 2


# ----------------------------------------------------------------- sweep and collect
def test_sweep_collect_and_resume(capsys, tmp_path, grid):
    store = str(tmp_path / "s")
    run = ("sweep", str(grid), "--out", store, "--executor", "serial", "--json")
    code, out, err = call(capsys, *run)
    assert code == 0, err
    assert "rounded up to 2048" in err
    assert json.loads(out)["complete"] == 8
    assert json.loads(call(capsys, *run)[1])["chunks computed"] == 0
    for suffix in (".csv", ".json", ".nc"):
        assert call(capsys, "collect", store, "-o", str(tmp_path / f"a{suffix}"))[0] == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == 8 * 2 * 3
    assert {int(r["n"]) for r in rows} == {2048}
    assert len(json.loads((tmp_path / "a.json").read_text())["rows"]) == len(rows)
    more = json.loads(call(capsys, *run, "--n", "4096")[1])
    assert more["chunks computed"] > 0
    call(capsys, "collect", store, "-o", str(tmp_path / "b.csv"))
    tighter = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))
    last = [float(r["stderr"]) for r in rows if r["observable"] == "f" and r["step"] != "0"]
    assert [float(r["stderr"]) for r in tighter if r["observable"] == "f" and r["step"] != "0"] < last


def test_a_refused_or_foreign_run_does_not_spoil_a_store(capsys, tmp_path, grid):
    store = tmp_path / "s"
    call(capsys, "sweep", str(grid), "--out", str(store), "--executor", "serial")
    assert call(capsys, "sweep", edited(grid, x0="[nan, 0.0]"), "--out", str(store))[0] == 2
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))[0] == 0
    (store / "runs" / "z.json").write_text('{"n": 1, "grid": {"kind": "Foo", "axes": {}, "stands_for": {}}}')
    code, _, err = call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))
    assert code == 0 and "left out a run" in err
    edited(grid)
    call(capsys, "sweep", str(grid), "--out", str(store), "--executor", "serial", "--n", "4096")
    files = sorted(store.rglob("*.npz"))
    files[-1].unlink()
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))[0] == 3
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"), "--partial")[0] == 0


def test_two_kinds_of_cells_in_one_netcdf(capsys, tmp_path, grid):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5py")
    store = str(tmp_path / "s")
    call(capsys, "sweep", str(grid), "--out", store, "--executor", "serial")
    edited(grid, exit_at="[0.05, 0.2]", saves=None)
    call(capsys, "sweep", str(grid), "--out", store, "--executor", "serial")
    assert call(capsys, "collect", store, "-o", str(tmp_path / "a.nc"))[0] == 0
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        assert data.sizes["cell"] == 8 + 16
        assert "exit_at" in data.coords


def test_an_edited_method_is_loaded_anew_in_the_same_process(tmp_path):
    file = tmp_path / "meth.py"
    values = []
    for factor in (1, 3):
        file.write_text(f"def g(g, x, z, *, rho): return {factor} * g(x, z)\n")
        cell = Ensemble(
            "saddle", f"{file}:g", eta=0.1, sigma=0.3, steps=4, saves=1, x0=(1.0, 0.0), observables=("x[0]",)
        )
        values.append((cell.method_is, float(cell.compute(range(64)).estimate("x[0]").value[-1])))
    assert values[0][0] != values[1][0]
    assert values[0][1] > values[1][1] + 0.1


def test_fractions_have_intervals_inside_the_unit_interval():
    exits = Escape("saddle", "sgd", eta=0.1, sigma=0.01, steps=3).compute(range(1024))
    row = rows_of(Escape("saddle", "sgd", eta=0.1, sigma=0.01, steps=3), exits)[0]
    assert row["value"] == 0
    assert row["low"] == 0
    assert row["high"] == pytest.approx(0.00374, abs=1e-4)  # 3.84/1027.84, Wilson's


def test_the_netcdf_table_unstacks(capsys, tmp_path, grid):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5py")
    call(capsys, "sweep", str(grid), "--out", str(tmp_path / "s"), "--executor", "serial")
    call(capsys, "collect", str(tmp_path / "s"), "-o", str(tmp_path / "a.nc"))
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        cube = data.set_index(cell=["side", "method", "eta"]).unstack()["value"]
        at = cube.sel({"side": "SDE", "method": "usam", "eta": 0.05, "observable": "x[0]"}).isel(save=-1)
        assert cube.shape == (3, 2, 2, 2, 2)
        assert math.isfinite(float(at))


def test_dry_run_computes_nothing(capsys, tmp_path, grid):
    code, out, _ = call(capsys, "sweep", str(grid), "--out", str(tmp_path / "s"), "--dry-run", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["cells"], found["replicates each"], found["replicates missing"]) == (8, 2048, 16 * 1024)
    assert found["estimated seconds"] >= 0
    assert not (tmp_path / "s").exists()


def test_incomplete_and_damaged_stores_are_exit_3(capsys, tmp_path, grid):
    store = tmp_path / "s"
    call(capsys, "sweep", str(grid), "--out", str(store), "--executor", "serial")
    files = sorted(store.rglob("*.npz"))
    content = bytearray(files[0].read_bytes())
    content[len(content) // 3 : len(content) // 3 + 64] = b"?" * 64
    files[0].write_bytes(bytes(content))
    code, _, err = call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))
    assert code == 3
    assert "set aside" in err and "1 cells are incomplete" in err and "run the same sweep again" in err
    call(capsys, "sweep", str(grid), "--out", str(store), "--executor", "serial")
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))[0] == 0
    (store / "store.json").write_text('{"schema": 7}')
    code, _, err = call(capsys, "sweep", str(grid), "--out", str(store))
    assert code == 3 and "written under schema 7" in err
    code, _, err = call(capsys, "collect", str(tmp_path / "nothing"), "-o", str(tmp_path / "a.csv"))
    assert code == 3 and "is no store" in err
    shutil.rmtree(store / "chunks")
    (store / "store.json").write_text('{"schema": 1}')
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.csv"))[0] == 3
    assert call(capsys, "collect", str(store), "-o", str(tmp_path / "a.txt"))[0] == 2


def test_means_are_checked(capsys, tmp_path, grid):
    base = ("sweep", str(grid), "--out", str(tmp_path / "s"))
    for flags, sentence in (
        (("--shard", "2/2"), "shard must be i/n"),
        (("--workers", "0"), "workers must be >= 1"),
        (("--scheduler", "tcp://127.0.0.1:1"), "scheduler is for --executor dask"),
        (("--n", "0"), "n must be >= 1"),
    ):
        code, _, err = call(capsys, *base, *flags)
        assert code == 2 and sentence in err, flags
    assert call(capsys, *base, "--executor", "abacus")[0] == 2


# ----------------------------------------------------------------- escape
def test_escape_prints_a_table_and_keeps_a_store(capsys, tmp_path):
    flags = ("--method", "sgd", "usam", "--eta", "0.1", "--rho", "0.2", "--sigma", "0.5", "--horizon", "3",
             "--exit-at", "0.5", "--axis", "1", "--n", "1024", "--executor", "serial")  # fmt: skip
    code, out, err = call(capsys, "escape", *flags)
    assert code == 0, err
    assert len(out.splitlines()) == 5
    assert "median" in out
    code, out, _ = call(capsys, "escape", *flags, "--json", "--out", str(tmp_path / "s"))
    rows = json.loads(out)["rows"]
    assert {r["observable"] for r in rows} == {"escaped", "exit time, restricted mean", "exit time, median"}
    cell = next(r for r in rows if (r["method"], r["side"], r["observable"]) == ("sgd", "algorithm", "escaped"))
    again = Escape("saddle", "sgd", eta=0.1, rho=0.2, sigma=0.5, steps=30, exit_at=0.5, axis=1)
    assert cell["value"] == again.compute(range(1024)).escaped().value
    assert call(capsys, "collect", str(tmp_path / "s"), "-o", str(tmp_path / "a.csv"))[0] == 0
    code, out, _ = call(capsys, "escape", *flags, "--dry-run")
    assert code == 0 and "replicates missing 4096" in out


def test_escape_refuses_what_cannot_be(capsys):
    base = ("escape", "--method", "sam", "--eta", "0.1", "--rho", "0.1")
    assert "whole number of steps" in call(capsys, *base, "--horizon", "0.25")[2]
    assert "exit_at must be > 0" in call(capsys, *base, "--horizon", "1", "--exit-at", "0")[2]
    assert "unknown" in call(capsys, *base[:2], "samm", *base[3:], "--horizon", "1", "--executor", "serial")[2]


def test_rows_of_a_deterministic_cell_have_no_error():
    cell = Ensemble("saddle", "sgd", eta=0.1, steps=2, saves=1, x0=(0.1, 0.2))
    moments = cell.compute(range(10))
    assert np.all(moments.estimate("f").stderr == 0)
    assert asdict(cell)["sigma"] == 0
