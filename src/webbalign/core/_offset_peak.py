"""Peaks in the differences of all pairs of two star lists, and how likely chance makes them.

Positions are complex numbers x + iy, in arcsec. If the lists show the same stars, the differences
of the true pairs fall on one point, those of all others nearly evenly on the plane. The number of
stars in a window is judged by the Poisson probability of as many false pairs, times the number of
places that were tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.special import gammainc

__all__ = ["Peak", "find_peaks", "isolated", "log_chance", "near_pairs"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]

# Peaks that are handed on from one histogram.
_PER_HISTOGRAM = 2
# Cells on each side of a window in which the density of false pairs is counted: stars cluster.
_RING = 4


@dataclass(frozen=True)
class Peak:
    """A window full of pair differences.

    Attributes
    ----------
    shift : complex
        Middle of the window in arcsec.
    roll : float
        Angle in radian by which the first list was turned.
    width : float
        Half the side of the window in arcsec.
    density : float
        False pairs per square arcsec thereabouts.
    log_chance : float
        Decimal logarithm of the expected number of windows that chance fills as well.
    """

    shift: complex
    roll: float
    width: float
    density: float
    log_chance: float


def near_pairs(first: Complex, second: Complex, reach: float) -> tuple[Indices, Indices]:
    """Return the indices (p,), (p,) of all pairs of points within `reach` of one another."""
    trees = [KDTree(np.stack([z.real, z.imag], axis=1)) for z in (first, second)]
    found = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
    return np.asarray(found["i"], np.intp), np.asarray(found["j"], np.intp)


def isolated(z: Complex, flux: Array, separation: float) -> Indices:
    """Return the indices of the points (n,) that are the brightest within `separation`.

    Points of unknown flux (nan) are the faintest; of equal ones the leftmost counts.
    """
    if len(z) < 2 or separation <= 0:
        return np.arange(len(z))
    brightness = np.where(np.isfinite(flux), flux, -np.inf)
    rank = np.empty(len(z), np.intp)
    rank[np.lexsort((z.imag, z.real, -brightness))] = np.arange(len(z))
    tree = KDTree(np.stack([z.real, z.imag], axis=1))
    pairs = tree.query_pairs(separation, output_type="ndarray")
    lonely = np.ones(len(z), bool)
    lonely[np.where(rank[pairs[:, 0]] > rank[pairs[:, 1]], pairs[:, 0], pairs[:, 1])] = False
    return np.flatnonzero(lonely)


def log_chance(count: int, expected: float, trials: float) -> float:
    """Decimal logarithm of `trials` times the Poisson probability of `count` or more."""
    if count <= 0:
        return float(np.log10(trials))
    probability = gammainc(count, max(expected, 1e-12))
    return float(np.log10(trials) + np.log10(max(probability, 1e-300)))


def find_peaks(
    difference: Complex,
    pairs: tuple[Indices, Indices],
    reach: float,
    widths: Sequence[float],
    roll: float = 0.0,
    n_rolls: int = 1,
) -> list[Peak]:
    """Find the fullest windows of several widths.

    Parameters
    ----------
    difference : ndarray (p,) of complex
        Second position minus first of each pair; those beyond `reach` do not count.
    pairs : tuple of ndarray (p,), (p,)
        Numbers of the stars of each pair. A star counts once per window.
    reach : float
        Radius of the search in arcsec.
    widths : sequence of float
        Half the sides of the windows in arcsec.
    roll : float
        Handed on to the peaks.
    n_rolls : int
        Number of rolls that are tried in all.
    """
    near = np.abs(difference) <= reach
    difference, first, second = difference[near], pairs[0][near], pairs[1][near]
    if not len(difference):
        return []
    density = len(difference) / (np.pi * reach**2)
    peaks = []
    for width in widths:
        trials = n_rolls * max(np.pi * (reach / width) ** 2, 1.0)
        for shift, local in _fullest(difference, reach, width):
            away = difference - shift
            inside = (np.abs(away.real) <= width) & (np.abs(away.imag) <= width)
            # one star with many neighbours is no evidence
            count = min(len(np.unique(first[inside])), len(np.unique(second[inside])))
            false = max(density, local)
            chance = log_chance(count, false * 4 * width**2, trials)
            peaks.append(Peak(shift, roll, width, false, chance))
    return peaks


def _fullest(difference: Complex, reach: float, width: float) -> list[tuple[complex, float]]:
    """Middle of the fullest windows of 2 x 2 cells, and the density of pairs about them."""
    n = int(np.ceil(2 * reach / width)) + 2
    column = ((difference.real + reach) / width).astype(np.intp)
    row = ((difference.imag + reach) / width).astype(np.intp)
    cells = np.bincount(column * n + row, minlength=n * n).reshape(n, n)
    window = cells[:-1] + cells[1:]
    window = window[:, :-1] + window[:, 1:]
    found = []
    for _ in range(_PER_HISTOGRAM):
        i, j = np.unravel_index(np.argmax(window), window.shape)
        count = window[i, j]
        if count <= 0:
            break
        far = (
            slice(max(i - _RING, 0), i + _RING + 2),
            slice(max(j - _RING, 0), j + _RING + 2),
        )
        near = slice(max(i - 1, 0), i + 3), slice(max(j - 1, 0), j + 3)
        ring = cells[far].sum() - cells[near].sum()
        area = (cells[far].size - cells[near].size) * width**2
        shift = complex((i + 1) * width - reach, (j + 1) * width - reach)
        found.append((shift, float(ring / area)))
        window[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3] = 0
    return found
