"""How many images may be worked on at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.errors import OptionError
from webbalign.core.image_memory import STARS, ImageMemory

CORRELATION = ImageMemory(alone=820e6, shared=420e6, each=700e6, per_image=0.5e6)
sizes = st.integers(0, 20 * 10**9)


@pytest.mark.parametrize("work", [STARS, CORRELATION])
@given(memory=sizes, images=st.integers(1, 5000), most=st.integers(1, 64), least=st.integers(0, 1))
def test_what_is_granted_fits(work, memory, images, most, least):
    try:
        workers = work.workers(memory, images, most, least)
    except OptionError:
        assert memory < max(work.alone, work.shared + work.each) + images * work.per_image
        return
    assert 1 <= workers <= most
    kept = images * work.per_image
    in_processes = kept + work.shared + workers * work.each
    assert in_processes <= memory or (least, workers) == (1, 1)
    assert kept + min(work.alone, in_processes) <= memory


def test_600_mb_are_enough_for_one_process_and_more_for_more():
    assert STARS.workers(600_000_000, 32, 8) == 1
    assert STARS.workers(1_000_000_000, 32, 8) == 2
    assert STARS.workers(10**10, 32, 8) == 8
