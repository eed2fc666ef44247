"""The public names of the package and the module that each lives in, and the names that a command line takes.

No module is imported to know them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["EXPLORED", "HOME", "LANDSCAPES", "METHODS", "MODULE_OF", "MOVED", "MovedModules"]

HOME = {
    "dynamics.integrators": ["euler_maruyama", "heun", "small_noise_srk"],
    "dynamics.kernels": ["Kernel", "coupled", "optimizer", "subcycle"],
    "dynamics.platen_scheme": ["platen"],
    "dynamics.sde": ["SDE"],
    "dynamics.updates": ["dnsam", "dnsam_full_numerator", "sam", "sgd", "unified_sam", "usam"],
    "engine.ensembles": ["DivergenceWarning", "simulate", "trajectories"],
    "engine.exits": ["ExitTimes", "first_exit"],
    "engine.start": ["Cloud"],
    "engine.statistics": ["Estimate", "Moments"],
    "files": ["StoreFailed"],
    "problems.calculus": ["grad", "grad_and_hessian", "hessian", "hvp", "norm", "unit"],
    "problems.finite_sums": ["FiniteSum", "flat_parameters", "landscape_from_module", "quadratics"],
    "problems.landscapes": ["DoubleWell", "Landscape", "LogCosh", "Quadratic", "Saddle", "TanhNetwork"],
    "problems.minibatch": ["MinibatchOracle", "gaussian_surrogate"],
    "problems.noise": ["Choice", "Normal", "Product", "ThreePoint", "TwoPoint"],
    "problems.observables": ["coordinate", "difference", "of_member", "products", "squared_norm"],
    "problems.oracles": ["ExactOracle", "GaussianOracle", "Oracle"],
    "problems.saddles_and_valleys": [
        "EmbeddedSaddle",
        "LinearAutoencoder",
        "ProductValley",
        "Rotated",
        "WenValley",
        "rotation",
    ],
    "sweeps.driver": ["run_sweep"],
    "sweeps.store": ["Store"],
    "theory.one_step": ["modified_equation", "sampling_error"],
    "weak.by_grid.estimator": ["by_quadrature"],
    "weak.comparison": ["apart", "beside"],
    "weak.conclusions": ["Order", "conclude"],
    "weak.drift_corrections": ["corrected_drift"],
    "weak.errors": ["WeakError", "by_controlled_mc", "by_coupled_mc", "in_closed_form"],
    "weak.fluctuations": ["fluctuation_order"],
    "weak.leading_constants": ["leading_constant"],
    "weak.metrics": ["Comparison"],
    "weak.orders": ["weak_order", "weak_order_of"],
}
MODULE_OF = {name: module for module, names in HOME.items() for name in names}

METHODS = ("sgd", "usam", "dnsam", "dnsam-full-numerator", "sam", "unified-sam")
EXPLORED = (  # landscapes of the catalogue that the explorer shows
    "saddle", "rotated-saddle", "embedded-saddle", "double-well", "quadratic", "log-cosh", "product-valley",
    "tanh-network",
)  # fmt: skip
LANDSCAPES = (*EXPLORED, "wen-valley", "autoencoder", "iris", "breast-cancer", "teacher-student")

MOVED = {  # modules that were public under another name
    "candidates": "weak.models",
    "catalogue": "problems.catalogue",
    "cells": "sweeps.cells",
    "datasets": "problems.datasets",
    "ensembles": "engine.ensembles",
    "explorer.switched": "dynamics.switched",
    "grids": "sweeps.grids",
    "interop": "dynamics",
    "interop.torchsde": "dynamics.torchsde_bridge",
    "planted": "weak.planted",
    "theory.affine_noise": "theory.exact.affine_noise",
    "theory.anisotropic_noise": "theory.exact.anisotropic_noise",
    "theory.gaussian_noise": "theory.exact.gaussian_noise",
    "theory.linear": "theory.exact.linear",
    "theory.planar": "theory.exact.planar",
    "variants": "dynamics.variants",
}


class MovedModules(MetaPathFinder, Loader):
    """Imports a module under its old name too: ``sdesam.datasets`` is ``sdesam.problems.datasets``, the same object."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == __package__ and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"{__package__}.{MOVED[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = spec.loader_state  # it keeps its own name
        sys.modules[spec.name] = module
