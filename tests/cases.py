"""Every landscape and every method, listed once, for the laws that hold for all of them."""

from functools import partial

import torch

import sdesam as ss
from sdesam.problems.datasets import tanh_network_data, teacher_student
from sdesam.theory import methods

H3 = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.5, 0.5], [0.0, 0.5, 0.75]], dtype=torch.float64)
SIGMA3 = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.3, -0.05], [0.0, -0.05, 0.2]], dtype=torch.float64)
L23 = torch.tensor([[0.3, -0.1, 0.2], [0.05, 0.25, 0.1]], dtype=torch.float64)  # d = 2, m = 3


def _mean_squares(x: torch.Tensor, datum: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    a, b = datum
    return (torch.tanh(x[0] * a) * x[1] - b) ** 2 / 2


FINITE_SUM = ss.FiniteSum(
    _mean_squares,
    (torch.linspace(-1, 1, 5, dtype=torch.float64), torch.linspace(0.2, 0.9, 5, dtype=torch.float64)),
    dim=2,
)

SIX = tanh_network_data(  # six data, one minibatch each: Hessians that depend on the batch
    torch.tensor([-1.5, -0.8, 0.4, 0.9, 1.3, 2.0], dtype=torch.float64),
    torch.tensor([-0.6, 0.3, 0.5, 0.1, 0.8, 0.4], dtype=torch.float64),
)


def module() -> torch.nn.Module:
    """A small network with a buffer (BatchNorm in evaluation mode)."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Tanh(), torch.nn.Linear(2, 1, bias=False)
    )
    return layers.double().eval()


def half_square(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return ((output - target) ** 2).sum() / 2


def square_about_one(s: torch.Tensor) -> torch.Tensor:
    return (s - 1) ** 2 / 2


MODULE = ss.landscape_from_module(
    module(),
    half_square,
    (
        torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3),
        torch.linspace(0, 1, 4, dtype=torch.float64)[:, None],
    ),
)

LANDSCAPES = {
    "quadratic": ss.Quadratic(H3),
    "saddle": ss.Saddle((1.0, -2.0, 0.5)),
    "log_cosh": ss.LogCosh(2),
    "double_well": ss.DoubleWell(2),
    "tanh_network": ss.TanhNetwork(),
    "finite_sum": FINITE_SUM,
    "embedded_saddle": ss.EmbeddedSaddle((1.0, -0.5, -1.5), lam=0.1),
    "rotated_saddle": ss.Rotated(ss.Saddle((1.0, -1.0)), ss.rotation(0.6)),
    "rotated_double_well": ss.Rotated(ss.DoubleWell(2), ss.rotation(0.4)),
    "product_valley": ss.ProductValley(),
    "hyperbola": ss.ProductValley(square_about_one, bottom=1.0),
    "wen_valley": ss.WenValley(),
    "autoencoder": ss.LinearAutoencoder((1.0, 0.5, 2.0), bottleneck=2),
    "teacher_student": teacher_student(width=2, layers=2),
    "quadratics": ss.quadratics(torch.stack((H3, 2 * H3, SIGMA3)), torch.eye(3, dtype=torch.float64)),
    "module": MODULE,
}

METHODS = {name.replace("-", "_"): row.update for name, row in methods.METHODS.items()}
METHODS["unified_sam"] = partial(ss.unified_sam, lam=0.3)


def points(f, *shape, seed=0, dtype=torch.float64):
    """Random points of a landscape's dimension."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, f.dim, generator=generator, dtype=torch.float64).to(dtype)
