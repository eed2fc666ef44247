"""Numbers at the boundary: however they are wrapped they are checked and become Python's own; traced ones pass."""

import ast
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sdesam as ss
from sdesam.arguments import as_array, as_floats, as_plain, is_traced, require_count, require_positive, require_seed
from sdesam.engine.tracing.named import named_step
from sdesam.problems.datasets import teacher_student
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.exact import affine_noise, linear, planar
from sdesam.theory.exact.gaussian_noise import direction_law
from sdesam.theory.monzio_compagnoni2023 import escape, saddles_and_exits, stationary

T = torch.float64
F = ss.LogCosh(2)
G = ss.GaussianOracle(F, 0.3)
LINE = ss.GaussianOracle(ss.Quadratic([[1.0]]), 0.1)
SUM = ss.FiniteSum(lambda x, datum: ((x - datum) ** 2).sum() / 2, np.eye(3), dim=3)
DRIFT = ss.SDE(lambda x: (-x, lambda dw: 0.5 * dw), noise_dim=1)
ODE = ss.SDE(lambda x: (-x, None), noise_dim=0)
FIRST = {"x": lambda x: x[..., 0]}


@pytest.fixture(autouse=True)
def _as_a_user():
    """In a user's process hints are not checked at run time; here they would answer before the package does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Labelled:
    """What xarray's and other libraries' arrays of no dimensions have in common."""

    ndim, shape = 0, ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def __float__(self):
        return float(self.value)


WRAPPED = {
    "tensor": lambda v: torch.tensor(v, dtype=T),
    "tensor with a history": lambda v: torch.tensor(v, dtype=T, requires_grad=True) * 1.0,
    "array": lambda v: np.array(v),
    "numpy's scalar": np.float64,
    "fraction": lambda v: Fraction(str(v)),
    "decimal": lambda v: Decimal(str(v)),
    "labelled": Labelled,
}
WRONG = {
    "negative": torch.tensor(-0.1), "NaN": torch.tensor(float("nan")), "infinite": np.array(np.inf),
    "complex": torch.tensor(0.1j), "truth": torch.tensor(True), "numpy's truth": np.bool_(True),
    "a word": np.array("0.1"), "a row": torch.tensor([0.1]), "an array": np.array([0.1]), "masked": np.ma.masked,
    "a duration": np.timedelta64(3, "ns"), "beyond floats": Fraction(10) ** 400, "none": None,
}  # fmt: skip


def _slope(etas, horizon):
    settings = {"rho_scale": 0.0, "x0": [1.0], "observables": FIRST, "estimator": "closed_form"}
    return ss.weak_order(ss.sgd, LINE, etas=etas, horizon=horizon, **settings)["x"].slope.value


# what is stored under a name, from a number v
STORED = {
    "eta": lambda v: ss.optimizer(partial(ss.sam, rho=0.1), G, v).eta,
    "rho": lambda v: ss.optimizer(partial(ss.sam, rho=v), G, 0.1).update.keywords["rho"],
    "rho, nested": lambda v: ss.optimizer(partial(partial(ss.unified_sam, rho=v), lam=0.5), G, 0.1).update.keywords[
        "rho"
    ],
    "sigma": lambda v: ss.GaussianOracle(F, v).sigma,
    "h, Euler": lambda v: ss.euler_maruyama(DRIFT, v).h,
    "h, Runge-Kutta": lambda v: ss.small_noise_srk(DRIFT, v).h,
    "h, Platen": lambda v: ss.platen(DRIFT, v).h,
    "h, Heun": lambda v: ss.heun(ODE, v).h,
    "scale": lambda v: ss.Cloud([0.0], v).scale,
    "lam": lambda v: ss.EmbeddedSaddle((1.0, -1.0), v).lam,
    "variances": lambda v: ss.LinearAutoencoder((1.0, v), 1).variances[1],
    "eta, additive": lambda v: mc23.sgd_sde_additive(G, eta=v).coefficients.eta,
    "eta, SAM": lambda v: mc23.sam_sde(G, eta=v, rho=0.1).coefficients.eta,
    "rho, SAM": lambda v: mc23.sam_sde(G, eta=0.1, rho=v).coefficients.rho,
    "rho, factored": lambda v: mc23.sam_factored_sde(G, eta=0.1, rho=v).coefficients.rho,
    "rho, general": lambda v: mc23.usam_sde(ss.MinibatchOracle(SUM, 1), eta=0.1, rho=v).coefficients.rho,
    "eta, general": lambda v: mc23.sgd_sde(ss.MinibatchOracle(SUM, 1), eta=v).coefficients.eta,
    "rho, printed": lambda v: mc23.usam_sde_as_printed(G, eta=0.1, rho=v).coefficients.rho,
    "eta, printed": lambda v: mc23.sam_sde_as_printed(G, eta=v, rho=0.1).coefficients.eta,
    "eta, modified": lambda v: ss.modified_equation(ss.sgd, G, v).coefficients.eta,
    "rho, modified": lambda v: ss.modified_equation(partial(ss.sam, rho=v), G, 0.1).coefficients.update.keywords["rho"],
    "eta, planar": lambda v: planar.planar_modified_equation(ss.sgd, G, v, G.noise.nodes(3)).coefficients.eta,
}
# numbers made of a number v
COMPUTED = {
    "mu": lambda v: saddles_and_exits.usam_critical_rho(v),
    "sigma": lambda v: saddles_and_exits.sam_critical_rho(1.0, sigma=v, d=2),
    "eta, exit": lambda v: saddles_and_exits.usam_axis_exit_time(1.0, eta=v, rho=0.1, sigma=0.5, A=1.0),
    "sigma, exit": lambda v: escape.usam_well_exponent(1.0, eta=0.1, rho=0.1, sigma=v, A=1.0),
    "A": lambda v: escape.well_exit_ratio(1.0, sigma=1.0, A=v)[0],
    "rho": lambda v: stationary.sam_two_cycle(1.0, eta=0.1, rho=v),
    "h": lambda v: stationary.dnsam_mode(v, eta=0.1, rho=0.1, sigma=0.5),
    "eta, floor": lambda v: mc23.usam_stationary_loss(np.ones(1), np.ones(1), eta=v, rho=0.1),
    "rho, loss": lambda v: float(mc23.usam_loss(G, rho=v)(torch.ones(2, dtype=T))),
    "s": lambda v: float(direction_law(torch.ones(2, dtype=T), v, 0.1).length),
    "h, exact": lambda v: affine_noise.sde_moments(DRIFT, [1.0], v, 2).mean[-1, 0],
    "h, linear": lambda v: linear.sde_path(linear.linear_sde(DRIFT, 1), [1.0], v, 2).mean[-1, 0],
    "horizon": lambda v: _slope([1 / 8, 1 / 16, 1 / 24, 1 / 32], v),
    "eta, orders": lambda v: _slope([v, 1 / 16, 1 / 24, 1 / 32], 1 / 8),
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_number_is_one_number_however_it_is_wrapped(wrap):
    for name, make in STORED.items():
        found = make(wrap(0.1))
        assert type(found) is float and found == 0.1, name
    for name, compute in COMPUTED.items():
        assert compute(wrap(0.125)) == compute(0.125), name


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_is_no_such_number_is_refused_by_name(value):
    for names in (STORED, COMPUTED):
        for name, make in names.items():
            with pytest.raises((ValueError, TypeError), match=rf"^{name.split(',')[0]} must be ") as refused:
                make(value)
            assert "\n" not in str(refused.value), name


def test_a_negative_learning_rate_in_a_tensor_is_no_ascent():
    """The small input of the report: 1.1^10 = 2.59 without a word; with +0.1 the answer is 0.9^10."""
    with pytest.raises(ValueError, match="eta must be > 0, got -0.1"):
        ss.optimizer(ss.sgd, LINE, torch.tensor(-0.1, dtype=T))
    found = [
        ss.simulate(ss.optimizer(ss.sgd, LINE, eta), [1.0], steps=10, observables=FIRST, n=500).estimate("x")
        for eta in (0.1, torch.tensor(0.1, dtype=T, requires_grad=True), np.array(0.1))
    ]
    assert abs(found[0].value[-1] - 0.9**10) < 5 * found[0].stderr[-1]
    assert all(np.array_equal(f.value, found[0].value) for f in found)


def test_updates_are_called_with_floats_and_other_arguments_stay():
    table = np.arange(3.0)

    def update(g, x, z, *, beta, table, clip, k):
        return g(x, z)

    bound = partial(update, beta=np.array(0.9), table=table, clip=float("inf"), k=np.int64(2))
    found = ss.optimizer(bound, G, 0.1).update.keywords
    assert (found["beta"], found["clip"], found["k"]) == (0.9, float("inf"), 2) and found["table"] is table
    assert type(found["beta"]) is float
    plain = partial(ss.sam, rho=0.1)
    assert ss.optimizer(plain, G, 0.1).update is plain
    with pytest.raises(ValueError, match="beta must be a number, got nan"):
        ss.optimizer(partial(bound, beta=torch.tensor(float("nan"))), G, 0.1)


def test_zero_noise_in_a_tensor_is_no_noise():
    """It was a noisy oracle before, and SAM's SDE divides by its sigma."""
    assert mc23.sam_sde(ss.GaussianOracle(F, torch.tensor(0.0)), eta=0.1, rho=0.1).private_dim == 0


