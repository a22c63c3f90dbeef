from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.overlaps import overlaps

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])


def shifted(dx, dy):
    return SQUARE + np.array([dx, dy])


def area(first, second):
    found = overlaps([first, second])
    return found.area[0] if len(found) else 0.0


def turned(polygon, angle, shift=(0.0, 0.0)):
    cosine, sine = np.cos(angle), np.sin(angle)
    return polygon @ np.array([[cosine, sine], [-sine, cosine]]) + shift


@pytest.mark.parametrize(
    "other, expected",
    [
        (SQUARE, 1.0),
        (SQUARE[::-1], 1.0),
        (np.roll(SQUARE, 1, axis=0), 1.0),
        (shifted(0.5, 0.5), 0.25),
        (shifted(0.25, 0.0), 0.75),
        (SQUARE * 0.5 + 0.25, 0.25),
        (SQUARE * 0.5, 0.25),
        (shifted(1.0, 0.0), 0.0),
        (shifted(1.0, 0.5), 0.0),
        (shifted(1.0, 1.0), 0.0),
        (shifted(3.0, 0.0), 0.0),
        (turned(SQUARE - 0.5, np.pi / 4, (0.5, 0.5)), 2 * np.sqrt(2) - 2),
        (np.array([[0, 0], [1, 0], [0, 1.0]]), 0.5),
        (np.array([[0, 0], [1, 0], [0.5, 0.5], [1, 1], [0, 1]]), 1.0),
    ],
)
def test_known_areas(other, expected):
    assert area(SQUARE, other) == pytest.approx(expected, abs=1e-12)
    assert area(other, SQUARE) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "nothing", [np.empty((0, 2)), SQUARE[:2], SQUARE * [1, 0], np.full((4, 2), np.nan)]
)
def test_outline_without_area_overlaps_nothing(nothing):
    found = overlaps([SQUARE, nothing, SQUARE])
    np.testing.assert_array_equal(found.pairs, [[0, 2]])
    np.testing.assert_allclose(found.areas, [1, 0, 1])


def test_no_outlines():
    assert len(overlaps([])) == 0
    assert len(overlaps([SQUARE])) == 0


def test_areas_against_counted_points():
    rng = np.random.default_rng(0)
    points = (np.stack(np.meshgrid(*2 * [np.arange(400) + 0.5]), -1).reshape(-1, 2)) / 400
    for _ in range(20):
        first, second = (
            turned(
                (SQUARE - 0.5) * rng.uniform(0.2, 0.6, 2),
                rng.uniform(0, 6),
                rng.uniform(0.3, 0.7, 2),
            )
            for _ in range(2)
        )
        inside = np.ones(len(points), bool)
        for polygon in (first, second):
            for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                side, to = b - a, points - a
                inside &= side[0] * to[:, 1] - side[1] * to[:, 0] >= 0
        assert area(first, second) == pytest.approx(inside.mean(), abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), far=st.floats(0, 1e4))
def test_laws(seed, far):
    """Symmetric, not larger than either, unchanged by a common motion, in any order."""
    rng = np.random.default_rng(seed)
    outlines = [
        turned(SQUARE * rng.uniform(0.5, 2, 2), rng.uniform(0, 6), rng.uniform(0, 4, 2))
        for _ in range(6)
    ]
    found = overlaps(outlines)
    assert (found.area <= found.areas[found.pairs].min(axis=1) + 1e-12).all()
    angle = rng.uniform(0, 6)
    again = overlaps([turned(outline, angle, (far, -far)) for outline in outlines])
    np.testing.assert_array_equal(again.pairs, found.pairs)
    np.testing.assert_allclose(again.area, found.area, atol=1e-7)
    order = rng.permutation(6)
    mixed = overlaps([outlines[k] for k in order])
    table = {
        frozenset(pair): value for pair, value in zip(found.pairs.tolist(), found.area, strict=True)
    }
    for pair, value in zip(order[mixed.pairs].tolist(), mixed.area, strict=True):
        assert table.pop(frozenset(pair)) == pytest.approx(value, abs=1e-12)
    assert not table
