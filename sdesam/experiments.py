"""The experiment harness: run -> results, figure(results), verdicts(results), written where they belong.

A script in ``experiments/`` is a module with

    ID, TITLE, MINUTES      its name, its headline and its measured run time on two cores
    CAPTION                 one paragraph: what is drawn, and which parameters are our choice
    Config, SMOKE           a frozen dataclass with the published settings as defaults; a small instance
    run(config, recall)     -> results, a dict of arrays; all the computing, each part of it through
                            recall(part, config, ...), which computes once and reads its arrays from then on
    figure(results, config) -> a matplotlib figure
    verdicts(results, config) -> a list of ``Verdict``; the criteria, in code before the run
"""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .ensembles import DivergenceWarning
from .files import remembered
from .plotting import save, style
from .sde import SDE
from .sources import source_hash
from .statistics import Estimate

__all__ = [
    "VERDICTS", "Recall", "Verdict", "directly", "execute", "find_experiments", "flipped", "judge", "judge_order",
    "packed", "together", "trusted", "unexpected", "unpacked", "within", "z_score",
]  # fmt: skip

VERDICTS = ("reproduced", "qualitatively", "in part", "not reproduced", "inconclusive", "not attempted")
SIGMAS = 4.0  # with 60 rows at 95 %, three would fail by chance; at four standard errors, 0.004
_DIGITS = 8
Answer = bool | np.bool_
Recall = Callable[..., dict[str, np.ndarray]]
_VERSIONS = ("numpy", "scipy", "torch", "matplotlib")


@dataclass(frozen=True)
class Verdict:
    """One claim and what a computed criterion says about it.

    Attributes
    ----------
    claim : short id, unique in the repository
    statement : the claim, in words
    source : where it stands, and whether it was read, recalled or derived
    criterion : the rule, fixed before the run
    paper_value : the paper's number, or "none given"
    observed : what was measured, with standard errors and n
    rejects : the planted wrong models and how clearly the criterion refuses each
    verdict : one of ``VERDICTS``, computed
    expected : the verdict on record; a run that differs from it fails
    """

    claim: str
    statement: str
    source: str
    criterion: str
    paper_value: str
    observed: str
    rejects: str
    verdict: str
    expected: str

    def __post_init__(self) -> None:
        for name in ("verdict", "expected"):
            if getattr(self, name) not in VERDICTS:
                raise ValueError(f"{name} must be one of {', '.join(VERDICTS)}, got {getattr(self, name)!r}.")


def judge(holds: Sequence[Answer | None], refused: Sequence[Answer], *, given: bool) -> str:
    """The verdict of named criteria, given that each planted wrong model was refused.

    A criterion holds (True), its complement is established (False), or neither (None).  All hold: "reproduced"
    where the paper gives the number, else "qualitatively".  Some hold: "in part".  All complements established:
    "not reproduced".  Anything undecided, or a wrong model that passes: "inconclusive".

    >>> judge([True, True], [True], given=False), judge([False], [True], given=True), judge([True], [False], given=True)
    ('qualitatively', 'not reproduced', 'inconclusive')
    """
    if not all(refused) or any(h is None for h in holds):
        return "inconclusive"
    if all(holds):
        return "reproduced" if given else "qualitatively"
    return "in part" if any(holds) else "not reproduced"


def judge_order(gap: float, stderr: float, refused: Sequence[Answer], *, given: bool = False) -> str:
    """The verdict of "gap > 0" at four standard errors: its complement is established, or it is inconclusive.

    >>> judge_order(1.0, 0.1, [True]), judge_order(-1.0, 0.1, [True]), judge_order(0.1, 0.1, [True])
    ('qualitatively', 'not reproduced', 'inconclusive')
    """
    if abs(gap) <= SIGMAS * stderr:
        return "inconclusive"
    return judge([gap > 0], refused, given=given)


def flipped(model: SDE) -> SDE:
    """The model with the sign of rho turned: the planted wrong model of many criteria."""
    coefficients = model.coefficients
    return replace(model, coefficients=replace(coefficients, rho=-coefficients.rho))  # pyright: ignore


def packed(estimate: Estimate) -> np.ndarray:
    """Value, standard error and heavy-tail flag as one array (3, S), for results."""
    return np.stack([np.broadcast_to(part, np.shape(estimate.value)) for part in
                     (estimate.value, estimate.stderr, estimate.heavy_tailed)])  # fmt: skip


def unpacked(array: np.ndarray, n: int) -> Estimate:
    """The estimate that ``packed`` stored."""
    return Estimate(array[0], array[1], n, "Monte Carlo", array[2] > 0)


def trusted(*estimates: Estimate) -> bool:
    """Whether no replicate carries too much of a variance: else no verdict may rest on these numbers."""
    return not any(np.any(e.heavy_tailed) for e in estimates)


