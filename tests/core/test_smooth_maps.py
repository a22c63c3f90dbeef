"""A smooth map from few positions: exact for polynomials, refused where it is not smooth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.smooth_maps import smooth_map


def distorted(at, bend=1e-5):
    x, y = at.T
    return np.stack([x + bend * x * y - 7.0, 0.9 * y + bend * x**2 + 3.0], axis=-1)


@given(st.integers(-500, 500), st.integers(-500, 500), st.integers(2, 60), st.integers(2, 60))
def test_a_polynomial_is_recovered_on_any_grid(x0, y0, nx, ny):
    x, y = x0 + np.arange(float(nx)), y0 + np.arange(float(ny))
    found = smooth_map(distorted, x, y, 1e-8).rows()
    at = np.stack(np.meshgrid(x, y), axis=-1)
    np.testing.assert_allclose(found, distorted(at.reshape(-1, 2)).reshape(at.shape), atol=1e-9)


def test_rows_are_those_of_the_whole():
    made = smooth_map(distorted, np.arange(30.0), np.arange(20.0), 1e-6)
    np.testing.assert_allclose(made.rows(5, 9), made.rows()[5:9], atol=1e-12)
    np.testing.assert_allclose(made.rows(15), made.rows()[15:], atol=1e-12)


def kinked(at):
    return at + np.abs(at - 12.3)


def test_a_kink_is_refused():
    assert smooth_map(kinked, np.arange(30.0), np.arange(20.0), 1e-6) is None


def test_only_what_matters_must_be_accurate():
    x, y = np.arange(30.0), np.arange(20.0)
    asked = []

    def outside(images):
        asked.append(images)
        return images[:, 0] > 1e6

    assert smooth_map(kinked, x, y, 1e-6, outside) is not None
    assert asked[0].shape == (100, 2)
    assert smooth_map(kinked, x, y, 1e-6, lambda images: images[:, 0] > 20.0) is None


@pytest.mark.parametrize("where", ["inside", "at a corner"])
def test_what_is_not_finite_is_refused(where):
    def holed(at):
        low = 10.0 if where == "inside" else 28.9
        return np.where(at[:, :1] > low, np.nan, at)

    assert smooth_map(holed, np.arange(30.0), np.arange(20.0), 1e-6) is None
