"""Finite-sum data: real tables that ship with scikit-learn, as float64 tensors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .landscapes import FiniteSum

__all__ = ["iris", "iris_linear_network"]

_FEATURES, _CLASSES = 4, 3


@lru_cache(maxsize=1)
def iris() -> tuple[Tensor, Tensor]:
    """Fisher's Iris data: standardised features ``(150, 4)`` and labels 0, 1, 2 ``(150,)``.

    Raises
    ------
    ModuleNotFoundError
        Without scikit-learn (``pip install sdesam[experiments]``), which ships the table.
    """
    try:
        from sklearn.datasets import load_iris  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("iris needs scikit-learn: pip install 'sdesam[experiments]'.") from missing
    data, target = load_iris(return_X_y=True)
    features = torch.as_tensor(data, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, correction=0)
    return features, torch.as_tensor(target, dtype=torch.int64)


def iris_linear_network(hidden: int = 4) -> FiniteSum:
    """Cross-entropy of a linear network with one hidden layer on Iris, d = hidden·(4 + 3), no biases.

    logits = W₂ W₁ a with W₁ (hidden, 4), W₂ (3, hidden), x = (W₁, W₂) flattened.
    The task is Monzio Compagnoni et al.'s second one (a linear network with one hidden layer on Iris); the
    width and the standardisation are our choice.
    """

    def loss(x: Tensor, datum: tuple[Tensor, Tensor]) -> Tensor:
        a, label = datum
        first = x[: hidden * _FEATURES].reshape(hidden, _FEATURES)
        second = x[hidden * _FEATURES :].reshape(_CLASSES, hidden)
        logits = second @ (first @ a)
        return torch.logsumexp(logits, -1) - logits.gather(-1, label[None])[0]

    return FiniteSum(loss, iris(), dim=hidden * (_FEATURES + _CLASSES))
