"""Noise of the shift fit: moments of the images, the weighted fit, covariances.

The parameters are (dx, dy, flux_ratio); mu = flux_ratio * S_d is the image common to both frames,
and J = (d mu/d dx, d mu/d dy, mu / flux_ratio) its derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from webbalign.core.fourier import Shifter, real_inverse, shift_phases, shift_positive

__all__ = ["Moments", "WeightedFit", "gradients", "moments", "sandwich", "weighted_fit"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Variance of the Fourier derivative of white noise of unit variance: the mean of k^2 over |k| < pi
DERIVATIVE_NOISE = np.pi**2 / 3
_NOISE_GAINS = np.array([DERIVATIVE_NOISE, DERIVATIVE_NOISE, 1.0])

# Rounds with new weights and derivatives, and steps within a round; a round or the fit ends when a step
# was below this fraction of the standard errors
_MAX_ROUNDS = 10
_MAX_STEPS = 4
_STEP_TOLERANCE = 1e-4
_ROUND_TOLERANCE = 2e-2
# The derivatives are shrunk in blocks of this width (px), to zero below this excess over their noise
_BLOCK = 16
_LEAST_EXCESS = 0.4
# Rings in |k| up to Nyquist for the power spectrum
_RINGS = 32
# A variance is corrected by at most this factor
_MAX_CORRECTION = 4.0


def gradients(image: Array) -> Array:
    """Return an image with its gradients, (d/dx, d/dy, 1), as rows of a matrix (3, npix)."""
    shape = (image.shape[0], image.shape[1])
    return _gradients(scipy.fft.rfft2(image, workers=1), shape, image)


def _gradients(spectrum: Complex, shape: tuple[int, int], image: Array | None = None) -> Array:
    # moving the content by +d is the opposite of moving along the gradient
    along_x = -shift_phases(shape[1], 0.0, half=True, order=1)[1]
    along_y = -shift_phases(shape[0], 0.0, order=1)[1]
    rows = np.empty((3, shape[0] * shape[1]))
    rows[0] = real_inverse(spectrum * along_x, shape).ravel()
    rows[1] = real_inverse(spectrum * along_y[:, None], shape).ravel()
    rows[2] = (real_inverse(spectrum.copy(), shape) if image is None else image).ravel()
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
    n_iter, converged = 0, False
    for _ in range(_MAX_ROUNDS):
        equations = _linearised(psf, psf_variance, weight2, science, science_variance, parameters)
        if not np.linalg.det(equations.slope) > 0:
            break
        for step_number in range(_MAX_STEPS):
            dx, dy, ratio = parameters
            residual = (
                psf - ratio * science.shifted(dx, dy) if step_number else equations.residual
            )
            step = np.linalg.solve(equations.slope, equations.weighted @ residual.ravel())
            # a poor start must not throw the fit out of its valley
            step /= max(1.0, np.abs(step[:2]).max() / 0.5, abs(step[2]) / (0.5 * abs(ratio)))
            parameters = parameters + step
            n_iter += 1
            size = float(np.sqrt(max(step @ np.linalg.solve(equations.covariance, step), 0.0)))
            if step_number == 0:
                converged = size < _ROUND_TOLERANCE
            if size < _STEP_TOLERANCE:
                break
        if converged:
            break
    used = equations.weight > 0
    return WeightedFit(
        parameters,
        equations.covariance,
        chi2=float(np.vdot(equations.weight, equations.residual**2)),
        expected=float(weight2[used].sum()),
        n_pixels=int(np.count_nonzero(used)),
        n_iter=n_iter,
        converged=converged,
    )


@dataclass(frozen=True)
class _Equations:
    """The linear equations of one round: slope @ step = weighted @ residual.

    The weighted derivatives are shape (3, npix), `weight` is w^2 / v and `residual` T - b S_d, both
    (ny, nx); `slope` and `covariance` are (3, 3).
    """

    weighted: Array
    slope: Array
    covariance: Array
    weight: Array
    residual: Array


def _linearised(
    psf: Array,
    psf_variance: Array,
    weight2: Array,
    science: Shifter,
    science_variance: Array,
    parameters: Array,
) -> _Equations:
    dx, dy, ratio = parameters
    shifted = ratio * science.shifted(dx, dy)
    variance = ratio**2 * shift_positive(science_variance, dx, dy)
    residual = psf - shifted
    share = psf_variance / (psf_variance + variance)
    model = psf - residual * share
    total = _decorrelated(psf_variance, variance, residual, share, model, weight2)
    weight = weight2 / total
    # w^2 / v times the variance of the model
    noise = weight * psf_variance * (1 - share)
    rows, smooth, gains = _smoothed(model, weight, noise)
    shrink = _shrinkage(smooth, weight, noise, gains[1])
    scale = np.array([-1.0, -1.0, 1 / ratio])
    weighted = shrink * smooth
    weighted *= scale[:, None] * weight.ravel()
    slope = weighted @ (rows * scale[:, None]).T
    slope -= np.diag(gains[0] * (shrink @ noise.ravel()) * scale**2)
    score = (weighted * total.ravel()) @ weighted.T
    return _Equations(weighted, slope, sandwich(slope, score), weight, residual)


def _smoothed(model: Array, weight: Array, noise: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of the model, the same freed of noise, and the gains of white noise.

    The second are those of the model after a Wiener filter: a function of |k|, from the power of the
    model in units of its noise, where it stands out of it. The gains (2, 3) are the factors by which the
    variance of white noise is multiplied: in the product of both gradients, and in the square
    of the second.
    """
    shape = (model.shape[0], model.shape[1])
    spectrum = scipy.fft.rfft2(model, workers=1)
    rows = _gradients(spectrum, shape, model)
    level = np.sqrt(_shrinkage(rows, weight, noise, _NOISE_GAINS)[2].reshape(shape) * weight)
    power = np.abs(scipy.fft.rfft2(level * model, workers=1)) ** 2
    ring, counts, kx2, ky2 = _rings(shape)
    mean = np.bincount(ring, power.ravel() * counts) / np.bincount(ring, counts)
    expected = float(np.vdot(level**2, np.divide(noise, weight, out=np.zeros(shape), where=weight > 0)))
    kept = np.clip(1 - expected / np.maximum(mean, np.finfo(float).tiny), 0.0, 1.0)
    response = kept[ring]
    gains = np.array(
        [[np.average(k2 * h, weights=counts) for k2 in (kx2, ky2, 1.0)] for h in (response, response**2)]
    )
    return rows, _gradients(spectrum * response.reshape(spectrum.shape), shape), gains


