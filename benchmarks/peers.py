"""The benchmark's problems by other means: numpy and torch written out by hand, and torchsde; JAX is in jax_peers.py.

Problems: "A" the SDE of USAM on a diagonal quadratic by Euler, "B" USAM on it, "C SAM" and "C DNSAM SDE" on the tanh
network, all from (1, …, 1).  Every peer has the signature (problem, d, dtype, n, steps) and gives a job that returns
x[0] of all n paths at the end, so that its law can be checked before its time is taken.  Each is written as its own
manual advises; the pages are cited where a setting comes from one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
import torchsde

ETA, RHO, SIGMA = 2.0**-6, 0.1, 0.3  # eta is a power of two: no float clock takes a 65th, sliver step
Job = Callable[[], np.ndarray]
Rates = tuple  # arrays (d, 1): curvatures, what Euler keeps of x, what it adds of z


def curvatures(d: int) -> np.ndarray:
    return np.linspace(1, 3, d)


# ----------------------------------------------------------------- what they should compute
def exact_moments(steps: int) -> tuple[float, float]:
    """Mean and variance of x[0] after Euler steps of problem A, and of B, which has the same law: curvature 1."""
    slope = 1 + RHO
    keep, add = 1 - ETA * slope, (ETA * SIGMA * slope) ** 2
    mean, variance = 1.0, 0.0
    for _ in range(steps):
        mean, variance = keep * mean, keep**2 * variance + add
    return mean, variance


def require_moments(who: str, x: np.ndarray, mean: float, variance: float, exact_to: tuple[float, float]) -> None:
    """Refuse a peer whose mean or variance of x[0] is more than four standard errors off.

    ``exact_to`` are the standard errors of ``mean`` and ``variance`` themselves, 0 where they are exact.
    """
    x = x.astype(np.float64)
    n, centred = len(x), x - x.mean()
    found = (x.mean(), (centred**2).mean())
    noise = (x.std() / n**0.5, (centred**2).std() / n**0.5)
    for what, value, right, error, floor in zip(
        ("mean", "variance"), found, (mean, variance), noise, exact_to, strict=True
    ):
        limit = 4 * float(np.hypot(error, floor)) + 1e-6 * abs(right)  # float32 rounds 64 steps to less than 1e-6
        if not abs(value - right) <= limit:
            raise AssertionError(
                f"{who} solves another problem: {what} of x[0] is {value:.6g}, not {right:.6g} ± {limit:.1g}"
            )


# ----------------------------------------------------------------- numpy and torch by hand
# States are (d, n), so that every coefficient multiplies a contiguous row: (n, d) takes up to twice as long.  What can
# be done in place is; the normals, which are most of the time, go into one buffer.
def by_numpy(problem: str, d: int, real: str, n: int, steps: int) -> Job:
    """SFC64, numpy's fastest generator (numpy.org, "Performance" of numpy.random), filling ``out=`` in place."""
    draw = np.random.Generator(np.random.SFC64(0)).standard_normal
    step, rates, z = STEPS[problem], _rates(d, real), np.empty((d, n), real)

    def job() -> np.ndarray:
        x = np.ones((d, n), real)
        for _ in range(steps):
            draw(dtype=real, out=z)  # pyright: ignore
            step(x, z, rates, np.tanh, np.sqrt)
        return x[0]

    return job


def by_torch(problem: str, d: int, real: str, n: int, steps: int, compiled: bool = False) -> Job:
    """In place, under ``inference_mode`` (pytorch.org, Performance Tuning Guide: no gradients, one kernel a formula).

    With ``compiled``, the arithmetic of a step is one kernel; the normals stay outside, since the compiler's own
    generator calls a scalar function for each of them.
    """
    dtype = getattr(torch, real)
    rates = tuple(torch.from_numpy(rate) for rate in _rates(d, real))
    step = _compiled(problem) if compiled else STEPS[problem]
    torch.manual_seed(0)
    z = torch.empty(d, n, dtype=dtype)

    @torch.inference_mode()
    def job() -> np.ndarray:
        x = torch.ones(d, n, dtype=dtype)
        for _ in range(steps):
            step(x, z.normal_(), rates, torch.tanh, torch.sqrt)
        return x[0].numpy()

    return job


@cache
def _compiled(problem: str) -> Callable[..., None]:
    return torch.compile(STEPS[problem], dynamic=True)


def _rates(d: int, real: str) -> Rates:
    H = curvatures(d)[:, None]
    return tuple(rate.astype(real) for rate in (H, 1 - ETA * (1 + RHO * H) * H, -ETA * SIGMA * (1 + RHO * H)))


def _usam_sde(x, z, rates, tanh, root) -> None:
    _, keep, add = rates
    x *= keep
    z *= add
    x += z


