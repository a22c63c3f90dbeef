"""What the images of a star can look like: diffraction by a nearly perfect segmented mirror.

One frame cannot tell the shape of an undersampled PSF from an error of the positions that repeats
from pixel to pixel: any such error makes a shape of its own that fits all the stars (Anderson &
King 2000, doi:10.1086/316632, break this with dithers). What can be known beforehand settles it:
the optics pass no detail beyond the diffraction limit. So the shape is a mean plus a few modes, the
principal components of images simulated with random small wavefront errors, blurs and scales, each
with the amplitude that it has there. All of it is in units of the FWHM and so holds for any band.

Shapes are held as Gauss-Hermite series, of which the integral over a pixel and its derivatives are
exact (van der Marel & Franx 1993, doi:10.1086/172534, use them for spectral lines).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import erf

__all__ = ["WIDTH", "PsfFamily", "pixel_integrals", "psf_family"]

ORDER = 12
WIDTH = 0.5  # of the Gaussian in the series, FWHM
RADIUS = 2.3  # within which the shapes are described, FWHM
MODES = 30
MEMBERS = 300
WAVEFRONT = 0.1  # largest rms wavefront error, waves
BLUR = 0.2  # largest blur by jitter and by diffusion of charge, FWHM
SCALE = 0.03  # rms of the relative error of the FWHM
# of a filled aperture; the step of the pupil's transform follows from it
FWHM_OF_PUPIL = 1.045
PUPIL = 48


@dataclass(frozen=True)
class PsfFamily:
    """Shapes as coefficients of Gauss-Hermite functions of width `WIDTH`, axes (order y, order x).

    Attributes
    ----------
    mean : ndarray (order + 1, order + 1)
        Its sum over all pixels is 1.
    modes : ndarray (MODES, order + 1, order + 1)
        Deviations from the mean that one standard deviation of each amplitude makes.
    """

    mean: np.ndarray
    modes: np.ndarray


def pixel_integrals(offset: np.ndarray, width: float, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the one-dimensional functions of the series over pixels.

    Parameters
    ----------
    offset : ndarray (n,)
        Positions of stars relative to the middle pixel of their stamps, px.
    width : float
        Of the Gaussian, px.
    half : int
        A stamp has 2 half + 1 pixels.

    Returns
    -------
    integrals, derivatives : ndarray (n, order + 1, 2 half + 1)
        The derivatives are those with respect to the offset, per px.
    """
    edges = np.arange(2 * half + 2) - half - 0.5
    t = (edges - offset[:, None]) / width
    functions = _hermite(t)
    primitives = [erf(t / np.sqrt(2)) / 2]
    primitives += [-functions[k - 1] / np.sqrt(k) for k in range(1, ORDER + 1)]
    integrals = np.diff(np.stack(primitives, axis=1), axis=2)
    return integrals, -np.diff(np.stack(functions, axis=1), axis=2) / width


def _hermite(t: np.ndarray) -> list[np.ndarray]:
    """Gaussian times the Hermite polynomials, each divided by sqrt(k!)."""
    gauss = np.exp(-t * t / 2) / np.sqrt(2 * np.pi)
    functions = [gauss, t * gauss]
    for k in range(2, ORDER + 1):
        functions.append((t * functions[-1] - np.sqrt(k - 1) * functions[-2]) / np.sqrt(k))
    return functions


