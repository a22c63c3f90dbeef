"""Noise of the shift fit: what the noise of both images does to a fit under the mask alone.

The parameters are (dx, dy, flux_ratio); mu = flux_ratio * S_d is the image common to both frames,
and J = (d mu/d dx, d mu/d dy, mu / flux_ratio) its derivatives.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from webbalign.core._shift_objective import conjugate_spectrum, cross_sum
from webbalign.core.fourier import nearest_taps, real_inverse, shift_phases, shift_positive

__all__ = [
    "DERIVATIVE_NOISE",
    "NOISE_GAINS",
    "ScienceNoise",
    "ScoreMoments",
    "gradients",
    "sandwich",
    "score_moments",
    "score_of_mask",
    "shrinkage",
]

Array = NDArray[np.float64]
Floats = NDArray[Any]  # of either precision

# Variance of the Fourier derivative of white noise of unit variance: the mean of k^2 over |k| < pi
DERIVATIVE_NOISE = np.pi**2 / 3
NOISE_GAINS = np.array([DERIVATIVE_NOISE, DERIVATIVE_NOISE, 1.0])

# Derivatives are shrunk in blocks of this width (px), to zero below this excess over their noise
_BLOCK = 16
_LEAST_EXCESS = 0.4
# The sums for the covariance leave out the faintest pixels, which hold this part of them
_NEGLECTED = 3e-3
_SAMPLE = 8192


def gradients(image: Floats) -> Floats:
    """Return an image with its gradients, (d/dx, d/dy, 1), as rows of a matrix (3, npix).

    In the precision of the image.
    """
    shape = (image.shape[0], image.shape[1])
    spectrum = scipy.fft.rfft2(image, workers=1)
    # moving the content by +d is the opposite of moving along the gradient
    along_x = -shift_phases(shape[1], 0.0, half=True, order=1)[1].astype(spectrum.dtype)
    along_y = -shift_phases(shape[0], 0.0, order=1)[1].astype(spectrum.dtype)
    rows = np.empty((3, image.size), image.dtype)
    rows[0] = real_inverse(spectrum * along_x, shape).ravel()
    rows[1] = real_inverse(spectrum * along_y[:, None], shape).ravel()
    rows[2] = image.ravel()
    return rows


def shrinkage(whitened: Array, noise: Array, gains: Array) -> Array:
    """Return the share of the signal in the power of derivatives, block by block.

    Parameters
    ----------
    whitened : numpy.ndarray
        Derivatives (3, ny, nx): two gradients and the image.
    noise : numpy.ndarray
        Variance (ny, nx) of the image.
    gains : numpy.ndarray
        Variance of each derivative (3,) for unit variance of the image.

    Returns
    -------
    numpy.ndarray
        Shape (2, ny, nx): of both gradients together, and of the image.
    """
    left, right = (_blocks(n) for n in noise.shape)
    fine: Array = left.T @ _shares(_powers(whitened), noise, gains) @ right
    return fine


def _powers(rows: Floats) -> Floats:
    """Return the squares of both gradients together, and of the image: (2, ...) of (3, ...)."""
    powers = np.empty((2, *rows.shape[1:]), rows.dtype)
    np.multiply(rows[0], rows[0], out=powers[0])
    np.multiply(rows[1], rows[1], out=powers[1])
    powers[0] += powers[1]
    np.multiply(rows[2], rows[2], out=powers[1])
    return powers


def _shares(powers: Floats, noise: Floats, gains: Array) -> Array:
    """Return the share of the signal in the powers (2, ny, nx), of each block of pixels."""
    left, right = (_blocks(n).astype(powers.dtype) for n in noise.shape)
    found = (left @ powers @ right.T).astype(np.float64)
    per_block = (left @ noise @ right.T).astype(np.float64)
    expected = np.array([gains[0] + gains[1], gains[2]])[:, None, None] * per_block
    ratio = np.divide(found, expected, out=np.ones_like(found), where=expected > 0)
    shares: Array = np.where(ratio > 1 + _LEAST_EXCESS, 1 - 1 / np.maximum(ratio, 1), 0.0)
    return shares


@lru_cache(maxsize=8)
def _blocks(n: int) -> Array:
    """Return the matrix (blocks, n) that sums over blocks of pixels."""
    member = np.arange(n) // _BLOCK == np.arange(-(-n // _BLOCK))[:, None]
    return member.astype(np.float64)


def sandwich(slope: Array, score: Array) -> Array:
    """Return the covariance slope^-1 score slope^-T (NaN if the slope is singular)."""
    scale = np.sqrt(np.abs(np.diag(slope)))
    if not (np.isfinite(slope).all() and scale.all()):
        return np.full_like(slope, np.nan)
    try:
        inverse = np.linalg.inv(slope / np.outer(scale, scale)) / np.outer(scale, scale)
    except np.linalg.LinAlgError:
        return np.full_like(slope, np.nan)
    covariance: Array = inverse @ score @ inverse.T
    return (covariance + covariance.T) / 2


@dataclass(frozen=True)
class ScoreMoments:
    """The gradients G = (d/dx, d/dy, 1) of an image where they stand out of their noise.

    Attributes
    ----------
    pixels : numpy.ndarray
        Flat indices of the npix pixels kept.
    rows : numpy.ndarray
        G, shape (3, npix).
    variance, kernel : numpy.ndarray
        Variance of the image and w^4, shape (npix,).

    Notes
    -----
    Held in single precision, since there is one for each image of a stack; summed in double.
    """

    pixels: NDArray[np.int32]
    rows: NDArray[np.float32]
    variance: NDArray[np.float32]
    kernel: NDArray[np.float32]

    @cached_property
    def own(self) -> tuple[Array, Array]:
        """The :meth:`sums` for the variance of the image itself."""
        return self._sums(self.kernel.astype(np.float64) * self.variance)

    def sums(self, variance: Array) -> tuple[Array, Array]:
        """Return sum(w^4 v G G^T), shape (3, 3), and its noise, the diagonal of a matrix (3,).

        The variance v is that of the pixels kept, (npix,).
        """
        return self._sums(self.kernel.astype(np.float64) * variance)

    def _sums(self, weight: Array) -> tuple[Array, Array]:
        rows = self.rows.astype(np.float64)
        return (rows * weight) @ rows.T, float(weight @ self.variance) * NOISE_GAINS


def score_moments(image: Array, variance: Array, weight2: Array, *, known: bool) -> ScoreMoments:
    """Return the moments of an image under w^2 (ny, nx).

    Unless its variance is known no pixel is left out.
    """
    # in single precision, as they are held: it halves the time, which is most of that of a fit
    light, noise, squared = (a.astype(np.float32) for a in (image, variance, weight2))
    rows = gradients(light)
    powers = _powers(rows.reshape(3, *light.shape))
    kernel = squared * squared
    weight = kernel * noise
    if known:
        shares = _shares(powers * (squared / noise), squared, NOISE_GAINS)
        weight *= _on_pixels(np.any(shares, axis=0), light.shape)
    pixels = _foremost(powers, weight).astype(np.int32)
    return ScoreMoments(pixels, rows[:, pixels], noise.ravel()[pixels], kernel.ravel()[pixels])


def _on_pixels(blocks: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Spread values of blocks over their pixels (ny, nx)."""
    rows, columns = (np.arange(n) // _BLOCK for n in shape)
    return blocks[rows][:, columns]


def _foremost(powers: Floats, weight: Floats) -> NDArray[np.intp]:
    """Return the pixels (flat indices) that make up nearly all of sum(weight G G^T)."""
    tiny = np.finfo(weight.dtype).tiny
    weighted = (powers * (weight / max(weight.max(), tiny))).reshape(2, -1)
    part = (weighted / np.maximum(weighted.sum(axis=1, keepdims=True), tiny)).sum(axis=0)
    # The faint pixels are many and alike: a sample of them tells the threshold as well as all do,
    # whose sorting would take half of the time of a fit.
    step = max(part.size // _SAMPLE, 1)
    order = np.sort(part[::step])
    below = step * np.cumsum(order, dtype=np.float64)
    first = np.searchsorted(below, _NEGLECTED * part.sum(dtype=np.float64), side="right")
    return np.flatnonzero((part >= order[min(first, order.size - 1)]) & (part > 0))


class ScienceNoise:
    """The variance of a science image, at any shift.

    Parameters
    ----------
    variance, weight2 : numpy.ndarray
        Variance of the science image, and w^2 in the frame of the PSF images, (ny, nx).
    limit : int
        Largest shift, px.
    """

    def __init__(self, variance: Array, weight2: Array, limit: int) -> None:
        self._variance, self._weight2, self._limit = variance, weight2, limit
        self._whole: dict[tuple[int, int], tuple[Array, float]] = {}

    def at(self, pixels: NDArray[np.int32], dx: float, dy: float) -> Array:
        """Return :func:`~webbalign.core.fourier.shift_variance` at some pixels (flat indices)."""
        nx = self._variance.shape[1]
        edge, wide = self._edge, nx + 2 * self._edge
        # beyond its edges the variance is that of the edge
        places = pixels + (pixels // nx + edge) * (2 * edge) + (edge * nx + edge)
        total = np.zeros(pixels.size)
        for j, share_y in nearest_taps(min(max(dy, -self._limit - 1), self._limit + 1)):
            for i, share_x in nearest_taps(min(max(dx, -self._limit - 1), self._limit + 1)):
                total += (share_x * share_y) * self._continued[places - (j * wide + i)]
        return total

    @property
    def _edge(self) -> int:
        return self._limit + 2

    @cached_property
    def _continued(self) -> Array:
        return np.pad(self._variance, self._edge, mode="edge").ravel()

    def products(self, variance: Array, dx: float, dy: float) -> tuple[float, float]:
        """Return sum(w^4 v v_S,d) and sum(w^4 v_S,d^2), the shift rounded to whole pixels."""
        whole = (round(dx), round(dy))
        if whole not in self._whole:
            moved = self._weight2 * shift_positive(self._variance, *whole)
            self._whole[whole] = self._weight2 * moved, float(np.vdot(moved, moved))
        kernel, squares = self._whole[whole]
        return float(np.vdot(kernel, variance)), squares

    @cached_property
    def _sums(self) -> Array:
        """sum(w^2 v_S,d) at whole-pixel shifts, two px more than the limit."""
        weight2 = conjugate_spectrum(self._weight2)
        variance = scipy.fft.rfft2(self._variance, workers=1)
        shape = (self._variance.shape[0], self._variance.shape[1])
        return cross_sum(weight2, variance, shape).on_whole_pixels(self._limit + 2)

    def summed(self, dx: float, dy: float) -> tuple[float, Array]:
        """Return sum(w^2 v_S,d) and its derivatives in dx and dy, bilinear in the shift."""
        x, y = (int(np.floor(np.clip(d, -self._limit - 1, self._limit + 1))) for d in (dx, dy))
        middle = self._limit + 2
        corners = self._sums[middle + y : middle + y + 2, middle + x : middle + x + 2]
        along_x, along_y = np.array([1 - dx + x, dx - x]), np.array([1 - dy + y, dy - y])
        change = np.array([-1.0, 1.0])
        tilt = np.array([along_y @ corners @ change, change @ corners @ along_x])
        return float(along_y @ corners @ along_x), tilt


def score_of_mask(
    ratio: float,
    attenuation: float,
    of_psf: tuple[Array, Array],
    of_science: tuple[Array, Array],
    products: tuple[float, float],
    scales: tuple[float, float],
) -> Array:
    """Return the variance of half the first derivative of sum((w (T - b S_d))^2).

    Parameters
    ----------
    ratio : float
        b, as fitted.
    attenuation : float
        By how much it is too small: fitted over true.
    of_psf, of_science : tuple of numpy.ndarray
        :meth:`ScoreMoments.sums` of the PSF image for v_T and for v_S,d.
    products : tuple of float
        sum(w^4 v_T v_S,d) and sum(w^4 v_S,d^2).
    scales : tuple of float
        Factors that make v_T and v_S what they are.
    """
    own, other = scales
    # the derivatives come from T = (b / attenuation) S_d; the residual that the attenuation leaves
    # takes part in the effect of the noise of S on the flux ratio
    by_psf = np.array([-ratio, -ratio, 1]) * attenuation / ratio
    by_science = np.array([ratio, ratio, 1 - 2 * attenuation])
    score = own * _clean(of_psf, own) * np.outer(by_psf, by_psf)
    score += other * _clean(of_science, own) * np.outer(by_science, by_science)
    score += own * other * products[0] * np.diag(NOISE_GAINS * [ratio**2, ratio**2, 1])
    # S is noisy in both factors of the derivative with respect to the flux ratio
    score[2, 2] += 2 * (ratio * other) ** 2 * products[1]
    return score


def _clean(sums: tuple[Array, Array], own: float) -> Array:
    """Return sum(w^4 v G G^T) for an image without its noise, never negative."""
    matrix, noise = sums
    clean = matrix - np.diag(own * noise)
    with contextlib.suppress(np.linalg.LinAlgError):
        np.linalg.cholesky(clean)  # only what is left of a faint image may fail
        return clean
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(clean / np.outer(scale, scale))
    half = vectors * np.sqrt(np.maximum(values, 0.0)) * scale[:, None]
    return half @ half.T
