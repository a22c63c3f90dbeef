"""Between pixels and the sky: pixel maps, star positions, recentring.

The output grid and the header keywords have modules of their own and are offered here as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.smooth_maps import smooth_map
from webbalign.products.output_grid import OutputGrid, output_grid, output_wcs
from webbalign.products.sphere import pixel_limits
from webbalign.products.wcs_keywords import (
    combined_s_region,
    fits_wcs_keywords,
    header_error,
    s_region,
    set_output_keywords,
    update_fits_header_wcs,
)

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = [
    "OutputGrid",
    "combined_s_region",
    "fits_wcs_keywords",
    "header_error",
    "output_grid",
    "output_wcs",
    "pixel_map",
    "recentre_on_star",
    "s_region",
    "set_output_keywords",
    "sky_position",
    "star_pixel",
    "update_fits_header_wcs",
]

_MAP_TOLERANCE = 1e-6  # px


def pixel_map(
    input_wcs: WCS,
    output_wcs: WCS,
    shape: tuple[int, ...],
    *,
    stepsize: float = 1.0,
    order: int = 1,
) -> NDArray[np.float64]:
    """Position of every input pixel on the output grid.

    Parameters
    ----------
    input_wcs, output_wcs : gwcs.WCS
        Of the exposure and of the grid; the bounding box of the grid is ignored.
    shape : tuple
        Shape of the exposure; the last two items are (ny, nx).
    stepsize : float
        Above 1: the map is evaluated every `stepsize` pixels and interpolated by splines, as jwst
        does.
    order : {1, 3}
        Order of these splines.

    Returns
    -------
    pixmap : ndarray, shape (ny, nx, 2)
        0-based (x, y) on the output grid of the centre of each pixel; NaN outside the bounding
        box of `input_wcs`.

    Notes
    -----
    With ``stepsize=1`` the map is a Chebyshev polynomial through a few hundred exact positions.
    Its error is measured at points in between; if it exceeds 1e-6 px (a map with kinks), every
    pixel is evaluated.
    """
    ny, nx = shape[-2:]
    (x0, x1), (y0, y1) = pixel_limits(input_wcs, (ny, nx))
    pixmap = np.full((ny, nx, 2), np.nan)
    if x1 < x0 or y1 < y0:
        return pixmap
    x, y = np.arange(x0, x1 + 1.0), np.arange(y0, y1 + 1.0)
    window = pixmap[y0 : y1 + 1, x0 : x1 + 1]
    values = None
    if min(x.size, y.size) > 10:
        if stepsize > 1:
            values = _spline_map(input_wcs, output_wcs, x, y, stepsize, order)
        else:
            values = _chebyshev_map(input_wcs, output_wcs, x, y)
    if values is None:
        values = _exact(input_wcs, output_wcs, *np.meshgrid(x, y))
    window[...] = values
    return pixmap


def _exact(
    input_wcs: WCS, output_wcs: WCS, x: NDArray[Any], y: NDArray[Any]
) -> NDArray[np.float64]:
    sky = input_wcs(x, y, with_bounding_box=False)
    return np.stack(output_wcs.invert(*sky, with_bounding_box=False), axis=-1)


def _chebyshev_map(
    input_wcs: WCS, output_wcs: WCS, x: NDArray[Any], y: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Interpolate at Chebyshev points; None if that is not accurate enough."""
    found = smooth_map(
        lambda at: _exact(input_wcs, output_wcs, at[:, 0], at[:, 1]), x, y, _MAP_TOLERANCE
    )
    return None if found is None else found.rows()


def _spline_map(
    input_wcs: WCS, output_wcs: WCS, x: NDArray[Any], y: NDArray[Any], stepsize: float, order: int
) -> NDArray[np.float64] | None:
    from scipy.interpolate import RectBivariateSpline

    at_x, at_y = (
        np.linspace(along[0], along[-1], max(int(np.ceil(along.size / stepsize)), 10))
        for along in (x, y)
    )
    coarse = _exact(input_wcs, output_wcs, *np.meshgrid(at_x, at_y))
    if not np.isfinite(coarse).all():
        return None
    return np.stack(
        [RectBivariateSpline(at_y, at_x, coarse[..., c], kx=order, ky=order)(y, x) for c in (0, 1)],
        axis=-1,
    )


