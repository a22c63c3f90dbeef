"""Positions of stars by a fit of a PSF to their pixels, and the PSF by a fit to the stars.

Both are weighted least squares and take turns. A star's fit has four parameters (flux, x, y, local
sky); all stars are fitted at once as a stack of 4 x 4 systems. The amplitudes of the PSF's modes
are fitted to all good stars together, with the stars' own parameters eliminated, and with the
family's amplitudes as their prior: few stars leave the shape where theory has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from webbalign.core._psf_family import WIDTH, pixel_integrals, psf_family

__all__ = [
    "Cutouts",
    "Psf",
    "StarFits",
    "fit_stars",
    "mean_psf",
    "model_variance",
    "refine",
    "shape_errors",
]

LARGEST_STEP = 0.4  # px
LEAST_EXCESS = 0.003
UNKNOWN_EXCESS = 0.05  # before anything was fitted
FAINTEST = 0.03  # part of the peak below which the model's errors fall no further


@dataclass(frozen=True)
class Cutouts:
    """The pixels about each star; arrays (n, m, m), m = 2 half + 1.

    Attributes
    ----------
    pixels : ndarray
        Without the sky.
    variance : ndarray
        Of the noise.
    used : ndarray of bool
        Good pixels within the radius of the fit.
    slope : float
        How steep the sky is, rms along an axis, in the unit of the pixels per px.
    """

    pixels: np.ndarray
    variance: np.ndarray
    used: np.ndarray
    slope: float = 0.0

    @property
    def half(self) -> int:
        """Pixels on each side of the middle one."""
        return self.pixels.shape[1] // 2

    @property
    def sky(self) -> np.ndarray:
        """Images (nsky, m, m) that a star's sky is made of: a constant and, if steep, slopes."""
        side = np.arange(-self.half, self.half + 1.0)
        flat = np.ones((len(side), len(side)))
        if not self.slope:
            return flat[None]
        return np.stack([flat, flat * side, flat * side[:, None]])

    @property
    def prior(self) -> np.ndarray:
        """Diagonal of the inverse prior covariance of a star's parameters."""
        steep = [1 / self.slope**2] * 2 if self.slope else []
        return np.array([0.0, 0.0, 0.0, 0.0, *steep])

    def __getitem__(self, index: np.ndarray) -> Cutouts:
        return Cutouts(self.pixels[index], self.variance[index], self.used[index], self.slope)


@dataclass(frozen=True)
class Psf:
    """A member of the family at the scale of a detector.

    Attributes
    ----------
    fwhm : float
        px.
    amplitudes : ndarray (nmodes,)
        In units of the prior's standard deviation.
    covariance : ndarray (nmodes, nmodes)
        Of the amplitudes.
    excess : float
        How far pixels of bright stars are from the model beyond their noise, as a fraction of it.
    """

    fwhm: float
    amplitudes: np.ndarray
    covariance: np.ndarray
    excess: float

    @property
    def coefficients(self) -> np.ndarray:
        """Of the Gauss-Hermite series."""
        family = psf_family()
        return family.mean + np.tensordot(self.amplitudes, family.modes, 1)


@dataclass(frozen=True)
class StarFits:
    """The result for n stars.

    Attributes
    ----------
    offset : ndarray (n, 2)
        (dx, dy) from the middle pixel, px.
    flux : ndarray (n,)
        Under the whole PSF.
    shape : ndarray (n, m, m)
        The PSF at each star.
    design : ndarray (n, m * m, k)
        Derivatives of the pixels with respect to flux, x * flux, y * flux, and to the sky's one or
        three parameters.
    weight : ndarray (n, m * m)
        Inverse variances, 0 for pixels not used.
    covariance : ndarray (n, k, k)
        Of those parameters.
    residual : ndarray (n, m, m)
        Pixels minus model.
    """

    offset: np.ndarray
    flux: np.ndarray
    shape: np.ndarray
    design: np.ndarray
    weight: np.ndarray
    covariance: np.ndarray
    residual: np.ndarray

    @property
    def chi2(self) -> np.ndarray:
        """Reduced chi-square of each star."""
        free = np.maximum((self.weight > 0).sum(axis=1) - 4, 1)
        return (self.weight * self.residual.reshape(len(self.flux), -1) ** 2).sum(axis=1) / free


def mean_psf(fwhm: float) -> Psf:
    """Return the family's mean at a FWHM (px), as uncertain as the family is wide."""
    nmodes = len(psf_family().modes)
    return Psf(fwhm, np.zeros(nmodes), np.eye(nmodes), UNKNOWN_EXCESS)


