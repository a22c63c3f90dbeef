"""A frame brought to a tangent-plane grid: interpolated, or by the functions of reproject.

A GWCS takes seconds for all pixels of a frame, and its inverse is good to 0.01 px only. For the
functions of reproject both ways between pixels and the frame's tangent plane are tabulated and
interpolated by splines, to about 1e-5 px, behind the interface that they ask for (APE 14).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs import WCS as FitsWCS
from astropy.wcs.wcsapi import BaseLowLevelWCS, HighLevelWCSWrapper
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter

from webbalign.products._frame_interpolation import GridPart, interpolated
from webbalign.products.corrector import ImagePlane

__all__ = ["GridPart", "reprojected"]

# nodes of the tables on each axis, and px beyond the image that they reach
_NODES, _BEYOND = 48, 16.0
# share of a resampled pixel that may come from bad pixels
_SPOILED = 0.1


class _TabulatedWCS(BaseLowLevelWCS):
    """The WCS of a frame, from tables."""

    def __init__(self, image: ImagePlane) -> None:
        ny, nx = image.shape
        self._plane = image.plane
        self._shape = image.shape
        x = np.linspace(-_BEYOND, nx - 1 + _BEYOND, _NODES)
        y = np.linspace(-_BEYOND, ny - 1 + _BEYOND, _NODES)
        grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        plane = image.from_pixels(grid)
        self._forward = _tables(x, y, plane)
        # turned frames leave corners of the rectangle empty: wider, so that its edge is outside
        u, v = (np.linspace(a.min(), a.max(), _NODES) for a in plane.T)
        there = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
        self._backward = _tables(u, v, image.to_pixels(there))

    def pixel_to_world_values(self, *pixels: Any) -> tuple[Any, Any]:
        """Right ascension and declination (degrees) of 0-based pixels."""
        x, y = np.broadcast_arrays(*pixels)
        plane = np.stack([t.ev(x.ravel(), y.ravel()) for t in self._forward], axis=-1)
        sky = self._plane.to_sky(plane)
        return sky[:, 0].reshape(x.shape), sky[:, 1].reshape(x.shape)

    def world_to_pixel_values(self, *world: Any) -> tuple[Any, Any]:
        """0-based pixels of right ascension and declination (degrees)."""
        ra, dec = np.broadcast_arrays(*world)
        plane = self._plane.from_sky(np.stack([ra.ravel(), dec.ravel()], axis=-1))
        x, y = (t.ev(plane[:, 0], plane[:, 1]).reshape(ra.shape) for t in self._backward)
        return x, y

    @property
    def pixel_n_dim(self) -> int:
        """Two."""
        return 2

    @property
    def world_n_dim(self) -> int:
        """Two."""
        return 2

    @property
    def world_axis_physical_types(self) -> list[str]:
        """Equatorial coordinates."""
        return ["pos.eq.ra", "pos.eq.dec"]

    @property
    def world_axis_units(self) -> list[str]:
        """Degrees."""
        return ["deg", "deg"]

    @property
    def array_shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self._shape

    @property
    def world_axis_object_components(self) -> list[tuple[str, int, str]]:
        """As APE 14 has it."""
        return [("celestial", 0, "spherical.lon.degree"), ("celestial", 1, "spherical.lat.degree")]

    @property
    def world_axis_object_classes(self) -> dict[str, Any]:
        """As APE 14 has it."""
        return {"celestial": (SkyCoord, (), {"frame": ICRS(), "unit": ("deg", "deg")})}


def _tables(
    x: NDArray[np.float64], y: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[RectBivariateSpline, RectBivariateSpline]:
    shape = (len(x), len(y))
    return tuple(RectBivariateSpline(x, y, v.reshape(shape), kx=5, ky=5) for v in values.T)


def reprojected(
    data: NDArray[Any], bad: NDArray[np.bool_], image: ImagePlane, part: GridPart, function: str
) -> NDArray[np.float32]:
    """Bring a frame to the grid.

    Parameters
    ----------
    data : ndarray (ny, nx)
    bad : ndarray (ny, nx) of bool
        Pixels that do not count; they are filled from around before anything is interpolated.
    image : ImagePlane
        Of the frame.
    part : GridPart
        Of the grid.
    function : {'interp', 'exact', 'adaptive'}
        The first gives what ``reproject.reproject_interp`` gives, to 1e-5 px.

    Returns
    -------
    ndarray, shape of the part of the grid
        float32; NaN outside the frame and where more than a tenth comes from bad pixels.
    """
    both = _filled(data, bad), bad.astype(np.float64)
    if function == "interp":
        found = np.empty(part.shape, np.float32)
        for rows, (values, spoiled) in interpolated(both, image, part):
            found[rows] = _unspoiled(values, spoiled)
        return found
    return _unspoiled(*_by_reproject(np.stack(both), image, part, function))


def _unspoiled(values: NDArray[np.float64], spoiled: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(spoiled) < _SPOILED, values, np.nan).astype(np.float32)


def _by_reproject(
    both: NDArray[np.float64], image: ImagePlane, part: GridPart, function: str
) -> NDArray[np.float64]:
    """Bring images (n, ny, nx) of a frame to the grid by a function of reproject."""
    import reproject

    frame = HighLevelWCSWrapper(_TabulatedWCS(image))
    grid = _grid_wcs(part)
    # sky behind the grid's plane, and pixels outside the tables, are NaN on purpose
    details: dict[str, Any] = {"shape_out": part.shape, "return_footprint": False}
    if function == "exact":
        found = reproject.reproject_exact((both, frame), grid, **details)
    else:
        details |= {"roundtrip_coords": False, "bad_value_mode": "ignore"}
        found = reproject.reproject_adaptive((both, frame), grid, **details)
    return np.asarray(found)


def _grid_wcs(part: GridPart) -> FitsWCS:
    grid = FitsWCS(naxis=2)
    grid.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    grid.wcs.crval = part.plane.centre
    grid.wcs.cdelt = np.array([-1.0, 1.0]) * part.pixel_scale / 3600.0
    grid.wcs.crpix = [1.0 - part.corner[1], 1.0 - part.corner[0]]
    grid.wcs.radesys = "ICRS"
    grid.array_shape = part.shape
    return grid


def _filled(data: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill bad pixels with a local mean, those far from any good one with the median."""
    values = np.where(bad, 0.0, data).astype(np.float64)
    if bad.all():
        return values
    level = float(np.median(values[~bad]))
    values = np.where(bad, 0.0, values - level)
    weight = gaussian_filter((~bad).astype(np.float64), 1.5, truncate=3.0)
    mean = gaussian_filter(values, 1.5, truncate=3.0) / np.maximum(weight, 1e-3)
    return np.where(bad, np.where(weight > 0.01, mean, 0.0), values) + level
