"""The normal equations of a network, the stars' positions eliminated, and their solution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from webbalign.core._network_problem import Problem
from webbalign.core._robust_tracks import Repeats

__all__ = ["Equations", "normal_equations", "right_hand_side"]


def normal_equations(
    problem: Problem,
    derivatives: list[NDArray[np.float64]],
    residual: NDArray[np.float64],
    weight: NDArray[np.float64],
    stars: Repeats,
    more_weight: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Form normal matrix and right-hand side after the stars' positions are eliminated.

    Parameters
    ----------
    problem : Problem
    derivatives : list of ndarray
        Those of the problem.
    residual : ndarray, shape (n, 2)
        Mean position of the star less position of the measurement.
    weight : ndarray, shape (n,)
    stars : Repeats
        Of these measurements.
    more_weight : ndarray, shape (n_stars,)
        Weight of the measurements of each star that do not depend on any unknown.

    Returns
    -------
    normal : ndarray, shape (unknowns, unknowns)
    right : ndarray, shape (unknowns,)

    Notes
    -----
    Each star's block of the normal matrix is the sum of its weights: the Schur complement is the
    matrix less the sum over stars of the products of weighted mean derivatives.
    """
    n, size = len(weight), problem.n_columns
    normal = np.zeros((size, size))
    for rows, columns, block in zip(problem.rows, problem.unknowns_of, derivatives, strict=True):
        if not block.size:
            continue
        flat = (block * np.sqrt(weight[rows])[:, None, None]).reshape(-1, len(columns))
        normal[np.ix_(columns, columns)] += flat.T @ flat
    total = stars.total(weight) + more_weight
    scaled = weight / np.sqrt(np.where(total > 0, total, 1.0))[stars.track]
    incidence = sparse.csr_array((scaled, stars.track, np.arange(n + 1)), shape=(n, stars.count))
    sums = incidence.T.tocsr()
    index, start = problem.pattern
    for axis in range(2):
        data = np.concatenate([block[:, axis].ravel() for block in derivatives])
        normal -= _gram(sums @ sparse.csr_array((data, index, start), shape=(n, size)))
    return normal, right_hand_side(problem, derivatives, residual, weight)


def right_hand_side(
    problem: Problem,
    derivatives: list[NDArray[np.float64]],
    residual: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the right-hand side (unknowns,) alone, with the arguments of `normal_equations`."""
    right = np.zeros(problem.n_columns)
    for rows, columns, block in zip(problem.rows, problem.unknowns_of, derivatives, strict=True):
        weighted = (weight[rows, None] * residual[rows]).ravel()
        right[columns] += weighted @ block.reshape(len(weighted), len(columns))
    return right


def _gram(matrix: sparse.csr_array) -> NDArray[np.float64]:
    """Return matrix.T @ matrix, dense."""
    # products of sparse matrices take some 50 times longer for each number
    if matrix.nnz > 0.03 * np.prod(matrix.shape) and np.prod(matrix.shape) < 5e7:
        dense = matrix.toarray()
        return dense.T @ dense
    return (matrix.T @ matrix).toarray()


class Equations:
    """Symmetric equations for some of the unknowns, factorised once.

    Directions that nothing fixes, and unknowns that do not move, get no step.
    """

    def __init__(self, matrix: NDArray[np.float64], moving: NDArray[np.bool_]) -> None:
        self._moving = moving
        part = matrix[np.ix_(moving, moving)]
        scale = np.sqrt(np.maximum(np.diag(part), 0.0))
        self._scale = np.where(scale > 0, scale, 1.0)
        scaled = part / np.outer(self._scale, self._scale)
        self._inverse: NDArray[np.float64] | None = None
        try:
            self._factor = cho_factor(scaled + 1e-14 * np.eye(len(part))) if len(part) else None
        except LinAlgError:
            values, vectors = np.linalg.eigh(scaled)
            good = values > 1e-10 * values[-1]
            self._inverse = (vectors[:, good] / values[good]) @ vectors[:, good].T

    def solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the step of all unknowns."""
        step = np.zeros(len(right))
        part = right[self._moving] / self._scale
        if self._inverse is not None:
            step[self._moving] = self._inverse @ part / self._scale
        elif self._factor is not None:
            step[self._moving] = cho_solve(self._factor, part) / self._scale
        return step
