"""Variance components in rings about a star.

In each ring, factors k >= 0 are found such that ``noise + sum_m k_m maps_m`` is the variance of
the values. The likelihood of independent Gaussian values of mean 0 is climbed by
the multiplicative steps ::

    k_m <- k_m * sum_j x_j^2 maps_mj / V_j^2  /  sum_j maps_mj / V_j
    V_j = noise_j + sum_m k_m maps_mj

They keep the factors positive. (Fevotte & Idier 2011, Neural Computation 23, 2421,
doi:10.1162/NECO_a_00168: with the square root of the ratio it is proven that no step lowers the
likelihood; without it the steps reach the same point sooner.)

Signed values are counted from the median of their ring. Sources in the field are positive and
local, residuals of starlight have either sign and are all around. Hence single values beyond +3 or
-5 sigma do not count, nor does a sector of a ring with a mean square far above the median sector's
and mostly from positive values. Both are judged anew at each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rings", "fit_components", "make_rings"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RING_WIDTH = 3.0
"""Least width of a ring, px."""
RING_GROWTH = 0.1
"""Least width of a ring in units of its radius."""
RING_PIXELS = 64
"""Least number of good pixels in a ring."""
CLIP_LOW, CLIP_HIGH = -5.0, 3.0
"""Values that count, in sigma."""
CLIP_SQUARE = 4.0
"""Mean squares beyond this many sigma do not count."""
CLIPPED_VARIANCE = 0.98487
"""Mean square of a unit Gaussian within CLIP_LOW and CLIP_HIGH."""
MEDIAN_SQUARE = 0.45494
"""Median of the square of a unit Gaussian."""
SECTORS = 8
"""Number of sectors of a ring."""
CLIP_SECTOR = 2.0
"""Sectors with more than so many times the mean square of the median sector are suspect ..."""
POSITIVE_SHARE = 0.75
"""... and do not count if more than this share of it is from positive values."""
LARGEST_SQUARE = 25.0
"""Largest square, in units of the variance, with which a value enters that judgement."""
STEPS = 20
"""Multiplicative steps of a fit."""


@dataclass(frozen=True)
class Rings:
    """The good pixels of an image, sorted into the sectors of rings (cells).

    Attributes
    ----------
    radii : ndarray, shape (nrings,)
        Mean radius of the pixels of each ring, px.
    order : ndarray of int, shape (ngood,)
        Flat indices of the good pixels, cell after cell.
    cell_starts : ndarray of int, shape (ncells,)
        Where each cell that has pixels begins in `order`.
    cells : ndarray of int, shape (ncells,)
        Ring number times SECTORS plus sector number of each such cell.
    counts : ndarray of int, shape (nrings,)
        Number of pixels of each ring.
    radius : ndarray, shape (npix,)
        Radius of every pixel of the image, px.
    """

    radii: Floats
    order: NDArray[np.int64]
    cell_starts: NDArray[np.int64]
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]
    radius: Floats

    def sector_sums(self, values: Floats) -> Floats:
        """Return sums, shape (nrings, SECTORS), of values in the order of `order`."""
        sums = np.zeros(len(self.radii) * SECTORS)
        sums[self.cells] = np.add.reduceat(values, self.cell_starts, dtype=np.float64)
        return sums.reshape(-1, SECTORS)

    def spread(self, per_ring: Floats) -> Floats:
        """Return the value of each pixel's ring, in the order of `order`."""
        return np.repeat(per_ring, self.counts)

    def medians(self, values: Floats) -> Floats:
        """Median over each ring, shape (nrings,), of values in the order of `order`."""
        ends = np.cumsum(self.counts)
        return np.array([np.median(part) for part in np.split(values, ends[:-1])])

    def interpolate(self, per_ring: Floats) -> Floats:
        """Interpolate a value per ring linearly in radius, shape (npix,)."""
        return np.interp(self.radius, self.radii, per_ring)


def make_rings(shape: tuple[int, int], centre: tuple[float, float], good: Bools) -> Rings:
    """Sort the good pixels of an image (ny, nx) into rings about `centre` (x, y), 0-based px."""
    y, x = np.indices(shape, dtype=np.float64)
    x -= centre[0]
    y -= centre[1]
    radius = np.hypot(x, y).ravel()
    inside = np.flatnonzero(good)
    sorted_radius = np.sort(radius[inside])
    edges = _ring_edges(sorted_radius)
    ring = np.searchsorted(edges, radius[inside], side="right")
    turn = np.arctan2(y.ravel()[inside], x.ravel()[inside]) / (2.0 * np.pi) + 0.5
    cell = ring * SECTORS + np.minimum((turn * SECTORS).astype(np.int64), SECTORS - 1)
    sorting = np.argsort(cell, kind="stable")
    cells, cell_starts = np.unique(cell[sorting], return_index=True)
    counts = np.bincount(ring)
    radii = np.bincount(ring, radius[inside]) / counts
    return Rings(radii, inside[sorting], cell_starts, cells, counts, radius)


