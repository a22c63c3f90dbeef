"""Errors that the stars show beyond those that are stated, of images and catalog apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from webbalign.core._robust_tracks import MEDIAN_CHI2, chi2_expected, floor_for

if TYPE_CHECKING:
    from webbalign.core._network_solver import Solver

__all__ = ["Floors", "found_floors"]

# fewer degrees of freedom than this say nothing about the floor
_FREEDOM = 10
# floors, and factors, that are tried before the likeliest are refined
_STEPS = 25
# stated errors that differ by less than this part are taken for equal while these are looked for
_ALIKE = 0.02


@dataclass(frozen=True)
class Floors:
    """What makes stated variances right: ``stretch * stated + floor``.

    Attributes
    ----------
    images, catalog : float
        Added variance, arcsec squared: of stars in images, of those in the catalog.
    stretch : float
        Factor of stars in images, at least 1.
    """

    images: float = 0.0
    catalog: float = 0.0
    stretch: float = 1.0


def found_floors(
    solver: Solver,
    positions: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    median: bool,
) -> Floors:
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
    Floors
        Those that the solver has where there are too few measurements.
    """
    n = solver.n_image
    seen = solver.image_repeats
    mean, total = seen.means(positions[:n], weight[:n])
    rows = np.flatnonzero(solver.active[:n] & (seen.members(solver.active[:n])[seen.track] > 1))
    freedom = 1.0 - weight[rows] / total[seen.track[rows]]
    unknowns = solver.spent
    floors = solver.floors
    if freedom.sum() * 2 - unknowns >= _FREEDOM:
        apart = positions[rows] - mean[seen.track[rows]]
        squared = np.sum(apart**2, axis=1) * solver.weight[rows]
        floor, stretch = _floor(squared, solver.stated[rows], freedom, unknowns, median)
        floors = replace(floors, images=floor, stretch=stretch)
    own = np.arange(n, len(solver.weight))
    own = own[solver.active[own] & (total[solver.repeats.track[own]] > 0)]
    unknowns = len(solver.problem.sky_directions)
    if 2 * len(own) - unknowns >= _FREEDOM:
        track = solver.repeats.track[own]
        squared = np.sum((positions[own] - mean[track]) ** 2, axis=1)
        variance = solver.stated[own] / solver.weight[own] + 1.0 / total[track]
        fixed_floor, _ = _floor(
            squared, variance, np.ones(len(own)), unknowns, median, stretchable=False
        )
        floors = replace(floors, catalog=fixed_floor)
    return floors


def _floor(
    squared: NDArray[np.float64],
    variance: NDArray[np.float64],
    freedom: NDArray[np.float64],
    unknowns: float,
    median: bool,
    *,
    stretchable: bool = True,
) -> tuple[float, float]:
    """Variance to be added, and factor, so that squared distances are what they should be."""
    if median:
        ratio = squared / np.maximum(freedom, 1e-3)
        more = floor_for(lambda more: np.median(ratio / (variance + more)) - MEDIAN_CHI2, variance)
        return more, 1.0
    total = 2.0 * float(freedom.sum())
    expected = chi2_expected(total - unknowns, variance)
    most = floor_for(lambda more: np.sum(squared / (variance + more)) - expected, variance)
    if not (most > 0 and variance.min() > 0):
        return most, 1.0
    shares = _Shares.of(squared, variance, 2.0 * freedom * (1.0 - unknowns / total))
    floor = shares.likeliest_floor(most, 1.0)
    if not stretchable:
        return floor, 1.0
    stretch, both = shares.likeliest(most)
    # one number more has to earn its place (Schwarz 1978, Ann. Stat. 6, 461)
    earned = shares.cost(floor, 1.0) - shares.cost(both, stretch)
    return (both, stretch) if earned > np.log(total) else (floor, 1.0)


@dataclass(frozen=True, eq=False)
class _Shares:
    """Squared distances and degrees of freedom, of stars of like variance together.

    Many faint stars whose stated errors are too small by a little make chi-square too large. What
    would have to be added to all of them is more than the bright ones scatter by, and would take
    their weight; the likelihood asks each star.
    """

    squared: NDArray[np.float64]
    variance: NDArray[np.float64]
    freedom: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        squared: NDArray[np.float64],
        variance: NDArray[np.float64],
        freedom: NDArray[np.float64],
    ) -> _Shares:
        width = 2.0 * np.log1p(_ALIKE)
        kind = np.rint((np.log(variance) - np.log(variance.min())) / width)
        _, kind = np.unique(kind, return_inverse=True)
        number = np.bincount(kind)
        squares, logs, free = (
            np.bincount(kind, values).astype(np.float64)
            for values in (squared, np.log(variance), freedom)
        )
        return cls(squares, np.exp(logs / number), free)

    def cost(self, floor: float, stretch: float) -> float:
        """Twice the negative logarithm of the likelihood, up to a constant."""
        whole = stretch * self.variance + floor
        return float(np.sum(self.freedom * np.log(whole) + self.squared / whole))

    def likeliest_floor(self, most: float, stretch: float) -> float:
        """Return the likeliest floor, up to `most`, for a factor."""
        steps = most * np.concatenate([[0.0], np.geomspace(1e-6, 1.0, _STEPS)])
        return _lowest(lambda floor: self.cost(floor, stretch), steps)

    def likeliest(self, most: float) -> tuple[float, float]:
        """Return the likeliest factor, from 1 to what would do alone, with its floor."""
        alone = float(np.sum(self.squared / self.variance) / self.freedom.sum())

        def cost(stretch: float) -> float:
            return self.cost(self.likeliest_floor(most, stretch), stretch)

        stretch = _lowest(cost, np.linspace(1.0, max(alone, 1.0), 8))
        return stretch, self.likeliest_floor(most, stretch)


def _lowest(cost: Callable[[float], float], steps: NDArray[np.float64]) -> float:
    """Return where a cost is lowest: first of some steps, then between those beside the best."""
    best = int(np.argmin([cost(step) for step in steps]))
    if best == 0:
        return float(steps[0])
    low, high = steps[best - 1], steps[min(best + 1, len(steps) - 1)]
    if not high > low:
        return float(steps[0])
    found = minimize_scalar(
        cost, bounds=(low, high), method="bounded", options={"xatol": 1e-4 * steps[-1]}
    )
    return float(found.x)
