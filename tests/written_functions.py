"""Functions as users write them, line by line: some are right, and each of the others breaks one rule in one line.

A body maps x ``(..., 2)`` to h ``(..., 2)`` by a few lines, each row by itself.  An offender has one more line: it
writes into x, lets a row depend on the others, or draws random numbers.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

import sdesam as ss

T = torch.float64
A = torch.tensor([[0.9, 0.2], [-0.3, 0.8]], dtype=T)
WEIGHTS = torch.tensor([1.0, 0.6], dtype=T)  # no line's sum is constant with them
GENERATOR, NUMPY = torch.Generator().manual_seed(1), np.random.default_rng(1)
Body = Callable[[Tensor], Tensor]


# ----------------------------------------------------------------- lines that act on each row by itself
# None is flat anywhere: a line after an offence must not undo it.


def _solved(h: Tensor) -> Tensor:
    matrix = torch.eye(2, dtype=h.dtype) + 0.1 * h[..., :, None] * h[..., None, :]
    return torch.linalg.solve(matrix, h[..., None])[..., 0]


def _columns(h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    out[..., 0], out[..., 1] = torch.sin(h[..., 1]), h[..., 0]
    return out


LINES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda h: torch.tanh(h),
    "where": lambda h: torch.where(h > 0.3, h, 0.5 * h + 0.15),
    "cat": lambda h: torch.cat((h[..., 1:], h[..., :1] ** 2), -1),
    "stack": lambda h: torch.stack((h.sum(-1), h[..., 0] * h[..., 1]), -1),
    "matmul": lambda h: h @ A,
    "batched matmul": lambda h: ((1 + h[..., None] * h[..., None, :]) @ h[..., None])[..., 0],
    "norm": lambda h: h / (1 + torch.linalg.vector_norm(h, dim=-1, keepdim=True)),
    "centred over the last axis": lambda h: h - 0.5 * h.mean(-1, keepdim=True),
    "solve": _solved,
    "columns": _columns,
    "in place on a temporary": lambda h: torch.nn.functional.leaky_relu_((h + 0.3).add_(0.1), 0.5),
    "log": lambda h: torch.log(1.5 + h * h),
    "softmax": lambda h: torch.softmax(h, -1) + 0.5 * h,
    "sorted": lambda h: h.sort(-1).values,
    "kink": lambda h: (h - 0.4).abs(),
}


# ----------------------------------------------------------------- lines that break a rule
def _assigned(x: Tensor) -> None:
    x[..., 0] = 0.3


WRITES: dict[str, Callable[[Tensor], object]] = {
    "add_": lambda x: x.add_(0.1),
    "mul_": lambda x: x.mul_(1.1),
    "clamp_": lambda x: x.clamp_(max=0.5),
    "abs_": lambda x: x.abs_(),  # of equal values too
    "assigned": _assigned,
    "through data": lambda x: x.data.sub_(0.1),
    "through detach": lambda x: x.detach().neg_(),
    "through a view": lambda x: x.reshape(-1)[:1].zero_(),
    "out": lambda x: torch.sin(x.detach(), out=x.detach()),
    "copy_": lambda x: x.detach().copy_(x.detach() * 2),
}


def _branch(h: Tensor) -> Tensor:
    return h if bool((h > -0.5).all()) else 2 * h


def _every_other(h: Tensor) -> Tensor:
    return h * (1 + torch.arange(h.numel() // 2).reshape(h.shape[:-1])[..., None] % 2)


MIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda h: h - h.reshape(-1, 2).mean(0),
    "max": lambda h: h / (1e-3 + h.abs().max()),
    "min": lambda h: h + h.min(),
    "sum": lambda h: h + 0.1 * h.sum(),
    "std": lambda h: h / (1 + h.reshape(-1, 2).std(0, correction=0)),
    "median": lambda h: h - h.reshape(-1).median(),
    "norm": lambda h: h / (1 + torch.linalg.vector_norm(h)),
    "first row": lambda h: h + h.reshape(-1, 2)[0],
    "last row": lambda h: h + h.reshape(-1, 2)[-1],
    "number of rows": lambda h: h / h.numel(),
    "neighbour": lambda h: h + h.reshape(-1, 2).roll(1, 0).reshape(h.shape),
    "running sum": lambda h: h.reshape(-1, 2).cumsum(0).reshape(h.shape),
    "sorted": lambda h: h.reshape(-1, 2).sort(0).values.reshape(h.shape),
    "softmax": lambda h: h.reshape(-1, 2).softmax(0).reshape(h.shape),
    "float": lambda h: h * float(h.detach().mean()),
    "branch": _branch,
    "place": _every_other,
    "batch norm": lambda h: (
        torch.nn.functional.batch_norm(h.reshape(-1, 2), None, None, training=True).reshape(h.shape)
        if h.numel() > 2
        else 0 * h
    ),
}

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch": lambda h: h * (1 + torch.rand((), dtype=h.dtype)),
    "torch, a row": lambda h: h + torch.randn(h.shape, dtype=h.dtype),
    "torch.Generator": lambda h: h + torch.rand(2, generator=GENERATOR, dtype=h.dtype),
    "randn_like": lambda h: h + 1e-3 * torch.randn_like(h),
    "bernoulli": lambda h: h * torch.bernoulli(torch.full_like(h, 0.999)),
    "dropout": lambda h: torch.nn.functional.dropout(h, 0.01),
    "normal_": lambda h: h + torch.empty_like(h).normal_(),
    "randperm": lambda h: h[..., torch.randperm(2)] + h[..., :1],
    "numpy": lambda h: h + np.random.random(),  # noqa: NPY002
    "numpy, rarely": lambda h: 2 * h if np.random.random() < 1e-6 else h,  # noqa: NPY002
    "numpy.Generator": lambda h: h + NUMPY.normal(),
    "random": lambda h: h * random.random(),
}


# ----------------------------------------------------------------- bodies
@dataclass(frozen=True)
class Written:
    """A body: the names of its lines, and where its offence is, if any."""

    lines: tuple[str, ...]
    offence: tuple[str, str] | None = None
    at: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        h = 1.0 * x
        for k in range(len(self.lines) + 1):
            if self.offence is not None and k == self.at:
                h = self._offend(x, h)
            if k < len(self.lines):
                h = LINES[self.lines[k]](h)
        return h

    def _offend(self, x: Tensor, h: Tensor) -> Tensor:
        kind, name = self.offence or ("", "")
        if kind == "writes":
            WRITES[name](x)
            return h
        return (MIXES if kind == "mixes" else DRAWS)[name](h)


OFFENCES = [(kind, name) for kind, lines in (("writes", WRITES), ("mixes", MIXES), ("draws", DRAWS)) for name in lines]
_lines = st.lists(st.sampled_from(sorted(LINES)), max_size=4).map(tuple)
innocents = st.builds(Written, _lines)
offenders = st.builds(Written, _lines, st.sampled_from(OFFENCES), st.integers(0, 4)).map(
    lambda w: Written(w.lines, w.offence, min(w.at, len(w.lines)))
)
ROLES = ("landscape", "update", "drift", "diffusion", "sigma", "oracle", "observable", "inside", "internal")
roles = st.sampled_from(ROLES)
starts = st.sampled_from([(0.7, -0.4), (0.2, 1.1), (0.0, 0.0)])


def quadratic(x: Tensor) -> Tensor:
    return (x * x).sum(-1) / 2


@dataclass(frozen=True)
class Mine:
    """A user's own oracle."""

    body: Body
    mean = staticmethod(quadratic)
    noise = ss.Normal(2)

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return x + 0.1 * z + 0.1 * self.body(x)


