"""Rules, literals, constants and caches of the fused engine, each where it once differed from torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.dynamics.kernels import Subcycled
from sdesam.engine.llvm import compilation, cpu, native
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.scalars import Scalars
from sdesam.engine.tracing.trace import NotTraceable, trace
from sdesam.problems.noise import Choice, Normal

T = torch.float64
X = torch.tensor([1.0, 1.0], dtype=T)
INF, NAN = float("inf"), float("nan")
FIRST = {"x": ss.coordinate(0)}


@dataclass(frozen=True, eq=False)
class Made:
    """A kernel of functions."""

    function: Callable
    noise: object = field(default_factory=lambda: Normal(1))
    start: Callable = lambda x: x
    where: Callable = lambda state: state
    substeps: int = 1
    dt: float = 0.1
    name: str = "made"

    def init(self, x0):
        return self.start(x0)

    def position(self, state):
        return self.where(state)

    def step(self, state, z):
        return self.function(state, z)


def walk(x, z):
    return 0.9 * x + 0.5 * z


def agree(kernel, x0=X, observables=FIRST, steps=20, n=1024):
    """Counts and means of both engines, on the same noise."""
    run = {e: ss.simulate(kernel, x0, steps=steps, observables=observables, n=n, engine=e) for e in ("fused", "eager")}
    assert run["fused"].engine == "fused"
    np.testing.assert_array_equal(run["fused"].count, run["eager"].count)
    tolerance = 1e-11 if x0.dtype == T else 1e-5
    np.testing.assert_allclose(run["fused"].mean, run["eager"].mean, rtol=tolerance, atol=tolerance)


def values(phi, x):
    """An observable of points (n, d), by compiled code."""
    return table({"o": phi}, x)[0]


def table(phis, x):
    """Several, a row each."""
    x = torch.as_tensor(x)
    kernel = Made(lambda x, z: x, Normal(0))
    found = compilation.Fused.of(listing_of(kernel, torch.full(x.shape[1:], 0.7, dtype=x.dtype), phis, {}), x.dtype)

    def start(first, rows, streams):
        return x[torch.arange(first, first + rows).clamp(max=len(x) - 1)]

    return cpu.fused_values(found, start, range(len(x)), saved=np.array([0]), seed=0)[0, 1:]


# ----------------------------------------------------------------- truth values
TRUTHS = {
    "amax": lambda x: (x > 0).amax(-1),
    "amin": lambda x: (x > 0).amin(-1),
    "maximum": lambda x: torch.maximum(x[..., 0] > 0, x[..., 1] > 1),
    "minimum": lambda x: torch.minimum(x[..., 0] > 0, x[..., 1] > 1),
    "mixed": lambda x: torch.maximum(x[..., 0] > 0, x[..., 1]),
    "product": lambda x: (x > 0).prod(-1).to(x.dtype),
    "less": lambda x: (x[..., 0] > 0) < (x[..., 1] > 0),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_largest_and_smallest_truth_values(name):
    agree(Made(walk, Normal(2)), observables={"o": TRUTHS[name]})


def test_truth_values_are_no_numbers():
    s = Scalars("bf")
    for op in ("add", "gt", "neg", "exp"):
        with pytest.raises(TypeError, match=f"{op} of a truth value"):
            s.apply(op, 0, *([1] if op in ("add", "gt") else []))
    for op in ("and", "not", "where"):
        with pytest.raises(TypeError, match=f"{op} of a number"):
            s.apply(op, 1, *([0] if op == "and" else [1, 1] if op == "where" else []))


# ----------------------------------------------------------------- states and literals
def flagged(high, low):
    """A kernel that keeps whether it was above 1/2, as truth values or as numbers."""
    kind = torch.bool if isinstance(high, bool) else T
    both = torch.tensor(high, dtype=kind), torch.tensor(low, dtype=kind)
    return Made(
        lambda s, z: (0.9 * s[0] + 0.5 * z * (1 + s[1]), torch.where(s[0] > 0.5, *both)),
        start=lambda x: (x, torch.zeros_like(x)), where=lambda s: s[0],
    )  # fmt: skip


def test_a_step_may_return_truth_values():
    agree(flagged(True, False))
    alive = Made(
        lambda s, z: (torch.where(s[1] > 0, s[0], 0.97 * s[0] + 0.3 * z), (s[1] > 0) | (s[0][..., :1] < 0.5)),
        start=lambda x: (x, torch.zeros_like(x[..., :1])), where=lambda s: s[0],
    )  # fmt: skip
    agree(alive, steps=40)


def test_true_is_not_one_to_the_memo(monkeypatch):
    monkeypatch.setattr(compilation, "_KEPT", type(compilation._KEPT)())
    for high, low in ((1.0, 0.0), (True, False)):
        agree(flagged(high, low))
        agree(Made(walk), observables={"o": lambda x, high=high, low=low: torch.where(x[..., 0] > 0.5, high, low)})
    one, true = (listing_of(Made(walk), X, {"o": lambda x, v=v: x[..., 0] * 0 + v}, {}) for v in (1.0, NAN))
    assert one.structure != true.structure


def test_the_memo_finds_nan_and_is_bounded(monkeypatch):
    monkeypatch.setattr(compilation, "_KEPT", type(compilation._KEPT)())
    watched = {"o": lambda x: torch.where(x[..., 0] > -99, x[..., 0], NAN)}
    for _ in range(3):
        compilation.Fused.of(listing_of(Made(walk), X, watched, {}), T)
    assert len(compilation._KEPT) == 1
    monkeypatch.setattr(compilation, "_MOST_KEPT", 2)
    for d in range(1, 5):
        compilation.Fused.of(listing_of(Made(walk), torch.ones(d, dtype=T), FIRST, {}), T)
    assert len(compilation._KEPT) == 2


# ----------------------------------------------------------------- subclasses
class Halved(Subcycled):
    def step(self, state, z):
        return 0.5 * self.kernel.step(state, z)


class Lopsided(Normal):
    def draw(self, bits, dtype=T):
        return super().draw(bits, dtype) ** 2


def test_subclasses_are_not_their_base():
    agree(Halved(Made(walk), 2))
    with pytest.raises(NotTraceable, match="does not draw .*Lopsided.* a subclass"):
        listing_of(Made(walk, Lopsided(1)), X, FIRST, {})


# ----------------------------------------------------------------- division by a constant
def test_a_quotient_by_a_constant_is_the_rounded_one():
    """Thresholds depend on it: 49·(1/49) < 1."""
    whole = np.arange(-300.0, 300)
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(0)
        high = 200 if dtype is np.float64 else 20
        x = np.concatenate([whole, rng.standard_normal(3000) * 2.0 ** rng.integers(-high, high, 3000)])
        x = np.concatenate([x, [0.0, -0.0, INF, -INF, NAN, np.finfo(dtype).max]]).astype(dtype)
        for b in (49.0, 3.0, -7.0, 0.1, 2.0, 0.5, 1.1e-5, 1e20, 2 + 1e-10, 1e-35, 1e38):
            with np.errstate(over="ignore"):
                expected = x / dtype(b)
            np.testing.assert_array_equal(values(lambda x, b=b: x[..., 0] / b, x[:, None]), expected.astype(float))


def test_a_schedule_by_epochs_changes_at_its_step():
    def step(s, z):
        return s[0] - torch.where(s[1] / 49 < 1, 0.1, 0.01) * (s[0] + z), s[1] + 1

    kernel = Made(step, start=lambda x: (x, torch.zeros_like(x[..., :1])), where=lambda s: s[0])
    agree(kernel, steps=60)


def test_a_power_of_two_is_a_product():
    program = trace(lambda x: [x / 8, x / -0.25], [torch.ones(1, dtype=T)], "f")
    assert {op for op, _ in program.nodes} == {"input", "constant", "mul"}


# ----------------------------------------------------------------- products that cancel
CANCEL = {
    "difference": lambda x: torch.sqrt(x[..., 0] * x[..., 0] - x[..., 1] * x[..., 1]),
    "negated": lambda x: torch.sqrt(3 * (x[..., 0] * x[..., 0] + (-x[..., 1]) * x[..., 1])),
    "variance": lambda x: torch.sqrt((x * x).mean(-1) - x.mean(-1) * x.mean(-1)),
    "comparison": lambda x: (x[..., 0] * x[..., 0] - x[..., 1] * x[..., 1] < 0).to(x.dtype),
    "logarithm": lambda x: torch.log(1e-300 + x[..., 0] * x[..., 0] - x[..., 1] * x[..., 1]),
}


@pytest.mark.parametrize("name", CANCEL)
def test_equal_products_cancel(name):
    x = torch.rand(500, 1, dtype=T, generator=torch.Generator().manual_seed(0)).expand(-1, 2).contiguous()
    np.testing.assert_allclose(values(CANCEL[name], x), CANCEL[name](x).double().numpy(), rtol=1e-12)


# ----------------------------------------------------------------- powers, clamps, hyperbolic functions
POWERS = (65, -65, 200, 999, 1001, 2001, -2000, 64.5, 1.5, -1.5, 2.5, 0.3, -0.3, 1e4)


@pytest.mark.parametrize("p", POWERS)
def test_powers_of_any_sign(p):
    x = torch.tensor([[-1.01], [1.01], [-0.99], [0.7], [-1.3], [-2.0], [0.0], [-1.0], [INF], [-INF], [NAN]], dtype=T)
    np.testing.assert_allclose(values(lambda x: x[..., 0] ** p, x), (x[:, 0] ** p).numpy(), rtol=1e-11)


def test_a_computed_exponent_needs_a_positive_constant_base():
    x = torch.tensor([[-1.5], [0.0], [2.0]], dtype=T)
    np.testing.assert_allclose(values(lambda x: 3.0 ** x[..., 0], x), (3.0 ** x[:, 0]).numpy(), rtol=1e-14)
    for phi in (lambda x: x[..., 0] ** x[..., 0], lambda x: (-2.0) ** x[..., 0]):
        with pytest.raises(NotTraceable, match="exponent"):
            listing_of(Made(walk), X, {"o": phi}, {})


CLAMPS = {
    "above": lambda x: torch.clamp(x[..., 0], max=torch.sqrt(1 - x[..., 1] ** 2)),
    "below": lambda x: torch.clamp(x[..., 0], min=torch.sqrt(1 - x[..., 1] ** 2)),
    "between": lambda x: torch.clamp(x[..., 0], torch.sqrt(x[..., 1]), torch.sqrt(x[..., 1]) + 1),
    "constant": lambda x: x[..., 0].clamp(-0.2, 0.4),
    "quotient": lambda x: torch.zeros_like(x[..., 0]) / x[..., 0],
}


@pytest.mark.parametrize("name", CLAMPS)
def test_nan_is_seen(name):
    x = torch.tensor([[0.1, 0.5], [0.9, 0.9], [0.1, 2.0], [-0.5, -1.0], [NAN, 0.1], [0.0, 0.2], [2.0, NAN]], dtype=T)
    np.testing.assert_allclose(values(CLAMPS[name], x), CLAMPS[name](x).numpy(), rtol=1e-15)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("name", ["sinh", "cosh"])
def test_hyperbolic_functions_to_the_end_of_the_range(name):
    """Numpy's: torch's own overflow before the end."""
    f, exact = getattr(torch, name), getattr(np, name)
    x = [0.0, 1e-300, 1e-9, 0.3, -0.3, 5.0, -40.0, 700.0, 709.9, 710.4, -710.4, 711.0, -711.0, 1e9, INF, -INF, NAN]
    x = torch.tensor(x, dtype=T)[:, None]
    np.testing.assert_allclose(values(lambda x: f(x[..., 0]), x), exact(x[:, 0].numpy()), rtol=1e-13)
    y = torch.tensor([[88.0], [89.2], [-89.2], [89.5], [-90.0], [0.2]])
    np.testing.assert_allclose(values(lambda x: f(x[..., 0]), y), exact(y[:, 0].numpy()).astype(float), rtol=3e-5)


# ----------------------------------------------------------------- extremes, norms, variances, running sums
ORDERS = (0, 0.5, 1, 2, 2.5, 3, -1, INF, -INF)
JOINED = {
    "max": lambda x: x.max(-1).values,
    "min": lambda x: x.min(dim=-1, keepdim=True)[0][..., 0],
    "whole": lambda x: torch.func.vmap(torch.max)(x) - torch.func.vmap(torch.min)(x),
    "place": lambda x: x.argmax(-1),
    "lowest place": lambda x: x.min(-1).indices + 0.5 * x.argmin(-1),
    "var": lambda x: x.var(-1),
    "std": lambda x: x.std(-1, correction=0, keepdim=True)[..., 0],
    "none left": lambda x: x.var(-1, correction=5),
    "mean and var": lambda x: torch.var_mean(x, -1)[0] * torch.std_mean(x, -1)[1],
    "cumsum": lambda x: (x.cumsum(-1) * torch.tensor([1.0, 10.0, 100.0, 1000.0]).to(x)).sum(-1),
    "cumprod": lambda x: (x.cumprod(-1) * torch.tensor([1.0, 10.0, 100.0, 1000.0]).to(x)).sum(-1),
    "prod": lambda x: x.prod(-1),
    **{f"norm {p}": lambda x, p=p: torch.linalg.vector_norm(x, p, -1) for p in ORDERS},
}
SMOOTH = {
    "norm 3": lambda y: y.norm(3, -1),
    "norm 1": lambda y: y.norm(1, -1),
    "largest": lambda y: y.norm(INF, -1) + y.amax(-1),
    "var": lambda y: y.var(-1) * y.std(-1, correction=0),
    "prod": lambda y: y.prod(-1),
    "cumsum": lambda y: (y.cumsum(-1) ** 2).sum(-1) + y.cumprod(-1).sum(-1),
}


def slope(f):
    """Along (1, 2, 3, 4), so that every entry counts."""
    return lambda x: (torch.func.grad(lambda y: f(y).sum())(x) * torch.arange(1.0, 5).to(x)).sum(-1)


def joined_points():
    x = torch.randn(200, 4, dtype=T, generator=torch.Generator().manual_seed(0))
    x[150:, 1] = x[150:, 3]  # ties
    x[180:, 2] = 0.0
    return x


@pytest.mark.filterwarnings("ignore:var")
def test_extremes_norms_variances_and_running_sums():
    x = joined_points()
    for i, special in enumerate((NAN, INF, -INF, 0.0)):
        x[5 * i : 5 * i + 4] += torch.where(torch.eye(4, dtype=torch.bool), special, 0.0).to(T)
    x[20:24] = torch.tensor([NAN, 1.0, NAN, 2.0], dtype=T)
    x[24] = 0.0
    for (name, phi), found in zip(JOINED.items(), table(JOINED, x), strict=True):
        np.testing.assert_allclose(found, phi(x).double().numpy(), rtol=1e-12, atol=1e-13, err_msg=name)


def test_their_gradients():
    x, phis = joined_points(), {name: slope(f) for name, f in SMOOTH.items()}
    for (name, phi), found in zip(phis.items(), table(phis, x), strict=True):
        np.testing.assert_allclose(found, phi(x).numpy(), rtol=1e-11, atol=1e-12, err_msg=name)


def test_a_computed_place_is_a_number_and_no_index():
    with pytest.raises(NotTraceable, match="place that is computed"):
        listing_of(Made(walk), X, {"o": lambda x: torch.arange(2.0, dtype=T)[x.argmax(-1)]}, {})


# ----------------------------------------------------------------- tables and files
def test_a_table_shorter_than_the_indices_is_refused():
    table = torch.arange(100, dtype=T) ** 2
    kernel = Made(lambda x, z: 0.5 * x + table[z] * 1e-3, Choice(103, 1, replace=True))
    with pytest.raises(NotTraceable, match="103 indices .* table of 100 entries"):
        compilation.Fused.of(listing_of(kernel, X[:1], FIRST, {}), T)


def nobody():
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_there_is_a_cache_elsewhere_or_none(monkeypatch):
    for name in ("SDESAM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(native.Path, "home", nobody)
    monkeypatch.setattr(compilation, "_KEPT", type(compilation._KEPT)())
    assert native.cache_folder() is None
    agree(Made(walk), steps=2, n=10)


def test_no_unfinished_file_stays(tmp_path, monkeypatch):
    def refuse(*names):
        raise OSError("the disk is gone")

    old = tmp_path / "killed.tmp"
    old.write_bytes(b"")
    native.os.utime(old, (0, 0))
    native._write(tmp_path / "a.o", 1, b"code")
    assert [p.name for p in tmp_path.iterdir()] == ["a.o"]
    monkeypatch.setattr(native.os, "replace", refuse)
    native._write(tmp_path / "b.o", 1, b"code")
    assert [p.name for p in tmp_path.iterdir()] == ["a.o"]


def test_the_two_parts_of_a_reciprocal():
    for b in (49.0, -3.0, 2.0, 0.1):
        for dtype in (np.float64, np.float32):
            high, low = compilation.reciprocal(b, np.dtype(dtype))
            error = abs((Fraction(float(high)) + Fraction(float(low))) * Fraction(float(dtype(b))) - 1)
            assert error < Fraction(2) ** (-100 if dtype is np.float64 else -45)
            assert high * low > 0
