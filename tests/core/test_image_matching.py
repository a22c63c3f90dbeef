from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.starpairs import NOISE, SIDE, moved
from tests.core.test_tracks import as_sets
from webbalign.core._group_network import Link, solve_groups
from webbalign.core.errors import InputError
from webbalign.core.image_matching import PlaneStars, match_images
from webbalign.core.matching import Matching

DEGREE = np.pi / 180
BOX = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * SIDE / 2


def mosaic(rng, centres, *, n=150, error=0.5, roll=0.02, spurious=0.3, missing=0.2):
    """Exposures of two detectors each, with pointing errors; and the number of each star."""
    half = np.abs(centres).max() + 1.5 * SIDE
    sky = rng.uniform(-half, half, (int(n * (2 * half / SIDE) ** 2), 2))
    flux = 10 ** rng.uniform(0, 3, len(sky))
    images, groups, numbers = [], [], []
    for name, centre in enumerate(centres):
        shift, turn = rng.normal(0, error, 2), rng.normal(0, roll * DEGREE)
        for side in (-0.52, 0.52):
            middle = centre + np.array([side * SIDE, 0])
            seen = (np.abs(sky - middle) < SIDE / 2).all(axis=1) & (rng.random(len(sky)) > missing)
            false = rng.uniform(-SIDE / 2, SIDE / 2, (int(spurious * seen.sum()), 2)) + middle
            xy = np.concatenate([sky[seen] + rng.normal(0, NOISE, (seen.sum(), 2)), false])
            known = np.concatenate([flux[seen], 10 ** rng.uniform(0, 3, len(false))])
            order = rng.permutation(len(xy))
            place = [moved(z - centre, shift, turn) + centre for z in (xy[order], BOX + middle)]
            images.append(PlaneStars(place[0], np.full(len(xy), NOISE), known[order], place[1]))
            groups.append(f"exposure {name}")
            number = np.concatenate([np.flatnonzero(seen), np.full(len(false), -1)])
            numbers.append(number[order])
    return images, groups, numbers


def purity(found, numbers):
    """Fraction of the possible members of tracks that are right, and the number that are wrong."""
    star = np.array(
        [numbers[i][k] for i, k in zip(found.tracks.image, found.tracks.star, strict=True)], int
    )
    right = 0
    for track in range(found.tracks.n_tracks):
        members = star[found.tracks.track == track]
        members = members[members >= 0]
        right += np.bincount(members).max(initial=0) if len(members) else 0
    _, count = np.unique(np.concatenate(numbers), return_counts=True)
    return right / count[1:][count[1:] > 1].sum(), len(star) - right


DITHERS = np.array([[0, 0], [8, 3], [-5, 9], [4, -12], [-30, -20.0]])


@pytest.mark.parametrize("error, roll", [(0.0, 0.0), (0.5, 0.02), (0.5, 1.0), (1.2, 0.1)])
def test_tracks_of_dithered_exposures(error, roll):
    for seed in range(3):
        images, groups, numbers = mosaic(
            np.random.default_rng(seed), DITHERS, error=error, roll=roll
        )
        found = match_images(images, groups, options=Matching(), pixel_scale=0.031)
        assert found.component.tolist() == [0] * 5
        complete, wrong = purity(found, numbers)
        assert complete > 0.99
        assert wrong <= 4
        assert found.sigma == pytest.approx(NOISE * np.sqrt(2), rel=0.15)
        assert all(pair.closure < 0.02 for pair in found.pairs if pair.used)


def test_group_that_is_off_by_5_arcsec_and_turned():
    images, groups, numbers = mosaic(np.random.default_rng(0), DITHERS, error=0.2)
    for k in (4, 5):
        xy, sigma, flux, outline = images[k]
        images[k] = PlaneStars(
            moved(xy, (3, 4), 2 * DEGREE), sigma, flux, moved(outline, (3, 4), 2 * DEGREE)
        )
    found = match_images(images, groups, options=Matching(), pixel_scale=0.031)
    assert found.component.tolist() == [0] * 5
    assert purity(found, numbers)[0] > 0.99
    others = np.delete(found.roll, 2).mean()
    assert found.roll[2] - others == pytest.approx(-2 * DEGREE, abs=0.1 * DEGREE)


def test_moved_positions_agree():
    images, groups, _ = mosaic(np.random.default_rng(1), DITHERS)
    first = np.tile([0.3, -0.2], (len(images), 1))
    found = match_images(images, groups, options=Matching(), pixel_scale=0.031, initial=first)
    tracks = found.tracks
    placed = np.array(
        [found.apply(i, images[i].xy[k]) for i, k in zip(tracks.image, tracks.star, strict=True)]
    )
    count = np.bincount(tracks.track)
    for axis in (0, 1):
        mean = np.bincount(tracks.track, placed[:, axis]) / count
        spread = (placed[:, axis] - mean[tracks.track]).std()
        assert spread < 1.2 * NOISE


