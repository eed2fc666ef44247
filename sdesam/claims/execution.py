"""Runs one experiment: run -> results, figure(results), verdicts(results), written where they belong.

A script in ``experiments/<paper>/`` is a module with

    ID, TITLE, MINUTES      its name, its headline and its measured run time on two cores
    HEADLINE                True for one script of a paper, which `sdesam repro` runs when none is named
    CAPTION                 one paragraph: what is drawn, and which parameters are our choice
    Config, SMOKE           a frozen dataclass with the published settings as defaults; a small instance
    run(config, recall)     -> results, a dict of arrays; all the computing, each part of it through
                            recall(part, config, ...), which computes once and reads its arrays from then on
    figure(results, config) -> a matplotlib figure
    verdicts(results, config) -> a list of ``Verdict``; the criteria, in code before the run

The figure is drawn from the numbers on record, so that it depends on them and on matplotlib only: the last bits, which
differ between machines, move no pixel.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..engine.ensembles import DivergenceWarning
from ..plotting import save, style
from .parts import directly, remembered
from .sources import Hashes, hashes

__all__ = ["execute", "find_experiments", "load", "parts_folder", "recorded_hashes", "rounded", "unexpected"]

_DIGITS = 8
_VERSIONS = ("numpy", "scipy", "torch", "matplotlib")
_FIELDS = {"numbers": "source_hash", "drawing": "drawing_hash", "criteria": "criteria_hash"}  # of a record


# ----------------------------------------------------------------- finding scripts
def find_experiments(start: Path) -> Path:
    """The ``experiments`` folder at or above ``start``.

    Raises
    ------
    FileNotFoundError
        When there is none: an installed wheel carries no experiments.
    """
    for folder in (start, *start.parents):
        if (folder / "experiments").is_dir() and (folder / "pyproject.toml").is_file():
            return folder / "experiments"
    raise FileNotFoundError(
        f"no experiments/ folder at or above {start}: run this inside a checkout of the repository, an installed "
        "package carries none."
    )


def load(path: Path) -> ModuleType:
    """Import a script by its path, as a member of its folder: it may import its siblings."""
    folder = _folder_of(path)
    for held in [name for name in sys.modules if name.startswith(f"{folder}.")]:
        del sys.modules[held]  # a sibling may have been edited since
    name = f"{folder}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _folder_of(script: Path) -> str:
    """The name of a package made of a script's folder, one a path."""
    folder = script.resolve().parent
    name = f"sdesam_experiments_{folder.name}_{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    package = sys.modules.setdefault(name, ModuleType(name))
    package.__path__ = [str(folder)]
    return name


# ----------------------------------------------------------------- running one
def execute(
    path: Path,
    folder: Path,
    *,
    smoke: bool,
    results_folder: Path | None = None,
    expected: Hashes | None = None,
) -> dict[str, Any]:
    """Run a script and write ``<id>.pdf .png .csv .json`` into ``folder``; returns the record plus its seconds.

    With a results folder, finished parts are kept there under the hash of what computes them: an interrupted run
    resumes, and where only the drawing, the caption or a criterion changed, kept numbers are drawn and judged again.
    One torch thread: the ensembles are small, and the bits of a run must not depend on the machine's load.  Raises
    ``RuntimeError`` when the sources have other hashes than the ``expected``: they were edited after the run began.
    """
    import torch

    torch.set_num_threads(1)
    sources = hashes(path)
    if expected not in (None, sources):
        raise RuntimeError(f"the sources changed while the experiments ran: run {path.stem} again.")
    script = load(path)
    config = script.SMOKE if smoke else script.Config()
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)  # an experiment that loses paths must say so itself
        recall = directly if results_folder is None else remembered(parts_folder(results_folder, path))
        results = {name: np.asarray(value) for name, value in script.run(config, recall).items()}
    stem = Path(folder) / script.ID
    stem.parent.mkdir(parents=True, exist_ok=True)
    if results_folder is not None:
        results_folder.mkdir(parents=True, exist_ok=True)
        np.savez(results_folder / f"{script.ID}.npz", allow_pickle=False, **results)
    kept = {name: rounded(value) for name, value in results.items()}
    with style():
        save(script.figure(kept, config), stem)
    verdicts = [asdict(v) for v in script.verdicts(results, config)]
    record = {**_record(script, config, sources), "verdicts": verdicts,
              "results": {name: value.tolist() for name, value in kept.items()}}  # fmt: skip
    _write_csv(stem.with_suffix(".csv"), kept)
    stem.with_suffix(".json").write_text(_document(record), encoding="utf-8", newline="\n")
    return {**record, "seconds": time.perf_counter() - began}


def parts_folder(results_folder: Path, script: Path) -> Path:
    """Where a script's finished parts are kept; those of other sources are removed."""
    kept = results_folder / "parts" / f"{script.stem}-{hashes(script).numbers}"
    for other in (results_folder / "parts").glob(f"{script.stem}-*"):
        if other != kept and len(other.name) == len(kept.name):
            shutil.rmtree(other)
    return kept


def unexpected(record: Mapping[str, Any]) -> list[str]:
    """The claims whose verdict differs from the one on record."""
    return [
        f"{v['claim']}: {v['verdict']}, on record {v['expected']}"
        for v in record["verdicts"]
        if v["verdict"] != v["expected"]
    ]


def recorded_hashes(record: Mapping[str, Any]) -> Hashes:
    """What a figure on record came from; "" where the record does not say."""
    return Hashes(**{name: record.get(field, "") for name, field in _FIELDS.items()})


def _record(script: ModuleType, config: Any, sources: Hashes) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": script.ID,
        "title": script.TITLE,
        "caption": " ".join(script.CAPTION.split()),
        "minutes": script.MINUTES,
        "config": asdict(config),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name).split("+")[0] for name in _VERSIONS},
        },
        **{field: getattr(sources, name) for name, field in _FIELDS.items()},
    }


def _document(record: Mapping[str, Any]) -> str:
    """The record as JSON, one line per result."""
    head = json.dumps({k: v for k, v in record.items() if k != "results"}, indent=1, ensure_ascii=False)
    lines = (
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(value)}" for name, value in record["results"].items()
    )
    return head[:-2] + ',\n "results": {\n' + ",\n".join(lines) + "\n }\n}\n"


def rounded(value: np.ndarray) -> np.ndarray:
    """Floats to the eight digits that a record keeps; anything else as it is."""
    if value.dtype.kind != "f":
        return value
    flat = [float(f"{v:.{_DIGITS}g}") for v in value.ravel().tolist()]
    return np.array(flat, dtype=np.float64).reshape(value.shape)


def _write_csv(path: Path, results: Mapping[str, np.ndarray]) -> None:
    """Long form: one row a number, with its indices."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "index", "value"])
        for name, value in results.items():
            for index in np.ndindex(value.shape):
                writer.writerow([name, " ".join(map(str, index)), f"{float(value[index]):.{_DIGITS}g}"])
