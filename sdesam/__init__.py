"""sdesam: stochastic optimizers side by side with their stochastic differential equations.

One verb.  An optimizer and a discretised SDE are both a Markov kernel ``state⁺ = step(state, z)``, so one
``simulate`` runs either, and ``coupled`` runs both on one noise.

    landscape f ── oracle g(x, z) ──┬── update field G(g, x, z, rho) ── optimizer(G, g, eta) ──────┐
                                    │                                                              ├─ kernel ── simulate
                                    └── theory: x ↦ (drift, diffusion) ── SDE ── integrator(sde, h) ┘

The house, by floors; a package imports from lower floors only, and inside a package no imports run in a circle:

    7  cli         what is typed in a terminal, and the text and JSON that come back
    6  claims      experiments: verdicts on the papers' statements, records, the report
       sweeps      many cells kept in a store       explorer   the interactive screen
    5  weak        is the SDE a model of the optimizer: weak errors, orders, comparisons       setting.py  plotting.py
    4  engine      runs kernels: streams of randomness, two engines (llvm compiles what tracing reads), moments, exits
       theory      the SDE of an update, exact laws, and one package a paper
    3  dynamics    kernels: update fields, optimizers, SDEs, integrators, couplings
    2  problems    landscapes, noise, oracles, observables, calculus                                  processes.py
    1  user_code   the files that users bring        arguments.py (checks)  files.py (writes)  names.py (public names)

Names are loaded on first use, so importing the package does not import torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from .names import MODULE_OF, MovedModules

__version__ = "0.1.0"
sys.meta_path.append(MovedModules())
__all__ = sorted(MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from .dynamics.integrators import euler_maruyama, heun, small_noise_srk
    from .dynamics.kernels import Kernel, coupled, optimizer, subcycle
    from .dynamics.platen_scheme import platen
    from .dynamics.sde import SDE
    from .dynamics.updates import dnsam, dnsam_full_numerator, sam, sgd, unified_sam, usam
    from .engine.ensembles import DivergenceWarning, simulate, trajectories
    from .engine.exits import ExitTimes, first_exit
    from .engine.start import Cloud
    from .engine.statistics import Estimate, Moments
    from .files import StoreFailed
    from .problems.calculus import grad, grad_and_hessian, hessian, hvp, norm, unit
    from .problems.finite_sums import FiniteSum, flat_parameters, landscape_from_module, quadratics
    from .problems.landscapes import DoubleWell, Landscape, LogCosh, Quadratic, Saddle, TanhNetwork
    from .problems.minibatch import MinibatchOracle, gaussian_surrogate
    from .problems.noise import Choice, Normal, Product, ThreePoint, TwoPoint
    from .problems.observables import coordinate, difference, of_member, products, squared_norm
    from .problems.oracles import ExactOracle, GaussianOracle, Oracle
    from .problems.saddles_and_valleys import (
        EmbeddedSaddle,
        LinearAutoencoder,
        ProductValley,
        Rotated,
        WenValley,
        rotation,
    )
    from .sweeps.driver import run_sweep
    from .sweeps.store import Store
    from .theory.one_step import modified_equation, sampling_error
    from .weak.by_grid.estimator import by_quadrature
    from .weak.comparison import apart, beside
    from .weak.conclusions import Order, conclude
    from .weak.drift_corrections import corrected_drift
    from .weak.errors import WeakError, by_controlled_mc, by_coupled_mc, in_closed_form
    from .weak.fluctuations import fluctuation_order
    from .weak.leading_constants import leading_constant
    from .weak.metrics import Comparison
    from .weak.orders import weak_order, weak_order_of


def __getattr__(name: str) -> object:
    if name in MODULE_OF:
        return getattr(import_module(f".{MODULE_OF[name]}", __name__), name)
    raise AttributeError(f"module 'sdesam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
