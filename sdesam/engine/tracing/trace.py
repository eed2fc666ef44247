"""From ordinary torch to a list of scalar operations: the function runs once on one replicate, watched op by op.

Beside its number every tensor that depends on the inputs has node numbers of the list, an int64 tensor of its shape.
Three rules: an operation without such a tensor among its arguments is torch's own business; what only moves data
(views, slices, cat) is done by torch on the node numbers too; the others are element-wise, or reductions, and have a
rule.  Torch's own decompositions and ``torch.func`` come before: the watcher sees core operations only.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..purity import Impure
from .operations import Forbidden, Unknown
from .programs import Program
from .scalars import TooLong
from .watcher import Guard, Watcher

__all__ = ["ImpureTrace", "NotTraceable", "trace"]

_TORCH = os.path.dirname(torch.__file__)
_PACKAGE = str(Path(__file__).resolve().parents[2])


class NotTraceable(ValueError):
    """A kernel or an observable that the fused engine cannot take; the message says why.

    ``asked`` are the places of parameters whose values Python asked for, and of no others.
    """

    asked: frozenset[int] = frozenset()


class ImpureTrace(NotTraceable, Impure):
    """A trace that shows what no engine may run: random numbers, rows that are mixed, a function that counts its calls.

    That Python asks for a value is none: the probe has tried the other answer, and what is left are checks that raise.
    """


def trace(
    function: Callable[..., Sequence[Tensor]],
    examples: Sequence[Tensor],
    what: str,
    most: int = 10**9,
    parameters: int = 0,
) -> Program:
    """The list of a function of tensors of one replicate, whose inputs and outputs are their numbers, flattened.

    Parameters
    ----------
    examples : one tensor for each argument; floats become numbers, bool truth values, int64 indices of tables
    what : for messages, e.g. "step of sam"
    most : numbers that the list may have, constants included
    parameters : how many of the last examples are the same for all replicates

    Raises
    ------
    NotTraceable
        For an operation without a rule, or Python that asks for a tensor's value; ``ImpureTrace`` for random numbers
        drawn inside.
    """
    inputs = [e.detach().clone() for e in examples]
    watcher = Watcher(inputs, most)
    try:
        with warnings.catch_warnings(), watcher, Guard(watcher):
            warnings.simplefilter("ignore")
            outputs = list(function(*inputs))
        _require_unasked(watcher, sum(e.numel() for e in examples), parameters)
        return watcher.scalars.program([i for out in outputs for i in watcher.operations.ids(out).reshape(-1).tolist()])
    except NotTraceable:
        raise
    except TooLong:
        raise NotTraceable(f"the list of {what} has more than {most} numbers: it would compile for long") from None
    except Exception as error:  # also a use of an operation that its rule did not foresee: the eager engine runs it
        kind = "" if isinstance(error, Unknown) else f"{type(error).__name__}: "
        line = _line_of(traceback.extract_tb(error.__traceback__))
        notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        message = f"{what} does not trace: {kind}{(str(error).splitlines() or ['?'])[0]} {line}"
        refusal = ImpureTrace if isinstance(error, Forbidden) else NotTraceable
        refused = refusal(message.rstrip() + notes)
        refused.asked = _parameters_of(error, sum(e.numel() for e in examples), parameters)
        raise refused from error


def _require_unasked(watcher: Watcher, inputs: int, parameters: int) -> None:
    """Also where the function caught the refusal, and went another way."""
    for asked in watcher.asked:
        if asked and min(asked) >= inputs - parameters:
            raise Unknown("Python asks for the value of a parameter", asked)


def _parameters_of(error: Exception, inputs: int, parameters: int) -> frozenset[int]:
    """Of an error that asks for values of inputs: which parameters, where it asks for nothing else."""
    asked = getattr(error, "inputs", frozenset())
    first = inputs - parameters
    return frozenset(i - first for i in asked) if asked and min(asked) >= first else frozenset()


# ----------------------------------------------------------------- the user's line
def _line_of(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line outside torch, the user's own if there is one."""
    own = [f for f in frames if not f.filename.startswith((_TORCH, "<")) and "site-packages" not in f.filename]
    outside = [f for f in own if not f.filename.startswith(_PACKAGE)]
    chosen = (outside or own)[-1:]
    return "".join(f"({os.path.basename(f.filename)}, line {f.lineno}: {f.line})" for f in chosen)
