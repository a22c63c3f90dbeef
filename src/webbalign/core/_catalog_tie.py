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
from webbalign.core.offsets import Offset, OffsetStatus, SearchList, search_offset
from webbalign.core.planes import ARCSEC
from webbalign.core.starlists import ReferenceStars

__all__ = ["Refusal", "Tie", "tie_to_catalog"]

# The stars of the images may agree with one another this much worse (ratio, and mas) than without
# the catalog: errors of a good catalog do not show there.
_WORSE, _WORSE_BY = 1.5, 1e-4


@dataclass(frozen=True)
class Refusal:
    """Why the catalog was not used."""

    reason: str
    n_matched: int = 0


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
    """

    component: Component
    star: NDArray[np.intp]
    fixed_track: NDArray[np.intp]
    geometry: str
    rms: float

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


@dataclass(frozen=True, eq=False)
class _Catalog:
    """The reference stars near the field, in its plane.

    `xy` holds the mean over the images of a component, `motion` what is added for each image, if
    the epochs differ.
    """

    index: NDArray[np.intp]
    xy: NDArray[np.float64]
    motion: NDArray[np.float64] | None
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    flux: NDArray[np.float64]


class _Joined:
    """Stars of a component as the catalog is compared with them: tracks first, then the rest."""

    def __init__(self, field: StarField, component: Component) -> None:
        self.field = field
        self.component = component
        n_tracks = len(component.solution.stars)
        mine = np.isin(field.group, component.groups) & (field.weight > 0)
        mine[component.rows] = False
        self.single = np.flatnonzero(mine)
        self.rows = np.concatenate([component.rows, self.single])
        self.track = np.concatenate(
            [component.track, n_tracks + np.arange(len(self.single), dtype=np.intp)]
        )
        self.count = n_tracks + len(self.single)
        # of a star all of whose measurements disagree there is no position
        self.flux = _mean(self.track, field.flux[self.rows], self.count)
        weight = 1.0 / np.maximum(np.nan_to_num(field.sigma[self.rows]) ** 2, 1e-8)
        total = np.bincount(self.track, weight, self.count)
        self.sigma = np.hypot(1.0 / np.sqrt(total), component.solution.floor)

    def positions(self, solution: NetworkSolution) -> NDArray[np.float64]:
        """Positions (count, 2) by a solution of the component or of the component and catalog."""
        ways = self.field.to_field
        for number, g in enumerate(self.component.groups):
            ways[g] = solution.way(number)
        xy = np.full((self.count, 2), np.nan)
        n_tracks = len(self.component.solution.stars)
        xy[:n_tracks] = solution.stars[:n_tracks]
        xy[n_tracks:] = self.field.positions(ways)[self.single]
        return xy


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
    catalog = _catalog_near(field, component, reference, 4.0 * matching.searchrad + 60.0)
    if not len(catalog.index):
        return Refusal(f"{reference.name} has no star in the field")
    joined = _Joined(field, component)
    stars = joined.positions(component.solution)
    pixel = field.pixel_scale(component.groups)
    offset = _offset(joined, stars, catalog, matching, pixel, reference.name)
    if isinstance(offset, Refusal):
        return offset
    start = _sky_move(offset, abs_fitting.abs_fitgeometry)
    moved = offset.apply(stars)
    reach = min(matching.tolerance, max(6.0 * offset.sigma, 0.1 * pixel))
    found: Tie | Refusal = Refusal("")
    # the second time the stars are matched within what the first one found
    for first in (True, False):
        pairs = match(moved, catalog.xy, tolerance=reach, sigma_image=joined.sigma)
        if len(pairs) < max(matching.minobj, MIN_STARS[abs_fitting.abs_fitgeometry]):
            return Refusal(
                f"only {len(pairs)} stars in common with {reference.name}, and abs_minobj is "
                f"{matching.minobj}",
                len(pairs),
            )
        how = _How(fitting, abs_fitting, rigid, first)
        found = _solve(joined, catalog, (pairs.i, pairs.j), start, how)
        solution = found.component.solution
        start = solution.sky
        moved = joined.positions(solution)
        errors = np.hypot(solution.floor, np.hypot(catalog.sigma, solution.fixed_floor))
        both = np.hypot(errors[pairs.j], np.nan_to_num(joined.sigma[pairs.i]))
        reach = reach_of(both / np.sqrt(2.0), pixel, matching.tolerance)
    return _judged(found, component, (stars, moved), catalog, reach, matching, reference.name)


def _catalog_near(
    field: StarField, component: Component, reference: ReferenceStars, margin: float
) -> _Catalog:
    """Catalog stars in the box of a component, at the mean of its images' epochs."""
    ways = component.ways(field)
    corners = np.concatenate([field.outlines(ways)[g] for g in component.groups])
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    images = [k for g in component.groups for k in field.groups[g].lists]
    with np.errstate(invalid="ignore"):
        xy = field.plane.from_sky(reference.sky_at(field.came[images[0]]))
    index = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1) & (reference.weight > 0))
    motion = None
    xy = xy[index]
    if reference.sky.ndim == 3:
        at = np.zeros((len(field.lists), len(index), 2))
        for k in images:
            at[k] = field.plane.from_sky(reference.sky_at(field.came[k])[index])
        xy = at[images].mean(axis=0)
        motion = at - xy
    weight = reference.weight[index]
    flux = 10.0 ** (-0.4 * reference.magnitude[index])
    weight = weight / weight.mean() if len(weight) else weight
    return _Catalog(index, xy, motion, reference.sigma[index], weight, flux)