def test_unconnected_halves_are_components_without_a_common_track():
    centres = np.array([[0, 0], [5, 5], [500, 0], [505, 3], [0, 900.0]])
    images, groups, numbers = mosaic(np.random.default_rng(0), centres, n=60)
    found = match_images(images, groups, options=Matching(), pixel_scale=0.031)
    assert found.component.tolist() == [0, 0, 1, 1, 2]
    component = found.component[found.group[found.tracks.image]]
    for track in range(found.tracks.n_tracks):
        assert len(np.unique(component[found.tracks.track == track])) == 1
    assert purity(found, numbers)[0] > 0.98


def test_overlap_that_shows_other_stars_connects_nothing():
    """The outlines say that both see the same field, the stars do not."""
    images, groups, _ = mosaic(np.random.default_rng(0), DITHERS[:2])
    others, _, _ = mosaic(np.random.default_rng(9), DITHERS[2:4])
    names = [*groups, *(f"other {k // 2}" for k in range(4))]
    found = match_images([*images, *others], names, options=Matching(), pixel_scale=0.031)
    assert found.component.tolist() == [0, 0, 1, 1]
    between = [pair for pair in found.pairs if {0, 1} == set(found.component[[pair.a, pair.b]])]
    assert between
    assert not any(pair.used for pair in between)


def test_images_without_stars_stay_alone():
    images, groups, _ = mosaic(np.random.default_rng(0), DITHERS[:2])
    nothing = PlaneStars(np.empty((0, 2)), outline=BOX)
    holes = PlaneStars(np.full((5, 2), np.nan))
    found = match_images(
        [nothing, *images, holes], ["a", *groups, "b"], options=Matching(), pixel_scale=0.031
    )
    assert len(np.unique(found.component)) == 3
    assert not np.isin(found.tracks.image, [0, 5]).any()
    assert (found.shift[[0, 3]] == 0).all()
    np.testing.assert_array_equal(found.apply(0, [[1.0, 2.0]]), [[1.0, 2.0]])


def test_no_images():
    found = match_images([], [], options=Matching())
    assert found.tracks.n_tracks == 0
    with pytest.raises(InputError, match="one for each"):
        match_images([], ["a"], options=Matching())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_images_and_stars_changes_nothing_but_labels(seed):
    rng = np.random.default_rng(seed)
    images, groups, _ = mosaic(rng, DITHERS[:4], n=60, error=0.7)
    found = match_images(images, groups, options=Matching(), pixel_scale=0.031)
    order = rng.permutation(len(images))
    stars = [rng.permutation(len(image.xy)) for image in images]
    shuffled = [
        PlaneStars(*(value[stars[k]] for value in images[k][:3]), images[k].outline) for k in order
    ]
    mixed = match_images(
        shuffled, [groups[k] for k in order], options=Matching(), pixel_scale=0.031
    )
    back = as_sets(
        mixed.tracks, lambda image, star: (int(order[image]), int(stars[order[image]][star]))
    )
    assert back == as_sets(found.tracks)
    same = [mixed.groups.index(name) for name in found.groups]
    np.testing.assert_allclose(mixed.shift[same], found.shift, atol=1e-8)
    np.testing.assert_allclose(mixed.roll[same], found.roll, atol=1e-10)


def loop_of_links(rng, n_groups, wrong=None):
    """Links of all pairs of groups, each group with a motion of its own."""
    stars = rng.uniform(-30, 30, (40, 2)) @ [1, 1j]
    shift = rng.normal(0, 1, (n_groups, 2)) @ [1, 1j]
    roll = rng.normal(0, 1 * DEGREE, n_groups)
    links = []
    for a in range(n_groups):
        for b in range(a + 1, n_groups):
            za, zb = (
                np.exp(1j * roll[k]) * stars + shift[k] + rng.normal(0, NOISE, (40, 2)) @ [1, 1j]
                for k in (a, b)
            )
            if (a, b) == wrong:
                # a chance alignment of a few stars
                za, zb = za[:8], zb[:8] + 1.5
            links.append(Link(a, b, za, zb))
    return links, shift, roll


def test_motions_of_groups_are_recovered():
    links, shift, roll = loop_of_links(np.random.default_rng(0), 5)
    solution = solve_groups(np.zeros(5, complex), links, 0.002)
    assert solution.used.all()
    np.testing.assert_allclose(solution.roll - solution.roll.mean(), roll.mean() - roll, atol=1e-4)
    placed = [solution.apply(k, np.exp(1j * roll[k]) * 20 + shift[k]) for k in range(5)]
    assert np.abs(np.array(placed) - np.mean(placed)).max() < 0.01


@pytest.mark.parametrize("n_groups", [3, 4, 6])
def test_link_that_contradicts_the_others_is_left_out(n_groups):
    links, _, _ = loop_of_links(np.random.default_rng(n_groups), n_groups, wrong=(0, 2))
    solution = solve_groups(np.zeros(n_groups, complex), links, 0.002)
    assert [
        (link.a, link.b) for link, use in zip(links, solution.used, strict=True) if not use
    ] == [(0, 2)]
    assert solution.residual[~solution.used][0] == pytest.approx(1.5, abs=0.1)
    assert solution.sigma == pytest.approx(NOISE * np.sqrt(2), rel=0.15)
