from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.simulate.scenes import periodic_shift, shifted_pairs, speckled_star


def test_star_moved_in_its_pupil_equals_its_fourier_shift():
    at_rest = speckled_star((64, 70), (30.3, 33.2), seed=3)
    moved = speckled_star((64, 70), (31.0, 32.0), seed=3)
    np.testing.assert_allclose(
        periodic_shift(at_rest, 0.7, -1.2), moved, rtol=0, atol=1e-12 * moved.max()
    )


def test_star_is_band_limited_and_has_its_flux():
    star = speckled_star((80, 64), flux=5e4, seed=1)
    spectrum = np.abs(np.fft.fft2(star))
    frequency = np.hypot(np.fft.fftfreq(80)[:, None], np.fft.fftfreq(64)[None, :])
    assert star.sum() == pytest.approx(5e4)
    assert spectrum[frequency > 0.41].max() < 1e-12 * spectrum.max()


def test_star_has_speckles_round_a_core():
    star = speckled_star((128, 128), seed=0)
    radius = np.hypot(*(np.indices(star.shape) - 63.5))
    near = star[(radius > 12) & (radius < 24)]
    assert np.unravel_index(star.argmax(), star.shape) != (0, 0)
    assert near.std() > 0.3 * near.mean()
    assert star[radius < 6].mean() > 10 * near.mean() > 100 * star[radius > 60].mean()


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_shift_and_back_is_the_identity(dx, dy):
    star = speckled_star((40, 44), seed=2)
    there = periodic_shift(star, dx, dy)
    np.testing.assert_allclose(
        periodic_shift(there, -dx, -dy), star, rtol=0, atol=1e-12 * star.max()
    )


def test_pairs_hold_the_shifts_they_claim():
    pairs = shifted_pairs(3, (48, 52), max_shift=2.0, noise=False, seed=4)
    for psf, (dx, dy), ratio in zip(pairs.psfs, pairs.shifts, pairs.flux_ratios, strict=True):
        expected = ratio * periodic_shift(pairs.noiseless, dx, dy)
        np.testing.assert_allclose(psf, expected, atol=1e-9 * expected.max())
    assert np.abs(pairs.shifts).max() <= 2.0
    assert len(np.unique(pairs.shifts)) == 6


def test_noise_has_the_variance_it_claims():
    pairs = shifted_pairs(8, (64, 64), seed=5)
    clean = shifted_pairs(8, (64, 64), seed=5, noise=False)
    pulls = (pairs.psfs - clean.psfs) / np.sqrt(pairs.psf_variances)
    # 32768 values: the standard deviation is known to 0.4 %
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    assert pulls.mean() == pytest.approx(0.0, abs=0.03)
    assert not np.array_equal(pairs.psfs, shifted_pairs(8, (64, 64), seed=6).psfs)
