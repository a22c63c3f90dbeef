"""Images of stars: the telescope's point spread function as pixels record it.

The function that pixels sample (PSF convolved with a pixel) is band-limited. It is kept as cubic
B-spline coefficients on a grid four times finer than the pixels, which makes any sub-pixel position
a weighted sum of sixteen arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from webbalign.simulate import aberrations, optics
from webbalign.simulate.aberrations import PUPIL_WIDTH, static_error
from webbalign.simulate.cache import cached_arrays
from webbalign.simulate.cameras import Band
from webbalign.simulate.optics import telescope_pupil

__all__ = ["OVERSAMPLING", "RADIUS", "PixelResponse", "add_stars", "pixel_response"]

OVERSAMPLING = 4
RADIUS = 160  # px, half the side of the largest stamp
PUPIL_PIXELS = 512
WAVELENGTHS = 5
SMEARING = 0.009  # arcsec rms: pointing jitter during an exposure, diffusion of charge
_SCALE = {"short": 0.031, "long": 0.063, "": 0.1109}  # arcsec / px
_ROTATION = {"short": 0.0, "long": 0.0, "": -4.8}
# Sides of the stamps: the smallest is used beyond which a star's light is lost in the noise.
_STAMPS = (6, 9, 13, 20, 30, 45, 68, 105, RADIUS)


@dataclass(frozen=True)
class PixelResponse:
    """What a star of unit flux gives in pixels.

    Attributes
    ----------
    coefficients : ndarray (p, p, 2 r + 1, 2 r + 1) of float32
        B-spline coefficients, axes (phase y, phase x, y, x), p = OVERSAMPLING + 4.
    envelope : ndarray
        Greatest value outside the square of each half-side of `_STAMPS`.
    fwhm : float
        Full width at half maximum of the PSF before the pixels, px.
    """

    coefficients: np.ndarray
    envelope: np.ndarray
    fwhm: float

    def stamp(self, dx: float, dy: float, radius: int) -> np.ndarray:
        """Return the image (2 radius + 1, 2 radius + 1) of a star of unit flux.

        Parameters
        ----------
        dx, dy : float
            Of the star from the centre of the middle pixel, at most half a pixel.
        radius : int
            At most RADIUS.
        """
        first_y, weights_y = _spline_weights(-dy * OVERSAMPLING)
        first_x, weights_x = _spline_weights(-dx * OVERSAMPLING)
        middle = RADIUS
        part = slice(middle - radius, middle + radius + 1)
        block = self.coefficients[first_y : first_y + 4, first_x : first_x + 4, part, part]
        weights = np.outer(weights_y, weights_x).astype(np.float32)
        image: np.ndarray = np.tensordot(weights, block, axes=2)
        return image

    def radius_for(self, limit: float) -> int:
        """Return the half-side of the smallest stamp outside which all is below `limit`."""
        fitting = np.flatnonzero(self.envelope <= limit)
        return _STAMPS[fitting[0]] if fitting.size else RADIUS


def _spline_weights(position: float) -> tuple[int, np.ndarray]:
    """First phase index and weights (4,) of the cubic B-spline at a position in fine steps."""
    whole = int(np.floor(position))
    t = position - whole
    s = 1.0 - t
    weights = np.array(
        [s**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * s**2 + 3 * s**3, t**3], dtype=np.float64
    )
    return whole - 1 + OVERSAMPLING // 2 + 1, weights / 6.0


def pixel_response(band: Band) -> PixelResponse:
    """Return the response of pixels to a star in a band, from the cache if it has been made before.

    Its position is that of the maximum of a Gaussian-weighted fit: a star at an integer pixel
    position has its windowed centroid there.
    """
    key = (
        _sources(),
        (band.wavelength, band.width, band.channel),
        (PUPIL_PIXELS, RADIUS, _STAMPS, WAVELENGTHS),
    )
    arrays = cached_arrays(f"prf-{band.name}", key, lambda: _compute(band))
    fine = arrays["coefficients"]
    phases = np.arange(-OVERSAMPLING // 2 - 1, OVERSAMPLING // 2 + 3)
    middle = len(fine) // 2
    steps = middle + OVERSAMPLING * np.arange(-RADIUS, RADIUS + 1)
    side = 2 * RADIUS + 1
    coefficients = np.empty((phases.size, phases.size, side, side), np.float32)
    for row, phase_y in enumerate(phases):
        rows = fine[steps + phase_y]
        for column, phase_x in enumerate(phases):
            coefficients[row, column] = rows[:, steps + phase_x]
    return PixelResponse(coefficients, arrays["envelope"], float(arrays["fwhm"]))


def _sources() -> tuple[bytes, ...]:
    """Return the files that determine the PSF: another version of them makes another one."""
    return tuple(
        Path(file).read_bytes() for file in (__file__, aberrations.__file__, optics.__file__)
    )


def _telescope(rotation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return transmission and wavefront error (n, n; m) of the pupil, from the cache."""

    def draw() -> dict[str, np.ndarray]:
        pupil = telescope_pupil(PUPIL_PIXELS, rotation)
        return {"pupil": pupil, "error": static_error(pupil, rotation)}

    arrays = cached_arrays("telescope", (_sources()[1:], PUPIL_PIXELS, rotation), draw)
    return arrays["pupil"].astype(np.float64), arrays["error"].astype(np.float64)


