"""What the tracer knows about torch's core operations that join numbers: sums, extremes, norms, products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .rules import maximum, minimum, number, truth
from .scalars import Scalars

__all__ = ["REDUCTIONS"]


def _tree(combine: Callable[[int, int], int], nodes: Sequence[int], empty: int) -> int:
    """A balanced tree: short chains of dependence, and small rounding errors."""
    row = list(nodes)
    while len(row) > 1:
        row = [combine(*row[i : i + 2]) if i + 1 < len(row) else row[i] for i in range(0, len(row), 2)]
    return row[0] if row else empty


def _sum_of(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: s.apply("add", a, b), [number(s, n) for n in nodes], s.constant(0.0))


def _mean_of(s: Scalars, nodes: Sequence[int]) -> int:
    return s.apply("div", _sum_of(s, nodes), s.constant(float(len(nodes))))


def _norm_of(s: Scalars, nodes: Sequence[int]) -> int:
    nodes = [number(s, n) for n in nodes]
    if len(nodes) == 1:
        return s.apply("abs", nodes[0])
    return s.apply("sqrt", _sum_of(s, [s.apply("mul", n, n) for n in nodes]))


def _over(reduce: Callable[[Scalars, Sequence[int]], int]) -> Callable[..., Tensor]:
    """A reduction over the given axes (all by default)."""

    def reduction(
        s: Scalars, ids: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
    ) -> Tensor:
        dims = [dim] if isinstance(dim, int) else list(range(ids.ndim)) if not dim else list(dim)
        dims = sorted({d % max(ids.ndim, 1) for d in dims}) if ids.ndim else []
        kept = [d for d in range(ids.ndim) if d not in dims]
        shape = [ids.shape[d] for d in kept]
        rows = ids.permute([*kept, *dims]).reshape(math.prod(shape), -1).tolist()
        out = torch.tensor([reduce(s, row) for row in rows], dtype=torch.int64)
        return out.reshape([1 if d in dims else n for d, n in enumerate(ids.shape)] if keepdim else shape)

    return reduction


def _vector_norm(
    s: Scalars, ids: Tensor, order: float | int = 2, dim: Any = None, keepdim: bool = False, **kwargs: Any
) -> Tensor:
    if order != 2:
        raise NotImplementedError(f"a norm of order {order}")
    return _over(_norm_of)(s, ids, dim, keepdim)


def _product_of(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: s.apply("mul", a, b), [number(s, n) for n in nodes], s.constant(1.0))


def _matrix_product(s: Scalars, a: Tensor, b: Tensor) -> Tensor:
    rows, columns = ([[number(s, n) for n in row] for row in m.tolist()] for m in (a, b.T))
    out = [[_sum_of(s, [s.apply("mul", x, y) for x, y in zip(r, c, strict=True)]) for c in columns] for r in rows]
    return torch.tensor(out, dtype=torch.int64).reshape(len(rows), len(columns))


def _batched_product(s: Scalars, a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([_matrix_product(s, x, y) for x, y in zip(a, b, strict=True)])


def _all_of(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: s.apply("and", a, b), [truth(s, n) for n in nodes], s.constant(True))


def _any_of(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: s.apply("or", a, b), [truth(s, n) for n in nodes], s.constant(False))


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "sum": _over(_sum_of),
    "mean": _over(_mean_of),
    "prod": _over(_product_of),
    "amax": _over(lambda s, nodes: _tree(lambda a, b: maximum(s, a, b), nodes, s.constant(-math.inf))),
    "amin": _over(lambda s, nodes: _tree(lambda a, b: minimum(s, a, b), nodes, s.constant(math.inf))),
    "all": _over(_all_of),
    "any": _over(_any_of),
    "linalg_vector_norm": _vector_norm,
    "mm": _matrix_product,
    "bmm": _batched_product,
    "dot": lambda s, a, b: _matrix_product(s, a[None], b[:, None])[0, 0],
    "mv": lambda s, a, b: _matrix_product(s, a, b[:, None])[:, 0],
    "addmm": lambda s, c, a, b: _shifted(s, c, _matrix_product(s, a, b)),
}


def _shifted(s: Scalars, c: Tensor, product: Tensor) -> Tensor:
    pairs = zip(c.expand(product.shape).reshape(-1).tolist(), product.reshape(-1).tolist(), strict=True)
    return torch.tensor([s.apply("add", a, b) for a, b in pairs], dtype=torch.int64).reshape(product.shape)
