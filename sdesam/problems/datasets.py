"""Finite-sum problems on data: real tables that ship with scikit-learn, and a teacher's synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..arguments import require_count, require_nonnegative, require_seed
from .finite_sums import FiniteSum

__all__ = [
    "breast_cancer", "breast_cancer_network", "iris", "iris_linear_network", "tanh_network_data",
    "teacher_student",
]  # fmt: skip

_FEATURES, _CLASSES = 4, 3


@lru_cache(maxsize=2)
def _table(name: str) -> tuple[Tensor, Tensor]:
    """A table of scikit-learn: standardised features and integer labels."""
    try:
        from sklearn import datasets  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"{name} needs scikit-learn: pip install 'sdesam[experiments]'.") from missing
    data, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    features = torch.as_tensor(data, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, correction=0)
    return features, torch.as_tensor(target, dtype=torch.int64)


def iris() -> tuple[Tensor, Tensor]:
    """Fisher's Iris data: standardised features ``(150, 4)`` and labels 0, 1, 2 ``(150,)``.

    Raises
    ------
    ModuleNotFoundError
        Without scikit-learn (``pip install sdesam[experiments]``), which ships the table.
    """
    features, labels = _table("iris")
    return features.clone(), labels.clone()


def breast_cancer() -> tuple[Tensor, Tensor]:
    """The Wisconsin breast cancer data: standardised features ``(569, 30)`` and labels −1, +1 ``(569,)``, as floats.

    Raises
    ------
    ModuleNotFoundError
        Without scikit-learn.
    """
    features, labels = _table("breast_cancer")
    return features.clone(), 2.0 * labels.to(torch.float64) - 1


def iris_linear_network(hidden: int = 4) -> FiniteSum:
    """Cross-entropy of a linear network with one hidden layer on Iris, d = hidden·(4 + 3), no biases.

    logits = W₂ W₁ a with W₁ (hidden, 4), W₂ (3, hidden), x = (W₁, W₂) flattened.
    The task is Monzio Compagnoni et al.'s second one (a linear network with one hidden layer on Iris); the
    width and the standardisation are our choice.
    """
    hidden = require_count("hidden", hidden, least=1, why="it is the width of the hidden layer")

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        a, label = datum
        first = x[: hidden * _FEATURES].reshape(hidden, _FEATURES)
        second = x[hidden * _FEATURES :].reshape(_CLASSES, hidden)
        logits = second @ (first @ a)
        return torch.logsumexp(logits, -1) - logits.gather(-1, label[None])[0]

    return FiniteSum(loss, iris(), dim=hidden * (_FEATURES + _CLASSES))


def breast_cancer_network(hidden: int = 4, *, weight_decay: float = 0.0) -> FiniteSum:
    """Logistic loss of a network with one sigmoid hidden layer on Breast Cancer, d = 31·hidden, no biases.

    f_i(x) = log(1 + exp(−y_i w·σ(W a_i))) + weight_decay/2 |x|², W (hidden, 30), w (hidden,), y_i = ±1.
    The task is Monzio Compagnoni et al.'s third one.  Their code takes y in {0, 1}, so that 37 % of the data
    have no gradient; here y is ±1.  Width and decay are our choice.
    """
    hidden = require_count("hidden", hidden, least=1, why="it is the width of the hidden layer")
    weight_decay = require_nonnegative("weight_decay", weight_decay, "it is a penalty")

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        a, y = datum
        output = x[30 * hidden :] @ torch.sigmoid(x[: 30 * hidden].reshape(hidden, 30) @ a)
        return torch.nn.functional.softplus(-y * output) + weight_decay / 2 * (x * x).sum()

    return FiniteSum(loss, breast_cancer(), dim=31 * hidden)


def tanh_network_data(inputs: Tensor, targets: Tensor) -> FiniteSum:
    """f_i(u, v) = ½ (tanh(v tanh(u a_i)) − b_i)²: the tanh network on more than one datum.

    With the single datum a = 1, b = 0 this is ``TanhNetwork``.

    Source: the network of Example 4.1 of Zhou et al. (ICLR 2025), read in the authors' slides; the data are the
    caller's.
    """

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        a, b = datum
        residual = torch.tanh(x[1] * torch.tanh(x[0] * a)) - b
        return residual * residual / 2

    return FiniteSum(loss, (inputs, targets), dim=2)


def teacher_student(
    width: int = 5,
    layers: int = 2,
    *,
    teacher: Callable[[Tensor], Tensor] = torch.sigmoid,
    student: Callable[[Tensor], Tensor] = torch.sigmoid,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> FiniteSum:
    """A student network fitted to a teacher of the same shape: d = layers·width², N = 2·width data, no biases.

    f_i(x) = ½ |S(a_i; x) − T(a_i)|² + weight_decay/2 |x|², with inputs a_i ~ N(0, I/width) and ``layers`` square
    layers, each followed by its activation; the teacher's weights are N(0, 1/width).  With equal activations and no
    decay the teacher is a minimizer of loss 0.

    Source: Monzio Compagnoni et al. 2023 (recalled: a linear teacher, a nonlinear student, 20 hidden layers); shapes
    and scales from the authors' code; depth, activations and seed are our choice.
    """
    width = require_count("width", width, least=1, why="it is the width of every layer")
    layers = require_count("layers", layers, least=1, why="it is the depth")
    weight_decay = require_nonnegative("weight_decay", weight_decay, "it is a penalty")
    generator = np.random.default_rng(require_seed(seed))
    inputs, weights = (
        torch.from_numpy(generator.standard_normal(shape) / width**0.5)
        for shape in ((2 * width, width), (layers * width * width,))
    )

    def network(x: Tensor, a: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        for W in x.reshape(layers, width, width).unbind(0):
            a = activation(a @ W.mT)
        return a

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        a, b = datum
        error = network(x, a, student) - b
        return (error * error).sum() / 2 + weight_decay / 2 * (x * x).sum()

    same = teacher is student and weight_decay == 0
    return FiniteSum(
        loss,
        (inputs, network(weights, inputs, teacher)),
        dim=layers * width * width,
        minimizers=weights[None] if same else None,
    )
