"""sdesam: stochastic optimizers side by side with their stochastic differential equations.

One verb.  An optimizer and a discretised SDE are both a Markov kernel ``state⁺ = step(state, z)``, so one
``simulate`` runs either, and ``coupled`` runs both on one noise.

    landscape f ── oracle g(x, z) ──┬── update field G(g, x, z, rho) ── optimizer(G, g, eta) ──────┐
                                    │                                                              ├─ kernel ── simulate
                                    └── theory: x ↦ (drift, diffusion) ── SDE ── integrator(sde, h) ┘

Layers, each importing from those above only: validation, failures, user_failures, calculus, special, folds,
statistics, quadrature, noise, conclusions · landscapes, saddles_and_valleys, finite_sums, datasets, oracles,
minibatch, observables · updates, sde, one_step · kernels, variants, integrators, second_order, stability, theory ·
engine, ensembles, exits, controls, metrics, candidates, comparison, weak_error, growth, backward, tubes,
deterministic, orders, drift_corrections, leading_constants, fluctuations, planted, interop · plotting, files,
normal_form, sources, experiments, criteria, devices, execution, validation_tasks, validation_figures,
validation_rows, report, store, chunks, executors, sweeps · user_files, user_code, catalogue, setting, touchstones,
side_by_side, cells, order_report, grids, collecting, sweeping, reproduction, terminal, explorer, validating,
cli_stores, cli_explore, cli_validate, cli.
Names are loaded on first use, so importing the package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "calculus": ["grad", "grad_and_hessian", "hessian", "hvp", "norm", "unit"],
    "noise": ["Choice", "Normal", "Product", "ThreePoint", "TwoPoint"],
    "statistics": ["Estimate", "Moments"],
    "landscapes": ["DoubleWell", "Landscape", "LogCosh", "Quadratic", "Saddle", "TanhNetwork"],
    "saddles_and_valleys": ["EmbeddedSaddle", "LinearAutoencoder", "ProductValley", "Rotated", "WenValley", "rotation"],
    "finite_sums": ["FiniteSum", "flat_parameters", "landscape_from_module", "quadratics"],
    "oracles": ["ExactOracle", "GaussianOracle", "Oracle"],
    "minibatch": ["MinibatchOracle", "gaussian_surrogate"],
    "observables": ["coordinate", "difference", "of_member", "products", "squared_norm"],
    "updates": ["dnsam", "dnsam_full_numerator", "sam", "sgd", "unified_sam", "usam"],
    "sde": ["SDE"],
    "one_step": ["modified_equation", "sampling_error"],
    "kernels": ["Kernel", "coupled", "optimizer", "subcycle"],
    "integrators": ["euler_maruyama", "heun", "small_noise_srk"],
    "second_order": ["platen"],
    "ensembles": ["Cloud", "DivergenceWarning", "simulate", "trajectories"],
    "exits": ["ExitTimes", "first_exit"],
    "weak_error": ["WeakError", "by_controlled_mc", "by_coupled_mc", "in_closed_form"],
    "comparison": ["apart", "beside"],
    "metrics": ["Comparison"],
    "conclusions": ["Order", "conclude"],
    "deterministic": ["by_quadrature"],
    "orders": ["weak_order", "weak_order_of"],
    "drift_corrections": ["corrected_drift"],
    "fluctuations": ["fluctuation_order"],
    "leading_constants": ["leading_constant"],
    "failures": ["StoreFailed"],
    "store": ["Store"],
    "sweeps": ["run_sweep"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from .calculus import grad, grad_and_hessian, hessian, hvp, norm, unit
    from .comparison import apart, beside
    from .conclusions import Order, conclude
    from .deterministic import by_quadrature
    from .drift_corrections import corrected_drift
    from .ensembles import Cloud, DivergenceWarning, simulate, trajectories
    from .exits import ExitTimes, first_exit
    from .failures import StoreFailed
    from .finite_sums import FiniteSum, flat_parameters, landscape_from_module, quadratics
    from .fluctuations import fluctuation_order
    from .integrators import euler_maruyama, heun, small_noise_srk
    from .kernels import Kernel, coupled, optimizer, subcycle
    from .landscapes import DoubleWell, Landscape, LogCosh, Quadratic, Saddle, TanhNetwork
    from .leading_constants import leading_constant
    from .metrics import Comparison
    from .minibatch import MinibatchOracle, gaussian_surrogate
    from .noise import Choice, Normal, Product, ThreePoint, TwoPoint
    from .observables import coordinate, difference, of_member, products, squared_norm
    from .one_step import modified_equation, sampling_error
    from .oracles import ExactOracle, GaussianOracle, Oracle
    from .orders import weak_order, weak_order_of
    from .saddles_and_valleys import EmbeddedSaddle, LinearAutoencoder, ProductValley, Rotated, WenValley, rotation
    from .sde import SDE
    from .second_order import platen
    from .statistics import Estimate, Moments
    from .store import Store
    from .sweeps import run_sweep
    from .updates import dnsam, dnsam_full_numerator, sam, sgd, unified_sam, usam
    from .weak_error import WeakError, by_controlled_mc, by_coupled_mc, in_closed_form


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    raise AttributeError(f"module 'sdesam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
