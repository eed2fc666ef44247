"""The table of methods: what reads it agrees with it, and a new method is one file."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import call

import sdesam as ss
from sdesam import names
from sdesam.explorer.library import library_of
from sdesam.explorer.methods import METHODS as SHOWN
from sdesam.plotting import COLOURS
from sdesam.sweeps.cells import Ensemble
from sdesam.sweeps.touchstones import touchstone_of
from sdesam.theory import model_of
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.theory.linear_stability import stability
from sdesam.theory.method import Method
from sdesam.theory.methods import METHODS, find_method, row_of

HALF = """
import sdesam as ss
from sdesam.theory.method import Method

def half(g, x, z, *, rho):
    return g(x + rho / 2 * g(x, z), z)

def half_sde(g, *, eta, rho, nodes=None):
    from sdesam.theory import monzio_compagnoni2023 as mc23
    return mc23.usam_sde(g, eta=eta, rho=rho / 2, nodes=nodes)

half_usam = Method("half-usam", half, half_sde)
"""


def test_what_reads_the_table_agrees_with_it():
    assert tuple(METHODS) == names.METHODS == tuple(SHOWN)
    assert set(mc23.UPDATES) | {"DNSAM, full numerator", "Unified SAM"} == set(COLOURS)
    for name, row in METHODS.items():
        assert find_method(name) is row.update is getattr(ss, name.replace("-", "_"))
        assert row.noiseless in ("", *METHODS)
        assert SHOWN[name].code == f"ss.{row.update.__name__}"


def test_a_row_may_stand_for_its_update():
    row, g = METHODS["usam"], ss.GaussianOracle(ss.LogCosh(1), sigma=0.3)
    assert row_of(partial(row, rho=0.1)) is row is row_of(partial(ss.usam, rho=0.1)) and row_of(torch.sin) is None
    kernels = [ss.optimizer(partial(update, rho=0.1), g, 0.05) for update in (row, ss.usam)]
    found = [ss.simulate(k, [1.0], steps=3, observables={"f": g.mean}, n=64).estimate("f").value for k in kernels]
    assert found[0].tolist() == found[1].tolist() and {k.name for k in kernels} == {"usam"}
    x = torch.tensor([0.7], dtype=torch.float64)
    drifts = [model_of(partial(update, rho=0.1), g, 0.05).coefficients(x)[0] for update in (row, ss.usam)]
    assert torch.equal(*drifts)


@pytest.fixture
def half(tmp_path):
    (tmp_path / "mine.py").write_text(HALF)
    assert len(HALF.strip().splitlines()) <= 15
    return f"{tmp_path / 'mine.py'}:half_usam"


@pytest.mark.untyped
def test_a_method_with_its_sde_is_one_file(half, capsys):
    """At the command line its own SDE stands beside it, of order 1; USAM's at the same rho, a near miss, is not."""
    asked = ["weak-order", "--landscape", "log-cosh", "--method", half, "--sigma", "0.5", "--estimator", "quadrature",
             "--observable", "f", "--json"]  # fmt: skip
    code, out, err = call(capsys, *asked)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["conclusions"]["f"]["conclusion"] == "order 1"
    assert found["fluctuations"]["conclusion"] == "order 1"
    Path(half.rpartition(":")[0]).write_text(HALF.replace("rho=rho / 2, nodes", "rho=rho, nodes"))
    wrong = json.loads(call(capsys, *asked)[1])
    assert wrong["conclusions"]["f"]["conclusion"] == "order 1/2"


def test_a_method_with_its_sde_is_in_the_explorer(half):
    library, _, name = library_of(None, half)
    shown = library.methods[name]
    assert (shown.order, list(shown.models), shown.source) == (0, ["theory"], half)
    science = library.science("saddle", name)
    assert f"{name}/theory/srk" in science.lists


def test_a_row_is_told_from_its_update_nowhere():
    """Where something is known of an update, it is known of its row; what a row lacks is said in a sentence."""
    f, x = ss.Quadratic([[3.0, 0.0], [0.0, 1.0]]), torch.ones(2, dtype=torch.float64)
    usam = METHODS["usam"]
    assert str(stability(usam, f, x, eta=0.1, rho=0.5)) == str(stability(ss.usam, f, x, eta=0.1, rho=0.5))
    g = ss.GaussianOracle(f, sigma=0.3)
    with pytest.raises(ValueError, match="update usam needs rho"):
        model_of(usam, g, 0.05)
    with pytest.raises(ValueError, match="update always-half needs rho"):
        model_of(Method("always-half", partial(ss.usam, rho=0.5), mc23.usam_sde), g, 0.05)
    bare = Method("bare", ss.usam, lambda g, *, eta, rho: mc23.usam_sde(g, eta=eta, rho=rho))
    with pytest.raises(ValueError, match="the SDE of method bare takes no nodes"):
        model_of(partial(bare, rho=0.1), g, 0.05, nodes=g.noise.sampled(4, 0))


def test_the_explorer_keeps_what_a_row_says():
    row = Method("own", ss.usam, mc23.usam_sde, title="Our own", formulas="usam", noiseless="usam")
    shown = library_of(None, row)[0].methods["own"]
    assert (shown.row.title, shown.row.formulas, shown.noiseless) == ("Our own", "usam", "usam")
    assert library_of(None, METHODS["sam"])[2] == "sam"


def test_a_touchstone_sees_the_sde_of_a_row(half):
    def drift(factor):
        mine = Path(half.rpartition(":")[0])
        mine.write_text(HALF.replace("rho=rho / 2, nodes", f"rho={factor} * rho, nodes"))
        stone = touchstone_of(Ensemble("log-cosh", half, eta=0.1, rho=0.1, sigma=0.2, steps=10, side="SDE"))
        return stone.values["drift"]

    assert abs(drift(0.5) - drift(0.25)).max() > 1e-4
