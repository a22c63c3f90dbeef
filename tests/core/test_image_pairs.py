"""Groups are put where the pairs say, in one solution."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_correlation import noisy, scene
from webbalign.core._image_fits import ImageStatus
from webbalign.core.correlation import Correlating, CorrelationStatus
from webbalign.core.image_pairs import (
    GridImage,
    ImagePair,
    measure_pairs,
    overlapping_pairs,
    solve_pairs,
)
from webbalign.core.network import GroupFrame
from webbalign.core.planes import TangentPlane

PLANE = TangentPlane.about(150.0, 2.0)
NAMES = ["a", "b", "c", "d", "e"]
# what is wrong with the recorded places: shift (arcsec) and rotation about the tangent point
WRONG = {
    "a": (0.1, -0.3, 1e-4),
    "b": (0.5, 0.2, -1e-4),
    "c": (-0.4, 0.6, 2e-4),
    "d": (0.0, -0.8, 0.0),
    "e": (0.7, 0.1, -2e-4),
}


def frames(names=NAMES):
    return [GroupFrame(n, PLANE, "rshift", np.zeros(2), 60.0) for n in names]


def matrix(name):
    x, y, angle = WRONG[name]
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1.0]])


def pair(first, second, error=1e-3, rng=None, **changes):
    """The pair as a perfect measurement has it, or with noise."""
    way = matrix(second) @ np.linalg.inv(matrix(first))
    point = np.array([7.0, -4.0])
    shift = (way @ [*point, 1.0])[:2] - point
    rotation, turn_error = math.atan2(way[1, 0], way[0, 0]), error / 30.0
    cov = error**2 * np.array([[1.0, 0.3], [0.3, 2.0]])
    if rng is not None:
        shift = shift + rng.multivariate_normal(np.zeros(2), cov)
        rotation += rng.normal() * turn_error
    values = {
        "first": first, "second": second, "status": CorrelationStatus.OK, "point": point,
        "shift": shift, "rotation": rotation, "shift_cov": cov, "rotation_error": turn_error,
        "n_pixels": 1000, "significance": 50.0,
    }  # fmt: skip
    return ImagePair(**(values | changes))


def all_pairs(names=NAMES, **details):
    return [pair(a, b, **details) for k, a in enumerate(names) for b in names[k + 1 :]]


def errors(solution, reference):
    """What is left of each group at three points, relative to the reference's, arcsec."""
    at = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    left = {}
    for fit in solution.groups:
        # true places, recorded, corrected, and back to where the reference has them
        recorded = (matrix(fit.name) @ np.c_[at, np.ones(3)].T)[:2].T
        wanted = (matrix(reference) @ np.c_[at, np.ones(3)].T)[:2].T
        left[fit.name] = fit.correction.apply(recorded) - wanted
    return left


def test_perfect_pairs_are_solved_exactly():
    solution = solve_pairs(frames(), all_pairs(), PLANE)
    (reference,) = [f.name for f in solution.groups if f.status is ImageStatus.REFERENCE]
    assert solution.used.all()
    for left in errors(solution, reference).values():
        # the network's rotations are about points on the sphere
        assert np.abs(left).max() < 1e-6


def test_errors_have_the_size_that_is_stated():
    rng = np.random.default_rng(4)
    pulls = []
    for _ in range(12):
        solution = solve_pairs(frames(), all_pairs(rng=rng), PLANE, reference="a")
        left = errors(solution, "a")
        for fit in solution.groups[1:]:
            stated = fit.correction.errors_at(np.array([[0.0, 0.0]]))[0]
            pulls += list(left[fit.name][0] / stated)
    assert 0.8 < np.sqrt(np.mean(np.square(pulls))) < 1.25


def test_a_wrong_pair_is_rejected():
    pairs = all_pairs()
    wrong = pair("b", "d", shift=np.array([2.0, -1.0]))
    pairs = [wrong if (p.first, p.second) == ("b", "d") else p for p in pairs]
    solution = solve_pairs(frames(), pairs, PLANE, reference="a")
    for p, used in zip(solution.pairs, solution.used, strict=True):
        assert used == ((p.first, p.second) != ("b", "d"))
    assert max(np.abs(left).max() for left in errors(solution, "a").values()) < 1e-6


