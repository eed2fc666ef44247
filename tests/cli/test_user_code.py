"""The user's own Python at the command line: loaded, guarded, identified; every small input gives one sentence."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from command_line import call

from sdesam.cli import app
from sdesam.cli.terminal import Failed
from sdesam.problems.catalogue import find_landscape, load_function
from sdesam.problems.fingerprints import fingerprint
from sdesam.sweeps.cells import Ensemble
from sdesam.user_code.failures import UserCodeFailed, failure_of, to_stderr
from sdesam.user_code.loading import load_file

LOSS = "def loss(x): return (x * x).sum(-1) / 2\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a file of the user's, by default mine.py, in the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path / name

    return write


def simulate(capsys, *more, landscape="mine.py:loss", method="sgd", n="16", steps="6"):
    base = ("simulate", "--landscape", landscape, "--method", method, "--eta", "0.1", "--sigma", "0.1", "--x0", "1.0")
    return call(capsys, *base, "--n", n, "--steps", steps, "--engine", "eager", *more)


# ----------------------------------------------------------------- loading (A10)
BROKEN = {
    "exit": ("import sys\nsys.exit(0)\n", "mine.py failed to import: SystemExit: 0 (mine.py, line 2)"),
    "raise": ("1 / 0\n", "mine.py failed to import: ZeroDivisionError: division by zero (mine.py, line 1)"),
    "own base": ("class E(BaseException): pass\nraise E('no')\n", "failed to import: E: no (mine.py, line 2)"),
    "syntax": ("def loss(x) return\n", "failed to import: SyntaxError: expected ':' (mine.py, line 1)"),
    "no helper": ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
}


@pytest.mark.parametrize(("text", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_loaded_is_one_sentence(capsys, mine, text, sentence):
    mine(text + LOSS if "def loss" not in text else text)
    code, out, err = simulate(capsys, "--json")
    assert (code, out) == (2, "")
    assert sentence in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_printing_goes_to_stderr_while_a_file_is_loaded_and_run(capsys, mine):
    mine("print('hello')\ndef loss(x):\n    print('running')\n    return (x * x).sum(-1) / 2\n")
    code, out, err = simulate(capsys, "--json")
    assert code == 0 and "hello" in err and "running" in err
    assert json.loads(out)["schema"] == 1


def test_dataclasses_with_postponed_annotations_and_names_of_the_standard_library(mine):
    text = """
        from __future__ import annotations
        from dataclasses import dataclass, field
        import random
        @dataclass(frozen=True)
        class Bowl:
            scale: float = 2.0
            parts: list[int] = field(default_factory=list)
            def __call__(self, x): return self.scale * (x * x).sum(-1)
        loss = Bowl()
        """
    for name in ("mine.py", "random.py", "dataclasses.py"):
        file = mine(text, name)
        assert load_function(f"{file}:loss").scale == 2.0
        file.unlink()
    import random

    assert hasattr(random, "Random")


def test_two_files_of_one_name_are_two_modules(mine, tmp_path):
    (tmp_path / "other").mkdir()
    first, second = mine("C = 1\n" + LOSS), mine("C = 2\n" + LOSS, "other/mine.py")
    assert (load_file(first).C, load_file(second).C, load_file(first).C) == (1, 2, 1)


def test_helpers_beside_the_file_are_importable_when_it_loads_and_when_it_runs(capsys, mine):
    mine("import help_a\ndef loss(x):\n    import help_b\n    return help_a.C * help_b.C * (x * x).sum(-1) / 2\n")
    mine("C = 1.0\n", "help_a.py")
    mine("C = 0.0\n", "help_b.py")
    code, out, err = simulate(capsys, "--json")
    assert code == 0, err
    assert max(abs(row["value"]) for row in json.loads(out)["rows"] if row["observable"] == "f") == 0


def test_a_name_for_two_files_is_refused(mine, tmp_path):
    """The standard library is not replaced: nor does a file silently get another module than the one beside it."""
    mine("C = 1.0\n", "statistics.py")
    with pytest.raises(UserCodeFailed, match="'statistics', which may be .*statistics.py or .*statistics.py here"):
        load_file(mine("import statistics\n" + LOSS))


def test_the_users_functions_go_to_other_processes(mine, tmp_path):
    """By their module's name, which spells the file: no process has to be told."""
    text = pickle.dumps(load_function(str(mine(LOSS)) + ":loss"))
    (tmp_path / "f.pickle").write_bytes(text)
    code = "import pickle, torch; f = pickle.load(open('f.pickle', 'rb')); print(float(f(torch.ones(3))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "1.5", done.stderr


