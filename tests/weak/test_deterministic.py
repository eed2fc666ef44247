"""Quadrature's shorter ways: models without noise follow their path, and each model stops on its own grid."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import sdesam as ss
from sdesam.theory import monzio_compagnoni2023 as mc23
from sdesam.weak.by_grid import estimator
from sdesam.weak.by_grid.estimator import models_by_quadrature
from sdesam.weak.planted import weaker_noise, without_noise

ETA, STEPS = 1 / 16, 16
CASES = {
    "d = 1": (ss.GaussianOracle(ss.LogCosh(1), 0.4), [1.2], 1e-8),
    "d = 2": (ss.GaussianOracle(ss.TanhNetwork(), 0.3), [1.0, 1.2], 1e-6),
}
PHIS = {"x[0]": ss.coordinate(0), "|x|^2": ss.squared_norm}


def own(g, eta, rho):
    return mc23.usam_sde(g, eta=eta, rho=rho)


def path_of(sde, x0):
    """phi along the ODE of the drift itself, no grid and no table."""

    def drift(_, x):
        return sde.coefficients(torch.from_numpy(x)[None])[0][0].numpy()

    times = np.linspace(0.0, STEPS * ETA, STEPS + 1)
    x = torch.from_numpy(solve_ivp(drift, (0.0, times[-1]), x0, "DOP853", times, rtol=1e-12, atol=1e-12).y.T.copy())
    return {name: phi(x).numpy() for name, phi in PHIS.items()}


def found_for(case, **models):
    g, x0, _ = CASES[case]
    kernel = ss.optimizer(lambda g, x, z: ss.usam(g, x, z, rho=0.2), g, ETA)
    at = {name: model(g, ETA, 0.2) for name, model in models.items()}
    return at, models_by_quadrature(kernel, at, x0, steps=STEPS, observables=PHIS)


def silent(g, eta, rho):
    return without_noise(own(g, eta, rho))


@pytest.mark.parametrize("case", CASES)
def test_a_model_without_noise_follows_its_ode(case):
    models, found = found_for(case, silent=silent)
    _, x0, accuracy = CASES[case]
    for name, values in path_of(models["silent"], x0).items():
        e = found["silent"][name].sde
        assert float(np.max(e.stderr)) < accuracy
        assert np.all(np.abs(e.value - values) <= e.stderr + 1e-11)


def test_a_coarse_interpolation_shows_in_the_accuracy(monkeypatch):
    """With polygons for splines the path is off, and the returned accuracy says so."""
    monkeypatch.setattr(estimator, "_splines", polygons)
    models, found = found_for("d = 1", silent=silent)
    off = np.abs(found["silent"]["x[0]"].sde.value - path_of(models["silent"], [1.2])["x[0]"])
    accuracy = np.asarray(found["silent"]["x[0]"].sde.stderr)
    assert off[-1] > 1e-9
    assert np.all(off <= 4 * accuracy + 1e-11)


def polygons(grid, values):
    axis = grid.low[0] + grid.h[0] * np.arange(grid.shape[0])
    return lambda x: np.array([np.interp(x[0], axis, values[:, 0])])


def test_each_model_stops_on_its_own_grid(monkeypatch):
    """A model is as accurate together with a harder one as alone, and not taken to grids only that needs."""
    together = dict(right=own, silent=silent, weaker=weaker_noise(own))
    alone = {name: found_for("d = 1", model=model)[1]["model"] for name, model in together.items()}
    taken, on_grids = [], estimator._on_grids

    def watched(optimizer, models, *rest):
        taken.append(set(models))
        return on_grids(optimizer, models, *rest)

    monkeypatch.setattr(estimator, "_on_grids", watched)
    _, found = found_for("d = 1", **together)
    assert taken[0] == set(together)
    assert taken[-1] == {"weaker"}
    for name in together:
        for phi in PHIS:
            a, b = found[name][phi].error, alone[name][phi].error
            assert name == "weaker" or float(np.max(a.stderr)) < 1e-8
            assert np.all(np.abs(a.value - b.value) <= a.stderr + b.stderr)
