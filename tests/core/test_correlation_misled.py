"""What looks like a match and is none: said, and never a wrong shift with the status OK."""

import numpy as np
import pytest

from tests.core.test_correlation import BOTH, N, noisy, scene
from webbalign.core.correlation import correlate

SHIFT = (3.3, -2.7)
REACH = 22
NOISE = 0.05


def grid(shift=(0.0, 0.0)):
    y, x = np.indices((N, N), dtype=float)
    return x - shift[0], y - shift[1]


def tiles(shift, period=20.0):
    x, y = grid(shift)
    return np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)


def waves(shift, period=16.0):
    x, y = grid(shift)
    return np.sin(2 * np.pi * (x + 0.3 * y) / period)


def filament(shift):
    x, y = grid(shift)
    return 3.0 * np.exp(-((x - 0.4 * y - 50.0) ** 2) / 32.0)


def cloud(seed, shift=(0.0, 0.0), rotation=0.0, n_stars=0):
    return scene(seed, shift=shift, rotation=rotation, n_stars=n_stars, n_waves=120)


def measured(one, two, seed=3):
    return correlate(noisy(one, seed, NOISE), noisy(two, seed + 100, NOISE), max_shift=REACH,
                     options=BOTH)  # fmt: skip


def right(found, shift=SHIFT):
    """Whether a result is within 5 errors (and 0.02 px) of what was put in."""
    error = float(np.hypot(*found.errors[:2]))
    return float(np.hypot(found.dx - shift[0], found.dy - shift[1])) < 5 * error + 0.02


@pytest.mark.parametrize("repeated", [tiles, waves, filament])
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_repeated_texture_is_no_match_at_the_wrong_period(repeated, share):
    step = (16.0, 6.0)  # nearer to another period than to none
    found = measured(
        repeated((0.0, 0.0)) + share * cloud(1), repeated(step) + share * cloud(1, step)
    )
    assert not found.ok or right(found, step)
    if not share:
        assert not found.ok


def test_unrelated_images_do_not_match():
    for seed in range(4):
        assert not measured(cloud(seed), cloud(seed + 50), seed).ok


def test_the_masks_alone_do_not_match():
    flat = np.full((N, N), 5.0)
    flat[40:70, 30:90] = np.nan
    flat[110:, 120:140] = np.nan
    assert not measured(flat, flat).ok


@pytest.mark.parametrize("width", [5, 9])
def test_an_overlap_of_a_few_percent_is_not_trusted_more_than_it_is_worth(width):
    one, two = cloud(2, n_stars=30), cloud(2, SHIFT, n_stars=30)
    one[:, width:] = np.nan
    two[:, width + 3 :] = np.nan
    found = measured(one, two)
    assert not found.ok or right(found)


@pytest.mark.parametrize("degrees", [5.0, 20.0])
def test_a_large_roll_is_measured_or_refused_and_not_shifted_away(degrees):
    roll = np.radians(degrees)
    found = measured(cloud(4, n_stars=30), cloud(4, SHIFT, roll, n_stars=30))
    if degrees > 10:
        assert not found.ok
    if not found.ok:
        return
    assert abs(found.rotation - roll) < 5 * found.errors[2]
    x, y = found.centre - (N - 1) / 2
    cos, sin = np.cos(roll) - 1.0, np.sin(roll)
    assert right(found, (SHIFT[0] + cos * x - sin * y, SHIFT[1] + sin * x + cos * y))


@pytest.mark.parametrize("flagged", [True, False])
def test_saturated_cores_do_not_pull(flagged):
    one, two = cloud(5, n_stars=40), cloud(5, SHIFT, n_stars=40)
    top = 8.0
    assert (one > top).sum() > 10
    one = np.where(one > top, np.nan, one)
    # in the other image they are flat tops, or holes as well
    two = np.where(two > top, np.nan if flagged else top, two)
    found = measured(one, two)
    assert found.ok
    assert np.hypot(found.dx - SHIFT[0], found.dy - SHIFT[1]) < 0.05


def test_faint_ghosts_of_stars_on_the_same_pixels_do_not_pull():
    stars = cloud(6, n_stars=30) - cloud(6)
    found = measured(cloud(6, n_stars=30), cloud(6, SHIFT, n_stars=30) + 0.01 * stars)
    assert found.ok
    assert right(found)
