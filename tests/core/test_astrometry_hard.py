"""Images that can hardly be aligned end in the right status, and never in a wrong place."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, rms, sky, turned
from tests.core.starsolutions import (
    ALIGNED,
    NO_STARS,
    REFERENCE,
    RELATIVE_ONLY,
    SMALL,
    UNCHANGED,
    corrections,
    cut,
    held,
    statuses,
    unchanged,
)
from webbalign.core.astrometry import Fitting, align_starlists
from webbalign.core.starlists import ReferenceStars


@pytest.mark.parametrize("number", [3, 1, 0])
def test_an_image_with_hardly_a_star(number):
    field = sky(0, **SMALL)
    cut(field, 2, np.arange(number))
    for reference in (None, field.reference(0.001, share=0.3)):
        solution = align_starlists(field.lists, reference)
        assert solution.images[2].status is UNCHANGED
        assert unchanged(solution.images[2])
        assert ("no star" if number == 0 else f"{number} stars") in solution.images[2].reason
        others = [0, 1, 3, 4, 5]
        assert all(solution.images[k].aligned for k in others)
        like = None if reference else held(solution)
        assert rms(field.errors(corrections(solution), like=like, which=others)) < 2.0


@pytest.mark.parametrize("number", [3, 1, 0])
def test_nothing_but_images_with_hardly_a_star(number):
    field = sky(0, **SMALL)
    reference = field.reference(0.001)
    for k in range(6):
        cut(field, k, np.arange(number))
    for catalog in (None, reference):
        solution = align_starlists(field.lists, catalog)
        assert statuses(solution) == [UNCHANGED] * 6
        assert all(unchanged(image) for image in solution.images)
        assert not solution.all_aligned
        assert solution.reference_group is None


@pytest.mark.parametrize("geometry", ["rshift", "general"])
def test_stars_on_a_line(geometry):
    """They fix no general map: a simpler one is fitted, and said so."""
    field = sky(0, **SMALL, pointing=0.3)
    for k in range(6):
        along = np.random.default_rng(0).uniform(-110, 110, 200)
        xy = field.truth[k].from_vectors(ABOUT.to_vectors(np.stack([along, along], axis=-1)))
        xy = xy[(np.abs(xy) < 32.0).all(axis=1)]
        one = np.full(len(xy), 0.001)
        xy = xy + np.random.default_rng(k).normal(0, 0.001, xy.shape)
        field.lists[k] = replace(field.lists[k], xy=xy, sigma=one, flux=one, weight=one)
    used = [k for k in range(6) if len(field.lists[k]) >= 15]
    assert len(used) >= 3
    solution = align_starlists(field.lists, fitting=Fitting(fitgeometry=geometry))
    assert statuses(solution).count(ALIGNED) >= 2
    for image in solution.images:
        if image.status is ALIGNED:
            simpler = "fitted with rscale" in image.reason
            assert simpler == (geometry == "general")
        else:
            assert unchanged(image)
    which = [k for k in range(6) if solution.images[k].aligned]
    errors = field.errors(corrections(solution), like=held(solution), which=which)
    assert rms(errors) < 3.0


@pytest.mark.parametrize("how", [{"pointing": 2.5}, {"roll": 2.0}, {"pointing": 2.0, "roll": 1.5}])
def test_large_errors_of_pointing_and_roll(how):
    field = sky(3, **{**SMALL, **how})
    relative = align_starlists(field.lists)
    assert sorted(statuses(relative)) == [ALIGNED] * 5 + [REFERENCE]
    assert rms(field.errors(corrections(relative), like=held(relative))) < 2.0
    absolute = align_starlists(field.lists, field.reference(0.001, share=0.3))
    assert statuses(absolute) == [ALIGNED] * 6
    assert rms(field.errors(corrections(absolute))) < 1.0


def test_an_image_that_overlaps_nothing():
    field = sky(0, **SMALL)
    field.truth[4] = turned(field.truth[4], 3000.0, 0.0, 0.0)
    field.lists[4] = replace(field.lists[4], plane=turned(field.lists[4].plane, 3000.0, 0.0, 0.0))
    solution = align_starlists(field.lists)
    assert solution.images[4].status is UNCHANGED
    assert "overlaps no other image" in solution.images[4].reason
    assert sorted(statuses(solution)) == [ALIGNED] * 4 + [REFERENCE, UNCHANGED]


def test_two_halves():
    """They are named; the catalog ties both to one frame."""
    field = sky(0, **{**SMALL, "visit_shift": (150.0, 150.0)})
    solution = align_starlists(field.lists)
    assert sorted(statuses(solution)) == [ALIGNED] * 2 + [REFERENCE] + [UNCHANGED] * 3
    assert sorted(len(part) for part in solution.components) == [3, 3]
    apart = [image for image in solution.images if image.status is UNCHANGED]
    assert all("no stars in common with the largest part" in image.reason for image in apart)
    assert all(unchanged(image) for image in apart)
    absolute = align_starlists(field.lists, field.reference(0.001, share=0.3))
    assert statuses(absolute) == [ALIGNED] * 6
    assert rms(field.errors(corrections(absolute))) < 1.0
    only_one = field.reference(0.001)
    east = ABOUT.from_sky(only_one.sky)[:, 0] < 60.0
    only_one = ReferenceStars(only_one.sky[east], 0.001, 1.0, np.nan)
    half = align_starlists(field.lists, only_one)
    assert (
        sorted(statuses(half)) == [ALIGNED] * 3 + [RELATIVE_ONLY] * 3
        or sorted(statuses(half)) == [ALIGNED] * 3 + [UNCHANGED] * 3
    )


def test_a_single_image():
    field = sky(0, **{**SMALL, "visits": 1, "dithers": 1, "density": 0.05})
    alone = align_starlists(field.lists)
    assert statuses(alone) == [REFERENCE]
    assert unchanged(alone.images[0])
    absolute = align_starlists(field.lists, field.reference(0.001))
    assert statuses(absolute) == [ALIGNED]
    assert rms(field.errors(corrections(absolute))) < 1.0
    wrong = align_starlists(field.lists, NO_STARS)
    assert statuses(wrong) == [RELATIVE_ONLY]
    assert unchanged(wrong.images[0])


def test_an_image_of_another_field_among_good_ones():
    """Its stars are not those that should be there."""
    field = sky(0, **SMALL)
    other = sky(55, **SMALL)
    field.lists[1] = replace(
        field.lists[1], **{n: getattr(other.lists[1], n) for n in ("xy", "sigma", "flux", "weight")}
    )
    solution = align_starlists(field.lists)
    assert solution.images[1].status is UNCHANGED
    assert unchanged(solution.images[1])
    which = [0, 2, 3, 4, 5]
    assert all(solution.images[k].aligned for k in which)
    assert rms(field.errors(corrections(solution), like=held(solution), which=which)) < 2.0