# ----------------------------------------------------------------- running (A11)
RAISERS = {
    "RuntimeError": "raise RuntimeError('step\\nand many more lines')",
    "LinAlgError": "torch.linalg.cholesky(-torch.eye(2))",
    "IndexError": "x[..., 5]",
    "AttributeError": "x.nothing",
    "NotImplementedError": "raise NotImplementedError",
    "OverflowError": "float(10) ** 1000",
    "SystemExit": "raise SystemExit(0)",
    "ValueError": "raise ValueError('no')",
}


@pytest.mark.parametrize(("kind", "line"), RAISERS.items(), ids=RAISERS)
def test_a_failure_of_the_users_code_while_it_runs_is_one_sentence(capsys, mine, kind, line):
    """At a late call, after every check of the boundary."""
    mine(f"""
        import torch
        calls = 0
        def loss(x):
            global calls
            calls += 1
            if calls > 40:
                {line}
            return (x * x).sum(-1) / 2
        """)
    code, out, err = simulate(capsys, "--json", steps="60")
    assert (code, out) == (2, "")
    assert "mine.py, line 8, in loss: " in err and kind in err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_the_first_failure_in_a_method_and_in_a_helper_is_located_too(capsys, mine):
    mine("import help_c\ndef up(g, x, z, *, rho):\n    return help_c.twice(g(x, z))\n")
    mine("def twice(v):\n    return v.nothing\n", "help_c.py")
    mine(LOSS, "loss.py")
    code, _, err = simulate(capsys, landscape="loss.py:loss", method="mine.py:up")
    assert code == 2 and "help_c.py, line 2, in twice" in err


@pytest.mark.parametrize("command", ["validate", "weak-order", "sweep"])
def test_other_commands_guard_it_as_well(capsys, mine, command):
    mine("def loss(x):\n    if x.shape[0] > 5: raise RuntimeError('too many')\n    return (x * x).sum(-1) / 2\n")
    mine(
        'landscape = "mine.py:loss"\nmethod = "sgd"\neta = 0.1\nsigma = 0.1\nsteps = 2\nsaves = 1\nx0 = [1.0]\n',
        "g.toml",
    )
    arguments = {
        "validate": ("--landscape", "mine.py:loss", "--eta", "0.1", "--sigma", "0.1", "--steps", "4", "--x0", "1.0"),
        "weak-order": ("--landscape", "mine.py:loss", "--sigma", "0.1", "--x0", "1.0", "--n", "2000"),
        "sweep": ("g.toml", "--out", "s", "--executor", "serial", "--n", "1024"),
    }
    code, _, err = call(capsys, command, *arguments[command])
    assert code == (3 if command == "sweep" else 2)
    assert "mine.py, line 2, in loss: RuntimeError: too many" in err and "Traceback" not in err


def test_the_explorer_answers_with_the_sentence(mine):
    from sdesam.explorer.application import Application, Refused
    from sdesam.explorer.library import library_of
    from sdesam.explorer.state import State

    mine("calls = 0\ndef loss(x):\n    return (x * x).sum(-1) / 2\ndef up(g, x, z, *, rho):\n    raise SystemExit(3)\n")
    library, family, method = library_of("mine.py:loss", "mine.py:up")
    application = Application(library, State(landscape=family, method=method), "token")
    body = json.dumps(State(landscape=family, method=method, horizon=0.1).document()).encode()
    with pytest.raises(Refused, match="mine.py, line 5, in up: SystemExit: 3"):
        application.post("check", body)


