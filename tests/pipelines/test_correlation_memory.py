"""Correlation of stacks within a bound of memory."""

import builtins
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.products.images import write_image
from webbalign.core.errors import OptionError
from webbalign.core.image_pairs import GridImage
from webbalign.pipelines._correlation_memory import (
    ALONE,
    SHARED,
    WORKER,
    correlation_memory,
    fitting_map,
)
from webbalign.pipelines.wcs_adjust import get_wcs_adjust
from webbalign.products.kept_stacks import keep_stack, kept_stack
from webbalign.products.provenance import Recipe
from webbalign.products.stacks import Box

RECIPE = Recipe("a stack", {"box": "whole"})


@dataclass(frozen=True)
class Job:
    paths: tuple
    memory: int | None
    workers: int


def own_map(function, items):
    return iter([])


@given(memory=st.integers(10**8, 10**10), workers=st.integers(1, 32), largest=st.floats(0, 1e9))
def test_what_is_granted_fits(memory, workers, largest):
    job = Job((Path("a"),) * 10, memory, workers)
    try:
        granted = fitting_map(own_map, job, largest)
    except OptionError:
        assert memory < max(ALONE, SHARED + workers * WORKER) + largest + 10e6
        return
    if granted is own_map:
        assert SHARED + workers * (WORKER + largest) < memory
    else:
        assert granted is builtins.map
        idle = ALONE if workers == 1 else SHARED + workers * WORKER
        assert idle + largest < memory


def test_without_a_bound_workers_work():
    assert fitting_map(own_map, Job((), None, 8), 1e12) is own_map


def test_a_stack_of_more_dithers_takes_more(tmp_path):
    first = write_image(tmp_path)
    one = correlation_memory({"F300M": [first]})
    several = correlation_memory({"F300M": [first] * 8})
    assert several.each > one.each
    assert several.alone > one.alone


def test_too_little_is_told_before_any_work(tmp_path):
    first, out = write_image(tmp_path), tmp_path / "out"
    with pytest.raises(
        OptionError, match="'memory' is 200 MB, too little for 1 images - give at least"
    ):
        get_wcs_adjust({"F300M": [first]}, output_dir=out, method="cross_corr", memory="200MB")
    assert not list(out.glob("*.toml"))


@given(edges=st.tuples(*[st.integers(-5, 30)] * 4))
def test_a_window_of_a_stack_is_that_part_of_it(tmp_path_factory, edges):
    path = tmp_path_factory.mktemp("kept") / "a.npz"
    data = np.arange(12 * 17, dtype=np.float32).reshape(12, 17)
    stack = GridImage("v", data, data + 1, (3, -4), 5, np.eye(3), np.array([1.0, 2.0]))
    stored = keep_stack(stack, RECIPE, path)
    assert (stored.shape, stored.origin, stored.has_data) == ((12, 17), (3, -4), True)
    y0, y1, x0, x1 = edges
    part = stored.cut(Box(y0, y1, x0, x1))
    rows = slice(max(y0 - 3, 0), max(y1 - 3, 0))
    columns = slice(max(x0 + 4, 0), max(x1 + 4, 0))
    if data[rows, columns].size:
        np.testing.assert_array_equal(part.data, data[rows, columns])
        np.testing.assert_array_equal(part.weight, data[rows, columns] + 1)
        assert part.origin == (max(y0, 3), max(x0, -4))
    else:
        assert not part.data.size
    np.testing.assert_array_equal(part.place_cov, np.eye(3))


def test_a_stack_is_kept_if_it_is_the_same(tmp_path):
    path = tmp_path / "a.npz"
    nothing = np.full((4, 5), np.nan, np.float32)
    stored = keep_stack(GridImage("v", nothing, np.zeros_like(nothing), (0, 0)), RECIPE, path)
    assert not stored.has_data
    assert kept_stack(RECIPE, path).name == "v"
    assert kept_stack(Recipe("a stack", {"box": "part"}), path) is None
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert kept_stack(RECIPE, path) is None
