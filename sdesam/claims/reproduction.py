"""``sdesam repro``: run the experiments side by side, compare verdicts with those on record, write the report."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..arguments import nearest
from .execution import find_experiments, load, parts_folder, recorded_hashes, unexpected
from .parts import require_device, takes_device
from .report import build_report, read_records
from .running import ExperimentFailed, run_all
from .sources import Hashes, hashes

__all__ = ["ExperimentFailed", "Repository", "VerdictChanged", "list_claims", "reproduce", "whats_left"]


_STALE = """\
# Figures whose sources have changed since they were made: `sdesam repro` makes them anew and rewrites this list.
"""


class VerdictChanged(Exception):
    """A computed verdict differs from the one on record; ``verdicts`` are all that were computed, as text or JSON."""

    def __init__(self, message: str, verdicts: str) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class Repository:
    """The folders of a checkout."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Repository:
        """The checkout at or above ``start``; raises ``FileNotFoundError`` with one sentence outside of any."""
        return cls(find_experiments(start).parent)

    @property
    def figures(self) -> Path:
        """Where published figures go."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """The generated report."""
        return self.root / "paper_repro.md"

    def scripts(self, ids: Iterable[str] = ()) -> dict[str, Path]:
        """Scripts by ID (the file's stem), all or those named."""
        found = (self.root / "experiments").glob("*/*.py")
        every: dict[str, Path] = {}
        for path in sorted((p for p in found if not p.stem.startswith("_")), key=lambda p: p.stem):
            if path.stem in every:
                raise ValueError(f"experiments need names of their own: {every[path.stem]} and {path} have one.")
            every[path.stem] = path
        wanted = list(ids) or list(every)
        for name in wanted:
            if name not in every:
                raise ValueError(f"experiment {name!r} is unknown: {nearest(name, every)}")
        return {name: every[name] for name in wanted}

    def headlines(self) -> list[str]:
        """The experiment of every paper that says ``HEADLINE = True``."""
        return [name for name, path in self.scripts().items() if getattr(load(path), "HEADLINE", False)]

    def scripts_on(self, device: str, ids: Sequence[str]) -> dict[str, Path]:
        """As ``scripts``; away from the CPU those that take a device, ``ValueError`` for a named one that does not."""
        scripts = self.scripts(ids)
        if device == "cpu":
            return scripts
        require_device(device)
        able = {name: path for name, path in scripts.items() if takes_device(load(path).Config)}
        if ids and len(able) < len(scripts):
            only = ", ".join(name for name in scripts if name not in able)
            raise ValueError(f"device must be cpu for {only}, got {device!r}: its Config has no device.")
        return able

    @property
    def stale_list(self) -> Path:
        """The IDs of the figures whose sources have changed since they were made."""
        return self.figures / "stale.txt"

    def stale(self) -> dict[str, list[str]]:
        """Per figure what changed since it was made ("numbers", "drawing", "criteria"); unchanged ones are left out."""
        scripts = self.scripts()
        found = {}
        for record in read_records(self.figures):
            if record["id"] in scripts:
                kept, now = recorded_hashes(record), hashes(scripts[record["id"]])
                found[record["id"]] = [f.name for f in fields(Hashes) if getattr(kept, f.name) != getattr(now, f.name)]
        return {name: changed for name, changed in found.items() if changed}

    def write_stale_list(self) -> None:
        """Rewrite figures/stale.txt."""
        text = _STALE + "".join(f"{name}\n" for name in self.stale())
        self.stale_list.write_text(text, encoding="utf-8", newline="\n")

    def listed_as_stale(self) -> list[str]:
        """The IDs that figures/stale.txt holds."""
        lines = self.stale_list.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def write_report(self) -> None:
        """Rebuild paper_repro.md from figures/*.json, keeping the prose between its markers, and figures/stale.txt."""
        previous = self.report.read_text(encoding="utf-8") if self.report.exists() else ""
        text = build_report(read_records(self.figures), previous)
        self.report.write_text(text, encoding="utf-8", newline="\n")
        self.write_stale_list()


def reproduce(
    repository: Repository,
    ids: Sequence[str],
    *,
    smoke: bool,
    jobs: int | None,
    as_json: bool,
    fresh: bool = False,
    device: str = "cpu",
    say: Callable[[str], object] | None = None,
) -> str:
    """Run experiments, all where none is named, in separate processes, and return the verdicts as text or JSON.

    ``say`` is told how long it takes by the minutes on record, of each that ends, and in between what is under way.

    Finished parts are kept in results/, so that an interrupted run resumes and an unchanged one only redraws; ``fresh``
    forgets them first.  On another device than the CPU run the experiments whose Config has a ``device``: it is then in
    the key of every part, in the record and in the manifest.

    A smoke run goes to a temporary folder and its verdicts are not compared: they come from too few replicates.

    Raises
    ------
    ExperimentFailed
        When a script raises; what finished before is written.
    VerdictChanged
        When a verdict of a full run differs from the one on record; everything is written first.
    ValueError
        For an unknown experiment, a device torch cannot use, or a named experiment that takes no device.
    """
    scripts = repository.scripts_on(device, ids)
    if smoke:
        with tempfile.TemporaryDirectory(prefix="sdesam-smoke-") as folder:
            records = run_all(scripts, Path(folder), smoke=True, results=None, jobs=jobs, device=device, say=say)
        return _verdict_lines(records, as_json=as_json)
    results = repository.root / "results"
    for name in scripts if fresh else ():
        shutil.rmtree(parts_folder(results, scripts[name]), ignore_errors=True)
    records = run_all(scripts, repository.figures, smoke=False, results=results, jobs=jobs, device=device, say=say)
    (results / "manifest.json").write_text(
        json.dumps({"finished": time.ctime(), "host": os.uname().nodename if hasattr(os, "uname") else "",
                    "device": device,
                    "seconds": {r["id"]: round(r["seconds"], 1) for r in records}}, indent=1), encoding="utf-8",
    )  # fmt: skip
    repository.write_report()
    changed = [f"{r['id']}: {line}" for r in records for line in unexpected(r)]
    text = _verdict_lines(records, as_json=as_json)
    if changed:
        raise VerdictChanged("verdicts differ from those on record: " + "; ".join(changed), text)
    return text


def whats_left(repository: Repository, ids: Sequence[str]) -> str:
    """A sentence about the figures on record, beside those that were made now, whose sources have changed."""
    left = [name for name in repository.stale() if name not in ids]
    if not left:
        return "all figures on record come from the sources as they are"
    return (
        f"{len(left)} other figures on record come from sources that have changed since: {', '.join(left)}. "
        "`sdesam repro --stale` makes them anew, `sdesam repro --all` everything."
    )


def list_claims(repository: Repository, *, as_json: bool) -> str:
    """Claims, criteria and verdicts of the figures on record, the minutes of each experiment, and which are stale."""
    stale = repository.stale()
    records = [r for r in read_records(repository.figures) if r["id"] in repository.scripts()]
    rows = [
        {
            "id": r["id"],
            "claim": v["claim"],
            "criterion": v["criterion"],
            "verdict": v["verdict"],
            "minutes": r["minutes"],
            "stale": stale.get(r["id"], []),
        }
        for r in records
        for v in r["verdicts"]
    ]
    fresh = [name for name in repository.scripts() if name not in {r["id"] for r in records}]
    if as_json:
        return json.dumps({"schema": 1, "claims": rows, "not run yet": fresh}, indent=1, ensure_ascii=False)
    lines = [
        f"{r['claim']:<36} {r['verdict']:<15} {r['minutes']:>4g} min  {'stale  ' if r['stale'] else ''}{r['criterion']}"
        for r in rows
    ]
    if stale:
        changed = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in stale.items())
        lines.append(f"stale, since their sources changed: {changed}")
    return "\n".join(
        lines
        + [f"{name}: not run yet, {load(p).MINUTES:g} min" for name, p in repository.scripts(fresh).items() if fresh]
    )


def _verdict_lines(records: Sequence[dict[str, Any]], *, as_json: bool) -> str:
    if as_json:
        kept = [{k: r[k] for k in ("id", "title", "verdicts", "seconds")} for r in records]
        return json.dumps({"schema": 1, "experiments": kept}, indent=1, ensure_ascii=False)
    return "\n".join(f"{v['verdict']:<15} {v['claim']:<36} {v['observed']}" for r in records for v in r["verdicts"])
