"""Shifts of images that were put in come out, whatever else the images hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.correlation import Correlating, CorrelationStatus, correlate

N = 160
SHIFT = Correlating(corr_rotation=False, corr_block=24)
BOTH = Correlating(corr_block=24)


def scene(seed=1, *, shift=(0.0, 0.0), rotation=0.0, shape=(N, N), n_waves=250, n_stars=40):
    """Waves and stars in closed form: exact at any place."""
    rng = np.random.default_rng(seed)
    y, x = (grid.astype(float) for grid in np.indices(shape))
    middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    u, v = x - middle[0] - shift[0], y - middle[1] - shift[1]
    cos, sin = np.cos(rotation), np.sin(rotation)
    x, y = cos * u + sin * v, -sin * u + cos * v
    length = rng.uniform(8.0, 60.0, n_waves)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, n_waves))
    image = np.zeros(shape)
    for k in range(n_waves):
        along = np.cos(angle[k]) * x + np.sin(angle[k]) * y
        image += (
            length[k] / 20.0 / np.sqrt(n_waves) * np.cos(2 * np.pi * along / length[k] + phase[k])
        )
    places = rng.uniform(-0.7 * N, 0.7 * N, (n_stars, 2))
    for (a, b), flux in zip(places, 10 ** rng.uniform(0, 1.5, n_stars), strict=True):
        image += flux * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 1.2**2))
    return image


def noisy(image, seed, sigma=0.1):
    return image + np.random.default_rng(seed).normal(size=image.shape) * sigma


@settings(max_examples=4, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6))
def test_a_shift_that_was_put_in_is_found(dx, dy):
    found = correlate(scene(), scene(shift=(dx, dy)), max_shift=8, options=SHIFT)
    assert found.ok
    assert found.dx == pytest.approx(dx, abs=0.01)
    assert found.dy == pytest.approx(dy, abs=0.01)


def test_shift_and_rotation_about_the_centre():
    rotation = 2e-3
    found = correlate(
        scene(), scene(shift=(2.3, -1.6), rotation=rotation), max_shift=8, options=BOTH
    )
    assert found.rotation == pytest.approx(rotation, abs=0.01 / (N / 2))
    arm = found.centre - (N - 1) / 2
    moved = np.array([2.3, -1.6]) + rotation * np.array([-arm[1], arm[0]])
    np.testing.assert_allclose([found.dx, found.dy], moved, atol=0.01)


def test_gain_background_and_gradient_do_not_matter():
    y, x = np.indices((N, N))
    one, two = noisy(scene(), 1), noisy(scene(shift=(1.4, 2.6)), 2)
    plain = correlate(one, two, max_shift=6, options=SHIFT)
    other = correlate(one + 300.0, 7.0 * two - 40.0, max_shift=6, options=SHIFT)
    tilted = correlate(one, two + 0.02 * x, max_shift=6, options=SHIFT)
    np.testing.assert_allclose([other.dx, other.dy], [plain.dx, plain.dy], atol=1e-6)
    np.testing.assert_allclose([tilted.dx, tilted.dy], [plain.dx, plain.dy], atol=0.02)


def test_masked_pixels_do_not_count():
    one, two = noisy(scene(), 1), noisy(scene(shift=(1.4, 2.6)), 2)
    weight = np.ones_like(one)
    weight[40:60, 30:90] = 0
    spoiled = np.where(weight > 0, one, 1e5)
    gone = np.where(weight > 0, one, np.nan)
    found = correlate(spoiled, two, first_weight=weight, max_shift=6, options=SHIFT)
    same = correlate(gone, two, max_shift=6, options=SHIFT)
    assert (found.dx, found.dy) == (same.dx, same.dy)
    assert found.dx == pytest.approx(1.4, abs=0.03)
    assert found.dy == pytest.approx(2.6, abs=0.03)


def test_cosmic_rays_do_not_pull():
    rng = np.random.default_rng(3)
    one, two = noisy(scene(), 1), noisy(scene(shift=(1.4, 2.6)), 2)
    for image in (one, two):
        hit = rng.random(image.shape) < 2e-3
        image[hit] += rng.exponential(50.0, hit.sum())
    found = correlate(one, two, max_shift=6, options=SHIFT)
    assert found.dx == pytest.approx(1.4, abs=0.05)
    assert found.dy == pytest.approx(2.6, abs=0.05)


def test_errors_are_what_is_to_be_expected():
    pulls = []
    for seed in range(12):
        one = noisy(scene(seed), 2 * seed + 100, 0.2)
        two = noisy(scene(seed, shift=(0.4, -1.3)), 2 * seed + 101, 0.2)
        found = correlate(one, two, max_shift=4, options=SHIFT)
        assert found.ok
        pulls += [(found.dx - 0.4) / found.errors[0], (found.dy + 1.3) / found.errors[1]]
    # 24 values: the rms of right ones has a scatter of 15 %
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.6


def test_the_other_way_round_is_the_opposite():
    one, two = noisy(scene(), 1), noisy(scene(shift=(1.4, 2.6)), 2, 0.3)
    there = correlate(one, two, max_shift=6, options=SHIFT)
    back = correlate(two, one, max_shift=6, options=SHIFT)
    np.testing.assert_allclose([back.dx, back.dy], [-there.dx, -there.dy], atol=0.01)


@pytest.mark.parametrize(
    ("shift", "rotation"), [((1.3, -2.2), 1e-3), ((-3.7, 2.5), -2e-3), ((0.5, 4.0), 0.0)]
)
def test_it_does_not_matter_which_image_is_first(shift, rotation):
    one = noisy(scene(), 1)
    two = 3.0 * noisy(scene(shift=shift, rotation=rotation), 2)
    one[20:40, 30:60] = np.nan
    two[:, 140:] = np.nan
    there = correlate(one, two, max_shift=6, options=BOTH)
    back = correlate(two, one, max_shift=6, options=BOTH)
    assert there.ok
    moved = [there.dx, there.dy, there.rotation]
    np.testing.assert_allclose([back.dx, back.dy, back.rotation], np.negative(moved), atol=1e-9)
    np.testing.assert_allclose(back.centre, there.centre + moved[:2], atol=1e-9)
    np.testing.assert_allclose(back.cov, there.cov, rtol=1e-6)
    assert (back.status, back.n_pixels) == (there.status, there.n_pixels)


def test_statuses():
    one = noisy(scene(), 1)
    empty = np.full_like(one, np.nan)
    noise = [np.random.default_rng(k).normal(size=one.shape) for k in (5, 6)]
    far = scene(shift=(12.0, 0.0))
    tile = np.random.default_rng(7).normal(size=(16, 16))
    grid = np.tile(tile, (N // 16, N // 16))
    assert correlate(one, empty, max_shift=5).status is CorrelationStatus.NO_OVERLAP
    assert correlate(*noise, max_shift=5).status is CorrelationStatus.NO_SIGNAL
    assert correlate(one * 0, one * 0, max_shift=5).status is CorrelationStatus.NO_SIGNAL
    assert correlate(one, far, max_shift=6).status in (
        CorrelationStatus.AT_LIMIT,
        CorrelationStatus.NO_SIGNAL,
    )
    assert correlate(grid, grid, max_shift=20).status is CorrelationStatus.AMBIGUOUS


def test_optical_flow_finds_the_same():
    one, two = noisy(scene(), 1, 0.02), noisy(scene(shift=(0.6, -0.4)), 2, 0.02)
    options = Correlating(corr_rotation=False, corr_flow=True, corr_block=24)
    found = correlate(one, two, max_shift=4, options=options)
    assert found.ok
    assert found.dx == pytest.approx(0.6, abs=0.05)
    assert found.dy == pytest.approx(-0.4, abs=0.05)


def test_optical_flow_is_the_same_both_ways():
    one, two = noisy(scene(), 1, 0.02), noisy(scene(shift=(0.6, -0.4)), 2, 0.02)
    options = Correlating(corr_rotation=False, corr_flow=True, corr_block=24)
    there = correlate(one, two, max_shift=4, options=options)
    back = correlate(two, one, max_shift=4, options=options)
    np.testing.assert_allclose([back.dx, back.dy], [-there.dx, -there.dy], atol=1e-9)


def test_shapes_have_to_agree():
    with pytest.raises(ValueError, match="- give one shape$"):
        correlate(np.ones((20, 20)), np.ones((20, 21)), max_shift=2)
    with pytest.raises(ValueError, match="2 dimensions"):
        correlate(np.ones(20), np.ones(20), max_shift=2)
