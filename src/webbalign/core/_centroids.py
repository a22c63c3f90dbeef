"""Centroids that hold for undersampled stars: the frame's own effective PSF, fitted to each star.

The rounds alternate between the stars, the shape of the PSF, pixels that belong to neither (cosmic
rays, hot pixels that no flag tells of) and the light of the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from webbalign.core._detection import Frame, stamps
from webbalign.core._psf_choice import (
    SCALES,
    WIDE_SCALES,
    builders_of,
    core_pixels,
    covered,
    misfits,
    model_excess,
    suited,
)
from webbalign.core._star_fit import (
    Cutouts,
    Psf,
    StarFits,
    fit_stars,
    mean_psf,
    refine,
    shape_errors,
)

__all__ = ["NO_STAR", "Centroids", "fit_centroids", "stamp_radius"]

RADIUS = 2.0  # of the fit, FWHM
ROUNDS = 4
STEEP = 0.05  # noise of a pixel per px; below this the fit is better off without slopes
LEAST_FAINT = 10
# a source that fits the PSF worse than this (see Centroids.misfit) does not look like a star
NO_STAR = 0.3
OUTLIER = 6.0  # sigma
MODEL_SHARE = 0.4


@dataclass(frozen=True)
class Centroids:
    """Fitted stars; arrays (n,), positions 0-based px.

    Attributes
    ----------
    x, y, flux : ndarray
    x_err, y_err : ndarray
        One-axis standard deviations, px: the noise, the errors of the PSF, and what a source that
        is no star deviates from it.
    snr : ndarray
        Flux over its error.
    misfit : ndarray
        Rms of the pixels about the model beyond their noise, relative to the rms of the model,
        within one FWHM: a few per cent for a star, near 1 for a cosmic ray.
    sharpest : ndarray
        Largest residual of a pixel within one FWHM, relative to the model's peak: what is sharper
        than any star leaves pixels as bright as itself, what is wider does not.
    covered : ndarray
        Fraction of the PSF's core (by weight in the fit) that good pixels cover.
    psf : Psf
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    snr: np.ndarray
    misfit: np.ndarray
    sharpest: np.ndarray
    covered: np.ndarray
    psf: Psf


def stamp_radius(fwhm: float) -> int:
    """Half the side of the stamps, px; room for the largest scale is not needed."""
    return max(3, int(np.ceil(RADIUS * fwhm)))


def fit_centroids(
    frame: Frame,
    variance: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    fwhm: float,
    *,
    known: bool = True,
) -> Centroids:
    """Fit all sources of a frame.

    Parameters
    ----------
    frame : Frame
        Its margin is at least :func:`stamp_radius`.
    variance : ndarray (n, m, m)
        Of the noise of the pixels about each source, m = 2 stamp_radius + 1.
    y, x : ndarray (n,) of int
        Their brightest pixels, 0-based.
    fwhm : float
        FWHM of the PSF, px.
    known : bool, optional
        Whether it is that of the filter; otherwise it is only where the search begins.
    """
    half = stamp_radius(fwhm)
    side = np.arange(-half, half + 1)
    circle = np.hypot(side, side[:, None]) <= max(RADIUS * fwhm, 2.3)
    good = stamps(frame.good, y, x, half, frame.margin) & circle
    raw = Cutouts(stamps(frame.image, y, x, half, frame.margin).astype(np.float64), variance, good)
    raw = replace(raw, slope=_steepness(frame, raw, y, x))
    psf = mean_psf(fwhm)
    for scales in (SCALES,) if known else (WIDE_SCALES, SCALES):
        psf = suited(raw, psf, scales)
    cutouts, fits = raw, fit_stars(raw, psf, steps=4)
    for _ in range(ROUNDS):
        builders = builders_of(cutouts, fits, psf)
        if len(builders):
            psf = refine(cutouts[builders], _subset(fits, builders), psf)
            psf = replace(psf, excess=model_excess(cutouts, fits, builders))
        cutouts = _without_others(frame, raw, fits, y, x)
        cutouts = replace(cutouts, used=good & ~_outliers(fits, psf, half))
        fits = fit_stars(cutouts, psf, fits, steps=2)
    return _described(cutouts, fits, psf, y, x)


def _subset(fits: StarFits, index: np.ndarray) -> StarFits:
    return StarFits(**{name: values[index] for name, values in vars(fits).items()})


