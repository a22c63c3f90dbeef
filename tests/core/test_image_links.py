"""Stars and pairs of images in one solution: what one leaves open, the other closes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, Sky, rms, turned
from webbalign.core.astrometry import (
    Fitting,
    ImagePairs,
    ImageStatus,
    Matching,
    Solving,
    align_starlists,
)
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.errors import OptionError
from webbalign.core.image_pairs import ImagePair
from webbalign.core.starlists import ReferenceStars, StarList

GRID = turned(ABOUT, 5.0, -3.0, 0.0)
HALF = 32.0
MATCHING = Matching(minobj=8)
UP = (ImageStatus.ALIGNED, ImageStatus.REFERENCE)


def visits(seed=0, places=(0.0, 40.0, 80.0, 120.0), density=0.012, noise=3e-3, empty=()):
    """Visits in a row, each with a list of stars; `empty` ones show none."""
    rng = np.random.default_rng(seed)
    high = max(places) + 50.0
    n = rng.poisson(density * (high + 50.0) * 100.0)
    stars = ABOUT.to_vectors(np.stack([rng.uniform(-50, high, n), rng.uniform(-50, 50, n)], -1))
    flux = 10 ** rng.uniform(1, 4, n)
    found = Sky([], [], [], stars, [])
    for k, x in enumerate(places):
        truth = turned(ABOUT, x, 3.0 * k, 2.0 * k)
        believed = turned(truth, *rng.uniform(-0.5, 0.5, 2), rng.normal(0, 0.01))
        xy = truth.from_vectors(stars)
        inside = np.flatnonzero((np.abs(xy) < HALF).all(axis=1) & (k not in empty))
        measured = xy[inside] + rng.normal(0, noise, (len(inside), 2))
        outline = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * HALF
        found.lists.append(
            StarList(
                f"v{k}", f"v{k}", believed, measured, noise, flux[inside], 1.0, outline, 0.1, 0.3
            )
        )
        found.truth.append(truth)
        found.label.append(inside)
        found.stretch.append(1.0)
    return found


def stack_errors(seed, count, size):
    """Displacement (arcsec) and turn (radian) of each visit's stack."""
    rng = np.random.default_rng(1000 + seed)
    return rng.normal(0, size, (count, 2)), rng.normal(0, size / (HALF * math.sqrt(2)), count)


def place_error(size):
    """Covariance (3, 3) of what `stack_errors` makes."""
    return size**2 * np.diag([1.0, 1.0, 1.0 / (2.0 * HALF**2)])


def image_pair(sky, i, j, error=1e-3, rng=None, stacks=None, **changes):
    """What a correlation of visits i and j would find, with noise if there is a generator."""
    point = GRID.from_vectors(
        (sky.truth[i].axes[2] + sky.truth[j].axes[2])[None] / 2.0
    )[0]  # fmt: skip

    def seen(p):
        """Where the second shows what the first shows at points of the grid."""
        true = sky.truth[i].to_vectors(sky.lists[i].plane.from_vectors(GRID.to_vectors(p)))
        return GRID.from_vectors(sky.lists[j].plane.to_vectors(sky.truth[j].from_vectors(true)))

    arm = np.array([1.0, 0.0])
    here, there = seen(point)[0], seen(point + arm)[0] - seen(point)[0]
    shift, rotation = here - point, math.atan2(there[1], there[0])
    turn_error = error / 15.0
    cov = error**2 * np.array([[1.0, 0.3], [0.3, 1.5]])
    if rng is not None:
        shift = shift + rng.multivariate_normal(np.zeros(2), cov)
        rotation += rng.normal() * turn_error
    if stacks is not None:
        # each stack is turned about the middle of its visit
        for k, sign in ((i, -1.0), (j, 1.0)):
            x, y = point - GRID.from_vectors(sky.truth[k].axes[2:])[0]
            move, turn = stacks[0][k], stacks[1][k]
            shift = shift + sign * (move + turn * np.array([-y, x]))
            rotation += sign * turn
    values = {
        "first": f"v{i}", "second": f"v{j}", "status": CorrelationStatus.OK, "point": point,
        "shift": shift, "rotation": rotation, "shift_cov": cov, "rotation_error": turn_error,
        "n_pixels": 1000, "significance": 50.0,
    }  # fmt: skip
    return ImagePair(**(values | changes))


def solve(sky, pairs=None, reference=None, group_error=0.0, **options):
    own = {f"v{k}": place_error(group_error) for k in range(len(sky.lists))}
    images = None if pairs is None else ImagePairs(tuple(pairs), GRID, own)
    options = {"matching": MATCHING} | options
    return align_starlists(sky.lists, reference, images=images, **options)


def held(solution):
    """Index of the reference."""
    return [fit.status for fit in solution.images].index(ImageStatus.REFERENCE)


def errors(sky, solution, like=None):
    like = held(solution) if like is None else like
    return sky.errors([fit.correction for fit in solution.images], like=like)


def test_both_together_connect_what_neither_does_alone():
    # stars: 0-1 and 2-3; images: 1-2 and 3-4
    sky = visits(places=(0.0, 40.0, 110.0, 150.0, 200.0), noise=1e-5, empty=(4,))
    pairs = [image_pair(sky, 1, 2, 1e-5), image_pair(sky, 3, 4, 1e-5)]
    alone = solve(sky)
    assert [fit.status in UP for fit in alone.images].count(True) == 2
    no_stars = visits(places=(0.0, 40.0, 110.0, 150.0, 200.0), empty=range(5))
    assert [fit.status in UP for fit in solve(no_stars, pairs).images].count(True) == 2
    both = solve(sky, pairs)
    assert both.all_aligned
    assert both.components == (("v0", "v1", "v2", "v3", "v4"),)
    assert both.pair_used.all()
    assert rms(errors(sky, both)) < 0.2
    np.testing.assert_allclose(both.pair_closure, 0.0, atol=1e-4)