def fit_stars(
    cutouts: Cutouts, psf: Psf, start: StarFits | None = None, *, steps: int = 3
) -> StarFits:
    """Fit flux, position and local sky of every star by Gauss-Newton steps.

    Parameters
    ----------
    cutouts : Cutouts
    psf : Psf
    start : StarFits, optional
        Where to begin; without it in the middle of the stamps.
    steps : int, optional
        Number of steps.
    """
    n = len(cutouts.pixels)
    offset = np.zeros((n, 2)) if start is None else start.offset
    flux = np.zeros(n) if start is None else start.flux
    coefficients = psf.coefficients
    pixels = cutouts.pixels.reshape(n, -1)
    for _ in range(steps):
        x, dx = pixel_integrals(offset[:, 0], WIDTH * psf.fwhm, cutouts.half)
        y, dy = (
            part.swapaxes(1, 2)
            for part in pixel_integrals(offset[:, 1], WIDTH * psf.fwhm, cutouts.half)
        )
        along = coefficients @ x
        shape = y @ along
        images = [shape, y @ (coefficients @ dx), dy @ along]
        images += [np.broadcast_to(image, shape.shape) for image in cutouts.sky]
        design = np.stack(images, axis=-1).reshape(n, -1, len(images))
        weight = _weights(cutouts, shape, flux, psf.excess)
        weighted = (design * weight[..., None]).swapaxes(1, 2)
        normal = weighted @ design + np.diag(cutouts.prior)
        # for stamps with no pixel left; far below any information
        ridge = 1e-12 * np.trace(normal, axis1=1, axis2=2) + 1e-300
        covariance = np.linalg.inv(normal + ridge[:, None, None] * np.eye(len(images)))
        solution = (covariance @ (weighted @ pixels[..., None]))[..., 0]
        flux = solution[:, 0]
        safe = np.where(flux > 0, flux, np.inf)
        step = np.clip(solution[:, 1:3] / safe[:, None], -LARGEST_STEP, LARGEST_STEP)
        offset = offset + step
    # the last step's displacement is part of the model, to first order
    model = (design @ solution[..., None]).reshape(shape.shape)
    return StarFits(offset, flux, shape, design, weight, covariance, cutouts.pixels - model)


def _weights(cutouts: Cutouts, shape: np.ndarray, flux: np.ndarray, excess: float) -> np.ndarray:
    variance = cutouts.variance
    if excess:
        scale = excess * np.maximum(flux, 0)[:, None, None]
        variance = variance + np.square(scale) * model_variance(shape)
    return (cutouts.used / variance).reshape(len(shape), -1)


def model_variance(shape: np.ndarray) -> np.ndarray:
    """How the squared error of a model is spread over the pixels (n, m, m) of a star.

    Like photon noise: in relation to the PSF its errors are larger in the wings than in the core.
    """
    top = shape.max(axis=(1, 2), keepdims=True)
    spread: np.ndarray = (np.abs(shape) + FAINTEST * top) * top
    return spread


def refine(cutouts: Cutouts, fits: StarFits, psf: Psf) -> Psf:
    """Fit the amplitudes of the PSF's modes to stars that have been fitted.

    The stars' own parameters are eliminated, so that they need not be right for the shape they had.
    """
    n = len(cutouts.pixels)
    family = psf_family()
    modes, mean = _mode_images(fits.offset, psf.fwhm, cutouts.half)
    modes = modes * fits.flux[:, None, None]
    # what the family's mean leaves, at the positions that the fit has reached
    data = cutouts.pixels.reshape(n, -1) - fits.flux[:, None] * mean
    # The model's errors are alike in all stars: were they noise here, the prior would win over
    # them and they would stay. A little of it keeps one bright star from outweighing the others.
    limited = min(psf.excess, LEAST_EXCESS)
    weight = _weights(cutouts, fits.shape, fits.flux, limited)
    weighted = (modes * weight[..., None]).swapaxes(1, 2)
    own = (fits.design * weight[..., None]).swapaxes(1, 2)
    cross = weighted @ fits.design
    gain = cross @ np.linalg.inv(own @ fits.design + np.diag(cutouts.prior))
    normal = (weighted @ modes - gain @ cross.swapaxes(1, 2)).sum(axis=0)
    right = (weighted @ data[..., None] - gain @ (own @ data[..., None])).sum(axis=0)[:, 0]
    covariance = np.linalg.inv(normal + np.eye(len(family.modes)))
    return replace(psf, amplitudes=covariance @ right, covariance=covariance)


def _mode_images(offset: np.ndarray, fwhm: float, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the modes (n, m * m, nmodes) and the mean (n, m * m) of the family at each star."""
    family = psf_family()
    x, _ = pixel_integrals(offset[:, 0], WIDTH * fwhm, half)
    y, _ = pixel_integrals(offset[:, 1], WIDTH * fwhm, half)
    y = y.swapaxes(1, 2)
    n = len(offset)
    images = [(y @ (mode @ x)).reshape(n, -1) for mode in (*family.modes, family.mean)]
    return np.stack(images[:-1], axis=-1), images[-1]


def shape_errors(fits: StarFits, psf: Psf, half: int) -> np.ndarray:
    """Variance (n, 2) of x and y that the uncertainty of the PSF's shape brings, px^2.

    A displacement of all stars alike is left out: it is part of what "position" means.
    """
    modes, _ = _mode_images(fits.offset, psf.fwhm, half)
    own = (fits.design * fits.weight[..., None]).swapaxes(1, 2)
    # parameters 1 and 2 are displacement times flux, and so are the modes here without flux
    moved = (fits.covariance @ (own @ modes))[:, 1:3]
    moved = moved - np.median(moved, axis=0)
    return np.einsum("nai,ij,naj->na", moved, psf.covariance, moved)
