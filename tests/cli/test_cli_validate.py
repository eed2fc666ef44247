"""``sdesam validate``: a network from a file of the user, one sentence for one mistake, divergence that is shown."""

import json

import pytest

from sdesam.cli import app

NETWORK = """
import torch, sdesam as ss

def network():
    torch.manual_seed(0)
    data = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 1, dtype=torch.float64)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    return ss.landscape_from_module(model, torch.nn.functional.mse_loss, data)

def steep(x):
    return (50 * x * x).sum(-1)

def own(g, x, z, *, rho):
    return g(x + rho * g(x, z), z)
"""
SHORT = ["--eta", "0.05", "--steps", "4", "--n", "4"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


def call(capsys, *arguments):
    code = 0
    try:
        app.main(["validate", *arguments])
    except SystemExit as leave:
        code = leave.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.untyped
def test_a_module_of_the_users_starts_at_its_own_parameters(capsys, file, tmp_path):
    arguments = ["--landscape", f"{file}:network", "--method", "usam", "--rho", "0.05", "0.2", "--sigma", "0.1", *SHORT]
    code, out, err = call(capsys, *arguments, "--json", "-o", str(tmp_path / "v.pdf"))
    assert code == 0, err
    document = json.loads(out)
    assert {(row["rho"], row["model"]) for row in document["rows"]} == {
        (rho, model) for rho in (0.05, 0.2) for model in ("own", "drift only", "SGD", "the optimizer again")
    }
    assert all(row["low"] <= row["metric"] <= row["high"] for row in document["rows"])
    assert len(document["settings"]["x0"]) == 11
    assert document["settings"]["x0"] != [0.0] * 11
    assert set(document["stability"]) == set(document["answers"]) == {"0.05", "0.2"}
    assert (tmp_path / "v.pdf").stat().st_size > 0


@pytest.mark.parametrize("extra", [["--batch-size", "1"], ["--batch-size", "4", "--batches", "20"],
                                   ["--batch-size", "5", "--batches", "20"]])  # fmt: skip
@pytest.mark.untyped
def test_minibatches_of_a_module(capsys, file, extra):
    code, out, err = call(capsys, "--landscape", f"{file}:network", "--method", "sam", *SHORT, *extra)
    assert code == 0, err
    assert "the optimizer's own SDE is" in out


def test_an_update_of_the_users(capsys, file):
    """Its modified equation has its own normals, so the two run apart; here it is USAM's SDE."""
    arguments = ["--landscape", "log-cosh", "--method", f"{file}:own", "--sigma", "0.3", *SHORT]
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    assert "drift only" in out


@pytest.mark.untyped
def test_divergence_is_shown_with_its_limit(capsys, file):
    arguments = ["--landscape", f"{file}:steep", "--x0", "1.0", "--method", "usam", "--sigma", "0.1", "--eta", "0.01"]
    code, out, err = call(
        capsys, *arguments, "--rho", "0.001", "1e6", "--steps", "10", "--save-every", "10", "--n", "4"
    )
    assert code == 0, err
    assert "rho = 1e+06: λ = 100 at x0, η·λ(1 + ρ·λ) = 1e+08, beyond 2: expect divergence" in out
    assert "DIVERGED: 4 replicates non-finite by step" in out
    assert out.index("DIVERGED") > out.index("rho = 1e+06:")


BAD = {
    "no noise": (["--landscape", "iris"], "give sigma (--sigma) or batch_size (--batch-size)"),
    "no landscape": (["--landscape", "iriss", "--sigma", "1"], "Did you mean 'iris'?"),
    "substeps": (["--landscape", "iris", "--sigma", "0.1", "--substeps", "1"], "substeps must be >= 2"),
    "equal radii": (["--landscape", "iris", "--sigma", "0.1", "--rho", "0.1", "0.1"], "rhos must be different radii"),
    "negative": (["--landscape", "iris", "--sigma", "0.1", "--rho", "0.1", "-1"], "rho must be >= 0, got -1.0"),
    "many batches": (["--landscape", "iris", "--batch-size", "8"], "pass --batches 64"),
    "output": (["--landscape", "iris", "--sigma", "0.1", "-o", "x.txt"], "--output must end in .pdf or .png or .json"),
    "device": (["--landscape", "iris", "--sigma", "0.1", "--device", "nowhere"], "device must be one torch can use"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_sentence(capsys, case):
    arguments, message = BAD[case]
    code, out, err = call(capsys, "--eta", "0.05", *arguments, "--steps", "2", "--n", "4")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
