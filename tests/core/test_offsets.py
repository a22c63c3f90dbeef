from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.starpairs import NOISE, moved, star_pair
from webbalign.core.errors import InputError
from webbalign.core.matching import Matching
from webbalign.core.offsets import OffsetStatus, find_offset

DEGREE = np.pi / 180
CORNERS = np.array([[0, 0], [30, 30], [-30, 30], [30, -30], [-30, -30.0]])
FEW = Matching(minobj=1)


def search(pair, options=None, *, fluxes=True, **keywords):
    return find_offset(
        pair.image,
        pair.reference,
        options=options or Matching(),
        flux_image=pair.image_flux if fluxes else None,
        flux_reference=pair.reference_flux if fluxes else None,
        pixel_scale=0.031,
        **keywords,
    )


def error(offset, shift, roll):
    """Largest error in the field, arcsec."""
    return np.hypot(*(offset.apply(CORNERS) - moved(CORNERS, shift, roll)).T).max()


@pytest.mark.parametrize(
    "shift, roll",
    [
        ((0.0, 0.0), 0.0),
        ((0.7, -1.1), 0.01),
        ((-1.3, 0.4), 0.3),
        ((0.5, 0.5), 1.0),
        ((-0.5, 1.0), 2.0),
        ((0.3, 0.2), -3.5),
        ((4.0, 3.0), 0.01),
        ((-3.0, 4.0), -2.0),
    ],
)
@pytest.mark.parametrize("fluxes", [True, False])
def test_offset_and_roll_are_recovered_among_spurious_and_missing_stars(shift, roll, fluxes):
    for seed in range(4):
        pair = star_pair(np.random.default_rng(seed), 200, shift=shift, roll=roll * DEGREE)
        offset = search(pair, fluxes=fluxes)
        assert offset.status is OffsetStatus.FOUND
        # 128 stars in common: 0.6 mas in each axis at the centre, 1.2 mas of roll at the corners
        assert error(offset, shift, roll * DEGREE) < 0.005
        assert offset.roll == pytest.approx(roll * DEGREE, abs=1e-4)
        assert 100 < offset.n_pairs < 200
        assert offset.false_alarm < 1e-20


def test_offset_is_not_biased_within_a_pixel():
    """Bins would draw the mean of the errors away from 0 or bind it to the fraction of a pixel."""
    errors = []
    for seed, shift in enumerate(np.linspace(0, 0.031, 21)):
        pair = star_pair(np.random.default_rng(seed), 300, shift=(shift, -shift), roll=0)
        offset = search(pair)
        errors.append(offset.apply([[0.0, 0.0]])[0] - [shift, -shift])
    errors = np.array(errors)
    expected = NOISE * np.sqrt(2 / (300 * 0.64))
    assert np.abs(errors.mean(axis=0)).max() < 3.5 * expected / np.sqrt(len(errors))
    assert errors.std() == pytest.approx(expected, rel=0.5)


def test_scatter_is_that_of_the_stars():
    pair = star_pair(np.random.default_rng(1), 400, shift=(0.2, 0.1))
    assert search(pair).sigma == pytest.approx(NOISE * np.sqrt(2), rel=0.15)


def test_crowded_field_with_a_deep_catalog():
    pair = star_pair(np.random.default_rng(0), 4000, shift=(1.1, -0.6), roll=0.2 * DEGREE)
    offset = search(pair)
    assert offset.status is OffsetStatus.FOUND
    assert error(offset, (1.1, -0.6), 0.2 * DEGREE) < 0.002
    # the crowded stars count as well
    assert offset.n_pairs > 0.8 * 4000 * 0.64


def test_few_catalog_stars_among_many():
    pair = star_pair(np.random.default_rng(3), 1000, shift=(3.0, -2.0), roll=0.5 * DEGREE)
    bright = np.argsort(-pair.reference_flux)[:120]
    offset = find_offset(
        pair.image,
        pair.reference[bright],
        options=Matching(searchrad=6.0),
        flux_image=pair.image_flux,
        flux_reference=pair.reference_flux[bright],
        pixel_scale=0.031,
    )
    assert offset.status is OffsetStatus.FOUND
    assert error(offset, (3.0, -2.0), 0.5 * DEGREE) < 0.01


@pytest.mark.parametrize("n", [1, 2, 5, 20, 200])
def test_another_field_gives_no_peak(n):
    usable = []
    for seed in range(30 if n < 200 else 10):
        rng = np.random.default_rng(seed)
        pair, other = star_pair(rng, n), star_pair(rng, n)
        offset = find_offset(
            pair.image,
            other.reference,
            options=FEW,
            flux_image=pair.image_flux,
            flux_reference=other.reference_flux,
            pixel_scale=0.031,
        )
        usable.append(offset.status.usable)
        assert (offset.dx, offset.dy, offset.roll) == (0, 0, 0) or offset.status.usable
    assert not any(usable)


