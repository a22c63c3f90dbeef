"""Which groups are tied together by enough common stars, and how each part is solved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from webbalign.core._image_links import GroupLinks, ImagePairs
from webbalign.core._network_maps import linear_part
from webbalign.core._star_field import StarField
from webbalign.core.affine import MIN_STARS, supported_geometry
from webbalign.core.network import GroupFrame, NetworkSolution, Observations, solve_network
from webbalign.core.planes import ARCSEC
from webbalign.core.tracks import link_tracks

__all__ = ["Component", "connected", "label_stars", "reach_of", "solve_component"]

# stars are linked if they are nearer than so many errors of one axis
_REACH = 6.0


@dataclass(frozen=True, eq=False)
class Component:
    """Groups that are tied together, and their solution.

    Attributes
    ----------
    groups : tuple of int
        Indices of its groups.
    reference : int
        The group that holds the others: it has most stars in common with others.
    geometry : dict
        Geometry with which each group was fitted.
    rows : ndarray of int, shape (k,)
        Measurements of the field that entered, in the order of the solution.
    track : ndarray of int, shape (k,)
        Number of the star of each.
    solution : NetworkSolution
        Its groups are numbered as in `groups`.
    images : GroupLinks or None
        Image pairs that entered; their stacks are numbered on from the groups.
    """

    groups: tuple[int, ...]
    reference: int
    geometry: dict[int, str]
    rows: NDArray[np.intp]
    track: NDArray[np.intp]
    solution: NetworkSolution
    images: GroupLinks | None = None

    @property
    def pairs_used(self) -> set[int]:
        """The image pairs that were used."""
        return set() if self.images is None else self.images.used(self.solution)

    def ways(self, field: StarField) -> NDArray[np.float64]:
        """Return the maps (groups of the field, 3, 3) to its plane; of others the uncorrected."""
        found = field.to_field
        for number, g in enumerate(self.groups):
            found[g] = self.solution.way(number)
        return found


def label_stars(
    field: StarField, positions: NDArray[np.float64], groups: Sequence[int], reach: float
) -> NDArray[np.intp]:
    """Return the number (n,) of the star that each measurement shows; -1 for what is seen once.

    Parameters
    ----------
    field : StarField
    positions : ndarray, shape (n, 2)
        Of all measurements in the field's plane, arcsec.
    groups : sequence of int
        Groups whose stars are linked.
    reach : float
        Longest link, arcsec.
    """
    label = np.full(len(field.image), -1, np.intp)
    chosen = np.isin(field.group, groups) & (field.weight > 0)
    rows = [np.flatnonzero(chosen & (field.image == k)) for k in range(len(field.lists))]
    tracks = link_tracks([positions[r] for r in rows], reach)
    for k, own in enumerate(rows):
        seen = tracks.of_image(k, len(own))
        label[own] = seen
    return label


def reach_of(sigma: NDArray[np.float64], pixel_scale: float, tolerance: float) -> float:
    """Longest distance at which two measurements with these errors may be one star, arcsec."""
    known = sigma[np.isfinite(sigma)]
    # most stars, not the worst: what they would add is little, what they would confuse is not
    typical = float(np.quantile(known, 0.9)) if len(known) else pixel_scale
    return min(tolerance, max(_REACH * np.sqrt(2.0) * typical, 0.1 * pixel_scale))


def connected(
    label: NDArray[np.intp],
    group: NDArray[np.intp],
    n_groups: int,
    minobj: int,
    part: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Component (n_groups,) of each group: parts are one if they have `minobj` stars in common.

    A group that has a few stars in common with each of several others belongs to them, if those
    belong together. `part` says what belongs together for other reasons.
    """
    seen = label >= 0
    shape = (int(label.max(initial=-1)) + 1, n_groups)
    incidence = sparse.csr_array((np.ones(seen.sum()), (label[seen], group[seen])), shape=shape)
    part = np.arange(n_groups) if part is None else part
    while True:
        collapse = sparse.csr_array(
            (np.ones(n_groups), (np.arange(n_groups), part)), shape=(n_groups, n_groups)
        )
        present = (incidence @ collapse).tocsr()
        present.data[:] = 1.0
        shared = (present.T @ present).toarray()
        np.fill_diagonal(shared, 0.0)
        _, joined = connected_components(sparse.csr_array(shared >= minobj), directed=False)
        new = joined[part]
        if len(np.unique(new)) == len(np.unique(part)):
            # numbered by their first group
            _, first, inverse = np.unique(new, return_index=True, return_inverse=True)
            return np.asarray(first[inverse], np.intp)
        part = new


