"""A frame interpolated on a tangent-plane grid, as ``reproject.reproject_interp`` does it.

Its way over the sky takes most of the time there (objects of coordinates for each pixel), and most
of the memory. Here the way from a pixel of the grid to one of the frame is a polynomial, and the
frame is interpolated in bands of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from webbalign.core.planes import TangentPlane, apply_map
from webbalign.core.smooth_maps import smooth_map
from webbalign.products.corrector import ImagePlane

__all__ = ["GridPart", "interpolated"]

# px: 0.0001 mas on the finest detector, 0.001 mas on MIRI's is beyond what images can tell
_TOLERANCE = 1e-5
# px beyond the frame in which the way to it must be right
_AROUND = 2.0
# pixels of the grid that are interpolated at a time
_AT_A_TIME = 300_000
_CUBIC = 3

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridPart:
    """Part of a tangent-plane grid: north up, east to the left; pixel (0, 0) the tangent point.

    Attributes
    ----------
    plane : TangentPlane
        x east, y north.
    pixel_scale : float
        Arcsec.
    corner : tuple of int
        Row and column of the part's first pixel.
    shape : tuple of int
        (ny, nx) of the part.
    """

    plane: TangentPlane
    pixel_scale: float
    corner: tuple[int, int]
    shape: tuple[int, int]


def interpolated(
    planes: tuple[Array, ...], image: ImagePlane, part: GridPart
) -> Iterator[tuple[slice, list[Array]]]:
    """Interpolate images of a frame on a part of a grid by cubic splines, some rows at a time.

    Parameters
    ----------
    planes : tuple of ndarray (ny, nx)
        Finite.
    image : ImagePlane
        Of the frame.
    part : GridPart

    Yields
    ------
    rows : slice
        Of the part.
    values : list of ndarray
        What the planes are there; NaN more than half a pixel outside the frame.
    """
    filtered = [spline_filter(values, order=_CUBIC) for values in planes]
    size = np.array(image.shape[::-1], dtype=np.float64)
    for rows, pixels in _frame_pixels(image, part):
        inside = np.all((pixels >= -0.5) & (pixels <= size - 0.5), axis=-1)
        at = np.clip(pixels[inside], 0.0, size - 1.0)[:, ::-1].T
        found = []
        for values in filtered:
            out = np.full(inside.shape, np.nan)
            out[inside] = map_coordinates(values, at, order=_CUBIC, prefilter=False)
            found.append(out)
        yield rows, found


def _frame_pixels(image: ImagePlane, part: GridPart) -> Iterator[tuple[slice, Array]]:
    """Yield rows of the part, and the 0-based pixels (rows, nx, 2) of the frame at their points."""
    ny, nx = part.shape
    to_frame = part.plane.matrix_to(image.plane)
    scale = np.array([-part.pixel_scale, part.pixel_scale])
    size = np.array(image.shape[::-1])

    def exact(at: Array) -> Array:
        return image.to_pixels(apply_map(to_frame, at * scale)[0])

    def near(pixels: Array) -> NDArray[np.bool_]:
        return np.all((pixels > -_AROUND) & (pixels < size - 1 + _AROUND), axis=-1)

    y, x = (
        np.arange(first, first + n, dtype=np.float64)
        for first, n in zip(part.corner, part.shape, strict=True)
    )
    smooth = smooth_map(exact, x, y, _TOLERANCE, near) if min(part.shape) > 1 else None
    step = max(_AT_A_TIME // nx, 1)
    for start in range(0, ny, step):
        rows = slice(start, min(start + step, ny))
        if smooth is not None:
            yield rows, smooth.rows(rows.start, rows.stop)
        else:
            grid = np.stack(np.meshgrid(x, y[rows]), axis=-1)
            yield rows, exact(grid.reshape(-1, 2)).reshape(grid.shape)
