"""Values drawn together as far as they agree: smaller errors, honestly told, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.shrinking import shrink_together

FAMILIES = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)


def field(rng, scatter, error=1.0, families=FAMILIES):
    """True values and measured ones, each with a companion whose error is correlated with its own.

    Parameters are value, companion, value, companion, ...
    """
    n = len(families)
    common = rng.normal(0, 10, max(families) + 1)[list(families)]
    truth = np.zeros(2 * n)
    truth[::2] = common + rng.normal(0, scatter, n)
    truth[1::2] = rng.normal(0, 10, n)
    size = error * rng.uniform(0.5, 2.0, n)
    block = np.zeros((2 * n, 2 * n))
    for k, s in enumerate(size):
        block[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = s**2 * np.array([[1.0, 0.8], [0.8, 1.0]])
    # what all of them share, as the errors of a reference are
    block[::2, ::2] += 0.25 * error**2
    rows = np.zeros((n, 2 * n))
    rows[np.arange(n), 2 * np.arange(n)] = 1.0
    return truth, rng.multivariate_normal(truth, block), rows, block


def drawn(scatter, trials=200, families=FAMILIES):
    """Squared errors before and after, and what is quoted after: (3, trials, 2 n)."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(trials):
        truth, given_, rows, cov = field(rng, scatter, families=families)
        shrunk = shrink_together(rows @ given_, rows, cov, families)
        after = given_ + shrunk.step
        found.append([(given_ - truth) ** 2, (after - truth) ** 2, np.diag(shrunk.covariance)])
    return np.array(found).swapaxes(0, 1)


def test_equal_values_get_the_error_of_their_mean():
    before, after, quoted = drawn(0.0)
    assert after[:, ::2].mean() < 0.5 * before[:, ::2].mean()
    # companions gain through their correlation, sqrt(1 - 0.8^2) at best
    assert after[:, 1::2].mean() < 0.75 * before[:, 1::2].mean()
    assert 0.8 < np.sqrt(after.mean() / quoted.mean()) < 1.1


@pytest.mark.parametrize("scatter", [0.5, 1.0, 2.0])
def test_values_that_scatter_keep_their_scatter(scatter):
    before, after, quoted = drawn(scatter)
    assert after.mean() < 1.02 * before.mean()
    assert 0.85 < np.sqrt(after.mean() / quoted.mean()) < 1.15


def test_values_far_apart_are_left_alone():
    rng = np.random.default_rng(3)
    truth, given_, rows, cov = field(rng, 1000.0)
    shrunk = shrink_together(rows @ given_, rows, cov, FAMILIES)
    assert np.abs(shrunk.step).max() < 0.05
    np.testing.assert_allclose(shrunk.covariance, cov, atol=0.02)
    assert shrunk.scatter == pytest.approx(1000.0, rel=0.4)
    assert shrunk.n_differences == 9


def test_two_values_are_not_taken_for_equal_because_they_agree():
    """With one difference the error is no larger than it says, on average over what may be."""
    for scatter in (0.0, 1.0, 3.0):
        _, after, quoted = drawn(scatter, 600, (0, 0))
        assert np.sqrt(after.mean() / quoted.mean()) < 1.25


def test_one_of_each_family_is_left_as_it_is():
    rng = np.random.default_rng(1)
    _, given_, rows, cov = field(rng, 1.0, families=(0, 1, 2))
    shrunk = shrink_together(rows @ given_, rows, cov, (0, 1, 2))
    assert not shrunk.step.any()
    assert shrunk.n_differences == 0
    np.testing.assert_array_equal(shrunk.covariance, cov)


def test_a_value_that_is_fixed_by_definition_draws_the_others():
    cov = np.diag([4.0, 4.0])
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    shrunk = shrink_together(np.array([0.0, 1.0, -1.0]), rows, cov, (0, 0, 0))
    assert (np.array([1.0, -1.0]) * shrunk.step < 0).all()
    assert (np.diag(shrunk.covariance) < 4.0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-1e3, 1e3))
def test_laws(seed, move):
    rng = np.random.default_rng(seed)
    _, given_, rows, cov = field(rng, 1.0)
    values = rows @ given_
    first = shrink_together(values, rows, cov, FAMILIES)
    # a move of a whole family changes nothing
    moved = values + move * (np.array(FAMILIES) == 1)
    np.testing.assert_allclose(
        shrink_together(moved, rows, cov, FAMILIES).step, first.step, atol=1e-9
    )
    # nor does the order
    order = rng.permutation(len(values))
    again = shrink_together(values[order], rows[order], cov, np.array(FAMILIES)[order])
    np.testing.assert_allclose(again.step, first.step, atol=1e-9)
    np.testing.assert_allclose(again.covariance, first.covariance, atol=1e-9)
    assert np.linalg.eigvalsh(first.covariance).min() > -1e-9
