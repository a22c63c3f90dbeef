"""Shift and rotation between two images of one field that may show no star: cross-correlation.

The images may have masked pixels, other backgrounds, other gains and other depths. The highest peak
of their normalised cross-correlation is found at whole pixels, under both masks; a fit of one image
to the other then gives shift and rotation, with a covariance that comes from what is left, piece by
piece of the field. Everywhere (dx, dy) is in pixels, x first, and positive if the content of the
second image lies at larger index than that of the first.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._correlation_filters import compressed, high_passed, robust_sigma, smoothed
from webbalign.core._correlation_fit import ImageFit, fit_images
from webbalign.core._correlation_flow import flow_shift
from webbalign.core._correlation_peak import CoarsePeak, coarse_peak, correlation_map
from webbalign.core.correlation_options import Correlating

__all__ = ["CorrelationStatus", "Correlating", "ImageShift", "correlate"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# peak in units of what unrelated images show; the highest of some thousand shifts has 3 to 4
_SIGNIFICANT = 6.0
# pixels in common, at least
_MIN_PIXELS = 256
# px: a fit that leaves the peak by more than this has found something else
_LEAVE = 3.0


class CorrelationStatus(enum.StrEnum):
    """How the correlation of two images ended."""

    OK = "OK"
    #: too few pixels in common
    NO_OVERLAP = "NO_OVERLAP"
    #: the peak is no higher than those of unrelated images
    NO_SIGNAL = "NO_SIGNAL"
    #: another peak is almost as high
    AMBIGUOUS = "AMBIGUOUS"
    #: the best match lies at the largest shift that is searched, or beyond
    AT_LIMIT = "AT_LIMIT"
    #: the fit did not settle at the peak
    NOT_CONVERGED = "NOT_CONVERGED"


@dataclass(frozen=True, eq=False)
class ImageShift:
    """How the content of a second image lies relative to that of a first.

    What lies at p in the first image lies at ``centre + R(rotation) (p - centre) + (dx, dy)`` in
    the second.

    Attributes
    ----------
    status : CorrelationStatus
        Numbers of any other than OK are not to be used.
    dx, dy : float
        Px; NaN if nothing was found.
    rotation : float
        Radians, positive from x to y; 0 if it was not fitted.
    cov : ndarray (3, 3)
        Of dx, dy (px) and rotation (radians).
    centre : ndarray (2,)
        x, y, 0-based px of the first image.
    flux_ratio, flux_ratio_error : float
        Second over first.
    correlation : float
        Coefficient at the peak.
    significance : float
        Of the peak, in sigmas of unrelated images with the same structure sizes.
    rival : float
        Height of the next peak over that of this one, 0 if there is none near it.
    n_pixels : int
        In common.
    n_iter : int
        Steps of the fit.
    """

    status: CorrelationStatus
    dx: float
    dy: float
    rotation: float
    cov: Array = field(repr=False)
    centre: Array = field(repr=False)
    flux_ratio: float
    flux_ratio_error: float
    correlation: float
    significance: float
    rival: float
    n_pixels: int
    n_iter: int

    @property
    def ok(self) -> bool:
        """Whether the numbers may be used."""
        return self.status is CorrelationStatus.OK

    @property
    def errors(self) -> Array:
        """One-sigma errors of dx, dy (px) and rotation (radians)."""
        return np.sqrt(np.diag(self.cov))


def correlate(
    first: ArrayLike,
    second: ArrayLike,
    *,
    max_shift: float,
    first_weight: ArrayLike | None = None,
    second_weight: ArrayLike | None = None,
    options: Correlating | None = None,
) -> ImageShift:
    """Measure how the second image is moved against the first.

    Parameters
    ----------
    first, second : array_like (ny, nx)
        Any units each; pixels that are not finite are masked.
    max_shift : float
        Largest shift in px that is searched, on each axis (``corr_searchrad`` is not used here).
    first_weight, second_weight : array_like (ny, nx), optional
        0 masks a pixel.
    options : Correlating, optional

    Returns
    -------
    ImageShift

    Raises
    ------
    ValueError
        If the shapes differ or are not two-dimensional.
    """
    options = options or Correlating()
    one, mask_1 = _image(first, first_weight)
    two, mask_2 = _image(second, second_weight)
    if one.shape != two.shape:
        raise ValueError(f"images of shapes {one.shape} and {two.shape} - give one shape")
    centre = _middle(mask_1)
    reach = max(1, min(math.ceil(max_shift), min(one.shape) // 2 - 1))
    if min(mask_1.sum(), mask_2.sum()) < _MIN_PIXELS:
        return _failed(CorrelationStatus.NO_OVERLAP, centre, None)
    # the peak: under each image's own mask
    flat = [
        compressed(high_passed(*smoothed_pair, options.corr_highpass), smoothed_pair[1])
        for smoothed_pair in (smoothed(one, mask_1), smoothed(two, mask_2))
    ]
    found = _peak(flat, (mask_1, mask_2), reach)
    verdict = _judged(found, flat)
    if verdict is not CorrelationStatus.OK:
        return _failed(verdict, centre, found)
    del flat  # the fit needs the room: the images may be full frames
    # the fit: what is masked in one is masked in both, lest their local means differ
    whole = (round(found.dy), round(found.dx))
    both = mask_1 & _displaced(mask_2, (-whole[0], -whole[1]))
    centre = _middle(both) + 0.5 * np.array([whole[1], whole[0]])
    prepared = [
        _prepared(one, both, options.corr_highpass),
        _prepared(two, _displaced(both, whole), options.corr_highpass),
    ]
    del one, two
    fit = _fitted(prepared, found, centre, options)
    return _result(fit, found, max_shift)


def _image(image: ArrayLike, weight: ArrayLike | None) -> tuple[Array, Mask]:
    """Pixels in float64, 0 where masked, and where they may be used."""
    data = np.asarray(image, dtype=np.float64)
    if data.ndim != 2:
        raise ValueError(f"an image has 2 dimensions; found {data.ndim}")
    mask = np.isfinite(data)
    if weight is not None:
        mask &= np.nan_to_num(np.asarray(weight, dtype=np.float64)) > 0
    data = np.where(mask, data, 0.0)
    if mask.any():
        # rounding: a background of 1e6 would drown what is summed below
        data = np.where(mask, data - np.median(data[mask]), 0.0)
    return data, mask


def _middle(mask: Mask) -> Array:
    """Mean position x, y of the pixels of a mask; the image's middle if it is empty."""
    rows, columns = mask.sum(1), mask.sum(0)
    if not mask.any():
        return np.array([(mask.shape[1] - 1) / 2, (mask.shape[0] - 1) / 2])
    total = rows.sum()
    x = columns @ np.arange(mask.shape[1]) / total
    y = rows @ np.arange(mask.shape[0]) / total
    return np.array([x, y])


