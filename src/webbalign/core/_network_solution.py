"""What comes of a network: corrections with their covariance, residuals, closures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from webbalign.core._network_maps import PlaneCorrection, linear_part
from webbalign.core._network_parts import GroupFrame, Observations, State
from webbalign.core._network_problem import Problem
from webbalign.core._network_solver import Solver
from webbalign.core.planes import TangentPlane

__all__ = ["Closure", "NetworkSolution", "gathered"]

# with more degrees of freedom than this the residuals tell the errors better than their statement
_FREEDOM = 30
# eigenvalues of the normal matrix, scaled to a unit diagonal, below which nothing is fixed
_SINGULAR = 1e-10


@dataclass(frozen=True, eq=False)
class Closure:
    """What is left between a pair of groups after the solution.

    Attributes
    ----------
    first, second : int
        Indices of the groups.
    n : int
        Stars in common.
    difference : ndarray, shape (2,)
        Mean of first less second position, arcsec, in the field's plane.
    error : float
        One-sigma error of each coordinate of it, arcsec, from the errors of the stars.
    """

    first: int
    second: int
    n: int
    difference: NDArray[np.float64]
    error: float


@dataclass(frozen=True, eq=False)
class NetworkSolution:
    """Corrections of all groups, how well they are known, and what is left.

    Attributes
    ----------
    frames : tuple of GroupFrame
    plane : TangentPlane
        Of the field.
    covariance : ndarray, shape (k, k)
        Of the unknowns; NaN for those that nothing fixes, and for groups that were left out.
    positions : ndarray, shape (n, 2)
        Corrected positions of the measurements in the field's plane at the common epoch, arcsec.
    stars : ndarray, shape (n_tracks, 2)
        Mean positions; NaN for a star of which no measurement was used.
    residual : ndarray, shape (n, 2)
        Position less mean of the star, arcsec; NaN where there is no mean.
    scatter : ndarray, shape (n, 2)
        Position less mean of the star in the images alone, arcsec.
    used : ndarray of bool, shape (n,)
    fixed_residual : ndarray, shape (m, 2)
        Catalog position less mean of the star in the images alone.
    fixed_used : ndarray of bool, shape (m,)
    link_used : ndarray of bool
    lost : ndarray of bool, shape (groups,)
        Groups that have too few stars in common with others, and were not corrected.
    floor, fixed_floor : float
        One-axis error that was added to the stated ones, arcsec: of stars in images, of those in
        the catalog.
    stretch : float
        Factor by which the stated errors of stars in images were too small; at least 1.
    chi2_reduced : float
        With the stated errors, without the floor (NaN: no freedom, or errors unknown).
    chi2_of_group, chi2_with_floor : ndarray, shape (groups,)
        The same for the measurements of each group; and with what was added to their errors.
    n_iter : int
    converged : bool
    """

    frames: tuple[GroupFrame, ...]
    plane: TangentPlane
    covariance: NDArray[np.float64]
    positions: NDArray[np.float64]
    stars: NDArray[np.float64]
    residual: NDArray[np.float64]
    scatter: NDArray[np.float64]
    used: NDArray[np.bool_]
    fixed_residual: NDArray[np.float64]
    fixed_used: NDArray[np.bool_]
    link_used: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    floor: float
    fixed_floor: float
    stretch: float
    chi2_reduced: float
    chi2_of_group: NDArray[np.float64]
    chi2_with_floor: NDArray[np.float64]
    n_iter: int
    converged: bool
    _problem: Problem
    _observations: Observations
    _state: State
    _variance: NDArray[np.float64]

    def way(self, group: int) -> NDArray[np.float64]:
        """Corrected map (3, 3) from the plane of a group to that of the field."""
        problem, state = self._problem, self._state
        return state.sky @ problem.to_field[group] @ state.groups[group]

    @property
    def move(self) -> str | None:
        """Geometry of the move of the whole sky."""
        return self._problem.move

    @property
    def sky(self) -> NDArray[np.float64]:
        """The move (3, 3) of the whole sky, on (x, y, 1) in radians in the field's plane."""
        return self._state.sky

    def correction_matrix(self, group: int) -> NDArray[np.float64]:
        """Return the correction (3, 3) of a group in its plane, without the move of the sky."""
        return self._state.groups[group]

    def correction(
        self, group: int, plane: TangentPlane, point: NDArray[np.float64]
    ) -> PlaneCorrection:
        """Return the correction of an image of a group, in the image's own plane.

        Parameters
        ----------
        group : int
        plane : TangentPlane
            Of the image.
        point : ndarray, shape (2,)
            Middle of the image in that plane, arcsec: an affine map that is exact there.
        """
        problem, state = self._problem, self._state
        frame = self.frames[group]
        here, out = plane.matrix_to(frame.plane), self.plane.matrix_to(plane)
        way = problem.to_field[group]
        own = out @ state.sky @ way @ problem.directions[group] @ state.groups[group] @ here
        sky = out @ problem.sky_directions @ state.sky @ way @ state.groups[group] @ here
        matrix, shift, slopes = linear_part(
            out @ self.way(group) @ here, np.concatenate([own, sky]), point
        )
        columns = np.concatenate(
            [
                np.arange(*problem.columns[group].indices(problem.n_columns)),
                np.arange(problem.sky_columns.start, problem.sky_columns.stop),
            ]
        )
        cov = slopes @ self.covariance[np.ix_(columns, columns)] @ slopes.T
        return PlaneCorrection(matrix, shift, cov)

    def closures(self) -> list[Closure]:
        """Return what is left between every two groups that have used stars in common."""
        seen = self._observations
        rows = np.flatnonzero(self.used)
        shape = (len(self.frames), len(self.stars))
        place = (seen.group[rows], seen.track[rows])
        count = sparse.csr_array((np.ones(len(rows)), place), shape=shape)
        variance = sparse.csr_array((self._variance[rows], place), shape=shape)
        number = (count @ count.T).tocsr()
        noise = variance @ count.T
        noise = (noise + noise.T).tocsr()
        sums = []
        for axis in range(2):
            left = sparse.csr_array((self.residual[rows, axis], place), shape=shape) @ count.T
            sums.append((left - left.T).tocsr())
        first, second = np.nonzero(np.triu(number.toarray(), 1))
        found = []
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            n = float(number[a, b])
            difference = np.array([sums[0][a, b], sums[1][a, b]]) / n
            found.append(Closure(a, b, int(n), difference, float(np.sqrt(noise[a, b]) / n)))
        return found


