import math
from functools import partial

import pytest
import torch
from cases import H3, L23, SIGMA3

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import linear

T = torch.float64
G3 = ss.GaussianOracle.from_covariance(ss.Quadratic(H3), SIGMA3)
TANH = ss.GaussianOracle(ss.TanhNetwork(), 0.3)


def run(kernel, x0, draws):
    """Drive a kernel by hand with given draws (steps·substeps, n, m)."""
    state = kernel.init(x0)
    for z in draws:
        state = kernel.step(state, z)
    return kernel.position(state)


def test_an_optimizer_subtracts_eta_times_its_update():
    kernel = ss.optimizer(partial(ss.sam, rho=0.1), TANH, 0.05)
    x, z = torch.randn(4, 2, dtype=T), torch.randn(4, 2, dtype=T)
    torch.testing.assert_close(kernel.step(x, z), x - 0.05 * ss.sam(TANH, x, z, rho=0.1))
    assert (kernel.dt, kernel.substeps, kernel.name) == (0.05, 1, "sam")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ss.optimizer(ss.sgd, TANH, 0.0), ValueError, "eta must be > 0, got 0.0"),
        (lambda: ss.optimizer(ss.sgd, TANH, float("nan")), ValueError, "eta must be finite"),
        (
            lambda: ss.optimizer(partial(ss.sam, rho=-0.1), TANH, 0.1),
            ValueError,
            "rho must be >= 0, got -0.1",
        ),
        (lambda: ss.optimizer(partial(ss.sam, rho=math.inf), TANH, 0.1), ValueError, "rho must be finite"),
        (lambda: ss.optimizer(ss.sam, TANH, 0.1), ValueError, "update sam needs rho"),
        (lambda: ss.subcycle(ss.optimizer(ss.sgd, TANH, 0.1), 0), ValueError, "r must be >= 1"),
        (lambda: ss.coupled(ss.optimizer(ss.sgd, TANH, 0.1)), ValueError, "at least two"),
    ],
)
def test_bad_kernels(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_constructors_make_floats_of_concrete_tensors_and_let_traced_ones_pass():
    kernel = ss.optimizer(partial(ss.sam, rho=torch.tensor(0.25)), TANH, torch.tensor(0.5))
    assert (kernel.eta, kernel.update.keywords) == (0.5, {"rho": 0.25})
    with pytest.raises(ValueError, match="rho must be >= 0"):
        ss.optimizer(partial(ss.sam, rho=torch.tensor(-1.0)), TANH, 0.1)
    torch.func.vmap(lambda eta: ss.optimizer(ss.sgd, TANH, eta).eta)(torch.tensor([0.1, -0.1], dtype=T))


def test_subcycled_kernel_counts_small_steps_as_one():
    sde = mc23.usam_sde(G3, eta=0.05, rho=0.3)
    kernel = ss.subcycle(ss.euler_maruyama(sde, 0.0125), 4)
    assert (kernel.substeps, kernel.dt) == (4, 0.05)
    assert ss.subcycle(kernel, 2).substeps == 8


def test_coupling_gives_each_member_its_share_of_one_path():
    """Substeps 1, 2 and 6 of one path equal the members run alone on the summed increments."""
    sde = mc23.usam_sde(G3, eta=0.06, rho=0.3)
    members = [ss.optimizer(partial(ss.usam, rho=0.3), G3, 0.06)]
    members += [ss.subcycle(ss.small_noise_srk(sde, 0.06 / r), r) for r in (2, 6)]
    pair = ss.coupled(*members)
    assert pair.substeps == 6
    dw = torch.randn(5 * 6, 7, 3, dtype=T)
    x0 = torch.ones(7, 3, dtype=T)
    together = run(pair, x0, dw)
    assert together.shape == (7, 3, 3)
    for i, r in enumerate((1, 2, 6)):
        share = 6 // r
        shares = dw.reshape(5 * r, share, 7, 3).sum(1) / math.sqrt(share)
        torch.testing.assert_close(together[:, i], run(members[i], x0, shares), rtol=1e-13, atol=1e-14)


def test_private_normals_are_not_shared():
    sde = mc23.sam_sde(TANH, eta=0.05, rho=0.1)
    assert (sde.noise_dim, sde.private_dim) == (4, 2)
    pair = ss.coupled(ss.optimizer(partial(ss.sam, rho=0.1), TANH, 0.05), ss.euler_maruyama(sde, 0.05))
    assert (pair.noise.size, pair.noise.private) == (4, 2)
    z = torch.randn(1, 3, 4, dtype=T)
    x0 = torch.ones(3, 2, dtype=T)
    both = run(pair, x0, z)
    torch.testing.assert_close(both[:, 0], pair.kernels[0].step(x0, z[0][:, :2]))
    torch.testing.assert_close(both[:, 1], pair.kernels[1].step(x0, z[0]))


def spread(sign):
    """Standard deviation of f(x) − f(X) for a pair whose SDE map has the given sign."""
    sde = mc23.sgd_sde(TANH, eta=0.01)

    def turned(x):
        drift, diffusion = sde.coefficients(x)
        return drift, lambda dw: sign * diffusion(dw)

    fine = ss.subcycle(ss.small_noise_srk(ss.SDE(turned, 2), 0.0025), 4)
    pair = ss.coupled(ss.optimizer(ss.sgd, TANH, 0.01), fine)
    m = ss.simulate(
        pair, [1.0, 1.2], steps=50, save_every=50, observables={"d": ss.difference(ss.coordinate(0))}, n=100
    )
    return m.variance("d").value[-1] ** 0.5


@pytest.mark.untyped
def test_the_sign_of_the_map_couples_and_the_other_anticouples():
    right, wrong = spread(1.0), spread(-1.0)
    assert right < 1e-3
    assert wrong > 30 * right


def test_coupling_refuses_what_it_cannot_share():
    opt = ss.optimizer(ss.sgd, TANH, 0.05)
    with pytest.raises(ValueError, match="same model time"):
        ss.coupled(opt, ss.euler_maruyama(mc23.sgd_sde(TANH, eta=0.05), 0.025))
    with pytest.raises(ValueError, match="one noise dimension"):
        ss.coupled(opt, ss.optimizer(ss.sgd, ss.GaussianOracle(ss.TanhNetwork(), L23), 0.05))
    a, b = (ss.subcycle(ss.euler_maruyama(mc23.sgd_sde(TANH, eta=0.05), 0.05 / r), r) for r in (2, 3))
    with pytest.raises(ValueError, match="divide the largest"):
        ss.coupled(a, b)
    with pytest.raises(ValueError, match=r"difference\(phi\)"):
        ss.simulate(ss.coupled(opt, a), [1.0, 1.0], steps=1, observables={"f": TANH.mean}, n=4)


def test_coupled_means_are_the_members_own():
    eta, rho, steps = 0.05, 0.3, 10
    opt = ss.optimizer(partial(ss.usam, rho=rho), G3, eta)
    fine = ss.subcycle(ss.small_noise_srk(mc23.usam_sde(G3, eta=eta, rho=rho), eta / 8), 8)
    f = G3.mean
    x0 = [1.0, -1.0, 0.5]
    m = ss.simulate(
        ss.coupled(opt, fine),
        x0,
        steps=steps,
        save_every=steps,
        observables={"d": ss.difference(f)},
        n=4096,
        seed=2,
    )
    H = H3.numpy()
    a, b = (linear.chain_path(linear.affine_chain(k, 3), x0, steps).quadratic(H)[-1] for k in (opt, fine))
    e = m.estimate("d")
    assert abs(e.value[-1] - (a - b)) < 4 * e.stderr[-1]
    assert e.stderr[-1] < 5e-5  # independent runs of this size would have 3e-3


def test_discretisations_of_one_sde_share_its_private_normals():
    """Optimizer + SDE at h and h/2: the two discretisations must see one path, private part included."""
    sde = mc23.sam_sde(TANH, eta=0.1, rho=0.3)
    opt = ss.optimizer(partial(ss.sam, rho=0.3), TANH, 0.1)
    coarse, fine = (ss.subcycle(ss.small_noise_srk(sde, 0.1 / r), r) for r in (2, 4))
    trio = ss.coupled(opt, coarse, fine)
    assert (trio.noise.size, trio.noise.private) == (4, 2)
    m = ss.simulate(trio, [1.0, 1.2], steps=10, save_every=10, n=400,
                    observables={"d": ss.difference(ss.coordinate(0), 1, 2)})  # fmt: skip
    assert m.variance("d").value[-1] ** 0.5 < 2e-3


def test_dimensions_are_checked_for_sdes_and_oracles():
    sde = mc23.usam_sde(TANH, eta=0.1, rho=0.1)
    with pytest.raises(ValueError, match="last dimension 2"):
        ss.simulate(ss.euler_maruyama(sde, 0.1), [1.0, 1.0, 1.0], steps=1, observables={"f": TANH.mean}, n=4)
    one = ss.GaussianOracle(lambda x: (x * x).sum(-1), 0.1, dim=1)
    with pytest.raises(ValueError, match="last dimension 1, that of GaussianOracle, got 3"):
        ss.simulate(ss.optimizer(ss.sgd, one, 0.1), [1.0, 1.0, 1.0], steps=1, observables={"f": one.mean}, n=4)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (lambda g, x, z: g(x, z).sum(), r"must map x .* to that shape, got \(\) for \(2, 2\)"),
        (lambda g, x, z: g(x, z).sum(-1, keepdim=True), r"got \(2, 1\)"),
        (lambda g, x, z: g(x, z)[..., 7], "failed on x of shape"),
    ],
)
def test_an_update_of_the_wrong_shape_is_refused(update, message):
    """It would broadcast, or mix the replicates, in silence."""
    with pytest.raises(ValueError, match=message):
        ss.simulate(ss.optimizer(update, TANH, 0.1), [1.0, 1.0], steps=1, observables={"f": TANH.mean}, n=4)


def test_rules_about_a_pole_refuse_too_few_nodes():
    with pytest.raises(ValueError, match="points must be >= 28"):
        ss.modified_equation(partial(ss.usam, rho=0.1), TANH, 0.1, points=8)
