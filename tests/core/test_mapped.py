import tempfile

import numpy as np
import pytest

from webbalign.core.mapped import Scratch, columns_in, put_in_columns, release


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(params=["memory", "scratch"])
def cube(request, rng):
    values = rng.normal(size=(40, 5000))
    if request.param == "memory":
        return values
    with tempfile.TemporaryFile() as file:
        file.truncate(values.nbytes)
        mapped = np.ndarray(values.shape, values.dtype, buffer=Scratch(file.fileno(), 0))
    mapped[:] = values
    return mapped


def test_columns_are_those_of_all_rows(cube):
    whole = np.array(cube)
    for part in (slice(0, 5000), slice(100, 2148), slice(4096, 5000)):
        np.testing.assert_array_equal(columns_in(cube, part), whole[:, part])


def test_what_is_put_into_columns_stays_when_memory_is_given_back(cube, rng):
    expected, part = np.array(cube), slice(700, 2700)
    rows, columns = np.nonzero(rng.random((40, 2000)) < 0.01)
    assert {15, 16, 31, 32} <= set(rows)  # both sides of where memory is given back
    values = rng.normal(size=len(rows))
    put_in_columns(cube, part, (rows, columns), values)
    release(cube)
    expected[rows, columns + 700] = values
    np.testing.assert_array_equal(cube, expected)
    put_in_columns(cube, part, (rows[:0], columns[:0]), values[:0])
    np.testing.assert_array_equal(cube, expected)
