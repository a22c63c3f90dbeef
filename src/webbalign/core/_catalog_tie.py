"""A solved component tied to the reference catalog, in the same least squares, or a reason why not.

The catalog joins the relative solution: it may move the whole within its own geometry, and its
stars take part in the fit of each group with the weight that they deserve. Whatever makes the tie
doubtful is a refusal, which leaves the relative solution as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.spatial import KDTree

from webbalign.core._catalog_offset import CatalogOffset, Refusal, find_catalog_offset
from webbalign.core._catalog_stars import CatalogStars, JoinedStars, stars_near
from webbalign.core._components import Component, observe, reach_of
from webbalign.core._star_field import StarField
from webbalign.core.affine import MIN_STARS, supported_geometry
from webbalign.core.fitting import AbsFitting, Fitting
from webbalign.core.matching import AbsMatching, Matching, match
from webbalign.core.network import (
    FixedStars,
    GroupFrame,
    NetworkSolution,
    evaluate_network,
    solve_network,
)
from webbalign.core.offsets import Offset
from webbalign.core.planes import ARCSEC
from webbalign.core.starlists import ReferenceStars

__all__ = ["Refusal", "Tie", "tie_to_catalog"]

# The stars of the images may agree with one another this much worse (ratio, and arcsec) than
# without the catalog: errors of a good catalog do not show there.
_WORSE, _WORSE_BY = 1.5, 1e-4
# The squared distances from the catalog may grow by chance if they were small before.
_WORSE_FIT = 1.1


@dataclass(frozen=True, eq=False)
class Tie:
    """A component in the frame of the catalog.

    Attributes
    ----------
    component : Component
        With its new solution.
    star : ndarray of int, shape (m,)
        Catalog star of each of the solution's fixed stars.
    fixed_track : ndarray of int, shape (m,)
    geometry : str
        With which the whole was moved.
    rms : float
        Of the distances of used catalog stars from the stars in the images, arcsec.
    note : str
        What is to be known of the match.
    """

    component: Component
    star: NDArray[np.intp]
    fixed_track: NDArray[np.intp]
    geometry: str
    rms: float
    note: str = ""

    @property
    def n_used(self) -> int:
        """Number of catalog stars used."""
        return int(self.component.solution.fixed_used.sum())


@dataclass(frozen=True)
class _How:
    """Options of one joint solution."""

    fitting: Fitting
    abs_fitting: AbsFitting
    rigid: bool
    first: bool


def tie_to_catalog(
    field: StarField,
    component: Component,
    reference: ReferenceStars,
    options: AbsMatching,
    fitting: Fitting,
    abs_fitting: AbsFitting,
    *,
    rigid: bool = False,
) -> Tie | Refusal:
    """Match a component with the catalog and solve both together.

    Parameters
    ----------
    field : StarField
    component : Component
        Its relative solution.
    reference : ReferenceStars
    options : AbsMatching
    fitting : Fitting
        For the images.
    abs_fitting : AbsFitting
        For the move of the whole, and the clipping of catalog stars.
    rigid : bool
        Move the whole only: the catalog takes no part in the fit of the groups.
    """
    matching = options.matching()
    catalog = stars_near(field, component, reference, 4.0 * matching.searchrad + 60.0)
    if not len(catalog.index):
        return Refusal(f"{reference.name} has no star in the field")
    joined = JoinedStars(field, component)
    stars = joined.positions(component.solution)
    pixel = field.pixel_scale(component.groups)
    begin = find_catalog_offset(joined, stars, catalog, matching, pixel, reference.name)
    if isinstance(begin, Refusal):
        return begin
    offset = begin.offset
    start = _sky_move(offset, abs_fitting.abs_fitgeometry)
    moved = offset.apply(stars)
    least = (0.1 if begin.roll_known else 1.0) * pixel
    reach = min(matching.tolerance, max(6.0 * offset.sigma, least))
    latest = component.solution
    # the second time the stars are matched within what the first one found
    for first in (True, False):
        pairs = match(moved, catalog.xy, tolerance=reach, sigma_image=joined.sigma)
        enough = begin.support(len(pairs)) >= matching.minobj
        if not enough or len(pairs) < MIN_STARS[abs_fitting.abs_fitgeometry]:
            return Refusal(
                f"only {len(pairs)} stars in common with {reference.name}, and abs_minobj is "
                f"{matching.minobj}{begin.note and '; '}{begin.note}",
                len(pairs),
            )
        how = _How(fitting, abs_fitting, rigid, first)
        found = _solve(joined, catalog, (pairs.i, pairs.j), (latest, start), how)
        solution = latest = found.component.solution
        start = solution.sky
        moved = joined.positions(solution)
        errors = np.hypot(solution.floor, np.hypot(catalog.sigma, solution.fixed_floor))
        both = np.hypot(errors[pairs.j], np.nan_to_num(joined.sigma[pairs.i]))
        reach = reach_of(both / np.sqrt(2.0), pixel, matching.tolerance)
    return _judged(
        found, component, (stars, moved), catalog, reach, matching, begin, reference.name
    )


def _sky_move(offset: Offset, geometry: str) -> NDArray[np.float64]:
    """Rotation (3, 3) of the sphere that does at the field's middle what an offset does."""
    if geometry == "shift":
        # what is not to be fitted may not stay in the start
        offset = replace(offset, roll=0.0)
    x, y = offset.apply(np.zeros((1, 2)))[0] * ARCSEC
    z = np.array([x, y, 1.0]) / np.sqrt(1.0 + x**2 + y**2)
    east = np.array([1.0, 0.0, 0.0]) - z[0] * z
    east /= np.linalg.norm(east)
    cos, sin = np.cos(offset.roll), np.sin(offset.roll)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return np.stack([east, np.cross(z, east), z], axis=1) @ turn


