"""Theory, one package per paper, and the exact results that check all of them."""

from .methods import model_of

__all__ = ["model_of"]
