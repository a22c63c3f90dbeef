"""The shift fit under the noise of both images, which reaches the Cramer-Rao bound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from webbalign.core._shift_noise import DERIVATIVE_NOISE, gradients, sandwich, shrinkage
from webbalign.core.fourier import Shifter, real_inverse, shift_positive

__all__ = ["WeightedFit", "weighted_fit"]

Array = NDArray[np.float64]

# Each round takes new weights and derivatives; its step leaves a few per cent of its length, so
# the fit ends after a step of less than this fraction of the standard errors.
_MAX_ROUNDS = 20
_CLOSE = 0.3
# Rings in |k| up to Nyquist for the power spectrum
_RINGS = 32
# The correlation of variances with noise is measured on pixels brighter than this many sigma,
# if there are so many
_FAINT = 3.0
_LEAST_PIXELS = 30
# A variance is corrected by at most this factor
_MAX_CORRECTION = 4.0


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
    Solves sum(w^2 J r / v) = 0 with r = T - b S_d, v = v_T + b^2 v_S,d. The derivatives J are those
    of the best estimate of the common image, mu = T - r v_T / v, whose noise is independent of that
    of r: with J from S_d, as least squares with fixed weights has it, the flux ratio would come out
    too small by sum(v_S)/sum(S^2) (errors in variables), and J would be noisier. Both images'
    values of mu are nuisance parameters, one per pixel; this is the score that is left after
    eliminating them (see W. A. Fuller, Measurement Error Models, 1987). The covariance is A^-1 B
    A^-T with A = sum(w^2 J J^T / v) for J without its noise, B = sum(w^4 J J^T / v) with it.
    """
    parameters = np.array(start, dtype=np.float64)
    converged = False
    for n_iter in range(1, _MAX_ROUNDS + 1):  # noqa: B007
        equations = _linearised(psf, psf_variance, weight2, science, science_variance, parameters)
        if not np.linalg.det(equations.slope) > 0:
            break
        step = np.linalg.solve(equations.slope, equations.weighted @ equations.residual.ravel())
        size = np.sqrt(max(float(step @ np.linalg.solve(equations.covariance, step)), 0.0))
        # a poor start must not throw the fit out of its valley
        ratio = parameters[2]
        step /= max(1.0, np.abs(step[:2]).max() / 0.5, abs(step[2]) / (0.5 * abs(ratio)))
        parameters = parameters + step
        converged = bool(size < _CLOSE)
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

    The weighted derivatives are (3, npix), `weight` is w^2 / v and `residual` T - b S_d, both
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
    residual = psf - ratio * science.shifted(dx, dy)
    variance = ratio**2 * shift_positive(science_variance, dx, dy)
    share = psf_variance / (psf_variance + variance)
    model = psf - residual * share
    total = _decorrelated(psf_variance, variance, residual, share, model, weight2)
    weight = weight2 / total
    # w^2 / v times the variance of the model
    noise = weight * psf_variance * (1 - share)
    rows = gradients(model) * np.array([-1.0, -1.0, 1 / ratio])[:, None]
    gains = np.array([DERIVATIVE_NOISE, DERIVATIVE_NOISE, ratio**-2])
    weighted, kept = _denoised(rows, np.sqrt(weight), noise, gains)
    slope = weighted @ rows.T - np.diag(gains * kept)
    # infinite variance goes with zero weight
    finite = np.where(weight > 0, total, 0.0).ravel()
    score = (weighted * finite) @ weighted.T
    return _Equations(weighted, slope, sandwich(slope, score), weight, residual)