def _compute(band: Band) -> dict[str, np.ndarray]:
    from scipy.ndimage import spline_filter

    scale = _SCALE[band.channel] / OVERSAMPLING
    pupil, error = _telescope(_ROTATION[band.channel])
    half = OVERSAMPLING * (RADIUS + 2)
    tilt, fwhm = _centring(band, pupil, error)
    image = _monochromatic_sum(band, pupil, error, tilt, half, scale)
    response = _as_pixels_see(image, scale)
    # a pixel sums the fine samples under it; the stamp of the brightest star holds all the light
    response *= OVERSAMPLING**2 / response.sum()
    coefficients = spline_filter(response, order=3, mode="mirror").astype(np.float32)
    reach = np.abs(np.arange(-half, half + 1)) / OVERSAMPLING
    outside = np.maximum.outer(reach, reach)
    envelope = [response[outside > radius].max() for radius in _STAMPS[:-1]]
    return {
        "coefficients": coefficients,
        "envelope": np.array([*envelope, 0.0]),
        "fwhm": np.array(fwhm),
    }


def _centring(band: Band, pupil: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the centre of the PSF is (x, y), arcsec, and its width at half maximum, px."""
    scale = _SCALE[band.channel] / OVERSAMPLING
    tilt = np.zeros(2)
    for _ in range(4):
        # a small field is enough for the centroid
        core = _monochromatic_sum(band, pupil, error, tilt, 10 * OVERSAMPLING, scale)
        tilt += _windowed_centroid(core) * scale
    return tilt, _half_width(core) / OVERSAMPLING


def _monochromatic_sum(
    band: Band, pupil: np.ndarray, error: np.ndarray, tilt: np.ndarray, half: int, scale: float
) -> np.ndarray:
    """PSF (2 half + 1, 2 half + 1) at steps of `scale` arcsec, moved by minus `tilt` (x, y)."""
    n = len(pupil)
    place = (np.arange(n) - (n - 1) / 2) * PUPIL_WIDTH / n
    angle = np.deg2rad((np.arange(-half, half + 1) * scale) / 3600.0)
    move_x, move_y = np.deg2rad(tilt / 3600.0)
    low = band.wavelength - band.width / 2
    total = np.zeros((angle.size, angle.size))
    for index in range(WAVELENGTHS):
        wavelength = (low + (index + 0.5) * band.width / WAVELENGTHS) * 1e-6
        field = pupil * np.exp(2j * np.pi * error / wavelength)
        across = np.exp(-2j * np.pi * np.outer(angle + move_x, place) / wavelength)
        up = np.exp(-2j * np.pi * np.outer(angle + move_y, place) / wavelength)
        # the products take the time, and single precision is good to 1e-7 of the peak
        waves = (part.astype(np.complex64) for part in (up, field / wavelength, across.T))
        total += np.abs(np.linalg.multi_dot(list(waves))) ** 2
    return total


def _windowed_centroid(image: np.ndarray) -> np.ndarray:
    """Offset (x, y) from the middle, in samples, of the centroid under a Gaussian of its width."""
    half = len(image) // 2
    steps = np.arange(-half, half + 1.0)
    sigma = _half_width(image) / 2.355
    at = np.zeros(2)
    for _ in range(50):
        window_x = np.exp(-0.5 * ((steps - at[0]) / sigma) ** 2)
        window_y = np.exp(-0.5 * ((steps - at[1]) / sigma) ** 2)
        weighted = image * window_x * window_y[:, None]
        moment = np.array([weighted.sum(axis=0) @ steps, weighted.sum(axis=1) @ steps])
        # the window pulls the first moment half-way back when it is as wide as the image
        at += 2.0 * (moment / weighted.sum() - at)
    return at


def _half_width(image: np.ndarray) -> float:
    """Full width at half maximum, from the area above half maximum, samples."""
    return float(2.0 * np.sqrt(np.count_nonzero(image > 0.5 * image.max()) / np.pi))


def _as_pixels_see(image: np.ndarray, scale: float) -> np.ndarray:
    """Convolve with a square pixel and with the smearing, in Fourier space."""
    size = len(image)
    frequency = np.fft.fftfreq(size)  # cycles per sample
    across = np.sinc(OVERSAMPLING * frequency) * np.exp(
        -2.0 * (np.pi * frequency * SMEARING / scale) ** 2
    )
    transform = np.fft.rfft2(image)
    transform *= across[:, None] * across[: transform.shape[1]]
    return np.fft.irfft2(transform, image.shape)


def add_stars(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    response: PixelResponse,
    negligible: float,
) -> None:
    """Add stars to an image, in place.

    Parameters
    ----------
    image : ndarray (ny, nx)
        In units of flux per pixel.
    x, y : ndarray (n,)
        0-based px; may lie outside.
    flux : ndarray (n,)
        Of the stars.
    response : PixelResponse
        Of the band.
    negligible : float
        Flux in a pixel at which a star's wings may be cut off.
    """
    ny, nx = image.shape
    columns, rows = np.rint(x).astype(int), np.rint(y).astype(int)
    for star in np.argsort(flux):  # faint ones first: sums lose least
        radius = response.radius_for(negligible / flux[star])
        left, bottom = columns[star] - radius, rows[star] - radius
        x0, x1 = max(left, 0), min(left + 2 * radius + 1, nx)
        y0, y1 = max(bottom, 0), min(bottom + 2 * radius + 1, ny)
        if x0 >= x1 or y0 >= y1:
            continue
        stamp = response.stamp(x[star] - columns[star], y[star] - rows[star], radius)
        part = stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left]
        image[y0:y1, x0:x1] += flux[star] * part