def _usam(x, z, rates, tanh, root) -> None:
    """Two gradients at one z: x − η(H y + σz) with y = x + ρ(H x + σz)."""
    H, _, _ = rates
    z *= SIGMA
    y = H * x
    y += z
    y *= RHO
    y += x
    y *= H
    y += z
    y *= ETA
    x -= y


def _sam(x, z, rates, tanh, root) -> None:
    z *= SIGMA
    a, b = _tanh_gradient(x[0], x[1], tanh)
    a, b = a + z[0], b + z[1]
    scale = RHO / root(a * a + b * b)
    a, b = _tanh_gradient(x[0] + scale * a, x[1] + scale * b, tanh)
    z[0] += a
    z[1] += b
    z *= ETA
    x -= z


def _dnsam_sde(x, z, rates, tanh, root) -> None:
    """x − η(m + R m) − η σ (z + R z) with R = ρ H/|m|."""
    m, product = _tanh_derivatives(x[0], x[1], tanh)
    scale = RHO / root(m[0] * m[0] + m[1] * m[1])
    z *= SIGMA
    z[0] += m[0]
    z[1] += m[1]
    a, b = product(z[0], z[1])
    x[0] -= ETA * (z[0] + scale * a)
    x[1] -= ETA * (z[1] + scale * b)


def _tanh_gradient(u, v, tanh):
    """Of f = ½ tanh²(v tanh u)."""
    t = tanh(u)
    w = tanh(v * t)
    s = w * (1 - w * w)
    return s * v * (1 - t * t), s * t


def _tanh_derivatives(u, v, tanh):
    """Gradient, and the Hessian as a product: f = F(p), p = v tanh u, ∇f = F' ∇p, H = F'' ∇p ∇pᵀ + F' ∇²p."""
    t = tanh(u)
    w, q = tanh(v * t), 1 - t * t
    first, second = w * (1 - w * w), (1 - w * w) * (1 - 3 * w * w)
    pu, pv, puu = v * q, t, -2 * v * t * q

    def product(a, b):
        along = second * (pu * a + pv * b)
        return along * pu + first * (puu * a + q * b), along * pv + first * (q * a)

    return (first * pu, first * pv), product


STEPS = {"A": _usam_sde, "B": _usam, "C SAM": _sam, "C DNSAM SDE": _dnsam_sde}


# ----------------------------------------------------------------- torchsde
# Settings from torchsde's DOCUMENTATION.md.  "Possible noise types": diagonal, where g has the state's shape.
# "Providing specialised methods": f_and_g_prod, where drift and diffusion share their work.  "Arguments" of
# BrownianInterval: dt, "set it if you know it"; levy_area_approximation "none"; entropy alone, without halfway_tree,
# "will be faster" for a fixed step.  cache_size=None ("speed over memory") was tried and is not faster here.
class _Diagonal(torch.nn.Module):
    """Problem A, dX = −(1 + ρH)H X dt − √η σ (1 + ρH) dW."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, d: int, dtype: torch.dtype) -> None:
        super().__init__()
        H = torch.from_numpy(curvatures(d)).to(dtype)
        self.slope, self.scale = -(1 + RHO * H) * H, -(ETA**0.5) * SIGMA * (1 + RHO * H)

    def f(self, t, y):
        return self.slope * y

    def g(self, t, y):
        return self.scale.expand_as(y)


class _General(torch.nn.Module):
    """DNSAM's SDE: the noise is −√η σ (I + R) dW, a full matrix, given as its product with dW."""

    noise_type, sde_type = "general", "ito"

    def f_and_g_prod(self, t, y, dw):
        m, product = _tanh_derivatives(y[:, 0], y[:, 1], torch.tanh)
        scale = RHO / torch.sqrt(m[0] * m[0] + m[1] * m[1])
        drift, noise = product(*m), product(dw[:, 0], dw[:, 1])
        f = [-(a + scale * b) for a, b in zip(m, drift, strict=True)]
        g = [-(ETA**0.5) * SIGMA * (dw[:, i] + scale * noise[i]) for i in range(2)]
        return torch.stack(f, -1), torch.stack(g, -1)


def by_torchsde(problem: str, d: int, real: str, n: int, steps: int, sde: object | None = None) -> Job:
    """Euler, which "Which solver should I use?" calls the cheapest; ``sde`` in place of the one written for it."""
    dtype = getattr(torch, real)
    sde = sde or (_Diagonal(d, dtype) if problem == "A" else _General())
    times, start = torch.tensor([0.0, steps * ETA], dtype=dtype), torch.ones(n, d, dtype=dtype)
    path = partial(torchsde.BrownianInterval, 0.0, steps * ETA, size=(n, d), dtype=dtype, dt=ETA)

    @torch.inference_mode()
    def job() -> np.ndarray:
        return torchsde.sdeint(sde, start, times, bm=path(entropy=0), method="euler", dt=ETA)[-1, :, 0].numpy()

    return job
