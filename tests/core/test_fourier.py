"""Shifts of images, variances and flags."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import fourier_shift

from webbalign.core.fourier import (
    Shifter,
    SparseFlags,
    shift_error,
    shift_flags,
    shift_image,
    shift_variance,
)

SHAPES = [(32, 32), (31, 32), (32, 31), (31, 33), (24, 40)]
shifts = st.floats(-3, 3)


def smooth(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return a random image without power near the Nyquist frequency."""
    noise = np.random.default_rng(seed).normal(size=shape)
    spectrum = np.fft.rfft2(noise)
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    return np.fft.irfft2(spectrum * (np.hypot(kx, ky) < 0.4), shape)


def scene(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a star on a background whose opposite edges differ by hundreds of units."""
    star = 2e4 * np.exp(-((x - 80) ** 2 + (y - 75) ** 2) / 18)
    return 3 * x - 1.5 * y + 0.004 * (y - 40) ** 2 + star


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.7), (1.5, 2.25), (3.0, -2.0), (10.1, 0.5)])
def test_unpadded_shift_is_scipys(shape, shift):
    image = np.random.default_rng(1).normal(size=shape)
    expected = np.fft.ifft2(fourier_shift(np.fft.fft2(image), shift[::-1])).real
    np.testing.assert_allclose(shift_image(image, *shift, padding=0), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", [0, 5])
def test_gradient_is_the_derivative(shape, padding):
    shifter = Shifter(np.random.default_rng(2).normal(size=shape), padding=padding)
    dx, dy, h = 0.31, -0.17, 1e-5
    image, by_dx, by_dy = shifter.gradient(dx, dy)
    np.testing.assert_array_equal(image, shifter.shifted(dx, dy))
    numeric_dx = (shifter.shifted(dx + h, dy) - shifter.shifted(dx - h, dy)) / (2 * h)
    numeric_dy = (shifter.shifted(dx, dy + h) - shifter.shifted(dx, dy - h)) / (2 * h)
    np.testing.assert_allclose(by_dx, numeric_dx, atol=1e-7)
    np.testing.assert_allclose(by_dy, numeric_dy, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(dx=shifts, dy=shifts)
def test_shift_and_back_is_nothing(dx, dy):
    image = smooth((32, 31))
    back = shift_image(shift_image(image, dx, dy, padding=0), -dx, -dy, padding=0)
    np.testing.assert_allclose(back, image, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(dx=shifts, dy=shifts, ex=shifts, ey=shifts)
def test_shifts_add_up(dx, dy, ex, ey):
    image = smooth((31, 32))
    twice = shift_image(shift_image(image, dx, dy, padding=0), ex, ey, padding=0)
    np.testing.assert_allclose(twice, shift_image(image, dx + ex, dy + ey, padding=0), atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(dx=st.integers(-9, 9), dy=st.integers(-9, 9))
def test_whole_pixels_are_moved_exactly(dx, dy):
    image = np.random.default_rng(3).normal(size=(40, 50))
    moved = shift_image(image, dx, dy)
    ny, nx = image.shape
    inside = moved[max(dy, 0) : ny + min(dy, 0), max(dx, 0) : nx + min(dx, 0)]
    source = image[max(-dy, 0) : ny + min(-dy, 0), max(-dx, 0) : nx + min(-dx, 0)]
    np.testing.assert_allclose(inside, source, atol=1e-12)


def test_content_moves_to_larger_index():
    image = np.zeros((20, 30))
    image[8, 12] = 1
    assert np.unravel_index(np.argmax(shift_image(image, 3, -2)), image.shape) == (6, 15)


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.3, -0.2), (4.5, -3.3), (-12.3, 0.0)])
def test_edges_neither_ring_nor_wrap(shift):
    """The noise per pixel of such an image would be above 10; the plain shift errs by up to 500."""
    y, x = np.mgrid[:160, :160].astype(float)
    moved = shift_image(scene(x, y), *shift)
    error = abs(moved - scene(x - shift[0], y - shift[1]))
    inside = (abs(x - shift[0] - 79.5) <= 79.5) & (abs(y - shift[1] - 79.5) <= 79.5)
    assert error[inside].max() < 0.05
    assert abs(shift_image(scene(x, y), *shift, padding=0) - moved)[inside].max() > 10


def test_noise_keeps_its_level_at_the_edges():
    rng = np.random.default_rng(4)
    moved = np.array([shift_image(rng.normal(size=(60, 60)), 5.0, 0.5) for _ in range(150)])
    level = moved.std(axis=0)
    assert level[10:-10, 10:-10].mean() == pytest.approx(1, abs=0.02)
    # beyond the edge the image is extrapolated
    assert 0.5 < level[:, :5].mean() < 1.3
    assert 0.5 < level[0].mean() < 1.3


def test_a_star_that_leaves_does_not_come_back():
    image = np.zeros((40, 40))
    image[20, 37] = 1000
    assert abs(shift_image(image, 30, 0)[:, :20]).max() < 1
    assert abs(shift_image(image, 30, 0, padding=0)[:, :40]).max() == pytest.approx(1000)


def test_what_cannot_be_shifted_is_refused():
    image = np.ones((8, 8))
    with pytest.raises(ValueError, match="finite"):
        shift_image(image, np.nan, 0)
    with pytest.raises(ValueError, match="2 dimensions"):
        Shifter(np.ones(8))
    image[3, 3] = np.inf
    with pytest.raises(ValueError, match="1 pixels are not finite"):
        Shifter(image)


@settings(deadline=None, max_examples=50)
@given(dx=shifts, dy=shifts)
def test_constant_variance_stays(dx, dy):
    np.testing.assert_allclose(shift_variance(np.full((12, 15), 2.5), dx, dy), 2.5, rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(dx=shifts, dy=shifts, bad=st.sampled_from([np.nan, np.inf, -1.0]))
def test_one_unknown_variance_touches_its_neighbours_only(dx, dy, bad):
    variance = np.random.default_rng(5).uniform(1, 2, size=(16, 17))
    clean = shift_variance(variance, dx, dy)
    variance[8, 9] = bad
    moved = shift_variance(variance, dx, dy)
    y, x = np.mgrid[:16, :17]
    far = (abs(y - 8 - dy) > 1) | (abs(x - 9 - dx) > 1)
    np.testing.assert_allclose(moved[far], clean[far], rtol=1e-12)
    assert np.count_nonzero(np.isnan(moved)) <= 1
    if max(abs(dx - round(dx)), abs(dy - round(dy))) > 1e-6:
        assert not np.isnan(moved).any()
    assert (moved[np.isfinite(moved)] >= 1 - 1e-12).all()


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.2, -0.7)])
def test_variance_is_that_of_shifted_noise(shift):
    rng = np.random.default_rng(6)
    # odd sizes: the Nyquist frequency of an even one loses power
    y, x = np.mgrid[:31, :33]
    variance = 1 + 3 * np.exp(-((x - 16) ** 2 + (y - 15) ** 2) / 80)
    noise = rng.normal(size=(1500, 31, 33)) * np.sqrt(variance)
    measured = np.array([shift_image(image, *shift, padding=0) for image in noise]).var(axis=0)
    ratio = (measured / shift_variance(variance, *shift))[2:-2, 2:-2]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    # 1500 draws alone scatter by sqrt(2 / 1500)
    assert ratio.std() < 1.2 * np.sqrt(2 / 1500)


def test_flags_come_from_all_contributing_pixels():
    dq = np.zeros((6, 7), np.uint32)
    dq[2, 3], dq[4, 5] = 1, 4
    moved = shift_flags(dq, 1.5, -0.4)
    expected = np.zeros_like(dq)
    expected[1:3, 4:6] = 1
    expected[3:5, 6] = 4
    np.testing.assert_array_equal(moved, expected)
    assert moved.dtype == dq.dtype


def test_flags_hardly_shifted_do_not_spread():
    dq = np.eye(5, dtype=np.uint32)
    np.testing.assert_array_equal(shift_flags(dq, 0.05, -0.08), dq)


def test_flags_from_beyond_the_edge():
    moved = shift_flags(np.zeros((4, 5), np.uint32), 1.8, -0.3, outside=512)
    np.testing.assert_array_equal(moved[:, :2], 512)
    np.testing.assert_array_equal(moved[:, 2:], 0)


def test_error_is_never_negative_unless_shifted_as_flux():
    error = np.ones((20, 20))
    error[10, 10] = 50
    assert shift_error(error, 0.4, 0.3).min() >= 1 - 1e-12
    as_flux = shift_error(error, 0.4, 0.3, how="flux", padding=0)
    np.testing.assert_array_equal(as_flux, shift_image(error, 0.4, 0.3, padding=0))
    assert as_flux.min() < 0
    error[3, 3] = np.nan
    assert np.isfinite(shift_error(error, 0.4, 0.3)).all()
    assert np.isnan(shift_error(error, 0.4, 0.3, how="flux")).all()
    with pytest.raises(ValueError, match="'variance' or 'flux'"):
        shift_error(error, 0, 0, how="linear")


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dx=st.floats(-3, 3),
    dy=st.floats(-3, 3),
    padding=st.sampled_from([0, 20]),
    contrast=st.sampled_from([1.0, 1e3, 1e6]),
)
def test_single_precision_is_off_by_less_than_a_millionth_of_the_peak(
    seed, dx, dy, padding, contrast
):
    y, x = np.mgrid[:48, :52]
    image = np.random.default_rng(seed).normal(size=(48, 52))
    image += contrast * np.exp(-((x - 26) ** 2 + (y - 24) ** 2) / 8)
    exact = Shifter(image, padding=padding).shifted(dx, dy)
    single = Shifter(image, padding=padding, single=True).shifted(dx, dy)
    assert single.dtype == np.float32
    assert np.abs(single - exact).max() < 1e-6 * np.abs(exact).max()


def test_errors_in_single_precision_are_those_in_double():
    error = np.random.default_rng(3).uniform(0.1, 9.0, (20, 21))
    error[4, 5] = np.nan
    moved = shift_error(error.astype(np.float32), 0.4, -0.3)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, shift_error(error, 0.4, -0.3), rtol=1e-6)


@given(shifts | st.floats(-40, 40), shifts, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_few_flags_are_moved_as_many_are(dx, dy, seed):
    rng = np.random.default_rng(seed)
    dq = (rng.random((61, 44)) < 0.01).astype(np.uint32) * rng.integers(1, 9, (61, 44), np.uint32)
    dq[0, 3] = dq[-1, -1] = 16  # what lies at an edge goes on beyond it
    moved = np.full_like(dq, 7)
    SparseFlags(dq).shifted(dx, dy, moved)
    np.testing.assert_array_equal(moved, shift_flags(dq, dx, dy))


def test_an_image_is_shifted_into_a_given_array():
    image = smooth((32, 40))
    out = np.empty(image.shape, np.float32)
    assert Shifter(image, single=True).shifted(0.3, -1.7, out=out) is out
    np.testing.assert_array_equal(out, Shifter(image, single=True).shifted(0.3, -1.7))
