"""Star lists against a catalog: the noise limit, motions of the stars, wrong catalogs."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, rms, sky
from tests.core.starsolutions import (
    ALIGNED,
    NO_STARS,
    RELATIVE_ONLY,
    SMALL,
    corrections,
    held,
    quoted,
    statuses,
)
from webbalign.core.astrometry import AbsFitting, Fitting, align_starlists
from webbalign.core.matching import AbsMatching
from webbalign.core.starlists import ReferenceStars


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


@pytest.mark.parametrize("seed", range(4))
def test_a_catalog_of_other_stars_is_never_taken(seed):
    """Nor is one whose few right stars are drowned in others."""
    field = sky(seed, **SMALL)
    other = sky(seed + 100, **{**SMALL, "density": 0.1}).reference(0.001)
    solution = align_starlists(
        field.lists, other, abs_matching=AbsMatching(abs_minobj=3, abs_searchrad=10.0)
    )
    assert set(statuses(solution)) == {RELATIVE_ONLY}
