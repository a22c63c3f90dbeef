"""The normal equations of a network of star positions, the stars themselves eliminated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from webbalign.core._network_maps import generators, sky_generators, stepped
from webbalign.core._robust_tracks import Repeats
from webbalign.core.planes import ARCSEC, TangentPlane

__all__ = ["FixedStars", "GroupFrame", "Link", "Observations", "Problem", "State"]


@dataclass(frozen=True, eq=False)
class GroupFrame:
    """What is corrected as one: the images of a group.

    Attributes
    ----------
    name : str
    plane : TangentPlane
        In which the correction acts.
    geometry : str or None
        ``shift``, ``rshift``, ``rscale``, ``general``; None: is not corrected (it holds the
        others in place).
    centre : ndarray, shape (2,)
        Middle of the field, arcsec in the plane.
    radius : float
        Of the field about it, arcsec.
    start : ndarray, shape (3, 3)
        First guess of the correction, on (x, y, 1) in radians.
    """

    name: str
    plane: TangentPlane
    geometry: str | None
    centre: NDArray[np.float64]
    radius: float
    start: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True, eq=False)
class Observations:
    """Stars measured in images; all arrays have one item (or row) for each measurement.

    Attributes
    ----------
    group : ndarray of int, shape (n,)
        Index of the group.
    track : ndarray of int, shape (n,)
        Number of the star.
    xy : ndarray, shape (n, 2)
        In the plane of the group, uncorrected, arcsec.
    sigma : ndarray, shape (n,)
        Error of one axis, arcsec; NaN: unknown.
    weight : ndarray, shape (n,)
        Divides the variance.
    motion : ndarray, shape (n, 2)
        Where the star was in that image less where it is at the common epoch, arcsec, in the
        field's plane.
    """

    group: NDArray[np.intp]
    track: NDArray[np.intp]
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    motion: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> Observations:
        """Return the measurements with these indices."""
        group, track = self.group[rows], self.track[rows]
        sigma, weight = self.sigma[rows], self.weight[rows]
        return Observations(group, track, self.xy[rows], sigma, weight, self.motion[rows])


@dataclass(frozen=True, eq=False)
class FixedStars:
    """Stars of the reference catalog, at the common epoch.

    Attributes
    ----------
    track : ndarray of int, shape (m,)
    xy : ndarray, shape (m, 2)
        In the field's plane, arcsec.
    sigma, weight : ndarray, shape (m,)
        As in `Observations`.
    """

    track: NDArray[np.intp]
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Link:
    """One point of the sky found in two groups, for instance by correlation of their images.

    Attributes
    ----------
    first, second : int
        Indices of the groups.
    xy_first, xy_second : ndarray, shape (2,)
        Where the point lies in the planes of the two, uncorrected, arcsec.
    cov : ndarray, shape (2, 2)
        Covariance of the difference, arcsec squared, in the field's plane.
    """

    first: int
    second: int
    xy_first: NDArray[np.float64]
    xy_second: NDArray[np.float64]
    cov: NDArray[np.float64]


@dataclass
class State:
    """The corrections as they stand: (3, 3) for each group, and the move of the whole sky."""

    groups: NDArray[np.float64]
    sky: NDArray[np.float64]


class Problem:
    """Positions, derivatives and normal equations.

    Parameters
    ----------
    frames : sequence of GroupFrame
    observations : Observations
        Sorted by group.
    plane : TangentPlane
        Of the field; the stars' positions are compared there.
    links : sequence of Link
    move : str or None
        Geometry in which everything may move together.
    radius : float
        Of the whole field, arcsec.
    sky_start : ndarray, shape (3, 3)
        First guess of that move.
    """

    def __init__(
        self,
        frames: Sequence[GroupFrame],
        observations: Observations,
        plane: TangentPlane,
        links: Sequence[Link],
        move: str | None,
        radius: float,
        sky_start: NDArray[np.float64],
    ) -> None:
        self.sky_start = sky_start
        self.move = move
        self.frames = frames
        self.observations = observations
        self.links = links
        self.plane = plane
        self.to_field = np.array([frame.plane.matrix_to(plane) for frame in frames])
        self.directions = [
            np.empty((0, 3, 3))
            if frame.geometry is None
            else generators(frame.geometry, frame.centre, frame.radius)
            for frame in frames
        ]
        self.sky_directions = np.empty((0, 3, 3)) if move is None else sky_generators(move, radius)
        counts = [len(directions) for directions in self.directions]
        ends = np.cumsum(counts)
        self.columns = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.n_groups_columns = int(ends[-1]) if counts else 0
        self.sky_columns = slice(
            self.n_groups_columns, self.n_groups_columns + len(self.sky_directions)
        )
        limits = np.searchsorted(observations.group, np.arange(len(frames) + 1))
        self.rows = [slice(a, b) for a, b in pairwise(limits)]
        self._vectors = _vectors(observations.xy)

    @property
    def n_columns(self) -> int:
        """Number of unknowns."""
        return self.sky_columns.stop

    def start(self) -> State:
        """Return the first guess."""
        return State(np.array([frame.start for frame in self.frames]), self.sky_start)

    def stepped(self, state: State, step: NDArray[np.float64]) -> State:
        """Return the state after a step of the unknowns."""
        groups = [
            stepped(matrix, directions, step[columns]) if len(directions) else matrix
            for matrix, directions, columns in zip(
                state.groups, self.directions, self.columns, strict=True
            )
        ]
        sky = state.sky
        if len(self.sky_directions):
            sky = stepped(sky, self.sky_directions, step[self.sky_columns])
        return State(np.array(groups), sky)

    def positions(self, state: State) -> NDArray[np.float64]:
        """Positions (n, 2) in the field's plane at the common epoch, arcsec."""
        field_xy = np.empty((len(self._vectors), 2))
        for g, rows in enumerate(self.rows):
            field_xy[rows] = self._project(state, g, self._vectors[rows])[0]
        return field_xy - self.observations.motion

    def link_differences(self, state: State) -> NDArray[np.float64]:
        """First less second position (m, 2) of the links, arcsec."""
        return np.array(
            [
                self._project(state, link.first, _vectors(link.xy_first))[0][0]
                - self._project(state, link.second, _vectors(link.xy_second))[0][0]
                for link in self.links
            ]
        ).reshape(-1, 2)

    def derivatives(self, state: State) -> list[NDArray[np.float64]]:
        """Return, for each group, the derivatives (n, 2, k) by the unknowns of `unknowns_of`."""
        return [
            self._derivatives(state, g, self._vectors[rows]) for g, rows in enumerate(self.rows)
        ]

    @cached_property
    def unknowns_of(self) -> list[NDArray[np.intp]]:
        """For each group, the unknowns on which its positions depend: its own, the sky's."""
        sky = np.arange(self.sky_columns.start, self.sky_columns.stop)
        return [
            np.concatenate([np.arange(columns.start, columns.stop), sky])
            for columns in self.columns
        ]

    @cached_property
    def pattern(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Column indices and row starts of the matrix (n, unknowns) of derivatives."""
        counts = [rows.stop - rows.start for rows in self.rows]
        index = [np.tile(c, n) for c, n in zip(self.unknowns_of, counts, strict=True)]
        lengths = np.repeat([len(columns) for columns in self.unknowns_of], counts)
        return np.concatenate(index), np.concatenate([[0], np.cumsum(lengths)])

    def link_derivatives(self, state: State) -> NDArray[np.float64]:
        """Return the derivatives (m, 2, unknowns) of `link_differences`."""
        full = np.zeros((len(self.links), 2, self.n_columns))
        for row, link in zip(full, self.links, strict=True):
            for g, xy, sign in ((link.first, link.xy_first, 1), (link.second, link.xy_second, -1)):
                both = sign * self._derivatives(state, g, _vectors(xy))[0]
                n_own = len(self.directions[g])
                row[:, self.columns[g]] += both[:, :n_own]
                row[:, self.sky_columns] += both[:, n_own:]
        return full

    def _project(
        self, state: State, g: int, vectors: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (n, 2) in arcsec, and the vectors (n, 3) that were projected."""
        through = vectors @ (state.sky @ self.to_field[g] @ state.groups[g]).T
        return through[:, :2] / through[:, 2:] / ARCSEC, through

    def _derivatives(
        self, state: State, g: int, vectors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return derivatives (n, 2, k) of positions of one group by its unknowns and the sky's."""
        field_xy, through = self._project(state, g, vectors)
        way = state.sky @ self.to_field[g]
        own = way @ self.directions[g] @ state.groups[g]
        all_of_it = self.sky_directions @ way @ state.groups[g]
        # (3, 3, k): one product of matrices for all
        changes = np.concatenate([own, all_of_it]).transpose(2, 1, 0)
        count = changes.shape[2]
        change = (vectors @ changes.reshape(3, 3 * count)).reshape(len(vectors), 3, count)
        change /= through[:, 2, None, None]
        return change[:, :2] / ARCSEC - field_xy[:, :, None] * change[:, 2:]


def _vectors(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (n, 3) of points (n, 2) or (2,) in arcsec."""
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    return np.concatenate([xy * ARCSEC, np.ones((len(xy), 1))], axis=1)


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