# ----------------------------------------------------------------- traced scalars
class Mode(TorchDispatchMode):
    """One that records nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_traced_scalars_pass_untouched():
    seen = []

    def make(eta):
        kernel = ss.optimizer(partial(ss.sam, rho=-eta), G, eta)  # not asked for its sign
        seen.append(kernel.eta is eta and ss.GaussianOracle(F, eta).sigma is eta)
        return eta

    torch.func.vmap(make)(torch.ones(2))
    torch.func.grad(make)(torch.ones(()))
    with Mode():
        make(torch.ones(()))
    make(torch.ones((), device="meta"))
    assert seen == [True] * 4
    assert not is_traced(torch.ones(())) and not is_traced(0.1) and as_plain(torch.tensor(0.5)) == 0.5


def test_named_scalars_reach_the_list():
    """Under the engine's watcher eta is an ordinary tensor; were its number taken, the list would not depend on it."""
    program = named_step(lambda eta: ss.optimizer(ss.sgd, G, eta), {"eta": 0.1}, torch.ones(2, dtype=T))
    assert "0.1" not in str(program)


# ----------------------------------------------------------------- counts
WHOLE = {"numpy": np.int64, "unsigned": np.uint64, "tensor": torch.tensor, "array": np.array}
COUNTED = {
    "N": lambda v: ss.Choice(v, 1).N,
    "B": lambda v: ss.Choice(9, v).B,
    "batch_size": lambda v: ss.MinibatchOracle(SUM, v).batch_size,
    "noise_dim": lambda v: ss.SDE(lambda x: (x, None), noise_dim=v).noise_dim,
    "shape": lambda v: ss.Normal(v).shape[0],
    "private": lambda v: ss.Normal(3, private=v).private,
    "dim": lambda v: ss.DoubleWell(v).dim,
    "dim, oracle": lambda v: ss.GaussianOracle(lambda x: x.sum(-1), 0.1, dim=v).dim,
    "dim, sum": lambda v: ss.FiniteSum(SUM.loss, np.eye(3), dim=v).dim,
    "bottleneck": lambda v: ss.LinearAutoencoder((1.0, 1.0, 1.0, 1.0), v).bottleneck,
    "r": lambda v: ss.subcycle(ss.optimizer(ss.sgd, G, 0.1), v).r,
    "seed": require_seed,
}


