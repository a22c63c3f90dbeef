import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from webbalign.core.stack_median import robust_variance, stack_median

VALUES = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 17), st.integers(1, 6)), elements=VALUES))
def test_same_numbers_as_nanmedian(stack):
    finite = np.isfinite(stack).any(axis=0)
    expected = np.full(stack.shape[1], np.nan, np.float32)
    expected[finite] = np.nanmedian(stack[:, finite], axis=0)
    np.testing.assert_array_equal(stack_median(stack), expected)


@pytest.mark.parametrize("n", [*range(1, 25), 31, 32, 33, 60, 64, 65])
def test_any_number_of_images_and_more_than_one_block(n):
    stack = np.random.default_rng(n).standard_normal((n, 130, 140))
    np.testing.assert_array_equal(stack_median(stack), np.median(stack, axis=0))
    stack[:, 120:][stack[:, 120:] > 1] = np.nan
    expected = np.full(stack.shape[1:], np.nan)
    finite = np.isfinite(stack).any(axis=0)
    expected[finite] = np.nanmedian(stack[:, finite], axis=0)
    np.testing.assert_array_equal(stack_median(stack), expected)


def test_input_is_left_as_it_is():
    stack = np.random.default_rng(0).standard_normal((5, 8, 8))
    stack[0, 0, 0] = np.nan
    before = stack.copy()
    stack_median(stack)
    np.testing.assert_array_equal(stack, before)


@pytest.mark.parametrize("n", [3, 4, 5, 8, 20, 61])
def test_variance_of_normal_noise(n):
    noise = 3.0 * np.random.default_rng(1).standard_normal((n, 400_000))
    noise -= stack_median(noise)
    assert np.mean(robust_variance(noise)) == pytest.approx(9.0, rel=0.02)


def test_variance_ignores_a_single_outlier():
    noise = np.random.default_rng(2).standard_normal((20, 20_000))
    noise -= stack_median(noise)
    hit = noise.copy()
    hit[7] += 1e4
    assert np.mean(robust_variance(hit)) == pytest.approx(np.mean(robust_variance(noise)), rel=0.2)
