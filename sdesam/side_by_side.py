"""``sdesam simulate``: one optimizer and its SDE, as a table."""

from __future__ import annotations

import csv
import inspect
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from .calculus import norm
from .catalogue import find_landscape, find_method
from .ensembles import simulate
from .finite_sums import FiniteSum
from .integrators import heun, small_noise_srk
from .kernels import Kernel, optimizer, subcycle, unwrap
from .landscapes import Landscape, dimension_of
from .minibatch import MinibatchOracle
from .observables import coordinate
from .one_step import sampling_error
from .oracles import ExactOracle, GaussianOracle, Oracle
from .sde import SDE
from .statistics import Moments
from .theory import model_of
from .updates import sgd
from .validation import require_count, require_nonnegative

__all__ = ["Table", "side_by_side"]

_MOST_COORDINATES = 4


@dataclass(frozen=True)
class Table:
    """Estimates of both sides at the saved steps."""

    settings: dict[str, Any]
    sides: dict[str, Moments]

    def rows(self) -> list[dict[str, Any]]:
        """One row per side, observable and saved step."""
        found = []
        for side, moments in self.sides.items():
            for name in moments.names:
                e = moments.estimate(name)
                for i, k in enumerate(moments.steps):
                    found.append({
                        "side": side, "observable": name, "step": int(k), "time": float(moments.times[i]),
                        "value": float(np.asarray(e.value)[i]), "stderr": float(np.asarray(e.stderr)[i]),
                        "n": int(moments.count[i]), "diverged": int(moments.nonfinite[i]),
                        "heavy_tailed": bool(np.broadcast_to(e.heavy_tailed, moments.steps.shape)[i]),
                    })  # fmt: skip
        return found

    def document(self) -> dict[str, Any]:
        """Settings and rows; NaN and infinities become null, since JSON has none."""
        rows = [
            {k: v if not isinstance(v, float) or np.isfinite(v) else None for k, v in r.items()} for r in self.rows()
        ]
        return {"schema": 1, "settings": self.settings, "rows": rows}

    def csv(self) -> str:
        """The rows in long form."""
        out = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def text(self) -> str:
        """A table for the eye: value ± standard error, one column a side."""
        lines = [", ".join(f"{k} = {_short(v)}" for k, v in self.settings.items() if v is not None)]
        first = next(iter(self.sides.values()))
        for name in first.names:
            estimates = {side: m.estimate(name) for side, m in self.sides.items()}
            lines += ["", f"{name:<10}" + f"{'time':>8}  " + "".join(f"{side:>26}" for side in estimates)]
            for i, k in enumerate(first.steps):
                cells = "".join(f"{_cell(e.value, e.stderr, i):>26}" for e in estimates.values())
                lines.append(f"step {int(k):<5}{first.times[i]:>8.4g}  {cells}")
        lost = {side: int(m.nonfinite[-1]) for side, m in self.sides.items() if m.nonfinite[-1]}
        return "\n".join([*lines, f"\ndiverged: {lost}"] if lost else lines)


def _short(value: Any) -> Any:
    if isinstance(value, list) and len(value) > _MOST_COORDINATES:
        return f"{len(value)} numbers"
    return f"{value:.6g}" if isinstance(value, float) else value


def _cell(value: Any, stderr: Any, i: int) -> str:
    return f"{float(np.asarray(value)[i]):.6g} ± {float(np.asarray(stderr)[i]):.1e}"


