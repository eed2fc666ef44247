"""Interpolants on the half-line against the functions themselves, their bits, and their refusals."""

import hashlib
from decimal import Decimal, localcontext

import mpmath as mp
import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev

from sdesam.problems.quadrature import hermite
from sdesam.theory.exact.chebyshev import FIFTY_DIGITS, PI, interpolate, kummer
from sdesam.theory.exact.gaussian_noise import direction_law, effective_radius_factor, tables

Q = np.concatenate(([0.0], np.logspace(-6, 6, 200)))


def decaying(q):
    """(1 + q)^-3/2 e^(-1/(1+q))."""
    return ((1 + q) ** Decimal("-1.5") * (-1 / (1 + q)).exp(),)


def test_values_and_slopes_hold_over_the_whole_half_line():
    def functions(q):
        return (*decaying(q), 1 / (1 + q))

    found = interpolate(functions, decay=(1.5, 1.0), scale=2.0, tolerances=(1e-13, 1e-13))
    q = torch.from_numpy(Q).requires_grad_()
    value = found(q)[0]
    exact = [mp.mpf(1 + x) ** mp.mpf("-1.5") * mp.exp(-1 / (1 + mp.mpf(x))) for x in Q]
    np.testing.assert_allclose(value.detach().numpy(), np.array(exact, float), rtol=3e-13)
    (slope,) = torch.autograd.grad(value.sum(), q)
    ratio = np.array(
        [float(e * (-mp.mpf("1.5") / (1 + x) + 1 / (1 + mp.mpf(x)) ** 2)) for e, x in zip(exact, Q, strict=True)]
    )
    np.testing.assert_allclose(slope.numpy(), ratio, rtol=1e-10, atol=1e-12)


def test_the_shape_is_that_of_the_argument_and_float32_stays_float32():
    found = interpolate(decaying, decay=(1.5,), scale=2.0, tolerances=(1e-13,))
    for q in (torch.tensor(0.5), torch.rand(3, 4), torch.rand(0, 2, dtype=torch.float64)):
        (value,) = found(q)
        assert value.shape == q.shape and value.dtype == q.dtype


def test_a_wrong_decay_is_refused():
    with pytest.raises(ValueError, match="does not decay as declared"):
        interpolate(decaying, decay=(0.0,), scale=2.0, tolerances=(1e-13,))


def test_powers_that_would_lose_digits_are_refused():
    """Runge's function has poles near the interval: its series ends, the coefficients of its powers explode."""

    def runge(q):
        s = (q - 2) / (q + 2)
        return (1 / (1 + 25 * s**2),)

    with pytest.raises(ValueError, match="below the rounding of a sum of powers"):
        interpolate(runge, decay=(0.0,), scale=2.0, tolerances=(1e-13,))


# ----------------------------------------------------------------- decimals against mpmath
@pytest.mark.parametrize("d", [1, 2, 7, 250])
def test_kummers_function_to_forty_digits(d):
    """On both sides of where the series ends and the expansion begins."""
    b, a = Decimal(d) / 2 + 1, Decimal(1)
    with mp.workdps(60), localcontext(FIFTY_DIGITS):
        found = kummer(a, b, b - 1)
        for q in ("0", "0.001", "3", "109.9", "110.1", "127", "1e3", "1e6"):
            exact = mp.hyp1f1(1, mp.mpf(d) / 2 + 1, -mp.mpf(q))
            assert abs(mp.mpf(str(found(Decimal(q)))) / exact - 1) < mp.mpf("1e-40"), q


def test_pi_and_the_radius_factor():
    with mp.workdps(62):
        assert abs(mp.mpf(str(PI)) - mp.pi) < mp.mpf("1e-60")
    for d in (1, 2, 3, 28, 101):
        with mp.workdps(40):
            exact = mp.gamma(mp.mpf(d + 1) / 2) / (mp.sqrt(2) * mp.gamma(mp.mpf(d) / 2 + 1))
        assert effective_radius_factor(d) == float(exact)


