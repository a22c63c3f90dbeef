"""Noise of the shift fit: moments of the images, the weighted fit, covariances.

The parameters are (dx, dy, flux_ratio); mu = flux_ratio * S_d is the image common to both frames,
and J = (d mu/d dx, d mu/d dy, mu / flux_ratio) its derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from webbalign.core.fourier import Shifter, real_inverse, shift_phases, shift_positive

__all__ = ["Moments", "WeightedFit", "gradients", "moments", "sandwich", "weighted_fit"]

Array = NDArray[np.float64]

# Variance of the Fourier derivative of white noise of unit variance: the mean of k^2 over |k| < pi
DERIVATIVE_NOISE = np.pi**2 / 3
_NOISE_GAINS = np.array([DERIVATIVE_NOISE, DERIVATIVE_NOISE, 1.0])

_MAX_ITERATIONS = 20
# The iteration ends when its last step was below this fraction of the standard errors
_TOLERANCE = 1e-3
# The derivatives are shrunk in blocks of this width (px), to zero below this excess over their noise
_BLOCK = 16
_LEAST_EXCESS = 0.4
# A variance is corrected by at most this factor
_MAX_CORRECTION = 4.0


def gradients(image: Array) -> Array:
    """Return an image with its gradients, (d/dx, d/dy, 1), as rows of a matrix (3, npix)."""
    shape = (image.shape[0], image.shape[1])
    spectrum = scipy.fft.rfft2(image, workers=1)
    # moving the content by +d is the opposite of moving along the gradient
    along_x = -shift_phases(shape[1], 0.0, half=True, order=1)[1]
    along_y = -shift_phases(shape[0], 0.0, order=1)[1]
    rows = np.empty((3, image.size))
    rows[0] = real_inverse(spectrum * along_x, shape).ravel()
    rows[1] = real_inverse(spectrum * along_y[:, None], shape).ravel()
    rows[2] = image.ravel()
    return rows


@dataclass(frozen=True)
class Moments:
    """Sums over one image with gradients G = (d/dx, d/dy, 1), variance v and weight w.

    Attributes
    ----------
    matrix : numpy.ndarray
        sum(w^4 v G G^T), shape (3, 3).
    squares : float
        sum(w^4 v^2).
    variance : float
        sum(w^2 v).
    """

    matrix: Array
    squares: float
    variance: float

    def scaled(self, factor: float) -> Moments:
        """Return the moments for variances multiplied by `factor`."""
        return Moments(self.matrix * factor, self.squares * factor**2, self.variance * factor)

    def without_noise(self) -> Array:
        """Return what `matrix` would be for the image without its noise."""
        clean = self.matrix - np.diag(self.squares * _NOISE_GAINS)
        # where there is nothing but noise the difference may be negative
        scale = np.sqrt(np.maximum(np.diag(self.matrix), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(clean / np.outer(scale, scale))
        half = vectors * np.sqrt(np.maximum(values, 0.0)) * scale[:, None]
        return half @ half.T


def moments(rows: Array, variance: Array, weight2: Array) -> Moments:
    """Return the moments of an image given by its :func:`gradients`; weight2 is w^2 (ny, nx)."""
    weighted = weight2 * variance
    kernel = (weight2 * weighted).ravel()
    return Moments(
        matrix=(rows * kernel) @ rows.T,
        squares=float(np.vdot(weighted, weighted)),
        variance=float(weighted.sum()),
    )


def sandwich(slope: Array, score: Array) -> Array:
    """Return the covariance slope^-1 score slope^-T (NaN if the slope is singular)."""
    scale = np.sqrt(np.abs(np.diag(slope)))
    if not (np.isfinite(scale).all() and scale.all()):
        return np.full_like(slope, np.nan)
    try:
        inverse = np.linalg.inv(slope / np.outer(scale, scale)) / np.outer(scale, scale)
    except np.linalg.LinAlgError:
        return np.full_like(slope, np.nan)
    covariance = inverse @ score @ inverse.T
    return (covariance + covariance.T) / 2


@dataclass(frozen=True)
class WeightedFit:
    """Outcome of :func:`weighted_fit`.

    Attributes
    ----------
    parameters : numpy.ndarray
        dx, dy (px), flux ratio.
    covariance : numpy.ndarray
        Shape (3, 3).
    chi2 : float
        sum(w^2 r^2 / v), whose expectation is `expected`.
    expected : float
        sum(w^2) over the pixels used.
    n_pixels, n_iter : int
        Pixels used; iterations.
    converged : bool
        Whether the last step was small.
    """

    parameters: Array
    covariance: Array
    chi2: float
    expected: float
    n_pixels: int
    n_iter: int
    converged: bool


def weighted_fit(
    psf: Array,
    psf_variance: Array,
    weight2: Array,
    science: Shifter,
    science_variance: Array,
    start: Array,
) -> WeightedFit:
    """Fit shift and flux ratio under the noise of both images.

    Parameters
    ----------
    psf, psf_variance, weight2 : numpy.ndarray
        PSF image T, its variance v_T and the squared weight w^2, (ny, nx), all finite.
    science : Shifter
        The science image S (periodic).
    science_variance : numpy.ndarray
        Its variance v_S (ny, nx), infinite for pixels that must not count.
    start : numpy.ndarray
        dx, dy, flux ratio.

    Notes
    -----
    Solves sum(w^2 J r / v) = 0 with r = T - b S_d, v = v_T + b^2 v_S,d. The derivatives J are those of
    the best estimate of the common image, mu = T - r v_T / v, whose noise is independent of that of r:
    with J from S_d, as least squares with fixed weights has it, the flux ratio would come out too
    small by sum(v_S)/sum(S^2) (errors in variables), and J would be noisier.
    """
    parameters = np.array(start, dtype=np.float64)
    covariance = np.full((3, 3), np.nan)
    chi2 = expected = 0.0
    n_pixels = n_iter = 0
    converged = False
    while n_iter < _MAX_ITERATIONS and not converged:
        n_iter += 1
        dx, dy, ratio = parameters
        shifted = ratio * science.shifted(dx, dy)
        variance = ratio**2 * shift_positive(science_variance, dx, dy)
        residual = psf - shifted
        share = psf_variance / (psf_variance + variance)
        model = psf - residual * share
        total = _decorrelated(psf_variance, variance, residual, share, model, weight2)
        weight = weight2 / total
        rows = gradients(model)
        noise = weight * psf_variance * (1 - share)
        shrink = _shrinkage(rows, weight, noise)
        rows *= np.array([[-1.0], [-1.0], [1 / ratio]])
        weighted = shrink * (rows * weight.ravel())
        slope = weighted @ rows.T
        score = (weighted * (shrink * weight2.ravel())) @ rows.T
        slope -= np.diag(_NOISE_GAINS * (shrink @ noise.ravel()) * [1, 1, ratio**-2])
        pull = weighted @ residual.ravel()
        chi2 = float(np.vdot(weight, residual**2))
        used = weight > 0
        n_pixels, expected = int(np.count_nonzero(used)), float(weight2[used].sum())
        if not np.linalg.det(slope) > 0:
            break
        covariance = sandwich(slope, score)
        step = np.linalg.solve(slope, pull)
        # a poor start must not throw the fit out of its valley
        step /= max(1.0, np.hypot(step[0], step[1]) / 0.5, abs(step[2]) / (0.5 * abs(ratio)))
        parameters = parameters + step
        converged = bool(step @ slope @ step < _TOLERANCE**2)
    return WeightedFit(parameters, covariance, chi2, expected, n_pixels, n_iter, converged)


def _shrinkage(rows: Array, weight: Array, noise: Array) -> Array:
    """Return factors (3, npix) that take the derivatives back where they are mostly noise.

    In each block of pixels the factor is the share of the signal in the power, as of a Wiener filter.
    Far from the star, where most pixels are, the derivatives hold nothing but noise.
    """
    shape = weight.shape
    power = (rows * rows * weight.ravel()).reshape(3, *shape)
    expected = _NOISE_GAINS[:, None, None] * noise
    blocks = tuple(np.arange(0, n, _BLOCK) for n in shape)
    sums = [
        np.add.reduceat(np.add.reduceat(image, blocks[1], axis=2), blocks[0], axis=1)
        for image in (power, expected)
    ]
    # one factor for both gradients
    sums = [np.stack([total[0] + total[1], total[2]]) for total in sums]
    ratio = np.divide(sums[0], sums[1], out=np.ones_like(sums[0]), where=sums[1] > 0)
    share = np.where(ratio > 1 + _LEAST_EXCESS, 1 - 1 / np.maximum(ratio, 1), 0.0)
    fine = np.repeat(np.repeat(share, _BLOCK, axis=1), _BLOCK, axis=2)[:, : shape[0], : shape[1]]
    return fine[[0, 0, 1]].reshape(3, -1)


def _decorrelated(
    psf_variance: Array,
    science_variance: Array,
    residual: Array,
    share: Array,
    model: Array,
    weight2: Array,
) -> Array:
    """Return the total variance, freed of its correlation with the residual.

    Variances taken from noisy counts are high where the noise is positive, which lowers the weight of
    these pixels and biases the fit. How far each variance follows the noise of its image is measured,
    by regressing it on the common image and on the part of the residual that belongs to that image;
    the second part is taken out. Variances that are free of noise come out as they were.
    """
    known = np.isfinite(science_variance)
    total = psf_variance + science_variance
    weight = np.where(known, weight2 / total, 0.0).ravel()
    out = total
    for variance, noise in (
        (psf_variance, residual * share),
        (science_variance, -residual * (1 - share)),
    ):
        finite = variance if known.all() else np.where(known, variance, 0.0)
        basis = np.stack([np.ones(model.size), model.ravel(), noise.ravel()])
        scale = np.sqrt(np.maximum((basis * basis) @ weight, np.finfo(float).tiny))
        basis /= scale[:, None]
        weighted = basis * weight
        solution = np.linalg.lstsq(weighted @ basis.T, weighted @ finite.ravel(), rcond=1e-12)[0]
        out = out - (max(solution[2], 0.0) / scale[2]) * noise
    return np.clip(out, total / _MAX_CORRECTION, total * _MAX_CORRECTION)
