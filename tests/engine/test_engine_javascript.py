"""The list as JavaScript, run in Node, against torch with the same noise."""

import json
import shutil
import subprocess
from functools import partial

import numpy as np
import pytest
import torch
from cases import LANDSCAPES, METHODS, SIX, points

import sdesam as ss
from sdesam.engine.javascript import javascript_of
from sdesam.engine.streams import Streams
from sdesam.engine.tracing.checks import evaluate
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.trace import trace
from sdesam.theory import monzio_compagnoni2023 as mc23

PLANAR = {name: f for name, f in LANDSCAPES.items() if f.dim == 2}
STEPS = 200
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js")

LOOP = """
const jobs = JSON.parse(require('fs').readFileSync(0));
const number = v => typeof v === 'string' ? Number(v) : v;
console.log(JSON.stringify(jobs.map(({step, c, t, x, z}) => {
  const f = eval(step);
  let state = x;
  return z.map(row => (state = f(state.concat(row), c, t))).map(s => s.map(String));
})));
"""


def job(kernel, x0):
    """A list with its constants and injected noise, and the path that torch makes of it."""
    step = listing_of(kernel, x0, {"x": ss.coordinate(0)}, {}).members[0].step
    noise = kernel.noise.draw(Streams(seed=3, first=0, count=STEPS).bits, x0.dtype)
    state, path = list(kernel.init(x0[None]).T), []
    start = torch.cat(state).tolist()
    for z in noise:
        state = evaluate(step, [*state, *z[:, None]])
        path.append(torch.cat(state).tolist())
    return {"step": javascript_of(step), "c": step.constants, "t": step.tables, "x": start, "z": noise.tolist()}, path


@needs_node
@pytest.mark.parametrize("name", PLANAR)
def test_two_hundred_steps_equal_torch(name):
    """Every planar landscape x method, an SDE and a minibatch, 1e-10 relative to the path."""
    g = ss.GaussianOracle(PLANAR[name], 0.1)
    updates = {n: u if n == "sgd" else partial(u, rho=0.1) for n, u in METHODS.items()}
    kernels = [ss.optimizer(update, g, 0.02) for update in updates.values()]
    if name == "tanh_network":
        kernels.append(ss.small_noise_srk(mc23.sam_sde(g, eta=0.02, rho=0.1), 0.02))
        kernels.append(ss.optimizer(updates["sam"], ss.MinibatchOracle(SIX, 2), 0.02))
    jobs, paths = zip(*(job(k, points(PLANAR[name]) / 2) for k in kernels), strict=True)
    done = subprocess.run(["node", "-e", LOOP], input=json.dumps(jobs), capture_output=True, text=True, check=True)
    for found, path in zip(json.loads(done.stdout), paths, strict=True):
        path = np.array(path)
        difference = np.abs(np.array(found, float) - path)
        assert (difference <= 1e-10 * np.maximum(1, np.abs(path).max(1, keepdims=True))).all()
        assert np.isfinite(path).all()


@needs_node
def test_special_values_and_truths_are_those_of_the_reference():
    def rules(x):
        a, b = x.unbind(-1)
        low = torch.where((a < b) & ~(b >= 1), a.clamp(-1.0, 1.0), torch.maximum(a, b))
        return [low.reshape(1), torch.isnan(x).any().to(x.dtype).reshape(1), torch.sinh(a).reshape(1)]

    program = trace(rules, [torch.tensor([0.3, 0.2], dtype=torch.float64)], "rules")
    values = [[0.5, 2.0], [float("nan"), 1.0], [2.0, float("nan")], [float("inf"), -3.0], [-4.0, 0.5]]
    code = f"const f = {javascript_of(program)};"
    rows = "[[0.5,2],[NaN,1],[2,NaN],[Infinity,-3],[-4,0.5]]"
    script = f"{code} console.log(JSON.stringify({rows}.map(x => f(x, {list(program.constants)}, []).map(String))))"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    expected = torch.stack(evaluate(program, list(torch.tensor(values, dtype=torch.float64).T)), 1)
    found = np.array([[float(v) for v in row] for row in json.loads(done.stdout)])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-14, equal_nan=True)
