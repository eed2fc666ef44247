"""Weak errors: the closed form against printed tables, coupled Monte Carlo against the closed form, and coverage."""

from functools import partial

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.errors import by_coupled_mc, in_closed_form

T = torch.float64
H3 = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.5, 0.5], [0.0, 0.5, 0.75]], dtype=T)
S3 = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.3, -0.05], [0.0, -0.05, 0.2]], dtype=T)
PROBLEMS = {
    "P1": (torch.diag(torch.tensor([1.0, 2.0], dtype=T)), 0.25 * torch.eye(2, dtype=T), [1.0, 1.0]),
    "P2": (torch.diag(torch.tensor([1.0, -1.0], dtype=T)), 0.25 * torch.eye(2, dtype=T), [1.0, 0.5]),
    "P3": (H3, S3, [1.0, -1.0, 0.5]),
}
# problem, method, log2 eta, E x0 chain, E x0 SDE, E f chain, E f SDE, max_k |error of f|, at T = 1 (the fact sheet's
# section 3, ten digits, computed for this project by other code)
TABLE = [
    ("P1", "sgd", -2, 0.3164062500, 0.3678794412, 0.0907840729, 0.1148324848, 1.324821132e-01),
    ("P1", "sgd", -6, 0.3649865242, 0.3678794412, 0.0856187565, 0.0877863558, 7.019071582e-03),
    ("P1", "sgd", -12, 0.3678345294, 0.3678794412, 0.0859770551, 0.0860114536, 1.087765579e-04),
    ("P1", "usam", -2, 0.1525878906, 0.2231301601, 0.1023160592, 0.0787391292, 1.355151159e-01),
    ("P1", "usam", -8, 0.3448274904, 0.3455907526, 0.0708450953, 0.0713255063, 1.934371197e-03),
    ("P2", "sgd", -4, 0.3560741305, 0.3678794412, -0.8254886459, -0.8775440246, 5.205537867e-02),
    ("P2", "usam", -6, 0.3214204769, 0.3246524674, -0.6621763112, -0.6697056553, 7.529344108e-03),
    ("P2", "usam", -10, 0.3563757509, 0.3565609807, -0.8036715824, -0.8044004714, 7.288890136e-04),
    ("P3", "sgd", -8, 0.5881376926, 0.5884855513, 0.1916494977, 0.1918603049, 2.492513995e-04),
    ("P3", "usam", -2, 0.4581915066, 0.5007987748, 0.2749744912, 0.2373936052, 3.758088606e-02),
    ("P3", "usam", -6, 0.5643587989, 0.5659733790, 0.1814681362, 0.1822707301, 1.043038838e-03),
]
METHODS = {"sgd": ss.sgd, "usam": ss.usam}


def pair(problem, method, eta):
    H, S, x0 = PROBLEMS[problem]
    g = ss.GaussianOracle.from_covariance(ss.Quadratic(H), S)
    G = partial(METHODS[method], rho=eta**0.5)
    return g, ss.optimizer(G, g, eta), model_of(G, g, eta), x0


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}")
def test_the_closed_form_gives_the_tables(row):
    problem, method, k, *expected = row
    eta = 2.0**k
    g, optimizer, sde, x0 = pair(problem, method, eta)
    observables = {"x[0]": ss.coordinate(0), "f": g.mean}
    found = in_closed_form(optimizer, sde, x0, steps=round(1 / eta), observables=observables)
    values = [float(getattr(found[o], side)[-1].value) for o in observables for side in ("chain", "sde")]
    np.testing.assert_allclose([*values, found["f"].sup()[0]], expected, rtol=0, atol=6e-11)


@pytest.mark.parametrize("method", METHODS)
def test_coupled_monte_carlo_covers_the_closed_form(method):
    g, optimizer, sde, x0 = pair("P1", method, 0.125)
    observables = {"f": g.mean, "x[0]": ss.coordinate(0)}
    exact = in_closed_form(optimizer, sde, x0, steps=8, observables=observables)
    found = by_coupled_mc(optimizer, sde, x0, steps=8, observables=observables, n=20_000, substeps=8)
    for name, e in found.items():
        truth = np.asarray(exact[name].error.value)
        allowed = 4 * np.asarray(e.error.stderr) + np.abs(np.asarray(e.bias.value))
        assert np.all(np.abs(np.asarray(e.error.value) - truth)[1:] <= allowed[1:]), name
        high, low, top = e.sup()
        assert low <= np.abs(truth).max() <= top
        assert low < high < top


