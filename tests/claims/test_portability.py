"""Under other machines' arithmetic: what travels is the same bytes, what is computed is the same to rounding.

Each machine is a process whose libraries are held to older instructions.  What is committed, hashed or cached (tables,
pages, fingerprints, hashes of figures, pictures of recorded numbers) must not notice; nor must the engine's bits where
the instructions have fused products, and to rounding where they have not.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy._core import _multiarray_umath as core

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # a process a machine, half a minute in all; the bits of tables are in test_special

MACHINES = {
    "OpenBLAS of 2008": {"OPENBLAS_CORETYPE": "Nehalem"},
    "MKL of any processor": {"MKL_CBWR": "COMPATIBLE"},
    "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "numpy without vectors": {
        "NPY_DISABLE_CPU_FEATURES": " ".join(n for n in core.__cpu_dispatch__ if core.__cpu_features__[n])
    },
    "libm without fused products": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX"},
    "engine of 2009": {"SDESAM_CPU": "x86-64-v2"},
    "engine of 2013": {"SDESAM_CPU": "haswell"},
}
UNFUSED = {"engine of 2009"}  # no fused products: another rounding
PROBE = """
import hashlib, io, json, sys
from functools import partial
from pathlib import Path
import numpy as np
import torch
import sdesam as ss
from sdesam.problems.catalogue import LANDSCAPES
from sdesam.claims.execution import load
from sdesam.claims.reproduction import Repository
from sdesam.explorer.library import library_of
from sdesam.plotting import style
from sdesam.problems.quadrature import hermite
from sdesam.problems.fingerprints import fingerprint
from sdesam.claims.sources import hashes
from sdesam.theory import model_of
from sdesam.theory.exact.gaussian_noise import tables

torch.set_num_threads(1)
root = Path(sys.argv[1])

def digest(content):
    return hashlib.sha256(content).hexdigest()

def picture(name):
    script = load(Repository(root).scripts([name])[name])
    record = json.loads((root / "figures" / f"{name}.json").read_text(encoding="utf-8"))
    results = {key: np.array(value) for key, value in record["results"].items()}
    drawn = io.BytesIO()
    with style():
        script.figure(results, script.Config()).savefig(drawn, format="png", metadata={"Software": None})
    return digest(drawn.getvalue())

def moments(engine):
    f = ss.TanhNetwork()
    g = ss.GaussianOracle(f, 0.3)
    pair = [ss.optimizer(partial(ss.sam, rho=0.1), g, 0.05),
            ss.euler_maruyama(model_of(partial(ss.sam, rho=0.1), g, 0.05), 0.05)]
    runs = [ss.simulate(k, [1.0, 1.2], steps=20, observables={"f": f}, n=1500, seed=3, engine=engine) for k in pair]
    return [v for run in runs for v in np.concatenate((run.estimate("f").value, run.estimate("f").stderr)).tolist()]

library = library_of()[0]
travels = {
    "tables": [digest(tables(d, a).coefficients.numpy().tobytes()) for d, a in ((1, 1e-13), (2, 1e-8), (28, 1e-13))],
    "rules": [digest(hermite(order, 1)[0].numpy().tobytes()) for order in (4, 21)],
    "page": digest(library.science("saddle", "sam").javascript().encode()),
    "fingerprints": {name: fingerprint(name) for name in LANDSCAPES},
    "hashes": [str(hashes(path)) for path in Repository(root).scripts(["errata", "F2"]).values()],
    "picture": picture("errata"),
}
print(json.dumps({"travels": travels, "fused": moments("fused"), "eager": moments("eager")}))
"""


def probe(variables, folder):
    environment = os.environ | variables | {"SDESAM_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, str(ROOT)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return probe({}, tmp_path_factory.mktemp("here"))


@pytest.mark.parametrize("machine", MACHINES)
def test_what_travels_is_the_same_and_what_is_computed_is_to_rounding(machine, here, tmp_path):
    """A run of 20 steps from about 1: rounding is below 1e-12 of each moment."""
    if "SDESAM_CPU" in MACHINES[machine] and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the engine's older processors are x86's")
    there = probe(MACHINES[machine], tmp_path)
    for name, content in here["travels"].items():
        assert there["travels"][name] == content, name
    if machine not in UNFUSED:
        assert there["fused"] == here["fused"]
    for engine in ("fused", "eager"):
        np.testing.assert_allclose(there[engine], here[engine], rtol=1e-12)
    np.testing.assert_allclose(there["fused"], there["eager"], rtol=1e-12)


def test_another_result_is_seen(here):
    """The tolerance is no free pass: a start moved by 1e-9 would show."""
    moved = np.array(here["fused"]) * (1 + 1e-9)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(moved, here["fused"], rtol=1e-12)
