"""Work on images within a bound of memory, asked for from Python."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.errors import OptionError
from webbalign.core.image_memory import STARS
from webbalign.steps import TweakRegStep
from webbalign.steps._runtime import Runtime, image_map, within_memory
from webbalign.steps.tweakreg_parts import find_stars


@given(
    memory=st.integers(400_000_000, 20 * 10**9),
    images=st.integers(1, 100),
    executor=st.sampled_from([None, "auto", "serial", "threads", "processes"]),
    workers=st.none() | st.integers(1, 16),
)
def test_no_more_workers_than_fit(memory, images, executor, workers):
    asked = Runtime(executor=executor, workers=workers, memory=memory)
    try:
        granted = within_memory(asked, STARS, images)
    except OptionError:
        assert memory < images * STARS.per_image + STARS.shared + STARS.each
        return
    assert 1 <= granted.workers <= (workers or 64)
    kept = images * STARS.per_image
    several = kept + STARS.shared + granted.workers * STARS.each
    assert several <= memory or (granted.workers == 1 and granted.executor != "processes")
    if executor in (None, "auto") and granted.workers == 1:
        assert granted.executor == "serial"


def test_what_is_given_is_used_as_it_is():
    for asked in (
        Runtime(),
        Runtime(executor="processes", workers=64),
        Runtime(map=lambda function, items: iter([]), memory=1),
        Runtime(executor=object(), memory=1),
    ):
        assert within_memory(asked, STARS, 1000) is asked


def test_a_script_that_asks_for_no_workers_stays_serial():
    with image_map(Runtime(memory=2 * 10**9), 4) as runtime:
        assert runtime.workers == 1
        assert list(runtime.map(abs, [-1, 2])) == [1, 2]


@pytest.mark.parametrize("run", [TweakRegStep.call, find_stars])
def test_too_little_is_told_before_any_product(mosaic, tmp_path, run):
    files = [str(path) for path in mosaic.files["F300M"]]
    with pytest.raises(
        OptionError, match=r"'memory' is 300 MB, too little for 4 images - give at least 332 MB"
    ):
        run(files, output_dir=str(tmp_path), memory="300MB")
    assert not list(tmp_path.glob("*.*"))
