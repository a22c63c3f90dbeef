"""Diffuse emission: a random field on the sky, the same in all bands but for its brightness."""

from __future__ import annotations

import numpy as np

from webbalign.products.sphere import to_plane
from webbalign.simulate.cameras import Band
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.mosaic_plan import Frame

__all__ = ["Nebula"]

SPECTRAL_INDEX = 2.9  # power of interstellar dust emission against frequency
COARSEST_STEP = 0.05  # arcsec
LARGEST_SIDE = 4096
_BLUR = 0.0333  # arcsec per micron: FWHM of the PSF


class Nebula:
    """Emission with the power spectrum of interstellar dust, positive everywhere.

    Parameters
    ----------
    options : MosaicSimulation
        Brightness and seed.
    outline : ndarray (n, 2)
        Points of the tangent plane (east, north) whose box is to be filled, degrees.
    centre : tuple of float
        Its tangent point, degrees.

    Notes
    -----
    The field lives on a grid of the tangent plane and is smoothed there with a Gaussian of the
    band's PSF before it is interpolated at the pixels.
    """

    def __init__(
        self, options: MosaicSimulation, outline: np.ndarray, centre: tuple[float, float]
    ) -> None:
        self._options = options
        self._centre = np.array(centre)
        self._low = outline.min(axis=0) * 3600.0
        side = float(np.ptp(outline, axis=0).max() * 3600.0)
        self._step = max(COARSEST_STEP, side / LARGEST_SIDE)
        self._size = int(np.ceil(side / self._step / 64 + 1)) * 64
        self._smooth: dict[str, np.ndarray] = {}

    def amplitude(self, band: Band) -> float:
        """Return the rms brightness in a band, MJy/sr."""
        chosen = self._options.nebulosity
        return band.nebulosity if chosen is None else chosen

    def image(self, frame: Frame) -> np.ndarray:
        """Return the emission in the pixels of a frame (ny, nx), MJy/sr."""
        from scipy.interpolate import RectBivariateSpline
        from scipy.ndimage import map_coordinates

        ny, nx = frame.camera.shape
        # the map from pixels to the plane is smooth: a cubic through every 32nd pixel is enough
        x, y = np.linspace(0, nx - 1, nx // 32 + 4), np.linspace(0, ny - 1, ny // 32 + 4)
        sky = frame.true_wcs(*(grid.ravel() for grid in np.meshgrid(x, y)), with_bounding_box=False)
        plane = to_plane(np.stack(sky, axis=1), self._centre) * 3600.0
        steps = ((plane - self._low) / self._step).reshape(y.size, x.size, 2)
        coordinates = [
            RectBivariateSpline(y, x, steps[..., axis])(np.arange(ny), np.arange(nx))
            for axis in (1, 0)
        ]
        band = frame.camera.band
        field = map_coordinates(
            self._coefficients(band), coordinates, order=3, prefilter=False, mode="grid-wrap"
        )
        return self.amplitude(band) * np.asarray(field, np.float64)

    def _coefficients(self, band: Band) -> np.ndarray:
        """B-spline coefficients of the field as the band's PSF blurs it, rms 1, axes (y, x)."""
        from scipy.ndimage import spline_filter

        if band.name not in self._smooth:
            rng = np.random.default_rng([self._options.seed, 15])
            across = np.fft.fftfreq(self._size, self._step)
            frequency = np.hypot(across[:, None], np.fft.rfftfreq(self._size, self._step))
            lowest = 1.0 / (self._size * self._step)
            power = np.where(frequency > 0, np.maximum(frequency, 2 * lowest), np.inf)
            noise = np.fft.rfft2(rng.standard_normal((self._size, self._size)))
            field = np.fft.irfft2(noise * power ** (-SPECTRAL_INDEX / 2), noise.shape[:1] * 2)
            # log-normal: filaments rather than clouds, and never below zero
            field = np.exp(0.8 * field / field.std())
            field /= field.std()
            sigma = _BLUR * band.wavelength / 2.355
            blur = np.exp(-2.0 * (np.pi * frequency * sigma) ** 2)
            smooth = np.fft.irfft2(np.fft.rfft2(field) * blur, field.shape)
            coefficients = spline_filter(smooth, order=3, mode="grid-wrap")
            self._smooth[band.name] = coefficients.astype(np.float32)
        return self._smooth[band.name]
