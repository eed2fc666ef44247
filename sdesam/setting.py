"""A setting: the plain numbers and names that determine an optimizer and its SDE, as an option or a file gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arguments import (
    require_count,
    require_eta,
    require_nonnegative,
    require_rho,
    require_seed,
    require_substeps,
    set_fields,
)  # fmt: skip
from .dynamics.integrators import heun, small_noise_srk
from .dynamics.kernels import Kernel, optimizer, subcycle, unwrap
from .dynamics.sde import SDE
from .dynamics.updates import sgd
from .problems.catalogue import Scene, find_landscape
from .problems.fingerprints import fingerprint
from .problems.finite_sums import FiniteSum
from .problems.landscapes import Landscape, dimension_of, require_landscape
from .problems.minibatch import MinibatchOracle
from .problems.oracles import ExactOracle, GaussianOracle, Oracle
from .theory import model_of
from .theory.methods import find_method

__all__ = ["ALGORITHM", "MODEL", "SIDES", "TITLES", "Setting", "note_of", "spacing", "start_of"]

ALGORITHM, MODEL = "algorithm", "SDE"
SIDES = (ALGORITHM, MODEL)
TITLES = {ALGORITHM: "optimizer", MODEL: "SDE"}  # of the sides, in texts for the eye
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Setting:
    """What is simulated; the same words as the command line's options.

    Parameters
    ----------
    landscape, method : a name of the catalogue, or ``file.py:function``
    eta, rho, sigma : learning rate, ascent radius, standard deviation of Gaussian gradient noise
    batch_size : minibatches of a finite sum, instead of Gaussian noise
    batches : the SDE from so many sampled minibatches, instead of all
    x0 : start; () for the landscape's own
    substeps : steps of the SDE's integrator per optimizer step

    Raises
    ------
    ValueError
        One sentence for each bad entry.
    """

    landscape: str
    method: str
    eta: float | int
    rho: float | int = 0.0
    sigma: float | int = 0.0
    batch_size: int | None = None
    batches: int | None = None
    x0: tuple[float | int, ...] = ()
    substeps: int = 4
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        set_fields(
            self,
            x0=tuple(float(v) for v in self.x0),
            eta=require_eta(self.eta),  # 1 and 1.0 are one setting
            rho=require_rho(self.rho),
            sigma=require_nonnegative("sigma", self.sigma, "it is the standard deviation of the gradient noise"),
            substeps=require_substeps(self.substeps),
            seed=require_seed(self.seed),
        )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        if self.batches is not None:
            if self.batch_size is None:
                raise ValueError("batches is for minibatches: give batch_size (--batch-size) as well.")
            why = "their spread is the error that is printed"
            set_fields(self, batches=require_count("batches", self.batches, least=2, why=why))
        if self.batch_size is not None and self.sigma:
            raise ValueError("sigma and batch_size are two kinds of gradient noise: give one of them.")

    @property
    def scene(self) -> Scene:
        """The landscape with its customary start."""
        return _scene(self.landscape)

    def start(self) -> Tensor:
        """x0 (d,), on the device and in the precision of the run."""
        f, x0 = self.scene.landscape, self.x0 or self.scene.start
        start = start_of(x0, f, self.device, self.dtype)
        if dimension_of(f) not in (None, len(start)):
            raise ValueError(f"x0 must have {dimension_of(f)} numbers for this landscape, got {len(start)}.")
        return start

    def oracle(self, d: int) -> Oracle:
        """The stochastic gradient."""
        f = self.scene.landscape
        if self.batch_size is None:
            return GaussianOracle(f, self.sigma, dim=d) if self.sigma else ExactOracle(f)
        if not isinstance(f, FiniteSum):
            raise ValueError("batch_size needs a landscape that is a sum over data: this one has no minibatches.")
        return MinibatchOracle(f, self.batch_size)

    def update(self) -> Callable[..., Tensor]:
        """The update field with rho bound."""
        found = find_method(self.method)
        field = unwrap(found)[0]
        if field is sgd:
            return found
        if "rho" not in inspect.signature(field).parameters:
            raise ValueError(f"method {field.__name__} must have signature (g, x, z, *, rho), it has no rho.")
        return partial(found, rho=self.rho)

    def model(self) -> SDE:
        """The SDE of the method, from sampled minibatches where ``batches`` says so."""
        start = self.start()
        g = self.oracle(len(start))
        require_landscape(self.scene.landscape, start)  # what is wrong with it is no want of an SDE
        nodes = None if self.batches is None else g.noise.sampled(self.batches, self.seed)
        try:
            return model_of(self.update(), g, self.eta, nodes=nodes)
        except ValueError as error:
            remedy = "Pass --no-model to simulate the optimizer alone"
            remedy += ", or --batches 1000 to sample the minibatches." if isinstance(g, MinibatchOracle) else "."
            raise ValueError(f"no SDE for {self.method} here: {error} {remedy}") from error

    def kernel(self, side: str) -> Kernel:
        """The optimizer, or its SDE integrated with ``substeps`` steps per optimizer step."""
        if side not in SIDES:
            raise ValueError(f"side must be one of {', '.join(SIDES)}, got {side!r}.")
        if side == ALGORITHM:
            return optimizer(self.update(), self.oracle(len(self.start())), self.eta)
        sde = self.model()
        integrator = small_noise_srk if sde.noise_dim else heun
        return subcycle(integrator(sde, self.eta / self.substeps), self.substeps)


def _scene(landscape: str) -> Scene:
    return _scene_of(landscape, fingerprint(landscape), str(Path(landscape.rpartition(":")[0]).resolve()))


@lru_cache(maxsize=64)
def _scene_of(landscape: str, meaning: str, path: str) -> Scene:
    """Made once for each place and content of a file and of what it imports: an edited one is loaded anew."""
    return find_landscape(landscape)


def start_of(x0: Sequence[float] | None, f: Landscape, device: str, dtype: str) -> Tensor:
    """The start as a tensor; a landscape that knows only its dimension gets a reproducible random one."""
    dim = dimension_of(f)
    if x0 is None and dim is None:
        raise ValueError("x0 must be given (--x0 1.0 0.5 ...): this landscape does not know its dimension.")
    try:
        place = torch.device(device)
        if x0 is None:
            draw = np.random.default_rng(0).standard_normal(dim) / 2
            return torch.as_tensor(draw, dtype=getattr(torch, dtype), device=place)
        return torch.tensor(x0, dtype=getattr(torch, dtype), device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device must be one torch can use here, got {device!r}: {str(error).splitlines()[0]}"
        ) from error


def spacing(steps: int, rows: int) -> int:
    """Steps between looks: the largest divisor of steps that leaves that many rows or more; the last step is saved.

    >>> [spacing(steps, 10) for steps in (7, 100, 1009, 1024)]
    [1, 10, 1, 64]
    """
    return max(k for k in range(1, max(steps // rows, 1) + 1) if steps % k == 0)


def note_of(setting: Setting) -> str:
    """What a reader may have meant otherwise, in one sentence; nothing where all is plain."""
    field = unwrap(setting.update())[0]
    plain = setting.rho != 0 or field is sgd
    return "" if plain else f"note: with rho = 0 {field.__name__} is SGD; pass --rho for another"