def solve_component(
    field: StarField,
    groups: Sequence[int],
    label: NDArray[np.intp],
    ways: NDArray[np.float64],
    *,
    geometry: str,
    nclip: int,
    sigma: float,
    held: int | None = None,
    first: bool = False,
    images: ImagePairs | None = None,
    without: Collection[int] = (),
) -> Component:
    """Least squares of groups that are tied together; the reference group stays where it is.

    Parameters
    ----------
    field : StarField
    groups : sequence of int
    label : ndarray of int, shape (n,)
        Star of each measurement.
    ways : ndarray, shape (groups, 3, 3)
        Approximate maps to the field's plane, up to a common move.
    geometry, nclip, sigma
        Options of the fit.
    held : int, optional
        The group that stays where it is; default: chosen by rule.
    first : bool
        Whether this is a first round, whose start is rough and whose answer may be.
    images : ImagePairs, optional
        Pairs of the groups' images, which enter as well.
    without : collection of int
        Of these, those that do not.
    """
    rows, track, n_tracks = common_stars(field, groups, label)
    reference = reference_group(field, groups, rows) if held not in groups else held
    assert reference is not None
    into = field.to_field[reference] @ np.linalg.inv(ways[reference])
    geometries, frames = {}, []
    names = [field.groups[g].name for g in groups]
    turned = set() if images is None else images.turned(names, without)
    for g in groups:
        own = field.xy[rows[field.group[rows] == g]]
        best = supported_geometry(own, geometry, field.groups[g].radius)
        geometries[g] = best or "shift"
        if geometries[g] == "shift" != geometry and field.groups[g].name in turned:
            geometries[g] = "rshift"
        frames.append(_frame(field, g, geometries[g], into @ ways[g], held=g == reference))
    observations = observe(field, groups, rows, track)
    linked = None
    if images is not None:
        kinds = [geometries[g] for g in groups]
        linked = images.links(frames, kinds, field.plane, without)
    solution = solve_network(
        [*frames, *(linked.frames if linked else ())],
        observations,
        field.plane,
        n_tracks,
        links=linked.links if linked else (),
        nclip=nclip,
        sigma=sigma,
        rough=first,
        near=not first,
    )
    return Component(tuple(groups), reference, geometries, rows, track, solution, linked)


def common_stars(
    field: StarField, groups: Sequence[int], label: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Measurements of stars seen in two of the groups at least.

    Returns
    -------
    rows : ndarray of int, shape (k,)
    track : ndarray of int, shape (k,)
        Their stars, numbered from 0.
    n_tracks : int
    """
    rows = np.flatnonzero((label >= 0) & np.isin(field.group, groups))
    of_pair = np.unique(np.stack([label[rows], field.group[rows]]), axis=1)
    in_groups = np.bincount(of_pair[0], minlength=int(label.max(initial=-1)) + 1)
    rows = rows[in_groups[label[rows]] > 1]
    _, track = np.unique(label[rows], return_inverse=True)
    return rows, np.asarray(track, np.intp), int(track.max(initial=-1)) + 1


def reference_group(field: StarField, groups: Sequence[int], rows: NDArray[np.intp]) -> int:
    """Return the group with most stars in common with others; then most stars; then best places.

    By where it lies if all of that is the same: it is not to matter how images are called.
    """
    number = len(field.groups)
    common, stars = (np.bincount(of, minlength=number) for of in (field.group[rows], field.group))
    known = field.weight[rows] / np.square(field.sigma[rows])
    told = np.bincount(field.group[rows], np.nan_to_num(known), minlength=number)
    # a sum is the same but for the order of what is added
    told = np.round(told / max(float(told.max()), 1e-300), 9)
    places = [group.plane.axes[2].tolist() for group in field.groups]
    return min(
        groups,
        key=lambda g: (-common[g], -stars[g], -told[g], places[g], field.groups[g].name),
    )


def observe(
    field: StarField,
    groups: Sequence[int],
    rows: NDArray[np.intp],
    track: NDArray[np.intp],
    motion: NDArray[np.float64] | None = None,
) -> Observations:
    """Put measurements in the form of the network, groups numbered as in `groups`."""
    number = np.full(len(field.groups), -1, np.intp)
    number[list(groups)] = np.arange(len(groups))
    return Observations(
        number[field.group[rows]],
        track,
        field.xy[rows],
        field.sigma[rows],
        field.weight[rows],
        np.zeros((len(rows), 2)) if motion is None else motion,
    )


def _frame(
    field: StarField, g: int, geometry: str, way: NDArray[np.float64], *, held: bool
) -> GroupFrame:
    """Frame of a group; its start is what the geometry can make of an approximate map."""
    group = field.groups[g]
    start = np.eye(3)
    if not held:
        back = np.linalg.inv(field.to_field[g])
        matrix, shift, _ = linear_part(back @ way, np.empty((0, 3, 3)), group.centre)
        moved = matrix @ group.centre + shift
        if geometry != "shift":
            angle = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
            cos, sin = np.cos(angle), np.sin(angle)
            start[:2, :2] = [[cos, -sin], [sin, cos]]
        start[:2, 2] = (moved - start[:2, :2] @ group.centre) * ARCSEC
    return GroupFrame(
        group.name,
        group.plane,
        None if held else geometry,
        group.centre,
        group.radius,
        start,
        group.family,
    )


def enough_for(geometry: str, minobj: int) -> int:
    """Return the number of stars that a group must have in common with others."""
    return max(minobj, MIN_STARS[geometry])
