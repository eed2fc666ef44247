"""What user code may do to a trace: each construction runs as eager does, or is refused with its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.tracing.listed import listing_of
from sdesam.engine.tracing.trace import NotTraceable
from sdesam.problems.noise import Choice, Normal, Product
from sdesam.theory import monzio_compagnoni2023 as mc23

T = torch.float64
ONE = Normal(1)
X = torch.tensor([3.0, 4.0], dtype=T)
FIRST = {"a": lambda x: x[..., 0], "b": lambda x: x[..., 1]}


@dataclass(frozen=True, eq=False)
class Mine:
    """A kernel whose step is a function."""

    move: Callable
    noise: Any = ONE
    substeps: int = 1
    dt: float = 0.1
    name: str = "mine"

    def init(self, x0):
        return x0

    def position(self, state):
        return state

    def step(self, state, z):
        return self.move(state, z)


def both(kernel, x0=X, observables=FIRST, **words):
    words = {"steps": 40, "n": 1024} | words
    return [ss.simulate(kernel, x0, observables=observables, engine=e, **words) for e in ("fused", "eager")]


def refused(move, match, x0=X, observables=FIRST, noise=ONE):
    with pytest.raises(NotTraceable, match=match):
        listing_of(Mine(move, noise), x0, observables, {})


# ----------------------------------------------------------------- writes into views
def columns_of_empty(x):
    g = torch.empty_like(x)
    for i in range(x.shape[-1]):
        g[..., i] = x[..., i].clamp(-1, 1)
    return g


def one_column_of_zeros(x):
    g = torch.zeros_like(x)
    g[..., 0] = x[..., 0].clamp(-1, 1)
    return g


def select_add(x):
    g = x.new_zeros(x.shape)
    g.select(-1, 0).add_(x[..., 0].sign())
    return g


def diagonal_copy(x):
    h = torch.zeros(*x.shape, 2, dtype=x.dtype)
    h.diagonal(dim1=-2, dim2=-1).copy_(torch.where(x.abs() < 1, 1.0, 0.5).to(x))
    return (h @ x[..., None])[..., 0]


def view_taken_before(x):
    g = torch.ones_like(x)
    v = g[..., 0]
    g.copy_(x.sign())
    return g + v[..., None]


def truth_by_column(x):
    ok = torch.zeros(x.shape, dtype=torch.bool)
    ok[..., 0] = x[..., 0] > 0
    return ok.to(x)


def numbers_from_truth(x):
    g = torch.ones_like(x)
    g[..., 0] = x[..., 0] > 0
    return g.prod(-1, keepdim=True)


def through_data(x):
    return x.data.clamp(-1, 1)


def turned_in_place(x):
    return torch.stack((x.sin(), x), 1).transpose_(1, 2)[..., 0]


def under_grad(x):
    def f(y):
        g = torch.zeros_like(y)
        g[..., 1] = y[..., 1].tanh() + g[..., 0]
        return g.sum()

    return torch.func.grad(f)(x)


WRITES = [
    columns_of_empty, one_column_of_zeros, select_add, diagonal_copy, view_taken_before, truth_by_column,
    numbers_from_truth, through_data, turned_in_place, under_grad,
]  # fmt: skip


@pytest.mark.parametrize("g", WRITES)
def test_a_write_into_a_view_is_seen_by_the_whole_tensor(g):
    fused, eager = both(Mine(lambda x, z: x - 0.1 * g(x) + 0.1 * z))
    assert fused.engine == "fused"
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------- numbers taken out of tensors
TAKEN = {
    "tolist": lambda x: torch.tensor([[min(v, 1.0) for v in row] for row in x.tolist()], dtype=T),
    "numpy": lambda x: torch.from_numpy(np.clip(x.numpy(), -1, 1)),
    "__array__": lambda x: torch.from_numpy(np.asarray(x).copy()),
    "numpy|__array__": lambda x: torch.from_numpy(np.clip(x, -1, 1)),
    "tensor": lambda x: x * torch.tensor([x[0, 0], 1.0], dtype=T),
    "as_tensor": lambda x: x * torch.as_tensor([x[0, 0], 1.0], dtype=T),
    "from_dlpack|dlpack": lambda x: torch.from_dlpack(x).clamp(-1, 1),
    "untyped_storage": lambda x: torch.tensor(list(x.untyped_storage())[:2], dtype=T),
    "numpy ": lambda x: torch.func.vmap(lambda y: y.clone())(x.detach()) * float(np.sum(x.numpy())),
}


@pytest.mark.parametrize("name", TAKEN)
def test_numbers_taken_out_of_a_tensor_are_refused_by_name(name):
    refused(lambda x, z: x - 1e-12 * TAKEN[name](x) + 0.1 * z, f"{name.strip()}.* takes numbers out|{name.strip()}")


def test_numbers_of_constants_may_be_taken():
    scale = torch.tensor([0.9, 0.8], dtype=T)
    fused, eager = both(Mine(lambda x, z: torch.stack([s * x[:, i] for i, s in enumerate(scale.tolist())], -1) + z))
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------- constants that are no floats, places, precision
def with_integer_zeros(x):
    return torch.cat([0.9 * x[..., :1], torch.zeros(len(x), 1, dtype=torch.long)], -1)


def with_true(x):
    return torch.stack([x[..., 0] < 0.5, torch.ones(len(x), dtype=torch.bool)], -1).all(-1, keepdim=True).to(x)


def scattered(x):
    return x.scatter(-1, torch.zeros(len(x), 1, dtype=torch.long), 3.0)


def put(x):
    return x.index_put((torch.arange(len(x)), torch.zeros(len(x), dtype=torch.long)), x[:, 1])


@pytest.mark.parametrize("g", [with_integer_zeros, with_true, scattered, put])
def test_constants_beside_symbols_are_numbers(g):
    fused, eager = both(Mine(lambda x, z: x - 0.1 * g(x) + 0.1 * z))
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-12, atol=1e-14)


def put_sums(x):
    i = torch.zeros(2 * len(x), dtype=torch.long)
    return x.index_put((i, i), x.reshape(-1), accumulate=True)


ADDING = {
    "index_put": put_sums,
    "scatter": lambda x: x.scatter(-1, torch.zeros(len(x), 2, dtype=torch.long), x, reduce="add"),
}


@pytest.mark.parametrize("name", ADDING)
def test_node_numbers_are_not_added_up(name):
    refused(lambda x, z: x - 0.1 * ADDING[name](x) + z, name)


@pytest.mark.parametrize("cut", [lambda x: x.half().to(x), lambda x: x.float().to(x)])
def test_numbers_narrowed_below_the_precision_are_refused(cut):
    refused(lambda x, z: x - 0.1 * cut(x) + z, "narrowed below the precision of the run")


def test_a_truth_value_may_become_any_float():
    fused, eager = both(Mine(lambda x, z: x - 0.5 * (x > 0).float() + 0.1 * z))
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------- the check at other points
class Counter:
    """A step that halves every second call."""

    calls = 0

    def __call__(self, x, z):
        self.calls += 1
        return x * (0.5 if self.calls % 2 else 0.9) + z


def test_a_step_that_counts_is_refused():
    refused(Counter(), "changes from call to call|number was probably")
    one = iter(range(1, 1000))
    refused(lambda x, z: x * 0.9 + (z if next(one) < 4 else 0 * z), "changes from call to call")


def flat_near(x):
    """Baked at the point of the trace: with a clip at 1 it is flat around (3, 4)."""
    if len(x) == 1:
        return torch.ones_like(x)
    return x.clamp(-1, 1)


def test_what_is_flat_near_the_start_is_compared_far_away():
    refused(lambda x, z: x - 0.1 * flat_near(x) + 0.1 * z, "the trace of step of mine gives", X.new_tensor([9.0, 8.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eta", [1e-3, 1e-4])
def test_a_baked_gradient_is_seen_however_small_the_step(dtype, eta):
    def step(x, z):
        fixed = torch.tensor([[3.0, 4.1]], dtype=x.dtype)
        return x - eta * (fixed if len(x) == 1 else x) + 10 * eta * z

    refused(step, "the trace of step of mine gives", X.to(dtype))


def test_digits_that_the_function_itself_loses_are_not_held_against_its_trace():
    """Where tanh is 1, 1 - tanh^2 is rounding only; a direction made of it has no digit in float32."""
    tanh = ss.GaussianOracle(ss.TanhNetwork(), 0.3)
    kernel = ss.euler_maruyama(mc23.dnsam_sde(tanh, eta=0.05, rho=0.1), 0.05)
    start = torch.ones(2)
    fused, eager = both(kernel, start, {"x": ss.coordinate(0)})
    assert fused.engine == "fused"
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-4)

    def baked(x, z):
        return kernel.step(x, z) * (1 + 1e-5 * (len(x) == 1))

    refused(baked, "the trace of step of mine gives", start, noise=kernel.noise)


def test_a_boolean_observable_does_not_set_the_precision():
    watched = {"f": lambda x: torch.exp(x.sum(-1)), "in": lambda x: x[..., 0] > 0}
    kernel = Mine(lambda x, z: 0.5 * x + z)
    fused, _ = both(kernel, torch.tensor([1.3, 1.2]), watched)
    assert fused.engine == "fused"


# ----------------------------------------------------------------- what eager refuses, or runs
WATCHED = {
    "sum": (lambda x: x.sum(), r"'o' must map \(1, 2\) to \(1,\), got shape \(\)"),
    "float": (lambda x: 1.0, "'o' must map .* got 1.0"),
    "column": (lambda x: x[..., :1], r"got shape \(1, 1\)"),
    "mean": (lambda x: x.mean(0), r"got shape \(2,\)"),
}


@pytest.mark.parametrize("name", WATCHED)
def test_observables_are_one_number_a_replicate(name):
    phi, match = WATCHED[name]
    refused(lambda x, z: 0.5 * x + z, match, observables={"o": phi})


EDGES, WEIGHTS = torch.linspace(0, 1, 5, dtype=T), torch.ones(3, dtype=T)
CLOSED_OVER = {
    "lookup": (lambda x: EDGES[5] * x[..., 0], "IndexError: index 5 is out of bounds"),
    "edges": (lambda x: (x[..., :1] > EDGES).sum(-1) * EDGES[torch.arange(6)][-1], "IndexError: index 5 is out of"),
    "weights": (lambda x: (x * WEIGHTS).sum(-1), "RuntimeError: The size of tensor a"),
    "rows": (
        lambda x: x[..., 0] * torch.ones(1024, dtype=T),
        r"'rows' must map \(1, 2\) to \(1,\), got shape \(1024,\)",
    ),
}


@pytest.mark.parametrize("name", CLOSED_OVER)
def test_arrays_that_an_observable_closes_over_have_its_length(name):
    phi, match = CLOSED_OVER[name]
    named = match if name == "rows" else f"{match}.* in observable '{name}'"
    refused(lambda x, z: 0.5 * x + z, named, observables={"a": FIRST["a"], name: phi, "b": FIRST["b"]})
    if name != "rows":
        with pytest.raises((IndexError, RuntimeError)) as raised:
            ss.simulate(Mine(lambda x, z: 0.5 * x + z), X, steps=2, n=8, observables={name: phi}, engine="eager")
        assert raised.value.__notes__ == [f"in observable '{name}'"]


def test_a_step_keeps_the_form_of_its_state():
    refused(lambda x, z: (0.5 * x + z)[..., :1], "must keep the form of its state")
    refused(lambda x, z: (0.5 * x + z).float(), "narrowed|must keep the form")


def test_a_table_of_indices_is_refused():
    data, order = torch.tensor([1.0, 5.0, 9.0], dtype=T), torch.tensor([2, 0, 1])
    refused(lambda x, z: 0.5 * x + data[order[z]], "place that is computed", noise=Choice(3, 1))


def test_nested_products_run():
    data = torch.arange(7, dtype=T) ** 2

    def step(x, z):
        return 0.5 * x + z[0][..., :1] * z[1][0] + data[z[1][1]].sum(-1, keepdim=True)

    fused, eager = both(Mine(step, Product(Normal(1), Product(Normal(2), Choice(7, 3)))))
    np.testing.assert_allclose(fused.mean, eager.mean, rtol=1e-12, atol=1e-14)


def test_an_unforeseen_error_means_eager(monkeypatch):
    def broken(*args):
        raise IndexError("tuple index out of range")

    monkeypatch.setattr("sdesam.engine.choice.listing_of", broken)
    monkeypatch.setattr("sdesam.engine.choice.COMPILING", 0.0)
    kernel = Mine(lambda x, z: 0.5 * x + z)
    assert ss.simulate(kernel, X, steps=2, n=8, observables=FIRST).engine.startswith("eager")
    with pytest.raises(ValueError, match="IndexError: tuple index out of range"):
        ss.simulate(kernel, X, steps=2, n=8, observables=FIRST, engine="fused")
