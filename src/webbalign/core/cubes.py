"""Stacks of images: cube and matrix forms, and the replacement of bad pixels.

A cube is (n, ny, nx); its matrix is (n, npix), one image a row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from webbalign.core.errors import InputError

__all__ = [
    "continue_outside",
    "cube_to_matrix",
    "far_from",
    "fill_bad_pixels",
    "matrix_to_cube",
]

Mask = NDArray[np.bool_]
Index = NDArray[np.intp]
# pixels (image, y, x), each an array of the same length
Pixels = tuple[Index, Index, Index]


def cube_to_matrix(cube: ArrayLike, keep: ArrayLike | None = None) -> NDArray:
    """Return a cube (n, ny, nx) as a matrix (n, npix), of the pixels `keep` (ny, nx) if given."""
    cube = np.asarray(cube)
    if keep is None:
        return cube.reshape(cube.shape[0], -1)
    return cube[:, np.asarray(keep, dtype=bool)]


def matrix_to_cube(
    matrix: ArrayLike,
    shape: tuple[int, int],
    keep: ArrayLike | None = None,
    *,
    fill: float = np.nan,
) -> NDArray:
    """Return a matrix (n, npix) as a cube (n, ny, nx); pixels not in `keep` are set to `fill`."""
    matrix = np.asarray(matrix)
    if keep is None:
        return matrix.reshape(matrix.shape[0], *shape)
    cube = np.full((matrix.shape[0], *shape), fill, dtype=matrix.dtype)
    cube[:, np.asarray(keep, dtype=bool)] = matrix
    return cube


def fill_bad_pixels(
    images: ArrayLike,
    bad: ArrayLike | None,
    *,
    box: int,
    grow: bool = True,
    outside: ArrayLike | None = None,
    name: str | None = None,
) -> NDArray:
    """Replace bad pixels by the median of the good pixels of the box around them.

    Parameters
    ----------
    images : array_like
        One image (ny, nx) or a cube (n, ny, nx). Pixels that are not finite are bad whatever `bad`
        says.
    bad : array_like of bool or None
        Flagged pixels, broadcast to the shape of `images`.
    box : int
        Width of the box in px; ``box // 2`` px on each side, so 2 means the same as 3. The box is
        cut off at the edges of the image.
    grow : bool, optional
        Widen the box by one pixel on each side until it holds a good pixel (0 and 1 begin as 3). If
        False, as jwst 3.0.0 does it: a pixel whose box holds no good pixel becomes 0, so does every
        bad one in the first ``box // 2`` rows and columns, and a pixel that was not flagged but not
        finite counts as good once it is filled, in the order of the rows.
    outside : array_like of bool, optional
        Pixels that are no part of the sky (MIRI's NON_SCIENCE), broadcast to the shape of `images`.
        They become 0 and are never used; with ``grow=False`` only those that are bad become 0.
    name : str, optional
        The file, for the error.

    Returns
    -------
    numpy.ndarray
        A filled copy, of the shape of `images`, in their floating type (float64 for integers).

    Raises
    ------
    InputError
        If an image has no good pixel (with `grow`).
    """
    filled = np.array(images)
    if filled.dtype.kind != "f":
        filled = filled.astype(np.float64)
    cube = filled if filled.ndim == 3 else filled[None]
    flagged = _broadcast(bad, filled.shape, cube.shape)
    beyond = _broadcast(outside, filled.shape, cube.shape)
    wrong = flagged | ~np.isfinite(cube)
    if grow:
        cube[beyond] = 0
        _fill_growing(cube, wrong & ~beyond, ~(wrong | beyond), max(box // 2, 1), name)
    else:
        cube[beyond & wrong] = 0
        # an unflagged pixel set to 0 is good from now on
        _fill_once(cube, wrong & ~beyond, ~flagged & np.isfinite(cube), flagged, box // 2)
    return filled


def continue_outside(images: NDArray, outside: ArrayLike) -> NDArray:
    """Continue images beyond the region of the sky, so that no step rings when they are shifted.

    Parameters
    ----------
    images : ndarray, shape (n, ny, nx)
        All pixels finite.
    outside : array_like of bool, shape (ny, nx)
        Pixels that are no part of the sky (MIRI's NON_SCIENCE).

    Returns
    -------
    ndarray, shape (n, ny, nx)
        Each pixel outside has the value of the nearest one inside.
    """
    outside = np.asarray(outside, dtype=bool)
    if not outside.any() or outside.all():
        return images
    rows, columns = distance_transform_edt(outside, return_distances=False, return_indices=True)
    return images[:, rows, columns]


def far_from(outside: ArrayLike, distance: float) -> Mask:
    """Return the pixels (ny, nx) that are farther than `distance` px from every pixel `outside`."""
    outside = np.asarray(outside, dtype=bool)
    if not outside.any():
        return np.ones(outside.shape, bool)
    return np.asarray(distance_transform_edt(~outside) > distance)


def _broadcast(mask: ArrayLike | None, shape: tuple[int, ...], cube: tuple[int, ...]) -> Mask:
    if mask is None:
        return np.zeros(cube, dtype=bool)
    return np.broadcast_to(np.asarray(mask, dtype=bool), shape).reshape(cube)


def _fill_growing(cube: NDArray, wrong: Mask, good: Mask, half: int, name: str | None) -> None:
    """Fill the pixels `wrong` in place from the pixels `good`, boxes growing from `half`."""
    empty = np.flatnonzero(~good.any(axis=(1, 2)))
    if empty.size:
        raise InputError(
            name,
            f"no good pixel in integration {', '.join(map(str, empty))} (0-based)",
            "at least one in every integration",
        )
    images, ys, xs = np.nonzero(wrong)
    pixels: Pixels = (images, ys, xs)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    values = _median(cube, good, pixels, rows, columns)
    found = ~np.isnan(values)
    medians = [(pixels, found, values)]
    lonely = tuple(axis[~found] for axis in pixels)
    for distance, members in _by_distance(good, lonely):
        # everything nearer than `distance` is bad, so the median of the box is that of its border
        rows, columns = np.mgrid[-distance : distance + 1, -distance : distance + 1]
        border = np.maximum(abs(rows), abs(columns)) == distance
        values = _median(cube, good, members, rows[border], columns[border])
        medians.append((members, np.ones(values.size, dtype=bool), values))
    for where, use, values in medians:
        cube[tuple(axis[use] for axis in where)] = values[use]


def _by_distance(good: Mask, pixels: tuple[Index, ...]) -> list[tuple[int, Pixels]]:
    """Group pixels by their distance (in rows or columns, the larger) from the nearest good one."""
    images, rows, columns = pixels
    distance = np.zeros(images.size, dtype=int)
    for image in np.unique(images):
        mine = images == image
        nearest = distance_transform_cdt(~good[image], metric="chessboard")
        distance[mine] = nearest[rows[mine], columns[mine]]
    groups = []
    for value in np.unique(distance):
        members = distance == value
        groups.append((int(value), (images[members], rows[members], columns[members])))
    return groups


def _median(cube: NDArray, good: Mask, pixels: Pixels, rows: Index, columns: Index) -> NDArray:
    """Return the median of the good pixels at the offsets (rows, columns) from each of `pixels`.

    NaN where there is none; offsets beyond the edge are left out.
    """
    image, y, x = (axis[:, None] for axis in pixels)
    _, ny, nx = cube.shape
    y, x = y + rows, x + columns
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    place = (image, np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1))
    values = np.where(inside & good[place], cube[place], np.nan)
    # NaN is sorted to the end, so the good values of each row come first
    values.sort(axis=1)
    count = np.count_nonzero(~np.isnan(values), axis=1)
    row = np.arange(count.size)
    low = values[row, np.maximum(count - 1, 0) // 2]
    high = values[row, np.minimum(count // 2, rows.size - 1)]
    return (low + high) / 2


def _fill_once(cube: NDArray, wrong: Mask, good: Mask, flagged: Mask, half: int) -> None:
    """Fill the pixels `wrong` in place as jwst 3.0.0 does; see :func:`fill_bad_pixels`."""
    images, ys, xs = np.nonzero(wrong)
    pixels: Pixels = (images, ys, xs)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    at_edge = (pixels[1] < half) | (pixels[2] < half)
    values = np.nan_to_num(_median(cube, good, pixels, rows, columns))
    values[at_edge] = 0
    refilled = wrong & ~flagged
    waits = ~at_edge & _any_before(refilled, pixels, rows, columns)
    cube[tuple(axis[~waits] for axis in pixels)] = values[~waits]
    good = good | refilled
    for image, y, x in zip(*(axis[waits] for axis in pixels), strict=True):
        good[image, y, x] = False
    for image, y, x in zip(*(axis[waits] for axis in pixels), strict=True):
        box = (image, slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        usable = good[box] & _filled_before(refilled[box], half)
        cube[image, y, x] = np.median(cube[box][usable]) if usable.any() else 0
        good[image, y, x] = refilled[image, y, x]


def _any_before(mask: Mask, pixels: Pixels, rows: Index, columns: Index) -> Mask:
    """Whether `mask` holds anywhere in the part of each pixel's box that precedes it."""
    before = (rows < 0) | ((rows == 0) & (columns < 0))
    image, y, x = (axis[:, None] for axis in pixels)
    _, ny, nx = mask.shape
    y, x = y + rows[before], x + columns[before]
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return (inside & mask[image, np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]).any(axis=1)


def _filled_before(refilled: Mask, half: int) -> Mask:
    """Which pixels of a box may be used: not those that are filled only after its centre."""
    rows, columns = np.indices(refilled.shape) - half
    after = (rows > 0) | ((rows == 0) & (columns >= 0))
    return ~(refilled & after)
