"""Positions on the sky around an image: projection, outlines, areas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "box_edges",
    "mean_pixel_area",
    "middle",
    "pixel_edges",
    "pixel_limits",
    "sky_boundary",
    "to_plane",
]


def to_plane(sky: ArrayLike, centre: ArrayLike) -> NDArray[np.float64]:
    """Project sky positions on the tangent plane.

    Parameters
    ----------
    sky : array_like, shape (n, 2)
        Right ascension and declination, in degrees.
    centre : array_like, shape (2,)
        The tangent point, in degrees.

    Returns
    -------
    plane : ndarray, shape (n, 2)
        East and north, in degrees.
    """
    ra, dec = np.radians(np.asarray(sky, dtype=np.float64)).T
    ra0, dec0 = np.radians(np.asarray(centre, dtype=np.float64))
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    east = np.cos(dec) * np.sin(ra - ra0)
    north = np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)
    return np.degrees(np.stack([east / cosine, north / cosine], axis=-1))


def sky_boundary(
    wcs: WCS, shape: tuple[int, ...], *, per_edge: int = 1, inset: float = 0.0
) -> NDArray[np.float64]:
    """Sky positions along the outer edge of an image.

    Parameters
    ----------
    wcs : gwcs.WCS
        Its bounding box, cut to the image, is the edge.
    shape : tuple
        The last two items are (ny, nx).
    per_edge : int
        Points per side; 1: the corners.
    inset : float
        Pixels by which the edge is moved inwards.

    Returns
    -------
    sky : ndarray, shape (4 * per_edge, 2)
        Right ascension (0 to 360) and declination in degrees, beginning at the lowest x and y and
        going up in y first.
    """
    (x0, x1), (y0, y1) = pixel_edges(wcs, shape, inset)
    part = np.arange(per_edge) / per_edge
    up, right = y0 + part * (y1 - y0), x0 + part * (x1 - x0)
    low, left = np.full(per_edge, y0), np.full(per_edge, x0)
    x = np.concatenate([left, right, left + x1 - x0, x1 + x0 - right])
    y = np.concatenate([up, low + y1 - y0, y1 + y0 - up, low])
    ra, dec = wcs(x, y, with_bounding_box=False)
    return np.stack([np.mod(ra, 360.0), dec], axis=-1)


def mean_pixel_area(wcs: WCS, shape: tuple[int, ...]) -> float:
    """Mean area of the pixels of an image, in steradian (to 1e-6 for fields below 3 arcmin)."""
    sky = sky_boundary(wcs, shape, per_edge=16, inset=0.5)
    x, y = np.radians(to_plane(sky, middle(sky))).T
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    (x0, x1), (y0, y1) = pixel_edges(wcs, shape, 0.5)
    return float(area / ((x1 - x0) * (y1 - y0)))


def pixel_edges(
    wcs: WCS, shape: tuple[int, ...], inset: float = 0.0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits in x and y of the bounding box, cut to the image and moved inwards."""
    box = wcs.bounding_box
    limits = box.bounding_box(order="F") if box is not None else ((-np.inf, np.inf),) * 2
    x, y = (
        (max(-0.5, float(low)) + inset, min(size - 0.5, float(high)) - inset)
        for (low, high), size in zip(limits, shape[::-1][:2], strict=True)
    )
    return x, y


def box_edges(wcs: WCS, shape: tuple[int, ...]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits in x and y of the bounding box; of the image if the WCS has none.

    Stars are judged by where the WCS holds: a catalog may come with an image that is cut, or
    empty.
    """
    if wcs.bounding_box is None:
        return pixel_edges(wcs, shape)
    (x0, x1), (y0, y1) = wcs.bounding_box.bounding_box(order="F")
    return (float(x0), float(x1)), (float(y0), float(y1))


def middle(sky: NDArray[Any]) -> NDArray[np.float64]:
    """Return the middle of the box that holds the unit vectors, as jwst chooses CRVAL."""
    ra, dec = np.radians(sky).T
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    x, y, z = (vectors.min(axis=1) + vectors.max(axis=1)) / 2
    return np.degrees([np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))])


def pixel_limits(wcs: WCS, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first and last pixel, in x and in y, whose centres lie in the bounding box."""
    ny, nx = shape
    if wcs.bounding_box is None:
        return (0, nx - 1), (0, ny - 1)
    (x0, x1), (y0, y1) = wcs.bounding_box.bounding_box(order="F")
    return (
        (max(0, int(np.ceil(x0))), min(nx - 1, int(np.floor(x1)))),
        (max(0, int(np.ceil(y0))), min(ny - 1, int(np.floor(y1)))),
    )
