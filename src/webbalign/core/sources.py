"""The stars of one frame: where they are, and how well that is known.

Detection is that of photutils' finders (IRAF's ``starfind``, Stetson's DAOFIND, segmentation). The
centroid is by default a fit of the frame's own effective PSF, since those of the finders move by
up to 0.1 px with the position of an undersampled star in its pixel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from webbalign.core._background import measure_sky
from webbalign.core._blemishes import burnt_stars
from webbalign.core._centroids import stamp_radius
from webbalign.core._detection import make_frame
from webbalign.core._finders import find_stars, kernel_radius, least_separation
from webbalign.core._segmentation import find_segments
from webbalign.core._selection import Search, as_found, fitted, optical_fwhm
from webbalign.core._source_types import (
    DEFAULT_FWHM,
    SourceFinding,
    SourceFlag,
    Sources,
    SourceStatus,
)
from webbalign.core.errors import InputError

__all__ = [
    "DEFAULT_FWHM",
    "SourceFinding",
    "SourceFlag",
    "SourceStatus",
    "Sources",
    "find_sources",
]

# pixels that saturate late hold a value, but one that is not in proportion
SATURATED_ERROR = 0.1  # px


def find_sources(
    data: np.ndarray,
    err: np.ndarray | None = None,
    bad: np.ndarray | None = None,
    saturated: np.ndarray | None = None,
    *,
    fwhm: float | None = None,
    options: SourceFinding | None = None,
) -> Sources:
    """Find the stars of a frame.

    Parameters
    ----------
    data : ndarray (ny, nx)
        The frame. Pixels that are not finite are bad.
    err : ndarray (ny, nx), optional
        Standard deviation of each pixel, photon noise included. Without it the scatter of the sky
        stands for the noise of all pixels.
    bad : ndarray (ny, nx) of bool, optional
        Pixels not to be used (DO_NOT_USE, NON_SCIENCE).
    saturated : ndarray (ny, nx) of bool, optional
        Pixels that are saturated, whether or not they hold a value.
    fwhm : float, optional
        FWHM of the stars' images in this band, px, what the pixel adds to them included.
        ``options.kernel_fwhm`` goes before it as that of the finder's kernel, and stands for it if
        it is not given.
    options : SourceFinding, optional

    Returns
    -------
    Sources
        Empty with a status that says why, if there is nothing to be found.

    Raises
    ------
    InputError
        If `data` is no image or the other arrays differ from it in shape.
    """
    options = options or SourceFinding()
    data = _checked(data, err=err, bad=bad, saturated=saturated)
    kernel = options.kernel_fwhm or fwhm or DEFAULT_FWHM
    # the kernel is the user's choice; the stars are as wide as the filter makes them
    width = optical_fwhm(fwhm or kernel)
    good = np.isfinite(data)
    if bad is not None:
        good &= ~np.asarray(bad, dtype=bool)
    sky = measure_sky(data, good, options.bkg_boxsize)
    if sky is None:
        return Sources.none(SourceStatus.NO_VALID_PIXELS, fwhm=kernel)
    if not sky.noise > 0:
        return Sources.none(SourceStatus.NO_SOURCES, fwhm=kernel, noise=sky.noise)
    margin = max(
        2 * kernel_radius(kernel, options.sigma_radius),
        stamp_radius(width),
        int(least_separation(kernel, options)),
    )
    frame = make_frame(data, good, sky, margin)
    find = find_segments if options.starfinder == "segmentation" else find_stars
    found = find(frame, kernel, options)
    burnt = burnt_stars(frame, saturated, options.snr_threshold * sky.noise, width)
    search = Search(frame, burnt, err, kernel, width, fwhm is not None, options)
    sources = as_found(found, search) if options.centroid == "finder" else fitted(found, search)
    return _brightest(_flag_saturated(sources, saturated, width), options)


def _checked(data: np.ndarray, **others: np.ndarray | None) -> np.ndarray:
    data = np.asarray(data)
    if data.ndim != 2 or not data.size:
        raise InputError(None, f"data of shape {data.shape}", "an image (ny, nx)")
    for name, other in others.items():
        if other is not None and np.shape(other) != data.shape:
            found = f"{name} of shape {np.shape(other)}"
            raise InputError(None, found, f"that of data, {data.shape}")
    return data


def _flag_saturated(sources: Sources, saturated: np.ndarray | None, fwhm: float) -> Sources:
    if saturated is None or not len(sources):
        return sources
    ny, nx = saturated.shape
    half = max(1, int(fwhm / 2))
    side = np.arange(-half, half + 1)
    rows = np.clip(np.rint(sources.ycentroid).astype(int)[:, None] + side, 0, ny - 1)
    columns = np.clip(np.rint(sources.xcentroid).astype(int)[:, None] + side, 0, nx - 1)
    core = np.asarray(saturated, dtype=bool)[rows[:, :, None], columns[:, None, :]]
    touched = core.any(axis=(1, 2))
    return replace(
        sources,
        flags=sources.flags | np.where(touched, int(SourceFlag.SATURATED), 0),
        x_err=np.where(touched, np.hypot(sources.x_err, SATURATED_ERROR), sources.x_err),
        y_err=np.where(touched, np.hypot(sources.y_err, SATURATED_ERROR), sources.y_err),
    )


def _brightest(sources: Sources, options: SourceFinding) -> Sources:
    """Sort by flux and keep the brightest, stars before what is wider than a star."""
    extended = (sources.flags & int(SourceFlag.EXTENDED)) > 0
    index = np.lexsort((-sources.flux, extended))
    if options.starfinder != "segmentation":
        index = index[: options.brightest]
    return sources.select(index[np.argsort(-sources.flux[index], kind="stable")])
