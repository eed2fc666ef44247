"""Text is UTF-8 under every locale, no result is lost to an encoding or a full disk, counts may be written 1e4."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call

from sdesam.cli import sweep
from sdesam.cli.terminal import Usage, deliver, speak_any_text
from sdesam.engine.display import about_ten
from sdesam.setting import spacing

ROOT = Path(__file__).parents[2]
SIMULATE = ("simulate", "--landscape", "quadratic", "--method", "sgd", "--eta", "0.1", "--sigma", "0.1")


# ----------------------------------------------------------------- encodings (A8)
def without_encoding(text):
    """Lines that open text in the locale's encoding."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        module = getattr(getattr(node.func, "value", None), "id", "")
        words = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        binary = any(isinstance(w, str) and "b" in w and len(w) <= 3 for w in words)
        opens = name in ("read_text", "write_text") or (name == "open" and module not in ("os", "means", "webbrowser"))
        if opens and not binary and "encoding" not in [k.arg for k in node.keywords]:
            found.append(node.lineno)
    return found


def test_every_text_file_is_opened_with_an_encoding():
    files = [*ROOT.glob("sdesam/**/*.py"), *ROOT.glob("experiments/**/*.py")]
    assert {str(p.relative_to(ROOT)): lines for p in files if (lines := without_encoding(p.read_text("utf-8")))} == {}
    assert without_encoding("p.read_text()\np.open('rb')\nopen(p, 'w')\np.write_text(t, encoding='utf-8')") == [1, 3]


def test_what_cannot_be_encoded_is_spelt_and_files_get_utf_8(monkeypatch):
    found = {}
    for name, environment in (("file", {}), ("asked", {"PYTHONIOENCODING": "cp1252"})):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
        with monkeypatch.context() as patch:
            patch.delenv("PYTHONIOENCODING", raising=False)
            for key, value in environment.items():
                patch.setenv(key, value)
            patch.setattr(sys, "stdout", stream)
            speak_any_text()
            print("\u2212 \xb1", end="", flush=True)
        found[name] = stream.buffer.getvalue()
    assert found == {"file": b"\xe2\x88\x92 \xc2\xb1", "asked": b"\\u2212 \xb1"}


@pytest.mark.slow  # the same in two processes, with their real streams: two imports of torch
def test_results_arrive_under_any_locale():
    order = (
        "weak-order",
        "--landscape",
        "quadratic",
        "--method",
        "sgd",
        "--sigma",
        "0.3",
        "--estimator",
        "closed_form",
    )
    for arguments, settings in (
        (order, {"PYTHONIOENCODING": "cp1252"}),
        (("repro", "--list"), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ):
        code = f"from sdesam.cli.app import main; main({list(arguments)!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=os.environ | settings, check=False
        )
        assert done.returncode == 0 and len(done.stdout) > 300, done.stderr


def test_a_grid_may_begin_with_a_mark_and_hold_any_comment(capsys, tmp_path):
    grid = tmp_path / "grid.toml"
    text = '# größe\nlandscape = "saddle"\nmethod = "sgd"\neta = 0.1\nsteps = 2e1\nn = 1e3\nsaves = 1\n'
    grid.write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, out, err = call(capsys, "sweep", str(grid), "--out", str(tmp_path / "s"), "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["replicates each"] == 1024
    grid.write_bytes("# größe\n".encode("latin-1"))
    assert "must be TOML" in call(capsys, "sweep", str(grid), "--out", str(tmp_path / "s"), "--dry-run")[2]


def test_a_failing_write_prints_what_was_computed(capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, out, err = call(capsys, *SIMULATE, "--steps", "2", "--n", "16", "-o", str(tmp_path / "a.csv"))
    assert code == 2 and "No space left on device; the result is on stdout instead" in err
    assert out.startswith("side,observable,step")


# ----------------------------------------------------------------- section B
@pytest.mark.parametrize("text", ["1e2", "1.0e2", "100", "100.0"])
def test_counts_may_be_written_with_an_exponent(capsys, text):
    code, out, err = call(capsys, *SIMULATE, "--steps", "2e0", "--n", text, "--json")
    assert code == 0, err
    assert json.loads(out)["settings"]["n"] == 100


@pytest.mark.parametrize("text", ["1.5", "1e-2", "many", "inf", "nan", "1e999999999"])
def test_other_numbers_are_no_counts(capsys, text):
    code, out, err = call(capsys, *SIMULATE, "--steps", "2", "--n", text)
    assert (code, out) == (2, "") and "such as 10000 or 1e4" in " ".join((err).split())


@pytest.mark.parametrize("steps", [1, 7, 20, 50, 53, 100, 101, 1009, 1024])
def test_about_ten_rows_whatever_the_steps(steps):
    saved = steps // spacing(steps, 10) + 1
    rows = about_ten(saved)
    assert min(steps, 10) + 1 <= len(rows) <= 21
    assert (rows[0], rows[-1]) == (0, saved - 1) and len(set(rows)) == len(rows)


def test_rows_of_101_steps(capsys):
    code, out, _ = call(capsys, *SIMULATE, "--steps", "101", "--n", "16", "--no-model", "--json")
    steps = [row["step"] for row in json.loads(out)["rows"] if row["observable"] == "f"]
    assert code == 0 and steps == [0, 10, 20, 30, 40, 50, 61, 71, 81, 91, 101]
    _, out, _ = call(capsys, *SIMULATE, "--steps", "44", "--n", "16", "--save-every", "1", "--no-model", "--json")
    assert len([row for row in json.loads(out)["rows"] if row["observable"] == "f"]) == 45  # all that were asked for


def test_a_grids_files_are_looked_for_beside_it_then_here(capsys, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    text = 'landscape = "mine.py:loss"\nmethod = "sgd"\neta = 0.1\nsteps = 2\nsaves = 1\nx0 = [1.0]\n'
    (tmp_path / "there" / "grid.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    dry = ("sweep", "there/grid.toml", "--out", "s", "--dry-run", "--executor", "serial")
    code, _, err = call(capsys, *dry)
    assert code == 2 and f"looked in {tmp_path / 'there'} and {tmp_path})" in err
    for place in (".", "there"):
        file = tmp_path / place / "mine.py"
        file.write_text("def loss(x): return (x * x).sum(-1)\n", encoding="utf-8")
        assert call(capsys, *dry)[0] == 0
        file.unlink()


def test_the_recorded_command_can_be_pasted(capsys, tmp_path, monkeypatch):
    import shlex

    folder = tmp_path / "with a space"
    folder.mkdir()
    text = 'landscape = "saddle"\nmethod = "sgd"\neta = 0.1\nsteps = 2\nsaves = 1\n'
    (folder / "grid.toml").write_text(text, encoding="utf-8")
    given = ["sweep", str(folder / "grid.toml"), "--out", str(folder / "s"), "--executor", "serial", "--n", "1024"]
    monkeypatch.setattr(sweep.sys, "argv", ["sdesam", *given])
    assert call(capsys, *given)[0] == 0
    run = json.loads(next((folder / "s" / "runs").iterdir()).read_text(encoding="utf-8"))
    assert shlex.split(run["command"]) == ["sdesam", *given]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_result_that_stdout_cannot_take_goes_to_stderr(capsys, monkeypatch):
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 — closed below
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, encoding="utf-8", write_through=True))
    with pytest.raises(Usage, match="cannot write to stdout: No space left on device; the result is on stderr"):
        deliver("a result")
    full.close()
    assert "a result" in capsys.readouterr().err
