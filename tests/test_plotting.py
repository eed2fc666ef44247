"""Figures do not depend on the settings of whoever draws them."""

import io
from contextlib import nullcontext

import matplotlib as mpl
import numpy as np
import pytest

from sdesam.plotting import new_figure, save, style

STRANGE = {
    "font.size": 40, "font.family": "serif", "axes.grid": True, "axes.prop_cycle": mpl.cycler(color="r"),
    "savefig.facecolor": "black", "pdf.compression": 0, "axes.unicode_minus": False,
}  # fmt: skip


def _drawn():
    fig, axes = new_figure(1, 1, width=1.5, height=1.0)
    axes[0, 0].plot([0, 1], [0, -1], label=r"$\rho$")
    axes[0, 0].legend()
    return fig


def _picture(context):
    out = io.BytesIO()
    with context:
        _drawn().savefig(out, format="png", dpi=40)
    return out.getvalue()


def test_the_users_settings_do_not_reach_a_figure():
    expected = _picture(style())
    with mpl.rc_context(STRANGE):
        assert _picture(style()) == expected
        assert _picture(nullcontext()) != expected  # they would have
        assert mpl.rcParams["font.size"] == 40  # and are the user's again
    with mpl.rc_context({"text.usetex": True}):  # where there is no latex, this was a traceback
        assert _picture(style()) == expected


@pytest.mark.slow
def test_saved_files_are_equal_files(tmp_path):
    def written(folder, settings):
        with mpl.rc_context(settings):
            with style():
                fig = _drawn()
            return [path.read_bytes() for path in save(fig, tmp_path / folder / "figure")]

    plain, strange = written("plain", {}), written("strange", STRANGE)
    assert plain == strange and all(np.frombuffer(b, np.uint8).size for b in plain)
