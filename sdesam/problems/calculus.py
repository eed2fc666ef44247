"""Derivatives as functions of functions, on the last axis.

A landscape maps ``(..., d) -> (...)`` and treats its leading axes as independent replicates, so the
gradient of its *sum* over replicates is the gradient of each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Scalar", "derivative_along", "grad", "grad_and_hessian", "hessian", "hvp", "norm", "over", "unit"]

Field = Callable[[Tensor], Tensor]
Scalar = float | int | Tensor  # a hyper-parameter: a number, or a traced 0-dim tensor


def norm(v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
    """Euclidean norm |v| over the last axis; its derivative at v = 0 is 0.

    Notes
    -----
    The squares underflow below about 1e-154 in float64 (1e-19 in float32), where the vector counts as zero, and
    overflow above the reciprocal, where its direction does.
    """
    return torch.linalg.vector_norm(v, dim=-1)


def unit(v: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Direction v/|v|, and 0 where v = 0.  There is no epsilon: it would change the law near critical points.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return over(v, norm(v))


def over(v: Float[Tensor, "*vectors d"], length: Float[Tensor, "*points"]) -> Float[Tensor, "*vectors d"]:
    """v/length, and 0 where the length is 0: the convention of every normalised method here."""
    zero = (length == 0)[..., None]
    safe = torch.where(zero, torch.ones_like(length[..., None]), length[..., None])
    return torch.where(zero, torch.zeros_like(v), v / safe)


def grad(f: Field) -> Field:
    """Gradient ∇f: ``(..., d) -> (..., d)`` of a landscape.

    >>> grad(lambda x: (x**3).sum(-1))(torch.tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    """
    return partial(_gradient, f)


def _gradient(f: Field, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    return torch.func.grad(lambda y: f(y).sum())(x)


def grad_and_hessian(f: Field) -> Callable[[Tensor], tuple[Tensor, Field]]:
    """∇f(x) together with the linear map v ↦ ∇²f(x) v, which shares its work.

    The map is the transpose of the derivative of ∇f, hence the Hessian itself, which is symmetric.  Vectors v
    may have further leading axes before those of x: a whole basis at one point, say.
    """
    return partial(_both, f)


def _both(f: Field, x: Float[Tensor, "*batch d"]) -> tuple[Float[Tensor, "*batch d"], Field]:
    gradient, pullback, *_ = torch.func.vjp(grad(f), x)
    return gradient, partial(_apply, f, x, pullback)


def _apply(
    f: Field, x: Float[Tensor, "*batch d"], pullback: Callable, v: Float[Tensor, "*more d"]
) -> Float[Tensor, "*both d"]:
    if v.shape == x.shape:
        return pullback(v)[0]
    shape = torch.broadcast_shapes(v.shape, x.shape)
    if shape[len(shape) - x.ndim :] != x.shape:  # an axis inside x's own is broadcast: start from more points
        return hvp(f)(x.expand(shape).clone(), v.expand(shape))
    vectors = v.expand(shape).reshape(-1, *x.shape)
    return torch.func.vmap(lambda u: pullback(u)[0])(vectors).reshape(shape)


def derivative_along(field: Field, x: Float[Tensor, "*points d"]) -> tuple[Tensor, Tensor]:
    """v = field(x) and its derivative along itself, Dv v (Jacobian times vector), for a field that need be no gradient.

    >>> derivative_along(lambda x: x**2, torch.tensor([1.0, 2.0]))
    (tensor([1., 4.]), tensor([ 2., 16.]))
    """
    value, pullback, *_ = torch.func.vjp(field, x)
    _, transposed, *_ = torch.func.vjp(lambda u: pullback(u)[0], torch.zeros_like(value))
    return value, transposed(value)[0]


def hvp(f: Field) -> Callable[[Tensor, Tensor], Tensor]:
    """Hessian-vector product (x, v) ↦ ∇²f(x) v, both ``(..., d)``; no d x d matrix is formed."""
    return partial(_product, f)


def _product(f: Field, x: Float[Tensor, "*points d"], v: Float[Tensor, "*vectors d"]) -> Float[Tensor, "*both d"]:
    _, apply = _both(f, x)
    return apply(v)


def hessian(f: Field) -> Field:
    """Hessian matrix ∇²f: ``(..., d) -> (..., d, d)``, row by row; for small d and for checks."""
    return partial(_matrix, f)


def _matrix(f: Field, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d d"]:
    d = x.shape[-1]
    points = x[..., None, :].expand(*x.shape, d).clone()  # row j: x, to meet e_j
    basis = torch.eye(d, dtype=x.dtype, device=x.device).expand(*x.shape, d)
    return hvp(f)(points, basis.clone())
