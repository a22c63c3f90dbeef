"""A network of star positions: where the stars are, and how that depends on the unknowns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from webbalign.core._network_maps import generators, sky_generators, stepped
from webbalign.core._network_parts import GroupFrame, Link, Observations, State
from webbalign.core.planes import ARCSEC, TangentPlane

__all__ = ["Problem"]


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
