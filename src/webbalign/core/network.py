"""All groups of images, and the reference catalog, in one robust weighted least squares.

Unknown are an affine correction of each group in its own tangent plane, the positions of the stars
(eliminated analytically), and, with a reference catalog, one move of the whole sky. Stars are
compared in one common plane; the way there is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._network_families import drawn_together
from webbalign.core._network_floors import Floors
from webbalign.core._network_maps import PlaneCorrection
from webbalign.core._network_parts import FixedStars, GroupFrame, Link, Observations
from webbalign.core._network_problem import Problem
from webbalign.core._network_solution import Closure, NetworkSolution, gathered
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
    one, `move` says how everything may move together, the frame without geometry included. At the
    end the rolls of frames of one family are drawn together (see `drawn_together`), unless the
    solution is rough or there are links.

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
    solution = gathered(solver, observations, back)
    if rough or links or not any(frame.family for frame in frames):
        return solution
    drawn = drawn_together(problem, solver.state, solution.covariance)
    solver.state = drawn.state
    return replace(gathered(solver, observations, back), covariance=drawn.covariance)


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
        solver.floors = Floors(moved.floor**2, moved.fixed_floor**2, moved.stretch**2)
    return replace(gathered(solver, observations, back), covariance=covariance)


def _no_stars() -> FixedStars:
    none = np.empty(0)
    return FixedStars(none.astype(np.intp), none.reshape(0, 2), none, none)


def _field_radius(frames: Sequence[GroupFrame], plane: TangentPlane) -> float:
    """Radius in arcsec of a circle about the tangent point that holds all fields."""
    return max(
        float(np.hypot(*frame.plane.map_to(plane, frame.centre)[0][0])) + frame.radius
        for frame in frames
    )
