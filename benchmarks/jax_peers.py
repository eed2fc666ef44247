"""The benchmark's problems in JAX, as one compiled scan, and in diffrax.  Without them the functions give None.

Found on the way, and kept: states are (d, n) under ``vmap(in_axes=1)``, up to four times faster than (n, d); the
default generator (threefry) is the fastest on a CPU, ``rbg`` and ``unsafe_rbg`` (docs of jax.random, "Advanced RNG
configuration": for TPUs) take up to five times as long; normals drawn inside the scan are as fast as a buffer of them
all, or faster.
"""

from __future__ import annotations

import os

import numpy as np
from peers import ETA, RHO, SIGMA, Job, curvatures

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("EQX_ON_ERROR", "nan")  # diffrax's FAQ, "slower than some other library?": no run-time checks

try:
    import jax
except ImportError:  # the extra "bench" is not installed
    jax = None
else:
    jax.config.update("jax_enable_x64", True)
try:
    import diffrax
    import lineax
except ImportError:
    diffrax = lineax = None


def by_scan(problem: str, d: int, real: str, n: int, steps: int) -> Job | None:
    """One ``lax.scan`` over all steps in one ``jit``, a key a step (docs of jax.lax.scan and jax.random)."""
    if jax is None:
        return None
    step = jax.vmap(_step(problem, d, real), in_axes=1, out_axes=1)

    @jax.jit
    def run(key):
        def body(x, key):
            return step(x, jax.random.normal(key, (d, n), dtype=real)), None

        return jax.lax.scan(body, jax.numpy.ones((d, n), real), jax.random.split(key, steps))[0][0]

    key = jax.random.key(0)
    return lambda: np.asarray(run(key).block_until_ready())


def by_diffrax(problem: str, d: int, real: str, n: int, steps: int) -> Job | None:
    """Euler on one state of all paths; the settings are those of diffrax's own pages.

    ``UnsafeBrownianPath`` ("a very quick way", API of Brownian controls) where steps are fixed and no gradient is
    asked, with the ``ForwardMode`` adjoint it wants; FAQ: one jit around everything, ``StepTo`` instead of ``dt0``,
    ``throw=False`` in its benchmark against a scan.  One state (d, n) instead of ``vmap`` over solves: three to five
    times faster here.
    """
    if jax is None or diffrax is None or lineax is None:
        return None
    drift, product = (jax.vmap(f(problem, d, real), in_axes=1, out_axes=1) for f in (_drift, _noise))
    shape, times = jax.ShapeDtypeStruct((d, n), real), jax.numpy.arange(steps + 1) * ETA

    def diffusion(t, y, _):
        return lineax.FunctionLinearOperator(lambda dw: product(y, dw), shape)

    @jax.jit
    def run(key):
        path = diffrax.ControlTerm(diffusion, diffrax.UnsafeBrownianPath(shape, key))
        model = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, _: drift(y)), path)
        return diffrax.diffeqsolve(
            model, diffrax.Euler(), 0.0, steps * ETA, None, jax.numpy.ones((d, n), real), max_steps=steps,
            stepsize_controller=diffrax.StepTo(times), adjoint=diffrax.ForwardMode(), throw=False,
        ).ys[-1, 0]  # fmt: skip

    key = jax.random.key(0)
    return lambda: np.asarray(run(key).block_until_ready())


# ----------------------------------------------------------------- the problems on one path, (d,) -> (d,)
def _step(problem: str, d: int, real: str):
    H = jax.numpy.asarray(curvatures(d), real)
    gradient = jax.grad(_network)

    def usam(x, z):
        return x - ETA * (H * (x + RHO * (H * x + SIGMA * z)) + SIGMA * z)

    def sam(x, z):
        n = SIGMA * z
        first = gradient(x) + n
        return x - ETA * (gradient(x + RHO * first / jax.numpy.linalg.norm(first)) + n)

    def euler(x, z):
        return x + ETA * _drift(problem, d, real)(x) + ETA**0.5 * _noise(problem, d, real)(x, z)

    return {"B": usam, "C SAM": sam}.get(problem, euler)


def _drift(problem: str, d: int, real: str):
    H = jax.numpy.asarray(curvatures(d), real)

    def dnsam(x):
        m, R = _ascent(x)
        return -(m + R @ m)

    return dnsam if problem == "C DNSAM SDE" else lambda x: -(1 + RHO * H) * H * x


def _noise(problem: str, d: int, real: str):
    """The diffusion acting on dw."""
    H = jax.numpy.asarray(curvatures(d), real)

    def dnsam(x, dw):
        return -(ETA**0.5) * SIGMA * (dw + _ascent(x)[1] @ dw)

    return dnsam if problem == "C DNSAM SDE" else lambda x, dw: -(ETA**0.5) * SIGMA * (1 + RHO * H) * dw


def _network(x):
    return 0.5 * jax.numpy.tanh(x[1] * jax.numpy.tanh(x[0])) ** 2


def _ascent(x):
    m = jax.grad(_network)(x)
    return m, RHO * jax.hessian(_network)(x) / jax.numpy.linalg.norm(m)