def _displaced(mask: Mask, step: tuple[int, int]) -> Mask:
    """Move a mask by (rows, columns); nothing comes in from outside."""
    moved = np.zeros_like(mask)
    into, out = [], []
    for n, s in zip(mask.shape, step, strict=True):
        into.append(slice(max(s, 0), n + min(s, 0)))
        out.append(slice(max(-s, 0), n + min(-s, 0)))
    moved[tuple(into)] = mask[tuple(out)]
    return moved


def _peak(flat: list[Array], masks: tuple[Mask, Mask], reach: int) -> CoarsePeak:
    first, second = (np.where(mask, image, 0.0) for image, mask in zip(flat, masks, strict=True))
    return coarse_peak(*correlation_map(first, second, masks[0], masks[1], reach))


def _judged(found: CoarsePeak, flat: list[Array]) -> CorrelationStatus:
    if not all(image.any() for image in flat):
        return CorrelationStatus.NO_SIGNAL
    if found.n_pixels < _MIN_PIXELS:
        return CorrelationStatus.NO_OVERLAP
    if not found.significance > _SIGNIFICANT:
        return CorrelationStatus.NO_SIGNAL
    if found.at_edge:
        return CorrelationStatus.AT_LIMIT
    return CorrelationStatus.AMBIGUOUS if found.rival > 0 else CorrelationStatus.OK


