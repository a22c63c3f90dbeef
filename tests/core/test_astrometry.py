"""Star lists in, corrections out: what was injected is recovered, what cannot be is left alone."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import rms, sky
from tests.core.starsolutions import (
    ALIGNED,
    REFERENCE,
    SMALL,
    UNCHANGED,
    corrections,
    cut,
    held,
    quoted,
    statuses,
    unchanged,
)
from webbalign.core.astrometry import Solving, align_starlists
from webbalign.core.errors import InputError
from webbalign.core.matching import Matching
from webbalign.core.starlists import ReferenceStars


def test_nircam_mosaic():
    """2 visits, 4 dithers, 5 detectors; 30 % spurious, 20 % missing sources."""
    field = sky(0, pointing=1.0)
    relative = align_starlists(field.lists)
    assert statuses(relative).count(REFERENCE) == 5
    assert statuses(relative).count(ALIGNED) == 35
    assert rms(field.errors(corrections(relative), like=held(relative))) < 0.2
    absolute = align_starlists(field.lists, field.reference(0.001, share=0.3))
    assert statuses(absolute) == [ALIGNED] * 40
    assert rms(field.errors(corrections(absolute))) < 0.3
    assert all(image.n_reference > 10 for image in absolute.images)
    assert absolute.absolute[0].tied


def test_numbers_per_image():
    field = sky(0, **SMALL)
    solution = align_starlists(field.lists, field.reference(0.001))
    for image, stars, label in zip(solution.images, field.lists, field.label, strict=True):
        assert image.name == stars.name
        assert image.n_found == len(stars)
        true = np.count_nonzero(label >= 0)
        assert 0.97 * true <= image.n_matched <= 1.05 * true
        assert 0.97 * image.n_matched <= image.n_used <= image.n_matched
        assert 0.002 < image.rms < 0.005
        assert 0.5 < image.chi2_reduced < 1.5
        assert image.cov.shape == (6, 6)
        assert image.reason == ""
    residuals = solution.residuals
    assert len(residuals.image) == sum(image.n_matched for image in solution.images)
    first = np.flatnonzero(residuals.track == residuals.track[0])
    places = zip(residuals.image[first], residuals.star[first], strict=True)
    true = {field.label[i][s] for i, s in places}
    assert true == {int(residuals.reference[first[0]])}
    used = np.hypot(residuals.dx, residuals.dy)[residuals.used]
    assert used.max() < 0.05


def test_closures_of_all_overlapping_pairs_are_small():
    solution = align_starlists(sky(0, **SMALL).lists)
    assert len(solution.closures) == 15
    for closure in solution.closures:
        assert np.hypot(closure.dx, closure.dy) < 4.5 * closure.error < 0.01


def test_order_of_images_changes_nothing():
    field = sky(1, **SMALL)
    order = [3, 0, 5, 1, 4, 2]
    for reference in (None, field.reference(0.001, share=0.3)):
        a = align_starlists(field.lists, reference)
        b = align_starlists([field.lists[k] for k in order], reference)
        for k, image in zip(order, b.images, strict=True):
            assert image.name == a.images[k].name
            assert image.status is a.images[k].status
            assert np.array_equal(image.matrix, a.images[k].matrix)
            assert np.array_equal(image.shift, a.images[k].shift)


def test_order_of_stars_changes_next_to_nothing():
    field = sky(1, **SMALL)
    a = align_starlists(field.lists)
    for k in range(6):
        cut(field, k, np.random.default_rng(k).permutation(len(field.lists[k])))
    b = align_starlists(field.lists)
    for one, other in zip(a.images, b.images, strict=True):
        assert np.allclose(one.shift, other.shift, rtol=0, atol=1e-11)


def test_reference_can_be_the_first_image():
    field = sky(1, **SMALL)
    chosen = align_starlists(field.lists)
    first = next(k for k in range(6) if k != held(chosen))
    lists = [field.lists[first], *(s for k, s in enumerate(field.lists) if k != first)]
    solution = align_starlists(lists, solving=Solving(enforce_user_order=True))
    assert solution.images[0].status is REFERENCE
    assert unchanged(solution.images[0])
    assert statuses(solution).count(ALIGNED) == 5


def test_aligning_again_changes_nothing():
    """What is right already is not refused, and moves by less than its error."""
    field = sky(2, **SMALL)
    reference = field.reference(0.001)
    once = align_starlists(field.lists, reference)
    done = [
        replace(stars, xy=image.correction.apply(stars.xy))
        for stars, image in zip(field.lists, once.images, strict=True)
    ]
    again = align_starlists(done, reference)
    assert set(statuses(again)) == {ALIGNED}
    for image in again.images:
        assert np.hypot(*image.shift) < 1e-5
        assert abs(image.roll) < 1e-5


def test_unknown_errors_and_fluxes():
    field = sky(0, **SMALL, noise=(0.003, 0.003))
    known = align_starlists(field.lists, field.reference(0.003))
    field.lists = [
        replace(stars, sigma=np.full(len(stars), np.nan), flux=np.full(len(stars), np.nan))
        for stars in field.lists
    ]
    catalog = field.reference(0.003)
    catalog = ReferenceStars(catalog.sky, np.nan, 1.0, np.nan)
    blind = align_starlists(field.lists, catalog)
    assert set(statuses(blind)) == {ALIGNED}
    assert blind.floor == pytest.approx(0.003, rel=0.1)
    assert rms(field.errors(corrections(blind))) < 1.5
    every = range(len(field.lists))
    ratio = quoted(field, blind, every) / quoted(field, known, every)
    assert 0.8 < np.median(ratio) < 1.25


def test_two_lists_of_one_name_are_refused():
    field = sky(0, **SMALL)
    with pytest.raises(InputError, match="two star lists of this name"):
        align_starlists([field.lists[0], field.lists[0]])
    with pytest.raises(InputError, match="no star list"):
        align_starlists([])


def test_minobj_is_what_counts():
    field = sky(0, **{**SMALL, "density": 0.006})
    most = max(len(stars) for stars in field.lists)
    strict = align_starlists(field.lists, matching=Matching(minobj=most + 1))
    assert set(statuses(strict)) == {UNCHANGED}
    assert "minobj" in strict.images[0].reason
    loose = align_starlists(field.lists, matching=Matching(minobj=5))
    assert statuses(loose).count(ALIGNED) >= 3
