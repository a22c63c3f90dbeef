"""Freed memory kept for the next arrays, instead of being handed back to the system each time.

Getting memory anew from the system, which clears it, takes up to half of a numpy operation.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["freed_memory_kept", "keep_freed_memory"]

# of malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Blocks from which on, and bytes above which, memory is handed back: none are; those of glibc
# itself once a large block was freed.
_ALL, _SMALL = (1 << 30, (1 << 31) - 1), (32 << 20, 64 << 20)


@contextmanager
def freed_memory_kept(bound: int | None) -> Iterator[None]:
    """Let glibc keep freed arrays within the block.

    Parameters
    ----------
    bound : int, optional
        Bytes that the run may have; if given, only arrays of up to 32 MB are kept.
    """
    keep_freed_memory(bound)
    try:
        yield
    finally:
        allocator = _allocator()
        if allocator is not None and bound is None:
            _set(allocator, _SMALL)
            allocator.malloc_trim(0)


def keep_freed_memory(bound: int | None) -> None:
    """Let glibc keep freed arrays from now on; `bound` as in :func:`freed_memory_kept`."""
    allocator = _allocator()
    if allocator is not None:
        _set(allocator, _ALL if bound is None else _SMALL)


def _set(allocator: Any, thresholds: tuple[int, int]) -> None:
    for name, value in zip((_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD), thresholds, strict=True):
        allocator.mallopt(name, value)


def _allocator() -> Any:
    """Return the C library, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") and sys.platform == "linux" else None
    except (OSError, TypeError):
        return None
