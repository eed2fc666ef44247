"""Stores: a file exists whole or not at all, what is damaged is set aside, and keys name results."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from toy_cells import Toy, toys

from sdesam.claims.parts import remembered
from sdesam.files import StoreFailed, put
from sdesam.processes import Serial
from sdesam.sweeps.driver import run_sweep
from sdesam.sweeps.store import SCHEMA, Store, canonical, key_of

CELL = Toy(2.0)
TEXT = canonical(CELL)


def filled(folder, n=5 * 1024):
    store = Store(folder)
    run_sweep([CELL], store, Serial(), n=n)
    return store


def bits(store, cell=CELL):
    sums, units = store.total(canonical(cell), cell.sums)
    return units, {name: a.tobytes() for name, a in sums.arrays().items()}


def chunk_files(store):
    return sorted((store.folder / "chunks").rglob("*.npz"))


def test_a_total_is_the_run_itself(tmp_path):
    store = filled(tmp_path / "s")
    expected = CELL.compute(range(5 * 1024)).arrays()
    assert bits(store) == (5, {name: a.tobytes() for name, a in expected.items()})
    assert store.index()[key_of(TEXT)] != ()
    assert store.cells() == [TEXT]


def test_more_replicates_tighten_the_same_cell(tmp_path):
    store = filled(tmp_path / "s", n=1000)  # rounded up to one unit
    first = store.total(TEXT, CELL.sums)[0].estimate("x")
    report = run_sweep([CELL], store, Serial(), n=8 * 1024)
    later = store.total(TEXT, CELL.sums)[0].estimate("x")
    assert int(first.n[0]) == 1024
    assert int(later.n[0]) == 8192
    assert later.stderr[0] < first.stderr[0] / 2
    assert report.computed > 0
    assert bits(store)[1] == bits(filled(tmp_path / "t", n=8 * 1024))[1]


def test_keys_see_every_field_and_only_values():
    assert canonical(CELL) != canonical(replace(CELL, delay=0.5))
    assert canonical(Toy(2.0)) == TEXT
    assert json.loads(TEXT)["schema"] == SCHEMA
    with pytest.raises(ValueError, match="finite numbers"):
        canonical(Toy(float("nan")))


# ----------------------------------------------------------------- damage
def spoil_truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def spoil_empty(path):
    os.truncate(path, 0)


def spoil_bits(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    path.write_bytes(bytes(content))


def spoil_foreign(path):
    path.write_bytes(b"P" * path.stat().st_size)


def spoil_other_cell(path):
    """A whole, valid chunk of another cell under this name."""
    other = filled(path.parents[3] / "other" / "store")
    run_sweep([Toy(3.0)], other, Serial(), n=1024)
    alien = next((other.folder / "chunks").rglob(f"{key_of(canonical(Toy(3.0))).hex()}*.npz"))
    first = path.name.split(".")[1]
    path.unlink()
    shutil.copy(alien, path.with_name(f"{path.name[:64]}.{first}.{alien.stat().st_size}.npz"))


def spoil_dtype(path):
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["mean"] = arrays["mean"].astype(np.float32)
    buffer = path.with_suffix(".new")
    with buffer.open("wb") as file:
        np.savez_compressed(file, **arrays)
    first = path.name.split(".")[1]
    path.unlink()
    os.replace(buffer, path.with_name(f"{path.name[:64]}.{first}.{buffer.stat().st_size}.npz"))


def spoil_other_units(path):
    """A whole chunk under the name of other units."""
    key, node, size, suffix = path.name.split(".")
    first, count = node.split("-")
    path.rename(path.with_name(f"{key}.{first}-{2 * int(count)}.{size}.{suffix}"))


SPOILS = [spoil_truncate, spoil_empty, spoil_bits, spoil_foreign, spoil_other_cell, spoil_dtype, spoil_other_units]


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda f: f.__name__[6:])
@pytest.mark.parametrize("which", [0, -1])
def test_damage_is_set_aside_and_recomputed(tmp_path, spoil, which):
    store = filled(tmp_path / "s")
    whole = bits(store)
    spoil(chunk_files(store)[which])
    said = []
    fresh = Store(store.folder, say=said.append)
    fresh.index()  # a listing sees cut files; reading sees the rest
    _, units = fresh.total(TEXT, CELL.sums)
    assert units < 5
    assert len(fresh.set_aside) == 1
    assert [text.split(": ")[0] for text in said] == [f"set aside {fresh.set_aside[0].split(': ')[0]} as .bad"]
    assert len(list((store.folder / "chunks").rglob("*.bad"))) == 1
    run_sweep([CELL], fresh, Serial(), n=5 * 1024)
    assert bits(Store(store.folder)) == whole


def test_foreign_names_are_set_aside_and_unfinished_files_left(tmp_path):
    store = filled(tmp_path / "s")
    folder = chunk_files(store)[0].parent
    (folder / "holiday.jpg").write_bytes(b"x")
    (folder / ".abc.tmp").write_bytes(b"half")  # another writer's, at work
    old = folder / ".old.tmp"
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    fresh = Store(store.folder)
    with pytest.warns(UserWarning, match="set aside holiday.jpg as .bad: not a whole chunk file"):
        fresh.index()
    assert (folder / "holiday.jpg.bad").exists()
    assert (folder / ".abc.tmp").exists()
    assert not old.exists()
    assert bits(fresh) == bits(store)


def test_another_schema_and_other_folders_are_refused(tmp_path):
    store = filled(tmp_path / "s")
    (store.folder / "store.json").write_text('{"schema": 99}')
    with pytest.raises(StoreFailed, match="written under schema 99, this version reads 2"):
        Store(store.folder)
    (store.folder / "store.json").write_text("{")
    with pytest.raises(StoreFailed, match="is damaged"):
        Store(store.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(StoreFailed, match="must be empty or a store"):
        Store(tmp_path / "full")
    with pytest.raises(StoreFailed, match="is no store"):
        Store(tmp_path / "nothing", create=False)


# ----------------------------------------------------------------- disks
def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store = filled(tmp_path / "s", n=1024)
    before = sorted(p.name for p in store.folder.rglob("*"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="the disk is full.*run the same command again"):
        run_sweep([CELL], store, Serial(), n=5 * 1024)
    monkeypatch.undo()
    assert sorted(p.name for p in store.folder.rglob("*")) == before
    run_sweep([CELL], store, Serial(), n=5 * 1024)
    assert bits(store) == bits(filled(tmp_path / "t"))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk")
def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        cells = toys(40)
        with pytest.raises(StoreFailed, match="the disk is full"):
            run_sweep(cells, Store(disk / "s"), Serial(), n=1024)
        saved = len(list((disk / "s" / "chunks").rglob("*.npz")))
        assert 0 < saved < 40
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        report = run_sweep(cells, Store(disk / "s"), Serial(), n=1024)
        assert (report.computed, report.complete) == (40 - saved, 40)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreFailed, match="Read-only file system"):
            run_sweep(cells, Store(disk / "s"), Serial(), n=2048)
        assert len(Store(disk / "s").index()) == 40
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_files_get_the_usual_permissions(tmp_path):
    put(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


# ----------------------------------------------------------------- whole results
def test_remembered_results_are_computed_once(tmp_path):
    calls = []

    def compute(cell, k):
        calls.append(k)
        return {"value": np.arange(k) * cell.scale}

    recall = remembered(tmp_path / "r")
    a, b = recall(compute, CELL, 3), remembered(tmp_path / "r")(compute, CELL, 3)
    assert np.array_equal(a["value"], b["value"])
    recall(compute, CELL, 4)
    recall(compute, Toy(9.0), 3)
    assert calls == [3, 4, 3]
    spoil_truncate(sorted((tmp_path / "r").glob("*.npz"))[0])
    for cell, k in ((CELL, 3), (CELL, 4), (Toy(9.0), 3)):
        recall(compute, cell, k)
    assert len(calls) == 4
