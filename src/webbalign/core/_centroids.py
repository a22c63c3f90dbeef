"""Centroids that hold for undersampled stars: the frame's own effective PSF, fitted to each star.

The rounds alternate between the stars, the shape of the PSF, pixels that belong to neither (cosmic
rays, hot pixels that no flag tells of) and the light of the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from webbalign.core._detection import Frame, stamps
from webbalign.core._star_fit import (
    Cutouts,
    Psf,
    StarFits,
    fit_stars,
    mean_psf,
    model_variance,
    refine,
    shape_errors,
)

__all__ = ["NO_STAR", "Centroids", "fit_centroids", "stamp_radius"]

RADIUS = 2.0  # of the fit, FWHM
ROUNDS = 4
BUILDERS = 200  # stars that the PSF is made of, at most
# of the FWHM that are tried: of a filter that is known, and of a number that may mean anything
SCALES = np.array([0.85, 0.92, 1.0, 1.1, 1.2])
WIDE_SCALES = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.45, 1.7, 2.0])
CLEARLY = 1.3  # ratio of misfits
# a source that fits the PSF worse than this (see Centroids.misfit) does not look like a star
NO_STAR = 0.3
OUTLIER = 6.0  # sigma
BRIGHT = 50.0  # signal to noise of stars that tell the errors of the model
LARGEST_EXCESS = 0.1
MODEL_SHARE = 0.4
DEBUG = 0


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
    psf = mean_psf(fwhm)
    for scales in (SCALES,) if known else (WIDE_SCALES, SCALES):
        psf = _scaled(raw, psf, scales)
    cutouts, fits = raw, fit_stars(raw, psf, steps=4)
    for _ in range(ROUNDS):
        builders = _builders(cutouts, fits, psf)
        if len(builders):
            psf = refine(cutouts[builders], _subset(fits, builders), psf)
            if DEBUG:
                print("   ", psf.amplitudes.round(1), psf.excess, len(builders))
            psf = replace(psf, excess=_excess(cutouts, fits, builders))
        cutouts = _without_others(frame, raw, fits, y, x)
        cutouts = replace(cutouts, used=good & ~_outliers(fits, psf, half))
        fits = fit_stars(cutouts, psf, fits, steps=2)
    return _described(cutouts, fits, psf, y, x)


def _subset(fits: StarFits, index: np.ndarray) -> StarFits:
    return StarFits(**{name: values[index] for name, values in vars(fits).items()})


def _scaled(cutouts: Cutouts, psf: Psf, scales: np.ndarray) -> Psf:
    """Return the PSF at the FWHM that suits the bright sources, if the given one does not.

    The more undersampled the stars are, the less they tell of their own width; so what was given
    stands unless something else is clearly better.
    """
    # by flux, not by peak: stars in the middle of a pixel have a high peak and look narrow
    brightest = np.argsort(-(cutouts.pixels * _core(cutouts.half, psf.fwhm)).sum(axis=(1, 2)))[:60]
    cutouts = cutouts[brightest]

    light = _core_sum(cutouts, np.square(cutouts.pixels) - cutouts.variance, psf.fwhm)

    def score(scale: float) -> float:
        fits = fit_stars(cutouts, replace(psf, fwhm=psf.fwhm * scale), steps=4)
        left = _core_sum(cutouts, np.square(fits.residual) - cutouts.variance, psf.fwhm)
        return float(np.median(left / light))

    scores = np.array([score(scale) for scale in scales])
    best = int(np.argmin(scores))
    given, least = np.sqrt(np.maximum([scores[scales == 1][0], scores[best]], 0))
    if given < CLEARLY * least + 0.025:
        return psf
    if best in (0, len(scales) - 1):
        return replace(psf, fwhm=psf.fwhm * scales[best])
    near = slice(best - 1, best + 2)
    square, slope, _ = np.polyfit(np.log(scales[near]), scores[near], 2)
    scale = np.exp(-slope / (2 * square)) if square > 0 else scales[best]
    return replace(psf, fwhm=psf.fwhm * float(np.clip(scale, scales[best - 1], scales[best + 1])))


def _core(half: int, fwhm: float) -> np.ndarray:
    side = np.arange(-half, half + 1)
    core: np.ndarray = np.hypot(side, side[:, None]) <= max(fwhm, 1.5)
    return core


def _core_sum(cutouts: Cutouts, values: np.ndarray, fwhm: float) -> np.ndarray:
    total: np.ndarray = (values * (cutouts.used & _core(cutouts.half, fwhm))).sum(axis=(1, 2))
    return total


def _misfit(cutouts: Cutouts, fits: StarFits, fwhm: float) -> np.ndarray:
    beyond = _core_sum(cutouts, np.square(fits.residual) - cutouts.variance, fwhm)
    model = np.square(fits.flux[:, None, None] * fits.shape)
    return np.sqrt(np.maximum(beyond, 0) / np.maximum(_core_sum(cutouts, model, fwhm), 1e-300))


def _builders(cutouts: Cutouts, fits: StarFits, psf: Psf) -> np.ndarray:
    """Choose the sources to make the PSF of, as indices: bright, whole, and like most others."""
    misfit = _misfit(cutouts, fits, psf.fwhm)
    snr = fits.flux / np.sqrt(fits.covariance[:, 0, 0])
    whole = (cutouts.used | ~_core(cutouts.half, psf.fwhm)).all(axis=(1, 2))
    usable = np.flatnonzero(
        whole & (snr > 10) & (np.abs(fits.offset).max(axis=1) < max(1.0, psf.fwhm / 2))
    )
    if not len(usable):
        return usable
    brightest = usable[np.argsort(-fits.flux[usable])[: 2 * BUILDERS]]
    # a field may hold more galaxies than stars, but those are not alike
    limit = max(2.5 * float(np.quantile(misfit[brightest], 0.25)), 0.08)
    limit = min(limit, NO_STAR)
    return brightest[misfit[brightest] < limit][:BUILDERS]


def _excess(cutouts: Cutouts, fits: StarFits, builders: np.ndarray) -> float:
    """Estimate the relative error of the model from the scatter of bright stars beyond noise."""
    snr = fits.flux[builders] / np.sqrt(fits.covariance[builders, 0, 0])
    bright = builders[snr > BRIGHT]
    if len(bright) < 3:
        return 0.0
    used = cutouts.used[bright]
    spread = model_variance(fits.shape[bright])
    model = np.square(fits.flux[bright])[:, None, None] * spread * used
    count = used.sum(axis=(1, 2))
    # in units of the noise, so that a bright star does not stand for its brightest pixel alone
    chi2 = (np.square(fits.residual[bright]) * used / cutouts.variance[bright]).sum(axis=(1, 2))
    unit = (model / cutouts.variance[bright]).sum(axis=(1, 2))
    estimate = np.median((chi2 - (count - 4)) / unit)
    return float(np.sqrt(np.clip(estimate, 0, LARGEST_EXCESS**2)))


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
    outliers &= ~_core(half, 0.75 * psf.fwhm)
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
    pure = fits.covariance @ (weighted.swapaxes(1, 2) @ weighted) @ fits.covariance
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
    core = _core(cutouts.half, psf.fwhm)
    sharpest = (fits.residual * (cutouts.used & core)).max(axis=(1, 2))
    sharpest = sharpest / (flux * fits.shape.max(axis=(1, 2)))
    light = np.square(fits.shape) * core
    covered = (light * cutouts.used).sum(axis=(1, 2)) / light.sum(axis=(1, 2))
    return Centroids(
        x=x + fits.offset[:, 0],
        y=y + fits.offset[:, 1],
        flux=flux,
        x_err=errors[:, 0],
        y_err=errors[:, 1],
        snr=flux / np.sqrt(fits.covariance[:, 0, 0]),
        misfit=_misfit(cutouts, fits, psf.fwhm),
        sharpest=sharpest,
        covered=covered,
        psf=psf,
    )