def run(body: Body, role: str, start: tuple[float, ...], n: int = 5):
    """A short run with the body in a role."""
    plain = ss.GaussianOracle(quadratic, 0.3, dim=2)
    words: dict = {"observables": {"x": ss.coordinate(0)}}
    kernel = ss.optimizer(ss.sgd, plain, 0.1)
    if role == "landscape":
        f = lambda x: (body(x) ** 2).sum(-1) / 2 + quadratic(x)  # noqa: E731
        kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(f, 0.3, dim=2), 0.1)
    elif role == "update":
        kernel = ss.optimizer(lambda g, x, z: g(x, z) + 0.1 * body(x), plain, 0.1)
    elif role == "drift":
        kernel = ss.small_noise_srk(ss.SDE(lambda x: (-x + 0.1 * body(x), lambda dw: 0.3 * dw), 2), 0.1)
    elif role == "diffusion":
        sde = ss.SDE(lambda x: (-x, lambda dw: (0.3 + 0.1 * body(x)) * dw), 2)
        kernel = ss.platen(sde, 0.1)
    elif role == "sigma":
        kernel = ss.optimizer(ss.sgd, ss.GaussianOracle(quadratic, lambda x: torch.diag_embed(body(x)), dim=2), 0.1)
    elif role == "oracle":
        kernel = ss.optimizer(ss.sgd, Mine(body), 0.1)
    elif role == "observable":
        words["observables"]["h"] = lambda x: (body(x) * WEIGHTS).sum(-1)
    elif role == "internal":
        words["internals"] = {"h": lambda state: (body(state) * WEIGHTS).sum(-1)}
    if role == "inside":
        return ss.first_exit(kernel, list(start), lambda x: (body(x) * WEIGHTS).sum(-1) < 2.0, max_steps=2, n=n).counts
    return ss.simulate(kernel, list(start), steps=2, n=n, **words).mean