@lru_cache(maxsize=4)
def _rings(shape: tuple[int, int]) -> tuple[NDArray[np.intp], Array, Array, Array]:
    """Return, for each coefficient of a half spectrum: its ring in |k|, multiplicity, kx^2 and ky^2."""
    kx = 2 * np.pi * scipy.fft.rfftfreq(shape[1])
    ky = 2 * np.pi * scipy.fft.fftfreq(shape[0])[:, None]
    kx2, ky2 = np.broadcast_arrays(kx**2, ky**2)
    counts = np.full(kx2.shape, 2.0)
    counts[:, 0] = 1
    if shape[1] % 2 == 0:
        counts[:, -1] = 1
    ring = (np.sqrt(kx2 + ky2) * (_RINGS / np.pi)).astype(np.intp)
    return ring.ravel(), counts.ravel(), kx2.ravel(), ky2.ravel()


def _shrinkage(rows: Array, weight: Array, noise: Array, gains: Array) -> Array:
    """Return factors (3, npix) that take the derivatives back where they are mostly noise.

    In each block of pixels the factor is the share of the signal in the power, as of a Wiener filter.
    Far from the star, where most pixels are, the derivatives hold nothing but noise.
    """
    shape = weight.shape
    power = (rows * rows * weight.ravel()).reshape(3, *shape)
    left, right = (_blocks(n) for n in shape)
    total = left @ power @ right.T
    expected = gains[:, None, None] * (left @ noise @ right.T)
    # one factor for both gradients
    total, expected = (np.stack([a[0] + a[1], a[2]]) for a in (total, expected))
    ratio = np.divide(total, expected, out=np.ones_like(total), where=expected > 0)
    share = np.where(ratio > 1 + _LEAST_EXCESS, 1 - 1 / np.maximum(ratio, 1), 0.0)
    fine: Array = left.T @ share @ right
    return fine[[0, 0, 1]].reshape(3, -1)


@lru_cache(maxsize=8)
def _blocks(n: int) -> Array:
    """Return the matrix (blocks, n) that sums over blocks of pixels."""
    return (np.arange(n) // _BLOCK == np.arange(-(-n // _BLOCK))[:, None]).astype(np.float64)


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
