"""Cubes that lie in a scratch file: used like arrays, without staying in memory.

The file is mapped: what is touched is read, and counts as resident memory until it is given back.
So whoever goes through such a cube does it in parts: along its rows with :func:`visit` or
:func:`release`, along its columns with :func:`columns_in` and :func:`put_in_columns`. A system may
map 2 MB about each byte that is touched, so a few columns of all rows may be the whole cube. To
arrays of any other kind nothing happens.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scratch", "columns_in", "put_in_columns", "release", "scratch_of", "visit"]

# Images visited between two releases: enough that giving back costs nothing to speak of.
BLOCK = 4
# Rows of which a few columns are taken between two releases: up to 32 MB.
_ROWS = 16
# Not on every system; without it cubes are resident as far as the system likes.
_GIVE_BACK: int | None = getattr(mmap, "MADV_DONTNEED", None)


class Scratch(mmap.mmap):
    """A shared mapping of a scratch file.

    A class of its own, because giving pages back is harmless for these mappings only: private ones
    would lose what has been written to them.

    Attributes
    ----------
    folder : str
        Where the file lies.
    """

    folder: str = ""


def scratch_of(array: Any) -> Scratch | None:
    """Return the mapping that holds an array; None if it is in memory (or no array)."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, Scratch) else None


def release(*arrays: Any) -> None:
    """Give back the memory of those arrays that lie in scratch files; their values stay."""
    for array in arrays:
        scratch = scratch_of(array)
        if scratch is not None and _GIVE_BACK is not None:
            scratch.madvise(_GIVE_BACK)


def visit(*cubes: NDArray[Any] | None, block: int = BLOCK) -> Iterator[int]:
    """Yield the index of each image of the first cube; what was touched is released as it goes."""
    count = 0 if cubes[0] is None else len(cubes[0])
    for index in range(count):
        yield index
        if (index + 1) % block == 0:
            release(*cubes)
    release(*cubes)


def columns_in(cube: NDArray[Any], part: slice) -> NDArray[Any]:
    """Return some columns (n, ncolumns) of all rows; a copy if they lie in a scratch file.

    Parameters
    ----------
    cube : ndarray, shape (n, npix)
    part : slice
    """
    if scratch_of(cube) is None:
        return cube[:, part]
    taken = np.empty(cube[:, part].shape, cube.dtype)
    for start in range(0, len(cube), _ROWS):
        rows = slice(start, start + _ROWS)
        taken[rows] = cube[rows, part]
        release(cube)
    return taken


def put_in_columns(
    cube: NDArray[Any],
    part: slice,
    places: tuple[NDArray[np.intp], NDArray[np.intp]],
    values: NDArray[Any],
) -> None:
    """Put values into some columns.

    Parameters
    ----------
    cube : ndarray, shape (n, npix)
    part : slice
        The columns.
    places : tuple of ndarray
        Rows, in order, and columns, counted from the first of `part`.
    values : ndarray
        One for each place.
    """
    rows, columns = places
    if scratch_of(cube) is None:
        cube[:, part][rows, columns] = values
        return
    edges = np.searchsorted(rows, np.arange(0, len(cube) + _ROWS, _ROWS))
    for begin, end in pairwise(edges):
        if end > begin:
            cube[:, part][rows[begin:end], columns[begin:end]] = values[begin:end]
            release(cube)
