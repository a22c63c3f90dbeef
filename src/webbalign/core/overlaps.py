"""Areas in which the outlines of images overlap on a plane.

The boundary of the intersection of two convex polygons consists of the parts of each one's edges
that lie within the other. Each part is found by clipping a line with half planes (Cyrus & Beck
1978, DOI 10.1016/0097-8493(78)90021-3), and the area follows from Green's theorem: no polygon is
ever built, and all pairs of images are done at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError

__all__ = ["Overlaps", "overlaps"]

Array = NDArray[np.float64]

# Lines nearer than this fraction of an outline's size are one line.
_COINCIDENT = 1e-9


@dataclass(frozen=True)
class Overlaps:
    """The pairs of outlines that overlap.

    Attributes
    ----------
    pairs : ndarray (m, 2)
        Indices of the outlines, the smaller one first, in lexical order.
    area : ndarray (m,)
        Area of the intersection, in the square of the outlines' unit; larger than 0.
    areas : ndarray (n,)
        Area of each outline itself; 0 for one with less than three distinct corners.
    """

    pairs: NDArray[np.intp]
    area: Array
    areas: Array

    def __len__(self) -> int:
        return len(self.pairs)


def overlaps(outlines: Sequence[ArrayLike]) -> Overlaps:
    """Find the pairs of outlines that overlap, and the area of each overlap.

    Parameters
    ----------
    outlines : sequence of array_like (k, 2)
        Corners in order (either sense), one array per image. The convex hull is what counts.
        Corners that are not finite are left out; an outline without area overlaps nothing.

    Returns
    -------
    Overlaps
    """
    polygons = _stacked([_hull(outline) for outline in outlines])
    areas = _signed_areas(polygons)
    low, high = polygons.min(axis=1), polygons.max(axis=1)
    touch = (low[:, None] < high[None]).all(axis=2)
    touch &= touch.T & (areas > 0) & (areas > 0)[:, None]
    first, second = np.nonzero(np.triu(touch, 1))
    area = _intersections(polygons[first], polygons[second])
    keep = area > _COINCIDENT * np.minimum(areas[first], areas[second])
    return Overlaps(np.stack([first, second], axis=1)[keep], area[keep], areas)


def _hull(outline: ArrayLike) -> Array:
    """Return the corners (k, 2) of the convex hull, anticlockwise; (0, 2) if it has no area."""
    points = np.asarray(outline, float).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 3:
        return np.empty((0, 2))
    # Qhull measures roundness relative to the distance from the origin
    centred = points - points[0]
    try:
        return np.asarray(points[ConvexHull(centred).vertices])
    except QhullError:
        return np.empty((0, 2))


def _stacked(polygons: Sequence[Array]) -> Array:
    """Return the polygons as one array (n, k, 2), the last corner repeated as needed."""
    longest = max((len(polygon) for polygon in polygons), default=1)
    stacked = np.zeros((len(polygons), max(longest, 1), 2))
    for row, polygon in zip(stacked, polygons, strict=True):
        if len(polygon):
            row[: len(polygon)] = polygon
            row[len(polygon) :] = polygon[-1]
    return stacked


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _signed_areas(polygons: Array) -> Array:
    """Areas (n,) of polygons (n, k, 2); positive for anticlockwise corners."""
    centred = polygons - polygons[:, :1]
    return np.asarray(0.5 * _cross(centred, np.roll(centred, -1, axis=1)).sum(axis=1))


def _intersections(first: Array, second: Array) -> Array:
    """Areas (m,) of the intersections of convex polygons (m, k, 2) and (m, k, 2)."""
    origin = first[:, :1]
    first, second = first - origin, second - origin
    # an edge that both have in common is part of the boundary once
    area = _clipped(first, second, shared=True) + _clipped(second, first, shared=False)
    return np.maximum(area, 0.0)


def _clipped(lines: Array, clip: Array, *, shared: bool) -> Array:
    """Green's integral (m,) along the edges of `lines` within `clip`, both (m, k, 2).

    An edge on the boundary of `clip` counts if `shared` and both run in the same direction.
    """
    start = lines[:, :, None]
    step = np.roll(lines, -1, axis=1)[:, :, None] - start
    corner = clip[:, None]
    side = np.roll(clip, -1, axis=1)[:, None] - corner
    inside = _cross(side, start - corner)
    slope = _cross(side, step)
    size = np.linalg.norm(side, axis=3) * np.linalg.norm(lines, axis=2).max(axis=1)[:, None, None]
    parallel = np.abs(slope) <= _COINCIDENT * size
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -inside / slope
    enter = np.where(~parallel & (slope > 0), crossing, 0.0).max(axis=2, initial=0.0)
    leave = np.where(~parallel & (slope < 0), crossing, 1.0).min(axis=2, initial=1.0)
    on_line = np.abs(inside) <= _COINCIDENT * size
    along = (side * step).sum(axis=3) > 0
    allowed = np.where(on_line, along & shared, inside > 0)
    # a repeated corner makes a side without length, which bounds nothing
    outside = (parallel & ~allowed & (size > 0)).any(axis=2)
    a, b = start[:, :, 0], step[:, :, 0]
    part = 0.5 * _cross(a, b) * np.where(outside, 0.0, np.maximum(leave - enter, 0.0))
    return np.asarray(part.sum(axis=1))
