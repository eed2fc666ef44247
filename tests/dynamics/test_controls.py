"""Control variates and antithetic pairs: the same means, less variance, and minibatch errors against quadrature."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
import sdesam.dynamics.controls
import sdesam.weak.orders
from sdesam.dynamics.controls import Controlled, antithetic, averaged, controlled, linearised
from sdesam.problems.datasets import tanh_network_data
from sdesam.theory import model_of

T = torch.float64
SIX = tanh_network_data(
    torch.tensor([-1.5, -0.8, 0.4, 0.9, 1.3, 2.0], dtype=T), torch.tensor([-0.6, 0.3, 0.5, 0.1, 0.8, 0.4], dtype=T)
)
MINIBATCH = ss.MinibatchOracle(SIX, 1)
START = torch.tensor([0.9, 1.3], dtype=T)
PHIS = {"f": MINIBATCH.mean, "x[0]": ss.coordinate(0)}


def sam(eta):
    G = partial(ss.sam, rho=eta**0.5)
    return ss.optimizer(G, MINIBATCH, eta), model_of(G, MINIBATCH, eta)


def test_the_linear_part_has_mean_zero_exactly():
    """Over all 36 pairs of minibatches of two steps the average of xi is 0 to rounding, not just about 0."""
    chain = linearised(sam(0.25)[0], START, 2)
    z, w = torch.cartesian_prod(torch.arange(6), torch.arange(6)), torch.full((36,), 1 / 36, dtype=T)
    state = chain.init(START.expand(36, 2))
    for k in range(2):
        state = chain.step(state, z[:, k : k + 1])
    assert float((w @ state[2]).abs().max()) < 1e-15
    assert float(state[2].std()) > 1e-2  # and it moves


def test_slopes_are_those_of_the_mean_step_in_few_calls(monkeypatch):
    """A call of a step costs the same for one row and for a thousand: one a step of the path, one for all slopes."""
    kernel, _ = sam(0.25)
    calls, real = [], type(kernel).step
    monkeypatch.setattr(type(kernel), "step", lambda self, x, z: calls.append(len(x)) or real(self, x, z))
    chain = linearised(kernel, START, 5)
    assert len(calls) == 6
    z = torch.arange(6)[:, None]
    exact = torch.stack([
        torch.func.jacrev(lambda x: real(kernel, x.expand(6, 2), z).mean(0))(x) for x in chain.path[:-1]
    ])  # fmt: skip
    torch.testing.assert_close(chain.slopes, exact, rtol=1e-8, atol=1e-9)
    whole = chain.slopes
    monkeypatch.setattr(sdesam.dynamics.controls, "_NUMBERS", 1)
    assert torch.equal(linearised(kernel, START, 5).slopes, whole)


def test_normal_kicks_are_odd():
    g = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
    chain = linearised(ss.optimizer(partial(ss.sam, rho=0.3), g, 0.1), START, 1)
    z = torch.randn(50, 2, dtype=T, generator=torch.Generator().manual_seed(0))
    up, down = (chain.step(chain.init(START.expand(50, 2)), s * z)[2] for s in (1, -1))
    assert torch.equal(up, -down)


def test_controls_keep_the_mean_and_cut_the_variance():
    kernel = sam(1 / 16)[0]
    plain = ss.simulate(kernel, START, steps=16, observables=PHIS, n=4000, seed=1)
    phis = {name: controlled(phi) for name, phi in PHIS.items()}
    less = ss.simulate(linearised(kernel, START, 16), START, steps=16, observables=phis, n=4000, seed=1)
    for name in PHIS:
        a, b = plain.estimate(name)[-1], less.estimate(name)[-1]
        assert abs(float(a.value) - float(b.value)) < 4 * float(np.hypot(a.stderr, b.stderr))
        assert float(a.stderr) ** 2 > 100 * float(b.stderr) ** 2


@pytest.mark.untyped
def test_minibatch_errors_cover_an_enumeration():
    """All 6⁴ paths of four steps give E phi of the chain; the SDE's side covers a plain simulation of its scheme."""
    optimizer, sde = sam(1 / 4)
    found = ss.by_controlled_mc(optimizer, sde, START, steps=4, observables=PHIS, n=1000)
    batches = torch.cartesian_prod(*[torch.arange(6)] * 4)
    x = START.expand(len(batches), 2)
    for k in range(4):
        x = optimizer.step(x, batches[:, k : k + 1])
    r = found["f"].substeps
    plain = ss.simulate(
        ss.subcycle(ss.small_noise_srk(sde, 1 / 4 / r), r), START, steps=4, observables=PHIS, n=4000, seed=7
    )
    for name, e in found.items():
        chain, model, other = e.chain[-1], e.sde[-1], plain.estimate(name)[-1]
        assert abs(float(chain.value) - float(PHIS[name](x).mean())) < 4 * float(chain.stderr)
        assert abs(float(model.value) - float(other.value)) < 4 * float(np.hypot(model.stderr, other.stderr))
        assert float(e.error[-1].value) == float(chain.value) - float(model.value)
        assert float(e.error[-1].stderr) == float(np.hypot(chain.stderr, model.stderr))


