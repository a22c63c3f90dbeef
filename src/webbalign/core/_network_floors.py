"""Errors that the stars show beyond those that are stated, of images and catalog apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from webbalign.core._robust_tracks import MEDIAN_CHI2, chi2_expected, floor_for

if TYPE_CHECKING:
    from webbalign.core._network_solver import Solver

__all__ = ["found_floors"]

# fewer degrees of freedom than this say nothing about the floor
_FREEDOM = 10
# floors that are tried before the likeliest is refined
_STEPS = 25


def found_floors(
    solver: Solver,
    positions: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    median: bool,
) -> tuple[float, float]:
    """Find what has to be added to the variances of images' stars, and of the catalog's.

    Images are compared with one another, the catalog with their mean: a catalog that is worse than
    it says does not make the images worse.

    Parameters
    ----------
    solver : Solver
    positions : ndarray, shape (n + m, 2)
        Arcsec.
    weight : ndarray, shape (n + m,)
    median : bool
        By the median, while there are wrong matches, rather than by the mean.

    Returns
    -------
    floor, fixed_floor : float
        Arcsec squared; those that the solver has where there are too few measurements.
    """
    n = solver.n_image
    seen = solver.image_repeats
    mean, total = seen.means(positions[:n], weight[:n])
    rows = np.flatnonzero(solver.active[:n] & (seen.members(solver.active[:n])[seen.track] > 1))
    freedom = 1.0 - weight[rows] / total[seen.track[rows]]
    unknowns = solver.spent
    floor, fixed_floor = solver.floor, solver.fixed_floor
    if freedom.sum() * 2 - unknowns >= _FREEDOM:
        apart = positions[rows] - mean[seen.track[rows]]
        squared = np.sum(apart**2, axis=1) * solver.weight[rows]
        floor = _floor(squared, solver.stated[rows], freedom, unknowns, median)
    own = np.arange(n, len(solver.weight))
    own = own[solver.active[own] & (total[solver.repeats.track[own]] > 0)]
    unknowns = len(solver.problem.sky_directions)
    if 2 * len(own) - unknowns >= _FREEDOM:
        track = solver.repeats.track[own]
        squared = np.sum((positions[own] - mean[track]) ** 2, axis=1)
        variance = solver.stated[own] / solver.weight[own] + 1.0 / total[track]
        fixed_floor = _floor(squared, variance, np.ones(len(own)), unknowns, median)
    return floor, fixed_floor


def _floor(
    squared: NDArray[np.float64],
    variance: NDArray[np.float64],
    freedom: NDArray[np.float64],
    unknowns: float,
    median: bool,
) -> float:
    """Variance to be added so that squared distances are what they should be."""
    if median:
        ratio = squared / np.maximum(freedom, 1e-3)
        return floor_for(lambda more: np.median(ratio / (variance + more)) - MEDIAN_CHI2, variance)
    total = 2.0 * float(freedom.sum())
    expected = chi2_expected(total - unknowns, variance)
    most = floor_for(lambda more: np.sum(squared / (variance + more)) - expected, variance)
    if not (most > 0 and variance.min() > 0):
        return most
    return _likeliest(squared, variance, 2.0 * freedom * (1.0 - unknowns / total), most)


def _likeliest(
    squared: NDArray[np.float64],
    variance: NDArray[np.float64],
    freedom: NDArray[np.float64],
    most: float,
) -> float:
    """Return the added variance, up to `most`, that makes the squared distances likeliest.

    Many faint stars whose stated errors are too small by a little make chi-square too large. What
    would have to be added to all of them is more than the bright ones scatter by, and would take
    their weight; the likelihood asks each star.
    """

    def cost(more: float) -> float:
        return float(np.sum(freedom * np.log(variance + more) + squared / (variance + more)))

    steps = most * np.concatenate([[0.0], np.geomspace(1e-6, 1.0, _STEPS)])
    best = int(np.argmin([cost(more) for more in steps]))
    if best == 0:
        return 0.0
    bounds = steps[best - 1], steps[min(best + 1, _STEPS)]
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-4 * most})
    return float(found.x)
