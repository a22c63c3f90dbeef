"""Errors of the pixels of two images that are fitted to each other, and their flux ratio.

Each pixel's error is that of the background plus one that grows with the slope of the image there,
both found from what is left: stars that are sampled differently in the two images, or that
saturate, then count by their number and not by their flux.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from webbalign.core._correlation_filters import robust_sigma

__all__ = ["differences", "pixel_scales", "pixel_weights"]

Array = NDArray[np.float64]

# weights fall to a quarter at this many sigmas, to nothing far beyond
_SOFT = 4.0
# slopes (sigmas per px) that tell of displacements, and pixels to take at least
_STEEP, _STEEP_PIXELS = 10.0, 200
# squared residual over variance at the median of a normal distribution
_MEDIAN_CHI2 = 0.4549


def differences(one: Array, two: Array, ratio: float) -> Array:
    """Return the second image less the first; each meets the other half of the way in brightness.

    So what is left is the same, but for its sign, if the images are exchanged.
    """
    root = math.sqrt(ratio) if ratio > 0 else 1.0
    return np.asarray(two / root - one * root)


def pixel_weights(left: Array, variance: Array) -> Array:
    """Return inverse variances, outliers weighed down."""
    return np.asarray(1.0 / variance / (1.0 + left**2 / variance / _SOFT**2) ** 2)


def pixel_scales(one: Array, two: Array, steep: Array) -> tuple[float, float, float]:
    """Return the flux ratio, and the two parts of the variance of each pixel.

    The variance is that of flat parts, plus the square of the slope (`steep`) times that of an
    unknown displacement of each piece of the image; both from the residuals themselves.
    """
    flat = steep <= float(np.median(steep))
    quiet = robust_sigma(one[flat])
    noise_ratio = (robust_sigma(two[flat]) / quiet) ** 2 if quiet > 0 else 1.0
    # where there is structure: elsewhere the ratio is that of the noise
    telling = (steep / (steep + 4.0 * float(np.median(steep)) + 1e-300)) ** 2
    ratio = _ratio(one, two, telling / (steep + 1e-300), noise_ratio)
    noise = excess = 0.0
    for _ in range(2):
        left = differences(one, two, ratio)
        least = 1e-12 * float(np.mean(np.abs(one * two))) + 1e-300
        noise = max(robust_sigma(left[flat]) ** 2, least)
        excess = _excess(left**2, steep, noise)
        weight = pixel_weights(left, noise + excess * steep)
        ratio = _ratio(one, two, weight * telling, noise_ratio)
    return ratio, noise, excess


def _excess(squared: Array, steep: Array, noise: float) -> float:
    """Variance (px squared) of the displacement of the steepest parts, beyond the noise."""
    # where the slope says more than the noise, if there is such a place
    number = max(int(np.count_nonzero(steep > _STEEP**2 * noise)), min(_STEEP_PIXELS, len(steep)))
    rows = np.argpartition(steep, len(steep) - number)[len(steep) - number :]
    slope = np.maximum(steep[rows], 1e-300)
    typical = float(np.median(squared[rows] / slope)) / _MEDIAN_CHI2
    return max(typical - noise * float(np.median(1.0 / slope)), 0.0)


def _ratio(one: Array, two: Array, weight: Array, noise_ratio: float) -> float:
    """Slope of two against one, both with errors (Deming), through their means.

    `noise_ratio` is the variance of two over that of one. A plain regression would take the noise
    of the first image for structure; the ratio would be low, and what is left of the image pulls.
    """
    total = weight.sum()
    one, two = one - weight @ one / total, two - weight @ two / total
    weighted = weight * one
    own, cross, other = weighted @ one, weighted @ two, (weight * two) @ two
    if not cross > 0:
        return 0.0
    gap = other - noise_ratio * own
    return float((gap + np.sqrt(gap**2 + 4 * noise_ratio * cross**2)) / (2 * cross))
