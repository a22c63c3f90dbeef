"""All groups of images, and the reference catalog, in one robust weighted least squares.

Unknown are an affine correction of each group in its own tangent plane, the positions of the stars
(eliminated analytically), and, with a reference catalog, one move of the whole sky. Stars are
compared in one common plane; the way there is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from webbalign.core._network_maps import PlaneCorrection, linear_part
from webbalign.core._network_problem import (
    FixedStars,
    GroupFrame,
    Link,
    Observations,
    Problem,
    State,
)
from webbalign.core._network_solver import Solver
from webbalign.core._robust_tracks import clip_limit
from webbalign.core.planes import TangentPlane

__all__ = [
    "Closure",
    "FixedStars",
    "GroupFrame",
    "Link",
    "NetworkSolution",
    "Observations",
    "PlaneCorrection",
    "evaluate_network",
    "solve_network",
]


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
        Of the unknowns; NaN in rows of groups that were left out, and in all if nothing fixes
        the solution.
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
    chi2_reduced : float
        With the stated errors, without the floor (NaN: no freedom, or errors unknown).
    chi2_of_group : ndarray, shape (groups,)
        The same for the measurements of each group.
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
    chi2_reduced: float
    chi2_of_group: NDArray[np.float64]
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


def solve_network(
    frames: Sequence[GroupFrame],
    observations: Observations,
    plane: TangentPlane,
    n_tracks: int,
    *,
    fixed: FixedStars | None = None,
    links: Sequence[Link] = (),
    move: str | None = None,
    move_start: NDArray[np.float64] | None = None,
    nclip: int = 3,
    sigma: float = 3.0,
    fixed_sigma: float | None = None,
    rough: bool = False,
    near: bool = False,
) -> NetworkSolution:
    """Correct all groups so that every star is in one place.

    Without a catalog one frame at least of each connected part must have the geometry None; with
    one, `move` says how everything may move together, the frame without geometry included.

    Parameters
    ----------
    frames : sequence of GroupFrame
    observations : Observations
    plane : TangentPlane
        Of the field.
    n_tracks : int
        Number of stars.
    fixed : FixedStars, optional
        Stars of the reference catalog.
    links : sequence of Link
        Differences between pairs of groups that were measured otherwise.
    move : str, optional
        Geometry of the move of the whole sky: ``shift``, ``rshift``, ``rscale``, ``general``.
    move_start : ndarray, shape (3, 3), optional
        First guess of it, on (x, y, 1) in radians in the field's plane.
    nclip : int
        Clipping iterations; 0: plain weighted least squares.
    sigma : float
        Clipping limit, in errors of the distance.
    fixed_sigma : float, optional
        The same for the stars of the catalog; default: `sigma`.
    rough : bool
        Stop when the steps are small compared with the errors.
    near : bool
        The start is as good as a rough solution.

    Returns
    -------
    solution : NetworkSolution
    """
    order = np.argsort(observations.group, kind="stable")
    fixed = fixed or _no_stars()
    radius = _field_radius(frames, plane)
    start = np.eye(3) if move_start is None else move_start
    problem = Problem(frames, observations.take(order), plane, links, move, radius, start)
    solver = Solver(problem, fixed, n_tracks)
    solver.run(
        nclip,
        clip_limit(sigma),
        clip_limit(sigma if fixed_sigma is None else fixed_sigma),
        rough=rough,
    )
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return _solution(solver, observations, back)


def evaluate_network(
    frames: Sequence[GroupFrame],
    observations: Observations,
    plane: TangentPlane,
    n_tracks: int,
    used: NDArray[np.bool_],
    covariance: NDArray[np.float64],
    *,
    moved: NetworkSolution | None = None,
    fixed: FixedStars | None = None,
) -> NetworkSolution:
    """Describe corrections that were found otherwise as `solve_network` describes its own.

    Parameters
    ----------
    frames : sequence of GroupFrame
        Their starts are the corrections.
    observations, plane, n_tracks
        As in `solve_network`.
    used : ndarray of bool, shape (n,)
        Which measurements were used.
    covariance : ndarray, shape (k, k)
        Of the parameters of the frames' geometries, then of the move of the sky.
    moved : NetworkSolution, optional
        From which that move is taken, with what was used of the catalog.
    fixed : FixedStars, optional
        Stars of the catalog.
    """
    order = np.argsort(observations.group, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    move, start = (None, np.eye(3)) if moved is None else (moved.move, moved.sky)
    radius = _field_radius(frames, plane)
    problem = Problem(frames, observations.take(order), plane, (), move, radius, start)
    solver = Solver(problem, fixed or _no_stars(), n_tracks)
    solver.active[: len(order)] = used[order]
    if moved is not None:
        solver.active[len(order) :] = moved.fixed_used
        solver.floor, solver.fixed_floor = moved.floor**2, moved.fixed_floor**2
    return replace(_solution(solver, observations, back), covariance=covariance)


def _no_stars() -> FixedStars:
    none = np.empty(0)
    return FixedStars(none.astype(np.intp), none.reshape(0, 2), none, none)


def _field_radius(frames: Sequence[GroupFrame], plane: TangentPlane) -> float:
    """Radius in arcsec of a circle about the tangent point that holds all fields."""
    return max(
        float(np.hypot(*frame.plane.map_to(plane, frame.centre)[0][0])) + frame.radius
        for frame in frames
    )


def _solution(
    solver: Solver, observations: Observations, back: NDArray[np.intp]
) -> NetworkSolution:
    """Gather what was found; `back` restores the caller's order of observations."""
    n = solver.n_image
    variance = solver.variance()
    weight = solver.active / variance
    matrix, _, _ = solver.normal(weight)
    positions = solver.positions()
    stars, total = solver.repeats.means(positions, weight)
    stars = np.where(total[:, None] > 0, stars, np.nan)
    residual = positions - stars[solver.repeats.track]
    alone, seen = solver.image_repeats.means(positions[:n], weight[:n])
    alone = np.where(seen[:, None] > 0, alone, np.nan)
    lever = (
        weight
        * np.where(total > 0, 1.0 / np.where(total > 0, total, 1.0), 0.0)[solver.repeats.track]
    )
    rows = solver.active
    squared = np.where(rows, np.sum(residual**2, axis=1), 0.0)
    free = 2.0 * np.where(rows, 1.0 - lever, 0.0)
    covariance = _covariance(solver, matrix)
    freedom = free.sum() - solver.moving().sum()
    if freedom > 30:
        # stated errors that were too large: the residuals know better
        covariance = covariance * min(1.0, float(np.sum(squared * weight) / freedom))
    stated = np.where(solver.stated > 0, solver.stated, np.nan)
    chi2 = np.where(rows, squared * solver.weight / stated, 0.0)
    group = solver.group[:n]
    unknowns = np.array([len(directions) for directions in solver.problem.directions])
    of_group = np.bincount(group, free[:n], len(unknowns)) - unknowns
    per_group = np.bincount(group, chi2[:n], len(unknowns)) / np.where(of_group > 0, of_group, 1.0)
    return NetworkSolution(
        frames=tuple(solver.problem.frames),
        plane=solver.problem.plane,
        covariance=covariance,
        positions=positions[:n][back],
        stars=stars,
        residual=residual[:n][back],
        scatter=(positions[:n] - alone[solver.image_repeats.track])[back],
        used=solver.active[:n][back],
        fixed_residual=positions[n:] - alone[solver.fixed.track],
        fixed_used=solver.active[n:],
        link_used=solver.link_weight > 0,
        lost=solver.lost,
        floor=float(np.sqrt(solver.floor)),
        fixed_floor=float(np.sqrt(solver.fixed_floor)),
        chi2_reduced=float(chi2.sum() / freedom) if freedom > 0 else np.nan,
        chi2_of_group=np.where(of_group > 0, per_group, np.nan),
        n_iter=solver.n_iter,
        converged=solver.converged,
        _problem=solver.problem,
        _observations=observations,
        _state=solver.state,
        _variance=variance[:n][back],
    )


def _covariance(solver: Solver, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance (k, k) of the unknowns; NaN where there is none."""
    moving = solver.moving()
    covariance = np.full(matrix.shape, np.nan)
    part = matrix[np.ix_(moving, moving)]
    scale = np.sqrt(np.diag(part))
    if (scale <= 0).any():
        return covariance
    scaled = part / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(scaled)
    if len(values) and values[0] <= 1e-10:
        return covariance
    covariance[np.ix_(moving, moving)] = (vectors / values) @ vectors.T / np.outer(scale, scale)
    return covariance
