"""One correction from several measurements of it: inverse covariance, consistency, outliers.

Measurements of one plane are ``xy' = matrix @ xy + shift``. They may measure different things: one
a shift alone, the next a rotation as well. What a measurement holds fixed (no variance) says
nothing about that parameter as soon as another one has measured it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import f as f_distribution

from webbalign.core._affine_parts import from_parts, to_parts

__all__ = ["Combined", "combine", "disagreement"]

_ARM = 60.0  # arcsec: how far from the reference point rotations and scales are looked at
_FIXED = 1e-8  # arcsec at that arm: a smaller error means that nothing was measured
_SMALLEST = 1e-7  # arcsec: no measurement is better
_UNLIKELY = 1e-4
_ENOUGH = 4  # of fewer measurements nobody can say which one is wrong


@dataclass(frozen=True, eq=False)
class Combined:
    """The mean of several measurements.

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    cov : ndarray, shape (6, 6)
        Of m11, m12, m21, m22, xshift, yshift; the scatter is part of it.
    chi2_reduced : float
        Of the measurements used about the mean, the scatter being part of their errors; NaN for
        one.
    scatter : float
        Error of each axis of a shift that is not explained by the stated ones, arcsec.
    used : ndarray of bool, shape (n,)
        False: an outlier.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    cov: NDArray[np.float64]
    chi2_reduced: float
    scatter: float
    used: NDArray[np.bool_]


def combine(
    matrices: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    shifts: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    covs: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    *,
    scatter: bool = False,
    tolerance: float = 0.02,
) -> Combined:
    """Combine measurements of one correction by inverse covariance.

    Parameters
    ----------
    matrices : sequence of ndarray, each (2, 2)
    shifts : sequence of ndarray, each (2,)
        Arcsec, all in one plane.
    covs : sequence of ndarray, each (6, 6)
        Of m11, m12, m21, m22, xshift, yshift.
    scatter : bool
        Whether the shifts may scatter by more than their errors (jitter between exposures): the
        scatter is estimated (Paule & Mandel 1982, J. Res. NBS 87, 377) and is part of the weights
        and the errors. If not, and they do, the covariance is scaled by the reduced chi-square.
        With scatter, errors of rotations and scales that do not show between the measurements are
        common to them, as those of exposures whose rolls were drawn together: they do not average
        out.
    tolerance : float
        Arcsec; what differs by less from the others is no outlier.

    Returns
    -------
    Combined
        A measurement is an outlier if, of four or more, it is incompatible with the mean and the
        scatter of the others (F test).
    """
    values = np.concatenate(
        [np.reshape(matrices, (-1, 4)), np.reshape(shifts, (-1, 2))], axis=1
    ).astype(np.float64)
    if len(values) == 1:
        (own,) = np.array(covs, dtype=np.float64)
        one = np.ones(1, bool)
        return Combined(values[0, :4].reshape(2, 2), values[0, 4:], own, np.nan, 0.0, one)
    parts, slopes = to_parts(values)
    spread = slopes @ np.asarray(covs, dtype=np.float64).reshape(-1, 6, 6) @ slopes.mT
    measured = _measured(spread)
    used = _without_outliers(parts, spread, measured, tolerance)
    mean = _mean(parts[used], spread[used], measured[used], 0.0)
    chi2, extra = mean.chi2_reduced, 0.0
    if scatter and used.sum() > 1:
        extra = _scatter(parts[used], spread[used], measured[used])
        mean = _mean(parts[used], spread[used], measured[used], extra)
        chi2 = mean.chi2_reduced
    cov = mean.cov * (1.0 if scatter or not chi2 > 1.0 else chi2)
    if scatter:
        cov = cov + _common(parts[used], spread[used], measured[used])
    found, back = from_parts(mean.parts)
    return Combined(
        matrix=found[:4].reshape(2, 2),
        shift=found[4:],
        cov=back @ cov @ back.T,
        chi2_reduced=chi2,
        scatter=extra,
        used=used,
    )


def disagreement(
    first: NDArray[np.float64], second: NDArray[np.float64], cov: NDArray[np.float64]
) -> float:
    """Probability that two shifts differ so much by chance.

    Parameters
    ----------
    first, second : ndarray, shape (2,)
    cov : ndarray, shape (2, 2)
        Of their difference.
    """
    apart = first - second
    cov = cov + _SMALLEST**2 * np.eye(2)
    # chi-square of two degrees of freedom
    return float(np.exp(-0.5 * apart @ np.linalg.solve(cov, apart)))


@dataclass(frozen=True, eq=False)
class _Mean:
    parts: NDArray[np.float64]
    cov: NDArray[np.float64]
    chi2_reduced: float
    freedom: int
    chi2: float


