"""What the motion of the star adds to the scatter of a stack of integrations.

The pointing jitters by some milliarcseconds between integrations, and so the bright speckles change
by many times their noise. Where that happens

1. the part that is a shift and a change of flux of the median image is fitted and removed for each
   integration;
2. from ten integrations on, the patterns in time that the remaining changes have in common are
   found (principal components; behind a coronagraph the image of a moved star is no moved image)
   and removed pixel by pixel with a fit that cosmic rays cannot pull;
3. what is left beyond the noise is measured by its own scatter, in time, in the neighbourhood and
   in the same integration, and returned as a variance.

No property of an instrument enters. All fits are robust: a residual beyond three sigma counts as
three sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from webbalign.core._patterns import CLIP, EXCESS, clip, remove_patterns
from webbalign.core._place import Place, box_mean
from webbalign.core.stack_median import robust_variance, stack_median

__all__ = ["Motion", "find_zone", "model_motion"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# a star that moves by less than this many pixels, or changes a pixel by less than this many sigma,
# is of no concern: together they say where it is bright enough to matter
_LARGEST_MOTION = 0.2
_SMALLEST_CHANGE = 0.5
# integrations from which on patterns in time can be told from cosmic rays, and from which on a
# pixel's own scatter is trusted besides that of its neighbours
_ENOUGH_FOR_PATTERNS = 10
_ENOUGH_FOR_PIXELS = 6
# with fewer integrations the excess is rough, and a cluster of hits in the wings of the star could
# hide itself: neighbours count only where the excess is this large, up to this factor in variance
_DEEP = 4.0
_LARGEST_FACTOR = 2.5
# pixels that scatter as one, speckles being about two pixels wide
_SPECKLE = 4.0


@dataclass(frozen=True)
class Motion:
    """The pixels that the moving star disturbs, with what remains of the disturbance.

    Attributes
    ----------
    pixels : tuple of two ndarrays of int, shape (npix,)
        Rows and columns.
    residuals : ndarray of float64, shape (n, npix)
        Integration less median and motion, scaled to the variance of the noise; NaN where the
        integration has no value.
    excess : ndarray of float64, shape (n, npix)
        Variance of the residuals beyond that of the noise.
    freedom : float
        Degrees of freedom from which a value of `excess` was estimated.
    n_patterns : int
        Patterns in time that were removed.
    """

    pixels: tuple[NDArray[np.intp], NDArray[np.intp]]
    residuals: Floats
    excess: Floats
    freedom: float
    n_patterns: int

    def threshold(self, snr: float) -> float:
        """Return the limit in units of sqrt(excess), as rare as `snr` sigma of normal noise.

        An excess estimated from few values makes large residuals less rare: Student's t.
        """
        return float(-special.stdtrit(self.freedom, special.ndtr(-snr)))


def find_zone(median: NDArray, scatter: Floats, noise: Floats) -> Mask:
    """Find where the motion of the star changes the image by more than its noise.

    Parameters
    ----------
    median : ndarray, shape (ny, nx)
        Median over the integrations.
    scatter : ndarray, shape (ny, nx)
        Variance over the integrations.
    noise : ndarray, shape (ny, nx)
        Variance that the errors predict.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True where the gradient of the image is steep enough and the scatter exceeds the noise.
    """
    valid = np.isfinite(median) & np.isfinite(scatter) & np.isfinite(noise) & (noise > 0)
    noise = np.where(valid, noise, 1.0)
    # one wild pixel must not count for its whole neighbourhood
    ratio = np.where(valid, np.minimum(scatter / noise, 10.0), 1.0)
    slope = _squared_gradient(np.where(valid, median, 0.0), valid) / noise
    steep = box_mean(np.minimum(slope, 1e6), 5) > (_SMALLEST_CHANGE / _LARGEST_MOTION) ** 2
    zone = ndimage.binary_opening((box_mean(ratio, 9) > EXCESS) & steep)
    return ndimage.binary_dilation(zone, iterations=2) & valid


def model_motion(
    values: Floats, noise: Floats, median: NDArray, scatter: Floats, zone: Mask
) -> Motion:
    """Remove the motion of the star within a zone, and measure what is left.

    Parameters
    ----------
    values : ndarray of float64, shape (n, npix)
        The pixels of the zone, row after row, in each integration; NaN where there is no good one.
    noise : ndarray of float64, shape (n, npix)
        Their variance; NaN where it is unknown.
    median, scatter : ndarray, shape (ny, nx)
        As for :func:`find_zone`.
    zone : ndarray of bool, shape (ny, nx)
        From :func:`find_zone`; not empty.
    """
    place = Place(zone)
    typical = stack_median(noise)
    n = len(values)
    start = values - place.take(median)
    prior = np.maximum(place.mean(place.take(scatter), 5), typical)
    residuals = values - _fit_shifts(start, np.nan_to_num(median), prior, zone)
    residuals -= stack_median(residuals)
    freedom, n_patterns = n - 1.0, 0
    if n >= _ENOUGH_FOR_PATTERNS:
        residuals, basis = remove_patterns(residuals, typical, place)
        n_patterns = basis.shape[1] - 1
        freedom -= n_patterns
    box = 3 if n >= _ENOUGH_FOR_PATTERNS else 5
    own = robust_variance(residuals) - typical
    excess = np.maximum(place.mean(own, box), 0.0)
    if n >= _ENOUGH_FOR_PIXELS:
        excess = np.maximum(excess, own)
    shape = excess
    if n < _ENOUGH_FOR_PATTERNS:
        slope = _squared_gradient(np.nan_to_num(median), np.isfinite(median))
        shape = place.mean(place.take(slope), 3)
    excess = np.maximum(excess, _scaled(residuals, noise, shape))
    factor = _local_factor(residuals, noise, excess, place)
    if n < _ENOUGH_FOR_PATTERNS:
        factor = np.where(excess > _DEEP * noise, np.minimum(factor, _LARGEST_FACTOR), 1.0)
    excess = excess * factor
    if n_patterns:
        # a pattern's own error weighs most in the integration that moved farthest
        excess = excess / (1.0 - np.sum(basis**2, axis=1)[:, None])
    return Motion(place.pixels, residuals, excess, freedom * box**2 / _SPECKLE, n_patterns)


def _fit_shifts(start: Floats, median: NDArray, prior: Floats, zone: Mask) -> Floats:
    """Return the part (n, npix) of the deviations that is a shift or a change of flux."""
    slope_y, slope_x = np.gradient(median)
    basis = np.stack([slope_x[zone], slope_y[zone], median[zone]]).astype(np.float64)
    weighted = basis / prior
    normal = weighted @ basis.T
    # a constant image has no slope: its coefficients are 0
    solve = np.linalg.pinv(normal, rcond=1e-12, hermitian=True) @ weighted
    limit = CLIP * np.sqrt(prior)
    fitted = np.zeros_like(start)
    for _ in range(3):
        fitted = ((fitted + clip(start - fitted, limit)) @ solve.T) @ basis
    return fitted


def _scaled(residuals: Floats, noise: Floats, shape: Floats) -> Floats:
    """Return `shape` scaled for each integration to the excess of its residuals (n, npix).

    The factor is that of greatest likelihood, by iteration.
    """
    factor = np.zeros((len(residuals), 1))
    for _ in range(6):
        total = noise + factor * shape
        excess = np.minimum(residuals**2, CLIP**2 * total) - noise
        weight = shape / total**2
        scale = np.nansum(weight * shape, axis=1, keepdims=True)
        estimate = np.nansum(weight * excess, axis=1, keepdims=True)
        factor = np.divide(estimate, scale, out=np.zeros_like(scale), where=scale > 0).clip(0.0)
    return factor * shape


def _local_factor(residuals: Floats, noise: Floats, excess: Floats, place: Place) -> Floats:
    """Return by how much the residuals around a pixel, in its integration, exceed what is expected.

    The pixel itself does not count, so that a cosmic ray does not hide behind its own height; its
    neighbours count with at most three sigma each.
    """
    squares = np.minimum(residuals**2 / (noise + excess), CLIP**2)
    squares[~np.isfinite(squares)] = 1.0
    count = place.count(5)
    others = (place.mean(squares, 5) * count - squares) / np.maximum(count - 1.0, 1.0)
    return np.where(excess > noise, np.maximum(others, 1.0), 1.0)


def _squared_gradient(image: NDArray, valid: Mask) -> Floats:
    slope_y, slope_x = np.gradient(image.astype(np.float64))
    return np.where(valid, slope_x**2 + slope_y**2, 0.0)
