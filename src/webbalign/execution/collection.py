"""Fewer garbage collections."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["spared_from_collection"]

# New objects between two collections of the youngest; Python's own 700 makes for thousands of
# collections while the libraries are imported.
_THRESHOLD = 1_000_000


@contextmanager
def spared_from_collection() -> Iterator[None]:
    """Keep what exists by now out of garbage collections, and collect the rest rarely.

    Modules and schemas are a million objects that live as long as the process: searching them while
    they are made, and again before each step, where stpipe asks for it, took a quarter of the run.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
