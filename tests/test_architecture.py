"""Layers: a module imports only from lower layers, or from modules listed before it in its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sdesam"
ORDER = [
    ["validation", "failures", "user_failures", "calculus", "special", "folds", "statistics", "quadrature", "noise",
     "conclusions"],
    ["landscapes", "saddles_and_valleys", "finite_sums", "datasets", "oracles", "minibatch", "observables"],
    ["updates", "sde", "one_step"],
    ["kernels", "variants", "stability", "integrators", "second_order", "theory.gaussian_noise",
     "theory.anisotropic_noise", "theory.linear", "theory.affine_noise", "theory.monzio_compagnoni2023.additive",
     "theory.monzio_compagnoni2023.sdes", "theory.monzio_compagnoni2023.as_printed",
     "theory.monzio_compagnoni2023.closed_forms", "theory.monzio_compagnoni2023.saddles_and_exits",
     "theory.monzio_compagnoni2023.at_run_time", "theory.monzio_compagnoni2023.stationary",
     "theory.monzio_compagnoni2023.escape", "theory.monzio_compagnoni2023", "theory.planar", "theory"],
    ["controls", "engine.streams", "engine.eager", "engine.purity", "engine.structures", "engine.probe",
     "engine.progress", "engine.programs", "engine.rounding", "engine.scalars", "engine.powers", "engine.rules",
     "engine.aggregates", "engine.storages", "engine.operations", "engine.watcher", "engine.trace",
     "engine.reference", "engine.javascript", "engine.checks", "engine.members", "engine.models",
     "engine.traced_models", "engine.named", "engine.vectors", "engine.formats", "engine.turns", "engine.circular",
     "engine.functions", "engine.draws", "engine.lanes", "engine.lists", "engine.printer", "engine.rows",
     "engine.reductions", "engine.runtime", "engine.sums", "engine.native", "engine.trial", "engine.compilation",
     "engine.calls", "engine.cpu", "engine.choice", "engine", "ensembles", "exits", "metrics", "candidates",
     "comparison", "weak_error", "growth", "backward", "tubes", "deterministic", "orders", "drift_corrections",
     "leading_constants", "fluctuations", "planted", "interop.torchsde", "interop"],
    ["plotting", "files", "normal_form", "sources", "experiments", "criteria", "devices", "execution",
     "validation_tasks", "validation_figures", "validation_rows", "report", "store", "chunks", "executors", "sweeps"],
    ["user_files", "user_code", "catalogue", "setting", "touchstones", "side_by_side", "cells", "order_report",
     "grids", "collecting", "sweeping", "reproduction", "terminal", "explorer.families", "explorer.entries",
     "explorer.state", "explorer.methods", "explorer.tracing", "explorer.formulas", "explorer.science",
     "explorer.presets", "explorer.stopped", "explorer.switched", "explorer.critical", "explorer.library",
     "explorer.check", "explorer.page", "explorer.application", "explorer.figure", "explorer.server",
     "explorer.widget", "explorer", "validating", "cli_stores", "cli_explore", "cli_validate", "cli"],
]  # fmt: skip
RANK = {name: i for i, name in enumerate(name for layer in ORDER for name in layer)}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, at any depth of its code."""
    name = module_name(path)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {target} if target in RANK else {f"{target}.{a.name}".strip(".") for a in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sdesam"):
            pytest.fail(f"{name} imports {node.module} absolutely; use a relative import")
    return {m for m in found if m in RANK}


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if module_name(p)]


def test_every_module_has_a_layer():
    assert {module_name(p) for p in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_downwards(path):
    upward = {m for m in imports(path) if RANK[m] >= RANK[module_name(path)] and m != module_name(path)}
    assert not upward


def test_the_layer_check_can_fail(tmp_path, monkeypatch):
    (tmp_path / "noise.py").write_text("from .kernels import Kernel\n")
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert RANK["kernels"] > RANK["noise"]
    assert imports(tmp_path / "noise.py") == {"kernels"}


def test_no_module_bears_the_name_of_a_public_function():
    import sdesam

    assert not set(sdesam.__all__) & {name.split(".")[0] for name in RANK}


def test_public_names_resolve_and_are_documented():
    import sdesam

    for name in sdesam.__all__:
        assert getattr(sdesam, name).__doc__, name


def test_help_does_not_import_torch():
    code = """
import sys, sdesam.cli
try:
    sdesam.cli.main(["--help"])
except SystemExit:
    pass
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