def test_unconnected_groups_are_named_and_left():
    pairs = [*all_pairs(["a", "b", "c"]), pair("d", "e")]
    fits = {fit.name: fit for fit in solve_pairs(frames(), pairs, PLANE).groups}
    for name in ("d", "e"):
        assert fits[name].status is ImageStatus.UNCHANGED
        assert "connects" in fits[name].reason
        assert np.array_equal(fits[name].correction.matrix, np.eye(2))
    assert sum(fit.status is ImageStatus.ALIGNED for fit in fits.values()) == 2


def test_failed_pairs_do_not_count():
    pairs = [pair("a", "b"), pair("b", "c", status=CorrelationStatus.AMBIGUOUS)]
    fits = {
        fit.name: fit.status for fit in solve_pairs(frames(["a", "b", "c"]), pairs, PLANE).groups
    }
    assert fits["c"] is ImageStatus.UNCHANGED


@pytest.mark.parametrize("pairs", [[], [pair("a", "b", status=CorrelationStatus.NO_SIGNAL)]])
def test_nothing_to_solve(pairs):
    solution = solve_pairs(frames(["a", "b"]), pairs, PLANE)
    assert [fit.status for fit in solution.groups] == [ImageStatus.REFERENCE, ImageStatus.UNCHANGED]


def test_of_equal_parts_the_one_with_more_pixels_holds_the_frame():
    pairs = [pair("a", "b"), pair("c", "d", n_pixels=1001)]
    fits = {fit.name: fit.status for fit in solve_pairs(frames(NAMES[:4]), pairs, PLANE).groups}
    assert ImageStatus.REFERENCE in (fits["c"], fits["d"])
    assert fits["a"] is fits["b"] is ImageStatus.UNCHANGED


def test_the_order_changes_nothing():
    rng = np.random.default_rng(8)
    pairs = all_pairs(rng=rng)
    first = {f.name: f for f in solve_pairs(frames(), pairs, PLANE).groups}
    second = {f.name: f for f in solve_pairs(frames(NAMES[::-1]), pairs[::-1], PLANE).groups}
    for name in NAMES:
        np.testing.assert_array_equal(first[name].correction.shift, second[name].correction.shift)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.permutations(range(5)), st.integers(2, 5))
def test_any_names_give_the_same_solution(seed, order, count):
    rng = np.random.default_rng(seed)
    pairs = all_pairs(NAMES[:count], rng=rng)
    order = [k for k in order if k < count]
    called = dict(zip(NAMES, [NAMES[k] for k in order], strict=False))
    planes = [TangentPlane.about(150.0 + 0.003 * k, 2.0 - 0.002 * k) for k in range(count)]
    own = [
        GroupFrame(name, plane, "rshift", np.zeros(2), 60.0)
        for name, plane in zip(NAMES[:count], planes, strict=True)
    ]
    first = {fit.name: fit for fit in solve_pairs(own, pairs, PLANE).groups}
    turned = [renamed(p, called) for p in pairs]
    others = [replace(frame, name=called[frame.name]) for frame in own]
    second = {fit.name: fit for fit in solve_pairs(others, turned, PLANE).groups}
    for name, fit in first.items():
        other = second[called[name]]
        assert other.status is fit.status
        at = np.array([[-60.0, 0.0], [60.0, 30.0]])
        np.testing.assert_allclose(
            other.correction.apply(at), fit.correction.apply(at), rtol=0, atol=1e-10
        )
        np.testing.assert_allclose(other.correction.cov, fit.correction.cov, rtol=1e-6, atol=1e-18)


def renamed(pair, called):
    """The same pair under other names; its images come in the order of these."""
    first, second = called[pair.first], called[pair.second]
    if first < second:
        return replace(pair, first=first, second=second)
    # (seen from the other image, and so from where the point lies there)
    return replace(
        pair, first=second, second=first, point=pair.point + pair.shift, shift=-pair.shift,
        rotation=-pair.rotation,
    )  # fmt: skip


