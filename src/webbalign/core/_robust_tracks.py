"""Robust weights for repeated measurements of positions, whose true values nobody knows.

What a measurement is worth is judged by its distance from the mean of the others of its star (the
deleted residual): in a pair both are suspect alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

__all__ = [
    "MEDIAN_CHI2",
    "SMALLEST",
    "Repeats",
    "chi2_expected",
    "clip_limit",
    "floor_for",
    "huber_weights",
    "median_variance",
]

# the median of chi-square with two degrees of freedom
MEDIAN_CHI2 = 2.0 * np.log(2.0)
# beyond this many sigmas of the plane distance Huber's loss is linear: 90 % efficient
_HUBER = 2.0
# arcsec; no error is smaller, and no floor is larger
SMALLEST, LARGEST = 1e-7, 100.0


def clip_limit(sigma: float) -> float:
    """Limit of the distance, in errors of one axis: `sigma` counts the error of the distance."""
    return float(np.sqrt(2.0) * sigma)


def huber_weights(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of Huber's loss for distances in units of the error of one axis."""
    return _HUBER / np.maximum(distance, _HUBER)


def median_variance(squared: NDArray[np.float64]) -> float:
    """One-axis variance of squared distances in the plane, from their median."""
    return float(np.median(squared) / MEDIAN_CHI2) if len(squared) else 0.0


def floor_for(excess: object, variance: NDArray[np.float64]) -> float:
    """Variance to add to all so that chi-square is what it should be.

    Parameters
    ----------
    excess : callable
        Chi-square minus its expectation, as a decreasing function of the added variance.
    variance : ndarray
        What the variances are before; unknown ones are zero.

    Returns
    -------
    floor : float
        Arcsec squared, at least the square of `SMALLEST` where a variance is unknown.
    """
    low = 0.0 if len(variance) and variance.min() > 0 else SMALLEST**2
    assert callable(excess)
    if excess(low) <= 0:
        return low
    if excess(LARGEST**2) >= 0:
        return LARGEST**2
    bottom = max(low, SMALLEST**2)
    if excess(bottom) <= 0:
        return bottom
    found = brentq(lambda log: excess(np.exp(log)), np.log(bottom), 2 * np.log(LARGEST), xtol=1e-3)
    return float(np.exp(found))


def chi2_expected(freedom: float, variance: NDArray[np.float64]) -> float:
    """Chi-square beyond which stated variances are too small, by more than chance.

    Where they are not stated (0) the residuals alone have to tell: there is no margin.
    """
    stated = bool(len(variance)) and variance.min() > 0
    return float(freedom + (np.sqrt(2.0 * freedom) if stated else 0.0))


@dataclass(frozen=True, eq=False)
class Repeats:
    """Which measurement belongs to which star.

    Attributes
    ----------
    track : ndarray of int, shape (n,)
        Number of the star of each measurement.
    count : int
        Number of stars.
    """

    track: NDArray[np.intp]
    count: int

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the values (n,) over each star, shape (count,)."""
        total: NDArray[np.float64] = np.bincount(self.track, values, self.count).astype(np.float64)
        return total

    def members(self, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of active measurements of each star."""
        return np.bincount(self.track[active], minlength=self.count)

    def means(
        self, positions: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted mean positions (count, 2), and the sums of weights (count,)."""
        total = self.total(weight)
        safe = np.where(total > 0, total, 1.0)
        sums = [self.total(weight * positions[:, axis]) for axis in range(2)]
        return np.stack(sums, axis=-1) / safe[:, None], total

    def deleted(
        self,
        positions: NDArray[np.float64],
        variance: NDArray[np.float64],
        active: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Distance of each measurement from the mean of the other active ones, in its own errors.

        Where no other one is active, all count: a star all of whose measurements were rejected
        is judged as if none were.

        Returns
        -------
        distance : ndarray, shape (n,)
            In units of the error of one axis; 0 for a star measured once.
        """
        full = 1.0 / variance
        weight = np.where(active, full, 0.0)
        others = self.total(weight)[self.track] - weight
        alone = others <= 1e-9 * full
        if alone.any():
            # all the measurements of a star are weighed in the same way
            whole = np.zeros(self.count, bool)
            whole[self.track[alone]] = True
            weight = np.where(whole[self.track], full, weight)
            others = self.total(weight)[self.track] - weight
        mean, total = self.means(positions, weight)
        apart = positions - mean[self.track]
        single = others <= 1e-9 * full
        others = np.where(single, 1.0, others)
        # the mean without the measurement itself
        stretch = total[self.track] / others
        squared = np.einsum("ni,ni->n", apart, apart) * stretch**2
        return np.where(single, 0.0, np.sqrt(squared / (variance + 1.0 / others)))

    def clip(
        self,
        positions: NDArray[np.float64],
        variance: NDArray[np.float64],
        valid: NDArray[np.bool_],
        limit: float | NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Which measurements agree with the others of their star.

        The worst of each star goes first, then the others are judged without it. The answer
        depends on the positions only, not on what was rejected before: a measurement returns
        when, and only when, it is near again. What is not `valid` takes no part.
        """
        active = valid & (self.members(valid)[self.track] > 1)
        distance = self.deleted(positions, variance, active)
        while (bad := active & (distance > limit)).any():
            worst = np.zeros(self.count)
            np.maximum.at(worst, self.track[bad], distance[bad])
            # both of a pair are equally far, but for rounding
            active &= ~(bad & (distance > worst[self.track] * (1.0 - 1e-9)))
            active &= self.members(active)[self.track] > 1
            distance = self.deleted(positions, variance, active)
        back = valid & (distance <= limit)
        back &= self.members(active)[self.track] > 1
        return active | back