def _prepared(image: Array, mask: Mask, sigma: float) -> tuple[Array, Mask]:
    """Smooth and high-pass an image under a mask, in units of its scatter."""
    soft, good = smoothed(image, mask)
    flat = high_passed(soft, mask, sigma)
    scale = robust_sigma(flat[good]) if good.any() else 1.0
    return flat / (scale if scale > 0 else 1.0), good


def _fitted(
    prepared: list[tuple[Array, Mask]], found: CoarsePeak, centre: Array, options: Correlating
) -> ImageFit:
    (one, good_1), (two, good_2) = prepared
    block = options.corr_block
    start = np.array([found.dx, found.dy, 0.0])
    rotate = options.corr_rotation
    fit = fit_images(one, two, good_1, good_2, start, centre=centre, rotate=rotate, block=block)
    if options.corr_flow and bool(np.isfinite(fit.shift).all()):
        start, scale = np.array([*fit.shift, fit.rotation]), _scale(fit)
        one, two = one * scale, two / scale
        there = flow_shift(one, two, good_1, good_2, start, centre=fit.centre, block=block)
        # and back, so that it does not matter which image is called first
        back = flow_shift(
            two, one, good_2, good_1, -start, centre=fit.centre + fit.shift, block=block
        )
        if there is not None and back is not None:
            # the rotation stays that of the fit
            cov = fit.cov.copy()
            cov[:2, 2] = cov[2, :2] = 0.0
            # both ways have the same noise
            cov[:2, :2] = 0.5 * (there[1] + back[1])
            fit = replace(fit, shift=0.5 * (there[0] - back[0]), cov=cov)
    return fit


def _scale(fit: ImageFit) -> float:
    """Return what brings both images to one brightness, each by half of the ratio."""
    return math.sqrt(fit.flux_ratio) if fit.flux_ratio > 0 else 1.0


def _result(fit: ImageFit, found: CoarsePeak, max_shift: float) -> ImageShift:
    away = np.abs(fit.shift - [found.dx, found.dy]).max()
    status = CorrelationStatus.OK
    if not (np.isfinite(fit.cov).all() and fit.flux_ratio > 5.0 * fit.flux_ratio_error):
        status = CorrelationStatus.NO_SIGNAL
    elif not (fit.converged and away < _LEAVE):
        status = CorrelationStatus.NOT_CONVERGED
    elif np.abs(fit.shift).max() > max_shift:
        status = CorrelationStatus.AT_LIMIT
    return ImageShift(
        status=status,
        dx=float(fit.shift[0]),
        dy=float(fit.shift[1]),
        rotation=fit.rotation,
        cov=fit.cov,
        centre=fit.centre,
        flux_ratio=fit.flux_ratio,
        flux_ratio_error=fit.flux_ratio_error,
        correlation=found.value,
        significance=found.significance,
        rival=found.rival,
        n_pixels=fit.n_pixels,
        n_iter=fit.n_iter,
    )


def _failed(status: CorrelationStatus, centre: Array, found: CoarsePeak | None) -> ImageShift:
    nan = float("nan")
    return ImageShift(
        status=status,
        dx=found.dx if found else nan,
        dy=found.dy if found else nan,
        rotation=0.0,
        cov=np.full((3, 3), np.nan),
        centre=centre,
        flux_ratio=nan,
        flux_ratio_error=nan,
        correlation=found.value if found else nan,
        significance=found.significance if found else 0.0,
        rival=found.rival if found else 0.0,
        n_pixels=found.n_pixels if found else 0,
        n_iter=0,
    )
