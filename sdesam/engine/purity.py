"""Is a function of replicates one?  Its rows together and apart, twice, and its arguments afterwards.

A function of rows may use them only row by row: what it gives for a row depends on nothing else.  It is evaluated on
three rows, on the last of them alone, and before on the one in the middle in other company: of a sum, a mean or a
maximum over the rows at least one is another, whichever row has most.
While it runs on all three, torch is watched: no generator may be asked, and a value that Python asks of a tensor is
answered once more with another one, which must change nothing (a check that raises is allowed, a branch is not).

A row that left the function's domain is not its fault: errors, and numbers that are not finite in both, decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .eager import without_graph

__all__ = ["Impure", "Margins", "Named", "call", "mixed", "require_pure", "rows_of"]

Named = Mapping[str, Tensor]  # what a function gave, under names for messages
Function = Callable[..., Named]

_SAME = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest number: matrix products round by the number of rows
_UNMOVED = {torch.float64: 1e-12, torch.float32: 1e-5}  # a row that stays in its place rounds as before
_PLAIN = {torch.float64: 1e-5, torch.float32: 1e-2}  # apart by more, a row depends on its place, if not on the others
_FLOOR = {torch.float64: 1e-12, torch.float32: 1e-4}  # of the arguments' size: all that may be left of a difference
_ASKS = ("_local_scalar_dense", "is_nonzero", "equal", "allclose")
_MIXES = (
    "{} mixes replicates: what it gives for one depends on the others, or on their number. It must act on the last "
    "axis only; did a mean, max, sum or norm miss dim=-1?"
)
_TURNS = 4  # evaluations with another answer, at most


class Impure(ValueError):
    """A function of the user's that no engine may run; the message names it and says why."""


def rows_of(batch: Any, index: Sequence[int]) -> Any:
    """A copy of some rows of a state or draw: of every tensor that has as many rows as the first one."""
    leaves, form = pytree.tree_flatten(batch)
    count = next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), 0)
    chosen = [
        leaf[torch.tensor(index, device=leaf.device)]
        if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count
        else leaf
        for leaf in leaves
    ]
    return pytree.tree_unflatten(chosen, form)


def call(function: Function, arguments: tuple, what: str, watch: AbstractContextManager | None = None) -> Named:
    """The function's values, watched; raises ``Impure`` where it writes into its arguments or gives complex numbers."""
    given = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
    before = [(leaf.clone(), _version(leaf)) for leaf in given]
    with torch.enable_grad(), watch or nullcontext(), _Guard(what):
        found = without_graph(dict(function(*arguments)))
    for leaf, (copy, version) in zip(given, before, strict=True):
        if _version(leaf) != version or leaf.shape != copy.shape or not bool(_alike(leaf, copy).all()):
            raise Impure(
                f"{what} must not write into its argument, and it does: the next to read it would see another point. "
                "Write x = x + 1 for x += 1, x.abs() for x.abs_(), or take x.clone() first."
            )
    for name, value in found.items():
        if value.is_complex():
            raise Impure(f"{name} must be real, got {value.dtype}: take its real and its imaginary part apart.")
    return found


def require_pure(function: Function, arguments: tuple, what: str, before: Named) -> Named:
    """Refuse what is no function of each row by itself; what it gives for all three, nothing where it fails there.

    Parameters
    ----------
    arguments : tensors, or trees of them, of three rows each
    before : what it gave for the middle row in other company, as its first row

    Raises
    ------
    Impure
        Where it mixes replicates, draws random numbers, branches on values, or writes into its arguments.
    """
    watch = _Watch(_some(arguments, (0, 1, 2)))
    try:
        together = call(function, watch.arguments, what, watch)
    except Impure:
        raise
    except Exception:  # a row outside of the domain
        together = None
    if watch.drew:
        raise Impure(_random(what, watch.drew))
    if together is None:
        return {}
    for turn in _turns(watch.asked):
        _require_unturned(function, arguments, what, together, turn)
    pairs = [_pairs(together, (1,), before, (0,))]
    try:
        apart = call(function, _some(arguments, (2, 2)), what)
        pairs.append(_pairs(together, (2, 2), apart, (0, 1)))
    except Impure:
        raise
    except Exception:  # as above
        pass
    off = max((_off(a, b) for both in pairs for a, b in both), default=0.0)
    if off > 1:
        _explain(function, arguments, what, together, pairs)
    if not watch.asked:  # no loop of Python's waits for numbers that these companies never give
        _require_deaf(function, arguments, what, together)
    return together


def _require_deaf(function: Function, arguments: tuple, what: str, together: Named) -> None:
    """Refuse what hears of other rows only where they are large or no numbers: a block's norm against a bound."""
    for company in (_lost, _huge):
        if _depends(function, company(arguments), what, together):
            raise Impure(_MIXES.format(what))


