"""A detector full of stars with a known answer: diffraction by a segmented pupil, real pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import correlate1d, map_coordinates, spline_filter

OVERSAMPLING = 8
PUPIL = 128


@lru_cache
def _pupil() -> np.ndarray:
    """Eighteen hexagons about an empty one, behind three struts; 6.6 m over PUPIL samples."""
    y, x = (np.mgrid[:PUPIL, :PUPIL] - (PUPIL - 1) / 2) * 6.6 / PUPIL
    inside = np.zeros((PUPIL, PUPIL), bool)
    pitch, half = 1.32, 1.29 / 2
    for i in range(-2, 3):
        for j in range(-2, 3):
            if abs(i + j) > 2 or (i, j) == (0, 0):
                continue
            dx, dy = x - pitch * np.sqrt(0.75) * i, y - pitch * (j + i / 2)
            inside |= np.all(
                [abs(dx * np.cos(a) + dy * np.sin(a)) < half for a in np.deg2rad([90, 30, 150])], 0
            )
    for angle in np.deg2rad([90, 240, 300]):
        along = x * np.cos(angle) + y * np.sin(angle)
        inside &= (along < 0) | (abs(x * np.sin(angle) - y * np.cos(angle)) > 0.06)
    return inside


@lru_cache
def diffraction(
    fwhm: float, size: int = 65, error: float = 0.06, seed: int = 0, wavelengths: int = 5
) -> np.ndarray:
    """Point-spread function integrated over pixels, sampled OVERSAMPLING times a pixel.

    Parameters
    ----------
    fwhm : float
        Of the optics at the middle of a band of 20 %, px.
    size : int
        Side of the part returned, px.
    error : float
        Wavefront error, rms in waves: coma, astigmatism, trefoil, with random signs.
    wavelengths : int
        In the band; few make beads of the spikes far from the star.
    """
    y, x = (np.mgrid[:PUPIL, :PUPIL] - (PUPIL - 1) / 2) / (PUPIL / 2)
    amounts = np.random.default_rng(seed).normal(size=6)
    shapes = [
        x**2 - y**2, 2 * x * y, x * (3 * (x**2 + y**2) - 2), y * (3 * (x**2 + y**2) - 2),
        x**3 - 3 * x * y**2, y**3 - 3 * y * x**2,
    ]  # fmt: skip
    wave = sum(a * s for a, s in zip(amounts, shapes, strict=True))
    # without piston and tilt: what moves the image is no aberration
    plane = np.stack([np.ones_like(x), x, y], axis=-1)
    amount = np.linalg.lstsq(plane[_pupil()], wave[_pupil()], rcond=None)[0]
    wave = wave - plane @ amount
    wave *= error / wave[_pupil()].std()
    total = 0.0
    half = (size * OVERSAMPLING) // 2
    u = np.arange(-half, half + 1) / OVERSAMPLING
    for relative in 1 + 0.2 * ((np.arange(wavelengths) + 0.5) / wavelengths - 0.5):
        # matrix Fourier transform: the sampling of the image follows the wavelength exactly
        step = 6.6 / 6.5 / PUPIL / (fwhm * relative / 1.03)
        kernel = np.exp(-2j * np.pi * step * np.outer(u, np.arange(PUPIL) - (PUPIL - 1) / 2))
        field = kernel @ (_pupil() * np.exp(2j * np.pi * wave / relative)) @ kernel.T
        total = total + abs(field) ** 2 / (abs(field) ** 2).sum()
    return pixel_integrated(total / wavelengths * OVERSAMPLING**2)


def pixel_integrated(psf: np.ndarray) -> np.ndarray:
    """Integrate over pixels an image sampled OVERSAMPLING (an even number) times a pixel."""
    weights = np.ones(OVERSAMPLING + 1)
    weights[[0, -1]] = 0.5
    weights /= weights.sum()
    return correlate1d(correlate1d(psf, weights, 0, mode="constant"), weights, 1, mode="constant")


@dataclass(frozen=True)
class StarField:
    """An image and what is in it; positions are 0-based px."""

    data: np.ndarray
    err: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    bad: np.ndarray
    saturated: np.ndarray


def render(shape: tuple[int, int], x, y, flux, psf: np.ndarray) -> np.ndarray:
    """Return the image of stars without noise; `psf` as :func:`diffraction` returns it."""
    image = np.zeros(shape)
    spline = spline_filter(psf, order=3, mode="constant")
    full = (psf.shape[0] // OVERSAMPLING) // 2 - 1
    middle = psf.shape[0] // 2
    for xs, ys, fs in zip(x, y, flux, strict=True):
        half = full if fs > 3e4 else min(full, 16)
        cx, cy = round(xs), round(ys)
        xx = np.arange(max(cx - half, 0), min(cx + half + 1, shape[1]))
        yy = np.arange(max(cy - half, 0), min(cy + half + 1, shape[0]))
        if not len(xx) or not len(yy):
            continue
        where = np.meshgrid(
            (yy - ys) * OVERSAMPLING + middle, (xx - xs) * OVERSAMPLING + middle, indexing="ij"
        )
        stamp = map_coordinates(spline, where, order=3, prefilter=False, mode="constant")
        image[yy[0] : yy[-1] + 1, xx[0] : xx[-1] + 1] += fs * stamp
    return image


def star_field(
    n: int = 200,
    shape: tuple[int, int] = (512, 512),
    fwhm: float = 1.6,
    seed: int = 0,
    flux: tuple[float, float] = (300.0, 3e4),
    noise: float = 1.0,
    gain: float = 4.0,
    background: float = 10.0,
    psf: np.ndarray | None = None,
    full_well: float = np.inf,
    separation: float = 0.0,
) -> StarField:
    """Simulate `n` stars of log-uniform flux; the noise is that of the readout and of photons.

    Pixels brighter than `full_well` are NaN, bad and saturated.
    """
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, shape[1] - 1, n), random.uniform(0, shape[0] - 1, n)
    if separation:
        keep = [0]
        for i in range(1, n):
            if np.hypot(x[keep] - x[i], y[keep] - y[i]).min() > separation:
                keep.append(i)
        x, y = x[keep], y[keep]
    brightness = np.exp(random.uniform(*np.log(flux), len(x)))
    psf = diffraction(fwhm) if psf is None else psf
    image = render(shape, x, y, brightness, psf) + background
    err = np.sqrt(noise**2 + np.maximum(image - background, 0) / gain)
    data = image + err * random.normal(size=shape)
    saturated = image > full_well
    data[saturated] = np.nan
    return StarField(
        data.astype(np.float32), err.astype(np.float32), x, y, brightness, saturated, saturated
    )
