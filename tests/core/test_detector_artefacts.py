"""Sources fixed in the detector are found, whatever the dither; stars are left alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.dirtysky import dirty_sky
from tests.core.skynetwork import rms, sky, turned
from webbalign.core._detector_artefacts import without_artefacts
from webbalign.core.astrometry import ImageStatus, align_starlists
from webbalign.core.matching import AbsMatching, Matching


def dropped(lists):
    return [stars.weight == 0 for stars in without_artefacts(lists, Matching())]


@pytest.mark.parametrize("step", [0.3, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("fluxes", [True, False])
def test_artefacts_are_found_and_stars_are_not(step, fluxes):
    for seed in range(2):
        field, _ = dirty_sky(seed, step=step, artefacts=100, density=0.03, fluxes=fluxes)
        for stars, label, gone in zip(field.lists, field.label, dropped(field.lists), strict=True):
            pixels = np.abs(stars.xy[~gone & (label < 0)])
            assert 95 <= gone.sum() <= 105
            assert gone[label >= 0].sum() <= 3
            assert len(pixels)


@pytest.mark.parametrize("step", [0.3, 2.0, 8.0])
def test_more_artefacts_than_stars_do_not_align_images(step):
    """Within the radius of the search they would, as if the telescope had not moved."""
    field, reference = dirty_sky(1, exposures=3, step=step, artefacts=250, density=0.04)
    few = AbsMatching(abs_minobj=8)
    solution = align_starlists(field.lists, reference, abs_matching=few)
    assert {image.status for image in solution.images} == {ImageStatus.ALIGNED}
    assert rms(field.errors([image.correction for image in solution.images])) < 4.0


def test_nothing_is_dropped_from_lists_without_artefacts():
    for field in (sky(0, detectors=1, density=0.1), dirty_sky(0, density=0.1)[0]):
        same = without_artefacts(field.lists, Matching())
        assert all(one is other for one, other in zip(same, field.lists, strict=True))


def test_images_of_one_pointing_keep_their_stars():
    """Their stars stay at one pixel, too."""
    field, _ = dirty_sky(1, step=0.0, artefacts=50)
    assert not any(gone.any() for gone in dropped(field.lists))


def test_other_detectors_are_not_compared():
    field, _ = dirty_sky(2, artefacts=100)
    field.lists[1:] = [
        replace(stars, outline=stars.outline + 0.1 * k)
        for k, stars in enumerate(field.lists[1:], 1)
    ]
    assert not any(gone.any() for gone in dropped(field.lists))


def test_stars_at_one_pixel_whose_wcs_differ_are_told_by_the_catalog():
    """Without it, it cannot be told that they are no artefacts."""
    field, reference = dirty_sky(4, exposures=2, step=0.0, pointing=0.0)
    field.lists[1] = replace(field.lists[1], plane=turned(field.truth[1], 0.7, -0.4, 0.0))
    assert dropped(field.lists)[1].sum() > 60
    few = AbsMatching(abs_minobj=8)
    solution = align_starlists(field.lists, reference, abs_matching=few)
    assert {image.status for image in solution.images} == {ImageStatus.ALIGNED}
    assert rms(field.errors([image.correction for image in solution.images])) < 2.0
    alone = align_starlists(field.lists)
    assert {image.status for image in alone.images} == {ImageStatus.UNCHANGED}


def test_sources_of_other_brightness_are_no_artefacts():
    """What a bright star leaves behind is fainter than the star, which is to be kept."""
    field, _ = dirty_sky(3, step=5.0, density=0.03)
    first, second = field.lists[:2]
    left = replace(
        second, xy=first.xy, flux=1e-2 * first.flux, sigma=first.sigma, weight=first.weight
    )
    assert not any(gone.any() for gone in dropped([first, left]))
    assert dropped([first, replace(left, flux=first.flux)])[0].all()


@given(order=st.permutations(range(4)), seed=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_order_of_images_has_no_influence(order, seed):
    field, _ = dirty_sky(seed, artefacts=40, density=0.03)
    before = dropped(field.lists)
    after = dropped([field.lists[k] for k in order])
    for k, gone in zip(order, after, strict=True):
        assert np.array_equal(before[k], gone)


def test_a_list_without_stars_or_outline():
    field, _ = dirty_sky(0, artefacts=40, density=0.03)
    none = np.empty(0)
    empty = replace(field.lists[0], xy=np.empty((0, 2)), sigma=none, flux=none, weight=none)
    bare = replace(field.lists[1], outline=np.empty((0, 2)))
    gone = dropped([empty, bare, *field.lists[2:]])
    assert not len(gone[0])
    assert not gone[1].any()
    assert gone[2].sum() > 35