@pytest.mark.slow
@pytest.mark.parametrize("n_image, n_reference", [(3, 800), (20, 80), (200, 20), (200, 800)])
@pytest.mark.parametrize("clustered", [False, True])
def test_false_alarms_are_rare(n_image, n_reference, clustered):
    """One in 10 000 is allowed; in 100 fields there is hardly one."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        lists = []
        for n, half in ((n_image, 33.0), (n_reference, 66.0)):
            xy = rng.uniform(-half, half, (n, 2))
            if clustered:
                xy[: n // 2] = rng.standard_t(2.5, (n // 2, 2)) * half / 6
            lists.append(xy)
        alarms += find_offset(*lists, options=FEW, pixel_scale=0.031).status.usable
    assert alarms <= 1


@pytest.mark.parametrize("fluxes", [True, False])
def test_spikes_of_bright_stars_are_no_evidence(fluxes):
    """Every bright star has the same pattern about it, so that any two of them fit together."""
    angles = np.arange(6) * np.pi / 3
    spikes = np.concatenate([r * np.stack([np.cos(angles), np.sin(angles)], 1) for r in (0.3, 0.6)])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        lists, brightness = [], []
        for n, half in ((40, 33.0), (160, 66.0)):
            xy, flux = rng.uniform(-half, half, (n, 2)), 10 ** rng.uniform(0, 3, n)
            around = (xy[:, None] + spikes).reshape(-1, 2) + rng.normal(0, NOISE, (12 * n, 2))
            lists.append(np.concatenate([xy, around]))
            brightness.append(np.concatenate([flux, np.repeat(flux * 0.1, 12)]))
        known = brightness if fluxes else [None, None]
        offset = find_offset(
            *lists, options=FEW, flux_image=known[0], flux_reference=known[1], pixel_scale=0.031
        )
        assert not offset.status.usable


def test_three_stars_are_enough_if_the_user_says_so():
    rng = np.random.default_rng(5)
    stars = np.array([[-20.0, 3.0], [11.0, 14.0], [7.0, -18.0]])
    reference = moved(stars, (0.6, -0.8), 0.0) + rng.normal(0, 0.002, stars.shape)
    found = find_offset(stars, reference, options=Matching(minobj=3))
    assert found.status is OffsetStatus.FOUND
    assert error(found, (0.6, -0.8), 0.0) < 0.01
    refused = find_offset(stars, reference, options=Matching())
    assert refused.status is OffsetStatus.TOO_FEW


def test_one_star_proves_nothing():
    offset = find_offset([[1.0, 2.0]], [[1.3, 2.1]], options=FEW)
    assert not offset.status.usable
    assert (offset.dx, offset.dy) == (0, 0)


def test_collinear_stars_are_matched():
    rng = np.random.default_rng(2)
    along = np.sort(rng.uniform(-30, 30, 25))
    stars = np.stack([along, 0.4 * along], axis=1)
    reference = moved(stars, (1.0, 0.5), 0.1 * DEGREE) + rng.normal(0, NOISE, stars.shape)
    offset = find_offset(stars, reference, options=Matching())
    assert offset.status is OffsetStatus.FOUND
    assert error(offset, (1.0, 0.5), 0.1 * DEGREE) < 0.02


@pytest.mark.parametrize("empty", [np.empty((0, 2)), np.full((20, 2), np.nan)])
def test_nothing_to_match(empty):
    stars = np.random.default_rng(0).uniform(0, 60, (30, 2))
    for lists in ((empty, stars), (stars, empty), (empty, empty)):
        offset = find_offset(*lists, options=Matching(xoffset=0.3))
        assert offset.status is OffsetStatus.TOO_FEW
        assert (offset.dx, offset.dy, offset.n_pairs) == (0.3, 0, 0)


def test_lists_that_do_not_touch():
    rng = np.random.default_rng(0)
    stars = rng.uniform(0, 60, (30, 2))
    offset = find_offset(stars, stars + 500.0, options=Matching())
    assert offset.status is OffsetStatus.TOO_FEW


def test_guess_centres_the_search():
    pair = star_pair(np.random.default_rng(0), 200, shift=(30.0, -20.0))
    offset = search(pair, Matching(xoffset=29.0, yoffset=-21.0))
    assert offset.status is OffsetStatus.FOUND
    assert error(offset, (30.0, -20.0), 0.0) < 0.005
    assert offset.searchrad == 2.0


def test_without_search_the_guess_must_be_right():
    pair = star_pair(np.random.default_rng(0), 200, shift=(5.0, 5.0))
    right = search(pair, Matching(use2dhist=False, xoffset=4.8, yoffset=5.1))
    assert right.status is OffsetStatus.GIVEN
    assert error(right, (5.0, 5.0), 0.0) < 0.005
    wrong = search(pair, Matching(use2dhist=False))
    assert wrong.status is OffsetStatus.NO_PEAK
    assert (wrong.dx, wrong.dy) == (0, 0)


def test_duplicates_do_not_count_twice():
    rng = np.random.default_rng(4)
    stars = rng.uniform(-30, 30, (2, 2))
    ten = np.repeat(stars, 10, axis=0) + rng.normal(0, 0.001, (20, 2))
    offset = find_offset(ten, ten + 0.5, options=FEW)
    assert not offset.status.usable


def test_wrong_shape_is_refused():
    with pytest.raises(InputError, match=r"\(n, 2\)"):
        find_offset(np.zeros((2, 3)), np.zeros((2, 2)), options=Matching())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_order_of_stars_changes_nothing_and_a_common_shift_less_than_the_error(seed, shift):
    rng = np.random.default_rng(seed)
    pair = star_pair(rng, 60, shift=(0.4, -0.3), roll=0.05 * DEGREE)
    before = search(pair)
    order, other = rng.permutation(len(pair.image)), rng.permutation(len(pair.reference))

    def again(shift):
        return find_offset(
            pair.image[order],
            pair.reference[other] + shift,
            options=Matching(),
            flux_image=pair.image_flux[order],
            flux_reference=pair.reference_flux[other],
            pixel_scale=0.031,
        ).apply(CORNERS)

    np.testing.assert_allclose(again((0.0, 0.0)), before.apply(CORNERS), atol=1e-12, rtol=0)
    # a star at the edge of the reach may come or go: then as much as one of 50 stars can do
    one_star = before.sigma * np.sqrt(3) / np.sqrt(before.n_pairs)
    np.testing.assert_allclose(
        again(shift), before.apply(CORNERS) + shift, atol=1.5 * one_star, rtol=0
    )