def test_without_pairs_nothing_changes():
    sky = visits(places=(0.0, 30.0, 60.0))
    plain, with_none = solve(sky), solve(sky, [])
    for one, two in zip(plain.images, with_none.images, strict=True):
        np.testing.assert_array_equal(one.shift, two.shift)
        np.testing.assert_array_equal(one.cov, two.cov)


def pulls(sky, solution, away):
    """Errors in their sigmas of the middle of each visit, and of a turn at its edge."""
    left, found = errors(sky, solution), []
    for k, fit in enumerate(solution.images):
        if fit.status is ImageStatus.ALIGNED:
            stated = fit.correction.errors_at(np.zeros((1, 2)))[0]
            found += list(left[k].mean(axis=0) / stated)
            if away is not None:
                away.append(stated)
    return found


@pytest.mark.parametrize("group_error", [pytest.param(0.0, marks=pytest.mark.slow), 1e-3])
def test_the_error_is_that_of_both_and_is_stated(group_error):
    found, stated = [], {"stars": [], "images": [], "both": []}
    for seed in range(10):
        sky = visits(seed, places=(0.0, 25.0, 50.0), density=0.006)
        nothing = visits(seed, places=(0.0, 25.0, 50.0), empty=range(3))
        rng = np.random.default_rng(seed)
        stacks = stack_errors(seed, 3, group_error)
        pairs = [image_pair(sky, i, j, 1.5e-3, rng, stacks) for i, j in ((0, 1), (1, 2), (0, 2))]
        fixed = {"solving": Solving(enforce_user_order=True)}
        for name, field, images in (
            ("stars", sky, None), ("images", nothing, pairs), ("both", sky, pairs),
        ):  # fmt: skip
            solution = solve(field, images, group_error=group_error, **fixed)
            assert solution.all_aligned
            assert held(solution) == 0
            got = pulls(field, solution, stated[name])
            found += got if name == "both" else []
    both = np.array(stated["both"])
    assert (both <= np.minimum(stated["stars"], stated["images"]) * 1.0001).all()
    assert 0.8 < np.sqrt(np.mean(np.square(found))) < 1.25


def test_a_wrong_pair_does_not_pull_what_stars_hold():
    sky = visits(places=(0.0, 30.0, 60.0), noise=1e-4)
    pairs = [image_pair(sky, i, j) for i, j in ((0, 1), (1, 2), (0, 2))]
    pairs[1] = replace(pairs[1], shift=np.add(pairs[1].shift, [0.4, -0.2]))
    solution = solve(sky, pairs, group_error=2e-4)
    assert solution.all_aligned
    assert solution.pair_used.tolist() == [True, False, True]
    assert np.hypot(*solution.pair_closure[1]) == pytest.approx(math.hypot(0.4, 0.2), rel=0.02)
    assert rms(errors(sky, solution)) < 0.2


def test_of_two_pairs_that_contradict_each_other_none_is_believed():
    sky = visits(places=(0.0, 20.0, 40.0), noise=1e-4, empty=(2,))
    pairs = [image_pair(sky, 0, 2, 1e-3), image_pair(sky, 1, 2, 5e-4)]
    assert solve(sky, pairs).all_aligned
    pairs[1] = replace(pairs[1], shift=np.add(pairs[1].shift, [0.4, 0.0]))
    solution = solve(sky, pairs)
    assert [fit.status in UP for fit in solution.images] == [True, True, False]
    np.testing.assert_array_equal(solution.images[2].matrix, np.eye(2))
    assert not solution.pair_used.any()


def test_a_catalog_holds_what_images_connect():
    sky = visits(places=(0.0, 40.0, 110.0, 150.0), noise=1e-4, empty=(3,))
    pairs = [image_pair(sky, 1, 2, 1e-4), image_pair(sky, 2, 3, 1e-4)]
    reference = ReferenceStars(ABOUT.to_sky(ABOUT.from_vectors(sky.stars)), 1e-4, 1.0, np.nan)
    solution = solve(sky, pairs, reference)
    assert [fit.status for fit in solution.images] == [ImageStatus.ALIGNED] * 4
    assert solution.pair_used.all()
    assert rms(sky.errors([fit.correction for fit in solution.images])) < 0.5
    assert np.isfinite(solution.images[3].cov).all()


def test_the_order_changes_nothing():
    sky = visits(places=(0.0, 40.0, 110.0), noise=1e-3)
    pairs = [image_pair(sky, 1, 2), image_pair(sky, 0, 1)]
    one = solve(sky, pairs)
    sky.lists.reverse()
    two = solve(sky, pairs[::-1])
    for first, second in zip(one.images, two.images[::-1], strict=True):
        np.testing.assert_allclose(first.shift, second.shift, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"solving": Solving(solver="sequential")}, {"fitting": Fitting(fitgeometry="general")}],
)
def test_what_images_cannot_tell_is_refused(options):
    sky = visits(places=(0.0, 30.0))
    with pytest.raises(OptionError, match="pairs of images"):
        solve(sky, [image_pair(sky, 0, 1)], **options)
