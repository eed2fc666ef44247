"""Orders by exact moment recursion; exact moments against scipy; both against planted faults."""

from functools import partial

import numpy as np
import pytest
import torch
from cases import H3, L23, SIGMA3
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

import sdesam as ss
from sdesam.engine.probe import probe_kernel
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import linear

T = torch.float64
G3 = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
D = torch.tensor([[-1.0, 0.7], [-0.4, -0.3]], dtype=T)  # non-normal
AFFINE = ss.SDE(lambda x: (x @ D.T + torch.tensor([0.3, -0.2], dtype=T), lambda dw: -(dw @ L23.T)), noise_dim=3)
X0 = np.array([1.0, -0.5])


def moments_at_one(kernel):
    path = linear.chain_path(linear.affine_chain(kernel, 2), X0, 1)
    return np.concatenate([path.mean[-1], path.covariance[-1].ravel()])


@pytest.mark.parametrize(
    ("integrator", "order"), [(ss.euler_maruyama, 1), (ss.small_noise_srk, 2)], ids=["euler", "srk"]
)
def test_weak_order_on_additive_noise_by_exact_recursion(integrator, order):
    """Affine drift, non-normal, m = 3 != d = 2: errors of mean and covariance at t = 1 shrink by 2^order."""
    exact = linear.sde_path(linear.linear_sde(AFFINE, 2), X0, 1.0, 1)
    target = np.concatenate([exact.mean[-1], exact.covariance[-1].ravel()])
    errors = [np.abs(moments_at_one(ss.subcycle(integrator(AFFINE, 1 / r), r)) - target).max() for r in (32, 64)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.06)


