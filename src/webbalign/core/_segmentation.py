"""Sources as connected pixels: photutils' segmentation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from webbalign.core._detection import Frame
from webbalign.core._finders import FWHM_PER_SIGMA, Found

if TYPE_CHECKING:
    from webbalign.core._source_types import SourceFinding

__all__ = ["find_segments"]


def find_segments(frame: Frame, fwhm: float, options: SourceFinding) -> Found:
    """Find the sources of a frame by segmentation, separated where they overlap."""
    from photutils.segmentation import SourceCatalog, detect_sources

    ny, nx = frame.shape
    inside = np.s_[frame.margin : frame.margin + ny, frame.margin : frame.margin + nx]
    image, bad = frame.image[inside], ~frame.good[inside]
    smooth = gaussian_filter(image, fwhm / FWHM_PER_SIGMA, mode="constant")
    threshold = options.snr_threshold * frame.sky.rows(frame.sky.scatter, 0, ny, nx)
    with warnings.catch_warnings():
        # nothing found; sources too small to be separated
        warnings.simplefilter("ignore")
        segments = detect_sources(
            smooth, threshold, options.npixels, connectivity=options.connectivity, mask=bad
        )
        if segments is None:
            return Found.none()
        if options.deblend:
            segments = _deblended(smooth, segments, options)
        catalog = SourceCatalog(
            image,
            segments,
            convolved_data=smooth,
            mask=bad,
            local_bkg_width=options.localbkg_width,
            aperture_mask_method=options.apermask_method,
            kron_params=options.kron_params or (2.5, 1.4, 0.0),
        )
        found = Found(
            x=np.atleast_1d(catalog.x_centroid),
            y=np.atleast_1d(catalog.y_centroid),
            flux=np.atleast_1d(catalog.segment_flux),
            peak=np.atleast_1d(catalog.max_value),
            sharpness=np.atleast_1d(catalog.fwhm.value) / fwhm,
            roundness=np.atleast_1d(catalog.ellipticity.value),
            allowed=np.ones(catalog.n_labels, dtype=bool),
        )
    return found[np.isfinite(found.x) & np.isfinite(found.y) & (found.flux > 0)]


def _deblended(smooth: np.ndarray, segments: Any, options: SourceFinding) -> Any:
    """Separate sources that overlap; those with one maximum are not even tried."""
    from photutils.segmentation import deblend_sources

    labels = _several_maxima(smooth, segments.data, options.connectivity)
    if not len(labels):
        return segments
    return deblend_sources(
        smooth,
        segments,
        options.npixels,
        labels=labels,
        n_levels=options.nlevels,
        contrast=options.contrast,
        mode=options.multithresh_mode,
        connectivity=options.connectivity,
        progress_bar=False,
    )


def _several_maxima(smooth: np.ndarray, labels: np.ndarray, connectivity: int) -> np.ndarray:
    """Labels of the segments that have more than one maximum among connected pixels."""
    height = np.pad(np.where(labels > 0, smooth, -np.inf), 1, constant_values=-np.inf)
    y, x = np.nonzero(labels)
    nx = height.shape[1]
    pixels = (y + 1) * nx + x + 1
    steps = [-nx, nx, -1, 1]
    if connectivity == 8:
        steps += [-nx - 1, -nx + 1, nx - 1, nx + 1]
    for step in steps:
        pixels = pixels[height.ravel()[pixels] >= height.ravel()[pixels + step]]
    y, x = np.divmod(pixels, nx)
    maxima = np.bincount(labels[y - 1, x - 1])
    return np.flatnonzero(maxima > 1)