def _mean(number: NDArray[np.intp], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Mean of the known values of each number, shape (count,); NaN without one."""
    known = np.isfinite(values)
    n = np.bincount(number[known], minlength=count)
    total = np.bincount(number[known], values[known], count)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _offset(
    joined: _Joined,
    stars: NDArray[np.float64],
    catalog: _Catalog,
    options: Matching,
    pixel_scale: float,
    name: str,
) -> Offset | Refusal:
    """Offset of the catalog as seen from the component, if it is significant."""
    apart = options.separation
    images = SearchList.of(stars, flux=joined.flux, sigma=joined.sigma, separation=apart)
    others = SearchList.of(catalog.xy, flux=catalog.flux, sigma=catalog.sigma, separation=apart)
    offset, pairs, _ = search_offset(images, others, options, pixel_scale=pixel_scale)
    if offset.status is OffsetStatus.TOO_FEW:
        few = min(len(images.z), len(others.z))
        return Refusal(f"too few stars ({few}) to find the offset from {name}", few)
    if not offset.status.usable:
        return Refusal(f"no significant offset from the catalog within {offset.searchrad:g} arcsec")
    if not len(pairs):
        return Refusal(f"no star agrees with {name} at the offset given")
    return offset


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
    joined: _Joined,
    catalog: _Catalog,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    start: NDArray[np.float64],
    how: _How,
) -> Tie:
    """Relative measurements and catalog in one least squares."""
    fitting, abs_fitting, rigid = how.fitting, how.abs_fitting, how.rigid
    field, component = joined.field, joined.component
    number, star = pairs
    n_tracks = len(component.solution.stars)
    of_number = np.full(joined.count, -1, np.intp)
    of_number[number] = star
    # of the stars seen once only those in the catalog take part
    keep = (joined.track < n_tracks) | (of_number[joined.track] >= 0)
    rows, track = joined.rows[keep], joined.track[keep]
    motion = None
    if catalog.motion is not None:
        mine = of_number[track]
        motion = np.where(
            (mine >= 0)[:, None], catalog.motion[field.image[rows], np.maximum(mine, 0)], 0.0
        )
    fixed = FixedStars(number, catalog.xy[star], catalog.sigma[star], catalog.weight[star])
    span = catalog.xy[star]
    radius = float(np.hypot(*(span - span.mean(axis=0)).T).max()) if len(span) else 1.0
    move = supported_geometry(span, abs_fitting.abs_fitgeometry, max(radius, 1.0)) or "shift"
    frames = [
        _started(frame, component.solution.correction_matrix(k), rigid)
        for k, frame in enumerate(component.solution.frames)
    ]
    seen = observe(field, component.groups, rows, track, motion)
    solution = solve_network(
        frames,
        seen,
        field.plane,
        joined.count,
        fixed=fixed,
        move=move,
        move_start=start,
        nclip=max(fitting.nclip, abs_fitting.abs_nclip),
        sigma=fitting.sigma if fitting.nclip else np.inf,
        fixed_sigma=abs_fitting.abs_sigma if abs_fitting.abs_nclip else np.inf,
        rough=how.first,
        near=not how.first,
    )
    if rigid:
        # what is known of the groups among themselves is as before
        frames = [
            replace(frame, start=started.start)
            for frame, started in zip(component.solution.frames, frames, strict=True)
        ]
        covariance = block_diag(component.solution.covariance, solution.covariance)
        solution = evaluate_network(
            frames,
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


def _started(frame: GroupFrame, start: NDArray[np.float64], rigid: bool) -> GroupFrame:
    """Begin where the relative solution ended; if `rigid`, stay there."""
    return replace(frame, start=start, geometry=None if rigid else frame.geometry)


def _judged(
    tie: Tie | Refusal,
    before: Component,
    stars: tuple[NDArray[np.float64], NDArray[np.float64]],
    catalog: _Catalog,
    reach: float,
    options: Matching,
    name: str,
) -> Tie | Refusal:
    """Refuse a tie with too little support, or that made anything worse."""
    if isinstance(tie, Refusal):
        return tie
    solution = tie.component.solution
    if tie.n_used < max(options.minobj, MIN_STARS[tie.geometry]):
        return Refusal(
            f"only {tie.n_used} of {len(tie.star)} stars in common with {name} agree, and "
            f"abs_minobj is {options.minobj}",
            len(tie.star),
        )
    if not solution.converged or not np.isfinite(np.diag(solution.covariance)[-1]):
        return Refusal(f"the fit to {name} did not converge", len(tie.star))
    n_before, n_after = (len(match(xy, catalog.xy, tolerance=reach)) for xy in stars)
    if n_after < n_before:
        return Refusal(
            f"{n_after} stars agree with {name} after the fit, {n_before} did before it",
            len(tie.star),
        )
    alone, joint = _scatter(before.solution, None), _scatter(solution, before)
    if joint > _WORSE * alone + _WORSE_BY:
        return Refusal(
            f"with {name} the images agree with one another to {1e3 * joint:.2f} mas only, "
            f"without it to {1e3 * alone:.2f} mas",
            len(tie.star),
        )
    return tie


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
