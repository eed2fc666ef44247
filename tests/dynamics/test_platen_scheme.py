"""Platen's scheme has weak order 2: exact moments of linear problems, m ≠ d, non-commuting noise; faults planted."""

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics import platen_scheme
from sdesam.dynamics.platen_scheme import Platen, platen
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments

T = torch.float64
STEPS = range(3, 7)  # h = 2^-3 .. 2^-6


def linear_problem(d, m, scale=0.5):
    """dX = (A X + c) dt + Σ_j (B_j X + n_j) dW_j with random, non-commuting B_j."""
    rng = np.random.default_rng(10 * d + m)
    A, c = (torch.from_numpy(scale * rng.standard_normal(shape)) for shape in ((d, d), (d,)))
    B, n = (torch.from_numpy(scale * rng.standard_normal(shape)) for shape in ((m, d, d), (m, d)))

    def coefficients(x):
        columns = torch.einsum("jik,...k->...ji", B, x) + n
        return x @ A.T + c, lambda dw: (dw[..., :, None] * columns).sum(-2)

    return ss.SDE(coefficients, noise_dim=m)


def errors(d, m, make=platen):
    """Errors of the second moments at T = 1 for each h."""
    sde, x0 = linear_problem(d, m), [1.0, 0.5, -0.4][:d]
    exact = sde_moments(sde, x0, 1.0, 1)
    found = []
    for k in STEPS:
        path = kernel_moments(make(sde, 2.0**-k), x0, 2**k)
        found.append([np.abs(path.mean[-1] - exact.mean[-1]).max(), np.abs(path.second[-1] - exact.second[-1]).max()])
    return np.array(found)


@pytest.mark.parametrize(("d", "m"), [(2, 3), (3, 2), (1, 2), (2, 1), (2, 2)])
def test_weak_order_two(d, m):
    """Local slopes tend to 2 in mean and second moment."""
    slopes = np.log2(errors(d, m)[:-1] / errors(d, m)[1:])
    assert np.all(np.abs(slopes[-1] - 2) < 0.12)


def wrong_sign(signs, m):
    V = -torch.eye(m, dtype=signs.dtype).expand(*signs.shape[:-1], m, m).clone()
    row, column = torch.triu_indices(m, m, offset=1)
    V[..., row, column] = V[..., column, row] = signs
    return V


def no_areas(signs, m):
    return -torch.eye(m, dtype=signs.dtype).expand(*signs.shape[:-1], m, m).clone()


@pytest.mark.parametrize("planted", [wrong_sign, no_areas])
def test_wrong_levy_areas_are_of_order_one(planted, monkeypatch):
    """Negative control: V_21 = +V_12, or none at all."""
    monkeypatch.setattr(platen_scheme, "_levy_signs", planted)
    slopes = np.log2(errors(2, 3)[:-1] / errors(2, 3)[1:])
    assert slopes[-1, 1] == pytest.approx(1, abs=0.15)


class NoMixedDifference(Platen):
    """A planted fault: b_j(U±_r) taken at Y, so that the mixed differences vanish."""

    def _crossed(self, points):
        middle = points.mean(-2, keepdim=True).expand_as(points)
        return super()._crossed(points - (points - middle) * 0.5)


def test_a_wrong_mixed_difference_is_of_order_one():
    slopes = np.log2(
        errors(2, 3, lambda sde, h: NoMixedDifference(sde, h))[:-1]
        / errors(2, 3, lambda sde, h: NoMixedDifference(sde, h))[1:]
    )
    assert slopes[-1, 1] < 1.3


def test_euler_is_of_order_one_on_the_same_problem():
    slopes = np.log2(errors(2, 3, ss.euler_maruyama)[:-1] / errors(2, 3, ss.euler_maruyama)[1:])
    assert slopes[-1, 1] == pytest.approx(1, abs=0.15)


def test_additive_noise_gives_the_small_noise_scheme():
    """With a constant map Platen is the small-noise scheme on three-point increments: one formula, two codes."""
    sde = ss.SDE(lambda x: (-torch.tanh(x), lambda dw: 0.3 * dw), noise_dim=2)
    x = torch.randn(6, 2, dtype=T, generator=torch.Generator().manual_seed(0))
    (xi, signs), _ = platen(sde, 0.1).noise.nodes(3)
    a = platen(sde, 0.1).step(x, (xi[:6], signs[:6]))
    torch.testing.assert_close(a, ss.small_noise_srk(sde, 0.1).step(x, xi[:6]))


def test_nonlinear_coefficients_by_simulation():
    """d = 1, dX = sin X dt + cos X dW₁ + ½X dW₂ from 0.5: Platen at h = 1/4 agrees with Euler at h = 1/512."""

    def coefficients(x):
        return torch.sin(x), lambda dw: torch.cos(x) * dw[..., :1] + x / 2 * dw[..., 1:]

    sde = ss.SDE(coefficients, noise_dim=2, dim=1)
    phi = {"x": ss.coordinate(0), "x2": lambda x: x[..., 0] ** 2}
    coarse = ss.simulate(platen(sde, 0.25), [0.5], steps=4, observables=phi, n=20_000, seed=1, save_every=4)
    fine = ss.simulate(
        ss.euler_maruyama(sde, 1 / 256), [0.5], steps=256, observables=phi, n=20_000, seed=2, save_every=256
    )
    for name in phi:
        a, b = coarse.estimate(name)[-1], fine.estimate(name)[-1]
        assert abs(a.value - b.value) < 4 * np.hypot(a.stderr, b.stderr) + 0.02 * abs(float(b.value))


def test_bad_arguments():
    ode = ss.SDE(lambda x: (-x, None), noise_dim=0)
    with pytest.raises(ValueError, match="use heun for an ODE"):
        platen(ode, 0.1)
    sde = linear_problem(2, 3)
    with pytest.raises(ValueError, match="h must be > 0"):
        platen(sde, 0.0)
    with pytest.raises(ValueError, match="must have normal noise to be coupled"):
        ss.coupled(platen(sde, 0.1), platen(sde, 0.1))
    with pytest.raises(ValueError, match="must be affine in x for every draw"):
        kernel_moments(platen(ss.SDE(lambda x: (torch.sin(x), lambda dw: dw), noise_dim=1), 0.1), [1.0], 2)
    with pytest.raises(ValueError, match="must be affine in x for every draw"):
        sde_moments(ss.SDE(lambda x: (-x, lambda dw: torch.cos(x) * dw), noise_dim=1), [1.0], 0.1, 2)
