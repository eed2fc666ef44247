"""The benchmark's problems in other libraries, each as its users would write it: a job that runs and a name.

Problems: "A" the SDE of USAM on a diagonal quadratic by Euler, "B" USAM on it, "C SAM" and "C DNSAM SDE" on the tanh
network.  No statistics but a mean at the end.  A library that is not installed gives None.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torchsde

from sdesam.interop.torchsde import to_torchsde

ETA, RHO, SIGMA = 0.05, 0.1, 0.3
Job = Callable[[], object]


def curvatures(d: int) -> np.ndarray:
    return np.linspace(1, 3, d)


# ----------------------------------------------------------------- numpy and torch, the whole ensemble at once
def by_hand(name: str, d: int, real: str, n: int, steps: int, library: object) -> Job:
    if library is np:
        draw = partial(np.random.default_rng(0).standard_normal, (n, d), np.dtype(real))
        H, ones, tanh, root = curvatures(d).astype(real), np.ones((n, d), real), np.tanh, np.sqrt
    else:
        draw = partial(torch.randn, n, d, dtype=getattr(torch, real))
        H, ones = torch.tensor(curvatures(d)).to(getattr(torch, real)), torch.ones(n, d, dtype=getattr(torch, real))
        tanh, root = torch.tanh, torch.sqrt
    step = {"A": _sde_step, "B": _usam_step, "C": _sam_step}[name[0]]

    def job() -> object:
        x = ones
        for _ in range(steps):
            x = step(x, draw(), H, tanh, root)
        return x[:, 0].mean()

    return job


def _sde_step(x, z, H, tanh, root):
    a = 1 + RHO * H
    return x - ETA * (a * H * x) - (ETA * SIGMA) * (a * z)


def _usam_step(x, z, H, tanh, root):
    n = SIGMA * z
    return x - ETA * (H * (x + RHO * (H * x + n)) + n)


def _sam_step(x, z, H, tanh, root):
    n = SIGMA * z
    a, b = _tanh_gradient(x[:, 0], x[:, 1], tanh)
    a, b = a + n[:, 0], b + n[:, 1]
    scale = RHO / root(a * a + b * b)
    c, e = _tanh_gradient(x[:, 0] + scale * a, x[:, 1] + scale * b, tanh)
    out = x - ETA * n
    out[:, 0] -= ETA * c
    out[:, 1] -= ETA * e
    return out


def _tanh_gradient(u, v, tanh):
    t = tanh(u)
    w = tanh(v * t)
    s = w * (1 - w * w)
    return s * v * (1 - t * t), s * t


# ----------------------------------------------------------------- jax: one scan, compiled; diffrax on top of it
def jax_or_none() -> object | None:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    try:
        import jax
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    return jax


def scanned(name: str, d: int, real: str, n: int, steps: int) -> Job | None:
    jax = jax_or_none()
    if jax is None:
        return None
    step = jax.vmap(_jax_step(jax, name, d, real))

    @jax.jit
    def run(key):
        def body(x, key):
            return step(x, jax.random.normal(key, (n, d), dtype=real)), None

        x, _ = jax.lax.scan(body, jax.numpy.ones((n, d), real), jax.random.split(key, steps))
        return x[:, 0].mean()

    return lambda: run(jax.random.key(0)).block_until_ready()


def _jax_step(jax, name, d, real):
    H = jax.numpy.asarray(curvatures(d), real)
    a, coefficients = 1 + RHO * H, _jax_dnsam(jax)

    def usam(x, z):
        return x - ETA * (H * (x + RHO * (H * x + SIGMA * z)) + SIGMA * z)

    def sam(x, z):
        gradient, n = jax.grad(_network(jax)), SIGMA * z
        first = gradient(x) + n
        return x - ETA * (gradient(x + RHO * first / jax.numpy.linalg.norm(first)) + n)

    def dnsam_sde(x, z):
        drift, diffusion = coefficients(x)
        return x + ETA * drift + ETA**0.5 * diffusion @ z

    def usam_sde(x, z):
        return x - ETA * a * H * x - ETA * SIGMA * a * z

    return {"A": usam_sde, "B": usam, "C SAM": sam, "C DNSAM SDE": dnsam_sde}[name]


def _network(jax):
    tanh = jax.numpy.tanh
    return lambda x: 0.5 * tanh(x[1] * tanh(x[0])) ** 2


def _jax_dnsam(jax):
    """Drift and the matrix of the noise."""
    f = _network(jax)

    def coefficients(x):
        m, H = jax.grad(f)(x), jax.hessian(f)(x)
        R = RHO * H / jax.numpy.linalg.norm(m)
        return -(m + R @ m), -(ETA**0.5) * SIGMA * (jax.numpy.eye(2, dtype=x.dtype) + R)

    return coefficients


def by_diffrax(name: str, d: int, real: str, n: int, steps: int) -> Job | None:
    jax = jax_or_none()
    try:
        import diffrax
        import lineax
    except ImportError:
        return None
    if jax is None:
        return None
    slope = jax.numpy.asarray((1 + RHO * curvatures(d)) * curvatures(d), real)
    scale = jax.numpy.asarray(-(ETA**0.5) * SIGMA * (1 + RHO * curvatures(d)), real)
    network = _jax_dnsam(jax)

    def one(key):
        path = diffrax.UnsafeBrownianPath(jax.ShapeDtypeStruct((d,), real), key)
        if name[0] == "A":
            terms = [lambda t, y, _: -slope * y, lambda t, y, _: lineax.DiagonalLinearOperator(scale)]
        else:
            terms = [lambda t, y, _: network(y)[0], lambda t, y, _: network(y)[1]]
        model = diffrax.MultiTerm(diffrax.ODETerm(terms[0]), diffrax.ControlTerm(terms[1], path))
        y = jax.numpy.ones(d, real)
        end = steps * ETA
        found = diffrax.diffeqsolve(
            model, diffrax.Euler(), 0.0, end, ETA, y, max_steps=steps + 1, adjoint=diffrax.ForwardMode()
        )
        return found.ys[-1, 0]

    run = jax.jit(lambda key: jax.vmap(one)(jax.random.split(key, n)).mean())
    return lambda: run(jax.random.key(0)).block_until_ready()


# ----------------------------------------------------------------- torchsde
def by_torchsde(sde: object, d: int, real: str, n: int, steps: int) -> Job:
    dtype = getattr(torch, real)
    times = torch.tensor([0.0, steps * ETA], dtype=dtype)

    def job() -> object:
        bm = torchsde.BrownianInterval(0.0, steps * ETA, size=(n, d), dtype=dtype, entropy=0)
        return torchsde.sdeint(to_torchsde(sde), torch.ones(n, d, dtype=dtype), times, bm=bm, method="euler", dt=ETA)

    return job
