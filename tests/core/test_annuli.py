from itertools import pairwise

import numpy as np

from webbalign.core.annuli import annular_rms, radii


def test_radii_are_measured_from_x_y():
    distance = radii((5, 7), (2.0, 1.0))
    assert distance[1, 2] == 0
    assert distance[1, 6] == 4
    assert distance[4, 2] == 3


def test_rms_of_noise_that_grows_outwards():
    rng = np.random.default_rng(0)
    distance = radii((200, 200), (99.5, 99.5))
    image = rng.normal(0, 1 + distance / 10)
    image[::17, ::13] = np.nan
    edges = [0, 20, 50, 90]
    expected = [
        np.sqrt(np.mean((1 + distance[(distance >= a) & (distance < b)] / 10) ** 2))
        for a, b in pairwise(edges)
    ]
    np.testing.assert_allclose(annular_rms(image, (99.5, 99.5), edges), expected, rtol=0.04)


def test_a_ring_without_pixels_is_unknown_and_a_constant_has_no_rms():
    rms = annular_rms(np.full((10, 10), 7.0), (4.5, 4.5), [0, 3, 100, 200])
    assert rms[0] == rms[1] == 0
    assert np.isnan(rms[2])