# ----------------------------------------------------------------- watching torch
class _Guard(TorchFunctionMode):
    """Refuses what ends the process: torch crashes where a parameter's data are replaced inside of ``torch.func``."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func == torch.Tensor.data.__set__ and functorch.maybe_current_level() is not None:  # pyright: ignore
            raise Impure(
                f"{self._what} moves a module, or replaces a parameter's data, where it is differentiated: torch fails "
                "on that. Write module.double() once, outside of the function."
            )
        return func(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):
    """Which random generators a function asks, and which values of tensors that depend on its arguments.

    ``turn`` = (k, other): the k-th such value is answered by ``other`` of it.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled by torch here; it would import its compiler for a second or two

    def __init__(self, arguments: tuple, turn: tuple[int, Callable[[Any], Any]] | None = None) -> None:
        super().__init__()
        self.arguments, self.turn = arguments, turn
        self.drew, self.asked = "", []
        self._kept: list[Any] = []  # so that no address is used again
        self._memories: set[int] = set()
        for leaf in pytree.tree_leaves(arguments):
            self._keep(leaf)

    def __enter__(self) -> Any:
        self._generators = _generators()
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        done = super().__exit__(*error)
        if not self.drew and _generators() != self._generators:
            self.drew = "a global generator moved on"
        return done

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.drew = self.drew or str(func)
        depends = any(_memory(leaf) in self._memories for leaf in pytree.tree_leaves((args, kwargs)))
        result = func(*args, **(kwargs or {}))
        if not depends:
            return result
        if func.overloadpacket.__name__ in _ASKS:
            self.asked.append(result)
            here = self.turn is not None and self.turn[0] == len(self.asked) - 1
            return self.turn[1](result) if here and self.turn else result
        for leaf in pytree.tree_leaves(result):
            self._keep(leaf)
        return result

    def _keep(self, leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            self._kept.append(leaf)
            self._memories.add(_memory(leaf))


class Margins(TorchDispatchMode):
    """How far numbers are from what they are compared with: a boolean shows mixed rows only where it tips over."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled by torch here; it would import its compiler for a second or two

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows, self.found = rows, []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("lt", "gt", "le", "ge") and args[0].is_floating_point():
            margin = args[0] - args[1]
            if margin.ndim == 0 or len(margin) == self._rows:
                self.found.append(margin if margin.ndim else margin.expand(self._rows))
        return result


def _memory(leaf: Any) -> int:
    if not isinstance(leaf, Tensor):
        return 0
    return leaf.untyped_storage()._cdata if leaf.layout == torch.strided else id(leaf)


def _generators() -> tuple:
    """The states of the global generators of torch and numpy; Python's own is also used by checkers of types."""
    words = np.random.get_state(legacy=True)  # noqa: NPY002 — the state that is watched
    return torch.get_rng_state().numpy().tobytes(), words[1].tobytes(), words[2:]  # pyright: ignore


def _turns(asked: Sequence[Any]) -> list[tuple[int, Callable[[Any], Any]]]:
    """Which values to answer otherwise, and how: a truth by its opposite, a number by NaN, far up and far down."""
    turns = []
    for k, value in enumerate(asked):
        if isinstance(value, bool):
            turns.append((k, lambda v: not v))
        elif isinstance(value, int):
            turns.append((k, lambda v: 0 if v else 1))  # an index stays one
        else:
            turns += [
                (k, lambda v: math.nan),
                (k, lambda v: v + 1e3 * (1 + abs(v))),
                (k, lambda v: -1e3 * (1 + abs(v))),
            ]
    return turns[:_TURNS]


def _require_unturned(function: Function, arguments: tuple, what: str, together: Named, turn: tuple) -> None:
    watch = _Watch(_some(arguments, (0, 1, 2)), turn)
    try:
        turned = call(function, watch.arguments, what, watch)
    except Impure:
        raise
    except Exception:  # a check that raises
        return
    moved = [i for i in range(3) if any(_off(a, b, _UNMOVED) > 1 for a, b in _pairs(together, (i,), turned, (i,)))]
    if len(moved) > 1:  # one row may go by its own value
        raise Impure(
            f"{what} asks for the value of a tensor and goes by it, but the value is that of a whole block of "
            "replicates: write torch.where(condition, a, b) for an if, and a reduction over dim=-1 for a number."
        )


# ----------------------------------------------------------------- comparing
def _explain(function: Function, arguments: tuple, what: str, together: Named, pairs: Sequence[list]) -> None:
    """Rows differ: random numbers, other rows, or the rounding of another number of rows, which is innocent."""
    again = call(function, _some(arguments, (0, 1, 2)), what)
    if any(not bool(_alike(a, b).all()) for a, b in _pairs(together, (0, 1, 2), again, (0, 1, 2))):
        raise Impure(_random(what, "two calls at one point gave two values"))
    mixed = any(_depends(function, company(arguments), what, together) for company in (_far, _near))
    size = 1 + max((float(t.abs().nan_to_num(0.0, 0.0).max()) for t in _floats(arguments)), default=0.0)
    if mixed or max(_off(a, b, _PLAIN, size) for both in pairs for a, b in both) > 1:
        raise Impure(_MIXES.format(what))


def mixed(function: Callable[..., Sequence[Tensor]], arguments: Sequence[Tensor], together: Sequence[Tensor]) -> bool:
    """Whether what a function gave for rows together is not what it gives for each alone."""
    for i in range(len(arguments[0])):
        alone = function(*(a[i : i + 1].clone() for a in arguments))
        if any(_off(a[i : i + 1], b, _PLAIN, 1.0) > 1 for a, b in zip(together, alone, strict=True)):
            return True
    return False


def _random(what: str, how: str) -> str:
    return (
        f"{what} draws random numbers, or changes from call to call ({how}): the only randomness of a run is the noise "
        "z of a step, which every engine can draw again. Make what is fixed outside of the function."
    )


def _pairs(a: Named, i: Sequence[int], b: Named, j: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """The same rows of two results, name by name."""
    return [(a[name][list(i)], b[name][list(j)]) for name in a if name in b and a[name].ndim and b[name].ndim]


def _off(a: Tensor, b: Tensor, allowed: Mapping[torch.dtype, float] = _SAME, floor: float = 0.0) -> float:
    """How far apart, in units of what is allowed of their size, or of the floor's."""
    if a.shape != b.shape:
        return math.inf
    kind = a.dtype if a.dtype in allowed else torch.float64
    a, b = a.double(), b.double()
    apart = (a - b).abs().masked_fill(_alike(a, b), 0.0).nan_to_num(math.inf, math.inf)
    finite = torch.cat((a[a.isfinite()], b[b.isfinite()])).abs()
    unit = allowed[kind] * float(finite.max()) if len(finite) else 0.0
    worst = float(apart.max()) if apart.numel() else 0.0
    return 0.0 if worst == 0 else worst / max(unit, floor * _FLOOR[kind], 1e-300)


def _floats(arguments: Any) -> list[Tensor]:
    return [t for t in pytree.tree_leaves(arguments) if isinstance(t, Tensor) and t.is_floating_point() and t.numel()]


def _alike(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | ((a != a) & (b != b))


def _some(arguments: tuple, index: Sequence[int]) -> tuple:
    return tuple(rows_of(a, index) for a in arguments)


def _depends(function: Function, arguments: tuple, what: str, together: Named) -> bool:
    """Whether the middle row, in its place, gives another value in this company."""
    try:
        found = call(function, arguments, what)
    except Exception:  # the company is outside of the domain
        return False
    return any(_off(a, b, _UNMOVED) > 1 for a, b in _pairs(together, (1,), found, (1,)))


def _far(arguments: tuple) -> tuple:
    """The middle row with one above and one below everything."""

    def company(leaf: Tensor) -> tuple[Tensor, Tensor]:
        reach = 1 + 2 * leaf.nan_to_num(0.0, 0.0, 0.0).abs().max()
        return leaf[1] + reach, leaf[1] - reach

    return _among(arguments, company)


def _near(arguments: tuple) -> tuple:
    """The middle row with two that are smaller."""
    return _among(arguments, lambda leaf: (0.3 * leaf[1], 0.6 * leaf[1]))


def _lost(arguments: tuple) -> tuple:
    """The middle row between two of NaN, which pass through every sum and maximum over the rows."""
    return _among(arguments, lambda leaf: (torch.full_like(leaf[1], math.nan), torch.full_like(leaf[1], math.nan)))


def _huge(arguments: tuple) -> tuple:
    """The middle row between two that are beyond every bound, which truths over the rows hear of."""
    return _among(arguments, lambda leaf: (torch.full_like(leaf[1], 1e30), torch.full_like(leaf[1], -3e30)))


def _among(arguments: tuple, company: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple:
    def placed(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or leaf.shape[:1] != (3,) or not leaf.numel():
            return leaf
        first, last = company(leaf)
        return torch.stack((first, leaf[1], last))

    return pytree.tree_map(placed, _some(arguments, (0, 1, 2)))


def _version(leaf: Tensor) -> int:
    return 0 if leaf.is_inference() else leaf._version
