"""Which sources make the PSF of a frame, how wide it is, and how far it is from the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from webbalign.core._star_fit import Cutouts, Psf, StarFits, fit_stars, model_variance

__all__ = [
    "COVERED",
    "SCALES",
    "WIDE_SCALES",
    "builders_of",
    "core_pixels",
    "core_sum",
    "covered",
    "misfits",
    "model_excess",
    "suited",
]

BUILDERS = 200  # stars that the PSF is made of, at most
# of the FWHM that are tried: of a filter that is known, and of a number that may mean anything
SCALES = np.array([0.85, 0.92, 1.0, 1.1, 1.2])
WIDE_SCALES = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.45, 1.7, 2.0])
TRIED = 60  # sources, at most
CLEARLY = 1.3  # ratio of misfits
NO_BUILDER = 0.2  # misfit of a source that is not to make a PSF of
COVERED = 0.5  # least part of a star's core that must be seen
BRIGHT = 50.0  # signal to noise of stars that tell the errors of the model
FEWEST = 3  # sources that a PSF is made of in nebulae, bright or not
ENOUGH = 500.0  # signal to noise of all of them together
LARGEST_EXCESS = 0.1


def suited(cutouts: Cutouts, psf: Psf, scales: np.ndarray) -> Psf:
    """Return the PSF at the FWHM that suits the bright sources, if the given one does not.

    The more undersampled the stars are, the less they tell of their own width; so what was given
    stands unless something else is clearly better.
    """
    # by flux, not by peak: stars in the middle of a pixel have a high peak and look narrow
    flux = core_sum(cutouts, cutouts.pixels, psf.fwhm)
    brightest = np.argsort(-flux)[:TRIED]
    if cutouts.slope:
        noise = np.sqrt(core_sum(cutouts, cutouts.variance, psf.fwhm))
        snr = np.divide(flux, noise, out=np.zeros(len(flux)), where=noise > 0)
        brightest = brightest[: _beside_knots(snr[brightest])]
    cutouts = cutouts[brightest]
    light = core_sum(cutouts, np.square(cutouts.pixels) - cutouts.variance, psf.fwhm)
    if not (light > 0).any():
        return psf
    cutouts, light = cutouts[light > 0], light[light > 0]

    def score(scale: float) -> float:
        fits = fit_stars(cutouts, replace(psf, fwhm=psf.fwhm * scale), steps=4)
        left = core_sum(cutouts, np.square(fits.residual) - cutouts.variance, psf.fwhm)
        # the best quarter: in nebulae and deep fields most sources are no stars
        return float(np.quantile(left / light, 0.25))

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


def core_pixels(half: int, fwhm: float) -> np.ndarray:
    """Pixels (m, m) of a stamp within one FWHM."""
    side = np.arange(-half, half + 1)
    core: np.ndarray = np.hypot(side, side[:, None]) <= max(fwhm, 1.5)
    return core


def core_sum(cutouts: Cutouts, values: np.ndarray, fwhm: float) -> np.ndarray:
    """Sum values (n, m, m) over the good pixels of the cores."""
    total: np.ndarray = (values * (cutouts.used & core_pixels(cutouts.half, fwhm))).sum(axis=(1, 2))
    return total


def covered(cutouts: Cutouts, fits: StarFits, fwhm: float) -> np.ndarray:
    """Return the part (n,) of the PSF's core, by weight in the fit, that good pixels cover."""
    light = np.square(fits.shape) * core_pixels(cutouts.half, fwhm)
    part: np.ndarray = (light * cutouts.used).sum(axis=(1, 2)) / light.sum(axis=(1, 2))
    return part


def misfits(cutouts: Cutouts, fits: StarFits, fwhm: float) -> np.ndarray:
    """Return the rms of the cores' pixels about the model beyond noise, relative to the model."""
    beyond = core_sum(cutouts, np.square(fits.residual) - cutouts.variance, fwhm)
    model = np.square(fits.flux[:, None, None] * fits.shape)
    return np.sqrt(np.maximum(beyond, 0) / np.maximum(core_sum(cutouts, model, fwhm), 1e-300))


def builders_of(cutouts: Cutouts, fits: StarFits, psf: Psf) -> np.ndarray:
    """Choose the sources to make the PSF of, as indices: bright, whole, and like most others.

    Amid nebulosity a frame may have one bright star. It makes a better PSF without a bad pixel
    than knots do with all of theirs.
    """
    misfit = misfits(cutouts, fits, psf.fwhm)
    snr = fits.flux / np.sqrt(fits.covariance[:, 0, 0])
    whole = (cutouts.used | ~core_pixels(cutouts.half, psf.fwhm)).all(axis=(1, 2))
    if cutouts.slope:
        whole = covered(cutouts, fits, psf.fwhm) >= COVERED
    usable = np.flatnonzero(
        whole & (snr > 10) & (np.abs(fits.offset).max(axis=1) < max(1.0, psf.fwhm / 2))
    )
    if not len(usable):
        return usable
    brightest = usable[np.argsort(-fits.flux[usable])[: 2 * BUILDERS]]
    if cutouts.slope:
        brightest = brightest[: _beside_knots(snr[brightest])]
    # a field may hold more galaxies than stars, but those are not alike
    limit = max(2.5 * float(np.quantile(misfit[brightest], 0.25)), 0.08)
    limit = min(limit, NO_BUILDER)
    return brightest[misfit[brightest] < limit][:BUILDERS]


def _beside_knots(snr: np.ndarray) -> int:
    """How many of the brightest sources make a PSF amid nebulosity.

    Its knots are many, alike, and wider than stars: no more is taken than the PSF needs.
    """
    bright = int((snr > BRIGHT).sum())
    needed = int(np.searchsorted(np.cumsum(np.square(snr)), ENOUGH**2)) + 1
    return max(min(bright, needed), FEWEST)


def model_excess(cutouts: Cutouts, fits: StarFits, builders: np.ndarray) -> float:
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