def test_heun_is_of_order_two_on_an_ode():
    ode = mc23.usam_ode(ss.LogCosh(2), rho=0.3)

    def end(r):
        path = ss.trajectories(ss.subcycle(ss.heun(ode, 1 / r), r), [1.0, -0.7], steps=1)
        return path[-1, 0]

    reference = end(128)
    errors = [float((end(r) - reference).norm()) for r in (8, 16)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # the reference adds 1.2 %


def second_moment(integrator, eta, h, steps, *, sqrt_fault=False):
    """E x² at time steps·h of dX = -X dt + √eta (1 + X/2) dW from 1, exact: x⁺ is quadratic in x given dw."""
    scale = h**0.5 if sqrt_fault else 1.0
    sde = ss.SDE(lambda x: (-x, lambda dw: scale * eta**0.5 * (1 + x / 2) * dw), noise_dim=1)
    kernel = integrator(sde, h)
    z, w = ss.Normal(1).nodes(6)
    probes = torch.tensor([-1.0, 0.0, 1.0], dtype=T)[:, None]
    after = torch.stack([kernel.step(p.expand(len(z), 1).clone(), z)[:, 0] for p in probes])
    first, second = (w * after).sum(-1), (w * after**2).sum(-1)
    a, b = float(first[1]), float(first[2] - first[0]) / 2
    c, e, q = (
        float(second[1]),
        float(second[2] - second[0]) / 2,
        float(second[2] + second[0]) / 2 - float(second[1]),
    )
    m, s = 1.0, 1.0
    for _ in range(steps):
        m, s = a + b * m, c + e * m + q * s
    return s


def exact_second_moment(eta, t):
    """d/dt (1, m, s): m' = -m, s' = -2 s + eta (1 + m + s/4)."""
    A = np.array([[0, 0, 0], [0, -1, 0], [eta, eta, -2 + eta / 4]])
    return (expm(A * t) @ np.ones(3))[2]


def test_small_noise_srk_bias_on_multiplicative_noise():
    """At h = eta/4 Euler's bias is O(h), the SRK's O(h² + eta h): a factor 4 per halving of eta, and far smaller."""
    srk, euler = [], []
    for eta in (0.05, 0.025, 0.0125):
        r = round(4 / eta)
        exact = exact_second_moment(eta, 1.0)
        srk.append(abs(second_moment(ss.small_noise_srk, eta, 1 / r, r) - exact))
        euler.append(abs(second_moment(ss.euler_maruyama, eta, 1 / r, r) - exact))
    assert srk[1] / srk[2] == pytest.approx(4, rel=0.1)
    assert euler[1] / euler[2] == pytest.approx(2, rel=0.1)
    assert srk[2] < euler[2] / 20


def test_planted_fault_dt_instead_of_root_dt_is_seen():
    """The noise increment h·dw instead of √h·dw: the covariance is wrong by a factor of order one."""
    eta = 0.1
    exact = exact_second_moment(eta, 1.0)
    right = abs(second_moment(ss.euler_maruyama, eta, 0.01, 100) - exact)
    wrong = abs(second_moment(ss.euler_maruyama, eta, 0.01, 100, sqrt_fault=True) - exact)
    assert wrong > 5 * right
    assert wrong > 0.05


def test_euler_step_is_drift_h_plus_root_h_diffusion():
    x, dw = torch.randn(4, 2, dtype=T), torch.randn(4, 3, dtype=T)
    drift, diffusion = AFFINE.coefficients(x)
    torch.testing.assert_close(ss.euler_maruyama(AFFINE, 0.04).step(x, dw), x + 0.04 * drift + 0.2 * diffusion(dw))


# ----------------------------------------------------------------- linear.py against scipy
def test_stationary_covariances_solve_their_equations():
    chain = linear.affine_chain(ss.optimizer(partial(ss.usam, rho=0.3), G3, 0.05), 3)
    H, S = H3.numpy(), SIGMA3.numpy()
    B = np.eye(3) + 0.3 * H
    np.testing.assert_allclose(chain.A, np.eye(3) - 0.05 * H @ B, atol=1e-14)
    np.testing.assert_allclose(chain.Q, 0.05**2 * B @ S @ B, atol=1e-14)
    expected = solve_discrete_lyapunov(np.eye(3) - 0.05 * H @ B, 0.05**2 * B @ S @ B)
    np.testing.assert_allclose(linear.stationary_chain(chain), expected, atol=1e-13)
    sde = linear.linear_sde(mc23.usam_sde(G3, eta=0.05, rho=0.3), 3)
    expected = solve_continuous_lyapunov(-H @ B, -0.05 * B @ S @ B)
    np.testing.assert_allclose(linear.stationary_sde(sde), expected, atol=1e-13)
    far = linear.sde_path(sde, np.zeros(3), 200.0, 1)
    np.testing.assert_allclose(far.covariance[-1], expected, atol=1e-12)


@pytest.mark.parametrize("h", [0.01, 1.0, 25.0])
def test_sde_moments_against_block_exponential(h):
    """The oracle: one big expm for [C], no scaling and doubling; singular and unstable drifts included."""
    for drift in (D.numpy(), np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.1, 0.0], [0.3, -0.2]])):
        c, Q = np.array([0.3, -0.2]), (L23 @ L23.T).numpy()
        got = linear.sde_path(linear.LinearSDE(drift, c, Q), X0, h, 1)
        K = np.kron(np.eye(2), drift) + np.kron(drift, np.eye(2))
        big = np.zeros((7, 7))
        big[:4, :4], big[:4, 6] = K, Q.ravel()
        big[4:6, 4:6], big[4:6, 6] = drift, c
        end = expm(big * h) @ np.concatenate([np.zeros(4), X0, [1.0]])
        np.testing.assert_allclose(got.covariance[-1].ravel(), end[:4], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(got.mean[-1], end[4:6], rtol=1e-11, atol=1e-12)


TABLE = [  # weak_order.md section 3: problem, method, eta exponent, E x0 chain, E x0 SDE, E f chain, E f SDE
    ("P1", "sgd", 4, 0.3560741305, 0.3678794412, 0.0849638272, 0.0931955816),
    ("P1", "usam", 2, 0.1525878906, 0.2231301601, 0.1023160592, 0.0787391292),
    ("P1", "usam", 8, 0.3448274904, 0.3455907526, 0.0708450953, 0.0713255063),
    ("P2", "sgd", 6, 0.3649865242, 0.3678794412, -0.8480790834, -0.8613592842),
    ("P2", "usam", 4, 0.2721150753, 0.2865047969, -0.5092410362, -0.5248868886),
    ("P3", "sgd", 2, 0.5639343262, 0.5884855513, 0.2392778246, 0.2415089351),
    ("P3", "usam", 4, 0.5359368332, 0.5435054627, 0.1827691381, 0.1850050710),
    ("P3", "usam", 8, 0.5769025579, 0.5772764824, 0.1851976921, 0.1854083271),
]
PROBLEMS = {
    "P1": (torch.diag(torch.tensor([1.0, 2.0], dtype=T)), 0.25 * torch.eye(2, dtype=T), [1.0, 1.0]),
    "P2": (torch.diag(torch.tensor([1.0, -1.0], dtype=T)), 0.25 * torch.eye(2, dtype=T), [1.0, 0.5]),
    "P3": (H3, SIGMA3, [1.0, -1.0, 0.5]),
}


@pytest.mark.parametrize("row", TABLE, ids=lambda r: "-".join(map(str, r[:3])))
def test_table_of_exact_quadratics(row):
    name, method, k, mean_chain, mean_sde, loss_chain, loss_sde = row
    H, S, x0 = PROBLEMS[name]
    eta = 2.0**-k
    rho, steps, d = eta**0.5, 2**k, len(x0)
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H), S)
    update = {"sgd": ss.sgd, "usam": partial(ss.usam, rho=rho)}[method]
    model = {"sgd": mc23.sgd_sde, "usam": mc23.usam_sde}[method](g, eta=eta, rho=rho)
    chain = linear.chain_path(linear.affine_chain(ss.optimizer(update, g, eta), d), x0, steps)
    sde = linear.sde_path(linear.linear_sde(model, d), x0, eta, steps)
    found = (chain.mean[-1][0], sde.mean[-1][0], chain.quadratic(H.numpy())[-1], sde.quadratic(H.numpy())[-1])
    np.testing.assert_allclose(found, (mean_chain, mean_sde, loss_chain, loss_sde), rtol=0, atol=6e-11)