def z_score(value: float, target: float, stderr: float) -> float:
    """|value − target| in standard errors; 0 for equal numbers, infinite for different exact ones."""
    if value == target:
        return 0.0
    return abs(value - target) / stderr if stderr else float("inf")


def within(value: float, target: float, stderr: float, *, sigmas: float = SIGMAS) -> bool:
    """Whether a value agrees with a target to ``sigmas`` standard errors."""
    return bool(abs(value - target) <= sigmas * stderr)


# ----------------------------------------------------------------- parts side by side
def together(recall: Recall, parts: Sequence[tuple], workers: int = 2) -> list[dict[str, np.ndarray]]:
    """``[recall(*part) for part in parts]`` in forked processes, for experiments of many long parts."""
    context = multiprocessing.get_context("fork")  # nothing is pickled but indices and arrays
    with ProcessPoolExecutor(workers, context, initializer=_inherit, initargs=(recall, parts)) as pool:
        return list(pool.map(_part, range(len(parts))))


_inherited: tuple[Recall, Sequence[tuple]] | None = None  # of a forked worker


def _inherit(recall: Recall, parts: Sequence[tuple]) -> None:
    global _inherited
    _inherited = recall, parts


def _part(i: int) -> dict[str, np.ndarray]:
    assert _inherited is not None, "only a worker computes parts"
    recall, parts = _inherited
    return recall(*parts[i])


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
    """Import a script by its path."""
    name = f"sdesam_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ----------------------------------------------------------------- running one
def execute(
    path: Path, folder: Path, *, smoke: bool, results_folder: Path | None = None, expected_hash: str | None = None
) -> dict[str, Any]:
    """Run a script and write ``<id>.pdf .png .csv .json`` into ``folder``; returns the record plus its seconds.

    With a results folder, finished parts are kept there under the hash of the sources: an interrupted run resumes, and
    one with unchanged sources and config only redraws.  One torch thread: the ensembles are small, and the bits of a
    run must not depend on the machine's load.  Raises ``RuntimeError`` when the sources are not those of
    ``expected_hash``: they were edited after the run began.
    """
    import torch

    torch.set_num_threads(1)
    sources = source_hash(path)
    if expected_hash not in (None, sources):
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
    with style():
        save(script.figure(results, config), stem)
    record = _record(script, path, config, results)
    _write_csv(stem.with_suffix(".csv"), results)
    stem.with_suffix(".json").write_text(_document(record), encoding="utf-8")
    return {**record, "seconds": time.perf_counter() - began}


def directly(compute: Callable[..., Mapping[str, Any]], *arguments: Any) -> dict[str, np.ndarray]:
    """A recall that remembers nothing."""
    return {name: np.asarray(value) for name, value in compute(*arguments).items()}


def parts_folder(results_folder: Path, script: Path) -> Path:
    """Where a script's finished parts are kept; those of other sources are removed."""
    kept = results_folder / "parts" / f"{script.stem}-{source_hash(script)}"
    for other in (results_folder / "parts").glob(f"{script.stem}-*"):
        if other != kept and other.name[: -len(source_hash(script))] == f"{script.stem}-":
            shutil.rmtree(other)
    return kept


def unexpected(record: Mapping[str, Any]) -> list[str]:
    """The claims whose verdict differs from the one on record."""
    return [
        f"{v['claim']}: {v['verdict']}, on record {v['expected']}"
        for v in record["verdicts"]
        if v["verdict"] != v["expected"]
    ]


def _record(script: ModuleType, path: Path, config: Any, results: Mapping[str, np.ndarray]) -> dict[str, Any]:
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
        "source_hash": source_hash(path),
        "verdicts": [asdict(v) for v in script.verdicts(results, config)],
        "results": {name: _rounded(value) for name, value in results.items()},
    }


def _document(record: Mapping[str, Any]) -> str:
    """The record as JSON, one line per result."""
    head = json.dumps({k: v for k, v in record.items() if k != "results"}, indent=1, ensure_ascii=False)
    lines = (
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(value)}" for name, value in record["results"].items()
    )
    return head[:-2] + ',\n "results": {\n' + ",\n".join(lines) + "\n }\n}\n"


def _rounded(value: np.ndarray) -> Any:
    if value.dtype.kind in "iub":
        return value.tolist()
    return json.loads(json.dumps(value.tolist()), parse_float=lambda s: float(f"{float(s):.{_DIGITS}g}"))


def _write_csv(path: Path, results: Mapping[str, np.ndarray]) -> None:
    """Long form: one row a number, with its indices."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "index", "value"])
        for name, value in results.items():
            for index in np.ndindex(value.shape):
                writer.writerow([name, " ".join(map(str, index)), f"{float(value[index]):.{_DIGITS}g}"])
