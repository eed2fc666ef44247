"""Monzio Compagnoni et al., "An SDE for Modeling SAM: Theory and Insights", ICML 2023.

The simplified (additive-noise) SDEs, full-batch ODEs, regularised losses, stationary losses, saddles and
exit times.  What is marked "recalled" in a docstring was not re-read in the paper.
"""

from .closed_forms import (
    dnsam_loss,
    drift_only_stationary_loss,
    sam_loss,
    sam_stationary_loss,
    usam_loss,
    usam_stationary_loss,
)
from .saddles_and_exits import (
    dnsam_capture_radius,
    mean_exit_time,
    sam_axis_exit_time,
    sam_critical_rho,
    usam_axis_exit_time,
    usam_critical_rho,
)
from .sdes import (
    dnsam_full_numerator_sde,
    dnsam_sde,
    sam_factored_sde,
    sam_ode,
    sam_sde,
    sgd_sde,
    usam_ode,
    usam_sde,
)

__all__ = [
    "dnsam_capture_radius",
    "dnsam_full_numerator_sde",
    "dnsam_loss",
    "dnsam_sde",
    "drift_only_stationary_loss",
    "mean_exit_time",
    "sam_axis_exit_time",
    "sam_critical_rho",
    "sam_factored_sde",
    "sam_loss",
    "sam_ode",
    "sam_sde",
    "sam_stationary_loss",
    "sgd_sde",
    "usam_axis_exit_time",
    "usam_critical_rho",
    "usam_loss",
    "usam_ode",
    "usam_sde",
    "usam_stationary_loss",
]
