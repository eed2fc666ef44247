"""Machine code from LLVM text: compiled once a structure, kept in the process and in a folder of object files."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

__all__ = ["Code", "cache_folder", "compiled", "host_features", "machine_fuses", "machine_name", "optimised"]

_MOST_FILES = 2000  # the oldest go first; a file has 10 to 500 kB


@dataclass(frozen=True, eq=False)
class Code:
    """Machine code in memory.

    Attributes
    ----------
    address : maps a function's name to its address
    slots : slots of the buffer it needs
    cached : whether it came from a file
    """

    address: Callable[[str], int]
    slots: int
    cached: bool


def cache_folder() -> Path | None:
    """Where object files are kept: ``$SDESAM_CACHE``, or ``sdesam`` in the user's cache folder; None without a home."""
    own, caches = os.environ.get("SDESAM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    try:
        return Path(caches or Path.home() / ".cache") / "sdesam"
    except RuntimeError:  # neither $HOME nor an entry for the user
        return None


def compiled(key: tuple, write: Callable[[], tuple[str, int]], folder: Path | None = None) -> Code:
    """The code that ``write() -> (LLVM text, slots)`` describes; ``key`` determines the text.

    A file that is cut or changed is compiled again; a run that is killed while it writes leaves none.
    """
    folder = folder or cache_folder()
    path = folder / f"{_digest(key)}.o" if folder else None
    kept = _read(path) if path else None
    if kept is not None:
        return _loaded(*kept, cached=True)
    text, slots = write()
    code = _object_of(text)
    if path:
        _write(path, slots, code)
    return _loaded(slots, code, cached=False)


@lru_cache(maxsize=1)
def _machine() -> tuple[llvm.TargetMachine, str]:
    """For this processor, or for the one that ``$SDESAM_CPU`` names, in LLVM's words, as x86-64-v2 or haswell."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    named = os.environ.get("SDESAM_CPU")
    cpu, features = named or llvm.get_host_cpu_name(), "" if named else host_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)
    return machine, f"{llvm.get_default_triple()} {cpu} {features}"


def host_features() -> llvm.FeatureMap:
    """What this processor has; nothing on systems where LLVM cannot tell."""
    try:
        return llvm.get_host_cpu_features()
    except RuntimeError:
        return llvm.FeatureMap()


def machine_name() -> str:
    """The processor that code is made for, in LLVM's word."""
    return _machine()[1].split(" ")[1]


def machine_fuses() -> bool:
    """Whether that processor has an instruction for a b + c rounded once: LLVM would call the C library elsewhere."""
    return _fuses(_machine()[0])


_FUSED_PRODUCT = """
declare double @llvm.fma.f64(double, double, double)
define double @one(double %a, double %b, double %c) {
  %d = call double @llvm.fma.f64(double %a, double %b, double %c)
  ret double %d
}"""


@lru_cache
def _fuses(machine: llvm.TargetMachine) -> bool:
    return re.search(r"\bfma\b", machine.emit_assembly(llvm.parse_assembly(_FUSED_PRODUCT))) is None


@lru_cache(maxsize=1)
def _sources() -> str:
    """The engine's own text: a change of a printer makes other code from the same list."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _digest(key: tuple) -> str:
    versions = (llvmlite.__version__, llvm.llvm_version_info, _machine()[1], _sources())
    return hashlib.sha256(repr((key, versions)).encode()).hexdigest()[:40]


def _object_of(text: str) -> bytes:
    machine, _ = _machine()
    return machine.emit_object(optimised(text, machine, llvm.get_default_triple()))


def optimised(text: str, machine: llvm.TargetMachine, triple: str) -> llvm.ModuleRef:
    """A few passes: what the standard ones do beyond these costs ten times as long and gains nothing here."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = triple, str(machine.target_data)
    module.verify()
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_reassociate_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_loop_rotate_pass()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


def _loaded(slots: int, code: bytes, *, cached: bool) -> Code:
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Code(engine.get_function_address, slots, cached)


# ----------------------------------------------------------------- files
def _read(path: Path) -> tuple[int, bytes] | None:
    """Slots and code of a whole file, else None."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, slots, code = content[:32], content[32:40], content[40:]
    if len(content) < 40 or hashlib.sha256(slots + code).digest() != checksum:
        return None
    return int.from_bytes(slots, "little"), code


def _write(path: Path, slots: int, code: bytes) -> None:
    """In one piece: the file appears under its name when it is whole.  Without room for it there is no cache."""
    rest = slots.to_bytes(8, "little") + code
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            pass  # Windows writes to and renames no file that is open
        _filled(Path(file.name), hashlib.sha256(rest).digest() + rest, path)
        _prune(path.parent)
    except OSError:
        return


def _filled(unfinished: Path, content: bytes, path: Path) -> None:
    """The content under its name; without success nothing stays."""
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _prune(folder: Path) -> None:
    """Files that a killed run left unfinished go after an hour, finished ones when there are many."""
    for file in folder.glob("*.tmp"):
        if file.stat().st_mtime < time.time() - 3600:
            file.unlink(missing_ok=True)
    files = list(folder.glob("*.o"))
    if len(files) > _MOST_FILES:
        for old in sorted(files, key=lambda f: f.stat().st_mtime)[: _MOST_FILES // 4]:
            old.unlink(missing_ok=True)
