import numpy as np
import pytest

from webbalign.reports.coron3 import _scatter, _typical


@pytest.mark.parametrize("seed", range(3))
def test_rings_measure_the_scatter_of_an_image(seed):
    noise = np.random.default_rng(seed).normal(5.0, 2.0, (301, 301))
    noise[10, 20] = np.nan
    curve = _scatter("after", noise, (150.0, 150.0), 0.02, "k-")
    far = curve.separation > 0.5  # thousands of pixels in each ring
    assert curve.separation[-1] == pytest.approx(3.0)
    np.testing.assert_allclose(curve.value[far], 2.0, rtol=0.06)


def test_rings_are_in_arcsec_about_the_star():
    y, x = np.indices((200, 240))
    distance = 0.05 * np.hypot(x - 130.0, y - 90.0)
    distance[90:120, 130:140] = np.nan
    curve = _typical("ERR", distance, (130.0, 90.0), 0.05, "k:")
    np.testing.assert_allclose(curve.value, curve.separation, atol=0.05)


def test_a_ring_outside_the_image_has_no_value():
    curve = _typical("ERR", np.ones((21, 21)), (10.0, 10.0), 0.1, "k:")
    assert np.isnan(curve.value[-1])
    assert curve.value[0] == 1.0
