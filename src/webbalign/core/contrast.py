"""How faint a source an image would show, against the distance from the star.

Close to the star there are few resolution elements to learn the noise from. Following Mawet et al.
2014, ApJ 792, 97 (doi:10.1088/0004-637X/792/2/97), the noise at a distance is the scatter of the
light in apertures of one resolution element side by side on a ring, and the threshold is that of
Student's t with the false-alarm probability of 5 sigma of a Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

__all__ = ["ContrastCurve", "aperture_sums", "contrast_curve", "student_factor"]

Floats = NDArray[np.float64]

# Share of an aperture that has to be measured for it to count.
LEAST_COVERED = 0.75


@dataclass(frozen=True)
class ContrastCurve:
    """The limit of detection on each ring.

    Attributes
    ----------
    separation : ndarray, shape (n,)
        Distance from the star, px.
    noise : ndarray, shape (n,)
        Sample standard deviation of the aperture sums of the ring, in the unit of the image times
        pixels; NaN with fewer than three of them.
    limit : ndarray, shape (n,)
        Aperture sum of a source at the threshold, same unit.
    n_elements : ndarray of int, shape (n,)
        Apertures of the ring that were used.
    significance : float
        Sigma of the Gaussian whose false-alarm probability the threshold has.
    """

    separation: Floats
    noise: Floats
    limit: Floats
    n_elements: NDArray[np.int64]
    significance: float


def contrast_curve(
    image: NDArray,
    centre: tuple[float, float],
    element: float,
    separations: Sequence[float] | NDArray,
    *,
    significance: float = 5.0,
) -> ContrastCurve:
    """Measure the limit of detection.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Image less its starlight; NaN where nothing was measured.
    centre : tuple of float
        0-based (x, y) of the star.
    element : float
        Diameter of a resolution element, px.
    separations : sequence of float
        Radii of the rings, px.
    significance : float
        Of the threshold, in sigma of a Gaussian.

    Returns
    -------
    ContrastCurve
        A source in the image raises the limit of its own ring.
    """
    sums = aperture_sums(image, element)
    radius = np.asarray(separations, np.float64)
    noise, limit = np.full(radius.shape, np.nan), np.full(radius.shape, np.nan)
    count = np.zeros(radius.shape, np.int64)
    for index, distance in enumerate(radius):
        values = _on_ring(sums, centre, distance, element)
        count[index] = len(values)
        if len(values) > 2:
            noise[index] = np.std(values, ddof=1)
            limit[index] = student_factor(len(values) - 1, significance) * noise[index]
    return ContrastCurve(radius, noise, limit, count, significance)


def student_factor(n_others: int, significance: float = 5.0) -> float:
    """Return the threshold in units of the scatter of `n_others` other apertures.

    Mawet et al. 2014, equation 9: the mean of the others is uncertain as well.

    >>> round(student_factor(10_000), 2), round(student_factor(12), 1)
    (5.0, 10.7)
    """
    quantile = stats.t.isf(stats.norm.sf(significance), n_others - 1)
    return float(quantile * np.sqrt(1 + 1 / n_others))


def aperture_sums(image: NDArray, diameter: float) -> Floats:
    """Return the sum over a disk of `diameter` px about each pixel, shape (ny, nx).

    What is missing within a disk is taken to be as bright as the rest of it; NaN where less than
    three quarters are known.
    """
    disk = _disk(diameter)
    known = np.isfinite(image)
    total = signal.fftconvolve(np.where(known, image, 0.0).astype(np.float64), disk, "same")
    covered = signal.fftconvolve(known.astype(np.float64), disk, "same") / disk.sum()
    enough = covered >= LEAST_COVERED
    return np.where(enough, total / np.where(enough, covered, 1.0), np.nan)


def _disk(diameter: float) -> Floats:
    """Return the share of each pixel within a disk about the middle one: its area exactly."""
    from photutils.geometry import circular_overlap_grid

    reach = int(np.ceil((diameter - 1) / 2)) + 1.5
    side = round(2 * reach)
    exactly = {"use_exact": 1, "subpixels": 1}
    return circular_overlap_grid(-reach, reach, -reach, reach, side, side, diameter / 2, **exactly)


def _on_ring(sums: Floats, centre: tuple[float, float], radius: float, element: float) -> Floats:
    """Return the sums in apertures side by side on a ring."""
    number = int(2 * np.pi * radius / element)
    angle = 2 * np.pi * np.arange(number) / max(number, 1)
    # of the nearest pixels: between them one would average, and the noise would seem smaller
    x = np.rint(centre[0] + radius * np.cos(angle)).astype(int)
    y = np.rint(centre[1] + radius * np.sin(angle)).astype(int)
    ny, nx = sums.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    values = sums[y[inside], x[inside]]
    return values[np.isfinite(values)]