def sky_position(wcs: WCS, xy: ArrayLike) -> tuple[float, float]:
    """Right ascension and declination (degrees) of the 0-based pixel position ``(x, y)``."""
    x, y = np.asarray(xy, dtype=np.float64)
    ra, dec = wcs(x, y, with_bounding_box=False)
    return float(ra), float(dec)


def star_pixel(
    star_xy: Sequence[float] | None, wcsinfo: Mapping[str, Any], name: str | None = None
) -> tuple[float, float]:
    """0-based detector position of the star: `star_xy`, else CRPIX - 1 of `wcsinfo`.

    Raises
    ------
    InputError
        If neither is known; `name` is the file in the message.
    """
    if star_xy is not None:
        return float(star_xy[0]), float(star_xy[1])
    crpix = wcsinfo.get("crpix1"), wcsinfo.get("crpix2")
    if crpix[0] is None or crpix[1] is None:
        raise InputError(name, "no CRPIX that tells where the star is", "the option star_xy")
    return float(crpix[0]) - 1.0, float(crpix[1]) - 1.0


def recentre_on_star(
    wcs: WCS,
    star_xy: ArrayLike,
    sky: ArrayLike,
    wcsinfo: Mapping[str, Any] | None = None,
) -> WCS:
    """Shift a WCS on the tangent plane so that the star has a given sky position.

    Parameters
    ----------
    wcs : gwcs.WCS
        Left as it is.
    star_xy : array_like, shape (2,)
        0-based detector position (x, y) of the star.
    sky : array_like, shape (2,)
        Where it shall be: right ascension and declination, in degrees.
    wcsinfo : mapping, optional
        With ``v2_ref, v3_ref`` (arcsec) and ``roll_ref`` (degrees): a JWST WCS gets the
        correction step between ``v2v3vacorr`` and ``world`` that tweakreg writes as well.

    Returns
    -------
    gwcs.WCS
        The distortion keeps its place on the detector. A WCS without V2V3 frames, or given
        without `wcsinfo`, is shifted in pixels before all its other steps.
    """
    x, y = (float(value) for value in np.asarray(star_xy, dtype=np.float64))
    ra, dec = (float(value) for value in np.asarray(sky, dtype=np.float64))
    names = ("v2_ref", "v3_ref", "roll_ref")
    known = wcsinfo is not None and all(wcsinfo.get(name) is not None for name in names)
    box, shape = wcs.bounding_box, wcs.array_shape
    if known and "v2v3" in wcs.available_frames:
        from tweakwcs import JWSTWCSCorrector

        angles = {name: float(wcsinfo[name]) for name in names}  # type: ignore[index]
        corrector = JWSTWCSCorrector(copy.deepcopy(wcs), angles)
        wanted = np.array(corrector.world_to_tanp(ra, dec), dtype=np.float64)
        present = np.array(corrector.det_to_tanp(x, y), dtype=np.float64)
        corrector.set_correction(shift=wanted - present)
        moved = corrector.wcs
    else:
        moved = _shifted_in_pixels(wcs, (x, y), (ra, dec))
    moved.bounding_box = None if box is None else box.bounding_box(order="F")
    moved.array_shape = shape
    return moved


def _shifted_in_pixels(wcs: WCS, star: tuple[float, float], sky: tuple[float, float]) -> WCS:
    from astropy.modeling.models import Shift

    moved = copy.deepcopy(wcs)
    moved.bounding_box = None
    target = np.array(moved.invert(*sky, with_bounding_box=False))
    place = target.copy()
    for _ in range(3):  # the inverse of a distortion is good to some 0.01 px only
        there = moved(*place, with_bounding_box=False)
        place += target - np.array(moved.invert(*there, with_bounding_box=False))
    shift = Shift(float(place[0]) - star[0]) & Shift(float(place[1]) - star[1])
    moved.insert_transform(moved.input_frame.name, shift, after=True)
    return moved