@pytest.mark.untyped
def test_intervals_cover_over_groups_of_replicates():
    """400 groups of 256 replicates of one run, E x of SGD (whose scheme is exact in the mean): 380 ± 13 at 95 %."""
    g, optimizer, sde, x0 = pair("P1", "sgd", 0.25)
    f = {"f": g.mean}
    exact = in_closed_form(optimizer, ss.SDE(sde.coefficients, 2, dim=2), x0, steps=4, observables=f)["f"]
    kernel = ss.coupled(optimizer, ss.subcycle(ss.small_noise_srk(sde, 0.25 / 64), 64))
    paths = ss.trajectories(kernel, x0, steps=4, n=400 * 256, save_every=4)[-1]
    values = ss.difference(g.mean)(paths).reshape(400, 256)
    mean, error = values.mean(1), values.std(1) / 16
    hits = int(((mean - float(exact.error[-1].value)).abs() <= 1.9693 * error).sum())  # Student, 255 degrees
    assert 367 <= hits <= 393, hits


def test_substeps_grow_while_the_bias_shows():
    g = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
    G = partial(ss.sam, rho=0.5)
    e = by_coupled_mc(
        ss.optimizer(G, g, 0.25), mc23.sam_sde(g, eta=0.25, rho=0.5), [1.0, 1.2], steps=4,
        observables={"x": ss.coordinate(0)}, n=2000, substeps=1,
    )["x"]  # fmt: skip
    assert e.substeps >= 2
    assert abs(float(e.bias[-1].value)) <= max(float(e.error[-1].stderr), 0.1 * abs(float(e.error[-1].value)))


def test_coupling_pays():
    """The paired difference has far less variance than independent runs (sheet, section 6: 40 times for USAM)."""
    g, optimizer, sde, x0 = pair("P1", "usam", 0.125)
    e = by_coupled_mc(optimizer, sde, x0, steps=8, observables={"f": g.mean}, n=5000)["f"]
    independent = float(e.chain[-1].stderr) ** 2 + float(e.sde[-1].stderr) ** 2
    assert independent / float(e.error[-1].stderr) ** 2 > 20


@pytest.mark.untyped
def test_a_wrong_model_shows_another_error():
    g, optimizer, _, x0 = pair("P1", "usam", 0.125)
    wrong = mc23.sgd_sde(g, eta=0.125)
    truth = in_closed_form(optimizer, wrong, x0, steps=8, observables={"f": g.mean})["f"].error[-1].value
    e = by_coupled_mc(optimizer, wrong, x0, steps=8, observables={"f": g.mean}, n=5000, substeps=8)["f"].error[-1]
    right = in_closed_form(*pair("P1", "usam", 0.125)[1:], steps=8, observables={"f": g.mean})["f"].error[-1].value
    assert abs(float(e.value) - float(truth)) < 4 * float(e.stderr) + 1e-4
    assert abs(float(e.value) - float(right)) > 20 * float(e.stderr)


def test_what_has_no_closed_form_is_refused():
    g = ss.GaussianOracle(ss.Quadratic(H3), 0.3)
    sam = ss.optimizer(partial(ss.sam, rho=0.1), g, 0.1)
    with pytest.raises(ValueError, match="must be affine"):
        in_closed_form(sam, mc23.sam_sde(g, eta=0.1, rho=0.1), [1.0, 1.0, 1.0], steps=2, observables={"f": g.mean})
    sgd = ss.optimizer(ss.sgd, g, 0.1)
    with pytest.raises(ValueError, match="'s' must be smooth"):
        in_closed_form(
            sgd,
            mc23.sgd_sde(g, eta=0.1),
            [1.0, 1.0, 1.0],
            steps=2,
            observables={"s": lambda x: (x[..., 0] > 0.8).double()},
        )
    minibatch = ss.MinibatchOracle(ss.quadratics(H3[None].repeat(3, 1, 1), torch.eye(3, dtype=T)), 1)
    with pytest.raises(ValueError, match="must have normal noise to be coupled"):
        by_coupled_mc(
            ss.optimizer(ss.sgd, minibatch, 0.1), mc23.sgd_sde(minibatch, eta=0.1), [1.0, 1.0, 1.0], steps=2,
            observables={"f": minibatch.mean}, n=10,
        )  # fmt: skip
