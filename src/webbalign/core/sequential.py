"""Groups aligned one after another to a catalog of those before them, as the document describes.

The first group is the reference; each further one is matched with its stars and moved onto them,
by one affine fit in its own plane. With an expanding catalog the stars that were not in it join
it. Errors add up along the chain: the global solution is better wherever more than two groups
overlap, and this one is for those who compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.spatial import KDTree

from webbalign.core._components import Component, observe, reach_of
from webbalign.core._first_alignment import offset_move
from webbalign.core._image_fits import ImageStatus
from webbalign.core._network_maps import generators
from webbalign.core._relative import Note
from webbalign.core._star_field import StarField
from webbalign.core.affine import MIN_STARS, AffineFit, AffineStatus, fit_affine, supported_geometry
from webbalign.core.fitting import Fitting
from webbalign.core.matching import Matching, match
from webbalign.core.network import GroupFrame, evaluate_network
from webbalign.core.offsets import SearchList, search_offset
from webbalign.core.overlaps import overlaps
from webbalign.core.planes import ARCSEC, apply_map

__all__ = ["solve_in_sequence"]


class _Chain:
    """The growing catalog, and where each aligned group is.

    A star of the catalog has the position at which it was found first.
    """

    def __init__(self, field: StarField, matching: Matching, fitting: Fitting) -> None:
        self.field = field
        self.matching = matching
        self.fitting = fitting
        self.ways = field.to_field
        self.fits: dict[int, AffineFit] = {}
        self.geometry: dict[int, str] = {}
        self.track = np.full(len(field.image), -1, np.intp)
        self.used = np.zeros(len(field.image), bool)
        self.xy = np.empty((0, 2))
        self.sigma, self.flux = np.empty(0), np.empty(0)

    def begin(self, g: int) -> None:
        """Make a group the reference."""
        self.geometry[g] = self.fitting.fitgeometry
        self._add(g, np.flatnonzero((self.field.group == g) & (self.field.weight > 0)))

    def align(self, g: int, *, expand: bool) -> str:
        """Align a group to the catalog; return what went wrong, empty if nothing did."""
        field, matching = self.field, self.matching
        rows = np.flatnonzero((field.group == g) & (field.weight > 0))
        if len(rows) < matching.minobj:
            return f"{len(rows)} stars were found in it, and minobj is {matching.minobj}"
        plain = apply_map(field.to_field[g], field.xy[rows])[0]
        apart = matching.separation
        mine = SearchList.of(
            plain, flux=field.flux[rows], sigma=field.sigma[rows], separation=apart
        )
        known = SearchList.of(self.xy, flux=self.flux, sigma=self.sigma, separation=apart)
        pixel = field.pixel_scale([g])
        offset, found, _ = search_offset(mine, known, matching, pixel_scale=pixel)
        if not offset.status.usable or not len(found):
            return "no significant offset from the images aligned before it"
        reach = min(matching.tolerance, max(6.0 * offset.sigma, 0.1 * pixel))
        start = offset_move(offset) @ field.to_field[g]
        fit, pairs = self._fitted(g, rows, start, reach)
        if fit is None or fit.status is not AffineStatus.OK:
            why = "" if fit is None else f" ({fit.status.value})"
            return (
                f"{pairs[0].size} stars in common with the images aligned before it{why}, and "
                f"minobj is {matching.minobj}"
            )
        self.fits[g] = fit
        self.ways[g] = field.to_field[g] @ _as_map(fit)
        taken, star = rows[pairs[0]], pairs[1]
        self.track[taken] = star
        self.used[taken] = fit.used
        if expand:
            self._add(g, np.setdiff1d(rows, taken))
        return ""

    def _fitted(
        self, g: int, rows: NDArray[np.intp], way: NDArray[np.float64], reach: float
    ) -> tuple[AffineFit | None, tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Fit a group roughly brought to its place; the second time what the first one found."""
        field, group = self.field, self.field.groups[g]
        back = np.linalg.inv(field.to_field[g])
        fit: AffineFit | None = None
        for _ in range(2):
            i, j = self._pairs(rows, apply_map(way, field.xy[rows])[0], reach)
            needed = max(self.matching.minobj, MIN_STARS[self.fitting.fitgeometry])
            if len(i) < needed:
                return None, (i, j)
            own = field.xy[rows[i]]
            self.geometry[g] = (
                supported_geometry(own, self.fitting.fitgeometry, group.radius) or "shift"
            )
            fit = fit_affine(
                own,
                apply_map(back, self.xy[j])[0],
                np.hypot(field.sigma[rows[i]], self.sigma[j]),
                field.weight[rows[i]],
                geometry=self.geometry[g],
                nclip=self.fitting.nclip,
                sigma_clip=self.fitting.sigma,
                radius=group.radius,
            )
            if fit.status is not AffineStatus.OK:
                break
            way = field.to_field[g] @ _as_map(fit)
        return fit, (i, j)

    def _pairs(
        self, rows: NDArray[np.intp], moved: NDArray[np.float64], reach: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pair moved stars, image by image (images of a group may overlap), with the catalog."""
        first, second = [], []
        for k in np.unique(self.field.image[rows]):
            mine = np.flatnonzero(self.field.image[rows] == k)
            pairs = match(
                moved[mine],
                self.xy,
                tolerance=reach,
                sigma_image=self.field.sigma[rows[mine]],
                sigma_reference=self.sigma,
            )
            first.append(mine[pairs.i])
            second.append(pairs.j)
        return np.concatenate(first), np.concatenate(second)

    def _add(self, g: int, rows: NDArray[np.intp]) -> None:
        """Put stars of an aligned group into the catalog, if they are not there yet."""
        field = self.field
        if not len(rows):
            return
        reach = reach_of(field.sigma[rows], field.pixel_scale([g]), self.matching.tolerance)
        for k in np.unique(field.image[rows]):
            mine = rows[field.image[rows] == k]
            moved = apply_map(self.ways[g], field.xy[mine])[0]
            distance = np.full(len(mine), np.inf)
            near = np.zeros(len(mine), np.intp)
            if len(self.xy):
                distance, near = KDTree(self.xy).query(moved)
            new = distance > reach
            self.track[mine[new]] = len(self.xy) + np.arange(np.count_nonzero(new))
            if g not in self.fits:
                self.track[mine[~new]] = near[~new]
            self.used[mine[new]] = True
            self.xy = np.concatenate([self.xy, moved[new]])
            self.sigma = np.concatenate([self.sigma, field.sigma[mine[new]]])
            self.flux = np.concatenate([self.flux, field.flux[mine[new]]])

    def component(self, groups: Sequence[int], reference: int) -> Component:
        """Return what was aligned, in the form of a solution."""
        field = self.field
        rows = np.flatnonzero((self.track >= 0) & np.isin(field.group, groups))
        often = np.bincount(self.track[rows], minlength=len(self.xy))
        rows = rows[often[self.track[rows]] > 1]
        stars, track = np.unique(self.track[rows], return_inverse=True)
        frames, parts = [], []
        for g in groups:
            group = field.groups[g]
            fit = self.fits.get(g)
            frames.append(
                GroupFrame(
                    group.name,
                    group.plane,
                    None if fit is None else "general",
                    group.centre,
                    group.radius,
                    np.eye(3) if fit is None else _as_map(fit),
                )
            )
            if fit is not None:
                parts.append(_in_parameters(fit, frames[-1]))
        seen = observe(field, groups, rows, np.asarray(track, np.intp))
        covariance = block_diag(*parts) if parts else np.empty((0, 0))
        solution = evaluate_network(
            frames, seen, field.plane, len(stars), self.used[rows], covariance
        )
        return Component(
            tuple(groups), reference, self.geometry, rows, np.asarray(track, np.intp), solution
        )


def solve_in_sequence(
    field: StarField,
    matching: Matching,
    fitting: Fitting,
    *,
    order: Sequence[int] | None,
    expand: bool,
) -> tuple[list[Component], dict[int, Note]]:
    """Align the groups one after another.

    Parameters
    ----------
    field : StarField
    matching, fitting
        Options.
    order : sequence of int, optional
        Groups in the order in which they are to be aligned; default: the two that overlap most
        begin, the one with more stars being the reference; then always the one that overlaps
        most with those aligned.
    expand : bool
        Whether the stars of aligned groups join the catalog.

    Returns
    -------
    components : list of Component
        What was aligned, then each other group by itself.
    notes : dict
        Why, for each of the latter.
    """
    area = _overlap_areas(field)
    chain = _Chain(field, matching, fitting)
    left = list(range(len(field.groups)) if order is None else order)
    reference = left[0] if order is not None else _first(field, area)
    left.remove(reference)
    chain.begin(reference)
    done = [reference]
    notes: dict[int, Note] = {}
    while left:
        if order is None:
            left.sort(key=lambda g: (-area[g, done].sum(), g))
        g = left.pop(0)
        why = chain.align(g, expand=expand)
        if why:
            notes[g] = Note(ImageStatus.UNCHANGED, why)
        else:
            done.append(g)
    if len(field.groups) == 1:
        notes[reference] = Note(ImageStatus.UNCHANGED, "there is nothing to align it with")
    elif len(done) == 1:
        notes[reference] = Note(ImageStatus.UNCHANGED, "no other image could be aligned to it")
    found = [chain.component(sorted(done), reference)]
    for g in sorted(notes):
        if g != reference:
            alone = _Chain(field, matching, fitting)
            found.append(alone.component([g], g))
    return found, notes


def _overlap_areas(field: StarField) -> NDArray[np.float64]:
    """Areas (groups, groups) of the overlaps, arcsec squared."""
    found = overlaps(field.outlines(field.to_field))
    area = np.zeros((len(field.groups),) * 2)
    first, second = found.pairs.T
    area[first, second] = area[second, first] = found.area
    return area


def _first(field: StarField, area: NDArray[np.float64]) -> int:
    """Return the group with more stars of the two that overlap most."""
    counts = np.bincount(field.group, minlength=len(field.groups))
    a, b = np.unravel_index(int(np.argmax(np.triu(area, 1))), area.shape)
    return int(min((a, b), key=lambda g: (-counts[g], g)))


def _as_map(fit: AffineFit) -> NDArray[np.float64]:
    """Matrix (3, 3) of a fit, on (x, y, 1) in radians."""
    matrix = np.eye(3)
    matrix[:2, :2] = fit.matrix
    matrix[:2, 2] = fit.shift * ARCSEC
    return matrix


def _in_parameters(fit: AffineFit, frame: GroupFrame) -> NDArray[np.float64]:
    """Covariance (6, 6) of a fit in the parameters of the network's general geometry."""
    changes = generators("general", frame.centre, frame.radius) @ frame.start
    slopes = np.concatenate([changes[:, :2, :2].reshape(-1, 4), changes[:, :2, 2] / ARCSEC], axis=1)
    back = np.linalg.inv(slopes.T)
    return back @ fit.cov @ back.T
