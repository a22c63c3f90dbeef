"""From what a finder sees to the list of stars: centroids, their errors, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from webbalign.core._blemishes import BurntStars, duplicates, in_halo, on_burnt
from webbalign.core._centroids import NO_STAR, Centroids, fit_centroids, stamp_radius
from webbalign.core._detection import Frame
from webbalign.core._finders import Found, kernel_radius
from webbalign.core._psf_choice import COVERED
from webbalign.core._source_types import SourceFinding, SourceFlag, Sources, SourceStatus

__all__ = ["Search", "as_found", "fitted", "optical_fwhm"]

PIXEL = 0.5  # in quadrature, px

SHARPEST = 0.5  # see Centroids.sharpest
# Rms of the finders' own centroids with the place of a star in its pixel, one axis, px: measured
# on stars with a FWHM of 1 to 2.4 px, for which it changes a lot with kernel and FWHM.
PIXEL_PHASE = {"iraf": 0.03, "dao": 0.04, "segmentation": 0.04}


@dataclass(frozen=True)
class Search:
    """What is known while one frame is searched.

    Attributes
    ----------
    frame : Frame
    burnt : BurntStars
    err : ndarray (ny, nx) or None
        Standard deviation of the pixels.
    kernel, width : float
        FWHM of the finder's kernel, and of the stars before the pixels make them wider, px.
    known : bool
        Whether `width` is the filter's.
    options : SourceFinding
    """

    frame: Frame
    burnt: BurntStars
    err: np.ndarray | None
    kernel: float
    width: float
    known: bool
    options: SourceFinding

    def nothing(self, n_detected: int) -> Sources:
        """Return no sources, though the finder saw some."""
        return Sources.none(
            SourceStatus.NO_SOURCES,
            fwhm=float(np.hypot(self.width, PIXEL)),
            noise=self.frame.sky.noise,
            n_detected=n_detected,
        )

    def pixels(self, found: Found) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels (y, x) that sources are in."""
        ny, nx = self.frame.shape
        y = np.clip(np.rint(found.y).astype(int), 0, ny - 1)
        return y, np.clip(np.rint(found.x).astype(int), 0, nx - 1)

    def near_edge(self, x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
        """Tell which positions are within `reach` px of the edge: ndarray (n,) of bool."""
        ny, nx = self.frame.shape
        near: np.ndarray = (np.minimum(x, nx - 1 - x) < reach) | (np.minimum(y, ny - 1 - y) < reach)
        return near


def optical_fwhm(fwhm: float) -> float:
    """Take what a pixel adds to the FWHM (px) of a star's image away; never more than a third."""
    return float(np.sqrt(max(fwhm**2 - PIXEL**2, (fwhm / 1.5) ** 2)))


def as_found(found: Found, search: Search) -> Sources:
    """Take the finder's own positions and fluxes; only the rims of saturated stars are refused."""
    n_detected = int(found.allowed.sum())
    found = found[found.allowed & (found.flux > 0)]
    found = found[~on_burnt(found.x, found.y, search.burnt, search.width)]
    if not len(found.x):
        return search.nothing(n_detected)
    half = kernel_radius(search.kernel, search.options.sigma_radius)
    variance = _variance(search, *search.pixels(found), half)
    side = np.arange(-half, half + 1)
    noise = np.sqrt((variance * side**2).sum(axis=(1, 2))) / found.flux
    error = np.hypot(noise, PIXEL_PHASE[search.options.starfinder])
    edge = search.near_edge(found.x, found.y, half)
    return Sources(
        xcentroid=found.x,
        ycentroid=found.y,
        flux=found.flux,
        x_err=error,
        y_err=error.copy(),
        peak=found.peak,
        sharpness=found.sharpness,
        roundness=found.roundness,
        misfit=np.full(len(found.x), np.nan),
        flags=np.where(edge, int(SourceFlag.EDGE), 0),
        status=SourceStatus.OK,
        fwhm=float(np.hypot(search.width, PIXEL)),
        noise=search.frame.sky.noise,
        n_detected=n_detected,
    )


def fitted(found: Found, search: Search) -> Sources:
    """Fit the frame's PSF to what was found, and refuse what does not look like a star."""
    n_detected = int(found.allowed.sum())
    found = found[~on_burnt(found.x, found.y, search.burnt, search.width)]
    # before the fit, in which the light of a ring's maximum would be taken from its own star
    bright = np.stack([found.x, found.y, found.flux], axis=1)
    whole = np.zeros(len(found.x), dtype=bool)
    found = found[found.allowed & ~in_halo(found.x, found.y, found.flux, whole, search.width)]
    options = search.options
    if options.brightest is not None and options.starfinder != "segmentation":
        # enough for those that will be refused
        found = found[np.argsort(-found.flux, kind="stable")[: 2 * options.brightest + 100]]
    if not len(found.x):
        return search.nothing(n_detected)
    y, x = search.pixels(found)
    half = stamp_radius(search.width)
    variance = _variance(search, y, x, half)
    fit = fit_centroids(search.frame, variance, y, x, search.width, known=search.known)
    sources = Sources(
        xcentroid=fit.x,
        ycentroid=fit.y,
        flux=fit.flux,
        x_err=fit.x_err,
        y_err=fit.y_err,
        peak=found.peak,
        sharpness=found.sharpness,
        roundness=found.roundness,
        misfit=fit.misfit,
        flags=_flags(fit, search, half),
        status=SourceStatus.OK,
        fwhm=float(np.hypot(fit.psf.fwhm, PIXEL)),
        noise=search.frame.sky.noise,
        n_detected=n_detected,
    )
    return sources.select(_stars(fit, search, y, x, bright))


def _flags(fit: Centroids, search: Search, half: int) -> np.ndarray:
    flags = np.zeros(len(fit.x), dtype=int)
    for flag, where in (
        (SourceFlag.EDGE, search.near_edge(fit.x, fit.y, half)),
        (SourceFlag.BAD_PIXELS, fit.covered < 1),
        (SourceFlag.EXTENDED, fit.misfit > NO_STAR),
    ):
        flags[where] |= int(flag)
    return flags


def _stars(
    fit: Centroids, search: Search, y: np.ndarray, x: np.ndarray, bright: np.ndarray
) -> np.ndarray:
    """Choose the fits that can be stars, as indices.

    They were found in pixels y, x; `bright` (m, 3) are x, y, flux of all that the finder saw.
    """
    ny, nx = search.frame.shape
    fwhm = fit.psf.fwhm
    usable = np.isfinite(fit.flux) & np.isfinite(fit.x_err) & np.isfinite(fit.y_err)
    usable &= (fit.snr > 3) & (fit.covered >= COVERED)
    usable &= (fit.x > -0.5) & (fit.x < nx - 0.5) & (fit.y > -0.5) & (fit.y < ny - 0.5)
    usable &= np.hypot(fit.x - x, fit.y - y) < max(1.5, fwhm)
    # cosmic rays and hot pixels
    usable &= (fit.misfit < NO_STAR) | (fit.sharpest < SHARPEST)
    index = np.flatnonzero(usable)
    if not len(index):
        return index
    px, py, flux = fit.x[index], fit.y[index], fit.flux[index]
    burnt = search.burnt
    # the peak of a Gaussian of this FWHM is 1 / (1.13 FWHM^2) of its flux
    cores = np.stack([burnt.x, burnt.y, burnt.peak * 1.13 * fwhm**2], axis=1)
    bright = np.concatenate([bright, cores])
    refused = in_halo(px, py, flux, fit.misfit[index] > NO_STAR / 2, fwhm, bright)
    refused |= duplicates(px, py, flux, 0.5 * fwhm)
    return index[~refused]


def _variance(search: Search, y: np.ndarray, x: np.ndarray, half: int) -> np.ndarray:
    """Variance (n, m, m) of the pixels about sources, m = 2 half + 1.

    It is the scatter of the sky, plus what the file's errors have above those of the sky: these
    often miss what the sky shows (1/f noise, faint sources), but only they know the photon noise.
    """
    side = np.arange(-half, half + 1)
    variance = np.square(search.frame.sky.scatter_at(y, x))[:, None, None]
    if search.err is None:
        return np.broadcast_to(variance, (len(y), len(side), len(side))).copy()
    ny, nx = search.frame.shape
    rows = np.clip(y[:, None] + side, 0, ny - 1)[:, :, None]
    columns = np.clip(x[:, None] + side, 0, nx - 1)[:, None, :]
    squared = np.square(search.err[rows, columns], dtype=np.float64)
    sample = search.err[::16, ::16]
    sample = sample[np.isfinite(sample) & (sample > 0)]
    usual = float(np.median(sample)) ** 2 if len(sample) else np.inf
    extra = np.where(np.isfinite(squared), squared, 0) - usual
    total: np.ndarray = variance + np.maximum(extra, 0)
    return total
