"""Monzio Compagnoni et al., "An SDE for Modeling SAM: Theory and Insights", ICML 2023.

The SDEs in general form (``usam_sde``, ...), for additive noise (``…_additive``) and as printed (``…_as_printed``), the
full-batch ODEs, regularised losses, stationary losses, saddles and exit times.  What is marked "recalled" in a
docstring was not re-read in the paper.
"""

from .additive import (
    dnsam_full_numerator_sde_additive,
    dnsam_sde_additive,
    sam_factored_sde,
    sam_ode,
    sam_sde_additive,
    sgd_sde_additive,
    usam_ode,
    usam_sde_additive,
)
from .as_printed import (
    IndefiniteCovariance,
    clipped_mass,
    dnsam_sde_as_printed,
    sam_covariance_as_printed,
    sam_sde_as_printed,
    usam_loss_as_printed,
    usam_sde_as_printed,
    usam_sde_truncated_as_printed,
)
from .closed_forms import (
    dnsam_loss,
    drift_only_stationary_loss,
    sam_loss,
    sam_stationary_loss,
    usam_loss,
    usam_stationary_loss,
)
from .escape import (
    chain_exit_time,
    sam_attraction_radius,
    skeleton_exit_time,
    usam_well_exit_time,
    usam_well_exponent,
    watched_exit_time,
    well_exit_ratio,
)
from .methods import UPDATES
from .saddles_and_exits import (
    dnsam_capture_radius,
    mean_exit_time,
    sam_axis_exit_time,
    sam_critical_rho,
    usam_axis_exit_time,
    usam_critical_rho,
)
from .sdes import dnsam_full_numerator_sde, dnsam_sde, sam_sde, sgd_sde, usam_sde
from .stationary import (
    RadialLaw,
    dnsam_mean_field_radius,
    dnsam_mode,
    dnsam_radial,
    dnsam_stationary_density,
    radial_law,
    sam_radial,
    sam_two_cycle,
    usam_pl_bound,
    usam_radial,
)

__all__ = [
    "UPDATES", "IndefiniteCovariance", "RadialLaw", "chain_exit_time", "clipped_mass", "dnsam_capture_radius",
    "dnsam_full_numerator_sde", "dnsam_full_numerator_sde_additive", "dnsam_loss", "dnsam_mean_field_radius",
    "dnsam_mode", "dnsam_radial", "dnsam_sde", "dnsam_sde_additive", "dnsam_sde_as_printed",
    "dnsam_stationary_density", "drift_only_stationary_loss", "mean_exit_time", "radial_law",
    "sam_attraction_radius", "sam_axis_exit_time", "sam_covariance_as_printed", "sam_critical_rho",
    "sam_factored_sde", "sam_loss", "sam_ode", "sam_radial", "sam_sde", "sam_sde_additive",
    "sam_sde_as_printed", "sam_stationary_loss", "sam_two_cycle", "sgd_sde", "sgd_sde_additive",
    "skeleton_exit_time", "usam_axis_exit_time", "usam_critical_rho", "usam_loss", "usam_loss_as_printed",
    "usam_ode", "usam_pl_bound", "usam_radial", "usam_sde", "usam_sde_additive", "usam_sde_as_printed",
    "usam_sde_truncated_as_printed", "usam_stationary_loss", "usam_well_exit_time", "usam_well_exponent",
    "watched_exit_time", "well_exit_ratio",
]  # fmt: skip
