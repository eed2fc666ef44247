"""Every integrator through ``simulate`` with every number of noises, on both engines, against the exact moments.

The problems are linear with noise that depends on x and does not commute, so every scheme's own first two moments are
known (``kernel_moments`` enumerates its noise), and so are those of the SDE.
"""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory.exact.affine_noise import kernel_moments, sde_moments

pytestmark = pytest.mark.untyped

T = torch.float64
H, STEPS, N = 1 / 16, 4, 1024
STOCHASTIC = {"euler_maruyama": ss.euler_maruyama, "small_noise_srk": ss.small_noise_srk}
PHIS = {
    "x": ss.coordinate(0),
    "y": ss.coordinate(-1),
    "x^2": lambda x: x[..., 0] ** 2,
    "xy": lambda x: x[..., 0] * x[..., -1],
}


def schemes(m):
    """Those that integrate an SDE with m noises: Euler and the small-noise scheme take an ODE as well."""
    return STOCHASTIC | ({"platen": ss.platen} if m else {"heun": ss.heun})


def linear_problem(d, m):
    """dX = A X dt + Σ_j (B_j X + n_j) dW_j, an ODE for m = 0, and a start."""
    rng = np.random.default_rng(10 * d + m)
    A = torch.from_numpy(0.3 * rng.standard_normal((d, d))) - torch.eye(d, dtype=T)
    B, n = (torch.from_numpy(0.5 * rng.standard_normal(shape)) for shape in ((m, d, d), (m, d)))

    def coefficients(x):
        def diffusion(dw):
            return (dw[..., :, None] * (torch.einsum("jik,...k->...ji", B, x) + n)).sum(-2)

        return x @ A.T, diffusion if m else None

    return ss.SDE(coefficients, noise_dim=m), [1.0, 0.5][:d]


def exact(path):
    first, second = path.mean, path.second
    return {"x": first[:, 0], "y": first[:, -1], "x^2": second[:, 0, 0], "xy": second[:, 0, -1]}


def require_its_law(kernel, law, x0, **run):
    """Both engines agree to rounding, and 4.5 standard errors (1e-12 for an ODE) cover the scheme's own moments."""
    eager, fused = (
        ss.simulate(kernel, x0, steps=STEPS, observables=PHIS, n=N, engine=engine, **run)
        for engine in ("eager", "fused")
    )
    for name, value in exact(kernel_moments(law, x0, STEPS)).items():
        a, b = eager.estimate(name), fused.estimate(name)
        np.testing.assert_allclose(a.value, b.value, rtol=1e-13, atol=1e-15)
        assert np.all(np.abs(a.value - value) <= 4.5 * a.stderr + 1e-12), name


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_every_integrator_has_its_exact_moments_with_any_number_of_noises(m):
    sde, x0 = linear_problem(2, m)
    for scheme in schemes(m).values():
        kernel = ss.subcycle(scheme(sde, H / 2), 2) if m % 2 else scheme(sde, H)
        require_its_law(kernel, kernel, x0)


@pytest.mark.slow
@pytest.mark.parametrize("m", [0, 1, 2, 3])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("r", [1, 3])
def test_every_integrator_subcycled_or_not(m, d, r):
    sde, x0 = linear_problem(d, m)
    for scheme in schemes(m).values():
        kernel = ss.subcycle(scheme(sde, H / r), r)
        require_its_law(kernel, kernel, x0, seed=r)


def test_noise_of_h_instead_of_root_h_is_seen():
    """Negative control: increments h dw for √h dw are not covered."""
    sde, x0 = linear_problem(2, 2)

    def planted(x):
        drift, diffusion = sde.coefficients(x)
        return drift, lambda dw: H**0.5 * diffusion(dw)

    with pytest.raises(AssertionError):
        require_its_law(ss.platen(ss.SDE(planted, noise_dim=2), H), ss.platen(sde, H), x0)


@pytest.mark.parametrize(("scheme", "order"), [(ss.euler_maruyama, 1), (ss.platen, 2)])
def test_one_noise_proportional_to_x(scheme, order):
    """dX = −X dt + ½X dW from 1, exactly E X = e^{−t} and E X² = e^{−7t/4}: the schemes' errors fall like h^order."""
    sde = ss.SDE(lambda x: (-x, lambda dw: 0.5 * x * dw), noise_dim=1)
    assert sde_moments(sde, [1.0], 0.25, 1).second[-1, 0, 0] == pytest.approx(np.exp(-7 / 16), rel=1e-13)
    errors = []
    for steps in (4, 8, 16):
        path = kernel_moments(scheme(sde, 0.25 / steps), [1.0], steps)
        errors.append([path.mean[-1, 0] - np.exp(-1 / 4), path.second[-1, 0, 0] - np.exp(-7 / 16)])
    assert np.log2(np.divide(errors[1], errors[2])) == pytest.approx([order, order], abs=0.06)
    run = partial(ss.simulate, scheme(sde, 1 / 16), [1.0], steps=4, observables={"x": ss.coordinate(0)}, n=100)
    for engine in ("eager", "fused"):
        e = run(engine=engine).estimate("x")
        assert abs(e.value[-1] - np.exp(-1 / 4)) < 4.5 * e.stderr[-1] + (1 / 16) ** order


def test_what_a_scheme_cannot_integrate_is_a_sentence():
    (ode, _), (sde, _) = linear_problem(2, 0), linear_problem(2, 1)
    with pytest.raises(ValueError, match="use small_noise_srk"):
        ss.heun(sde, H)
    with pytest.raises(ValueError, match="use heun for an ODE"):
        ss.platen(ode, H)
