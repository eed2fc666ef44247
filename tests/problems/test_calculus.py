import pytest
import torch
from cases import LANDSCAPES, points

import sdesam as ss


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
def test_gradient_and_hessian_agree_with_autograd_per_point(f):
    x = points(f, 4)
    H = ss.hessian(f)(x)
    for i in range(4):
        torch.testing.assert_close(ss.grad(f)(x)[i], torch.autograd.functional.jacobian(f, x[i]))
        torch.testing.assert_close(H[i], torch.autograd.functional.hessian(f, x[i]))


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
def test_hvp_is_hessian_times_vector(f):
    x, v = points(f, 2, 3), points(f, 2, 3, seed=1)
    expected = (ss.hessian(f)(x) @ v[..., None])[..., 0]
    torch.testing.assert_close(ss.hvp(f)(x, v), expected)
    _, H = ss.grad_and_hessian(f)(x)
    torch.testing.assert_close(H(v), expected)


def test_the_hessian_map_takes_a_basis_at_one_point():
    f = LANDSCAPES["tanh_network"]
    x = points(f)
    _, H = ss.grad_and_hessian(f)(x)
    torch.testing.assert_close(H(torch.eye(2, dtype=torch.float64)), ss.hessian(f)(x))


@pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES)
def test_shape_law(f):
    x = points(f, 2, 3)
    assert f(x).shape == (2, 3)
    assert f(x[0, 0]).shape == ()
    assert ss.hessian(f)(x[0, 0]).shape == (f.dim, f.dim)
    torch.testing.assert_close(f(x)[1, 2], f(x[1, 2]))
    assert f(x.float()).dtype == torch.float32
    torch.testing.assert_close(f(x.float()).double(), f(x), rtol=1e-4, atol=1e-5)


def test_unit_is_zero_at_zero_and_has_no_epsilon():
    tiny = torch.tensor([3e-150, 4e-150], dtype=torch.float64)
    torch.testing.assert_close(ss.unit(tiny), torch.tensor([0.6, 0.8], dtype=torch.float64), rtol=1e-15, atol=0)
    assert torch.equal(ss.unit(torch.zeros(3)), torch.zeros(3))
    assert torch.equal(torch.func.grad(lambda v: ss.norm(v))(torch.zeros(3)), torch.zeros(3))


def test_the_hessian_map_broadcasts_inner_axes():
    f = LANDSCAPES["quadratic"]
    x, v = points(f, 4, 1), points(f, 4, 5, seed=1)
    g = LANDSCAPES["tanh_network"]
    y, w = points(g, 4, 1), points(g, 4, 5, seed=1)
    torch.testing.assert_close(ss.hvp(f)(x, v), v @ f.H)
    expected = torch.stack([ss.hvp(g)(y[i, 0].expand(5, 2).clone(), w[i]) for i in range(4)])
    torch.testing.assert_close(ss.hvp(g)(y, w), expected)
