"""Statistics of an image in rings about the star."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["annular_rms", "radii"]


def radii(shape: tuple[int, int], centre: tuple[float, float]) -> NDArray[np.float64]:
    """Return the distance (px) of each pixel from `centre` (x, y, 0-based); shape (ny, nx)."""
    y, x = np.indices(shape, dtype=np.float64)
    return np.hypot(x - centre[0], y - centre[1])


def annular_rms(
    image: NDArray, centre: tuple[float, float], edges: NDArray | list[float]
) -> NDArray[np.float64]:
    """Return the rms about the mean in rings about `centre`.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        NaN is left out.
    centre : tuple of float
        (x, y), 0-based pixels.
    edges : sequence of float, length n + 1
        Radii between the rings, in pixels.

    Returns
    -------
    ndarray, shape (n,)
        In the unit of the image; NaN for a ring without pixels.
    """
    good = np.isfinite(image)
    ring = np.digitize(radii(image.shape, centre)[good], edges) - 1
    values = image[good].astype(np.float64)
    inside = (ring >= 0) & (ring < len(edges) - 1)
    ring, values = ring[inside], values[inside]
    count = np.bincount(ring, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(ring, values, len(edges) - 1) / count
        return np.sqrt(np.bincount(ring, (values - mean[ring]) ** 2, len(edges) - 1) / count)
