from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.simulate.frames import build_wcs, pointing_keywords
from webbalign.simulate.instruments import INSTRUMENTS, instrument_for

TARGET = (311.29, -31.34)


def separation_mas(first, second):
    dra = (first[0] - second[0]) * np.cos(np.deg2rad(first[1]))
    return 3.6e6 * np.hypot(dra, first[1] - second[1])


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0, 360))
def test_the_pixel_asked_for_looks_at_the_target(dx, dy, roll):
    instrument = instrument_for("nircam")
    pixel = (instrument.mask_center[0] + dx, instrument.mask_center[1] + dy)
    wcs, _ = build_wcs(instrument, TARGET, pixel, roll)
    assert separation_mas(wcs(*pixel), TARGET) < 1e-4


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_the_inverse_inverts(name):
    instrument = instrument_for(name)
    wcs, _ = build_wcs(instrument, TARGET, instrument.mask_center, 80.0)
    ny, nx = instrument.shape
    y, x = np.mgrid[0:ny:20, 0:nx:20].astype(float)
    back_x, back_y = wcs.invert(*wcs(x, y))
    np.testing.assert_allclose(back_x, x, atol=1e-6)
    np.testing.assert_allclose(back_y, y, atol=1e-6)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_scale_parity_and_roll_are_the_instruments(name):
    instrument = instrument_for(name)
    roll = 80.0
    wcs, _ = build_wcs(instrument, TARGET, instrument.mask_center, roll)
    x, y = instrument.reference_pixel
    here, right, up = wcs(x, y), wcs(x + 1, y), wcs(x, y + 1)
    cosine = np.cos(np.deg2rad(here[1]))
    east = 3600 * np.array([(right[0] - here[0]), (up[0] - here[0])]) * cosine
    north = 3600 * np.array([right[1] - here[1], up[1] - here[1]])
    scales = np.hypot(east, north)
    np.testing.assert_allclose(scales, instrument.pixel_scale, rtol=2e-4)
    # east is to the left when north is up
    assert east[0] * north[1] - east[1] * north[0] < 0
    angle = np.rad2deg(np.arctan2(east[1], north[1]))
    assert angle == pytest.approx(roll + instrument.v3_angle, abs=0.02)


def test_keywords_point_v1_away_from_the_aperture():
    instrument = instrument_for("nircam")
    wcs, reference = build_wcs(instrument, TARGET, instrument.mask_center, 80.0)
    words = pointing_keywords(instrument, wcs, reference, 80.0)
    v1 = (words["pointing.ra_v1"], words["pointing.dec_v1"])
    distance = separation_mas(v1, reference) / 1e3
    assert distance == pytest.approx(np.hypot(*instrument.v2v3), rel=2e-3)
    assert words["pointing.pa_v3"] == pytest.approx(80.0, abs=0.2)


def test_tweakwcs_accepts_the_frames():
    from tweakwcs import JWSTWCSCorrector

    instrument = instrument_for("miri")
    wcs, _ = build_wcs(instrument, TARGET, instrument.mask_center, 80.0)
    v2, v3 = instrument.v2v3
    corrector = JWSTWCSCorrector(wcs, {"v2_ref": v2, "v3_ref": v3, "roll_ref": 80.0})
    corrector.set_correction(shift=[0.1, 0.0])
    moved = corrector.wcs(*instrument.mask_center)
    assert separation_mas(moved, TARGET) == pytest.approx(100.0, rel=1e-3)


def test_a_cut_out_keeps_its_place_on_the_detector():
    whole, part = instrument_for("miri"), instrument_for("miri", (80, 64))
    assert part.shape == (80, 64)
    for axis in range(2):
        there = whole.corner[axis] + whole.mask_center[axis]
        assert part.corner[axis] + part.mask_center[axis] == pytest.approx(there)
    assert 0 <= part.mask_center[0] < 64
    assert 0 <= part.mask_center[1] < 80
