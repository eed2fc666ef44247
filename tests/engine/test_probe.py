"""Every function of the user's is probed once a structure: offenders are refused by name, innocents run as before."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from written_functions import LINES, OFFENCES, ROLES, Written, innocents, offenders, roles, run, starts

import sdesam as ss
from sdesam.engine import ensembles, exits
from sdesam.engine import probe as probing
from sdesam.engine.probe import probe_kernel
from sdesam.engine.purity import Impure
from sdesam.engine.structures import Memo
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
X = [1.0, 2.0]
FIRST = {"x": ss.coordinate(0)}


def half_square(x):
    return (x * x).sum(-1) / 2


def sgd_on(f, sigma=0.1, update=ss.sgd, eta=0.1, dim=2):
    return ss.optimizer(update, ss.GaussianOracle(f, sigma, dim=dim), eta)


def short(kernel, x0=X, observables=FIRST, **words):
    return ss.simulate(kernel, x0, **({"steps": 2, "n": 8, "observables": observables} | words))


@pytest.fixture(autouse=True)
def forgetful():
    """No test profits from another's probe."""
    probing._MEMO.clear()


# ----------------------------------------------------------------- generated functions
def refused(body, role, start):
    words = "must not write into its argument|mixes replicates|draws random numbers|asks for the value"
    with pytest.raises(ValueError, match=words):
        run(body, role, start)


def same_as_without_probe(body, role, start):
    probing._MEMO.clear()
    found = run(body, role, start)
    with pytest.MonkeyPatch.context() as patch:
        for module in (ensembles, exits):
            patch.setattr(module, "probe", lambda *args, **words: None)
        np.testing.assert_array_equal(found, run(body, role, start))


@settings(max_examples=20)
@given(offenders, roles, starts)
def test_generated_offenders_are_refused(body, role, start):
    refused(body, role, start)


@settings(max_examples=15)
@given(innocents, roles, starts)
def test_generated_innocents_run_as_before(body, role, start):
    same_as_without_probe(body, role, start)


@pytest.mark.slow
@settings(max_examples=200)
@given(offenders, roles, starts)
def test_two_hundred_generated_offenders_are_refused(body, role, start):
    refused(body, role, start)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:diverged")  # some of the generated ones do
@settings(max_examples=200)
@given(innocents, roles, starts)
def test_two_hundred_generated_innocents_run_as_before(body, role, start):
    same_as_without_probe(body, role, start)


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_offence_is_refused_in_every_role(role):
    for offence in OFFENCES:
        refused(Written(("where", "solve"), offence, 1), role, (0.7, -0.4))


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_line_passes_in_every_role(role):
    for line in LINES:
        same_as_without_probe(Written((line, "tanh")), role, (0.0, 0.0))


# ----------------------------------------------------------------- faults that were found
def ported(g, x, z):
    x.add_(0.1 * ss.unit(g(x, z)))
    return g(x, z)


def writes_into_z(g, x, z):
    G = g(x, z)
    z.mul_(2)
    return G


def clipped(x):
    return x.clamp_(min=0.0, max=0.5)[..., 0]


def turned(x):
    x.neg_()
    return x, lambda dw: 0.5 * dw


def through_numpy(x):
    return torch.from_numpy(np.negative(x.numpy(), x.numpy()))[..., 0]


def normalised(x):
    return half_square(torch.nn.functional.batch_norm(x.reshape(-1, 2), None, None, training=True).reshape(x.shape))


def watching(phi):
    return short(sgd_on(half_square), observables={"phi": phi})


