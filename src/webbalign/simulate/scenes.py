"""Small scenes with known shifts, made of numpy alone, to test registration with.

The images are exactly band-limited below the Nyquist frequency and periodic, so that a Fourier
shift of them is exact to rounding: what a fit misses is noise or an error of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ShiftedPairs", "periodic_shift", "shifted_pairs", "speckled_star"]

PUPIL_RADIUS = 0.2  # cycles / px; the image reaches twice that, 0.5 being the Nyquist frequency


def speckled_star(
    shape: tuple[int, int],
    center: tuple[float, float] | None = None,
    *,
    flux: float = 1e6,
    aberration: float = 1.2,
    seed: int = 0,
) -> np.ndarray:
    """Return an aberrated star with its halo of speckles.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    center : tuple of float, optional
        0-based (x, y) of the star, px; the middle of the image by default.
    flux : float
        Sum over the image.
    aberration : float
        rms phase over the pupil, radians.
    seed : int
        Of the phase.
    """
    ny, nx = shape
    x, y = center if center is not None else ((nx - 1) / 2, (ny - 1) / 2)
    fy = np.fft.fftfreq(ny)[:, None]
    fx = np.fft.fftfreq(nx)[None, :]
    radius = np.hypot(fx, fy)
    pupil = (radius < PUPIL_RADIUS) & (radius > 0.25 * PUPIL_RADIUS)
    phase = aberration * _phase(fx, fy, pupil, seed)
    tilt = -2 * np.pi * (fx * x + fy * y)
    field = np.fft.ifft2(np.where(pupil, np.exp(1j * (phase + tilt)), 0.0))
    image = np.abs(field) ** 2
    return image * (flux / image.sum())


def _phase(fx: np.ndarray, fy: np.ndarray, pupil: np.ndarray, seed: int) -> np.ndarray:
    """Add up random waves over the pupil, the finer the weaker, with an rms of 1.

    A wave of n cycles across the pupil makes a pair of speckles n diffraction widths from the star.
    """
    rng = np.random.default_rng(seed)
    u, v = fx / (2 * PUPIL_RADIUS), fy / (2 * PUPIL_RADIUS)
    phase = np.zeros(pupil.shape)
    for _ in range(60):
        cycles = rng.uniform(1.0, 12.0)
        angle, offset = rng.uniform(0, 2 * np.pi, 2)
        wave = cycles * (np.cos(angle) * u + np.sin(angle) * v)
        phase += np.cos(2 * np.pi * wave + offset) / cycles**0.7
    inside = phase[pupil]
    return (phase - inside.mean()) / inside.std()


def periodic_shift(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Return a periodic image moved by (dx, dy) px, positive towards larger indices.

    Parameters
    ----------
    image : ndarray (ny, nx)
        Band-limited below the Nyquist frequency; then the shift is exact.
    dx, dy : float
        px.
    """
    ny, nx = image.shape
    phase = np.fft.fftfreq(ny)[:, None] * dy + np.fft.rfftfreq(nx)[None, :] * dx
    spectrum = np.fft.rfft2(image) * np.exp(-2j * np.pi * phase)
    return np.fft.irfft2(spectrum, s=image.shape)


@dataclass(frozen=True)
class ShiftedPairs:
    """A science image and references that are the same star, moved and scaled.

    Attributes
    ----------
    science : ndarray (ny, nx)
        With noise.
    science_variance : ndarray (ny, nx)
        Variance of its noise.
    psfs, psf_variances : ndarray (n, ny, nx)
        The references and the variances of their noise.
    shifts : ndarray (n, 2)
        True (dx, dy) of each reference relative to the science image, px.
    flux_ratios : ndarray (n,)
        True flux of each reference in units of the science image's.
    noiseless : ndarray (ny, nx)
        The science image without noise.
    """

    science: np.ndarray
    science_variance: np.ndarray
    psfs: np.ndarray
    psf_variances: np.ndarray
    shifts: np.ndarray
    flux_ratios: np.ndarray
    noiseless: np.ndarray


def shifted_pairs(
    count: int,
    shape: tuple[int, int] = (96, 96),
    *,
    center: tuple[float, float] | None = None,
    max_shift: float = 0.5,
    flux: float = 1e6,
    read_noise: float = 5.0,
    noise: bool = True,
    seed: int = 0,
) -> ShiftedPairs:
    """Return pairs of images with known pure shifts, photon and read noise.

    Parameters
    ----------
    count : int
        Number of references.
    shape : tuple of int
        (ny, nx).
    center : tuple of float, optional
        0-based (x, y) of the science star, px; the middle of the image by default.
    max_shift : float
        Shifts are uniform in -max_shift .. max_shift along each axis, px.
    flux : float
        Electrons of the science star; the references have 0.5 to 2 times as many.
    read_noise : float
        Electrons.
    noise : bool
        Whether noise is added; the variances are the same either way.
    seed : int
        Of the star, the shifts and the noise.
    """
    rng = np.random.default_rng([seed, 1])
    truth = speckled_star(shape, center, flux=flux, seed=seed)
    shifts = rng.uniform(-max_shift, max_shift, (count, 2))
    ratios = 2.0 ** rng.uniform(-1, 1, count)
    # rounding leaves tiny negative values where the star is faint
    moved = [
        np.maximum(ratio * periodic_shift(truth, dx, dy), 0.0)
        for (dx, dy), ratio in zip(shifts, ratios, strict=True)
    ]
    expected = np.stack([truth, *moved])
    variances = expected + read_noise**2
    images = expected
    if noise:
        images = rng.poisson(expected) + read_noise * rng.standard_normal(expected.shape)
    return ShiftedPairs(
        science=images[0],
        science_variance=variances[0],
        psfs=images[1:],
        psf_variances=variances[1:],
        shifts=shifts,
        flux_ratios=ratios,
        noiseless=truth,
    )
