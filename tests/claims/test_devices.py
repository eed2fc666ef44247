"""Where an experiment computes: the choice is in its Config and in its parts' keys, and every tensor of a step follows.

The second is tested without any accelerator, on torch's device "meta", whose tensors have shapes and no numbers: no
operation but a copy may see tensors of two devices.
"""

from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sdesam as ss
from sdesam.claims.execution import load
from sdesam.claims.parts import chosen, computing_on, require_device, takes_device
from sdesam.claims.reproduction import Repository
from sdesam.dynamics.controls import antithetic
from sdesam.dynamics.variants import variants
from sdesam.weak.comparison import _grouped, _integrated
from sdesam.weak.metrics import gradient_and_radius
from sdesam.weak.models import MODELS, lean, partial_sde, rows_of, whole_sde

ROOT = Path(__file__).parents[2]
F1 = load(ROOT / "experiments/monzio_compagnoni2023/F1.py")
tasks = import_module(f"{F1.__package__}.validation.tasks")
TASKS, Config, task = tasks.TASKS, tasks.Config, tasks.task
T = torch.float64


# ----------------------------------------------------------------- the choice
def test_a_config_made_inside_has_the_device_and_one_made_outside_the_cpu():
    with computing_on("cuda"):
        assert (chosen(), Config().device) == ("cuda", "cuda")
    assert (chosen(), Config().device) == ("cpu", "cpu")
    assert Config() != Config(device="cuda")  # and so are the keys of its parts


def test_only_the_experiments_with_a_device_can_move():
    able = {path.stem for path in (ROOT / "experiments").glob("*/*.py") if takes_device(load(path).Config)}
    assert able == {"F1", "F2", "F3", "F4", "F5"}
    repository = Repository(ROOT)
    assert set(repository.scripts_on("cpu:0", [])) == able
    assert set(repository.scripts_on("cpu", ["F6"])) == {"F6"}
    with pytest.raises(ValueError, match="device must be cpu for F6, got 'cpu:0'"):
        repository.scripts_on("cpu:0", ["F1", "F6"])


@pytest.mark.parametrize("device", ["nowhere", "meta"])
def test_a_device_torch_cannot_compute_on_is_one_sentence(device):
    with pytest.raises(ValueError, match=f"device must be one torch can use here, in float64, got '{device}'"):
        require_device(device)


# ----------------------------------------------------------------- every tensor follows
class OneDevice(TorchDispatchMode):
    """Raises where an operation other than a copy takes tensors of two devices; single numbers may stay on the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        if len({t.device.type for t in tensors}) > 1 and "copy" not in func.name():
            raise RuntimeError(f"{func.name()} between devices {[t.device.type for t in tensors]}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "update"), [*((name, ss.sam) for name in TASKS), ("Iris", ss.usam), ("Iris", ss.dnsam)]
)
def test_the_pairs_under_gaussian_noise_follow_their_start(name, update):
    f, x0 = task(name, 42)
    g, d = ss.GaussianOracle(f, 0.01, dim=len(x0)), len(x0)
    rows = rows_of([0.1], MODELS)
    chains = variants(lambda rho: ss.optimizer(partial(update, rho=rho), g, 0.01), rows.optimizer)
    fine = _integrated(partial(partial_sde, update, g, 0.01), 0.01, 2, rows)
    for kernel, columns in ((chains, d), (fine, fine.noise.size)):
        x, z = (torch.empty(shape, dtype=T, device="meta") for shape in ((2, len(rows.model), d), (2, columns)))
        with OneDevice():
            x = kernel.step(x, z)
            assert [phi(x[:, 0]).device.type for phi in (f, gradient_and_radius(f))] == ["meta", "meta"]
        assert x.device.type == "meta"


@pytest.mark.parametrize(
    ("name", "update"), [*((name, ss.sam) for name in TASKS[1:]), ("Iris", ss.usam), ("Iris", ss.dnsam)]
)
def test_chains_and_models_on_minibatches_follow_their_start(name, update):
    f, x0 = task(name, 42)
    g, d = ss.MinibatchOracle(f, 1), len(x0)
    rows = rows_of([0.1], {"own": (1.0, 1.0), "SGD": (0.0, 1.0)})
    chains = variants(lambda rho: _grouped(ss.optimizer(partial(update, rho=rho), g, 0.01)), [(0.1,)])
    paths = antithetic(_integrated(whole_sde(update, g, 0.01), 0.01, 2, rows))
    z = torch.empty(2, f.N, dtype=T, device="meta")
    x = torch.empty(2, 1, f.N, d, dtype=T, device="meta")
    y = torch.empty(2, len(rows.model), d, dtype=T, device="meta")
    with OneDevice():
        assert chains.step(x, z).device.type == "meta"
        assert [part.device.type for part in paths.step((y, y), z)] == ["meta", "meta"]


def test_sampled_minibatches_follow_their_start():
    f, x0 = task("Iris", 42)
    g = ss.MinibatchOracle(f, 5)
    sde = lean(ss.theory.model_of(partial(ss.usam, rho=0.1), g, 0.01, nodes=g.noise.sampled(4, 0)))
    x, dw = (torch.empty(2, m, dtype=T, device="meta") for m in (len(x0), 4))
    with OneDevice():
        drift, diffusion = sde.coefficients(x)
        assert (drift.device.type, diffusion(dw).device.type) == ("meta", "meta")


def test_a_tensor_left_on_the_cpu_is_noticed():
    """The planted fault: a landscape that keeps its matrix where it was made."""
    H = torch.eye(2, dtype=T)
    kernel = ss.optimizer(partial(ss.usam, rho=0.1), ss.GaussianOracle(lambda x: (x @ H * x).sum(-1), 0.1, dim=2), 0.1)
    x = torch.empty(2, 2, dtype=T, device="meta")
    with OneDevice(), pytest.raises(RuntimeError, match="between devices"):
        kernel.step(x, x)
