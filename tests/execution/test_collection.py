"""Tests of sparing what exists from garbage collection."""

import gc
import weakref

import pytest

from webbalign.execution import executor
from webbalign.execution.collection import spared_from_collection


def test_what_was_is_put_back_even_after_an_error():
    before = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ValueError, match="inside"), spared_from_collection():
        assert gc.get_threshold()[0] > before[0][0]
        assert gc.get_freeze_count() > before[1]
        raise ValueError("inside")
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_cycles_made_inside_are_still_collected():
    with spared_from_collection():
        gc.collect()
        cycle = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0


class Cycle:
    """Refers to itself, as the arrays of a closed file do."""

    def __init__(self):
        self.me = self


@pytest.mark.parametrize("kind", ["serial", "threads"])
def test_cycles_of_an_item_do_not_outlive_it(kind):
    left = []

    def work(item):
        left.append(weakref.ref(Cycle()))
        return sum(ref() is not None for ref in left[:-1])

    with spared_from_collection(), executor(kind, workers=1) as pool:
        assert list(pool.map(work, range(5))) == [0] * 5


class Kept:
    """Something that only a collection removes: it knows itself."""

    def __init__(self):
        self.itself = self


def test_what_a_block_leaves_is_gone_after_the_outermost():
    with spared_from_collection():
        with spared_from_collection():
            left = weakref.ref(Kept())
        assert left() is not None  # a second search would cost what the first one spared
    assert left() is None


def test_a_process_that_ends_is_not_cleaned():
    with spared_from_collection(ending=True):
        left = weakref.ref(Kept())
    assert left() is not None
    gc.collect()
    assert left() is None