@pytest.mark.parametrize("wrap", WHOLE.values(), ids=WHOLE)
def test_counts_are_integers_of_python(wrap):
    for name, make in COUNTED.items():
        found = make(wrap(3))
        assert type(found) is int and found == 3, name
    assert "np." not in repr(ss.MinibatchOracle(SUM, wrap(1)).noise)


@pytest.mark.parametrize("value", [3.0, torch.tensor(3.0), np.float64(3), True, torch.tensor(True), np.array([3]), "3"])
def test_what_is_no_count_is_refused_by_name(value):
    for name, make in COUNTED.items():
        with pytest.raises(TypeError, match=rf"^{name.split(',')[0]} must be an integer >= "):
            make(value)


def test_runs_take_the_counts_of_numpy_and_torch():
    kernel = ss.optimizer(ss.sgd, LINE, 0.1)
    runs = [
        ss.simulate(kernel, [1.0], steps=kind(4), save_every=kind(2), observables=FIRST, n=kind(50), seed=kind(3))
        for kind in (int, np.int64, torch.tensor)
    ]
    assert all(np.array_equal(run.mean, runs[0].mean) for run in runs)
    top = [ss.trajectories(kernel, [1.0], steps=2, n=2, seed=seed) for seed in (2**64 - 1, np.uint64(2**64 - 1))]
    assert torch.equal(*top)
    exits = [
        ss.first_exit(kernel, [1.0], lambda x: x[..., 0] > 0.5, max_steps=kind(9), n=kind(20), seed=kind(1)).counts
        for kind in (int, torch.tensor)
    ]
    assert np.array_equal(*exits)
    assert torch.equal(teacher_student(2, seed=torch.tensor(1)).data[0], teacher_student(2, seed=1).data[0])
    for seed in (-1, 2**64, 1.0, None, torch.tensor(1.0)):
        with pytest.raises((TypeError, ValueError), match="^seed must be"):
            ss.simulate(kernel, [1.0], steps=1, observables=FIRST, n=1, seed=seed)


