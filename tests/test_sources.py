"""The hash of a script's sources sees what it reaches, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdesam.sources import closure, source_hash

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
FILES = {
    "__init__.py": b"",
    "low.py": b"import numpy",
    "high.py": b"from .low import a\nfrom .paper import thing",
    "lazy.py": b"def f():\n    from .low import a",
    "other.py": b"",
    "paper/__init__.py": b"from .deep.leaf import thing",
    "paper/deep/__init__.py": b"",
    "paper/deep/leaf.py": b"from ...low import a\nfrom .. import second",
    "paper/second.py": b"",
}


@pytest.mark.parametrize(
    ("script", "reached"),
    [
        ("import numpy as np\nnp.sdesam.low", []),
        ("from sdesam.low import a", ["low.py"]),
        ("from sdesam import lazy", ["lazy.py", "low.py"]),
        ("import sdesam.other", ["other.py"]),
        ("import sdesam as ss\nprint(ss.other.x.y)", ["other.py"]),
        ("import sdesam as ss\nss.paper.deep.leaf", [f for f in FILES if "paper" in f] + ["low.py"]),
        ("from sdesam.high import b", ["high.py", "low.py"] + [f for f in FILES if "paper" in f]),
    ],
)
def test_the_closure_of_imports(script, reached):
    assert closure(script.encode(), FILES) == sorted(reached)


def test_public_names_lead_to_their_modules():
    assert closure(b"import sdesam as ss\nss.grad(f)") == ["calculus.py"]
    assert "theory/__init__.py" in closure(b"import sdesam as ss\nss.weak_order")


def test_the_hash_sees_the_script_and_what_it_reaches_only(tmp_path):
    script = tmp_path / "one.py"
    script.write_text("from sdesam.low import a\n")
    before = source_hash(script, FILES)
    assert source_hash(script, FILES | {"other.py": b"x = 1"}) == before
    assert source_hash(script, FILES | {"low.py": b"import numpy as np"}) != before
    script.write_text("from sdesam.low import a  # anew\n")
    assert source_hash(script, FILES) != before


LOADED = """
import sys
from pathlib import Path
from sdesam.experiments import directly, load
from sdesam.sources import closure
script = load(path := Path(sys.argv[1]))
if path.stem == "variance_regulariser":  # the shortest
    script.run(script.SMOKE, directly)
ours = (m.__file__ for name, m in sys.modules.items() if name.startswith("sdesam."))
print(*{Path(f).as_posix().rsplit("/sdesam/", 1)[1] for f in ours if f} - set(closure(path.read_bytes())))
"""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_whatever_python_loads_for_a_script_is_in_its_closure(path):
    done = subprocess.run([sys.executable, "-c", LOADED, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
