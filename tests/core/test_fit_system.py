"""Errors from a few blocks, and from steps that fall short, are as large as deviations are."""

import numpy as np
import pytest

from webbalign.core._fit_system import FitSystem, few_blocks, step_response


@pytest.mark.parametrize("number", [6, 10, 30])
def test_deviations_in_units_of_errors_from_a_few_blocks(number):
    blocks = np.random.default_rng(1).normal(size=(40_000, number))
    squared = np.mean(blocks, axis=1) ** 2 / (np.var(blocks, axis=1, ddof=1) / number)
    grown = few_blocks(np.ones(number))
    # N - 1 degrees of freedom, not N: large by no more than that
    assert 0.85 < np.mean(squared) / grown < 1.2
    assert grown == pytest.approx(number / (number - 2))


def test_blocks_that_tell_little_do_not_count():
    assert few_blocks(np.array([*np.ones(8), *np.full(5, 1e-6)])) == pytest.approx(8 / 6, rel=1e-4)
    assert few_blocks(np.array([1.0, 0.0, 0.0])) == 1.0 / 1.0
    assert few_blocks(np.ones(3)) == 3.0


@pytest.mark.parametrize("response", [0.5, 0.8, 1.1])
def test_the_response_is_found_whatever_was_divided_by_before(response):
    apart, before, found = np.array([0.3, -0.1]), None, 1.0
    for _ in range(4):
        step = response * apart
        if before is not None:
            found = step_response(before, step, found)
        before = step
        apart = apart - step / found
        if before is not None and np.abs(apart).max() < 1e-12:
            break
    assert found == pytest.approx(response)


def test_errors_of_a_line_have_the_size_that_is_stated():
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(200):
        slope = rng.normal(size=40 * 40)
        design = np.stack([slope, np.ones_like(slope)], axis=1)
        noise = np.repeat(np.repeat(rng.normal(size=(10, 10)), 4, axis=0), 4, axis=1).ravel()
        system = FitSystem(
            np.arange(1600), design, 2.0 * slope + noise, np.ones(1600), 1.0, 0.1
        )  # fmt: skip
        cov, _ = system.jackknife(8, 40)
        pulls.append((system.step()[0] - 2.0) / np.sqrt(cov[0, 0]))
    assert 0.85 < np.sqrt(np.mean(np.square(pulls))) < 1.15
