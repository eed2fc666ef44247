"""Every landscape and every method, listed once, for the laws that hold for all of them."""

from functools import partial

import torch

import sdesam as ss

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

LANDSCAPES = {
    "quadratic": ss.Quadratic(H3),
    "saddle": ss.Saddle((1.0, -2.0, 0.5)),
    "log_cosh": ss.LogCosh(2),
    "double_well": ss.DoubleWell(2),
    "tanh_network": ss.TanhNetwork(),
    "finite_sum": FINITE_SUM,
}

METHODS = {
    "sgd": ss.sgd,
    "usam": ss.usam,
    "dnsam": ss.dnsam,
    "dnsam_full_numerator": ss.dnsam_full_numerator,
    "sam": ss.sam,
    "unified_sam": partial(ss.unified_sam, lam=0.3),
}


def points(f, *shape, seed=0, dtype=torch.float64):
    """Random points of a landscape's dimension."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, f.dim, generator=generator, dtype=torch.float64).to(dtype)
