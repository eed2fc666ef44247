"""The command line: exit codes, one sentence for one mistake, and stdout that is the result and nothing else."""

import csv
import json
import signal
import warnings

import pytest
from command_line import call

from sdesam import names
from sdesam.claims.reproduction import ExperimentFailed, VerdictChanged
from sdesam.cli import app
from sdesam.problems.catalogue import LANDSCAPES
from sdesam.theory.methods import METHODS

BASE = ["simulate", "--landscape", "tanh-network", "--method", "sam", "--eta", "0.1", "--rho", "0.1", "--sigma", "0.3"]


def test_simulate_json_is_one_document(capsys):
    code, out, _ = call(capsys, *BASE, "--steps", "10", "--n", "500", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["settings"]["seed"] == 0
    sides = {(row["side"], row["observable"]) for row in document["rows"]}
    assert sides == {(s, o) for s in ("algorithm", "SDE") for o in ("f", "x[0]", "x[1]")}
    last = [row for row in document["rows"] if row["step"] == 10 and row["observable"] == "f"]
    assert all(row["stderr"] > 0 and row["n"] == 500 for row in last)


def test_simulate_text_and_files(capsys, tmp_path):
    code, out, _ = call(capsys, *BASE, "--steps", "2", "--n", "100", "--no-model")
    assert code == 0
    assert "SDE" not in out
    assert "seed = 0" in out
    for name in ("a.json", "a.csv"):
        assert call(capsys, *BASE, "--steps", "2", "--n", "100", "-o", str(tmp_path / name))[:2] == (0, "")
    assert json.loads((tmp_path / "a.json").read_text())["schema"] == 1
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert {row["side"] for row in rows} == {"algorithm", "SDE"}


def test_a_function_of_the_users_file(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def valley(x):\n    return (x[..., 0] * x[..., 1]) ** 2 / 2\n"
                    "def twice(g, x, z, *, rho):\n    return g(x + rho * g(x + rho * g(x, z), z), z)\n")  # fmt: skip
    arguments = [
        "simulate",
        "--landscape",
        f"{file}:valley",
        "--method",
        f"{file}:twice",
        "--eta",
        "0.1",
        "--rho",
        "0.1",
    ]
    code, out, err = call(capsys, *arguments, "--steps", "3", "--n", "50", "--x0", "1.0", "0.5", "--sigma", "0.1")
    assert code == 0, err
    assert "x[1]" in out


@pytest.mark.parametrize("name", sorted(LANDSCAPES))
def test_every_named_landscape_starts_and_is_in_the_help(capsys, name):
    arguments = ["simulate", "--landscape", name, "--eta", "0.01", "--sigma", "0.1", "--steps", "1", "--n", "16"]
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    assert "step 1" in out
    assert name in described("simulate")["--landscape"]


def test_minibatches_and_sampled_batches(capsys):
    base = ["simulate", "--landscape", "teacher-student", "--method", "sam", "--eta", "0.05", "--rho", "0.1"]
    run = ["--steps", "2", "--n", "16", "--json"]
    code, out, err = call(capsys, *base, "--batch-size", "1", *run)
    assert code == 0, err
    assert json.loads(out)["settings"]["batch_size"] == 1
    code, out, err = call(capsys, *base, "--batch-size", "3", "--batches", "20", *run)
    assert code == 0, err
    assert json.loads(out)["settings"]["drift error at x0"] > 0
    assert len({row["side"] for row in json.loads(out)["rows"]}) == 2


BAD = {
    "landscape": (["--landscape", "tanh-netwrk"], "Did you mean 'tanh-network'?"),
    "method": (["--method", "samm"], "Did you mean 'sam'?"),
    "no file": (["--landscape", "nowhere.py:f"], "there is no file 'nowhere.py'"),
    "no function": (["--landscape", "FILE:nothing"], "defines no function 'nothing'"),
    "broken file": (["--landscape", "BROKEN:f"], "failed to import: ZeroDivisionError"),
    "failing function": (["--landscape", "FILE:failing", "--x0", "1.0", "1.0"], "the landscape failed on points"),
    "wrong shape": (["--landscape", "FILE:summed", "--x0", "1.0", "1.0"], "Did a sum or mean miss dim=-1?"),
    "a number": (["--landscape", "FILE:constant", "--x0", "1.0", "1.0"], "returned a float instead"),
    "no rho": (["--method", "FILE:summed"], "must have signature (g, x, z, *, rho)"),
    "eta": (["--eta", "-1"], "eta must be > 0, got -1.0"),
    "nan": (["--eta", "nan"], "eta must be finite"),
    "rho": (["--rho", "-0.5"], "rho must be >= 0, got -0.5"),
    "sigma": (["--sigma", "inf"], "sigma must be finite"),
    "two noises": (["--landscape", "iris", "--batch-size", "2"], "sigma and batch_size are two kinds"),
    "no sum": (["--sigma", "0", "--batch-size", "2"], "batch_size needs a landscape that is a sum over data"),
    "batch": (["--landscape", "iris", "--sigma", "0", "--batch-size", "151"], "151"),
    "no batch": (["--batches", "20"], "give batch_size (--batch-size) as well"),
    "batches": (["--landscape", "iris", "--sigma", "0", "--batch-size", "8", "--batches", "1"], "batches must be >= 2"),
    "many batches": (["--landscape", "iris", "--sigma", "0", "--batch-size", "8"], "or --batches 1000 to sample"),
    "steps": (["--steps", "0"], "steps must be >= 1, got 0"),
    "n": (["--n", "0"], "n must be >= 1, got 0"),
    "x0": (["--x0", "1", "2", "3"], "x0 must have 2 numbers"),
    "x0 needed": (["--landscape", "FILE:good"], "x0 must be given"),
    "seed": (["--seed", "-3"], "seed must be >= 0"),
    "save": (["--save-every", "4"], "save_every must divide steps = 10"),
    "device": (["--device", "abacus"], "device must be one torch can use here"),
    "suffix": (["-o", "result.xls"], "must end in .json or .csv"),
    "folder": (["-o", "no/such/folder/a.json"], "a file in a writable folder"),
    "threads": (["--threads", "0"], "--threads must be >= 1"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_exit_2(capsys, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def good(x): return (x * x).sum(-1)\ndef failing(x): return x[..., 5]\ndef summed(x): return (x * x).sum()\n"
        "def constant(x): return 1.0\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    given = [a.replace("FILE", "mine.py").replace("BROKEN", "broken.py") for a in arguments]
    defaults = [*BASE, "--steps", "10", "--n", "20"]
    kept = [
        w
        for flag, value in zip(defaults[1::2], defaults[2::2], strict=True)
        if flag not in given
        for w in (flag, value)
    ]
    code, out, err = call(capsys, "simulate", *kept, *given)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_an_order_needs_all_minibatches(capsys):
    arguments = ("--landscape", "iris", "--method", "usam", "--sigma", "0", "--batch-size", "8")
    code, _, err = call(capsys, "weak-order", *arguments)
    assert code == 2
    assert "--batch-size 8 of 150 data has more than 10,000 minibatches" in err


def test_parser_errors_are_usage(capsys):
    assert call(capsys, "simulate", "--landscape", "saddle", "--eta", "x", "--steps", "3")[0] == 2
    assert call(capsys, "simulate", "--landscape", "saddle", "--steps", "3")[0] == 2
    assert call(capsys, "nonsense")[0] == 2


def test_info(capsys):
    code, out, _ = call(capsys, "info", "--json")
    assert code == 0
    assert json.loads(out)["engines"].startswith("fused")
    assert "torch" in call(capsys, "info")[1]


def test_repro_list_and_unknown(capsys):
    code, out, _ = call(capsys, "repro", "--list")
    assert code == 0
    assert "quadratic-usam-floor" in out
    assert json.loads(call(capsys, "repro", "--list", "--json")[1])["claims"]
    code, _, err = call(capsys, "repro", "sadle")
    assert code == 2
    assert "Did you mean 'saddle'" in err


def test_outside_a_checkout(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "repro")
    assert code == 2
    assert "run this inside a checkout" in err


@pytest.mark.parametrize(
    "failure", [VerdictChanged("a: b", "all verdicts"), ExperimentFailed("saddle.py failed: ValueError: x")]
)
def test_changed_verdicts_and_broken_experiments_exit_1(capsys, monkeypatch, failure):
    import sdesam.claims.reproduction

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(sdesam.claims.reproduction, "reproduce", fail)
    code, out, err = call(capsys, "repro")
    assert code == 1
    assert str(failure) in err
    assert out == ("all verdicts\n" if isinstance(failure, VerdictChanged) else "")


def test_interruption_is_130(capsys, monkeypatch):
    import sdesam.cli.simulate

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sdesam.cli.simulate, "side_by_side", interrupt)
    assert call(capsys, *BASE, "--steps", "2")[0] == 130


@pytest.mark.untyped
def test_weak_order_answers_and_can_be_expected(capsys):
    base = ("weak-order", "--landscape", "quadratic", "--method", "usam", "--sigma", "0.5",
            "--estimator", "closed_form",
            "--eta", "0.03125", "0.015625", "0.0078125", "0.00390625")  # fmt: skip
    code, out, err = call(capsys, *base, "--expect", "order-1", "--json")
    assert code == 0, err
    assert {c["conclusion"] for c in json.loads(out)["conclusions"].values()} == {"order 1"}
    code, out, err = call(capsys, *base, "--model", "sgd", "--expect", "order-1/2")
    assert code == 0, err
    assert "order 1/2: share of order 1/2" in out
    code, out, err = call(capsys, *base, "--model", "drift-only", "--expect", "order-1")
    assert code == 1
    assert "not order 1" in err
    assert "order 1, wrong constant" in out  # the order is blind to the noise, e1 and S are not
    assert "does not converge: the diffusion is wrong or missing" in out
    assert call(capsys, *base, "--horizon", "0.7")[0] == 2
    assert call(capsys, *base, "--observable", "y")[0] == 2


def test_weak_order_refuses_a_printed_form_that_does_not_exist(capsys, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("def half_way(g, x, z, *, rho):\n    return (g(x, z) + g(x + rho * g(x, z), z)) / 2\n")
    base = ("weak-order", "--landscape", "quadratic", "--method", f"{mine}:half_way", "--sigma", "0.5")
    code, _, err = call(capsys, *base, "--estimator", "closed_form", "--model", "as-printed")
    assert code == 2
    assert "exists for usam and sam, not for half_way" in err


@pytest.mark.slow
@pytest.mark.untyped
def test_weak_order_by_quadrature_for_a_file_and_its_second_order_model(capsys, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from sdesam import unit\n\n\ndef half_way(g, x, z, *, rho):\n"
        "    return (g(x, z) + g(x + rho * unit(g(x, z)), z)) / 2\n"
    )
    base = ("weak-order", "--landscape", "log-cosh", "--method", f"{mine}:half_way", "--sigma", "0.5", "--x0", "1.2",
            "--estimator", "quadrature", "--observable", "x[0]",
            "--eta", "0.125", "0.0625", "0.03125", "0.015625")  # fmt: skip
    code, out, err = call(capsys, *base, "--rho-scale", "0.3", "--rho-power", "0", "--model", "modified-2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["conclusions"]["x[0]"]["conclusion"] == "order 2"
    assert found["fluctuations"]["conclusion"] == "order 1"
    code, out, err = call(capsys, *base, "--model", "sgd", "--expect", "order-1/2")
    assert code == 0, err
    assert "predicted: " in out
    code, out, err = call(capsys, *base, "--model", "as-printed")
    assert code == 2
    assert "exists for usam and sam" in err


def described(command):
    """Option -> its description, as --help shows it."""
    arguments = app.app[command].assemble_argument_collection(parse_docstring=True)
    return {a.name: a.parameter.help or "" for a in arguments if a.show}


COMMANDS = [name for name, *_ in app.app.resolved_commands().items() if not name.startswith("-")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_every_parameter(command):
    """A description on the line of its name would be read as a type, and left out of --help."""
    found = described(command)
    assert found and all(found.values()), found


def test_names_in_help_are_those_of_the_tables():
    assert len(COMMANDS) >= 9
    assert tuple(LANDSCAPES) == names.LANDSCAPES
    assert set(names.METHODS) == set(METHODS)
    for command in ("simulate", "weak-order", "validate", "escape"):
        options = described(command)
        assert all(name in options["--landscape"] for name in LANDSCAPES)
        assert all(name in options["--method"] for name in METHODS)


def test_main_leaves_signals_and_warnings_as_they_were(capsys):
    before = signal.signal(signal.SIGTERM, lambda *_: None), warnings.showwarning
    mine = signal.getsignal(signal.SIGTERM)
    try:
        for arguments in (("info",), ("nonsense",)):
            call(capsys, *arguments)
            assert (signal.getsignal(signal.SIGTERM), warnings.showwarning) == (mine, before[1])
    finally:
        signal.signal(signal.SIGTERM, before[0])
