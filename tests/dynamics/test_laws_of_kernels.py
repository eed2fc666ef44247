"""Laws that every kernel keeps, wrapped or not, on both engines: one replicate, float32, shapes, equal results."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics.controls import antithetic, averaged
from sdesam.dynamics.switched import Switched
from sdesam.dynamics.variants import stratified, variants
from sdesam.explorer.stopped import Stopped
from sdesam.theory import monzio_compagnoni2023 as mc23

F = ss.TanhNetwork()
G = ss.GaussianOracle(F, 0.3)
SIX = ss.FiniteSum(lambda x, datum: ((x - datum) ** 2).sum(-1), torch.arange(12.0, dtype=torch.float64).reshape(6, 2))
SDE = mc23.usam_sde(G, eta=0.05, rho=0.1)
X = [1.0, 0.5]


def usam(rho=0.1, g=G):
    return ss.optimizer(partial(ss.usam, rho=rho), g, 0.05)


FINE = ss.subcycle(ss.small_noise_srk(SDE, 0.025), 2)
PAIR = ss.coupled(usam(), FINE)
ROWS = lambda x: x.sum((-2, -1))  # noqa: E731
KERNELS = {  # with what is watched, and the shape of one replicate's position
    "optimizer": (usam(), F, (2,)),
    "minibatches": (usam(g=ss.MinibatchOracle(SIX, 2)), F, (2,)),
    "euler": (ss.euler_maruyama(SDE, 0.05), F, (2,)),
    "heun": (ss.heun(mc23.usam_ode(F, rho=0.1), 0.05), F, (2,)),
    "platen": (ss.platen(SDE, 0.05), F, (2,)),
    "subcycled": (FINE, F, (2,)),
    "coupled": (PAIR, ss.difference(F), (2, 2)),
    "antithetic": (antithetic(usam()), averaged(F), (2, 2)),
    "antithetic pair": (antithetic(PAIR), averaged(ss.difference(F)), (2, 2, 2)),
    "switched": (Switched(Stopped(usam(0.0), None), Stopped(usam(0.3), None), 2), F, (2,)),
    "variants": (variants(usam, [(0.0,), (0.3,)]), ROWS, (2, 2)),
    "stratified": (stratified(usam(g=ss.MinibatchOracle(SIX, 2))), ROWS, (3, 2)),
}
DTYPES = {torch.float64: 1e-12, torch.float32: 1e-4}


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_positions_keep_their_shape_and_precision(name, n, dtype):
    kernel, phi, shape = KERNELS[name]
    paths = ss.trajectories(kernel, torch.tensor(X, dtype=dtype), steps=4, n=n, save_every=2)
    assert paths.shape == (3, n, *shape) and paths.dtype == dtype
    assert phi(paths).shape == (3, n) and torch.isfinite(paths).all()
    more = ss.trajectories(kernel, torch.tensor(X, dtype=dtype), steps=4, n=4, save_every=2)
    assert torch.equal(more[:, :1], paths[:, :1])  # a replicate is its own, whatever runs beside it


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "stratified"])
def test_both_engines_agree_on_one_replicate(name, dtype):
    kernel, phi, _ = KERNELS[name]
    run = partial(ss.simulate, kernel, torch.tensor(X, dtype=dtype), steps=4, observables={"phi": phi}, n=1)
    eager, fused = run(engine="eager"), run(engine="fused")
    assert (fused.engine, eager.engine) == ("fused", "eager")
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=DTYPES[dtype], atol=DTYPES[dtype])


def test_chains_that_deal_out_the_data_are_eager():
    kernel, phi, _ = KERNELS["stratified"]
    with pytest.raises(ValueError, match="engine='fused' cannot run this: .* no rule for aten.sort"):
        ss.simulate(kernel, X, steps=4, observables={"phi": phi}, n=1, engine="fused")