SDE = ss.SDE(turned, noise_dim=2)
FAULTS = {
    "an update in place": (lambda: short(sgd_on(half_square, update=ported)), "update ported must not write"),
    "an update on z": (lambda: short(sgd_on(half_square, update=writes_into_z)), "update writes_into_z must not write"),
    "a drift in place": (lambda: short(ss.euler_maruyama(SDE, 0.05)), r"coefficients of .*turned.* must not write"),
    "an observable in place": (lambda: watching(clipped), "observable 'phi' must not write"),
    "inside in place": (
        lambda: ss.first_exit(sgd_on(half_square), X, lambda x: x.abs_().norm(dim=-1) < 1, max_steps=2, n=4),
        "inside must not write",
    ),
    "through numpy": (lambda: watching(through_numpy), "observable 'phi' must not write"),
    "variance over replicates": (
        lambda: watching(lambda x: x[..., 0].var().expand(x.shape[:-1])), "observable 'phi' mixes replicates"
    ),
    "batch norm": (lambda: short(sgd_on(normalised)), "the landscape mixes replicates"),
    "inside mixed without tipping over": (
        lambda: ss.first_exit(sgd_on(half_square), X, lambda x: (x - x.mean(0)).norm(dim=-1) < 50, max_steps=2, n=4),
        "inside mixes replicates",
    ),
    "one number for the block": (
        lambda: short(sgd_on(lambda x: torch.rand((), dtype=x.dtype) * half_square(x))),
        "the landscape draws random numbers",
    ),
    "a complex observable": (lambda: watching(lambda x: torch.exp(1j * x[..., 0])), "'phi' must be real"),
    "a complex landscape": (lambda: short(sgd_on(lambda x: half_square(x) * 1j)), "the landscape must be real"),
    "an infinite observable": (lambda: watching(lambda x: 1 / (x[..., 0] - 1)), "'phi' must be finite wherever x"),
    "NaN gradient of where": (
        lambda: short(sgd_on(lambda x: torch.where(x > 0, x.sqrt(), -x).sum(-1)), [-1.0, -4.0]),
        "gradient of the landscape must be finite at the start, it is NaN",
    ),
    "NaN gradient of a root": (
        lambda: short(sgd_on(lambda x: torch.sqrt(x**2).sum(-1)), [0.0, 0.0], engine="fused"), "no step size mends that"
    ),
    "NaN landscape": (lambda: short(sgd_on(lambda x: torch.log(-x).sum(-1))), "landscape must be finite at the start"),
    "a detached landscape": (lambda: short(sgd_on(lambda x: half_square(x.detach()))), "gradient is exactly zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_was_wrong_in_silence_is_one_sentence(name):
    call, message = FAULTS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("engine", ["auto", "fused", "eager"])
def test_all_engines_and_entries_refuse_alike(engine):
    mixing = sgd_on(lambda x: half_square(x - x.reshape(-1, 2).mean(0)))
    with pytest.raises(Impure, match="the landscape mixes replicates"):
        short(mixing, engine=engine)
    with pytest.raises(Impure, match="the landscape mixes replicates"):
        ss.trajectories(mixing, X, steps=1)
    with pytest.raises(Impure, match="the landscape mixes replicates"):
        ss.first_exit(mixing, X, lambda x: x[..., 0] < 2, max_steps=1, n=4, engine=engine)


@pytest.mark.parametrize("wrap", ["coupled", "subcycled", "antithetic", "linearised"])
def test_what_is_inside_of_a_composed_kernel_is_probed(wrap):
    from sdesam.dynamics.controls import antithetic, linearised

    def mixing(x):
        return half_square(x / x.abs().max())

    right, wrong = (ss.small_noise_srk(mc23.sgd_sde(sgd_on(f).g, eta=0.1), 0.1) for f in (half_square, mixing))
    kernel = {
        "coupled": lambda: ss.coupled(sgd_on(half_square), wrong),
        "subcycled": lambda: ss.subcycle(wrong, 2),
        "antithetic": lambda: antithetic(wrong),
        "linearised": lambda: linearised(sgd_on(mixing), torch.tensor(X, dtype=T), 3),
    }[wrap]()
    with pytest.raises(Impure, match="mixes replicates"):
        probe_kernel(kernel, torch.tensor(X, dtype=T))
    probe_kernel(ss.coupled(sgd_on(half_square), right), torch.tensor(X, dtype=T))


def test_an_observable_of_a_pair_is_seen_to_mix():
    pair = ss.coupled(
        sgd_on(half_square), ss.subcycle(ss.small_noise_srk(mc23.sgd_sde(sgd_on(half_square).g, eta=0.1), 0.05), 2)
    )
    short(pair, observables={"d": ss.difference(half_square)})
    with pytest.raises(Impure, match="'d' mixes replicates"):
        short(pair, observables={"d": ss.difference(lambda x: x[..., 0] / x[..., 1].max())})


# ----------------------------------------------------------------- innocents
def leaves_its_domain(x):
    return (x - 0.01 * torch.log(x)).sum(-1)


def factorised(x):
    """Fails, for all rows, where one is no inner point."""
    return 2 * torch.linalg.cholesky(torch.diag_embed(1.4 - half_square(x)[..., None].expand(x.shape))).diagonal(
        dim1=-2, dim2=-1
    ).log().sum(-1)


def checked(x):
    if not bool((x > -100).all()):
        raise ValueError("out of the domain")
    assert float(x.abs().max()) < 1e9
    return half_square(x)


@lru_cache
def constant(d):
    return torch.randn(d, generator=torch.Generator().manual_seed(0), dtype=T)


NET = (
    torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.ReLU(inplace=True), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)
    )
    .double()
    .eval()
)
INNOCENT = {
    "domain x > 0, left by a step": (leaves_its_domain, [0.01, 1.0], 0.5),
    "an error outside of the domain": (factorised, [0.8, 0.6], 0.01),
    "a check that raises": (checked, X, 0.1),
    "a saddle without noise": (ss.Saddle(), [0.0, 0.0], 0.0),
    "a constant": (lambda x: 0 * x.sum(-1), X, 0.1),
    "a constant cached at the first call": (lambda x: half_square(x - constant(2)), X, 0.1),
    "a kink": (lambda x: x.abs().sum(-1), [0.0, 0.0], 0.0),
    "a module in evaluation": (lambda x: NET(x.reshape(-1, 2)).reshape(x.shape[:-1]) ** 2 + half_square(x), X, 0.1),
    "saturated": (lambda x: torch.tanh(x).square().sum(-1), [40.0, 50.0], 0.1),
    "a number of a constant": (lambda x: half_square(x) * constant(2).sum().abs().item(), X, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", INNOCENT)
@pytest.mark.filterwarnings("ignore:diverged")
def test_innocents_run(name):
    f, start, sigma = INNOCENT[name]
    short(sgd_on(f, sigma), start)


def test_innocents_with_other_states_precisions_and_starts():
    sam = partial(ss.sam, rho=0.1)
    wide = ss.Quadratic(torch.eye(40, dtype=T) + torch.ones(40, 40, dtype=T) / 40)
    short(ss.optimizer(sam, ss.GaussianOracle(wide, 0.1), 0.1), torch.linspace(-1, 1, 40))  # float32
    short(sgd_on(half_square), np.linspace(0, 1, 16).reshape(8, 2))
    short(sgd_on(half_square), ss.Cloud(X, 0.5))
    with torch.inference_mode():
        short(sgd_on(half_square))
    with torch.device("meta"):
        short(sgd_on(half_square), torch.tensor(X, dtype=T, device="cpu"))


# ----------------------------------------------------------------- once a structure
@dataclass(eq=False)  # a counter in it is no structure
class Counted:
    """A function that knows how often it was called."""

    f: Callable
    calls: int = 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.f(*arguments)


@pytest.mark.parametrize("method", ["sgd", "sam", "dnsam"])
def test_ten_evaluations_at_most_and_none_for_new_numbers(method):
    f, phi = Counted(half_square), Counted(ss.coordinate(0))
    evaluations = {"sgd": 1, "sam": 2, "dnsam": 3}[method]

    def once(k):
        before = f.calls, phi.calls
        kernel = sgd_on(f, 0.1 * k, partial(getattr(ss, method), rho=0.1 * k), eta=0.1 / k)
        short(kernel, observables={"x": phi}, seed=k, n=8 * k, steps=3)
        return f.calls - before[0] - 3 * evaluations, phi.calls - before[1] - 4

    f_calls, phi_calls = once(1)
    assert 0 < f_calls <= 10
    assert 0 < phi_calls <= 10
    assert once(2) == once(3) == (0, 0)


def test_coefficients_and_updates_are_counted_too():
    drift = Counted(lambda x: (-x, lambda dw: 0.1 * dw))
    for scheme, per_step in ((ss.euler_maruyama, 1), (ss.small_noise_srk, 2), (ss.platen, 7)):
        before = drift.calls
        sde = ss.SDE(drift, noise_dim=2)
        short(scheme(sde, 0.1), steps=1)
        assert 0 < drift.calls - before - per_step <= 10
        before = drift.calls
        short(scheme(sde, 0.2), steps=1, seed=5)
        assert drift.calls - before == per_step
    update = Counted(lambda g, x, z: g(x, z))
    short(sgd_on(half_square, update=update), steps=1)
    assert 0 < update.calls - 1 <= 10


def test_a_theory_sde_of_new_numbers_is_no_new_structure():
    f = Counted(ss.LogCosh(2))
    calls = []
    for k in (1, 2):
        g = ss.GaussianOracle(f, 0.1 * k, dim=2)
        sde = mc23.usam_sde(g, eta=0.1 / k, rho=0.1 * k)
        before = f.calls
        short(ss.euler_maruyama(sde, 0.1 / k), steps=1)
        calls.append(f.calls - before)
    assert calls[1] < calls[0]


def test_two_closures_are_two_structures():
    def make(flag, inner):
        return lambda x: inner(x) if flag else inner(x) - inner(x).mean()

    short(sgd_on(half_square), observables={"x": make(True, half_square)})
    short(sgd_on(half_square), observables={"x": make(True, lambda x: x[..., 1])})
    for wrong in (make(False, half_square), make(True, lambda x: x[..., 0].mean().expand(x.shape[:-1]))):
        with pytest.raises(Impure):
            short(sgd_on(half_square), observables={"x": wrong})


def test_a_changed_global_and_a_module_in_training_are_new_structures():
    space = {"helper": lambda x: x[..., 0]}
    exec("def phi(x):\n    return helper(x)", space)
    short(sgd_on(half_square), observables={"x": space["phi"]})
    space["helper"] = lambda x: x[..., 0] - x[..., 0].mean()
    with pytest.raises(Impure):
        short(sgd_on(half_square), observables={"x": space["phi"]})
    net = torch.nn.BatchNorm1d(2).double().eval()
    f = lambda x: half_square(net(x.reshape(-1, 2)).reshape(x.shape))  # noqa: E731
    short(sgd_on(f))
    net.train()
    with pytest.raises((Impure, ValueError)):
        short(sgd_on(f))


def test_the_memo_keeps_no_object_alive_and_is_bounded():
    memo = Memo(3)

    class Thing:
        pass

    thing = Thing()
    assert [memo.once(("a", thing), lambda k=k: k) for k in range(2)] == [0, 0]
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None
    assert [memo.once(k, lambda k=k: k) for k in (*range(5), 0)] == [0, 1, 2, 3, 4, 0]
    assert len(memo) == 3


# ----------------------------------------------------------------- no graph, no crash
def test_a_module_with_trainable_parameters_works_short_and_long(recwarn):
    net = torch.nn.Linear(1, 1).double()
    f = lambda x: net(x)[..., 0] ** 2 + (x**2).sum(-1)  # noqa: E731
    kernel, watched = sgd_on(f, dim=1), {"net": lambda x: net(x)[..., 0]}
    eager, fused = (short(kernel, [1.0], watched, n=2048, engine=e, steps=20) for e in ("eager", "fused"))
    np.testing.assert_allclose(eager.mean, fused.mean, rtol=1e-12)
    assert not ss.trajectories(kernel, [1.0], steps=2).requires_grad
    ss.first_exit(kernel, [1.0], lambda x: net(x)[..., 0] < 5, max_steps=2, n=4)
    assert not recwarn.list
    right = ss.by_quadrature(kernel, mc23.sgd_sde(kernel.g, eta=0.1), [1.0], steps=2, observables=watched)
    assert np.isfinite(right["net"].error.value).all()


def test_a_module_that_moves_itself_is_refused_and_ends_no_process():
    code = """
import torch, sdesam as ss
net = torch.nn.Linear(2, 1)
loss = lambda x: net.to(x.dtype)(x)[..., 0] ** 2 + (x ** 2).sum(-1)
kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(loss, 0.1, dim=2), 0.1)
for n in (100, 100_000, 100):
    try:
        ss.simulate(kernel, [1.0, 2.0], steps=40, n=n, observables={"f": loss})
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the landscape moves a module") == 3


# ----------------------------------------------------------------- found by a hostile reader
ENGINES = ["auto", "fused", "eager"]


def bounded(g, x, z):
    """The norm of a block against a bound that no start is near."""
    G = g(x, z)
    return G * torch.clamp(100 / (G.norm() + 1e-6), max=1.0)


def above_the_median(x):
    return (x[..., 0] > x[..., 0].median()).double()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_hears_of_others_only_far_out_is_refused_on_every_engine(engine):
    with pytest.raises(ValueError, match="update bounded mixes replicates"):
        short(sgd_on(half_square, update=bounded), engine=engine)
    with pytest.raises(ValueError, match="observable 'm' mixes replicates"):
        short(sgd_on(half_square), observables={"m": above_the_median}, engine=engine)
    with pytest.raises(ValueError, match="the landscape (mixes replicates|asks for the value)"):
        short(sgd_on(lambda x: half_square(x) * (2 if (x[..., 0] > 5).any() else 1)), engine=engine)


def test_an_attribute_of_the_users_object_is_part_of_its_structure():
    class Bowl:
        mix = False

        def __call__(self, x):
            f = half_square(x)
            return f + f.mean() if self.mix else f

    bowl = Bowl()
    short(sgd_on(bowl))
    bowl.mix = True
    with pytest.raises(ValueError, match="mixes replicates"):
        short(sgd_on(bowl))


def own_gradient(x):
    y = x.detach().clone().requires_grad_()
    return torch.autograd.grad(half_square(y).sum(), y)[0]


def test_functions_may_differentiate_for_themselves():
    """SGD with its gradient written by hand: E x = 0.9^k; the same as an observable, and as the drift of an SDE."""
    kernel = sgd_on(half_square, update=lambda g, x, z: own_gradient(x) + 0.0 * z)
    watched = FIRST | {"slope": lambda x: own_gradient(x)[..., 0]}
    m = short(kernel, observables=watched, engine="eager")
    np.testing.assert_allclose([m.estimate(name).value[-1] for name in watched], 0.81, rtol=1e-14)
    sde = ss.SDE(lambda x: (-own_gradient(x), None), noise_dim=0)
    m = short(ss.euler_maruyama(sde, 0.1), engine="eager")
    np.testing.assert_allclose(m.estimate("x").value[-1], 0.81, rtol=1e-14)


def test_a_loop_over_rows_that_reads_each_rows_own_number_is_innocent():
    def looped(x):
        return torch.tensor([float(row[0]) ** 2 for row in x.reshape(-1, x.shape[-1])], dtype=x.dtype).reshape(
            x.shape[:-1]
        )

    m = short(sgd_on(half_square, sigma=0.0), observables={"square": looped}, engine="eager")
    np.testing.assert_allclose(m.estimate("square").value[-1], 0.81**2, rtol=1e-14)
