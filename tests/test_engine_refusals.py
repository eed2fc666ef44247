"""What user code may do to a trace: each construction runs as eager does, or is refused with its name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.models import model_of
from sdesam.engine.trace import NotTraceable
from sdesam.noise import Normal

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
        model_of(Mine(move, noise), x0, observables, {})


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


def under_grad(x):
    def f(y):
        g = torch.zeros_like(y)
        g[..., 1] = y[..., 1].tanh() + g[..., 0]
        return g.sum()

    return torch.func.grad(f)(x)


WRITES = [
    columns_of_empty, one_column_of_zeros, select_add, diagonal_copy, view_taken_before, truth_by_column,
    numbers_from_truth, through_data, under_grad,
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
