"""Wrong pairs are named and left out, good ones kept; what cannot be told apart counts little."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_image_pairs import NAMES, PLANE, all_pairs, errors, frames
from webbalign.core.image_pairs import solve_pairs

EDGES = {n: [a + b for a, b in combinations(NAMES[:n], 2)] for n in (3, 4, 5)}


def solved(count, wrong=(), seed=0, **details):
    """Solve `count` groups whose pairs named in `wrong` are displaced (arcsec)."""
    pairs = all_pairs(NAMES[:count], error=1e-4, rng=np.random.default_rng(seed))
    wrong = dict(wrong)
    pairs = [
        replace(p, shift=p.shift + np.array(wrong.get(p.first + p.second, 0.0))) for p in pairs
    ]
    return solve_pairs(frames(NAMES[:count]), pairs, PLANE, reference="a", **details)


def rejected(solution):
    return [
        p.first + p.second
        for p, used in zip(solution.pairs, solution.used, strict=True)
        if not used
    ]


def worst(solution):
    return max(np.abs(left).max() for left in errors(solution, "a").values())


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    edge=st.sampled_from(EDGES[4]),
    size=st.floats(0.02, 3.0),
    angle=st.floats(0.0, 6.28),
    seed=st.integers(0, 50),
)
def test_one_wrong_pair_of_four_visits(edge, size, angle, seed):
    bump = (size * np.cos(angle), size * np.sin(angle))
    solution = solved(4, {edge: bump}, seed)
    assert rejected(solution) == [edge]
    assert worst(solution) < 2e-3


@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    edges=st.sampled_from([("ab", "cd"), ("ac", "bd"), ("ae", "bc"), ("bd", "ce")]),
    sizes=st.tuples(st.floats(0.05, 2.0), st.floats(-2.0, -0.05)),
    seed=st.integers(0, 50),
)
def test_two_wrong_pairs_of_five_visits(edges, sizes, seed):
    solution = solved(5, {e: (s, -s / 2) for e, s in zip(edges, sizes, strict=True)}, seed)
    assert rejected(solution) == sorted(edges)
    assert worst(solution) < 2e-3


@pytest.mark.parametrize("count", [3, 4, 5])
def test_good_pairs_are_kept(count):
    for seed in range(4):
        assert not rejected(solved(count, seed=seed))


def test_of_three_visits_none_can_be_named_and_the_errors_say_so():
    solution = solved(3, {"bc": (0.5, 0.0)})
    assert not rejected(solution)
    assert solution.chi2_reduced > 100
    left = errors(solution, "a")
    for fit in solution.groups[1:]:
        stated = fit.correction.errors_at(np.zeros((1, 2)))[0]
        assert np.abs(left[fit.name][0]).max() < 2 * stated.max()


def test_a_visit_that_contradicts_itself_does_not_spoil_the_others():
    pairs = all_pairs(NAMES, error=1e-4, rng=np.random.default_rng(1))
    pairs = [p for p in pairs if p.first + p.second not in ("be", "ce")]
    pairs = [
        replace(p, shift=p.shift + 0.4) if p.second == "e" and p.first == "a" else p for p in pairs
    ]
    solution = solve_pairs(frames(), pairs, PLANE, reference="a")
    left = errors(solution, "a")
    assert max(np.abs(left[name]).max() for name in "bcd") < 2e-3
    stated = solution.groups[4].correction.errors_at(np.zeros((1, 2)))[0]
    assert np.abs(left["e"][0]).max() < 3 * stated.max()


def test_excess_scatter_goes_into_the_errors_and_rejects_nothing():
    pulls, rejections = [], 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pairs = all_pairs(error=1e-4, rng=rng)
        pairs = [replace(p, shift=p.shift + rng.normal(0, 5e-3, 2)) for p in pairs]
        solution = solve_pairs(frames(), pairs, PLANE, reference="a")
        rejections += len(rejected(solution))
        left = errors(solution, "a")
        for fit in solution.groups[1:]:
            pulls += list(left[fit.name][0] / fit.correction.errors_at(np.zeros((1, 2)))[0])
    assert rejections <= 2
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_what_the_images_have_in_common_does_not_average_down():
    # that is what pairs have which close far better than their errors
    plain = all_pairs(NAMES, error=1e-3)
    at = np.zeros((1, 2))
    quoted = []
    for part in (0.0, 1.0):
        pairs = [replace(p, image_part=part) for p in plain]
        fit = solve_pairs(frames(), pairs, PLANE, reference="a").groups[1]
        quoted.append(fit.correction.errors_at(at)[0] ** 2)
    # half of a pair's variance for each of two groups, at the middle
    added = quoted[1] - quoted[0]
    assert (added > 0.8e-6).all()
    assert (added < 6e-6).all()


def parted(rng, part, error=1e-3):
    """All pairs, a part of whose variance is that of the places of their images."""
    turn = error / 30.0
    own = {name: rng.normal(size=3) * np.sqrt(part / 2) for name in NAMES}
    pairs = []
    for p in all_pairs(error=error):
        noise = own[p.second] - own[p.first] + rng.normal(size=3) * np.sqrt(1 - part)
        shift, rotation = p.shift + error * noise[:2], p.rotation + turn * noise[2]
        cov = error**2 * np.eye(2)
        pairs.append(replace(p, shift=shift, rotation=rotation, shift_cov=cov, image_part=1.0))
    return pairs


@pytest.mark.parametrize("part", [0.0, 0.6, 1.0])
def test_errors_are_right_whatever_part_is_of_the_images(part):
    rng = np.random.default_rng(7)
    pulls = []
    for _ in range(16):
        solution = solve_pairs(frames(), parted(rng, part), PLANE, reference="a")
        left = errors(solution, "a")
        for fit in solution.groups[1:]:
            pulls += list(left[fit.name][0] / fit.correction.errors_at(np.zeros((1, 2)))[0])
    assert 0.8 < np.sqrt(np.mean(np.square(pulls))) < 1.25


def test_rolled_images_close():
    # to first order an arcsec and 1e-4 leave 0.1 mas
    solution = solve_pairs(frames(), all_pairs(error=1e-5), PLANE)
    assert solution.chi2_reduced < 1e-3
