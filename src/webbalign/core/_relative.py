"""The relative solution: match, solve, match again within what the solution shows, solve again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._components import (
    Component,
    connected,
    label_stars,
    reach_of,
    solve_component,
)
from webbalign.core._first_alignment import FirstAlignment, align_first
from webbalign.core._image_fits import ImageStatus
from webbalign.core._image_links import ImagePairs, join_by_images
from webbalign.core._star_field import StarField
from webbalign.core.affine import MIN_STARS
from webbalign.core.fitting import Fitting
from webbalign.core.matching import Matching
from webbalign.core.planes import apply_map

__all__ = ["Note", "solve_relative"]

# a group of whose matched stars less than this part agree is not believed
_LEAST_AGREEMENT = 0.5


@dataclass(frozen=True)
class Note:
    """Why a group stands alone."""

    status: ImageStatus
    reason: str


def solve_relative(
    field: StarField,
    matching: Matching,
    fitting: Fitting,
    held: int | None = None,
    images: ImagePairs | None = None,
) -> tuple[list[Component], dict[int, Note]]:
    """Solve all parts that hold together.

    Parameters
    ----------
    field : StarField
    matching, fitting
        Options.
    held : int, optional
        Group that is to stay where it is; default: chosen by rule in each part.
    images : ImagePairs, optional
        Pairs of the groups' images, which tie groups as stars do.

    Returns
    -------
    components : list of Component
        The largest first; a group that is tied to no other is one by itself.
    notes : dict
        Why, for each of the latter.
    """
    first = align_first(field, matching)
    if images is not None:
        first = join_by_images(field, first, images)
    solving = _Relative(field, matching, fitting, held, images)
    found: list[Component] = []
    for part in np.unique(first.part):
        members = np.flatnonzero(first.part == part).tolist()
        found += solving.grown(members, first.ways, first.reach, 2, first.label)
    for component in found:
        if len(component.groups) == 1:
            (g,) = component.groups
            solving.notes.setdefault(g, solving.why_alone(first, g))
    return sorted(found, key=_size), solving.notes


def _size(component: Component) -> tuple[int, int, tuple[int, ...]]:
    return -len(component.groups), -len(component.rows), component.groups


class _Relative:
    def __init__(
        self,
        field: StarField,
        matching: Matching,
        fitting: Fitting,
        held: int | None,
        images: ImagePairs | None,
    ) -> None:
        self.field = field
        self.matching = matching
        self.fitting = fitting
        self.held = held
        self.images = images
        self.wrong: set[int] = set()  # pairs of images that others contradict
        self.notes: dict[int, Note] = {}

    def grown(
        self,
        members: Sequence[int],
        ways: NDArray[np.float64],
        reach: float,
        rounds: int,
        label: NDArray[np.intp] | None = None,
    ) -> list[Component]:
        """Solve groups that are roughly aligned; each round matches more closely."""
        field = self.field
        if label is None:
            label = label_stars(field, field.positions(ways), members, reach)
        needed = max(self.matching.minobj, MIN_STARS[self.fitting.fitgeometry])
        part = self._connected(label, members, needed)
        found: list[Component] = []
        for number in np.unique(part[list(members)]):
            groups = [g for g in members if part[g] == number]
            component = self._solved(groups, label, ways, first=rounds > 1)
            doubts = self._doubts(component, ways)
            if self._fallen_apart(component, label, needed):
                found += self.grown(groups, ways, reach, rounds, label)
            elif doubts:
                self.notes.update(doubts)
                left = [g for g in groups if g not in doubts]
                found += [self._solved([g], label, ways) for g in doubts]
                found += self.grown(left, ways, reach, rounds) if left else []
            elif rounds > 1 and len(groups) > 1:
                solution = component.solution
                errors = np.hypot(field.sigma[component.rows[solution.used]], solution.floor)
                errors = np.where(np.isfinite(errors), errors, solution.floor)
                closer = reach_of(errors, field.pixel_scale(), self.matching.tolerance)
                found += self.grown(groups, component.ways(field), closer, rounds - 1)
            else:
                found.append(component)
        return found

    def _connected(
        self, label: NDArray[np.intp], groups: Sequence[int], needed: int
    ) -> NDArray[np.intp]:
        """Return the part of each group; stars or images in common make parts."""
        field, start = self.field, None
        if self.images is not None:
            start = self.images.parts(field, groups, self.wrong)
        return connected(label, field.group, len(field.groups), needed, start)

    def _fallen_apart(self, component: Component, label: NDArray[np.intp], needed: int) -> bool:
        """Whether pairs of images contradict those that alone hold groups; then note them."""
        if component.images is None:
            return False
        wrong = component.images.rejected(component.solution)
        if not wrong:
            return False
        kept = label.copy()
        kept[component.rows[~component.solution.used]] = -1
        before, self.wrong = self.wrong, self.wrong | wrong
        doubtful = self._doubtful(component, kept, needed, wrong)
        part = self._connected(kept, component.groups, needed)
        if doubtful or len(np.unique(part[list(component.groups)])) > 1:
            self.wrong = self.wrong | doubtful
            return True
        self.wrong = before
        return False

    def _doubtful(
        self, component: Component, label: NDArray[np.intp], needed: int, wrong: set[int]
    ) -> set[int]:
        """Which pairs of images stand alone against one that was rejected: either may be wrong."""
        assert self.images is not None
        number = {self.field.groups[g].name: g for g in component.groups}
        found, before = set(), self.wrong
        for k in sorted(component.pairs_used):
            self.wrong = before | {k}
            part = self._connected(label, component.groups, needed)
            for other in wrong:
                pair = self.images.pairs[other]
                if part[number[pair.first]] != part[number[pair.second]]:
                    found.add(k)
        self.wrong = before
        return found

    def _solved(
        self,
        groups: Sequence[int],
        label: NDArray[np.intp],
        ways: NDArray[np.float64],
        *,
        first: bool = False,
    ) -> Component:
        return solve_component(
            self.field,
            groups,
            label,
            ways,
            geometry=self.fitting.fitgeometry,
            nclip=self.fitting.nclip,
            sigma=self.fitting.sigma,
            held=self.held,
            first=first,
            images=self.images,
            without=self.wrong,
        )

    def _doubts(self, component: Component, ways: NDArray[np.float64]) -> dict[int, Note]:
        """Which groups should not have been fitted, and why."""
        if len(component.groups) == 1:
            return {}
        found = {}
        solution = component.solution
        group = self.field.group[component.rows]
        into = self.field.to_field[component.reference] @ np.linalg.inv(ways[component.reference])
        by_images = self._held_by_images(component)
        for number, g in enumerate(component.groups):
            mine = group == g
            n_matched, n_used = int(mine.sum()), int(solution.used[mine].sum())
            least = _LEAST_AGREEMENT * min(n_matched, self.matching.minobj)
            if solution.lost[number] or (n_used < least and g not in by_images):
                found[g] = Note(
                    ImageStatus.FAILED,
                    f"only {n_used} of {n_matched} matched stars agree with those of other images",
                )
            elif g != component.reference:
                text = self._astray(component, number, into @ ways[g])
                if text:
                    found[g] = Note(ImageStatus.FAILED, text)
        return found

    def _held_by_images(self, component: Component) -> set[int]:
        """Which groups pairs of images hold, whatever their stars say."""
        if self.images is None:
            return set()
        used = [self.images.pairs[k] for k in component.pairs_used]
        names = {name for pair in used for name in (pair.first, pair.second)}
        return {g for g in component.groups if self.field.groups[g].name in names}

    def _astray(self, component: Component, number: int, way: NDArray[np.float64]) -> str:
        """Say whether a fit left what the matching had found, or is not fixed by the stars."""
        solution, g = component.solution, component.groups[number]
        group, tolerance = self.field.groups[g], self.matching.tolerance
        away = apply_map(solution.way(number), group.corners)[0] - apply_map(way, group.corners)[0]
        farthest = float(np.hypot(*away.T).max())
        # the part of a roll that the geometry leaves out is no sign of a bad fit
        if farthest > 2.0 * tolerance and self.fitting.fitgeometry != "shift":
            return f"the fit moved a corner by {farthest:.2f} arcsec from where the stars matched"
        correction = solution.correction(number, group.plane, group.centre)
        error = float(correction.errors_at(group.corners).max())
        if not error <= tolerance:
            return "its stars do not fix its place"
        return ""

    def why_alone(self, first: FirstAlignment, g: int) -> Note:
        """Say why a group is tied to no other."""
        field = self.field
        usable = int(np.count_nonzero((field.group == g) & (field.weight > 0)))
        minobj = self.matching.minobj
        if len(field.groups) == 1:
            reason = "there is nothing to align it with"
        elif not usable:
            reason = "no star was found in it"
        elif usable < minobj:
            reason = f"{usable} stars were found in it, and minobj is {minobj}"
        elif not first.overlapping[g]:
            reason = "it overlaps no other image"
        elif np.count_nonzero(first.part == first.part[g]) == 1:
            reason = "no significant offset from the images that it overlaps"
        else:
            reason = f"it has less than minobj = {minobj} stars in common with other images"
        return Note(ImageStatus.UNCHANGED, reason)
