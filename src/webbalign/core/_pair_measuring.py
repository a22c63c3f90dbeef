"""Displacements between all overlapping images of a common grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._pair_types import GridImage, ImagePair, OnGrid
from webbalign.core.correlation import Correlating, CorrelationStatus, ImageShift, correlate

__all__ = [
    "PairTask",
    "compared_part",
    "measure_pair",
    "measure_pairs",
    "measured",
    "overlapping_pairs",
]

Array = NDArray[np.float64]


def overlapping_pairs(images: Sequence[OnGrid]) -> list[tuple[int, int]]:
    """Return the indices of the pairs of images whose boxes overlap, each ordered by name."""
    order = sorted(range(len(images)), key=lambda k: images[k].name)
    found = []
    for at, i in enumerate(order):
        for j in order[at + 1 :]:
            rows, columns = _common(images[i], images[j])
            if min(rows[1] - rows[0], columns[1] - columns[0]) > 0:
                found.append((i, j))
    return found


def measure_pairs(
    images: Sequence[GridImage],
    pixel_scale: float,
    options: Correlating | None = None,
    *,
    band: str = "",
    run: Callable[..., Iterable[ImagePair]] = map,
) -> list[ImagePair]:
    """Correlate all overlapping pairs.

    Parameters
    ----------
    images : sequence of GridImage
    pixel_scale : float
        Arcsec. Pixel (x, y) of the grid lies at (-x, y) * pixel_scale in the field's plane.
    options : Correlating, optional
    band : str
        Noted with each pair.
    run : callable
        A map: serial, threads or processes.
    """
    options = options or Correlating()
    pairs = overlapping_pairs(images)

    tasks = [PairTask(images[i], images[j], pixel_scale, options, band) for i, j in pairs]
    return list(run(measured, tasks))


@dataclass(frozen=True, eq=False)
class PairTask:
    """Two images to be compared; can be sent to another process."""

    first: GridImage
    second: GridImage
    pixel_scale: float
    options: Correlating
    band: str = ""


def measured(task: PairTask) -> ImagePair:
    """Correlate the two images of a task."""
    return measure_pair(task.first, task.second, task.pixel_scale, task.options, band=task.band)


def measure_pair(
    first: GridImage,
    second: GridImage,
    pixel_scale: float,
    options: Correlating | None = None,
    *,
    band: str = "",
) -> ImagePair:
    """Correlate two images of the common grid; see `measure_pairs`."""
    options = options or Correlating()
    reach = options.corr_searchrad / pixel_scale
    rows, columns = compared_part(first, second, pixel_scale, options)
    one, two = (_window(image, rows, columns) for image in (first, second))
    if np.count_nonzero(np.isfinite(one) & np.isfinite(two)) < options.corr_minpix:
        nan2 = np.full(2, np.nan)
        cov = np.full((2, 2), np.nan)
        status = CorrelationStatus.NO_OVERLAP
        return ImagePair(
            first.name, second.name, status, nan2, nan2, 0.0, cov, np.inf, 0, 0.0, band
        )
    found = correlate(one, two, max_shift=reach, options=options)
    pair = _on_plane(first.name, second.name, found, (rows[0], columns[0]), pixel_scale, band)
    covs = [
        _place_cov(image, point, pixel_scale)
        for image, point in ((first, pair.point), (second, pair.point + pair.shift))
    ]
    return replace(pair, place_covs=np.stack(covs), image_part=1.0)


def _place_cov(image: GridImage, point: Array, pixel_scale: float) -> Array:
    """Covariance (3, 3) of the place of an image at a point of the plane, arcsec and radians."""
    mirror = np.array([-pixel_scale, pixel_scale])
    # the grid is mirrored against the plane: its rotation is the other way round
    scale = np.array([*mirror, -1.0])
    x, y = point - image.place_point * mirror
    there = np.array([[1.0, 0.0, -y], [0.0, 1.0, x], [0.0, 0.0, 1.0]])
    return np.asarray(there @ (image.place_cov * np.outer(scale, scale)) @ there.T)


def compared_part(
    first: OnGrid, second: OnGrid, pixel_scale: float, options: Correlating
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 row and column of the grid that `measure_pair` looks at."""
    margin = math.ceil(options.corr_searchrad / pixel_scale) + 2
    rows, columns = _common(first, second)
    return (rows[0] - margin, rows[1] + margin), (columns[0] - margin, columns[1] + margin)


def _common(first: OnGrid, second: OnGrid) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 row and column of the grid that both have."""
    ranges = []
    for axis in range(2):
        low = max(first.origin[axis], second.origin[axis])
        high = min(image.origin[axis] + image.shape[axis] for image in (first, second))
        ranges.append((low, high))
    return ranges[0], ranges[1]


def _window(
    image: GridImage, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.float32]:
    """Cut a window of the grid out of an image, NaN where it has nothing."""
    shape = max(rows[1] - rows[0], 0), max(columns[1] - columns[0], 0)
    window = np.full(shape, np.nan, np.float32)
    into, out = [], []
    for axis, (a, b) in enumerate((rows, columns)):
        start = image.origin[axis]
        low, high = max(a, start), min(b, start + image.data.shape[axis])
        if high <= low:
            return window
        into.append(slice(low - a, high - a))
        out.append(slice(low - start, high - start))
    part = np.where(image.weight[tuple(out)] > 0, image.data[tuple(out)], np.nan)
    window[tuple(into)] = part
    return window


def _on_plane(
    first: str,
    second: str,
    found: ImageShift,
    corner: tuple[int, int],
    pixel_scale: float,
    band: str,
) -> ImagePair:
    """Turn a shift in pixels into one on the plane, at the point where the rotation is apart."""
    mirror = np.array([-pixel_scale, pixel_scale])
    point = (found.centre + np.array([corner[1], corner[0]])) * mirror
    shift = np.array([found.dx, found.dy]) * mirror
    # the grid is mirrored against the plane: its rotation is the other way round
    scale = np.array([*mirror, -1.0])
    cov = found.cov * np.outer(scale, scale)
    rotation, error = -found.rotation, np.inf
    if cov[2, 2] > 0:
        error = float(np.sqrt(cov[2, 2]))
        slope = cov[:2, 2] / cov[2, 2]
        # the shift at point + a is shift + rotation * (-a_y, a_x)
        step = np.array([-slope[1], slope[0]])
        turn = np.array([[0.0, -1.0], [1.0, 0.0]])
        moved = turn @ step
        # half of the rotation in either image, so that it does not matter which is first
        here, there = _turn(-0.5 * rotation) @ step, _turn(0.5 * rotation) @ step
        point, shift = point + here, shift + there - here
        change = np.concatenate([np.eye(2), moved[:, None]], axis=1)
        cov = change @ cov @ change.T
    return ImagePair(
        first,
        second,
        found.status,
        point,
        shift,
        rotation,
        cov[:2, :2],
        error,
        found.n_pixels,
        found.significance,
        band,
    )


def _turn(angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
