"""The elementary functions and the generator of the fused engine, run as the steps of a kernel."""

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import torch

import sdesam as ss
from sdesam.engine.llvm.compilation import Fused
from sdesam.engine.llvm.cpu import fused_values
from sdesam.engine.streams import Streams
from sdesam.engine.tracing.listed import listing_of
from sdesam.problems.noise import Choice, Normal, Product, ThreePoint, TwoPoint

T = torch.float64
INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Apply:
    """A kernel whose step is a function of state and noise."""

    function: Callable
    noise: object = Normal(0)
    substeps: int = 1
    dt: float = 1.0
    name: str = "apply"

    def init(self, x0):
        return x0

    def position(self, state):
        return state

    def step(self, state, z):
        return self.function(state, z)


def ran(kernel, x, steps=1, seed=0, first=0):
    """The state after some steps, (n, d), from the starts x (n, d)."""
    columns = {f"x[{i}]": ss.coordinate(i) for i in range(x.shape[1])}
    fused = Fused.of(listing_of(kernel, torch.full(x.shape[1:], 0.5, dtype=x.dtype), columns, {}), x.dtype)

    def start(begin, rows, streams):
        index = torch.arange(begin, begin + rows).clamp(max=first + len(x) - 1) - first
        return x[index]

    return fused_values(fused, start, range(first, first + len(x)), saved=np.array([0, steps]), seed=seed)[1, 1:].T


def spread(low, high, count, dtype):
    """Both signs, magnitudes log-spaced, and dense about 1."""
    sizes = np.exp(np.random.default_rng(1).uniform(np.log(low), np.log(high), count))
    near = np.random.default_rng(2).uniform(-3, 3, count)
    return np.concatenate([sizes, -sizes, near]).astype(dtype)


