"""The table of landscapes: its names, its rows of five lines at most, and a user's landscape without a row."""

import ast
from pathlib import Path

import pytest
import torch
from command_line import call

import sdesam as ss
from sdesam import names
from sdesam.explorer.families import FAMILIES, Slider
from sdesam.explorer.library import library_of
from sdesam.problems import catalogue
from sdesam.problems.catalogue import LANDSCAPES
from sdesam.problems.landscapes import dimension_of


def test_the_names_that_need_no_torch_are_those_of_the_table():
    assert tuple(LANDSCAPES) == names.LANDSCAPES
    assert tuple(FAMILIES) == names.EXPLORED


def test_a_landscape_is_a_row_of_at_most_five_lines():
    statements = ast.parse(Path(catalogue.__file__).read_text(encoding="utf-8")).body
    table = next(s for s in statements if isinstance(s, ast.AnnAssign) and ast.unparse(s.target) == "LANDSCAPES")
    rows = next(node for node in ast.walk(table) if isinstance(node, ast.Dict))
    lines = {ast.unparse(k): v.end_lineno - k.lineno + 1 for k, v in zip(rows.keys, rows.values, strict=True)}
    assert len(lines) == len(LANDSCAPES) and max(lines.values()) <= 5, lines


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_explorer_shows_every_landscape_of_the_plane(name):
    row = LANDSCAPES[name]
    f = row.landscape()
    assert row.start is None or len(row.start) == dimension_of(f)
    if dimension_of(f) == 2:
        x = torch.randn(20, 2, dtype=torch.float64)
        assert row.plane is not None and torch.equal(row.plane.landscape(**row.plane.defaults())(x), f(x))


def test_a_landscape_of_a_file_is_at_the_command_line_and_in_the_explorer(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def bowl(x, *, depth=2.0):\n    return depth * (x * x).sum(-1) / 2\n", encoding="utf-8")
    run = ("--eta", "0.1", "--sigma", "0.1", "--x0", "1.0", "0.5", "--steps", "2", "--n", "50")
    code, out, err = call(capsys, "simulate", "--landscape", f"{file}:bowl", "--method", "sgd", *run)
    assert code == 0 and "x[1]" in out, err
    library, name, _ = library_of(f"{file}:bowl")
    assert name == "bowl" and dict(library.families[name].parameters) == {"depth": Slider(2.0, 0.2, 20.0)}
    f = library.families[name].landscape(depth=3.0)
    assert ss.grad(f)(torch.ones(2)).tolist() == [3.0, 3.0]
    assert library.science(name, "sgd").numbers[-1] == "depth"
