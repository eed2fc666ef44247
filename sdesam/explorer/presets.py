"""Stories: states with one sentence each; the tests simulate every one and check what its sentence says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .state import State

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A state worth looking at, and what is to be seen there."""

    name: str
    title: str
    sentence: str
    state: State

    def document(self) -> dict[str, Any]:
        """Plain values, for the page."""
        return {"name": self.name, "title": self.title, "sentence": self.sentence, "state": self.state.document()}


PRESETS: tuple[Preset, ...] = (
    Preset(
        "sam-trapped", "SAM is trapped where SGD escapes",
        "SGD empties this box by t = 10; SAM, with the same η and σ, is held at the saddle by its own ascent: switch "
        "the method to SGD and watch it leave.",
        State(method="sam", eta=0.02, rho=0.4, sigma=0.1, parameters={"curvature": 1.0}),
    ),
    Preset(
        "noise-frees-sam", "More noise frees SAM, but not USAM",
        "With σ = 1 SAM leaves this sharper saddle; turn σ down to 0.1 and it is trapped. USAM, for which ρ·μ > 1, "
        "stays at either noise.",
        State(method="sam", eta=0.02, rho=0.5, sigma=1.0, parameters={"curvature": 2.5}),
    ),
    Preset(
        "dnsam-hovers", "DNSAM hovers around the saddle",
        "When SGD has left, about half of DNSAM’s particles still hover; the rest were flung out where its noise is "
        "divided by a tiny |∇f|. Kicks of the SDE are those of its finite steps.",
        State(method="dnsam", eta=0.01, rho=0.3, sigma=0.05, parameters={"curvature": 1.0}),
    ),
    Preset(
        "valley-drift", "SAM drifts along the valley of l(xy)",
        "SAM slides down the valley x = 0 towards smaller y, where it is flatter, and SGD stays; the SDE, of first "
        "order in ρ, misses most of the drift at this ρ.",
        State(
            landscape="product-valley", method="sam", eta=0.02, rho=0.3, sigma=0.1, start=(0.0, 1.8), absorb=False,
            quantity="x[1]", horizon=20.0, box=(-1.0, 1.0, 0.8, 2.3), parameters={"bottom": 0.0},
        ),
    ),
    Preset(
        "switch-to-sam", "A network after a switch from SGD to SAM",
        "At t = 20 the method becomes SAM: until then the sharpness hardly moves, afterwards it falls as the cloud "
        "slides to the flat end of the valley; the SDE of first order in ρ misses most of it.",
        State(
            landscape="tanh-network", method="sgd", eta=0.05, rho=0.3, sigma=0.1, start=(1.0, 0.0), absorb=False,
            quantity="sharpness", horizon=60.0, box=(-1.5, 1.5, -1.5, 1.5), switch_at=20.0, switch_to="sam",
        ),
    ),
    Preset(
        "euler-is-the-algorithm", "With dt = η the Euler scheme is the algorithm",
        "One Euler step of USAM’s SDE with dt = η and the same noise is USAM’s own step: the difference is zero, and "
        "the agreement says nothing. Raise the substeps to compare with the SDE.",
        State(
            landscape="quadratic", method="usam", integrator="euler", substeps=1, shared=True, eta=0.1, rho=0.2,
            sigma=0.5, start=(1.0, 1.0), absorb=False, horizon=6.0, box=(-1.2, 1.2, -1.2, 1.2),
            parameters={"flat": 1.0, "sharp": 3.0},
        ),
    ),
    Preset(
        "printed-covariance", "SAM’s SDE as printed, and as derived",
        "With the covariance cut at first order in ρ the SDE (right) loses its noise at the saddle and stays; SAM "
        "leaves. Choose “its SDE” for the full covariance, which leaves with it.",
        State(method="sam", model="as-printed", eta=0.01, rho=0.2, sigma=0.25, parameters={"curvature": 1.0}),
    ),
)  # fmt: skip
