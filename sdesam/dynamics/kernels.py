"""Markov kernels: one verb, ``state⁺ = step(state, z)``, for optimizers and discretised SDEs alike."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..arguments import require_count, require_positive
from ..problems.calculus import Scalar
from ..problems.noise import Noise, Normal
from ..problems.oracles import Oracle, require_oracle
from .updates import unwrap, with_floats

__all__ = ["Coupled", "Derived", "Kernel", "Optimizer", "Subcycled", "coupled", "optimizer", "subcycle"]


@runtime_checkable
class Kernel(Protocol):
    """One step of a Markov chain.

    ``step(state, z)`` is pure; ``noise`` declares the law of z; a *step* of the clock is ``substeps`` calls
    and lasts ``dt`` in model time; ``init`` makes the state from a batch of starting points ``(n, d)`` and
    ``position`` reads the iterate from it.
    """

    @property
    def noise(self) -> Noise: ...
    @property
    def substeps(self) -> int: ...
    @property
    def dt(self) -> float: ...
    @property
    def name(self) -> str: ...
    def init(self, x0: Tensor) -> Any: ...
    def position(self, state: Any) -> Tensor: ...
    def step(self, state: Any, z: Any) -> Any: ...


@dataclass(frozen=True)
class Optimizer:
    """x⁺ = x − eta·G(g, x, z): an update field with its oracle and learning rate; see ``optimizer``."""

    update: Callable[[Oracle, Tensor, Any], Tensor]
    g: Oracle
    eta: Scalar

    @property
    def noise(self) -> Noise:
        """The oracle's noise, one draw a step."""
        return self.g.noise

    @property
    def substeps(self) -> int:
        """1."""
        return 1

    @property
    def dt(self) -> float:
        """Model time of a step: eta."""
        return self.eta  # pyright: ignore[reportReturnType]

    @property
    def name(self) -> str:
        """The update's name."""
        field, _ = unwrap(self.update)
        return getattr(field, "__name__", type(field).__name__)

    def init(self, x0: Tensor) -> Tensor:
        """The state is the iterate."""
        for owner in (self.g, self.g.mean):
            dim = getattr(owner, "dim", None)
            if dim is not None and x0.shape[-1] != dim:
                what = type(owner).__name__
                raise ValueError(f"x0 must have last dimension {dim}, that of {what}, got {x0.shape[-1]}.")
        return x0

    def position(self, state: Tensor) -> Tensor:
        """The iterate."""
        return state

    def step(self, state: Tensor, z: Any) -> Tensor:
        """The iterate x − eta·G(g, x, z)."""
        return state - self.eta * self.update(self.g, state, z)

    def examined(self, state: Tensor, z: Any) -> tuple[dict[str, Tensor], Tensor]:
        """A step for the probe: what the update gave, under its name, and the next state.

        Raises
        ------
        ValueError
            Where the update fails, or gives another shape than x has: it would broadcast, or mix the replicates.
        """
        before = state.clone()  # an update that writes into x is named by who called this
        try:
            G = self.update(self.g, state, z)
        except Exception as error:
            raise ValueError(
                f"update {self.name} failed on x of shape {tuple(state.shape)}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(G, Tensor) or G.shape != before.shape:
            shape = tuple(G.shape) if isinstance(G, Tensor) else type(G).__name__
            raise ValueError(
                f"update {self.name} must map x (..., {before.shape[-1]}) to that shape, got {shape} for "
                f"{tuple(before.shape)}."
            )
        return {f"update {self.name}": G}, before - self.eta * G


def optimizer(update: Callable[..., Tensor], g: Oracle, eta: Scalar) -> Optimizer:
    """The optimizer x⁺ = x − eta·G(g, x, z) of an update field, as a kernel with dt = eta.

    >>> from functools import partial
    >>> import torch, sdesam as ss
    >>> g = ss.GaussianOracle(ss.LogCosh(2), sigma=0.1)
    >>> ss.optimizer(partial(ss.sam, rho=0.05), g, eta=0.01).name
    'sam'

    Hyper-parameters may be numbers of any kind, tensors and arrays of no dimensions: the update is called with floats.

    Raises
    ------
    ValueError, TypeError
        For eta <= 0, rho < 0, NaN or infinities, or an update with a hyper-parameter still unbound.
    """
    eta = require_positive("eta", eta, "it is the learning rate")
    require_oracle(g)
    field, _ = unwrap(update)
    _require_bound(update, getattr(field, "__name__", "update"))
    return Optimizer(with_floats(update), g, eta)


def _require_bound(update: Callable[..., Tensor], name: str) -> None:
    missing = [
        p.name
        for p in inspect.signature(update).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    ]
    if missing:
        raise ValueError(f"update {name} needs {', '.join(missing)}: pass functools.partial({name}, {missing[0]}=...).")


# ----------------------------------------------------------------- one kernel, r times a step
class Derived:
    """A kernel made of one other, whose noise, clock and name it has unless it says otherwise."""

    kernel: Kernel

    @property
    def noise(self) -> Noise:
        """The kernel's."""
        return self.kernel.noise

    @property
    def substeps(self) -> int:
        """The kernel's."""
        return self.kernel.substeps

    @property
    def dt(self) -> float:
        """The kernel's."""
        return self.kernel.dt

    @property
    def name(self) -> str:
        """The kernel's."""
        return self.kernel.name


@dataclass(frozen=True)
class Subcycled(Derived):
    """r small steps of a kernel counted as one; see ``subcycle``."""

    kernel: Kernel
    r: int

    @property
    def substeps(self) -> int:
        """Small steps a step."""
        return self.r * self.kernel.substeps

    @property
    def dt(self) -> float:
        """Model time of r small steps."""
        return self.r * self.kernel.dt

    @property
    def name(self) -> str:
        """Name and r."""
        return f"{self.kernel.name} x{self.r}"

    def init(self, x0: Tensor) -> Any:
        """As the kernel."""
        return self.kernel.init(x0)

    def position(self, state: Any) -> Tensor:
        """As the kernel."""
        return self.kernel.position(state)

    def step(self, state: Any, z: Any) -> Any:
        """One *small* step."""
        return self.kernel.step(state, z)


def subcycle(kernel: Kernel, r: int) -> Subcycled:
    """Count r small steps as one: ``subcycle(euler_maruyama(sde, eta / r), r)`` keeps an optimizer's clock."""
    r = require_count("r", r, least=1, why="it is the number of small steps in a step")
    return Subcycled(kernel, r)


# ----------------------------------------------------------------- several kernels, one noise
@dataclass(frozen=True)
class Coupled:
    """Kernels driven by one Brownian path; see ``coupled``."""

    kernels: tuple[Kernel, ...]

    @property
    def noise(self) -> Normal:
        """The shared normals of one finest step, then each member's private ones."""
        private = sum(_private(k) for k in {id(_source(k)): k for k in self.kernels}.values())
        return Normal(_shared(self.kernels[0]) + private, private=private)

    @property
    def substeps(self) -> int:
        """R, the largest number of substeps."""
        return max(k.substeps for k in self.kernels)

    @property
    def dt(self) -> float:
        """The members' common clock."""
        return self.kernels[0].dt

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(k.name for k in self.kernels)

    def init(self, x0: Tensor) -> tuple[int, tuple, tuple]:
        """Finest-step counter, members' states, members' accumulated increments."""
        return 0, tuple(k.init(x0) for k in self.kernels), tuple(0.0 for _ in self.kernels)

    def position(self, state: tuple[int, tuple, tuple]) -> Tensor:
        """Members' iterates side by side, ``(n, members, d)``."""
        positions = [k.position(s) for k, s in zip(self.kernels, state[1], strict=True)]
        return torch.stack(positions, dim=-2)

    def step(self, state: tuple[int, tuple, tuple], z: Tensor) -> tuple[int, tuple, tuple]:
        """Add z to every member's increment; step those whose share is complete."""
        count, states, sums = state[0] + 1, list(state[1]), list(state[2])
        for i, (kernel, part) in enumerate(zip(self.kernels, self._deal(z), strict=True)):
            share = self.substeps // kernel.substeps
            sums[i] = sums[i] + part
            if count % share == 0:
                states[i] = kernel.step(states[i], sums[i] / math.sqrt(share))
                sums[i] = 0.0
        return count, tuple(states), tuple(sums)

    def _deal(self, z: Tensor) -> list[Tensor]:
        m = _shared(self.kernels[0])
        own: dict[int, Tensor] = {}
        parts, start = [], m
        for kernel in self.kernels:
            stop, source = start + _private(kernel), id(_source(kernel))
            if source not in own:
                own[source], start = z[..., start:stop], stop
            parts.append(torch.cat((z[..., :m], own[source]), -1) if own[source].shape[-1] else z[..., :m])
        return parts


def coupled(*kernels: Kernel) -> Coupled:
    """Two or more kernels on one noise: the strong pairing behind low-variance weak errors.

    The finest member sets R substeps; a member with r substeps gets the sum of R/r normals over √(R/r).
    So an optimizer (r = 1) sees z = (W_((k+1)eta) − W_(k·eta))/√eta of the path that drives its SDE.
    Private normals go to each SDE once: discretisations of one SDE object share them.
    Observe it through ``difference(phi)`` and ``of_member(phi, i)``.

    Raises
    ------
    ValueError
        When the members' clocks differ, their shared noise dimensions differ, their noise is not normal, or
        a number of substeps does not divide the largest.
    """
    if len(kernels) < 2:
        raise ValueError(f"coupled needs at least two kernels, got {len(kernels)}.")
    for kernel in kernels:
        if not isinstance(kernel.noise, Normal) or len(kernel.noise.shape) != 1:
            raise ValueError(f"{kernel.name} must have normal noise to be coupled, got {kernel.noise}.")
    widths = [(k.name, _shared(k)) for k in kernels]
    if len({width for _, width in widths}) > 1:
        raise ValueError(
            f"coupled kernels must share one noise dimension, got {widths}: the SDE's map must act on the "
            "optimizer's own normals (a root with more columns declares the others private)."
        )
    if any(abs(k.dt - kernels[0].dt) > 1e-9 * kernels[0].dt for k in kernels):
        clocks = [(k.name, k.dt) for k in kernels]
        raise ValueError(f"coupled kernels must last the same model time a step, got dt = {clocks}: subcycle one.")
    R = max(k.substeps for k in kernels)
    if any(R % k.substeps for k in kernels):
        raise ValueError(f"substeps must divide the largest, {R}, got {[k.substeps for k in kernels]}.")
    return Coupled(tuple(kernels))


def _source(kernel: Kernel) -> object:
    """What a kernel discretises: the SDE itself, or the kernel."""
    inner = kernel.kernel if isinstance(kernel, Subcycled) else kernel
    return getattr(inner, "sde", kernel) if not isinstance(inner, Subcycled) else _source(inner)


def _private(kernel: Kernel) -> int:
    return getattr(kernel.noise, "private", 0)


def _shared(kernel: Kernel) -> int:
    return kernel.noise.size - _private(kernel)  # pyright: ignore[reportAttributeAccessIssue]
