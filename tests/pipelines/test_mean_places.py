"""The jitter between exposures of a visit is taken out of its stars, and nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, turned
from webbalign.core.starlists import StarList
from webbalign.pipelines._mean_places import at_mean_places
from webbalign.products.groups import ObservationIds
from webbalign.steps._find_in_image import FoundStars
from webbalign.steps.tweakreg_options import TweakReg

HALF = 30.0
NOISE = 1e-4
JITTER = 1e-3 * np.array([[4.0, -2.0], [-3.0, 5.0], [2.0, 0.0], [-7.0, -1.0]])
FAR = JITTER + np.outer([1.0, 0.0, 0.0, 0.0], [0.4, 0.0])
OUTLINE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * HALF


def visit(jitter, number=1, n_stars=90, seed=0):
    """Images of a visit, moved by rows of `jitter` (arcsec, east and north), and true positions."""
    rng = np.random.default_rng(seed)
    stars = ABOUT.to_vectors(rng.uniform(-55, 55, (n_stars, 2)))
    flux = 10 ** rng.uniform(1, 4, n_stars)
    found, right = [], []
    for k, step in enumerate(jitter):
        # dithers may be rolled against one another
        plane = turned(ABOUT, 5.0 * k, -4.0 * k, 20.0 + k)
        xy = plane.from_vectors(stars)
        inside = (np.abs(xy) < HALF).all(axis=1)
        true = xy[inside]
        moved = true + plane.axes[:2] @ (step @ ABOUT.axes[:2]) + rng.normal(0, NOISE, true.shape)
        name = f"jw0999800100{number}_02101_0000{k + 1}_mirimage_cal.fits"
        group = name[:13]
        stars_of = StarList(name, group, plane, moved, NOISE, flux[inside], 1.0, OUTLINE, 0.11, 0.3)
        info = SimpleNamespace(name=name, observation=ObservationIds(), detector="mirimage")
        found.append(FoundStars(stars_of, info))
        right.append(true)
    return found, right


def beside(found, right):
    """Mean displacement (n, 2) on the sky of the images from the truth, arcsec."""
    return np.array(
        [
            (item.stars.xy - true).mean(axis=0) @ item.stars.plane.axes[:2] @ ABOUT.axes[:2].T
            for item, true in zip(found, right, strict=True)
        ]
    )


def test_the_exposures_are_brought_to_their_mean_place():
    found, right = visit(JITTER)
    np.testing.assert_allclose(beside(found, right), JITTER, atol=1e-4)
    moved = beside(at_mean_places(found, TweakReg()).found, right)
    np.testing.assert_allclose(moved, np.tile(JITTER.mean(axis=0), (4, 1)), atol=1.5e-4)


def test_the_order_changes_nothing():
    found, _ = visit(JITTER)
    one = at_mean_places(found, TweakReg()).found
    two = at_mean_places(found[::-1], TweakReg()).found[::-1]
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.stars.xy, b.stars.xy, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("jitter", "n_stars"),
    [(JITTER[:1], 90), (JITTER, 4), (FAR, 90)],
)
def test_what_cannot_be_compared_or_is_no_jitter_stays(jitter, n_stars):
    found, _ = visit(jitter, n_stars=n_stars)
    other, right = visit(JITTER, number=2, seed=1)
    places = at_mean_places([*found, *other], TweakReg())
    result = places.found
    assert list(places.jitter) == [other[0].stars.group]
    for item, same in zip(result, found, strict=False):
        assert same is item
    assert np.ptp(beside(result[len(found) :], right), axis=0).max() < 3e-4


def test_the_jitter_is_told():
    found, _ = visit(JITTER)
    told = at_mean_places(found, TweakReg()).jitter[found[0].stars.group]
    # two axes, and the mean of the exposures takes a degree of freedom from each
    expected = np.sqrt(np.sum(np.var(JITTER, axis=0, ddof=1)) / 2)
    assert told == pytest.approx(expected, rel=0.03)


def test_errors_of_stars_are_no_jitter():
    told = []
    for seed in range(6):
        found, _ = visit(np.zeros((4, 2)), seed=seed)
        told.append(at_mean_places(found, TweakReg()).jitter[found[0].stars.group])
    # errors of 90 stars of 0.1 mas: 0.01 mas and more if they were not taken off
    assert np.sqrt(np.mean(np.square(told))) < 0.01e-3
    assert min(told) == 0.0
