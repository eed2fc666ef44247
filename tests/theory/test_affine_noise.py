"""Exact moments under noise that depends on x: against the additive recursions and against enumeration of paths."""

import itertools
from functools import partial

import numpy as np
import torch
from cases import H3, SIGMA3

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import linear
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments

T = torch.float64


def test_additive_noise_gives_the_recursions_of_linear():
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
    x0, eta, rho = [1.0, -1.0, 0.5], 0.1, 0.3
    kernel, sde = ss.optimizer(partial(ss.usam, rho=rho), g, eta), mc23.usam_sde(g, eta=eta, rho=rho)
    a, b = kernel_moments(kernel, x0, 20), linear.chain_path(linear.affine_chain(kernel, 3), x0, 20)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-9, atol=1e-14)
    a, b = sde_moments(sde, x0, eta, 20), linear.sde_path(linear.linear_sde(sde, 3), x0, eta, 20)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-9, atol=1e-14)
    fine = ss.subcycle(ss.euler_maruyama(sde, eta / 3), 3)
    a, b = kernel_moments(fine, x0, 5), linear.chain_path(linear.affine_chain(fine, 3), x0, 5)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-9, atol=1e-14)


def test_three_steps_by_enumerating_every_path():
    A, b = torch.stack((H3, 2 * H3 - SIGMA3)), torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], dtype=T)
    g = ss.MinibatchOracle(ss.quadratics(A, b), 1)
    kernel = ss.optimizer(partial(ss.usam, rho=0.2), g, 0.1)
    ends = []
    for path in itertools.product(range(2), repeat=3):
        x = torch.tensor([[1.0, -1.0, 0.5]], dtype=T)
        for i in path:
            x = kernel.step(x, torch.tensor([[i]]))
        ends.append(x[0].numpy())
    ends = np.stack(ends)
    found = kernel_moments(kernel, [1.0, -1.0, 0.5], 3)
    np.testing.assert_allclose(found.mean[-1], ends.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.second[-1], ends.T @ ends / 8, rtol=1e-12)


def test_geometric_brownian_motion():
    """DX = a X dt + s X dW: E X = x e^{at}, E X² = x² e^{(2a + s²)t}."""
    sde = ss.SDE(lambda x: (0.3 * x, lambda dw: 0.5 * x * dw), noise_dim=1)
    path = sde_moments(sde, [2.0], 0.25, 4)
    t = np.arange(5) * 0.25
    np.testing.assert_allclose(path.mean[:, 0], 2 * np.exp(0.3 * t), rtol=1e-13)
    np.testing.assert_allclose(path.second[:, 0, 0], 4 * np.exp((0.6 + 0.25) * t), rtol=1e-13)
