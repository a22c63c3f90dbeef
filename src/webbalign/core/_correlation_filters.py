"""Masked filters that make two images of one field comparable: no background, no spikes.

All images are (ny, nx); a mask is True where a pixel may be used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, uniform_filter

__all__ = ["SMOOTHING", "Highpass", "compressed", "high_passed", "robust_sigma", "smoothed"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Gaussian sigma (px) of the smoothing before images are interpolated: white noise that is
# interpolated at half a pixel is smoother than at a whole one, which would draw shifts to halves
SMOOTHING = 1.0
# share of a kernel that has to lie on usable pixels
_SUPPORT = 0.7


def robust_sigma(values: Array) -> float:
    """Return the standard deviation of values (any shape) from their median absolute deviation."""
    if not values.size:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def smoothed(image: Array, mask: Mask, sigma: float = SMOOTHING) -> tuple[Array, Mask]:
    """Smooth an image by a Gaussian, leaving masked pixels out.

    Returns
    -------
    image : ndarray (ny, nx)
        0 where nothing usable is near.
    mask : ndarray (ny, nx) of bool
        Where most of the kernel lies on usable pixels, and all next neighbours do.
    """
    weight = gaussian_filter(mask.astype(np.float64), sigma, mode="constant", truncate=4.0)
    total = gaussian_filter(np.where(mask, image, 0.0), sigma, mode="constant", truncate=4.0)
    good = binary_erosion(mask, np.ones((3, 3)), border_value=0) & (weight > _SUPPORT)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0.0), good


def high_passed(image: Array, mask: Mask, sigma: float) -> Array:
    """Subtract the local mean of the usable pixels.

    Parameters
    ----------
    image : ndarray (ny, nx)
    mask : ndarray (ny, nx) of bool
    sigma : float
        Of the (nearly Gaussian) kernel, px.

    Returns
    -------
    ndarray (ny, nx)
        0 on masked pixels.
    """
    return Highpass(mask, sigma)(image)


class Highpass:
    """The filter of `high_passed` for many images under one mask.

    Parameters
    ----------
    mask : ndarray (ny, nx) of bool
    sigma : float
        Of the (nearly Gaussian) kernel, px.
    """

    def __init__(self, mask: Mask, sigma: float) -> None:
        self._half = max(round(np.sqrt(sigma**2 + 0.25)), 1)
        self._mask = mask
        weight = self._boxes(mask.astype(np.float64))
        self._near = mask & (weight > 1e-6)
        self._weight = np.where(self._near, weight, 1.0)

    def __call__(self, image: Array) -> Array:
        """Return the image less its local mean, 0 on masked pixels."""
        mean = self._boxes(np.where(self._mask, image, 0.0)) / self._weight
        return np.where(self._near, image - mean, 0.0)

    def _boxes(self, image: Array) -> Array:
        half = self._half
        # with room for all three boxes, so that an edge of the array is like any edge of the mask
        total = np.pad(image, 3 * half)
        # three boxes in a row are close to a Gaussian, and cost the same at any width
        for _ in range(3):
            total = uniform_filter(total, 2 * half + 1, mode="constant")
        return np.asarray(total[(slice(3 * half, -3 * half),) * 2])


def compressed(image: Array, mask: Mask) -> Array:
    """Compress the bright parts, so that no star or cosmic ray outweighs everything else.

    Linear within some 3 sigma of the pixels' own scatter, logarithmic beyond; 0 on masked pixels.
    """
    scale = 3.0 * robust_sigma(image[mask])
    if not scale > 0:
        scale = float(np.abs(image[mask]).max(initial=0.0)) or 1.0
    return np.where(mask, np.arcsinh(image / scale), 0.0)
