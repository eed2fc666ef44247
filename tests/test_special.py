"""Interpolants on the half-line against the functions themselves, and their refusals."""

import mpmath as mp
import numpy as np
import pytest
import torch

from sdesam.special import interpolate

Q = np.concatenate(([0.0], np.logspace(-6, 6, 200)))


def decaying(q):
    """(1 + q)^-3/2 e^(-1/(1+q))."""
    return (1 + q) ** -1.5 * np.exp(-1 / (1 + q))


def test_values_and_slopes_hold_over_the_whole_half_line():
    found = interpolate([decaying, lambda q: 1 / (1 + q)], decay=(1.5, 1.0), scale=2.0, tolerances=(1e-13, 1e-13))
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
    found = interpolate([decaying], decay=(1.5,), scale=2.0, tolerances=(1e-13,))
    for q in (torch.tensor(0.5), torch.rand(3, 4), torch.rand(0, 2, dtype=torch.float64)):
        (value,) = found(q)
        assert value.shape == q.shape and value.dtype == q.dtype


def test_a_wrong_decay_is_refused():
    with pytest.raises(ValueError, match="does not decay as declared"):
        interpolate([decaying], decay=(0.0,), scale=2.0, tolerances=(1e-13,))


def test_powers_that_would_lose_digits_are_refused():
    """Runge's function has poles near the interval: its series ends, the coefficients of its powers explode."""

    def runge(q):
        s = (q - 2.0) / (q + 2.0)
        return 1 / (1 + 25 * s**2)

    with pytest.raises(ValueError, match="below the rounding of a sum of powers"):
        interpolate([runge], decay=(0.0,), scale=2.0, tolerances=(1e-13,))
