"""What the tracer knows about torch's core operations that join numbers: sums, extremes, norms, products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .rules import ELEMENTWISE, maximum, minimum, number, truth
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


def _norm_of(s: Scalars, nodes: Sequence[int], p: float) -> int:
    """(Σ |x|^p)^(1/p), and its limits: how many are not 0, the largest size, the smallest."""
    nodes = [number(s, n) for n in nodes]
    if p == 0:
        return _sum_of(s, [truth(s, n) for n in nodes])
    sizes = [s.apply("abs", n) for n in nodes]
    if len(nodes) == 1:
        return sizes[0]
    if p == 2:
        return s.apply("sqrt", _sum_of(s, [s.apply("mul", n, n) for n in nodes]))
    if math.isinf(p):
        return (_largest if p > 0 else _smallest)(s, sizes)
    powers = [ELEMENTWISE["pow"](s, size, s.constant(p)) for size in sizes]
    return ELEMENTWISE["pow"](s, _sum_of(s, powers), s.constant(1 / p))


def _largest(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: maximum(s, a, b), nodes, s.constant(-math.inf))


def _smallest(s: Scalars, nodes: Sequence[int]) -> int:
    return _tree(lambda a, b: minimum(s, a, b), nodes, s.constant(math.inf))


def _place_of(comparison: str) -> Callable[[Scalars, Sequence[int]], int]:
    """Where the first of the largest or smallest is, as a number: the first NaN if there is one."""

    def place(s: Scalars, nodes: Sequence[int]) -> int:
        best, where = nodes[0], s.constant(0.0)
        for i, node in enumerate(nodes[1:], 1):
            one, other = number(s, node), number(s, best)
            nan = s.apply("and", s.apply("ne", one, one), s.apply("eq", other, other))
            beyond = s.apply("or", s.apply(comparison, one, other), nan)
            best, where = s.apply("where", beyond, one, other), s.apply("where", beyond, s.constant(float(i)), where)
        return where

    return place


def _with_place(extreme: Callable, comparison: str) -> Callable[..., Tensor | list[Tensor]]:
    """Of all numbers, or of one axis and then with its place, which is a number here and no index."""

    def reduction(s: Scalars, ids: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | list[Tensor]:
        values = _over(extreme)(s, ids, dim, keepdim)
        return values if dim is None else [values, _over(_place_of(comparison))(s, ids, dim, keepdim)]

    return reduction


def _variance(
    s: Scalars, ids: Tensor, dim: Any = None, *, correction: float | int | None = None, keepdim: bool = False
) -> Tensor:
    """Σ (x − mean)²/(n − correction); NaN or infinite where that is not positive, as torch's."""
    lost = 1 if correction is None else correction

    def variance(s: Scalars, nodes: Sequence[int]) -> int:
        nodes = [number(s, n) for n in nodes]
        mean = _mean_of(s, nodes)
        gaps = [s.apply("sub", n, mean) for n in nodes]
        squares = _sum_of(s, [s.apply("mul", g, g) for g in gaps])
        return s.apply("div", squares, s.constant(max(0.0, len(nodes) - lost)))

    return _over(variance)(s, ids, dim, keepdim)


def _variance_and_mean(
    s: Scalars, ids: Tensor, dim: Any = None, *, keepdim: bool = False, **words: Any
) -> list[Tensor]:
    return [_variance(s, ids, dim, keepdim=keepdim, **words), _over(_mean_of)(s, ids, dim, keepdim)]


def _running(op: str) -> Callable[..., Tensor]:
    """Sums or products up to each place, in order."""

    def running(s: Scalars, ids: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
        rows = ids.movedim(dim, -1)
        flat = [number(s, i) for i in rows.reshape(-1).tolist()]
        n = rows.shape[-1]
        lines = [accumulate(flat[k : k + n], lambda a, b: s.apply(op, a, b)) for k in range(0, len(flat), n)]
        return torch.tensor([i for line in lines for i in line]).reshape(rows.shape).movedim(-1, dim)

    return running


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
    return _over(lambda s, nodes: _norm_of(s, nodes, float(order)))(s, ids, dim, keepdim)


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


REDUCTIONS: dict[str, Callable[..., Tensor | list[Tensor]]] = {
    "sum": _over(_sum_of),
    "mean": _over(_mean_of),
    "prod": _over(_product_of),
    "amax": _over(_largest),
    "amin": _over(_smallest),
    "argmax": _over(_place_of("gt")),
    "argmin": _over(_place_of("lt")),
    "max": _with_place(_largest, "gt"),
    "min": _with_place(_smallest, "lt"),
    "var": _variance,
    "var_mean": _variance_and_mean,
    "cumsum": _running("add"),
    "cumprod": _running("mul"),
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
