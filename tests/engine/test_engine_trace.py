from functools import partial

import pytest
import torch
from cases import FINITE_SUM, SIX

import sdesam as ss
from sdesam.engine.tracing.checks import evaluate
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.named import named_step
from sdesam.engine.tracing.scalars import Scalars
from sdesam.engine.tracing.trace import NotTraceable, trace
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
X = torch.tensor([0.7, -0.4], dtype=T)
TANH = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
INF, NAN = float("inf"), float("nan")


def sam(eta=0.05, rho=0.1, g=TANH):
    return ss.optimizer(partial(ss.sam, rho=rho), g, eta)


def model(kernel, x0=X, **observables):
    return listing_of(kernel, x0, observables or {"f": ss.TanhNetwork()}, {})


# ----------------------------------------------------------------- the list
def test_constants_are_lifted_and_structure_does_not_know_them():
    a, b = model(sam(0.05, 0.1)), model(sam(0.03, 0.2))
    assert a.structure == b.structure
    assert a.members[0].step.constants != b.members[0].step.constants
    assert a.structure != model(sam(0.05, 0.0)).structure  # a structural zero is a shorter list
    assert model(sam(0.05, 0.0)).length < a.length


def test_a_diagonal_matrix_costs_d_and_equal_expressions_one():
    def diagonal(x):
        return ((x @ torch.diag(torch.arange(1.0, 9.0, dtype=T))) * x).sum(-1)

    program = trace(lambda x: [diagonal(x), diagonal(x)], [torch.ones(8, dtype=T)], "f")
    assert program.length == 8 + 7 + 7  # 7 constants differ from 1: c x, (c x) x and a tree of 7 sums
    assert program.outputs[0] == program.outputs[1]


def test_trivial_operations_are_not_written():
    s = Scalars("ffb")
    x, one, zero = 0, s.constant(1.0), s.constant(-0.0)
    assert [s.apply("add", x, zero), s.apply("mul", one, x), s.apply("div", x, one)] == [x, x, x]
    assert s.apply("mul", x, zero) == s.constant(0.0)
    assert s.apply("neg", s.apply("mul", s.constant(-1.0), x)) == x
    assert s.apply("where", s.constant(True), 0, 1) == 0
    assert s.apply("add", 0, 1) == s.apply("add", 1, 0)
    assert s.apply("where", 2, 0, 0) == 0
    assert s.apply("and", 2, s.constant(False)) == s.constant(False)


def _rules(x):
    y = x.clone()
    y[..., 0] = 2 * y[..., 1]
    a, b = x.unbind(-1)
    table = torch.stack((x, y))
    return [
        x.clamp(-0.5, 0.5), torch.maximum(a, b), torch.minimum(b, a), table.amax(0), table.prod(-1), table.mean(),
        x**-1.5, x**3, torch.sigmoid(x), torch.sinh(x), torch.cosh(x), torch.sign(x), torch.relu(x), y,
        torch.where((a > b) | (b == 0), a, b), ((a > 0) & ~(b > 0)).to(x.dtype), torch.linalg.vector_norm(table, dim=1),
        torch.nn.functional.softplus(x), torch.log_softmax(x, -1), x.flip(-1), torch.outer(x, y).tril().sum(0),
        torch.nn.functional.silu(x), torch.sin(x) * torch.cos(x),
        (x.to(torch.bool) & (x == x)).to(x.dtype), x.abs().sqrt().rsqrt(), x.masked_fill(x < 0, 3.0),
        torch.logsumexp(table, -1),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [(0.3, 0.2), (-0.7, 0.4), (NAN, 0.1), (0.1, NAN), (INF, -1.0), (0.0, 0.0)])
def test_every_rule_is_torchs(values):
    """NaN and infinities included: clamps, maxima and selections let them pass as torch does."""
    x = torch.tensor(values, dtype=T)
    program = trace(lambda x: [r.reshape(-1) for r in _rules(x)], [torch.tensor([0.3, 0.2], dtype=T)], "rules")
    expected = torch.cat([r.reshape(-1) for r in _rules(x)])
    found = torch.cat(evaluate(program, [x[0:1], x[1:2]]))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-15, equal_nan=True)


# ----------------------------------------------------------------- SDEs, minibatches, couplings
SDES = {"sgd": mc23.sgd_sde, "usam": mc23.usam_sde, "dnsam": mc23.dnsam_sde, "sam": mc23.sam_sde}


@pytest.mark.parametrize("name", SDES)
def test_sdes_trace(name):
    """Their integrators: test_engine_fused.py."""
    g = ss.GaussianOracle(ss.TanhNetwork(), torch.tensor([[0.3, -0.1], [0.05, 0.25]], dtype=T))
    g = TANH if name == "sam" else g
    assert model(ss.euler_maruyama(SDES[name](g, eta=0.05, rho=0.1), 0.05)).length