# ----------------------------------------------------------------- SAM's tables: accuracy, and bits
def integral(d, q, sines, cosines):
    return mp.quad(lambda t: mp.sin(t) ** sines * mp.cos(t) ** cosines * mp.exp(-q * mp.sin(t) ** 2), [0, mp.pi / 2])


@pytest.mark.parametrize("accuracy", [1e-13, 1e-8])
@pytest.mark.parametrize(("d", "q"), [(1, 0.3), (2, 0.0), (2, 2.5), (2, 40.0), (3, 7.0), (28, 11.0)])
def test_the_tables_keep_their_stated_accuracy(d, q, accuracy):
    """Against the integrals of ``gaussian_noise``, of which the tables know nothing: they come from Kummer's function.

    A stated accuracy is relative to the largest coefficient, which is below the function's largest value.
    """
    with mp.workdps(25):
        j = mp.sqrt(2 / mp.pi) * integral(d, q, 0, d)
        along = mp.sqrt(2 / mp.pi) * (mp.exp(-mp.mpf(q)) if d == 1 else (d - 1) * integral(d, q, 2, d - 2))
        K = integral(d, q, 1, d - 1)
        exact = [float(v) for v in (j, along, K - j**2, 1 - (d - 1) * K - 2 * q * j**2 - along**2)]
    table = tables(d, accuracy)
    size = table.coefficients.abs().sum(0)
    for value, e, p, s, tolerance in zip(
        table(torch.tensor(q, dtype=torch.float64)), exact, table.decay, size, [accuracy] * 2 + [1e-11] * 2, strict=True
    ):
        weight = (1 + q / table.scale) ** -p
        assert abs(float(value) - e) <= (max(tolerance, accuracy) * float(s) + 3e-14) * weight


BITS = {  # SHA-256 of the coefficients' bytes; any machine must make these
    (1, 1e-13): "78d37fba389b29c8",
    (2, 1e-13): "268361ac99bed4b8",
    (2, 1e-8): "de128dadd864d489",
    (28, 1e-13): "8dc8c416292fdd6c",
}


def digest(*arrays):
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("key", BITS, ids=str)
def test_the_tables_are_the_same_bits_on_every_machine(key):
    assert digest(tables(*key).coefficients) == BITS[key]


def test_the_bits_see_a_table_fitted_in_floats():
    """The fault that was here: numpy's interpolation of float values, turned into powers, gives other bits."""
    table = tables(2, 1e-8)

    def weighted(s):
        q = table.scale * (1 + s) / (1 - s)
        law = direction_law(torch.from_numpy(np.outer((2 * q) ** 0.5, [1, 0])), 1.0)
        return law.across[:, 0].numpy() * (1 + q / table.scale) ** 0.5

    right = table.coefficients[:18, 0].numpy()
    fitted = chebyshev.cheb2poly(chebyshev.chebinterpolate(weighted, 31)[:18])
    np.testing.assert_allclose(fitted, right, rtol=0, atol=1e-5)
    assert digest(fitted) != digest(right)


def test_the_rule_of_a_normal_is_the_same_bits_on_every_machine():
    """Against mpmath's roots, to which every node is the nearest float; and the bits of several rules."""
    for order in (3, 4, 20):
        z, w = hermite(order, 1)
        with mp.workdps(40):
            for node, weight in zip(z[:, 0].tolist(), w.tolist(), strict=True):
                he = lambda n, x: mp.hermite(n, x / mp.sqrt(2)) / 2 ** (mp.mpf(n) / 2)  # noqa: E731
                exact = mp.findroot(lambda x: he(order, x), node) if node else mp.mpf(0)  # noqa: B023
                assert node == float(exact)
                assert weight == float(mp.factorial(order) / (order * he(order - 1, exact)) ** 2)
    assert [digest(*hermite(order, 1)) for order in (4, 20, 40)] == [
        "2274aca987e0c17c", "dc7fac50e0f9b603", "3d17d97b151536d0",
    ]  # fmt: skip
