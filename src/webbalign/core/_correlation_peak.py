"""Normalised cross-correlation of masked images at whole-pixel shifts, and its highest peak.

The correlation coefficient of the pixels that two masked images have in common is found for all
shifts at once by transforms (Padfield 2012, DOI 10.1109/TIP.2011.2181402).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import label

__all__ = ["CoarsePeak", "coarse_peak", "correlation_map"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Another region of the map that reaches this share of the peak makes it ambiguous.
_RIVAL = 0.8
# Share of the largest number of common pixels that a shift needs to be looked at.
_COMMON = 0.3


@dataclass(frozen=True)
class CoarsePeak:
    """The highest correlation.

    Attributes
    ----------
    dx, dy : float
        Shift in px; NaN if nothing is in common.
    value : float
        Correlation coefficient.
    significance : float
        That in units of the scatter expected of two unrelated images with these power spectra.
    rival : float
        Highest value of any other region of the map over the peak's, 0 if there is none above
        80 %.
    at_edge : bool
        The highest value lies at the largest shift.
    n_pixels : int
        Pixels in common there.
    """

    dx: float
    dy: float
    value: float
    significance: float
    rival: float
    at_edge: bool
    n_pixels: int


def correlation_map(
    first: Array, second: Array, first_mask: Mask, second_mask: Mask, reach: int
) -> tuple[Array, Array, float]:
    """Correlate two masked images.

    Parameters
    ----------
    first, second : ndarray (ny, nx)
        0 on masked pixels.
    first_mask, second_mask : ndarray (ny, nx) of bool
    reach : int
        Largest shift in px, each axis.

    Returns
    -------
    coefficient : ndarray (2 * reach + 1, 2 * reach + 1)
        Item (reach + dy, reach + dx): the second image's content is the first's moved by (dx, dy).
        0 where too few pixels are in common.
    count : ndarray
        The same shape: pixels in common.
    sigma : float
        Scatter of the coefficient if the images had nothing to do with each other (Bartlett's
        formula: the sum over shifts of the product of both autocorrelations).
    """
    shape = tuple(scipy.fft.next_fast_len(n + reach, real=True) for n in first.shape)

    def transform(image: Array) -> NDArray[np.complex128]:
        return np.asarray(scipy.fft.rfft2(image, shape, workers=1))

    def window(product: NDArray[np.complex128]) -> Array:
        # the second image relative to the first: rows and columns -reach ... reach
        full = scipy.fft.irfft2(product, shape, workers=1)
        steps = np.arange(-reach, reach + 1)
        return np.asarray(full[np.ix_(steps, steps)])

    mask_1, mask_2 = (
        transform(first_mask.astype(np.float64)).conj(),
        transform(second_mask.astype(np.float64)),
    )
    image_1, image_2 = transform(first).conj(), transform(second)
    count = np.maximum(np.round(window(mask_1 * mask_2)), 0.0)
    safe = np.maximum(count, 1.0)
    sum_1, sum_2 = window(image_1 * mask_2), window(mask_1 * image_2)
    square_1 = window(transform(np.square(first)).conj() * mask_2) - sum_1**2 / safe
    square_2 = window(mask_1 * transform(np.square(second))) - sum_2**2 / safe
    cross = window(image_1 * image_2) - sum_1 * sum_2 / safe
    floor = 1e-9 * max(float(square_1.max()) * float(square_2.max()), 0.0)
    product = square_1 * square_2
    usable = (count >= max(_COMMON * count.max(), 16)) & (product > floor)
    coefficient = np.where(usable, cross / np.sqrt(np.where(usable, product, 1.0)), 0.0)
    return coefficient, count, _unrelated(image_1, image_2, shape)


def _unrelated(
    first: NDArray[np.complex128], second: NDArray[np.complex128], shape: tuple[int, ...]
) -> float:
    """Scatter of the coefficient of unrelated images with these half spectra."""
    twice = np.full(first.shape[1], 2.0)
    twice[0] = 1.0
    if shape[1] % 2 == 0:
        twice[-1] = 1.0
    power_1, power_2 = np.abs(first) ** 2 * twice, np.abs(second) ** 2
    total = float(power_1.sum()) * float((power_2 * twice).sum())
    # by Parseval; the sums are those over all frequencies
    return float(np.sqrt((power_1 * power_2).sum() / total)) if total > 0 else float("nan")


def coarse_peak(coefficient: Array, count: Array, sigma: float) -> CoarsePeak:
    """Find the highest peak of a map from `correlation_map`."""
    reach = coefficient.shape[0] // 2
    if not coefficient.any() or not sigma > 0:
        nan = float("nan")
        return CoarsePeak(nan, nan, nan, 0.0, 0.0, False, int(count.max(initial=0)))
    y, x = np.unravel_index(int(np.argmax(coefficient)), coefficient.shape)
    value = float(coefficient[y, x])
    at_edge = bool(max(abs(int(y) - reach), abs(int(x) - reach)) >= reach)
    return CoarsePeak(
        dx=float(x) - reach + (0.0 if at_edge else _vertex(coefficient[y, x - 1 : x + 2])),
        dy=float(y) - reach + (0.0 if at_edge else _vertex(coefficient[y - 1 : y + 2, x])),
        value=value,
        significance=value / sigma,
        rival=_rival(coefficient, value, sigma),
        at_edge=at_edge,
        n_pixels=int(count[y, x]),
    )


def _rival(coefficient: Array, value: float, sigma: float) -> float:
    """Height of the next region that is not connected with the peak above its level."""
    level = min(_RIVAL * value, value - 3.0 * sigma)
    if level <= 0:
        return 0.0
    regions, number = label(coefficient > level, np.ones((3, 3)))
    if number < 2:
        return 0.0
    own = regions.flat[int(np.argmax(coefficient))]
    return float(coefficient[(regions > 0) & (regions != own)].max() / value)


def _vertex(three: Array) -> float:
    """Offset of the vertex of the parabola through three values, at most half a step."""
    curvature = three[0] - 2 * three[1] + three[2]
    return float(np.clip((three[0] - three[2]) / (2 * curvature), -0.5, 0.5)) if curvature else 0.0
