"""Star lists in, corrections out: what was injected is recovered, what cannot be is left alone."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, grid_of, rms, sky, turned
from webbalign.core.astrometry import AbsFitting, Fitting, ImageStatus, Solving, align_starlists
from webbalign.core.errors import InputError
from webbalign.core.matching import AbsMatching, Matching
from webbalign.core.starlists import ReferenceStars

ALIGNED, REFERENCE, RELATIVE_ONLY, UNCHANGED, FAILED = ImageStatus
SMALL = {"visits": 2, "dithers": 3, "detectors": 1, "density": 0.03}
NO_STARS = ReferenceStars(np.empty((0, 2)), 0.1, 1.0, np.nan, name="nothing.ecsv")


def cut(field, k, rows):
    """Keep some stars of list k."""
    stars = field.lists[k]
    parts = {name: getattr(stars, name)[rows] for name in ("xy", "sigma", "flux", "weight")}
    field.lists[k] = replace(stars, **parts)
    field.label[k] = field.label[k][rows]


def statuses(solution):
    return [image.status for image in solution.images]


def corrections(solution):
    return [image.correction for image in solution.images]


def held(solution):
    return statuses(solution).index(REFERENCE)


def unchanged(image):
    return np.array_equal(image.matrix, np.eye(2)) and not image.shift.any()


def quoted(field, solution, which):
    return np.array(
        [solution.images[k].correction.errors_at(grid_of(field.lists[k].outline)) for k in which]
    )


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


@pytest.mark.slow
@pytest.mark.parametrize("group_by", ["exposure", "image"])
def test_absolute_pulls_and_noise_limit(group_by):
    """The error is that of the true tracks, known without matching; the quoted one is right."""
    geometry = "rscale" if group_by == "image" else "rshift"
    scale = 1e-4 if group_by == "image" else 0.0
    pulls, found, limit = [], [], []
    for seed in range(6):
        field = sky(seed, detectors=2, density=0.02, group_by=group_by, scale=scale)
        solution = align_starlists(
            field.lists,
            field.reference(0.002),
            fitting=Fitting(fitgeometry=geometry),
            abs_fitting=AbsFitting(abs_fitgeometry=geometry),
        )
        assert set(statuses(solution)) == {ALIGNED}
        errors = field.errors(corrections(solution))
        error = quoted(field, solution, range(len(field.lists)))
        pulls.append(errors / error)
        found.append(np.mean(np.sum(errors**2, axis=-1)))
        limit.append(np.mean(np.sum(error**2, axis=-1)))
    assert 0.8 < np.std(pulls) < 1.25
    assert np.sqrt(np.mean(found)) < 1.15 * np.sqrt(np.mean(limit))


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


@pytest.mark.parametrize(
    "what", ["another field", "crowded", "empty", "far away", "shifted out of reach"]
)
def test_a_wrong_catalog_leaves_the_relative_solution(what):
    field = sky(0, **SMALL)
    right = field.reference(0.001, share=0.3)
    catalog = {
        "another field": sky(77, **SMALL).reference(0.001, share=0.3),
        "crowded": sky(78, **{**SMALL, "density": 0.5}).reference(0.001),
        "empty": NO_STARS,
        "far away": ReferenceStars(right.sky + np.array([1.0, 0.0]), 0.001, 1.0, np.nan),
        "shifted out of reach": ReferenceStars(
            right.sky + np.array([0.02, 0.0]), 0.001, 1.0, np.nan
        ),
    }[what]
    relative = align_starlists(field.lists)
    solution = align_starlists(field.lists, catalog)
    assert statuses(solution) == [RELATIVE_ONLY] * 6
    assert all(image.reason for image in solution.images)
    for one, other in zip(solution.images, relative.images, strict=True):
        assert np.array_equal(one.shift, other.shift)
        assert np.array_equal(one.matrix, other.matrix)
    assert not solution.absolute[0].tied


def test_too_few_stars_in_common_with_the_catalog():
    field = sky(0, **SMALL)
    few = field.reference(0.001)
    seen = np.unique(np.concatenate(field.label))[1:13]
    few = ReferenceStars(few.sky[seen], 0.001, 1.0, np.nan)
    assert statuses(align_starlists(field.lists, few)) == [RELATIVE_ONLY] * 6
    allowed = align_starlists(field.lists, few, abs_matching=AbsMatching(abs_minobj=8))
    assert statuses(allowed) == [ALIGNED] * 6
    assert rms(field.errors(corrections(allowed))) < 4.0


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


def test_proper_motions_of_the_catalog():
    """Two visits a year apart, stars that move by 20 mas in between."""
    field = sky(0, **SMALL, noise=(0.0005, 0.0005), pointing=0.2)
    rng = np.random.default_rng(3)
    move = rng.normal(0, 0.02, (len(field.stars), 2))
    plane = ABOUT.from_vectors(field.stars)
    for k in range(3, 6):
        stars, label = field.lists[k], field.label[k]
        seen = np.flatnonzero(label >= 0)
        xy = stars.xy.copy()
        there = ABOUT.to_vectors((plane + move)[label[seen]])
        was = ABOUT.to_vectors(plane[label[seen]])
        xy[seen] += field.truth[k].from_vectors(there) - field.truth[k].from_vectors(was)
        field.lists[k] = replace(stars, xy=xy)
    still = ABOUT.to_sky(plane)
    epochs = np.array([still] * 3 + [ABOUT.to_sky(plane + move)] * 3)
    moving = align_starlists(field.lists, ReferenceStars(epochs, 0.0005, 1.0, np.nan))
    fixed = align_starlists(field.lists, ReferenceStars(still, 0.0005, 1.0, np.nan))
    assert set(statuses(moving)) == {ALIGNED}
    assert rms(field.errors(corrections(moving))) < 0.3
    assert rms(field.errors(corrections(moving))) < 0.3 * rms(field.errors(corrections(fixed)))
    assert moving.floor < 0.0005


def test_absolute_shift_keeps_the_roll_of_the_relative_solution():
    field = sky(0, **SMALL, roll=0.05)
    relative = align_starlists(field.lists)
    absolute = align_starlists(
        field.lists,
        field.reference(0.001),
        abs_fitting=AbsFitting(abs_fitgeometry="shift"),
    )
    assert set(statuses(absolute)) == {ALIGNED}
    assert abs(absolute.images[held(relative)].roll) < 1e-4


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


@pytest.mark.parametrize("seed", range(4))
def test_a_catalog_of_other_stars_is_never_taken(seed):
    """Nor is one whose few right stars are drowned in others."""
    field = sky(seed, **SMALL)
    other = sky(seed + 100, **{**SMALL, "density": 0.1}).reference(0.001)
    solution = align_starlists(
        field.lists, other, abs_matching=AbsMatching(abs_minobj=3, abs_searchrad=10.0)
    )
    assert set(statuses(solution)) == {RELATIVE_ONLY}


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
