"""Sweeps: whoever computes, in what chunks, killed how often, the collected bytes are the same."""

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from toy_cells import Toy, ensembles, sweep_in_small_chunks, toys

from sdesam.files import StoreFailed
from sdesam.processes import Serial
from sdesam.sweeps import chunks
from sdesam.sweeps.chunks import Plan
from sdesam.sweeps.driver import run_sweep
from sdesam.sweeps.sessions import Means, collect, sweep
from sdesam.sweeps.store import Store, canonical

N = 5 * 1024
MANY = 40 * 1024  # with chunks of one unit, a sweep of some seconds: time to be killed
TESTS = Path(__file__).parents[1]
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    from sdesam.sweeps import chunks
    chunks._TARGET = 0.002
    from toy_cells import ensembles
    from sdesam.sweeps.sessions import Means, sweep
    report = sweep(ensembles(), {n}, Path(sys.argv[1]), Means(*sys.argv[2:]), "test")
    sys.exit(130 if report.interrupted else 0)
"""


SLOW = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    from toy_cells import toys
    from sdesam.sweeps.store import Store
    from sdesam.sweeps.driver import run_sweep
    print("working", file=sys.stderr, flush=True)
    try:
        run_sweep(toys(4, delay=60.0), Store(sys.argv[1]), n=1024, workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def table(folder, suffix=".csv"):
    output = folder.parent / f"{folder.name}{suffix}"
    collection = collect(folder, output)[1]
    assert collection.incomplete == []
    return output.read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "store"
    sweep(ensembles(), N, folder, Means("serial"), "test")
    return table(folder)


def grid_run(folder, executor, **settings):
    store = Store(folder)
    report = run_sweep(ensembles(), store, executor, n=N, **settings)
    store.log_run("run", {"n": N, "grid": ensembles().document()})
    return report


# ----------------------------------------------------------------- executors
def test_serial_threads_and_processes_give_the_same_bytes(tmp_path, expected):
    with ThreadPoolExecutor(2) as threads:
        grid_run(tmp_path / "threads", threads)
    assert table(tmp_path / "threads") == expected
    report = grid_run(tmp_path / "pool", None, workers=2)
    assert (report.cells, report.complete, report.failed) == (6, 6, [])
    assert table(tmp_path / "pool") == expected
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        grid_run(tmp_path / "own", own)
    assert table(tmp_path / "own") == expected


@pytest.mark.slow
def test_dask_gives_the_same_bytes(tmp_path, expected):
    pytest.importorskip("distributed")
    code = RUN.format(tests=str(TESTS), n=N)
    (tmp_path / "run.py").write_text(code)
    subprocess.run([sys.executable, tmp_path / "run.py", tmp_path / "s", "dask"], check=True, capture_output=True)
    assert table(tmp_path / "s") == expected


@pytest.mark.parametrize("of", [2, 5, 40])
def test_shards_meet_in_one_store(tmp_path, expected, of):
    order = list(range(of))
    random.Random(0).shuffle(order)
    for i in order:
        grid_run(tmp_path / "s", Serial(), shard=(i, of))
    assert table(tmp_path / "s") == expected


def test_shards_share_the_work_without_overlap():
    cells = toys(7)
    plans = [Plan(cells, {}, n=10 * 1024, shard=(i, 4)) for i in range(4)]
    assert [p.missing for p in plans] == [17, 18, 17, 18]
    seen = [(c.text, u) for p in plans for c in p for u in range(c.first, c.first + c.count)]
    assert len(seen) == len(set(seen)) == 70


def test_chunk_sizes_change_no_byte(tmp_path, expected, monkeypatch):
    for target in (1e-9, 0.02, 100.0):
        monkeypatch.setattr(chunks, "_TARGET", target)
        grid_run(tmp_path / f"s{target}", Serial())
        assert table(tmp_path / f"s{target}") == expected


def test_chunks_grow_with_the_pace():
    plan = Plan(toys(1), {}, n=1024 * 4096)
    sizes = []
    for chunk in plan:
        plan.measured(chunk, 0.01 * chunk.count)
        sizes.append(chunk.count)
    assert sizes[0] == 1
    assert max(sizes) == 128  # 2 s at 10 ms a unit, a power of two
    assert sum(sizes) == 4096


# ----------------------------------------------------------------- trouble
def test_a_dead_worker_changes_nothing(tmp_path):
    mark = tmp_path / "died"
    cells = [Toy(1.0, trouble=str(mark)), *toys(3)]
    store = Store(tmp_path / "s")
    report = run_sweep(cells, store, n=N, workers=2)
    assert mark.exists()
    assert (report.failed, report.complete) == ([], 4)
    assert canonical(cells[0]) in store.cells()


def test_what_cannot_be_computed_is_reported_and_the_rest_goes_on(tmp_path):
    cells = [Toy(1.0, trouble="raise"), *toys(3)]
    report = run_sweep(cells, Store(tmp_path / "s"), Serial(), n=1024)
    assert report.complete == 3
    assert len(report.failed) == 1
    assert "ValueError: this cell cannot be computed" in report.failed[0]
    assert '"scale":1.0' in report.failed[0]


def test_a_shard_knows_what_it_does_not_have(tmp_path):
    report = run_sweep(toys(8), Store(tmp_path / "s"), Serial(), n=1024, shard=(0, 2))
    assert (report.cells, report.complete) == (8, 4)
    assert run_sweep(toys(8), Store(tmp_path / "s"), Serial(), n=1024, shard=(1, 2)).complete == 8


def test_a_costly_cell_after_a_cheap_one_begins_small():
    plan = Plan(toys(2), {}, n=1024 * 4096)
    sizes = {0: [], 1: []}
    for chunk in plan:
        which = int(chunk.cell.scale) - 1
        plan.measured(chunk, (0.001, 2.0)[which] * chunk.count)
        sizes[which].append(chunk.count)
    assert max(sizes[0]) == 1024
    assert max(sizes[1]) == 1


def test_workers_that_only_die_end_the_sweep(tmp_path):
    cells = [Toy(float(i), trouble="die") for i in range(9)]
    store = Store(tmp_path / "s")
    with pytest.raises(StoreFailed, match="the workers died 6 times without finishing a chunk"):
        run_sweep(cells, store, n=3 * 1024, workers=1)


def test_many_drivers_create_one_store_together(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        for k in range(20):
            stores = list(threads.map(Store, [tmp_path / f"s{k}"] * 8))
            assert len(stores) == 8


def test_a_second_signal_stops_at_once(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SLOW.format(tests=str(TESTS)))
    process = subprocess.Popen([sys.executable, script, tmp_path / "s"], stderr=subprocess.PIPE)
    assert b"working" in process.stderr.readline()
    time.sleep(4.0)
    for _ in "ab":
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 30  # its chunks take a minute each


def test_no_cells_and_bad_shards(tmp_path):
    with pytest.raises(ValueError, match="at least one cell"):
        run_sweep([], Store(tmp_path / "s"), Serial(), n=1)
    with pytest.raises(ValueError, match="0 <= i < of"):
        run_sweep(toys(1), Store(tmp_path / "s"), Serial(), n=1, shard=(2, 2))
    for shard in ("3/3", "1", "a/b", "-1/2"):
        with pytest.raises(ValueError, match="shard must be i/n"):
            Means(shard=shard)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_signal_saves_the_finished_chunks(tmp_path, expected, number, code):
    script = tmp_path / "run.py"
    script.write_text(RUN.format(tests=str(TESTS), n=64 * 1024))
    process = subprocess.Popen([sys.executable, script, tmp_path / "s", "serial"], stderr=subprocess.PIPE)
    wait_for_chunks(tmp_path / "s", 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"stopping after the chunks in flight" in err
    saved = len(list((tmp_path / "s").rglob("*.npz")))
    assert saved >= 3
    grid_run(tmp_path / "s", Serial())
    assert Store(tmp_path / "s").set_aside == []


def wait_for_chunks(folder, count):
    began = time.monotonic()
    while len(list(folder.rglob("*.npz"))) < count:
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def kill_and_resume(tmp_path, kills, seed, n=MANY):
    """The killed processes come from a server that has imported all: most of a start would be importing."""
    sweep(ensembles(), n, tmp_path / "whole", Means("serial"), "test")
    script = tmp_path / "run.py"
    script.write_text(RUN.format(tests=str(TESTS), n=n))
    moments, server = random.Random(seed), get_context("forkserver")
    server.set_forkserver_preload(["toy_cells", "sdesam.sweeps.sessions"])
    before, cut_short = 0, 0
    for _ in range(kills):
        process = server.Process(target=sweep_in_small_chunks, args=(n, tmp_path / "s"))
        process.start()
        began = time.monotonic()
        while len(list((tmp_path / "s").glob("chunks/*/*.npz"))) == before and time.monotonic() - began < 60:
            time.sleep(0.005)
        time.sleep(0.3 * moments.random())
        process.kill()
        process.join()
        cut_short += process.exitcode == -signal.SIGKILL
        now = len(list((tmp_path / "s").rglob("*.npz")))
        assert now >= before
        before = now
    subprocess.run([sys.executable, script, tmp_path / "s", "serial"], check=True, capture_output=True)
    assert table(tmp_path / "s") == table(tmp_path / "whole")
    assert not list((tmp_path / "s").rglob("*.bad"))
    assert cut_short == kills
    assert 0 < before < 6 * n // 1024


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    kill_and_resume(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_killed_twenty_times_and_resumed(tmp_path):
    kill_and_resume(tmp_path, kills=20, seed=1, n=6 * MANY)


def test_two_processes_on_one_store(tmp_path, expected):
    script = tmp_path / "run.py"
    script.write_text(RUN.format(tests=str(TESTS), n=N))
    both = [subprocess.Popen([sys.executable, script, tmp_path / "s", "serial"], stderr=subprocess.PIPE) for _ in "ab"]
    assert [(p.communicate(timeout=120), p.returncode)[1] for p in both] == [0, 0]
    assert table(tmp_path / "s") == expected