@lru_cache(maxsize=1)
def psf_family() -> PsfFamily:
    """Return the mean shape and its modes (0.3 s the first time)."""
    grid = np.linspace(-RADIUS, RADIUS, 47)
    inside = np.hypot(grid, grid[:, None]) <= RADIUS
    images = _random_images(grid)[:, inside]
    images /= images.sum(axis=1, keepdims=True)
    orders = [(a, b) for a in range(ORDER + 1) for b in range(ORDER + 1 - a)]
    series = np.array(_hermite(grid / WIDTH)) / WIDTH
    design = np.stack([np.outer(series[a], series[b])[inside] for a, b in orders], axis=1)
    # the least singular values are functions that live outside of the circle
    to_series = np.linalg.pinv(design, rcond=1e-4) / (grid[1] - grid[0]) ** 2
    mean = images.mean(axis=0)
    _, values, vectors = np.linalg.svd(images - mean, full_matrices=False)
    modes = vectors[:MODES] * values[:MODES, None] / np.sqrt(MEMBERS)
    coefficients = np.zeros((1 + MODES, ORDER + 1, ORDER + 1))
    rows, columns = np.transpose(orders)
    coefficients[:, rows, columns] = np.vstack([mean, modes]) @ to_series.T
    return PsfFamily(mean=coefficients[0], modes=coefficients[1:])


def _random_images(grid: np.ndarray) -> np.ndarray:
    """Images (MEMBERS, n, n) on a grid in units of the FWHM, each centred."""
    random = np.random.default_rng(20220712)
    pupil, shapes = _pupil()
    images = np.empty((MEMBERS, len(grid), len(grid)))
    for image in images:
        amounts = random.normal(size=len(shapes))
        amounts *= WAVEFRONT * random.uniform() / np.sqrt((amounts**2).sum())
        field = pupil * np.exp(2j * np.pi * np.tensordot(amounts, shapes, 1))
        scale = 1 + SCALE * random.normal()
        image[:] = _centred(field, grid, scale)
        gaussian_filter(image, random.uniform(0, BLUR) / (grid[1] - grid[0]), output=image)
    return images


def _centred(field: np.ndarray, grid: np.ndarray, scale: float) -> np.ndarray:
    """Intensity in the focal plane with the Gaussian-weighted centroid in the origin."""
    samples = np.arange(PUPIL) - (PUPIL - 1) / 2
    weight = np.exp(-(grid**2) / (2 * 0.5**2))
    shift = np.zeros(2)
    for _ in range(3):
        kernels = [
            np.exp(-2j * np.pi * FWHM_OF_PUPIL / scale / PUPIL * np.outer(grid + s, samples))
            for s in shift
        ]
        image = np.abs(kernels[0] @ field @ kernels[1].T) ** 2
        weighted = image * np.outer(weight, weight)
        moments = np.array([(weighted.sum(1) * grid).sum(), (weighted.sum(0) * grid).sum()])
        # a centroid under a weight as wide as the image moves by half of what the image moves
        shift += 2 * moments / weighted.sum()
    return image


def _pupil() -> tuple[np.ndarray, np.ndarray]:
    """Eighteen hexagons (n, n), and wavefront errors (m, n, n) of unit rms, up to fourth order."""
    y, x = (np.mgrid[:PUPIL, :PUPIL] - (PUPIL - 1) / 2) * (2 / PUPIL)
    inside = np.zeros(x.shape, dtype=bool)
    pitch = 0.4
    angles = np.deg2rad([30, 90, 150])[:, None, None]
    for i, j in product(range(-2, 3), repeat=2):
        if abs(i + j) <= 2 and (i, j) != (0, 0):
            dx, dy = x - pitch * np.sqrt(0.75) * i, y - pitch * (j + i / 2)
            inside |= (np.abs(dx * np.cos(angles) + dy * np.sin(angles)) < pitch / 2).all(axis=0)
    r2 = x**2 + y**2
    shapes = np.array([
        2 * r2, x**2 - y**2, 2 * x * y,
        x * (3 * r2 - 2), y * (3 * r2 - 2), x**3 - 3 * x * y**2, 3 * x**2 * y - y**3,
        6 * r2**2 - 6 * r2, (4 * r2 - 3) * (x**2 - y**2), (4 * r2 - 3) * 2 * x * y,
    ])  # fmt: skip
    shapes -= shapes[:, inside].mean(axis=1)[:, None, None]
    shapes /= shapes[:, inside].std(axis=1)[:, None, None]
    return inside, shapes
