from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.matching import Matches, match
from webbalign.core.tracks import Tracks, build_tracks, link_tracks


def as_sets(tracks: Tracks, names=None):
    """The tracks as sets of (image, star): what is left without their numbers."""
    names = names or (lambda image, star: (image, star))
    found = [set() for _ in range(tracks.n_tracks)]
    for image, star, track in zip(tracks.image, tracks.star, tracks.track, strict=True):
        found[track].add(names(int(image), int(star)))
    return {frozenset(members) for members in found}


def exposures(rng, n_images, n_stars, noise=0.005, side=30.0, missing=0.2):
    """Lists of the same stars, and the number of each star."""
    stars = rng.uniform(0, side, (n_stars, 2))
    lists, numbers = [], []
    for _ in range(n_images):
        seen = np.flatnonzero(rng.random(n_stars) >= missing)
        seen = rng.permutation(seen)
        lists.append(stars[seen] + rng.normal(0, noise, (len(seen), 2)))
        numbers.append(seen)
    return lists, numbers


def pairwise(lists, tolerance):
    return {
        (a, b): match(lists[a], lists[b], tolerance=tolerance)
        for a, b in itertools.combinations(range(len(lists)), 2)
    }


@pytest.mark.parametrize("n_images", [2, 5, 20])
@pytest.mark.parametrize("way", ["pairs", "positions"])
def test_tracks_are_the_stars(way, n_images):
    lists, numbers = exposures(np.random.default_rng(n_images), n_images, 60, noise=0.002)
    if way == "pairs":
        tracks = build_tracks(pairwise(lists, 0.03), [len(xy) for xy in lists])
    else:
        tracks = link_tracks(lists, 0.03)
    true = {}
    for image, seen in enumerate(numbers):
        for row, star in enumerate(seen.tolist()):
            true.setdefault(star, set()).add((image, row))
    expected = {frozenset(members) for members in true.values() if len(members) > 1}
    assert as_sets(tracks) == expected
    assert tracks.n_cut == 0
    assert len(tracks) == len(expected)


def test_wrong_link_between_two_stars_is_cut():
    """One image matched the two stars crosswise; its links are the longest."""
    near, far = np.array([0, 1]), np.array([1, 0])
    right = Matches(near, near, np.array([0.01, 0.01]))
    wrong = Matches(near, far, np.array([0.09, 0.09]))
    tracks = build_tracks({(0, 1): right, (1, 2): right, (0, 2): wrong}, [2, 2, 2])
    assert as_sets(tracks) == {
        frozenset({(0, 0), (1, 0), (2, 0)}),
        frozenset({(0, 1), (1, 1), (2, 1)}),
    }
    assert tracks.n_cut == 1


def test_close_stars_are_kept_apart_though_a_chain_joins_them():
    rng = np.random.default_rng(1)
    double = np.array([[0.0, 0.0], [0.04, 0.0]])
    lists = [double + rng.normal(0, 0.003, (2, 2)) for _ in range(12)]
    lists.append(np.array([[0.02, 0.0]]))
    tracks = link_tracks(lists, 0.05)
    found = as_sets(tracks)
    for star in (0, 1):
        members = {(image, star) for image in range(12)}
        assert any(len(members & track) >= 11 for track in found)
    assert all(len({image for image, _ in track}) == len(track) for track in found)


def test_clumps_larger_than_the_number_of_neighbours_are_joined():
    """Two tight clumps, each of more exposures than nearest neighbours that are looked at."""
    rng = np.random.default_rng(0)
    left = [rng.normal(0, 1e-4, (1, 2)) for _ in range(20)]
    right = [rng.normal([0.02, 0], 1e-4, (1, 2)) for _ in range(20)]
    tracks = link_tracks([*left, *right], 0.03)
    assert tracks.n_tracks == 1
    assert len(tracks.image) == 40
    assert link_tracks([*left, *right], 0.01).n_tracks == 2


def test_star_listed_twice_takes_one_place():
    lists = [np.array([[0.0, 0.0], [0.001, 0.0]]), np.array([[0.0, 0.0]]), np.array([[5.0, 5.0]])]
    tracks = link_tracks(lists, 0.1)
    assert tracks.n_tracks == 1
    np.testing.assert_array_equal(tracks.image, [0, 1])
    np.testing.assert_array_equal(tracks.star, [0, 0])


def test_of_image():
    tracks = link_tracks([[[0, 0], [9, 9]], [[9, 9.001], [0, 0.001], [4, 4]]], 0.1)
    np.testing.assert_array_equal(tracks.of_image(0, 2), [0, 1])
    np.testing.assert_array_equal(tracks.of_image(1, 3), [1, 0, -1])


@pytest.mark.parametrize("lists", [[], [np.empty((0, 2))], [[[1.0, 2.0]], [[np.nan, 2.0]]]])
def test_no_tracks(lists):
    assert link_tracks(lists, 1.0).n_tracks == 0
    assert build_tracks({}, [len(xy) for xy in lists]).n_tracks == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_images=st.integers(2, 8), reach=st.floats(0.01, 1.0))
@pytest.mark.parametrize("way", ["pairs", "positions"])
def test_order_of_images_and_stars_changes_nothing_but_labels(way, seed, n_images, reach):
    """Also where the field is so crowded that nearly everything is in conflict."""
    rng = np.random.default_rng(seed)
    lists, _ = exposures(rng, n_images, 40, noise=0.02, side=5.0)

    def run(positions):
        if way == "positions":
            return link_tracks(positions, reach)
        return build_tracks(pairwise(positions, reach), [len(xy) for xy in positions])

    found = as_sets(run(lists))
    for track in found:
        assert len({image for image, _ in track}) == len(track) > 1
    images = rng.permutation(n_images)
    stars = [rng.permutation(len(xy)) for xy in lists]
    mixed = run([lists[k][stars[k]] for k in images])
    back = as_sets(mixed, lambda image, star: (int(images[image]), int(stars[images[image]][star])))
    assert back == found
