"""Values that should be equal, each with its error: drawn together as far as they agree.

Of several measurements of what may or may not be one value, the best estimate of each lies between
itself and their mean: at the mean if they scatter by no more than their errors, at itself if they
scatter by much more (Efron & Morris 1975, J. Am. Stat. Assoc. 70, 311). The true scatter is not
known. What it may be by the measurements themselves is averaged over, so that few of them are not
taken for equal because they happen to agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shrunk", "shrink_together"]

# true scatters that are tried, evenly in the quantiles of the prior
_TRIED = 400
# variance of a difference, of the largest one's, below which nothing was measured
_NOTHING = 1e-14


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What becomes of all parameters.

    Attributes
    ----------
    step : ndarray, shape (k,)
        To be added to them.
    covariance : ndarray, shape (k, k)
    scatter : float
        True scatter (root mean square) of the values, by what they show.
    n_differences : int
        Number of independent differences that told it; 0: nothing was done.
    """

    step: NDArray[np.float64]
    covariance: NDArray[np.float64]
    scatter: float
    n_differences: int


def shrink_together(
    values: NDArray[np.float64],
    rows: NDArray[np.float64],
    covariance: NDArray[np.float64],
    families: Sequence[int],
) -> Shrunk:
    """Draw the values of each family together, and with them all parameters that depend on them.

    Parameters
    ----------
    values : ndarray, shape (n,)
        As they were measured.
    rows : ndarray, shape (n, k)
        Their derivatives by the parameters; zeros: a value that is fixed by definition.
    covariance : ndarray, shape (k, k)
        Of the parameters, finite. Values may be correlated, within families and between them.
    families : sequence of int
        Of each value. Values of one family should be equal, but for a scatter that is the same for
        all families; nothing is assumed of families among themselves.

    Returns
    -------
    Shrunk

    Notes
    -----
    In orthonormal differences within families, turned so that they are independent, difference z_k
    of variance s_k comes from N(0, s_k + T) for a scatter T: given T its true value has the mean
    ``z T / (s + T)`` and the variance ``s T / (s + T)``. Both are averaged over T with its
    likelihood; the prior of its root is a half-Cauchy distribution as wide as a typical error
    (Gelman 2006, Bayesian Analysis 1, 515). The parameters follow by their covariance with z.
    """
    differences = _differences(families)
    turned = differences @ rows
    variance, vectors = np.linalg.eigh(turned @ covariance @ turned.T)
    known = variance > _NOTHING * variance.max(initial=0.0)
    variance = variance[known]
    if not len(variance):
        return Shrunk(np.zeros(len(covariance)), covariance, 0.0, 0)
    found = vectors[:, known].T @ differences @ values
    scatters, chance = _scatters(found, variance)
    kept = scatters[:, None] / (variance + scatters[:, None])
    share = chance @ kept
    unsure = (kept - share) * found
    left = np.diag(variance * share) + (unsure * chance[:, None]).T @ unsure
    gain = covariance @ turned.T @ vectors[:, known] / variance
    return Shrunk(
        step=gain @ ((share - 1.0) * found),
        covariance=covariance - gain @ (np.diag(variance) - left) @ gain.T,
        scatter=float(np.sqrt(chance @ scatters)),
        n_differences=len(variance),
    )


def _differences(families: Sequence[int]) -> NDArray[np.float64]:
    """Orthonormal differences (m, n) within families: each less the mean of those before it."""
    numbers = np.asarray(families)
    found = []
    for family in np.unique(numbers):
        members = np.flatnonzero(numbers == family)
        for count, member in enumerate(members[1:], start=1):
            row = np.zeros(len(numbers))
            row[members[:count]], row[member] = -1.0 / count, 1.0
            found.append(row * np.sqrt(count / (count + 1.0)))
    return np.array(found).reshape(-1, len(numbers))


def _scatters(
    found: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return true variances (t,) of the scatter that are tried, and the chance (t,) of each."""
    quantiles = (np.arange(_TRIED) + 0.5) / _TRIED
    # in units of the typical error; beyond the last one lies next to nothing of the prior
    scatters = np.mean(variance) * np.tan(0.5 * np.pi * quantiles) ** 2
    total = variance + scatters[:, None]
    cost = 0.5 * np.sum(np.log(total) + found**2 / total, axis=1)
    chance = np.exp(cost.min() - cost)
    return scatters, chance / chance.sum()