def gathered(solver: Solver, observations: Observations, back: NDArray[np.intp]) -> NetworkSolution:
    """Gather what a solver found.

    Parameters
    ----------
    solver : Solver
    observations : Observations
        In the caller's order.
    back : ndarray of int
        Where each of them is in the solver's order.
    """
    n = solver.n_image
    variance = solver.variance()
    weight = solver.active / variance
    positions = solver.positions()
    stars, total = solver.repeats.means(positions, weight)
    stars = np.where(total[:, None] > 0, stars, np.nan)
    residual = positions - stars[solver.repeats.track]
    alone, seen = solver.image_repeats.means(positions[:n], weight[:n])
    alone = np.where(seen[:, None] > 0, alone, np.nan)
    share = weight / np.where(total > 0, total, 1.0)[solver.repeats.track]
    quality = _Quality(solver, residual, share)
    return NetworkSolution(
        frames=tuple(solver.problem.frames),
        plane=solver.problem.plane,
        covariance=_scaled_covariance(solver, weight, quality.factor(weight)),
        positions=positions[:n][back],
        stars=stars,
        residual=residual[:n][back],
        scatter=(positions[:n] - alone[solver.image_repeats.track])[back],
        used=solver.active[:n][back],
        fixed_residual=positions[n:] - alone[solver.fixed.track],
        fixed_used=solver.active[n:],
        link_used=solver.link_weight > 0,
        lost=solver.lost,
        floor=float(np.sqrt(solver.floors.images)),
        fixed_floor=float(np.sqrt(solver.floors.catalog)),
        stretch=float(np.sqrt(solver.floors.stretch)),
        chi2_reduced=quality.chi2(),
        chi2_of_group=quality.chi2_of_groups(quality.stated),
        chi2_with_floor=quality.chi2_of_groups(quality.squared * weight),
        n_iter=solver.n_iter,
        converged=solver.converged,
        _problem=solver.problem,
        _observations=observations,
        _state=solver.state,
        _variance=variance[:n][back],
    )