def _steepness(frame: Frame, cutouts: Cutouts, y: np.ndarray, x: np.ndarray) -> float:
    """Return the rms gradient of the sky beside the fainter sources, beyond what noise makes of it.

    In nebulosity a star's sky is a slope, and a slope moves a star.
    """
    faint = np.argsort(cutouts.pixels.sum(axis=(1, 2)))[: max(LEAST_FAINT, len(x) // 4)]
    half, nx = cutouts.half, frame.shape[1]
    apart = 2 * half + 1
    x = np.where(x + apart < nx, x + apart, np.maximum(x - apart, 0))[faint]
    good = stamps(frame.good, y[faint], x, half, frame.margin)
    pixels = stamps(frame.image, y[faint], x, half, frame.margin)
    count = good.sum(axis=(1, 2), keepdims=True)
    side = np.arange(-half, half + 1)
    found, noise = [], []
    for axis in (side, side[:, None]):
        lever = good * (axis - (good * axis).sum(axis=(1, 2), keepdims=True) / np.maximum(count, 1))
        total = np.maximum(np.square(lever).sum(axis=(1, 2)), 1)
        found.append((lever * pixels).sum(axis=(1, 2)) / total)
        noise.append(frame.sky.noise**2 / total)
    # robust: a neighbour makes a slope as well
    seen = 1.48 * float(np.median(np.abs(found)))
    slope = np.sqrt(max(seen**2 - 1.5 * float(np.median(noise)), 0.0))
    return float(slope) if slope > STEEP * frame.sky.noise else 0.0


def _outliers(fits: StarFits, psf: Psf, half: int) -> np.ndarray:
    """Pixels that no error of the PSF explains; never more than a few of a star.

    Those of the core stay: without them, a cosmic ray would be taken for what is left of it.
    """
    shape = np.abs(fits.shape)
    tolerance = 0.1 * shape + 0.03 * shape.max(axis=(1, 2), keepdims=True)
    flux = np.maximum(fits.flux, 0)[:, None, None]
    weight = fits.weight.reshape(shape.shape)
    sigma2 = np.divide(1, weight, out=np.full(shape.shape, np.inf), where=weight > 0)
    outliers = np.square(fits.residual) > OUTLIER**2 * (sigma2 + np.square(flux * tolerance))
    outliers &= ~core_pixels(half, 0.75 * psf.fwhm)
    outliers[outliers.sum(axis=(1, 2)) > 4] = False
    return outliers


def _without_others(
    frame: Frame, raw: Cutouts, fits: StarFits, y: np.ndarray, x: np.ndarray
) -> Cutouts:
    """Take the fitted light of all other sources from the stamps."""
    half, nx = raw.half, frame.image.shape[1]
    side = np.arange(-half, half + 1) + frame.margin
    index = (y[:, None] + side)[:, :, None] * nx + (x[:, None] + side)[:, None, :]
    own = np.maximum(fits.flux, 0)[:, None, None] * fits.shape
    pixels, inverse = np.unique(index.ravel(), return_inverse=True)
    total = np.bincount(inverse, own.ravel(), minlength=len(pixels))
    return replace(raw, pixels=raw.pixels - (total[inverse].reshape(own.shape) - own))


def _position_variance(cutouts: Cutouts, fits: StarFits, fwhm: float) -> np.ndarray:
    """Variance (n, 2) of displacement times flux.

    The errors of the model are taken for noise in each pixel when the pixels are weighted. They
    are alike in all stars, though, but for where in its pixel a star is; what they add to a
    position is therefore less, the better the stars are sampled. Measured on simulated stars.
    """
    variance = cutouts.variance.reshape(fits.weight.shape)
    weighted = fits.design * (fits.weight * np.sqrt(variance))[..., None]
    information = weighted.swapaxes(1, 2) @ weighted + np.diag(cutouts.prior)
    pure = fits.covariance @ information @ fits.covariance
    pure, total = (matrix[:, [1, 2], [1, 2]] for matrix in (pure, fits.covariance))
    share = min(MODEL_SHARE / fwhm**2, 1)
    result: np.ndarray = pure + share * (total - pure)
    return result


def _described(
    cutouts: Cutouts, fits: StarFits, psf: Psf, y: np.ndarray, x: np.ndarray
) -> Centroids:
    flux = np.where(fits.flux > 0, fits.flux, np.nan)
    noise = _position_variance(cutouts, fits, psf.fwhm) / flux[:, None] ** 2
    free = np.maximum(cutouts.used.sum(axis=(1, 2)) - 4, 1)
    # what is not a star has a position that is no better than its fit; chance is no misfit
    inflation = np.maximum(fits.chi2 - 2 * np.sqrt(2 / free), 1)
    errors = np.sqrt(noise * inflation[:, None] + shape_errors(fits, psf, cutouts.half))
    core = core_pixels(cutouts.half, psf.fwhm)
    sharpest = (fits.residual * (cutouts.used & core)).max(axis=(1, 2))
    sharpest = sharpest / (flux * fits.shape.max(axis=(1, 2)))
    return Centroids(
        x=x + fits.offset[:, 0],
        y=y + fits.offset[:, 1],
        flux=flux,
        x_err=errors[:, 0],
        y_err=errors[:, 1],
        snr=flux / np.sqrt(fits.covariance[:, 0, 0]),
        misfit=misfits(cutouts, fits, psf.fwhm),
        sharpest=sharpest,
        covered=covered(cutouts, fits, psf.fwhm),
        psf=psf,
    )
