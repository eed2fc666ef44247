"""The paper's methods, as rows of the table."""

from __future__ import annotations

from functools import partial

from ...dynamics.updates import dnsam, dnsam_full_numerator, sam, sgd, usam
from ..method import Method
from .additive import sam_sde_additive
from .as_printed import sam_sde_as_printed, usam_sde_as_printed
from .planar import planar_sam_sde_as_printed
from .sdes import dnsam_full_numerator_sde, dnsam_sde, sam_sde, sgd_sde, usam_sde

__all__ = ["METHODS", "UPDATES"]

_ACCURACY = 1e-8  # of the functions in SAM's SDE: a picture needs no more, and the page is half as long

# The colours are Okabe and Ito's: readable by colour-blind eyes and in print.
METHODS = (
    Method("sgd", sgd, sgd_sde, title="SGD", colour="#000000", formulas="sgd", shares_noise=True),
    Method("usam", usam, usam_sde, usam_sde_as_printed, "USAM", "#0072B2", "usam", shares_noise=True),
    Method("dnsam", dnsam, dnsam_sde, title="DNSAM", colour="#009E73", shares_noise=True),
    Method("dnsam-full-numerator", dnsam_full_numerator, dnsam_full_numerator_sde, title="DNSAM, full numerator",
           shares_noise=True),
    Method("sam", sam, sam_sde, sam_sde_as_printed, "SAM", "#D55E00", "sam", noiseless="dnsam", shares_noise=True,
           planar={"theory": partial(sam_sde_additive, accuracy=_ACCURACY), "as-printed": planar_sam_sde_as_printed}),
)  # fmt: skip
UPDATES = {row.title: row.update for row in METHODS if row.update is not dnsam_full_numerator}  # as figures name them
