"""What is added to stated errors, and to whose."""

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, sky
from tests.core.test_network import SMALL, corrections, problem
from webbalign.core.network import Observations, solve_network

FAINT = 0.003  # arcsec: stars with larger errors


def understated(field, factor):
    """Solve a field whose faint stars scatter by more than they say."""
    frames, seen, _ = problem(field)
    sigma = np.where(seen.sigma > FAINT, seen.sigma / factor, seen.sigma)
    told = Observations(seen.group, seen.track, seen.xy, sigma, seen.weight, seen.motion)
    solution = solve_network(frames, told, ABOUT, len(field.stars))
    return solution, corrections(field, solution)


@pytest.mark.parametrize("seed", range(3))
def test_faint_stars_that_overstate_themselves_take_no_weight_from_bright_ones(seed):
    field = sky(seed, **SMALL, noise=(0.0002, 0.03), spurious=0.0)
    first = min(range(len(field.lists)), key=lambda k: field.lists[k].group)
    honest, right = understated(field, 1.0)
    solution, found = understated(field, 1.3)
    # the brightest would be worth nothing with what makes chi-square of all stars right
    assert solution.chi2_reduced > 1.2
    assert solution.floor < 0.0005
    size = [np.sqrt(np.mean(field.errors(c, like=first) ** 2)) for c in (right, found)]
    assert size[1] < 1.5 * size[0]


@pytest.mark.parametrize("seed", range(3))
def test_errors_too_small_for_all_stars_get_what_is_missing(seed):
    field = sky(seed, **SMALL, noise=(0.001, 0.002), spurious=0.0)
    frames, seen, _ = problem(field)
    told = Observations(
        seen.group, seen.track, seen.xy, np.sqrt(seen.sigma**2 - 0.0009**2), seen.weight,
        seen.motion,
    )  # fmt: skip
    solution = solve_network(frames, told, ABOUT, len(field.stars))
    assert solution.floor == pytest.approx(0.0009, rel=0.2)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_errors_too_small_by_a_factor_get_the_factor(factor):
    field = sky(1, **SMALL, noise=(0.0005, 0.02), spurious=0.0)
    frames, seen, _ = problem(field)
    told = Observations(
        seen.group, seen.track, seen.xy, seen.sigma / factor, seen.weight, seen.motion
    )
    solution = solve_network(frames, told, ABOUT, len(field.stars))
    assert solution.stretch == pytest.approx(factor, rel=0.1)
    assert solution.floor < 0.0005