def side_by_side(
    *,
    landscape: str,
    method: str,
    eta: float,
    rho: float,
    sigma: float,
    batch_size: int | None,
    batches: int | None,
    steps: int,
    n: int,
    x0: Sequence[float] | None,
    seed: int,
    save_every: int | None,
    substeps: int,
    model: bool,
    device: str,
    dtype: str,
) -> Table:
    """Simulate the optimizer and, with ``model``, its SDE from the same start on independent streams.

    Raises
    ------
    ValueError, TypeError
        One sentence for each bad argument.
    """
    scene = find_landscape(landscape)
    require_nonnegative("rho", rho, "it is the ascent radius")
    require_nonnegative("sigma", sigma, "it is the standard deviation of the gradient noise")
    require_count("steps", steps, least=1, why="a run needs a step")
    require_count("substeps", substeps, least=1, why="it is the number of integrator steps per optimizer step")
    start = _start(scene.start if x0 is None else tuple(x0), scene.landscape, device, dtype)
    g = _oracle(scene.landscape, sigma, batch_size, start.shape[-1])
    update = _bind(find_method(method), rho)
    kernels: dict[str, Kernel] = {"algorithm": optimizer(update, g, eta)}
    sampled: dict[str, float] = {}
    if model:
        sde = _model(method, update, g, eta, batches, seed)
        if batches is not None:
            drift, trace = sampling_error(sde, start)
            sampled = {"drift error at x0": float(norm(drift)), "trace error at x0": float(trace)}
        integrator = small_noise_srk if sde.noise_dim else heun
        kernels["SDE"] = subcycle(integrator(sde, eta / substeps), substeps)
    observables: dict[str, Callable] = {"f": scene.landscape}
    observables |= {f"x[{i}]": coordinate(i) for i in range(min(start.shape[-1], _MOST_COORDINATES))}
    every = _spacing(steps) if save_every is None else save_every
    sides = {
        side: simulate(
            kernel,
            start,
            steps=steps,
            observables=observables,
            n=n,
            seed=seed + i,
            save_every=every,
            progress=True,
        )
        for i, (side, kernel) in enumerate(kernels.items())
    }
    settings = {
        "landscape": landscape, "method": method, "eta": eta, "rho": rho, "sigma": sigma,
        "batch_size": batch_size, "batches": batches, "steps": steps, "n": n,
        "x0": start.tolist(), "seed": seed, "substeps": substeps if model else None, "device": device, "dtype": dtype,
    }  # fmt: skip
    return Table(settings | sampled, sides)


def _model(method: str, update: Callable, g: Oracle, eta: float, batches: int | None, seed: int) -> SDE:
    """The SDE; from ``batches`` sampled minibatches where that is given."""
    if batches is not None:
        if not isinstance(g, MinibatchOracle):
            raise ValueError("batches is for minibatches: give --batch-size as well.")
        require_count("batches", batches, least=2, why="their spread is the error that is printed")
    nodes = None if batches is None else g.noise.sampled(batches, seed)
    try:
        return model_of(update, g, eta, nodes=nodes)
    except ValueError as error:
        remedy = "Pass --no-model to simulate the optimizer alone"
        remedy += ", or --batches 1000 to sample the minibatches." if isinstance(g, MinibatchOracle) else "."
        raise ValueError(f"no SDE for {method} here ({error}) {remedy}") from error


def _start(x0: Sequence[float] | None, f: Landscape, device: str, dtype: str) -> torch.Tensor:
    dim = dimension_of(f)
    if x0 is None and dim is None:
        raise ValueError("x0 must be given (--x0 1.0 0.5 ...): this landscape does not know its dimension.")
    try:
        place = torch.device(device)
        if x0 is None:  # a reproducible random start for the large landscapes
            draw = np.random.default_rng(0).standard_normal(dim) / 2
            return torch.as_tensor(draw, dtype=getattr(torch, dtype), device=place)
        return torch.tensor(x0, dtype=getattr(torch, dtype), device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device must be one torch can use here, got {device!r}: {str(error).splitlines()[0]}"
        ) from error


def _oracle(f: Landscape, sigma: float, batch_size: int | None, d: int) -> Oracle:
    dim = dimension_of(f)
    if dim is not None and dim != d:
        raise ValueError(f"x0 must have {dim} numbers for this landscape, got {d}.")
    if batch_size is not None:
        if sigma:
            raise ValueError("sigma and batch_size are two kinds of gradient noise: give one of them.")
        if not isinstance(f, FiniteSum):
            raise ValueError("batch_size needs a landscape that is a sum over data: this one has no minibatches.")
        return MinibatchOracle(f, batch_size)
    return GaussianOracle(f, sigma, dim=d) if sigma else ExactOracle(f)


def _bind(update: Callable, rho: float) -> Callable:
    field = unwrap(update)[0]
    if field is sgd:
        return update
    if "rho" not in inspect.signature(field).parameters:
        raise ValueError(f"method {field.__name__} must have signature (g, x, z, *, rho), it has no rho.")
    if rho == 0:
        print(f"note: with rho = 0 {field.__name__} is SGD; pass --rho for another", file=sys.stderr)
    return partial(update, rho=rho)


def _spacing(steps: int) -> int:
    """The largest divisor of steps that still gives at least ten rows; all of them when that means over 100."""
    spacing = max(k for k in range(1, max(steps // 10, 1) + 1) if steps % k == 0)
    return spacing if steps // spacing <= 100 else steps
