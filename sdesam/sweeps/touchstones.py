"""What a user's functions give at fixed points: kept beside a store's cells, compared before anything is added.

A cell's key knows the user's files.  It does not know what they read: data, environment variables, random numbers at
import.  That shows in values and gradients; they are compared to 1e-6, not hashed, since machines differ in last bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dynamics.kernels import unwrap
from ..engine.streams import Streams
from ..problems.calculus import grad
from ..problems.fingerprints import FILES
from ..setting import ALGORITHM, Setting
from ..theory.method import Method
from ..user_code.failures import guarded

__all__ = ["Touchstone", "touchstone_of"]

_TOLERANCE = 1e-6  # of the largest entry: rounding is far below, and an error bar of 1e8 replicates not far above
_GOLDEN = 0.6180339887498949  # its multiples modulo 1 are spread evenly
_RHO, _SIGMA = 0.1, 0.1


@dataclass(frozen=True)
class Touchstone:
    """Values at fixed points.

    Attributes
    ----------
    about : what was evaluated: references, files, start, minibatch and precision, by name
    values : "x" (K, d), and of a user's landscape "f" (K,) and its "gradient" (K, d), of a user's update "G" (K, d)
    """

    about: Mapping[str, Any]
    values: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        """A file's name, the same for what is about the same."""
        return hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"about": dict(self.about), "values": {name: v.tolist() for name, v in self.values.items()}}

    def difference(self, document: Mapping[str, Any]) -> str | None:
        """What differs from an earlier document by more than 1e-6, in words; None where nothing does."""
        of = " with ".join(text for text in (self.about["landscape"], self.about["method"]))
        for name, now in self.values.items():
            before = np.asarray(document["values"].get(name, []), float)
            if before.shape != now.shape:
                return f"{of}: {name} had shape {before.shape} and has {now.shape} now"
            scale = np.abs(before[np.isfinite(before)]).max(initial=0.0)
            off = ~np.isclose(now, before, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)
            if off.any():
                at = tuple(np.argwhere(off)[0])
                point = ", ".join(f"{v:.6g}" for v in self.values["x"][at[0]][:4])
                what = f"its start x[{at[-1]}]" if name == "x" else f"{name} at x = ({point})"
                return f"{of}: {what} was {before[at]:.9g} and is {now[at]:.9g} now"
        return None


def touchstone_of(cell: Setting) -> Touchstone | None:
    """Of a setting's own functions, in its precision and on its device; None where all are of the catalogue.

    f and its gradient at the start and two points about it, and G for fixed z with rho = 0.1 and, without minibatches,
    sigma = 0.1: they do not depend on the cell's eta, rho and sigma, so one is kept for all of these.

    Raises
    ------
    UserCodeFailed
        When a function fails at the start.
    """
    own = [name for name in ("landscape", "method") if str(getattr(cell, f"{name}_is", "")).startswith(FILES)]
    if not own:
        return None
    names = ("landscape", "method", "landscape_is", "method_is", "x0", "batch_size", "dtype")
    about = {name: getattr(cell, name) for name in names}
    with guarded():
        start = cell.start()
        try:
            values = _values(cell, own, _points_about(start))
        except Exception:
            values = _values(cell, own, start[None])  # a domain that the others leave
    return Touchstone(about, {name: v.detach().double().cpu().numpy() for name, v in values.items()})


def _points_about(start: Tensor) -> Tensor:
    """The start, and two points at about a tenth of its size and of 1: numbers no function is special at."""
    i = torch.arange(1, len(start) + 1, dtype=start.dtype, device=start.device)
    first, second = (2 * ((i * k * _GOLDEN) % 1) - 1 for k in (1, 2))
    return torch.stack((start, start + first * (0.1 * start.abs() + 1e-3), start + second * (0.1 * start.abs() + 0.1)))


def _values(cell: Setting, own: list[str], points: Tensor) -> dict[str, Tensor]:
    found = {"x": points}
    if "landscape" in own:
        f = cell.scene.landscape
        found |= {"f": f(points.clone()), "gradient": grad(f)(points.clone())}
    if "method" in own:
        sigma = 0.0 if cell.batch_size else _SIGMA
        setting = Setting(
            cell.landscape, cell.method, eta=1.0, rho=_RHO, sigma=sigma, batch_size=cell.batch_size, x0=cell.x0,
            device=cell.device, dtype=cell.dtype,
        )  # fmt: skip
        kernel = setting.kernel(ALGORITHM)
        z = kernel.noise.draw(Streams(seed=0, first=0, count=len(points)).bits, points.dtype)
        z = tuple(part.to(points.device) for part in z) if isinstance(z, tuple) else z.to(points.device)
        if isinstance(unwrap(setting.update())[0], Method):  # its SDE is the user's own too
            found["drift"] = setting.model().coefficients(points.clone())[0]
        found["G"] = points - kernel.position(kernel.step(kernel.init(points.clone()), z))
    return found