def _solve(
    joined: JoinedStars,
    catalog: CatalogStars,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    start: tuple[NetworkSolution, NDArray[np.float64]],
    how: _How,
) -> Tie:
    """Relative measurements and catalog in one least squares."""
    fitting, abs_fitting = how.fitting, how.abs_fitting
    field, component = joined.field, joined.component
    number, star = pairs
    rows, track, motion = _with_catalog(joined, catalog, pairs)
    fixed = FixedStars(number, catalog.xy[star], catalog.sigma[star], catalog.weight[star])
    span = catalog.xy[star]
    radius = float(np.hypot(*(span - span.mean(axis=0)).T).max()) if len(span) else 1.0
    move = supported_geometry(span, abs_fitting.abs_fitgeometry, max(radius, 1.0)) or "shift"
    frames = [
        _started(frame, start[0].correction_matrix(k), how.rigid)
        for k, frame in enumerate(component.solution.frames)
    ]
    seen = observe(field, component.groups, rows, track, motion)
    solution = solve_network(
        frames,
        seen,
        field.plane,
        joined.count,
        fixed=fixed,
        links=component.images.links if component.images else (),
        move=move,
        move_start=start[1],
        nclip=max(fitting.nclip, abs_fitting.abs_nclip),
        sigma=fitting.sigma if fitting.nclip else np.inf,
        fixed_sigma=abs_fitting.abs_sigma if abs_fitting.abs_nclip else np.inf,
        rough=how.first,
        near=not how.first,
    )
    if how.rigid:
        # what is known of the groups among themselves is as before
        covariance = block_diag(component.solution.covariance, solution.covariance)
        solution = evaluate_network(
            [
                replace(frame, geometry=old.geometry)
                for frame, old in zip(frames, component.solution.frames, strict=True)
            ],
            seen,
            field.plane,
            joined.count,
            solution.used,
            covariance,
            moved=solution,
            fixed=fixed,
        )
    used = solution.fixed_used
    left = np.sum(solution.fixed_residual[used] ** 2, axis=1)
    rms = float(np.sqrt(left.mean())) if used.any() else np.nan
    tied = replace(component, rows=rows, track=track, solution=solution)
    return Tie(tied, catalog.index[star], number, move, rms)


def _with_catalog(
    joined: JoinedStars, catalog: CatalogStars, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64] | None]:
    """Measurements, their stars and motions: of the stars seen once only those in the catalog."""
    of_number = np.full(joined.count, -1, np.intp)
    of_number[pairs[0]] = pairs[1]
    n_tracks = len(joined.component.solution.stars)
    keep = (joined.track < n_tracks) | (of_number[joined.track] >= 0)
    rows, track = joined.rows[keep], joined.track[keep]
    if catalog.motion is None:
        return rows, track, None
    mine = of_number[track]
    moves = catalog.motion[joined.field.image[rows], np.maximum(mine, 0)]
    return rows, track, np.where((mine >= 0)[:, None], moves, 0.0)


def _started(frame: GroupFrame, start: NDArray[np.float64], rigid: bool) -> GroupFrame:
    """Begin where the relative solution ended; if `rigid`, stay there."""
    return replace(frame, start=start, geometry=None if rigid else frame.geometry)


def _judged(
    tie: Tie,
    before: Component,
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
    catalog: CatalogStars,
    reach: float,
    options: Matching,
    begin: CatalogOffset,
    name: str,
) -> Tie | Refusal:
    """Refuse a tie with too little support, or that made anything worse."""
    solution = tie.component.solution
    enough = begin.support(tie.n_used) >= options.minobj
    if not enough or tie.n_used < MIN_STARS[tie.geometry]:
        return Refusal(
            f"only {tie.n_used} of {len(tie.star)} stars in common with {name} agree, and "
            f"abs_minobj is {options.minobj}",
            len(tie.star),
        )
    fixed = np.diag(solution.covariance)
    # image pairs that contradict the catalog may have been all that held a group
    fixed = fixed[-1:] if before.images is None else fixed
    if not solution.converged or not np.isfinite(fixed).all():
        return Refusal(f"the fit to {name} did not converge", len(tie.star))
    if _is_worse(*stars, catalog.xy, reach):
        return Refusal(f"the stars agree worse with {name} after the fit", len(tie.star))
    alone, joint = _scatter(before.solution, None), _scatter(solution, before)
    if joint > _WORSE * alone + _WORSE_BY:
        return Refusal(
            f"with {name} the images agree with one another to {1e3 * joint:.2f} mas only, "
            f"without it to {1e3 * alone:.2f} mas",
            len(tie.star),
        )
    return replace(tie, note=begin.note)


def _is_worse(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    catalog: NDArray[np.float64],
    reach: float,
) -> bool:
    """Whether catalog stars are farther from the images' stars after the fit than before it.

    Compared are squared distances, cut at `reach`, of all that are within it before or after.
    """
    distance = [
        KDTree(xy[np.isfinite(xy).all(axis=1)]).query(catalog, distance_upper_bound=reach)[0]
        for xy in (before, after)
    ]
    near = np.minimum(*distance) < reach
    was, is_ = (float(np.sum(np.minimum(d[near], reach) ** 2)) for d in distance)
    return is_ > _WORSE_FIT * was


def _scatter(solution: NetworkSolution, before: Component | None) -> float:
    """Rms distance of measurements from the mean of their star in the images, arcsec."""
    rows = np.flatnonzero(solution.used)
    if before is not None:
        # the same measurements with the catalog as without it
        n = len(before.rows)
        rows = np.flatnonzero(solution.used[:n] & before.solution.used)
    if not len(rows):
        return 0.0
    return float(np.sqrt(np.mean(np.sum(solution.scatter[rows] ** 2, axis=1))))