class _Quality:
    """Chi-squares of what is left.

    `share` is the part that each measurement has in the mean of its star.
    """

    def __init__(
        self, solver: Solver, residual: NDArray[np.float64], share: NDArray[np.float64]
    ) -> None:
        self.solver = solver
        active = solver.active
        self.squared = np.where(active, np.sum(residual**2, axis=1), 0.0)
        self.free = 2.0 * np.where(active, 1.0 - share, 0.0)
        unknowns = float(solver.moving().sum())
        if solver.links:
            unknowns = solver.spent + len(solver.problem.sky_directions)
        self.freedom = float(self.free.sum()) - unknowns
        stated = np.where(solver.stated > 0, solver.stated, np.nan)
        self.stated = np.where(active, self.squared * solver.weight / stated, 0.0)

    def factor(self, weight: NDArray[np.float64]) -> float:
        """Return the factor of the covariance if stated errors were too large."""
        if self.freedom <= _FREEDOM:
            return 1.0
        return min(1.0, float(np.sum(self.squared * weight)) / self.freedom)

    def chi2(self) -> float:
        """Return the reduced chi-square with the stated errors."""
        return float(self.stated.sum()) / self.freedom if self.freedom > 0 else np.nan

    def chi2_of_groups(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the same (groups,) for the measurements of each group, of what each adds."""
        group = self.solver.group[: self.solver.n_image]
        unknowns = np.array([len(directions) for directions in self.solver.problem.directions])
        n = len(group)
        freedom = np.bincount(group, self.free[:n], len(unknowns)) - unknowns
        chi2 = np.bincount(group, parts[:n], len(unknowns))
        return np.where(freedom > 0, chi2 / np.where(freedom > 0, freedom, 1.0), np.nan)


def _scaled_covariance(
    solver: Solver, weight: NDArray[np.float64], factor: float
) -> NDArray[np.float64]:
    """Covariance (k, k) with the stars' variances scaled; those of links are what they are."""
    if solver.links:
        return _covariance(solver, solver.normal(weight / max(factor, 1e-12))[0])
    return _covariance(solver, solver.normal(weight)[0]) * factor


def _covariance(solver: Solver, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance (k, k) of the unknowns; NaN for those that nothing fixes."""
    moving = np.flatnonzero(solver.moving())
    covariance = np.full(matrix.shape, np.nan)
    part = matrix[np.ix_(moving, moving)]
    scale = np.sqrt(np.maximum(np.diag(part), 0.0))
    fixed = scale > 0
    moving, scale = moving[fixed], scale[fixed]
    if not len(moving):
        return covariance
    values, vectors = np.linalg.eigh(part[np.ix_(fixed, fixed)] / np.outer(scale, scale))
    good = values > _SINGULAR
    inverse = (vectors[:, good] / values[good]) @ vectors[:, good].T
    free = np.sum(vectors[:, ~good] ** 2, axis=1) > _SINGULAR
    inverse[free] = inverse[:, free] = np.nan
    covariance[np.ix_(moving, moving)] = inverse / np.outer(scale, scale)
    return covariance
