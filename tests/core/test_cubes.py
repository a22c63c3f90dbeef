"""Replacement of bad pixels, and cubes as matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.cubes import (
    continue_outside,
    cube_to_matrix,
    far_from,
    fill_bad_pixels,
    matrix_to_cube,
)
from webbalign.core.errors import InputError


def grown(image: np.ndarray, bad: np.ndarray, box: int) -> np.ndarray:
    """Fill pixel by pixel, the box growing until it holds a good one."""
    good = ~(bad | ~np.isfinite(image))
    out = image.copy()
    for y, x in np.argwhere(~good):
        half = max(box // 2, 1)
        while True:
            part = (
                slice(max(y - half, 0), y + half + 1),
                slice(max(x - half, 0), x + half + 1),
            )
            if good[part].any():
                break
            half += 1
        out[y, x] = np.median(image[part][good[part]])
    return out


def boxed(image: np.ndarray, bad: np.ndarray, box: int) -> np.ndarray:
    """Fill in the order of the rows, with 0 where the box begins outside or holds nothing good."""
    half = box // 2
    out = image.copy()
    for y, x in np.argwhere(bad | ~np.isfinite(image)):
        values = np.array([])
        if y >= half and x >= half:
            part = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
            values = out[part][np.isfinite(out[part]) & ~bad[part]]
        out[y, x] = np.median(values) if values.size else 0
    return out


def spoilt(seed: int, flagged: float, missing: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(10, 1, size=(2, 17, 19))
    bad = rng.random(image.shape) < flagged
    image[rng.random(image.shape) < missing] = np.nan
    bad[0, 5:10, 6:12] = True
    image[1, :3, :4] = np.nan
    return image, bad


fractions = st.sampled_from([0.0, 0.05, 0.3, 0.7])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), fractions, fractions, st.integers(0, 6))
def test_growing_box(seed, flagged, missing, box):
    image, bad = spoilt(seed, flagged, missing)
    expected = [grown(one, flags, box) for one, flags in zip(image, bad, strict=True)]
    np.testing.assert_array_equal(fill_bad_pixels(image, bad, box=box), expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), fractions, fractions, st.integers(0, 6))
def test_fixed_box(seed, flagged, missing, box):
    image, bad = spoilt(seed, flagged, missing)
    expected = [boxed(one, flags, box) for one, flags in zip(image, bad, strict=True)]
    np.testing.assert_array_equal(fill_bad_pixels(image, bad, box=box, grow=False), expected)


def test_good_pixels_and_input_stay_as_they_are():
    image, bad = spoilt(0, 0.1, 0.1)
    before = image.copy()
    filled = fill_bad_pixels(image, bad, box=3)
    np.testing.assert_array_equal(image, before)
    good = ~bad & np.isfinite(image)
    np.testing.assert_array_equal(filled[good], image[good])


def test_edges_and_large_holes_are_never_zero():
    image = np.full((60, 60), 5.0, dtype=np.float32)
    bad = np.zeros(image.shape, dtype=bool)
    bad[0], bad[:, -1], bad[10:50, 10:50] = True, True, True
    image[bad] = -99
    filled = fill_bad_pixels(image, bad, box=3)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled, 5)


def test_pixels_outside_the_sky_become_zero_and_are_not_used():
    image = np.full((12, 12), 7.0)
    outside = np.zeros(image.shape, dtype=bool)
    outside[:, :4] = True
    image[outside] = 1000
    bad = np.zeros(image.shape, dtype=bool)
    bad[5, 4], bad[2, 1] = True, True
    filled = fill_bad_pixels(image, bad, box=3, outside=outside)
    np.testing.assert_array_equal(filled[:, :4], 0)
    np.testing.assert_array_equal(filled[:, 4:], 7)
    as_jwst = fill_bad_pixels(image, bad, box=3, grow=False, outside=outside)
    assert as_jwst[2, 1] == 0
    assert as_jwst[5, 2] == 1000
    # its box holds three good pixels of 1000 and five of 7
    assert as_jwst[5, 4] == 7


def test_an_image_without_a_good_pixel_is_an_error():
    cube = np.ones((3, 5, 5))
    cube[1] = np.nan
    with pytest.raises(InputError, match=r"no good pixel in integration 1 .*- x\.fits - "):
        fill_bad_pixels(cube, None, box=3, name="x.fits")
    np.testing.assert_array_equal(fill_bad_pixels(cube, None, box=3, grow=False)[1], 0)


def test_cube_and_matrix():
    cube = np.arange(24.0).reshape(2, 3, 4)
    keep = cube[0] % 2 == 0
    assert cube_to_matrix(cube).shape == (2, 12)
    np.testing.assert_array_equal(matrix_to_cube(cube_to_matrix(cube), (3, 4)), cube)
    back = matrix_to_cube(cube_to_matrix(cube, keep), (3, 4), keep)
    np.testing.assert_array_equal(back[:, keep], cube[:, keep])
    assert np.isnan(back[:, ~keep]).all()


def test_images_continue_beyond_the_sky_without_a_step():
    image = np.arange(20.0).reshape(1, 4, 5)
    outside = np.zeros((4, 5), bool)
    outside[:, :2] = True
    continued = continue_outside(image, outside)
    np.testing.assert_array_equal(continued[0, :, :2], image[0, :, [2, 2]].T)
    np.testing.assert_array_equal(continued[0, :, 2:], image[0, :, 2:])
    assert continue_outside(image, np.zeros((4, 5), bool)) is image


def test_the_edge_of_the_sky_is_kept_at_a_distance():
    outside = np.zeros((9, 9), bool)
    outside[:, 0] = True
    far = far_from(outside, 3)
    assert not far[:, :4].any()
    assert far[:, 4:].all()
    assert far_from(np.zeros((3, 3), bool), 5).all()
