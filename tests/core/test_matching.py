from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.starpairs import star_pair
from webbalign.core.errors import InputError, OptionError
from webbalign.core.matching import AbsMatching, Matching, match
from webbalign.core.options import declared

GRID = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2)


def test_defaults_are_the_documented_ones():
    assert {option.name: option.default for option in declared(Matching)} == {
        "minobj": 15,
        "searchrad": 2.0,
        "use2dhist": True,
        "separation": 1.0,
        "tolerance": 0.7,
        "xoffset": 0.0,
        "yoffset": 0.0,
    }
    assert {option.name: option.default for option in declared(AbsMatching)} == {
        "abs_minobj": 15,
        "abs_searchrad": 6.0,
        "abs_use2dhist": True,
        "abs_separation": 1.0,
        "abs_tolerance": 0.7,
    }


def test_absolute_options_under_the_common_names():
    options = AbsMatching(
        abs_minobj=4, abs_searchrad=3, abs_use2dhist=False, abs_separation=2, abs_tolerance=0.5
    )
    assert options.matching() == Matching(
        minobj=4, searchrad=3, use2dhist=False, separation=2, tolerance=0.5
    )


@pytest.mark.parametrize("minobj", [0, -1, 1.5])
def test_minobj_is_a_positive_number(minobj):
    with pytest.raises(OptionError, match="minobj"):
        Matching(minobj=minobj)


def test_separation_has_to_exceed_the_tolerance():
    Matching(separation=0.7 * np.sqrt(2) + 1e-9)
    with pytest.raises(OptionError, match="'separation' is 0.9.*'tolerance', which is 0.7"):
        Matching(separation=0.9)
    with pytest.raises(OptionError, match="'abs_separation'.*'abs_tolerance'"):
        AbsMatching(abs_tolerance=1.0)


def test_true_pairs_are_matched_and_hardly_any_others():
    pair = star_pair(np.random.default_rng(0), 500)
    found = match(pair.image, pair.reference, tolerance=0.05)
    right = pair.image_id[found.i] == pair.reference_id[found.j]
    common = np.intersect1d(pair.image_id, pair.reference_id)
    assert (right & (pair.image_id[found.i] >= 0)).sum() >= len(common[common >= 0]) - 2
    assert (~right).sum() <= 3
    np.testing.assert_allclose(
        found.distance, np.hypot(*(pair.image[found.i] - pair.reference[found.j]).T)
    )


def test_tolerance_is_the_longest_distance():
    found = match([[0, 0], [5, 0], [10, 0]], [[0.2, 0], [5.3, 0], [10.4, 0]], tolerance=0.3)
    np.testing.assert_array_equal(found.i, [0, 1])
    np.testing.assert_array_equal(found.j, [0, 1])


def test_two_candidates_that_cannot_be_told_apart_are_left_out():
    image = np.concatenate([GRID, [[20.0, 0.0]]])
    reference = np.concatenate([GRID + 0.001, [[20.03, 0.0], [19.96, 0.0]]])
    errors = {"sigma_image": 0.05, "sigma_reference": np.full(len(reference), 0.02)}
    found = match(image, reference, tolerance=0.2, **errors)
    np.testing.assert_array_equal(found.i, np.arange(25))
    assert found.n_ambiguous == 1
    # with small errors the nearer one is right, and from the other side it is the same
    sharp = match(image, reference, tolerance=0.2, sigma_image=0.002)
    assert 25 in sharp.i
    assert sharp.n_ambiguous == 0
    other = match(reference, image, tolerance=0.2, sigma_image=0.05)
    assert 25 not in other.j
    assert other.n_ambiguous == 1


def test_double_stars_are_matched_if_the_errors_allow():
    double = np.array([[0, 0], [0.2, 0], [3, 3], [3.0, 3.2]])
    found = match(double, double + 0.01, tolerance=0.5, sigma_image=0.01)
    np.testing.assert_array_equal(found.i, found.j)
    assert len(found) == 4


def test_a_star_listed_twice_is_matched_once():
    reference = np.concatenate([GRID, GRID[3:4] + 0.002])
    found = match(GRID + 0.001, reference, tolerance=0.1, sigma_image=0.01)
    assert len(found) == 25
    assert found.n_ambiguous == 0
    assert len(np.unique(found.j)) == 25


def test_separation_leaves_crowded_stars_out():
    crowded = np.concatenate([GRID, [[0.3, 0.0]]])
    found = match(crowded, GRID, tolerance=0.1, separation=0.5)
    np.testing.assert_array_equal(found.i, np.arange(1, 25))
    found = match(GRID, crowded, tolerance=0.1, separation=0.5)
    np.testing.assert_array_equal(found.j, np.arange(1, 25))


def test_nothing_and_nan_are_never_matched():
    assert len(match(np.empty((0, 2)), GRID, tolerance=1.0)) == 0
    holes = GRID.copy()
    holes[3] = np.nan
    found = match(holes, GRID, tolerance=0.1, sigma_image=np.full(25, np.nan))
    assert 3 not in found.i
    assert len(found) == 24
    with pytest.raises(InputError, match=r"\(n, 2\)"):
        match(np.zeros(4), GRID, tolerance=1.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), tolerance=st.floats(0.01, 5.0))
def test_one_to_one_symmetric_and_independent_of_the_order(seed, n, tolerance):
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 20, (n, 2)), rng.uniform(0, 20, (n + 5, 2))
    found = match(first, second, tolerance=tolerance)
    assert len(np.unique(found.i)) == len(np.unique(found.j)) == len(found)
    assert (found.distance <= tolerance).all()
    pairs = set(zip(found.i.tolist(), found.j.tolist(), strict=True))
    back = match(second, first, tolerance=tolerance)
    assert pairs == set(zip(back.j.tolist(), back.i.tolist(), strict=True))
    order, other = rng.permutation(n), rng.permutation(n + 5)
    mixed = match(first[order], second[other], tolerance=tolerance)
    assert pairs == set(zip(order[mixed.i].tolist(), other[mixed.j].tolist(), strict=True))
