"""Variance components in rings about a star.

In each ring, factors k >= 0 are found such that ``noise + sum_m k_m maps_m`` is the variance of
the values. The likelihood of independent Gaussian values of mean 0 is climbed by
the multiplicative steps ::

    k_m <- k_m sqrt( sum_j x_j^2 maps_mj / V_j^2  /  sum_j maps_mj / V_j ),   V = noise + sum k maps

which keep every factor positive and never lower the likelihood (minorisation-maximisation:
Hunter & Lange 2004, Am. Stat. 58, 30, doi:10.1198/0003130042836).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rings", "fit_components", "make_rings"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RING_WIDTH = 4.0
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
STEPS = 25


@dataclass(frozen=True)
class Rings:
    """The good pixels of an image, sorted into rings.

    Attributes
    ----------
    radii : ndarray, shape (nrings,)
        Mean radius of the pixels of each ring, px.
    order : ndarray of int, shape (ngood,)
        Flat indices of the good pixels, ring after ring.
    starts : ndarray of int, shape (nrings,)
        Where each ring begins in `order`.
    counts : ndarray of int, shape (nrings,)
        Number of pixels of each ring.
    radius : ndarray, shape (npix,)
        Radius of every pixel of the image, px.
    """

    radii: Floats
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    radius: Floats

    def sums(self, values: Floats) -> Floats:
        """Sum over each ring, shape (nrings,), of values in the order of `order`."""
        return np.add.reduceat(values, self.starts)

    def spread(self, per_ring: Floats) -> Floats:
        """The value of each pixel's ring, in the order of `order`."""
        return np.repeat(per_ring, self.counts)

    def medians(self, values: Floats) -> Floats:
        """Median over each ring, shape (nrings,), of values in the order of `order`."""
        return np.array([np.median(part) for part in np.split(values, self.starts[1:])])

    def interpolate(self, per_ring: Floats) -> Floats:
        """Interpolate a value per ring linearly in radius, shape (npix,)."""
        return np.interp(self.radius, self.radii, per_ring)


def make_rings(shape: tuple[int, int], centre: tuple[float, float], good: Bools) -> Rings:
    """Sort the good pixels of an image (ny, nx) into rings about `centre` (x, y), 0-based px."""
    y, x = np.indices(shape)
    radius = np.hypot(x - centre[0], y - centre[1]).ravel()
    inside = np.flatnonzero(good)
    order = inside[np.argsort(radius[inside], kind="stable")]
    sorted_radius = radius[order]
    starts = [0]
    while True:
        inner = sorted_radius[starts[-1]]
        outer = inner + max(RING_WIDTH, RING_GROWTH * inner)
        end = max(int(np.searchsorted(sorted_radius, outer)), starts[-1] + RING_PIXELS)
        if end + RING_PIXELS > len(order):
            break
        starts.append(end)
    counts = np.diff([*starts, len(order)])
    radii = np.add.reduceat(sorted_radius, starts) / counts
    return Rings(radii, order, np.array(starts), counts, radius)


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
        The factors; 0 where noise explains the values.
    """
    tiny = np.finfo(np.float64).tiny
    values, noise = values[rings.order], noise[rings.order]
    maps = maps[:, rings.order]
    freedom = None if freedom is None else np.maximum(freedom[rings.order], 1)
    if freedom is None:
        # an even positive ring may be sky; an even negative one is starlight taken away twice
        values = values - rings.spread(np.maximum(rings.medians(values), 0.0))
        scale = 1.4826 * rings.medians(np.abs(values))
        squares = values**2
        variance = np.maximum(rings.spread(scale**2), noise)
    else:
        squares = values
        variance = np.maximum(rings.spread(rings.medians(squares)), noise)
    active = maps.max(axis=1) > 0
    mean_maps = np.array([rings.sums(part) for part in maps]) / rings.counts
    excess = np.maximum(rings.sums(variance - noise) / rings.counts, 0.0)
    share = excess / max(np.count_nonzero(active), 1)
    factors = np.divide(share, mean_maps, out=np.zeros_like(mean_maps), where=mean_maps > 0)
    for _ in range(STEPS):
        variance = noise + tiny
        for factor, part in zip(factors, maps, strict=True):
            variance += rings.spread(factor) * part
        inverse = 1.0 / variance
        counted = _counted(values, squares * inverse, variance, freedom)
        inverse *= counted
        for m in np.flatnonzero(active):
            per_variance = maps[m] * inverse
            expected = rings.sums(per_variance)
            if freedom is None:
                expected *= CLIPPED_VARIANCE
            found = rings.sums(per_variance * inverse * squares)
            ratio = np.divide(found, expected, out=np.zeros_like(found), where=expected > 0)
            factors[m] *= np.sqrt(ratio)
    return factors


def _counted(
    values: Floats, ratio: Floats, variance: Floats, freedom: Floats | None
) -> Bools:
    """Which values are no outliers of the present variance."""
    if freedom is None:
        return ratio < np.where(values > 0, CLIP_HIGH, CLIP_LOW) ** 2
    # Wilson & Hilferty (1931): the cube root of a mean square is nearly Gaussian
    width = 2.0 / (9.0 * freedom)
    return ratio < (1.0 - width + CLIP_SQUARE * np.sqrt(width)) ** 3