@pytest.mark.parametrize(
    "batch", [(1, False, None), (2, False, None), (3, True, None), (1, False, (0.1, 0.2, 0.3, 0.2, 0.2))]
)
def test_minibatches_are_table_lookups(batch):
    B, replace, p = batch
    for f in (FINITE_SUM, SIX) if p is None else (FINITE_SUM,):
        found = model(sam(g=ss.MinibatchOracle(f, B, replace, p)), f=f)
        assert found.members[0].step.tables
        assert found.members[0].step.inputs == "ff" + "i" * B


def test_coupled_kernels_share_a_draw():
    sde = mc23.sam_sde(TANH, eta=0.05, rho=0.1)
    fine = ss.subcycle(ss.small_noise_srk(sde, 0.05 / 4), 4)
    found = model(ss.coupled(sam(), fine), d=ss.difference(ss.TanhNetwork()))
    assert [m.share for m in found.members] == [4, 1]
    assert [m.noises for m in found.members] == [(0, 1), (0, 1, 2, 3)]
    assert found.substeps == 4
    longer = ss.coupled(sam(), ss.subcycle(ss.small_noise_srk(sde, 0.05 / 8), 8))
    assert model(longer, d=ss.difference(ss.TanhNetwork())).structure == found.structure  # R is data


# ----------------------------------------------------------------- named scalars
def test_named_scalars_are_inputs():
    def factory(eta, rho, sigma):
        return ss.optimizer(partial(ss.sam, rho=rho), ss.GaussianOracle(ss.TanhNetwork(), sigma), eta)

    typical = {"eta": 0.05, "rho": 0.1, "sigma": 0.3}
    program = named_step(factory, typical, X)
    assert program.inputs == "f" * (3 + 2 + 2)
    assert not program.constants  # 0, 1, 2 and 1/2 are literals: everything else is a slider
    state, z = torch.randn(2, 9, 2, dtype=T, generator=torch.Generator().manual_seed(1))
    for eta, rho, sigma in ((0.01, 0.5, 2.0), (0.3, 0.02, 0.1)):
        sliders = [torch.full((9,), v, dtype=T) for v in (eta, rho, sigma)]
        found = torch.stack(evaluate(program, [*sliders, *state.T, *z.T]), -1)
        torch.testing.assert_close(found, factory(eta, rho, sigma).step(state, z), rtol=1e-13, atol=1e-14)


def test_sdes_have_sliders_too():
    def factory(eta, rho):
        return ss.euler_maruyama(mc23.dnsam_sde(TANH, eta=eta, rho=rho), eta)

    assert named_step(factory, {"eta": 0.05, "rho": 0.1}, X).inputs == "f" * 6


def test_a_scalar_taken_out_of_its_tensor_is_refused():
    def factory(eta, rho):
        return sam(eta, 0.1 if rho is None else rho * 0 + 0.1)

    assert named_step(factory, {"eta": 0.05, "rho": 0.1}, X)  # it does not matter, and the list says so

    def rounded(eta, rho):
        return sam(eta, float(rho))

    with pytest.raises(NotTraceable, match="with eta, rho does not trace"):
        named_step(rounded, {"eta": 0.05, "rho": 0.1}, X)


# ----------------------------------------------------------------- what does not trace says so
def _branches(x):
    return (x * x).sum(-1) if float(x[..., 0].sum()) > 0 else x.abs().sum(-1)


def _baked(x):
    return x[..., 0] * torch.tensor([x.reshape(-1).tolist()[0], 1.0]).sum()


def _random(x):
    return (x * torch.randn_like(x)).sum(-1)


def _unknown(x):
    return torch.special.i0(x).sum(-1)


def _cut(x):
    return x.long().to(x.dtype).sum(-1)


REFUSED = {
    _cut: "numbers cut to torch.int64",
    _branches: "_branches|test_engine_trace.py, line [0-9]+: return",
    _baked: "tolist takes numbers out of a tensor",
    _random: "draws random numbers",
    _unknown: r"no rule for aten.i0.default \(test_engine_trace.py, line [0-9]+: return torch.special.i0",
}


@pytest.mark.parametrize("phi", REFUSED)
def test_what_does_not_trace_is_named(phi):
    with pytest.raises(NotTraceable, match=REFUSED[phi]):
        model(sam(), phi=phi)


def test_observables_that_are_no_numbers_and_states_that_are_no_tensors_are_refused():
    with pytest.raises(NotTraceable, match="must each be one number"):
        model(sam(), x=lambda x: x)
    with pytest.raises(NotTraceable, match="float32 and float64 on the CPU"):
        model(sam(), X.half())
