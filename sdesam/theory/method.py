"""A method: an update field with all that is known of it, one row of the table in ``methods``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..dynamics.sde import SDE
from ..problems.calculus import Scalar
from ..problems.oracles import Oracle

__all__ = ["Form", "Method"]

Form = Callable[..., SDE]  # a published SDE, (g, *, eta, rho, nodes=None) -> SDE; nodes is a rule over the noise


@dataclass(frozen=True)
class Method:
    """An update field G(g, x, z, *, rho) with its SDE; a row may stand wherever the field itself may.

    Parameters
    ----------
    name : at the command line, in addresses and in keys
    update : the field
    sde : (g, *, eta, rho) -> the SDE that a paper gives it; None for its modified equation.  With a keyword nodes, a
        rule over the noise, it may be made of sampled minibatches too
    as_printed : the SDE as the paper prints it, where a printed form is kept
    title, colour : in figures and on the screen
    formulas : the family of closed forms that describes it near critical points, "sgd", "usam", "sam" or ""
    noiseless : the name of the method that it is for sigma = 0, whose SDE divides by no noise; "" for itself
    shares_noise : its SDE acts on the optimizer's own normals, so that both run on one Brownian path
    planar : models of the plane that an exported page can compute, by the explorer's names; {} for the ``sde``
    """

    name: str
    update: Callable[..., Tensor]
    sde: Form | None = None
    as_printed: Form | None = None
    title: str = ""
    colour: str = "#CC79A7"
    formulas: str = ""
    noiseless: str = ""
    shares_noise: bool = False
    planar: Mapping[str, Form] = field(default_factory=dict, hash=False, compare=False)

    @property
    def __name__(self) -> str:
        """As of a function: messages and kernels are named by it."""
        return self.name

    def __call__(self, g: Oracle, x: Tensor, z: Tensor, *, rho: Scalar) -> Tensor:
        """The update field."""
        return self.update(g, x, z, rho=rho)
