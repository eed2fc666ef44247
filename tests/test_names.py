"""Public names, and modules that moved: what was written before works as before."""

import subprocess
import sys
from importlib import import_module

import pytest

import sdesam
from sdesam.names import MOVED

BEFORE = [
    "Choice", "Cloud", "Comparison", "DivergenceWarning", "DoubleWell", "EmbeddedSaddle", "Estimate",
    "ExactOracle", "ExitTimes", "FiniteSum", "GaussianOracle", "Kernel", "Landscape", "LinearAutoencoder",
    "LogCosh", "MinibatchOracle", "Moments", "Normal", "Oracle", "Order", "Product", "ProductValley",
    "Quadratic", "Rotated", "SDE", "Saddle", "Store", "StoreFailed", "TanhNetwork", "ThreePoint", "TwoPoint",
    "WeakError", "WenValley", "apart", "beside", "by_controlled_mc", "by_coupled_mc", "by_quadrature",
    "conclude", "coordinate", "corrected_drift", "coupled", "difference", "dnsam", "dnsam_full_numerator",
    "euler_maruyama", "first_exit", "flat_parameters", "fluctuation_order", "gaussian_surrogate", "grad",
    "grad_and_hessian", "heun", "hessian", "hvp", "in_closed_form", "landscape_from_module", "leading_constant",
    "modified_equation", "norm", "of_member", "optimizer", "platen", "products", "quadratics", "rotation",
    "run_sweep", "sam", "sampling_error", "sgd", "simulate", "small_noise_srk", "squared_norm", "subcycle",
    "trajectories", "unified_sam", "unit", "usam", "weak_order", "weak_order_of",
]  # fmt: skip


def test_the_public_names_of_before_are_there():
    assert set(BEFORE) <= set(sdesam.__all__)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_module_is_found_under_its_old_name(old, new):
    module = import_module(f"sdesam.{new}")
    assert import_module(f"sdesam.{old}") is module
    assert module.__name__ == module.__spec__.name == f"sdesam.{new}"


def test_old_names_in_a_process_that_knows_no_new_one():
    code = """
from sdesam.theory import linear, model_of
from sdesam.interop.torchsde import to_torchsde
import sdesam.datasets, sdesam.problems.datasets
assert sdesam.datasets is sdesam.problems.datasets and linear.__name__ == "sdesam.theory.exact.linear"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
