"""Groups that share their roll: better places where they do, the same ones where they do not."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, rms, sky
from tests.core.test_network import corrections, problem, quoted
from webbalign.core.network import solve_network

# few stars, as in MIRI's bands
FEW = {"visits": 3, "dithers": 4, "detectors": 1, "density": 0.004, "noise": (0.001, 0.01)}


def both(seed, spread=0.0, geometry="rshift"):
    """Errors without and with families, and what is quoted with them; rolls may be spread."""
    field = sky(seed, **FEW, spurious=0.0, visit_shift=(5.0, 5.0))
    frames, seen, _ = problem(field, geometry)
    if spread:
        rng = np.random.default_rng(seed)
        xy = seen.xy.copy()
        for g in range(1, len(frames)):
            angle, rows = np.radians(rng.normal(0, spread)), seen.group == g
            cos, sin = np.cos(angle), np.sin(angle)
            middle = frames[g].centre
            xy[rows] = middle + (xy[rows] - middle) @ np.array([[cos, sin], [-sin, cos]])
        seen = replace(seen, xy=xy)
    related = [replace(frame, family=frame.name[:2]) for frame in frames]
    return field, [solve_network(kind, seen, ABOUT, len(field.stars)) for kind in (frames, related)]


@pytest.mark.parametrize("geometry", ["rshift", "general"])
def test_a_common_roll_makes_places_better(geometry):
    plain, together, pulls = [], [], []
    for seed in range(6):
        field, (apart, drawn) = both(seed, geometry=geometry)
        plain.append(rms(field.errors(corrections(field, apart), like=0)))
        found = corrections(field, drawn)
        off = field.errors(found, like=0)
        together.append(rms(off))
        pulls.append(np.mean(off[1:] ** 2) / np.mean(quoted(field, found)[1:] ** 2))
    plain, together = (np.sqrt(np.mean(np.square(values))) for values in (plain, together))
    assert together < 0.9 * plain
    assert 0.75 < np.sqrt(np.mean(pulls)) < 1.25


def test_rolls_that_differ_stay_as_they_are():
    for seed in range(3):
        field, (apart, drawn) = both(seed, spread=0.3)
        moved = [
            a.apply(s.outline) - b.apply(s.outline)
            for a, b, s in zip(
                corrections(field, apart), corrections(field, drawn), field.lists, strict=True
            )
        ]
        error = np.sqrt(np.mean(quoted(field, corrections(field, apart))[1:] ** 2))
        assert np.sqrt(np.mean(np.square(moved))) < 0.02 * error


def test_the_reference_stays():
    _, (_, drawn) = both(1)
    np.testing.assert_allclose(drawn.correction_matrix(0), np.eye(3), atol=1e-15)


def test_groups_of_different_families_are_not_drawn_together():
    field, (apart, _) = both(2)
    frames, seen, _ = problem(field)
    alone = [replace(frame, family=frame.name) for frame in frames]
    found = solve_network(alone, seen, ABOUT, len(field.stars))
    for g in range(len(frames)):
        np.testing.assert_array_equal(found.correction_matrix(g), apart.correction_matrix(g))
