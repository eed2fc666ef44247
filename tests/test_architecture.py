"""The house: a package imports from lower floors only, and inside a package the imports run in no circle."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sdesam"
FLOORS = [
    ["arguments", "files", "names", "user_code"],
    ["problems", "processes"],
    ["dynamics"],
    ["engine", "theory"],
    ["weak", "setting", "plotting"],
    ["claims", "sweeps", "explorer"],
    ["cli"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports(folder: Path) -> dict[str, set[str]]:
    """The modules of a package and what each imports from it, at any depth of its code; () is the package itself."""
    modules = {_name(path, folder): path for path in folder.rglob("*.py")}
    return {name: set(_imported(name, path, modules)) for name, path in modules.items() if name}


def _name(path: Path, folder: Path) -> tuple[str, ...]:
    parts = path.relative_to(folder).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imported(name, path, modules):
    here = name if path.name == "__init__.py" else name[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sdesam":
            pytest.fail(f"{path} imports {node.module} absolutely: use a relative import")
        if isinstance(node, ast.ImportFrom) and node.level:
            target = (*here[: len(here) - node.level + 1], *(node.module or "").split(".") * bool(node.module))
            found = {(*target, a.name) if (*target, a.name) in modules else target for a in node.names}
            yield from found - {(), name}


def faults(folder: Path) -> list[str]:
    """Imports from the same or a higher floor, and circles inside a room."""
    graph = imports(folder)
    found = [
        f"{'.'.join(one)} imports {'.'.join(other)}, which is no lower"
        for one, others in graph.items()
        for other in others
        if one[0] != other[0] and FLOOR[one[0]] <= FLOOR[other[0]]
    ]
    for room in {name[0] for name in graph}:
        inside = {one: {o for o in others if o[0] == room} for one, others in graph.items() if one[0] == room}
        try:
            TopologicalSorter(inside).prepare()
        except CycleError as circle:
            found.append(f"a circle: {' -> '.join('.'.join(name) for name in circle.args[1])}")
    return found


def test_imports_point_downwards_and_run_in_no_circle():
    assert faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("problems/noise.py", "def f():\n    from ..dynamics.kernels import Kernel", "problems.noise imports dynamics"),
        ("engine/exits.py", "from ..theory import model_of", "engine.exits imports theory"),
        ("weak/errors.py", "from . import orders", "a circle: weak"),
        ("setting.py", "from . import plotting", "setting imports plotting"),
    ],
)
def test_the_check_can_fail(tmp_path, file, text, said):
    for room in ("problems/noise", "dynamics/kernels", "engine/exits", "theory/__init__", "weak/errors", "plotting"):
        path = tmp_path / f"{room}.py"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "weak/orders.py").write_text("from .errors import WeakError\n")
    assert faults(tmp_path) == []
    (tmp_path / file).write_text(text)
    assert [sentence.startswith(said) for sentence in faults(tmp_path)] == [True]


def test_the_house_is_small():
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert loose | packages == set(FLOOR)
    assert len(packages) <= 10 and len(loose) <= 8 and len(FLOORS) <= 8
    folders = Counter(path.parent for path in PACKAGE.rglob("*.py"))
    lines = {f: sum(p.read_text(encoding="utf-8").count("\n") for p in f.glob("*.py")) for f in folders}
    assert max(folders.values()) <= 30 and max(lines.values()) <= 6000


def long_signatures(folder: Path) -> list[str]:
    """Private functions and methods of eight or more parameters: what they share should be handed on whole."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")}
    found = [
        (path, node, {id(inner) for outer in ast.walk(tree) if isinstance(outer, ast.ClassDef) for inner in outer.body})
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    return [
        f"{path.name}: {node.name}"
        for path, node, methods in found
        if (node.name.startswith("_") or id(node) in methods)
        and len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) >= 8
    ]


def test_private_functions_and_methods_take_few_arguments(tmp_path):
    assert long_signatures(PACKAGE) == []
    many = "(a, b, c, d, *, e, f, g, h): ..."
    (tmp_path / "a.py").write_text(f"def _f{many}\ndef public{many}\nclass A:\n    def of{many}\n")
    assert long_signatures(tmp_path) == ["a.py: _f", "a.py: of"]


def test_no_room_bears_the_name_of_a_public_function():
    import sdesam

    assert not set(sdesam.__all__) & set(FLOOR)


def test_public_names_resolve_and_are_documented():
    import sdesam

    for name in sdesam.__all__:
        assert getattr(sdesam, name).__doc__, name


def test_help_does_not_import_torch():
    code = """
import sys, sdesam.cli.app
try:
    sdesam.cli.app.main(["--help"])
except SystemExit:
    pass
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