def _measured(spread: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which parameters each measurement has measured, shape (n, 6)."""
    variance = np.einsum("ijj->ij", spread).copy()
    # what follows an error of the rotation, as where the matrix was linearised elsewhere, is none
    # of its own; to take it for one would give the little that is left of it all the weight
    turns = variance[:, 2] > 0
    safe = np.where(turns, variance[:, 2], 1.0)[:, None]
    variance[:, 3:] -= np.where(turns[:, None], spread[:, 2, 3:] ** 2 / safe, 0.0)
    arm = np.array([1.0, 1.0, _ARM, _ARM, _ARM, _ARM])
    measured = np.sqrt(np.maximum(variance, 0.0)) * arm > _FIXED
    measured[:, :2] = True
    return measured


def _mean(
    parts: NDArray[np.float64],
    spread: NDArray[np.float64],
    measured: NDArray[np.bool_],
    extra: float,
) -> _Mean:
    """Generalised least squares; what nobody has measured is the plain mean, without error."""
    normal, right = np.zeros((6, 6)), np.zeros(6)
    weights = []
    for row, cov, which in zip(parts, spread, measured, strict=True):
        picked = np.flatnonzero(which)
        own = cov[np.ix_(picked, picked)] + np.diag(_least(which, extra))
        weight = np.zeros((6, 6))
        weight[np.ix_(picked, picked)] = np.linalg.inv(own)
        weights.append(weight)
        normal += weight
        right += weight @ row
    known = np.flatnonzero(measured.any(axis=0))
    found, cov = parts.mean(axis=0), np.zeros((6, 6))
    inverse = np.linalg.inv(normal[np.ix_(known, known)])
    found[known] = inverse @ right[known]
    cov[np.ix_(known, known)] = inverse
    chi2 = sum(
        float((row - found) @ weight @ (row - found))
        for row, weight in zip(parts, weights, strict=True)
    )
    freedom = int(measured.sum()) - len(known)
    return _Mean(found, cov, chi2 / freedom if freedom > 0 else np.nan, freedom, chi2)


def _common(
    parts: NDArray[np.float64], spread: NDArray[np.float64], measured: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Covariance (6, 6) that the mean has beyond that of independent measurements."""
    more = np.zeros((6, 6))
    for number in range(2, 6):
        rows = measured[:, number]
        if rows.sum() < 2:
            continue
        variance = spread[rows, number, number]
        shared = float(variance.mean() - np.var(parts[rows, number], ddof=1))
        if shared > 0.0:
            # what goes along with an error of this parameter in the others
            along = np.mean(spread[rows, :, number] / variance[:, None], axis=0)
            more += shared * (1.0 - 1.0 / rows.sum()) * np.outer(along, along)
    return more


def _least(which: NDArray[np.bool_], extra: float) -> NDArray[np.float64]:
    """Variances that are added to those of a measurement."""
    more = np.full(6, (_SMALLEST / _ARM) ** 2)
    more[:2] = _SMALLEST**2 + extra**2
    return more[which]


def _scatter(
    parts: NDArray[np.float64], spread: NDArray[np.float64], measured: NDArray[np.bool_]
) -> float:
    """Scatter of the shifts by which their chi-square is what it should be."""

    def excess(extra: float) -> float:
        # of the shifts alone: errors of rotations say nothing about the scatter of shifts
        shifts = measured & (np.arange(6) < 2)
        mean = _mean(parts, spread, shifts, extra)
        return mean.chi2 - mean.freedom

    if excess(0.0) <= 0.0:
        return 0.0
    high = float(np.ptp(parts[:, :2], axis=0).max()) + _SMALLEST
    while excess(high) > 0.0:
        high *= 2.0
    return float(brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def _without_outliers(
    parts: NDArray[np.float64],
    spread: NDArray[np.float64],
    measured: NDArray[np.bool_],
    tolerance: float,
) -> NDArray[np.bool_]:
    used = np.ones(len(parts), bool)
    if np.hypot(*np.ptp(parts[:, :2], axis=0)) <= tolerance:
        return used
    while used.sum() >= _ENOUGH:
        numbers = np.flatnonzero(used)
        chances = [_chance(parts, spread, measured, numbers, int(k), tolerance) for k in numbers]
        # the limit is for all of them together
        if min(chances) * len(numbers) >= _UNLIKELY:
            break
        used[numbers[int(np.argmin(chances))]] = False
    return used


def _chance(
    parts: NDArray[np.float64],
    spread: NDArray[np.float64],
    measured: NDArray[np.bool_],
    numbers: NDArray[np.intp],
    one: int,
    tolerance: float,
) -> float:
    """Probability that a shift differs so much from the others by chance."""
    others = numbers[numbers != one]
    extra = _scatter(parts[others], spread[others], measured[others])
    mean = _mean(parts[others], spread[others], measured[others], extra)
    apart = parts[one, :2] - mean.parts[:2]
    if np.hypot(*apart) <= tolerance:
        return 1.0
    cov = spread[one, :2, :2] + mean.cov[:2, :2] + (extra**2 + _SMALLEST**2) * np.eye(2)
    ratio = 0.5 * apart @ np.linalg.solve(cov, apart)
    return float(f_distribution.sf(ratio, 2, 2 * (len(others) - 1)))