_HARDEST = 6381956970095103 * 2.0**797  # the double nearest to a multiple of π/2, of it 2^-61 (J.-M. Muller, 2006)
_TURNS = np.concatenate([  # everywhere, next to multiples of π/2, and far out, where the digits of 2/π are needed
    spread(1e-300, 1.7e308, 1500, float), np.arange(1, 600) * (np.pi / 2), np.arange(1, 400) * 7919 * (np.pi / 2),
    spread(1e4, 3e38, 500, float), 2.0**30 * (1 + np.arange(-4, 5) * 2.0**-52),
    2.0**16 * (1 + np.arange(-4, 5) * 2.0**-23),
    [_HARDEST, -_HARDEST, 1.7976931348623157e308],
])  # fmt: skip
FUNCTIONS = {
    "sin": (torch.sin, mpmath.sin, _TURNS),
    "cos": (torch.cos, mpmath.cos, _TURNS),
    "exp": (torch.exp, mpmath.exp, spread(1e-20, 745, 2000, float)),
    "expm1": (torch.expm1, mpmath.expm1, spread(1e-300, 709.7, 2000, float)),
    "tanh": (torch.tanh, mpmath.tanh, spread(1e-300, 30, 2000, float)),
    "log": (torch.log, mpmath.log, np.abs(spread(1e-320, 1.7e308, 2000, float))),
    "log1p": (torch.log1p, mpmath.log1p, np.concatenate(
        [spread(1e-300, 0.999, 2000, float), np.exp(np.linspace(0, 700, 500)), -1 + np.exp(np.linspace(-36, -1, 300))]
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_are_within_two_units_in_the_last_place(name, dtype):
    """Against 60 digits, over the whole range, subnormal results included (where a unit is 2^-1074 or 2^-149)."""
    function, exact, x = FUNCTIONS[name]
    real = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(all="ignore"):
        x = x.astype(real)
    x = x[np.isfinite(x) & (x != 0) & (x > (-1 if name == "log1p" else -INF))]
    found = ran(Apply(lambda s, z: function(s)), torch.from_numpy(x)[:, None])[:, 0]
    with mpmath.workdps(60), np.errstate(over="ignore"):
        truth = [exact(mpmath.mpf(float(v))) for v in x]
        rounded = np.array([float(t) for t in truth]).astype(real)
        worst = 0.0
        for f, t, r in zip(found, truth, rounded, strict=True):
            if np.isinf(r) or np.isnan(r):
                assert np.isinf(f) or abs(f) >= 0.999999 * np.finfo(real).max
                continue
            worst = max(worst, abs(float((mpmath.mpf(float(f)) - t) / mpmath.mpf(float(np.spacing(np.abs(r)))))))
    assert worst <= 2


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_functions_agree_with_torch_at_special_points(name, dtype):
    tiny = torch.finfo(dtype).tiny
    x = torch.tensor([0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, -2.0, 1000.0, -1000.0, tiny, -tiny, tiny / 8], dtype=dtype)
    function = FUNCTIONS[name][0]
    found = torch.from_numpy(ran(Apply(lambda s, z: function(s)), x[:, None])[:, 0]).to(dtype)
    torch.testing.assert_close(found, function(x), rtol=4 * torch.finfo(dtype).eps, atol=0, equal_nan=True)


def _rest(x, z):
    a, b = x.unbind(-1)
    return torch.stack(
        (torch.maximum(a, b) / 2 + x.clamp(-1, 1).abs().sqrt().sum(-1), torch.where(a < b, -a, b * b)), -1
    )


def test_clamps_maxima_and_selections_let_nan_pass():
    x = torch.tensor([[NAN, 1.0], [1.0, NAN], [INF, 2.0], [-INF, INF], [0.5, -3.0], [1e200, 1e200]], dtype=T)
    found = torch.from_numpy(ran(Apply(_rest), x))
    torch.testing.assert_close(found, _rest(x, None), rtol=1e-15, atol=0, equal_nan=True)


# ----------------------------------------------------------------- random numbers
def numbers(noise, n, dtype, seed, first=0, steps=1):
    """The draw of the last of some steps."""
    z = noise.draw(Streams(seed=0, first=0, count=1).bits, T)
    size = sum(part.shape[1] for part in (z if isinstance(z, tuple) else (z,)))

    def step(state, z):
        parts = z if isinstance(z, tuple) else (z,)
        table = torch.arange(64, dtype=state.dtype)
        return torch.cat([p if p.is_floating_point() else table[p] for p in parts], -1)

    return ran(Apply(step, noise), torch.zeros(n, size, dtype=dtype), steps=steps, seed=seed, first=first)


def drawn(noise, n, dtype, seed, first=0, steps=1):
    streams = Streams(seed=seed, first=first, count=n)
    for _ in range(steps):
        z = noise.draw(streams.bits, dtype)
    return torch.cat([p.to(dtype) for p in (z if isinstance(z, tuple) else (z,))], -1).double().numpy()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("dtype", "ulps"), [(torch.float64, 8), (torch.float32, 16)])
def test_normals_are_those_of_the_eager_engine(count, dtype, ulps):
    """Up to rounding: eager rounds 2πu before it takes the cosine, an error of 3 eps in an angle of up to 2π."""
    a, b = numbers(Normal(count), 5000, dtype, seed=11, steps=3), drawn(Normal(count), 5000, dtype, seed=11, steps=3)
    assert np.abs(a - b).max() <= ulps * torch.finfo(dtype).eps * np.abs(b).max()


EXACT = [
    TwoPoint(3), ThreePoint(3), Choice(7, 1), Choice(7, 3), Choice(5, 5), Choice(9, 4, None, True), Choice(6, 1),
    Choice(4, 2, (0.1, 0.2, 0.3, 0.4), True), Product(ThreePoint(2), TwoPoint(1)),
]  # fmt: skip


@pytest.mark.parametrize("noise", EXACT, ids=str)
def test_other_noises_are_those_of_the_eager_engine_exactly(noise):
    a, b = numbers(noise, 3000, T, seed=5, first=2048, steps=2), drawn(noise, 3000, T, seed=5, first=2048, steps=2)
    assert np.abs(a - b).max() <= (1e-15 if isinstance(noise, (ThreePoint, Product)) else 0)


def test_what_is_no_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be"):
        ss.simulate(
            Apply(lambda s, z: s),
            torch.zeros(1),
            steps=1,
            observables={"x": ss.coordinate(0)},
            n=3,
            seed=-1,
            engine="fused",
        )


def test_a_wrong_seed_and_a_shifted_stream_show():
    a = numbers(Normal(1), 1000, T, seed=11)
    assert np.abs(a - drawn(Normal(1), 1000, T, seed=12)).max() > 1
    assert np.abs(a[:-1] - drawn(Normal(1), 1000, T, seed=11)[1:]).max() > 1