def test_exact_moments_refuse_what_is_not_affine():
    with pytest.raises(ValueError, match="affine"):
        linear.affine_chain(ss.optimizer(partial(ss.sam, rho=0.1), G3, 0.1), 3)
    with pytest.raises(ValueError, match="affine"):
        linear.linear_sde(mc23.dnsam_sde(G3, eta=0.1, rho=0.1), 3)
    saddle = ss.GaussianOracle(ss.Saddle(), 0.1)
    with pytest.raises(ValueError, match="stable"):
        linear.stationary_chain(linear.affine_chain(ss.optimizer(ss.sgd, saddle, 0.1), 2))
    with pytest.raises(ValueError, match="stable"):
        linear.stationary_sde(linear.linear_sde(mc23.sgd_sde(saddle, eta=0.1), 2))


# ----------------------------------------------------------------- bad SDEs
def test_bad_coefficients_are_named_at_the_boundary():
    def swapped(x):
        return (lambda dw: dw), -x

    with pytest.raises(ValueError, match="return the diffusion first"):
        probe_kernel(ss.euler_maruyama(ss.SDE(swapped, 2), 0.1), torch.ones(2, dtype=T))
    wide = ss.SDE(lambda x: (-x, lambda dw: dw[..., :1]), 3)
    with pytest.raises(ValueError, match=r"must map \(\.\.\., 3\) to \(\.\.\., 2\)"):
        probe_kernel(ss.euler_maruyama(wide, 0.1), torch.ones(2, dtype=T))
    with pytest.raises(ValueError, match="None exactly when noise_dim is 0"):
        probe_kernel(ss.euler_maruyama(ss.SDE(lambda x: (-x, None), 2), 0.1), torch.ones(2, dtype=T))
    with pytest.raises(ValueError, match="use small_noise_srk"):
        ss.heun(AFFINE, 0.1)
    with pytest.raises(ValueError, match="h must be > 0"):
        ss.euler_maruyama(AFFINE, 0.0)