def test_a_wrong_slope_leaves_the_mean():
    """A_k decides the variance only: with another one the estimate is as unbiased, and worse."""
    kernel = sam(1 / 8)[0]
    right = linearised(kernel, START, 8)
    wrong = Controlled(kernel, right.path, right.slopes + 0.5)
    phis = {"f": controlled(MINIBATCH.mean)}
    a, b = (
        ss.simulate(k, START, steps=8, observables=phis, n=4000, seed=s).estimate("f")[-1]
        for k, s in ((right, 0), (wrong, 1))
    )
    assert abs(float(a.value) - float(b.value)) < 4 * float(np.hypot(a.stderr, b.stderr))
    assert float(b.stderr) > 2 * float(a.stderr)


def test_weak_order_takes_controls_where_no_noise_can_be_shared(monkeypatch):
    asked = []
    monkeypatch.setattr(sdesam.weak.orders, "controlled_errors", lambda o, s, run, *_: asked.append(run.n) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ss.weak_order(
            ss.sgd, MINIBATCH, etas=[1 / 2, 1 / 3, 1 / 4, 1 / 5], rho_scale=1.0, x0=START, horizon=1.0, n=64,
            observables=PHIS,
        )  # fmt: skip
    assert asked == [64]


@pytest.mark.untyped
def test_antithetic_pairs_keep_the_mean_and_cut_the_variance():
    g = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
    opt = ss.optimizer(ss.sgd, g, 1 / 16)
    single, pairs = (
        ss.by_coupled_mc(opt, model_of(ss.sgd, g, 1 / 16), [1.0, 1.2], steps=16, observables=PHIS, n=2000, pairs=p)
        for p in (False, True)
    )
    for name in PHIS:
        a, b = single[name].error[-1], pairs[name].error[-1]
        assert abs(float(a.value) - float(b.value)) < 4 * float(np.hypot(a.stderr, b.stderr))
    assert float(single["x[0]"].error[-1].stderr) ** 2 > 20 * float(pairs["x[0]"].error[-1].stderr) ** 2
    assert float(averaged(ss.coordinate(0))(torch.tensor([[[1.0], [3.0]]]))) == 2.0


def test_bad_input():
    optimizer, sde = sam(0.25)
    with pytest.raises(ValueError, match="must be one start"):
        ss.by_controlled_mc(optimizer, sde, START[None], steps=4, observables=PHIS, n=10)
    with pytest.raises(ValueError, match="must have normal noise for antithetic pairs"):
        antithetic(optimizer)
    three = ss.platen(ss.SDE(lambda x: (-x, lambda dw: dw), noise_dim=2), 0.1)
    with pytest.raises(ValueError, match="normal or minibatch noise to be linearised"):
        linearised(three, START, 2)
    log = ss.SDE(lambda x: (-torch.ones_like(x), None), noise_dim=0, init=torch.log, position=torch.exp)
    with pytest.raises(ValueError, match="must have the iterate as its state"):
        linearised(ss.heun(log, 0.1), START, 2)
