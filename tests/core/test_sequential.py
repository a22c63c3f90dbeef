"""One group after another, as the document describes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import grid_of, rms, sky, turned
from webbalign.core.astrometry import Fitting, ImageStatus, Solving, align_starlists
from webbalign.core.fitting import AbsFitting
from webbalign.core.starlists import ReferenceStars

ALIGNED, REFERENCE, RELATIVE_ONLY, UNCHANGED, FAILED = ImageStatus
SMALL = {"visits": 2, "dithers": 3, "detectors": 2, "density": 0.03}
SEQUENTIAL = Solving(solver="sequential")
EXPANDING = Solving(solver="sequential", expand_refcat=True)
IN_ORDER = Solving(solver="sequential", expand_refcat=True, enforce_user_order=True)


def statuses(solution):
    return [image.status for image in solution.images]


def corrections(solution):
    return [image.correction for image in solution.images]


@pytest.mark.parametrize("solving", [SEQUENTIAL, EXPANDING, IN_ORDER])
@pytest.mark.parametrize("geometry", ["rshift", "general"])
def test_all_groups_are_brought_to_the_reference(solving, geometry):
    field = sky(0, **SMALL)
    solution = align_starlists(field.lists, solving=solving, fitting=Fitting(fitgeometry=geometry))
    assert sorted(set(statuses(solution))) == [ALIGNED, REFERENCE]
    held = statuses(solution).index(REFERENCE)
    assert rms(field.errors(corrections(solution), like=held)) < 1.5
    if solving is IN_ORDER:
        assert held == 0
        assert not solution.images[0].shift.any()


@pytest.mark.slow
def test_global_is_better():
    ratio = []
    for seed in range(4):
        field = sky(seed, **SMALL)
        reference = field.reference(0.001)
        errors = [
            rms(field.errors(corrections(align_starlists(field.lists, reference, solving=s))))
            for s in (EXPANDING, Solving())
        ]
        ratio.append(errors[0] / errors[1])
    assert np.mean(ratio) > 1.05


@pytest.mark.slow
def test_quoted_errors_without_expanding_are_right():
    pulls = []
    for seed in range(15):
        field = sky(seed, **SMALL, spurious=0.1)
        solution = align_starlists(field.lists, solving=SEQUENTIAL)
        held = statuses(solution).index(REFERENCE)
        which = [k for k, status in enumerate(statuses(solution)) if status is ALIGNED]
        errors = field.errors(corrections(solution), like=held, which=which)
        quoted = [
            solution.images[k].correction.errors_at(grid_of(field.lists[k].outline)) for k in which
        ]
        pulls.append((errors / np.array(quoted)).ravel())
    assert 0.8 < np.std(np.concatenate(pulls)) < 1.25


def test_stars_that_are_not_in_the_reference_need_an_expanding_catalog():
    """A chain of exposures, the last of which does not overlap the first."""
    field = sky(0, visits=1, dithers=4, detectors=1, density=0.05, pointing=0.3)
    for k in range(4):
        move = 40.0 * k - 60.0
        field.truth[k], plane = (
            turned(plane, move, 0.0, 0.0) for plane in (field.truth[k], field.lists[k].plane)
        )
        seen = field.truth[k].from_vectors(field.stars)
        inside = np.flatnonzero((np.abs(seen) < 32.0).all(axis=1))
        one = np.full(len(inside), 0.001)
        xy = seen[inside] + np.random.default_rng(k).normal(0, 0.001, (len(inside), 2))
        field.lists[k] = replace(
            field.lists[k], plane=plane, xy=xy, sigma=one, flux=one, weight=one
        )
        field.label[k] = inside
    assert all(len(stars) > 50 for stars in field.lists)
    in_order = {"solver": "sequential", "enforce_user_order": True}
    plain = align_starlists(field.lists, solving=Solving(**in_order))
    assert statuses(plain) == [REFERENCE, ALIGNED, UNCHANGED, UNCHANGED]
    assert "images aligned before it" in plain.images[3].reason
    whole = align_starlists(field.lists, solving=Solving(**in_order, expand_refcat=True))
    assert statuses(whole) == [REFERENCE, ALIGNED, ALIGNED, ALIGNED]
    assert rms(field.errors(corrections(whole), like=0)) < 3.0


def test_the_catalog_moves_all_rigidly():
    field = sky(0, **SMALL)
    relative = align_starlists(field.lists, solving=EXPANDING)
    reference = field.reference(0.001)
    absolute = align_starlists(field.lists, reference, solving=SEQUENTIAL)
    assert set(statuses(absolute)) == {ALIGNED}
    assert rms(field.errors(corrections(absolute))) < 1.0
    # what the groups are among themselves has not changed
    first, second = field.lists[0], field.lists[-1]
    sides = []
    for solution in (relative, absolute):
        ends = [
            stars.plane.to_vectors(image.correction.apply(stars.outline[:1]))[0]
            for stars, image in ((first, solution.images[0]), (second, solution.images[-1]))
        ]
        sides.append(np.linalg.norm(ends[0] - ends[1]) * 206264.806)
    assert sides[0] == pytest.approx(sides[1], abs=1e-8)


def test_a_wrong_catalog_leaves_the_relative_solution():
    field = sky(0, **SMALL)
    nothing = ReferenceStars(np.empty((0, 2)), 0.1, 1.0, np.nan)
    solution = align_starlists(field.lists, nothing, solving=SEQUENTIAL)
    assert set(statuses(solution)) == {RELATIVE_ONLY}
    expanding = align_starlists(field.lists, solving=EXPANDING)
    for one, other in zip(solution.images, expanding.images, strict=True):
        assert np.array_equal(one.shift, other.shift)


def test_order_of_images_changes_nothing_unless_it_is_enforced():
    field = sky(1, **SMALL)
    order = list(np.random.default_rng(0).permutation(12))
    a = align_starlists(field.lists, solving=EXPANDING)
    b = align_starlists([field.lists[k] for k in order], solving=EXPANDING)
    for k, image in zip(order, b.images, strict=True):
        assert np.array_equal(image.shift, a.images[k].shift)


def test_hard_cases_stay_unchanged():
    field = sky(0, **{**SMALL, "detectors": 1})
    few = field.lists[2]
    field.lists[2] = replace(
        few, xy=few.xy[:3], sigma=few.sigma[:3], flux=few.flux[:3], weight=few.weight[:3]
    )
    solution = align_starlists(field.lists, solving=EXPANDING)
    assert solution.images[2].status is UNCHANGED
    assert "3 stars" in solution.images[2].reason
    assert np.array_equal(solution.images[2].matrix, np.eye(2))
    one = align_starlists(field.lists[:1], solving=EXPANDING)
    assert statuses(one) == [REFERENCE]
    tied = align_starlists(
        field.lists[:1],
        field.reference(0.001),
        solving=EXPANDING,
        abs_fitting=AbsFitting(abs_nclip=0),
    )
    assert statuses(tied) == [ALIGNED]
