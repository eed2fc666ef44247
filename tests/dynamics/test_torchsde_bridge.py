from functools import partial

import pytest
import torch
import torchsde
from cases import L23

import sdesam as ss
from sdesam.dynamics.torchsde_bridge import GivenIncrements, to_torchsde
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
G = ss.GaussianOracle(ss.TanhNetwork(), L23)


@pytest.mark.parametrize("update", [ss.sgd, ss.usam, ss.dnsam])
def test_torchsde_euler_on_our_increments(update):
    """Their Euler scheme and ours, the same increments: two implementations of one map, m = 3 != d = 2."""
    h, steps, n = 0.01, 20, 5
    sde = model_of(partial(update, rho=0.2), G, 0.1)
    dw = torch.randn(steps, n, 3, dtype=T, generator=torch.Generator().manual_seed(0))
    x0 = torch.tensor([[1.0, 1.2]], dtype=T).expand(n, 2).clone()
    times = torch.tensor([0.0, steps * h], dtype=T)
    theirs = torchsde.sdeint(to_torchsde(sde), x0, times, bm=GivenIncrements(dw, h), method="euler", dt=h)[-1]
    kernel, ours = ss.euler_maruyama(sde, h), x0
    for increment in dw:
        ours = kernel.step(ours, increment)
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-13)
    turned = x0
    for increment in dw:
        turned = kernel.step(turned, -increment)
    assert float((turned - theirs).abs().max()) > 1e-3  # the sign of the noise is seen


def test_increments_belong_to_a_grid():
    bm = GivenIncrements(torch.ones(4, 1, 1, dtype=T), 0.1)
    assert float(bm(0.1, 0.2)) == pytest.approx(0.1**0.5)
    with pytest.raises(ValueError, match="must step on the grid"):
        bm(0.0, 0.12)


def test_what_cannot_be_handed_over():
    with pytest.raises(ValueError, match="use heun"):
        to_torchsde(mc23.usam_ode(ss.TanhNetwork(), rho=0.1))
    clocked = ss.SDE(lambda x: (x, lambda dw: dw), 2, init=lambda x: x)
    with pytest.raises(ValueError, match="state x itself"):
        to_torchsde(clocked)