def test_images_are_measured_on_their_common_part():
    shifts = {"a": (0.0, 0.0), "b": (1.5, -2.0), "c": (-0.8, 0.7)}
    cuts = {"a": (0, 0), "b": (12, 8), "c": (5, 20)}
    images = []
    for k, name in enumerate(shifts):
        data = noisy(scene(shift=shifts[name]), k, 0.03)[cuts[name][0] :, cuts[name][1] :]
        images.append(
            GridImage(name, data, np.ones_like(data), (cuts[name][0] - 300, cuts[name][1]))
        )
    far = GridImage("far", images[0].data, images[0].weight, (5000, 5000))
    assert overlapping_pairs([*images, far]) == [(0, 1), (0, 2), (1, 2)]
    options = Correlating(corr_searchrad=0.5, corr_block=24)
    pairs = measure_pairs([*images, far], 0.1, options, band="F770W")
    for found in pairs:
        expected = np.subtract(shifts[found.second], shifts[found.first]) * [-0.1, 0.1]
        assert found.status is CorrelationStatus.OK
        np.testing.assert_allclose(found.shift, expected, atol=2e-3)
        assert abs(found.rotation) < 4 * found.rotation_error
    fits = solve_pairs(
        [GroupFrame(n, PLANE, "rshift", np.array([-8.0, -22.0]), 8.0) for n in shifts],
        pairs, PLANE, reference="a",
    ).groups  # fmt: skip
    for fit in fits:
        at = np.array([[-8.0, -22.0]])
        moved = fit.correction.apply(at) - at
        np.testing.assert_allclose(moved[0], np.multiply(shifts[fit.name], [0.1, -0.1]), atol=2e-3)


def test_it_does_not_matter_what_images_are_called():
    moves = [((0.0, 0.0), 0.0), ((3.5, -2.0), 2e-3), ((-0.8, 2.7), -1e-3)]
    data = [
        noisy(scene(shift=shift, rotation=turn), k, 0.1) for k, (shift, turn) in enumerate(moves)
    ]
    place = np.diag([1e-4, 2e-4, 1e-8])
    found = []
    for names in ("abc", "cba"):
        images = [
            GridImage(name, one, np.ones_like(one), (-80, -80), 4, place)
            for name, one in zip(names, data, strict=True)
        ]
        pairs = measure_pairs(images, 0.1, Correlating(corr_searchrad=0.6, corr_block=24))
        solution = solve_pairs(
            [GroupFrame(n, PLANE, "rshift", np.zeros(2), 8.0) for n in sorted(names)],
            pairs, PLANE, reference=names[0],
        )  # fmt: skip
        fits = {fit.name: fit.correction for fit in solution.groups}
        found.append([fits[name] for name in names])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one.shift, two.shift, atol=1e-10)
        np.testing.assert_allclose(one.matrix, two.matrix, atol=1e-12)
        np.testing.assert_allclose(one.cov, two.cov, rtol=1e-2, atol=1e-12)


def test_what_all_pairs_of_a_group_have_in_common_adds_to_its_error():
    plain = solve_pairs(frames(), all_pairs(), PLANE, reference="a")
    more = solve_pairs(frames(), all_pairs(), PLANE, reference="a", group_error=5e-3)
    at = np.array([[0.0, 0.0], [60.0, 0.0]])
    for one, two in zip(plain.groups[1:], more.groups[1:], strict=True):
        added = two.correction.errors_at(at) ** 2 - one.correction.errors_at(at) ** 2
        # of the group and of the reference; at the edge the turn moves y only
        np.testing.assert_allclose(added, 2 * 5e-3**2 * np.array([[1, 1], [1, 2]]), rtol=1e-6)
    assert not more.groups[0].correction.cov.any()


def test_pairs_can_be_measured_in_other_processes():
    data = noisy(scene(), 1, 0.03)
    images = [GridImage(name, data, np.ones_like(data), (0, 0)) for name in "ab"]

    def through_pickle(function, tasks):
        for task in tasks:
            call, argument = pickle.loads(pickle.dumps((function, task)))
            yield pickle.loads(pickle.dumps(call(argument)))

    options = Correlating(corr_searchrad=0.2, corr_block=24)
    (here,) = measure_pairs(images, 0.1, options)
    (there,) = measure_pairs(images, 0.1, options, run=through_pickle)
    np.testing.assert_array_equal(there.shift, here.shift)
    np.testing.assert_array_equal(there.place_covs, here.place_covs)