def test_a_batch_size_of_numpy_compiles():
    """The small input of the report: 'numpy.int64' object has no attribute 'to_bytes'."""
    kernel = ss.optimizer(ss.sgd, ss.MinibatchOracle(SUM, np.int64(1)), 0.1)
    fused, eager = (
        ss.simulate(kernel, [1.0, 1.0, 1.0], steps=2, observables=FIRST, n=64, engine=engine).mean
        for engine in ("fused", "eager")
    )
    assert np.allclose(fused, eager, rtol=1e-12, atol=0)


def test_no_check_is_asked_in_vain():
    """A check returns what is to be stored; a call whose result is dropped lets the caller's own number in."""
    names = {"require_positive", "require_nonnegative", "require_finite", "require_count", "require_seed"}

    def dropped(code: str) -> list[int]:
        statements = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Expr)]
        return [c.lineno for c in statements if isinstance(c, ast.Call) and getattr(c.func, "id", "") in names]

    assert dropped('require_count("n", n)') == [1] and not dropped('n = require_count("n", n)')
    package = Path(ss.__file__).parent
    texts = {p.relative_to(package): p.read_text(encoding="utf-8") for p in package.rglob("*.py")}
    found = {name: dropped(text) for name, text in texts.items() if "require_" in text}
    assert not {name: lines for name, lines in found.items() if lines}


# ----------------------------------------------------------------- arrays
def _read_only(array):
    array.flags.writeable = False
    return array


ROW = np.array([1.0, 2.0, 3.0], dtype=np.float32)
LAYOUTS = {
    "reversed": ROW[::-1].copy()[::-1], "strided": np.repeat(ROW, 2)[::2], "big-endian": ROW.astype(">f4"),
    "read-only": _read_only(ROW.copy()), "unmasked": np.ma.array(ROW),
}  # fmt: skip


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_arrays_come_in_any_layout(array):
    """Warnings are errors here: torch warns of read-only memory."""
    found = as_floats("x0", array)
    assert found.dtype == torch.float32 and found.tolist() == [1.0, 2.0, 3.0]
    found += 1  # it is ours
    assert array[0] == 1
    data = ss.FiniteSum(lambda x, datum: (x * datum).sum(), array).data
    assert data.tolist() == [1.0, 2.0, 3.0]
    kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(ss.LogCosh(3), 0.1), 0.1)
    assert ss.trajectories(kernel, array, steps=1)[0, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.array([1.0, 2.0], mask=[False, True]), "x0 must not have masked entries, got 1"),
        (torch.ones(2, dtype=torch.float16), r"got torch.float16: pass x.float\(\) or x.double\(\)"),
        (torch.ones(2, dtype=torch.int64), "got torch.int64: write 1.0 instead of 1"),
        (torch.ones(2, dtype=torch.complex64), "got torch.complex64: take the real part"),
        ([1, 2], "got int64: write 1.0 instead of 1"),
        ([1j], "got complex128: take the real part"),
        (["a"], "it is no array of numbers"),
        ([[1.0], [1.0, 2.0]], "rows of one length"),
    ],
)
def test_arrays_that_are_no_start_are_refused(value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ss.simulate(ss.optimizer(ss.sgd, G, 0.1), value, steps=1, observables=FIRST, n=1)


def test_masked_and_wordy_data_are_refused_and_wide_ones_fit():
    masked = np.ma.array(np.eye(2), mask=np.eye(2))
    with pytest.raises(ValueError, match="data must not have masked entries, got 2"):
        ss.FiniteSum(SUM.loss, masked)
    with pytest.raises(TypeError, match="data must hold numbers"):
        ss.FiniteSum(SUM.loss, np.array(["a"]))
    assert ss.FiniteSum(SUM.loss, np.ones(2, np.longdouble)).data.dtype == T
    assert ss.FiniteSum(SUM.loss, np.ones(2, np.uint16)).data.dtype == torch.int64
    assert as_array("x", np.ones(2, np.float16)).dtype == np.float16


def test_a_matrix_with_a_history_is_its_numbers():
    assert not ss.Quadratic(torch.eye(2, dtype=T, requires_grad=True)).half.requires_grad


def test_refusals_show_the_number():
    with pytest.raises(ValueError, match=r"eta must be finite and > 0, got nan: why\.$"):
        require_positive("eta", torch.tensor(float("nan"), requires_grad=True), "why")
    with pytest.raises(TypeError, match=r"n must be an integer >= 1, got 3\.0: why\.$"):
        require_count("n", torch.tensor(3.0), least=1, why="why")