def _ring_edges(radii: Floats) -> Floats:
    """Where a ring ends and the next begins, for sorted radii of all pixels."""
    edges: list[float] = []
    start = 0
    while True:
        inner = radii[start]
        outer = inner + max(RING_WIDTH, RING_GROWTH * inner)
        start = min(max(int(np.searchsorted(radii, outer)), start + RING_PIXELS), len(radii))
        # pixels of equal radius stay together
        start = int(np.searchsorted(radii, radii[start - 1], side="right"))
        if start + RING_PIXELS > len(radii):
            return np.array(edges)
        edges.append(float(radii[start]))


def fit_components(
    values: Floats, noise: Floats, maps: Floats, rings: Rings, freedom: Floats | None = None
) -> Floats:
    """Fit the factors of the maps in each ring.

    Parameters
    ----------
    values : ndarray, shape (npix,)
        Signed values, or, when `freedom` is given, mean squares.
    noise : ndarray, shape (npix,)
        Their known variance.
    maps : ndarray, shape (nmaps, npix)
        Shapes of the further variance, not negative.
    rings : Rings
    freedom : ndarray, shape (npix,), optional
        Degrees of freedom of each mean square.

    Returns
    -------
    ndarray, shape (nmaps, nrings)
        The factors; nearly 0 where noise explains the values.
    """
    values, noise, maps = values[rings.order], noise[rings.order], maps[:, rings.order]
    if freedom is None:
        # an image of zero mean has a pedestal opposite to its sources
        values = values - np.median(values)
        # nor is the level of a ring scatter: sky, or starlight taken away twice all around. As an
        # offset that all its pixels share it is no variance of independent values
        values -= rings.spread(rings.medians(values))
        squares = values**2
        low, high = CLIP_LOW**2, CLIP_HIGH**2
        limits = np.where(values > 0, high, low)
        unclipped = CLIPPED_VARIANCE
        typical = rings.medians(squares) / MEDIAN_SQUARE
    else:
        squares = values
        limits = _limits(freedom[rings.order])
        unclipped = 1.0
        typical = rings.medians(squares)
    factors = _first_factors(typical, noise, maps, rings)
    for _ in range(STEPS):
        variance = noise.copy()
        for factor, part in zip(factors, maps, strict=True):
            variance += rings.spread(factor) * part
        inverse = np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)
        ratio = squares * inverse
        kept = 1.0 if freedom is not None else _kept_sectors(rings, ratio, values)
        inverse *= ratio < limits
        ratio *= inverse
        for factor, part in zip(factors, maps, strict=True):
            found = (rings.sector_sums(part * ratio) * kept).sum(axis=1)
            expected = (rings.sector_sums(part * inverse) * kept).sum(axis=1) * unclipped
            factor *= np.divide(found, expected, out=np.zeros_like(found), where=expected > 0)
    return factors


def _first_factors(typical: Floats, noise: Floats, maps: Floats, rings: Rings) -> Floats:
    """Share what the noise leaves of the typical square equally between the maps."""
    means = np.array([rings.sector_sums(part).sum(axis=1) for part in maps]) / rings.counts
    excess = np.maximum(typical - rings.medians(noise), 0.05 * typical)
    share = excess / max(np.count_nonzero(maps.any(axis=1)), 1)
    return np.divide(share, means, out=np.zeros_like(means), where=means > 0)


def _kept_sectors(rings: Rings, ratio: Floats, values: Floats) -> Floats:
    """1 for the sectors that count, 0 for those that seem to hold a source.

    Theirs is a mean ratio of square to variance far above the median sector's, and mostly from
    positive values.
    """
    ratio = np.minimum(ratio, LARGEST_SQUARE)
    count = rings.sector_sums(np.ones_like(ratio))
    total = rings.sector_sums(ratio)
    positive = rings.sector_sums(ratio * (values > 0))
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    high = mean > CLIP_SECTOR * np.nanmedian(mean, axis=1, keepdims=True)
    return np.where(high & (positive > POSITIVE_SHARE * total), 0.0, 1.0)


def _limits(freedom: Floats) -> Floats:
    """Largest mean square, in units of its mean, that counts.

    Wilson & Hilferty (1931): the cube root of a mean square is nearly Gaussian.
    """
    width = 2.0 / (9.0 * np.maximum(freedom, 1.0))
    return (1.0 - width + CLIP_SQUARE * np.sqrt(width)) ** 3
