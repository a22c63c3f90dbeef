"""It does not matter how images and visits are called: the corrections are the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.skynetwork import grid_of, sky
from webbalign.core.astrometry import align_starlists


def placed(field, solution):
    """Unit vectors of corrected grids of pixels."""
    return np.concatenate(
        [
            stars.plane.to_vectors(image.correction.apply(grid_of(stars.outline, 3)))
            for stars, image in zip(field.lists, solution.images, strict=True)
        ]
    )


def called(field, order):
    """The lists of a field, image k called as image order[k] was; and the visits of groups."""
    names = [(stars.name, stars.group) for stars in field.lists]
    lists = [
        replace(stars, name=names[k][0], group=names[k][1])
        for stars, k in zip(field.lists, order, strict=True)
    ]
    visits = {
        new.group: f"visit of {names[order[int(old.group[1]) * 3]][1]}"
        for old, new in zip(field.lists, lists, strict=True)
    }
    return lists, visits


@pytest.mark.parametrize("families", [False, True])
@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.permutations(range(6)))
def test_names_have_no_influence(families, seed, order):
    field = sky(seed, visits=2, dithers=3, detectors=1, density=0.012, visit_shift=(8.0, 5.0))
    found = []
    for names in (list(range(6)), order):
        lists, visits = called(field, names)
        solution = align_starlists(lists, families=visits if families else None)
        found.append((solution, placed(field, solution)))
    (one, first), (two, second) = found
    assert [image.status for image in one.images] == [image.status for image in two.images]
    # radians: 1e-6 mas
    assert np.abs(first - second).max() < 4.8e-15


def test_of_two_images_the_same_one_is_the_reference():
    field = sky(3, visits=1, dithers=2, detectors=1, density=0.012, missing=0.0, spurious=0.0)
    names = [stars.name for stars in field.lists]
    assert len(set(names)) == 2
    statuses = []
    for order in ([0, 1], [1, 0]):
        lists = [
            replace(stars, name=names[k], group=names[k])
            for stars, k in zip(field.lists, order, strict=True)
        ]
        statuses.append([image.status for image in align_starlists(lists).images])
    assert statuses[0] == statuses[1]
