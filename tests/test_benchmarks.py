"""The benchmark's peers solve the engine's own problems: else a ratio of times means nothing.  Nothing is timed."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics.torchsde_bridge import to_torchsde
from sdesam.engine.llvm.native import compiled
from sdesam.theory import monzio_compagnoni2023 as mc23

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import hand_written
import jax_peers
import peers

sys.path.pop(0)

N, STEPS = 2**13, 16
ALL = {"numpy": peers.by_numpy, "torch": peers.by_torch, "JAX scan": jax_peers.by_scan}
SDES = {"diffrax": jax_peers.by_diffrax, "torchsde": peers.by_torchsde}
CASES = [(p, who) for p in ("A", "B", "C SAM", "C DNSAM SDE") for who in ALL] + [
    (p, who) for p in ("A", "C DNSAM SDE") for who in SDES
]


def run(who, problem, real="float64", n=N, steps=STEPS):
    job = (ALL | SDES)[who](problem, 2, real, n, steps)
    if job is None:
        pytest.skip(f"{who} is not installed (extra bench)")
    return job()


def one_step_law(problem):
    """Mean and variance of x[0] after one step on the tanh network, from autodiff and Gauss-Hermite nodes.

    200 nodes a dimension: SAM's direction jumps at one z, which costs the rule 1e-3 of a term that itself is 8e-4.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    z = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2))
    w = torch.from_numpy(np.outer(weights, weights).ravel() / (2 * np.pi))
    g = ss.GaussianOracle(ss.TanhNetwork(), peers.SIGMA)
    x = torch.ones(2, dtype=torch.float64)
    if problem == "C SAM":
        moved = x - peers.ETA * ss.sam(g, x.expand(len(z), 2), z, rho=peers.RHO)
    else:
        drift, diffusion = mc23.dnsam_sde(g, eta=peers.ETA, rho=peers.RHO).coefficients(x.expand(len(z), 2))
        moved = x + peers.ETA * drift + peers.ETA**0.5 * diffusion(z)
    mean = float((w * moved[:, 0]).sum())
    return mean, float((w * (moved[:, 0] - mean) ** 2).sum())


@pytest.mark.parametrize(("problem", "who"), CASES)
def test_a_peer_solves_our_problem(problem, who):
    exact = problem in ("A", "B")
    law = peers.exact_moments(STEPS) if exact else one_step_law(problem)
    x = run(who, problem) if exact else run(who, problem, n=2**14, steps=1)
    peers.require_moments(who, x, *law, (0.0, 0.0))


def test_our_adapter_hands_torchsde_the_same_problem():
    g = ss.GaussianOracle(ss.Quadratic(torch.diag(torch.from_numpy(peers.curvatures(2)))), peers.SIGMA)
    sde = to_torchsde(mc23.usam_sde(g, eta=peers.ETA, rho=peers.RHO))
    x = peers.by_torchsde("A", 2, "float64", N, STEPS, sde=sde)()
    peers.require_moments("adapter", x, *peers.exact_moments(STEPS), (0.0, 0.0))


@pytest.mark.parametrize(
    ("fault", "planted"),
    [("a step less", {"steps": STEPS - 1}), ("no radius", {"RHO": 0.0}), ("noise of 0.31", {"SIGMA": 0.31})],
)
def test_a_peer_with_another_problem_is_refused(monkeypatch, fault, planted):
    law = peers.exact_moments(STEPS)
    steps = planted.pop("steps", STEPS)
    for name, value in planted.items():
        monkeypatch.setattr(peers, name, value)
    x = run("numpy", "A", n=2**14, steps=steps)
    with pytest.raises(AssertionError, match="numpy solves another problem"):
        peers.require_moments("numpy", x, *law, (0.0, 0.0))


def test_the_exact_law_is_that_of_our_own_kernel():
    """For USAM's optimizer and the Euler step of its SDE alike."""
    g = ss.GaussianOracle(ss.Quadratic(torch.diag(torch.from_numpy(peers.curvatures(2)))), peers.SIGMA)
    optimizer = ss.optimizer(partial(ss.usam, rho=peers.RHO), g, peers.ETA)
    euler = ss.euler_maruyama(mc23.usam_sde(g, eta=peers.ETA, rho=peers.RHO), peers.ETA)
    generator = torch.Generator().manual_seed(0)
    for kernel in (optimizer, euler):
        x = torch.ones(N, 2, dtype=torch.float64)
        for _ in range(STEPS):
            x = kernel.step(x, torch.randn(N, 2, dtype=torch.float64, generator=generator))
        peers.require_moments(kernel.name, x[:, 0].numpy(), *peers.exact_moments(STEPS), (0.0, 0.0))


# ----------------------------------------------------------------- the limit
def kernel_of(problem):
    if problem.startswith("A"):
        g = ss.GaussianOracle(
            ss.Quadratic(torch.diag(torch.from_numpy(peers.curvatures(int(problem[4:]))))), peers.SIGMA
        )
        return ss.euler_maruyama(mc23.usam_sde(g, eta=peers.ETA, rho=peers.RHO), peers.ETA)
    g = ss.GaussianOracle(ss.TanhNetwork(), peers.SIGMA)
    if problem == "C SAM":
        return ss.optimizer(partial(ss.sam, rho=peers.RHO), g, peers.ETA)
    return ss.euler_maruyama(mc23.dnsam_sde(g, eta=peers.ETA, rho=peers.RHO), peers.ETA)


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("problem", hand_written.PROBLEMS)
def test_the_loop_by_hand_makes_the_engines_points(problem, real):
    hand_written.require_same(problem, kernel_of(problem), real)


def test_a_loop_with_another_radius_is_refused(monkeypatch):
    monkeypatch.setattr(hand_written, "RHO", peers.RHO * (1 + 1e-9))
    monkeypatch.setattr(hand_written, "compiled", lambda key, write: compiled((*key, "planted"), write))
    with pytest.raises(AssertionError, match="another map"):
        hand_written.require_same("C SAM", kernel_of("C SAM"), "float64")