def _denoised(rows: Array, white: Array, noise: Array, gains: Array) -> tuple[Array, Array]:
    """Return the weighted derivatives, freed of most of their noise.

    The derivatives times `white` = w / sqrt(v) have noise of a known power, `gains` times `noise`:
    in each block of pixels, and at each |k|, where that of the gradients grows as k^2. Each is
    multiplied by the share of the signal, as a Wiener filter does: far from the star, where most
    pixels are, and at high frequencies there is nothing but noise, which would add to that of the
    fit. Any factors leave the fit unbiased, since the noise of the derivatives is independent of
    that of the residuals.

    Parameters
    ----------
    rows : numpy.ndarray
        Derivatives (3, npix).
    white, noise : numpy.ndarray
        (ny, nx): w / sqrt(v), and its square times the variance of the model.
    gains : numpy.ndarray
        Variance of each derivative for unit variance of the model.

    Returns
    -------
    weighted : numpy.ndarray
        Derivatives times w^2 / v, shape (3, npix).
    kept : numpy.ndarray
        sum(noise) over what was kept of each: in the product of `weighted` and `rows` the noise of
        the derivatives contributes `gains` times this.
    """
    shape = (white.shape[0], white.shape[1])
    whitened = (rows * white.ravel()).reshape(3, *shape)
    shrink = shrinkage(whitened, noise, gains)
    kept = np.array([np.vdot(factors, noise) for factors in shrink])[[0, 0, 1]]
    for image, factors in zip(whitened, shrink[[0, 0, 1]], strict=True):
        image *= factors
    level = float(np.vdot(shrink[0] ** 2, noise)) * gains[0] / DERIVATIVE_NOISE
    kept[:2] *= _filter_gradients(whitened[:2], level)
    whitened *= white
    return whitened.reshape(3, -1), kept


def _filter_gradients(images: Array, level: float) -> float:
    """Apply a Wiener filter in |k| to two gradients (2, ny, nx) in place.

    The power of their noise together is `level` times k^2. Returns the share of it that is kept in
    the product of filtered and unfiltered noise.
    """
    shape = (images.shape[1], images.shape[2])
    spectra = scipy.fft.rfft2(images, workers=1)
    ring, counts, k2 = _rings(shape)
    total, growth = np.bincount(ring, counts), np.bincount(ring, k2 * counts)
    parts = spectra.view(np.float64).reshape(2, ring.size, 2)
    power = np.bincount(ring, np.einsum("ijk,ijk->j", parts, parts) * counts)
    share = np.clip(1 - level * growth / np.maximum(power, np.finfo(float).tiny * total), 0.0, 1.0)
    for image, spectrum in zip(images, spectra, strict=True):
        spectrum *= share[ring].reshape(spectrum.shape)
        image[:] = real_inverse(spectrum, shape)
    return float((share * growth).sum() / growth.sum())


@lru_cache(maxsize=4)
def _rings(shape: tuple[int, int]) -> tuple[NDArray[np.intp], Array, Array]:
    """Return, for each coefficient of a half spectrum: ring in |k|, multiplicity, k^2."""
    kx = 2 * np.pi * scipy.fft.rfftfreq(shape[1])
    ky = 2 * np.pi * scipy.fft.fftfreq(shape[0])[:, None]
    k2 = kx**2 + ky**2
    counts = np.full(k2.shape, 2.0)
    counts[:, 0] = 1
    if shape[1] % 2 == 0:
        counts[:, -1] = 1
    ring = (np.sqrt(k2) * (_RINGS / np.pi)).astype(np.intp)
    return ring.ravel(), counts.ravel(), k2.ravel()


def _decorrelated(
    psf_variance: Array,
    science_variance: Array,
    residual: Array,
    share: Array,
    model: Array,
    weight2: Array,
) -> Array:
    """Return the total variance, freed of its correlation with the residual.

    Variances taken from noisy counts are high where the noise is positive, which lowers the weight
    of these pixels and biases the fit. How far each variance follows the noise of its image is
    measured, by regressing it on the common image and on the part of the residual that belongs to
    its image; that second part is taken out. Variances that are free of noise come out as they
    were.
    """
    total = psf_variance + science_variance
    # what counts is the correlation where there is signal: it is another one where, say, negative
    # counts are taken as zero
    bright = (model**2 > _FAINT**2 * total) & (weight2 > 0)
    if np.count_nonzero(bright) < _LEAST_PIXELS:
        return total
    weight, common = weight2[bright] / total[bright], model[bright]
    out = total
    for variance, part in ((psf_variance, share), (science_variance, share - 1)):
        noise = residual * part
        basis = np.stack([np.ones(weight.size), common, noise[bright]])
        scale = np.sqrt(np.maximum((basis * basis) @ weight, np.finfo(float).tiny))
        basis /= scale[:, None]
        weighted = basis * weight
        solution = np.linalg.lstsq(weighted @ basis.T, weighted @ variance[bright], rcond=1e-12)[0]
        out = out - max(float(solution[2] / scale[2]), 0.0) * noise
    return np.clip(out, total / _MAX_CORRECTION, total * _MAX_CORRECTION)