def test_bugs_of_our_own_keep_their_traceback(capsys, mine, monkeypatch):
    import sdesam.cli.simulate

    mine(LOSS)
    load_file(mine(LOSS))

    def bug(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr(sdesam.cli.simulate, "side_by_side", bug)
    with pytest.raises(KeyError):
        app.main(["simulate", "--landscape", "mine.py:loss", "--eta", "0.1", "--steps", "1", "--x0", "1.0"])
    assert failure_of(KeyError("ours")) is None
    assert failure_of(Failed("a verdict")) is None


def test_an_interruption_of_the_users_code_is_130(capsys, mine):
    mine("def loss(x): raise KeyboardInterrupt\n")
    assert simulate(capsys)[0] == 130
    mine("raise KeyboardInterrupt\n")
    assert simulate(capsys)[0] == 130


def test_printing_comes_back_when_the_last_block_is_left(capsys):
    with to_stderr(), to_stderr():
        print("inside")
    print("outside")
    assert capsys.readouterr() == ("outside\n", "inside\n")


# ----------------------------------------------------------------- what a file means (A1)
def test_an_edited_helper_is_another_file_and_is_loaded_anew(mine):
    mine("import help_d\ndef loss(x): return help_d.C * (x * x).sum(-1) / 2\n")
    import torch

    found = []
    for text in ("C = 1.0\n", "C = 3.0\n", "C = 1.0\n"):  # of one size, within a second
        mine(text, "help_d.py")
        value = float(find_landscape("mine.py:loss").landscape(torch.ones(2)))
        cell = Ensemble("mine.py:loss", "sgd", eta=0.1, steps=2, x0=(1.0,), saves=1, observables=("f",))
        found.append((fingerprint("mine.py:loss"), value, float(cell.compute(range(2)).estimate("f").value[0])))
    assert found[0] == found[2] != found[1]
    assert [v[1:] for v in found] == [(1.0, 0.5), (3.0, 1.5), (1.0, 0.5)]


def test_helpers_count_at_any_depth_and_in_packages_and_functions_and_installed_ones_do_not(mine, tmp_path):
    (tmp_path / "pack_e").mkdir()
    mine("from . import deep\n", "pack_e/__init__.py")
    mine("import help_e\n", "pack_e/deep.py")
    mine("C = 1\n", "help_e.py")
    mine("import numpy, torch\nfrom pack_e import deep\ndef loss(x):\n    import late_e\n    return (x * x).sum(-1)\n")
    late = mine("C = 1\n", "late_e.py")
    mine("C = 1\n", "unrelated.py")
    seen = {fingerprint("mine.py:loss")}
    for name in ("help_e.py", "late_e.py", "pack_e/__init__.py", "pack_e/deep.py"):
        mine((tmp_path / name).read_text(encoding="utf-8") + "# edited\n", name)
        seen.add(fingerprint("mine.py:loss"))
    assert len(seen) == 5
    mine("C = 2\n", "unrelated.py")
    assert fingerprint("mine.py:loss") in seen and late.exists()


def test_what_a_file_means_depends_on_no_path(mine, tmp_path, monkeypatch):
    mine("import help_f\n" + LOSS)
    mine("C = 1\n", "help_f.py")
    first = fingerprint("mine.py:loss")
    (tmp_path / "elsewhere").mkdir()
    for name in ("mine.py", "help_f.py"):
        os.rename(tmp_path / name, tmp_path / "elsewhere" / name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert fingerprint("mine.py:loss") == first


# ----------------------------------------------------------------- what a file reads (A1)
GRID = """
landscape = "land.py:loss"
method = "METHOD"
side = "algorithm"
eta = 0.1
sigma = 0.1
steps = 20
saves = 1
x0 = [1.0]
observables = ["x[0]"]
"""
READS = {  # a file, what it reads at first and later
    "data": ("import pathlib; C = float(pathlib.Path('curv.txt').read_text())", lambda c, _: open_text("curv.txt", c)),
    "environment": ("import os; C = float(os.environ['CURV'])", lambda c, patch: patch.setenv("CURV", c)),
    "random": ("import numpy as np; C = 1 + np.random.rand()", lambda c, _: None),
}


def open_text(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def forget():
    """What a new process would not know."""
    from sdesam import setting
    from sdesam.user_code import loading

    loading._LOADED.clear()
    setting._scene_of.cache_clear()


def sweep(capsys, n):
    return call(capsys, "sweep", "grid.toml", "--out", "st", "--n", n, "--executor", "serial")


@pytest.mark.parametrize(("line", "change"), READS.values(), ids=READS)
def test_what_a_landscape_reads_may_not_change_under_its_store(capsys, mine, monkeypatch, tmp_path, line, change):
    """faults.md A1: 1,024 replicates of either law were one mean; with the same n the old table was served."""
    mine(GRID.replace("METHOD", "sgd"), "grid.toml")
    mine(f"{line}\ndef loss(x): return C * (x * x).sum(-1) / 2\n", "land.py")
    change("1.0", monkeypatch)
    code, _, err = sweep(capsys, "1024")
    assert code == 0, err
    before = sorted(p.name for p in (tmp_path / "st" / "chunks").rglob("*.npz"))
    change("3.0", monkeypatch)
    for n in ("1024", "2048"):
        forget()
        code, out, err = sweep(capsys, n)
        assert (code, out) == (3, "")
        assert "land.py:loss with sgd: f at x = (1) was" in err and "read is not (data, environment, random" in err
    assert sorted(p.name for p in (tmp_path / "st" / "chunks").rglob("*.npz")) == before
    if line != READS["random"][0]:
        change("1.0", monkeypatch)
        forget()
        assert sweep(capsys, "2048")[0] == 0


def test_a_worker_that_reads_something_else_adds_nothing(capsys, mine, monkeypatch, tmp_path):
    """The driver's values are right, those of the process that computes are not."""
    mine(GRID.replace("METHOD", "land.py:up").replace("land.py:loss", "log-cosh"), "grid.toml")
    mine("import os\ndef up(g, x, z, *, rho): return float(os.environ['CURV']) * g(x, z)\n", "land.py")
    monkeypatch.setenv("CURV", "1.0")
    compute = Ensemble.compute

    def elsewhere(self, replicates):
        monkeypatch.setenv("CURV", "1.00001")
        return compute(self, replicates)

    monkeypatch.setattr(Ensemble, "compute", elsewhere)
    code, _, err = sweep(capsys, "1024")
    assert code == 3 and "log-cosh with land.py:up: G at x = (1) was" in err
    assert not list((tmp_path / "st").rglob("*.npz"))


def test_rounding_is_no_change(capsys, mine, monkeypatch):
    mine(GRID.replace("METHOD", "sgd"), "grid.toml")
    mine("import os; C = float(os.environ['CURV'])\ndef loss(x): return C * (x * x).sum(-1) / 2\n", "land.py")
    monkeypatch.setenv("CURV", "1.0")
    assert sweep(capsys, "1024")[0] == 0
    for value, code in (("1.0000000001", 0), ("1.00001", 3)):
        monkeypatch.setenv("CURV", value)
        forget()
        assert sweep(capsys, "1024")[0] == code


def test_a_store_of_before_with_a_users_file_is_refused(capsys, mine, tmp_path):
    mine(GRID.replace("METHOD", "sgd"), "grid.toml")
    mine("def loss(x): return (x * x).sum(-1) / 2\n", "land.py")
    assert sweep(capsys, "1024")[0] == 0
    run = next((tmp_path / "st" / "runs").glob("*.json"))
    document = json.loads(run.read_text(encoding="utf-8"))
    document["grid"]["stands_for"] = {"land.py:loss": "0123456789abcdef"}
    run.write_text(json.dumps(document), encoding="utf-8")
    for arguments in (("sweep", "grid.toml", "--out", "st", "--dry-run"), ("collect", "st", "-o", "a.csv")):
        code, _, err = call(capsys, *arguments)
        assert code == 3 and "st holds results of land.py:loss from a version that looked at this file alone" in err
    assert sweep(capsys, "1024")[0] == 3


def test_keys_of_catalogue_names_are_those_of_before_on_every_machine():
    """Computed at commit 100cfff; of the computed data the digests were one CPU's, the values are everybody's."""
    import torch

    from sdesam.names import LANDSCAPES
    from sdesam.problems.fingerprints import _COMPUTED, _digest_of
    from sdesam.sweeps.store import canonical, key_of

    known = {
        "quadratic": "e846e7bfeae4c55d", "saddle": "fabba0cdc15ecca8", "log-cosh": "6d9a5f96c204f57d",
        "double-well": "1fdf5b96a18ca75c", "tanh-network": "436f7d9c8e4b966b", "embedded-saddle": "1cc713a4f7178975",
        "product-valley": "55a96b6ea0ea7da8", "wen-valley": "805c4acd0ff5be4b", "autoencoder": "1c600b8d792fc64d",
    }  # fmt: skip
    assert {name: _digest_of(find_landscape(name).landscape) for name in known} == known
    assert {name: fingerprint(name) for name in LANDSCAPES} == known | _COMPUTED
    cell = Ensemble("saddle", "usam", eta=0.1, rho=0.1, sigma=0.3, steps=4, saves=2)
    document = json.loads(canonical(cell))
    assert (document.pop("engine"), document["schema"]) == ("fused", 2)  # of before: every cell was eager
    text = json.dumps(document | {"schema": 1}, sort_keys=True, separators=(",", ":"))
    assert key_of(text).hex() == "fafb7999ef72bf11c039f8d4c97e34264acb00507a9018725cefa9387026ee70"
    values = [-0.9320390859672264, 2.523491024789888, 0.863259599264087, 0.2517752004108282]  # at 100cfff
    for name, value in zip(_COMPUTED, values, strict=True):
        f = find_landscape(name).landscape
        x = torch.linspace(-1, 1, f.dim, dtype=torch.float64)
        assert float(f(x)) == pytest.approx(value, rel=1e-9), name
