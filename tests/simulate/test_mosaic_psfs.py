from __future__ import annotations

import numpy as np
import pytest

from webbalign.simulate import mosaic_psfs
from webbalign.simulate.cameras import BANDS
from webbalign.simulate.mosaic_psfs import OVERSAMPLING, RADIUS, add_stars, pixel_response

BAND = BANDS["F300M"]
NEIGHBOURS = ((0.0, 0.0), (0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01))


@pytest.fixture(scope="module")
def response():
    return pixel_response(BAND)


def test_a_stamp_is_the_pixel_integral_at_its_very_position(small_optics):
    """Against images straight from the wavefront, with the tilt that moves the star."""
    response = pixel_response(BAND)
    pupil, error = mosaic_psfs._telescope(0.0)
    centre, _ = mosaic_psfs._centring(BAND, pupil, error)
    scale, radius = 0.063, 8
    half = (mosaic_psfs.RADIUS + 2) * OVERSAMPLING
    for dx, dy in ((0.0, 0.0), (0.31, -0.17), (-0.44, 0.08), (0.13, 0.49), (-0.26, -0.37)):
        tilt = centre - np.array([dx, dy]) * scale
        psf = mosaic_psfs._monochromatic_sum(BAND, pupil, error, tilt, half, scale / OVERSAMPLING)
        seen = mosaic_psfs._as_pixels_see(psf, scale / OVERSAMPLING)
        pixels = seen[half % OVERSAMPLING :: OVERSAMPLING, half % OVERSAMPLING :: OVERSAMPLING]
        middle = len(pixels) // 2
        part = slice(middle - radius, middle + radius + 1)
        exact = pixels[part, part].ravel()
        stamps = [response.stamp(dx + s, dy + t, radius).ravel() for s, t in NEIGHBOURS]
        design = np.stack(
            [stamps[0], (stamps[1] - stamps[2]) / 0.02, (stamps[3] - stamps[4]) / 0.02], axis=1
        )
        solution, *_ = np.linalg.lstsq(design, exact, rcond=None)
        # px
        assert np.abs(solution[1:] / solution[0]).max() < 2e-4
        assert np.abs(exact / solution[0] - stamps[0]).max() < 5e-4 * stamps[0].max()


def test_the_light_is_conserved_at_any_position(response):
    sums = [response.stamp(dx, dy, RADIUS).sum() for dx, dy in ((0, 0), (0.5, -0.5), (0.2, 0.3))]
    np.testing.assert_allclose(sums, 1.0, atol=3e-4)


def test_half_a_pixel_is_reached_from_both_sides(response):
    # the star at +0.5 of one pixel is at -0.5 of the next
    left, right = response.stamp(0.5, 0.1, 20), response.stamp(-0.5, 0.1, 20)
    np.testing.assert_allclose(left[:, 1:], right[:, :-1], atol=1e-6)


def test_a_star_has_spikes_and_a_core(response):
    stamp = response.stamp(0.0, 0.0, RADIUS).astype(float)
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    ring = (np.hypot(x, y) > 40) & (np.hypot(x, y) < 60)
    assert stamp[ring].max() > 20 * np.median(stamp[ring])
    assert stamp[RADIUS - 1 : RADIUS + 2, RADIUS - 1 : RADIUS + 2].sum() > 0.5
    assert 1.4 < response.fwhm < 2.0


def test_stamps_end_where_nothing_is_left(response):
    for limit in (1e-3, 1e-4, 1e-5):
        radius = response.radius_for(limit)
        whole = response.stamp(0.2, 0.3, RADIUS)
        whole[RADIUS - radius : RADIUS + radius + 1, RADIUS - radius : RADIUS + radius + 1] = 0
        assert whole.max() < 1.05 * limit
    assert response.radius_for(1e-9) == RADIUS


def test_stars_are_added_where_they_belong(response):
    image = np.zeros((60, 80))
    x, y, flux = np.array([30.3, 79.4, -3.0, 500.0]), np.array([20.8, 59.2, 5.0, 5.0]), [9, 4, 2, 1]
    add_stars(image, x, y, np.array(flux, float), response, 1e-4)
    alone = np.zeros_like(image)
    add_stars(alone, x[:1], y[:1], np.array([9.0]), response, 1e-4)
    iy, ix = np.unravel_index(alone.argmax(), alone.shape)
    assert (iy, ix) == (21, 30)
    part = alone[iy - 4 : iy + 5, ix - 4 : ix + 5]
    np.testing.assert_allclose(part, 9 * response.stamp(0.3, -0.2, 4), rtol=1e-4)
    # the star in the corner leaves a quarter of itself, the one outside its wing
    assert 0.1 < (image - alone)[50:, 70:].sum() / 4 < 0.6
    assert (image - alone)[:20, :10].sum() > 0
