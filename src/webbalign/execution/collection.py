"""Fewer garbage collections."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["spared_from_collection"]

# New objects between two collections of the youngest; Python's own 700 makes for thousands of
# collections while the libraries are imported.
_THRESHOLD = 1_000_000


_depth = 0


@contextmanager
def spared_from_collection(*, ending: bool = False) -> Iterator[None]:
    """Keep what exists by now out of garbage collections, and collect the rest rarely.

    Modules and schemas are a million objects that live as long as the process: searching them while
    they are made, and again before each step, where stpipe asks for it, took a quarter of the run.

    The end of the outermost block collects what the block has left: arrays of closed files, which
    hang in cycles, 100 MB with each run.

    Parameters
    ----------
    ending : bool
        Whether the process ends with the block, and need not be cleaned.
    """
    global _depth
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, *before[1:])
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and not ending:
            gc.collect()
        gc.set_threshold(*before)
        gc.unfreeze()
