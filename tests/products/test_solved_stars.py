"""The stars beside a solution: joined to their residuals, kept to the last digit, in any order."""

from __future__ import annotations

from dataclasses import fields, replace

import asdf
import numpy as np
import pytest

from tests.core.skynetwork import sky
from tests.core.starsolutions import SMALL
from webbalign.core.astrometry import align_starlists
from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.products.proper_motion import CatalogStars
from webbalign.products.solved_stars import (
    CatalogTable,
    StarTable,
    read_solved_stars,
    solved_stars,
    write_solved_stars,
)

SHAPE = (2048, 2048)


def catalog_of(reference):
    n = len(reference)
    blank = np.full(n, np.nan)
    return CatalogStars(
        name="g", sky=reference.sky, epoch=blank, sigma=reference.sigma,
        motion=np.full((n, 2), np.nan), motion_sigma=blank, parallax=blank, parallax_sigma=blank,
        weight=reference.weight, magnitude=np.arange(n) / 10.0, color=np.arange(n) / 100.0,
        identity=np.array([f"star {k}" for k in range(n)]),
    )  # fmt: skip


def solve(field, lists, reference=None):
    fitted = align_starlists(lists, reference)
    catalog = None if reference is None else catalog_of(reference)
    error = None if reference is None else reference.sigma
    return fitted, solved_stars(fitted, lists, [SHAPE] * len(lists), catalog, error)


@pytest.fixture(scope="module")
def field():
    return sky(3, **SMALL)


@pytest.fixture(scope="module")
def tied(field):
    return solve(field, field.lists, field.reference(0.001, share=0.4))


def same(one, other):
    for name in ("images",):
        assert getattr(one, name) == getattr(other, name)
    for name in ("shapes", "outlines", "shifts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for part, kind in (("stars", StarTable), ("catalog", CatalogTable)):
        for item in fields(kind):
            first, second = (getattr(getattr(x, part), item.name) for x in (one, other))
            np.testing.assert_array_equal(first, second)
            assert first.dtype.kind == second.dtype.kind


def test_every_star_is_there_once_with_what_is_left_of_it(field, tied):
    fitted, found = tied
    assert len(found.stars) == sum(map(len, field.lists))
    for stars, image in zip(field.lists, fitted.images, strict=True):
        mine = found.of(stars.name)
        np.testing.assert_array_equal(np.stack([mine.east, mine.north], -1), stars.xy)
        np.testing.assert_array_equal(mine.error, stars.sigma)
        assert (mine.star >= 0).sum() == image.n_matched
        assert mine.used.sum() == image.n_used
        rms = np.sqrt(np.mean(mine.dx[mine.used] ** 2 + mine.dy[mine.used] ** 2))
        assert rms == pytest.approx(image.rms, rel=1e-12)


def test_residuals_are_those_of_the_corrected_positions(field, tied):
    """Two of one star are as far apart as the corrections put them."""
    fitted, found = tied
    middle = TangentPlane.around([stars.plane.axes[2] for stars in field.lists])
    place = np.full((len(found.stars), 2), np.nan)
    for stars, image in zip(field.lists, fitted.images, strict=True):
        rows = found.stars.image == found.images.index(stars.name)
        corrected = stars.xy @ image.matrix.T + image.shift
        place[rows] = middle.from_vectors(stars.plane.to_vectors(corrected))
    checked = 0
    for number in np.unique(found.stars.star[found.stars.star >= 0]):
        rows = (found.stars.star == number) & found.stars.used
        left = np.stack([found.stars.dx[rows], found.stars.dy[rows]], -1)
        # whatever the mean is
        apart = np.diff(place[rows], axis=0)
        np.testing.assert_allclose(np.diff(left, axis=0), apart, rtol=0, atol=2e-5)
        checked += len(apart)
    assert checked > 100


def test_catalog_stars_have_their_names_and_magnitudes(field, tied):
    _, found = tied
    catalog = found.catalog
    assert len(catalog) > 20
    assert all(np.diff(catalog.star) >= 0)
    index = np.array([int(name.split()[1]) for name in catalog.identity])
    np.testing.assert_array_equal(catalog.magnitude, index / 10.0)
    np.testing.assert_array_equal(catalog.color, index / 100.0)
    assert np.hypot(catalog.dx, catalog.dy)[catalog.used].max() < 0.05
    assert set(catalog.star.tolist()) <= set(found.stars.star.tolist())


def test_the_order_of_the_images_changes_no_byte(field, tied, tmp_path):
    order = np.random.default_rng(0).permutation(len(field.lists))
    _, other = solve(field, [field.lists[k] for k in order], field.reference(0.001, share=0.4))
    same(tied[1], other)
    one = write_solved_stars(tied[1], tmp_path / "a" / "s.asdf")
    two = write_solved_stars(other, tmp_path / "b" / "s.asdf")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("catalog", [False, True])
def test_there_and_back(field, tmp_path, catalog):
    reference = field.reference(0.001, share=0.4) if catalog else None
    _, stars = solve(field, field.lists, reference)
    again = read_solved_stars(write_solved_stars(stars, tmp_path / "s.asdf"))
    assert len(again.stars) == len(stars.stars) > 100
    assert (len(again.catalog) > 20) == catalog
    same(stars, again)


def test_images_that_are_not_there_have_no_stars(tied):
    _, found = tied
    assert len(found.of("another_cal.fits")) == 0
    assert found.outline("another_cal.fits") is None


def test_unaligned_images_have_stars_without_numbers(field):
    alone = replace(field.lists[0], xy=field.lists[0].xy[:2], sigma=1e-3, flux=1.0, weight=1.0)
    fitted, found = solve(field, [alone, *field.lists[1:]])
    mine = found.of(alone.name)
    assert len(mine) == 2
    assert not fitted.images[0].aligned
    assert (mine.star == -1).all()
    assert np.isnan(mine.dx).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tree: tree.update(version=2), "^version 2 - .* - give version 1$"),
        (lambda tree: tree.pop("images"), "not readable"),
        (lambda tree: tree["stars"].pop("dx"), "not readable"),
        (lambda tree: tree["stars"].update(dx=np.zeros(3)), "not readable"),
    ],
)
def test_other_files_are_refused(tied, tmp_path, spoil, message):
    path = write_solved_stars(tied[1], tmp_path / "s.asdf")
    with asdf.open(path, memmap=False, lazy_load=False) as file:
        tree = dict(file.tree["webbalign_stars"])
        tree["stars"] = dict(tree["stars"])
    spoil(tree)
    asdf.AsdfFile({"webbalign_stars": tree}).write_to(path)
    with pytest.raises(InputError, match=message):
        read_solved_stars(path)


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "s.asdf"
    with pytest.raises(InputError, match="no such file"):
        read_solved_stars(path)
    path.write_text("no asdf")
    with pytest.raises(InputError, match="not readable"):
        read_solved_stars(path)
