"""The sky of one frame: its level and its scatter in a mesh of boxes.

The same statistics as ``photutils.background.Background2D`` with a 3-sigma clipped median, from
every third pixel or so: a box of 400 px still holds 18000 of them, which is 1 % of a sigma, for a
tenth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, median_filter

__all__ = ["Sky", "measure_sky"]

SAMPLES = 133  # along the side of a box
CLIP = 3.0
ITERATIONS = 10
LEAST = 10  # samples that make a median
REACH = 4  # px, from a pixel to the neighbours that it is compared with


@dataclass(frozen=True)
class Sky:
    """Level and scatter of the sky on a mesh.

    Attributes
    ----------
    level, scatter : ndarray (my, mx)
        Clipped median in each box, and standard deviation of the noise, in the unit of the data.
    y, x : ndarray (my,), (mx,)
        Centres of the boxes, 0-based px.
    """

    level: np.ndarray
    scatter: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def noise(self) -> float:
        """Median scatter of the frame."""
        return float(np.median(self.scatter))

    def rows(self, values: np.ndarray, first: int, last: int, nx: int) -> np.ndarray:
        """Interpolate a mesh to rows `first` to `last` (exclusive): ndarray (last - first, nx)."""
        down = _linear(np.arange(first, last), self.y)
        across = _linear(np.arange(nx), self.x)
        return (down @ values @ across.T).astype(np.float32)

    def scatter_at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the scatter at positions (n,), px."""
        return np.einsum("ni,ij,nj->n", _linear(y, self.y), self.scatter, _linear(x, self.x))


def measure_sky(data: np.ndarray, good: np.ndarray, box: int) -> Sky | None:
    """Measure the sky in boxes; None if no box holds enough good pixels.

    Parameters
    ----------
    data : ndarray (ny, nx)
        The frame.
    good : ndarray (ny, nx) of bool
        Pixels to use; they are finite.
    box : int
        Side of a box, px. The frame is divided into equal boxes of about this size.
    """
    step = max(1, box // SAMPLES)
    edges = [np.linspace(0, n, max(1, round(n / box)) + 1).astype(int) for n in data.shape]
    shape = len(edges[0]) - 1, len(edges[1]) - 1
    level, scatter = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, j in np.ndindex(shape):
        part = np.s_[edges[0][i] : edges[0][i + 1] : step, edges[1][j] : edges[1][j + 1] : step]
        values = data[part][good[part]]
        if len(values) >= LEAST:
            level[i, j], scatter[i, j] = _clipped(values)
            scatter[i, j] = min(scatter[i, j], _grain(data, good, part))
    if np.isnan(level).all():
        return None
    y, x = ((edge[1:] + edge[:-1] - 1) / 2 for edge in edges)
    # a patch of one value tells of no noise
    scatter = np.where(scatter > 0, scatter, np.nan)
    scatter = np.zeros(shape) if np.isnan(scatter).all() else _complete(scatter)
    return Sky(_complete(level), scatter, y, x)


def _grain(data: np.ndarray, good: np.ndarray, part: tuple[slice, slice]) -> float:
    """Scatter of pixels about the mean of four neighbours; infinite without enough of them.

    For white noise it is the scatter of the pixels. Nebulae and the light of unresolved stars,
    which vary more slowly, are scatter in a box of the mesh but no noise of a star in front.
    """
    rows, columns = part

    def moved(dy: int, dx: int) -> tuple[slice, slice]:
        return _inner(rows, len(data), dy), _inner(columns, data.shape[1], dx)

    middle = moved(0, 0)
    around = [moved(REACH, 0), moved(-REACH, 0), moved(0, REACH), moved(0, -REACH)]
    usable = good[middle]
    for place in around:
        usable = usable & good[place]
    if np.count_nonzero(usable) < LEAST:
        return float("inf")
    total = np.zeros(np.count_nonzero(usable))
    for place in around:
        total += data[place][usable]
    difference = data[middle][usable] - total / len(around)
    return _clipped(difference)[1] / np.sqrt(1.0 + 1.0 / len(around))


def _inner(part: slice, length: int, by: int) -> slice:
    """Leave the places out that have no neighbours on both sides, and move the others."""
    first, last = max(part.start, REACH), min(part.stop, length - REACH)
    return slice(first + by, max(first, last) + by, part.step)


def _clipped(values: np.ndarray) -> tuple[float, float]:
    """Median and standard deviation after clipping about the median.

    The values are sorted once: what a clip leaves is then a range, and its sums are differences.
    """
    values = np.sort(values).astype(np.float64)
    values -= (zero := values[len(values) // 2])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    low, high = 0, len(values)
    for _ in range(ITERATIONS):
        n = high - low
        median = (values[(low + high - 1) // 2] + values[(low + high) // 2]) / 2
        mean = (sums[high] - sums[low]) / n
        deviation = np.sqrt(max((squares[high] - squares[low]) / n - mean**2, 0.0))
        limits = median - CLIP * deviation, median + CLIP * deviation
        ends = (
            np.searchsorted(values, limits[0], "left"),
            np.searchsorted(values, limits[1], "right"),
        )
        first, last = max(low, int(ends[0])), min(high, int(ends[1]))
        if (first, last) == (low, high) or first >= last:
            break
        low, high = first, last
    return float(median + zero), float(deviation)


def _complete(mesh: np.ndarray) -> np.ndarray:
    """Fill boxes without a value from the nearest one, and smooth the mesh by a 3 x 3 median."""
    missing = np.isnan(mesh)
    if missing.any():
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        mesh = mesh[tuple(nearest)]
    return median_filter(mesh, size=3, mode="nearest") if min(mesh.shape) >= 3 else mesh


def _linear(positions: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Weights (n, nknots) of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(positions, knots, unit) for unit in np.eye(len(knots))], axis=1)
