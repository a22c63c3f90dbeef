"""Image pairs among star lists: how correlated images tie the groups that the stars tie as well.

All pairs of a visit use one stack of it, whose place has an error of its own. So a group and its
stack are apart in the network: pairs link stacks, and each stack is linked with its group.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._first_alignment import FirstAlignment, plane_move
from webbalign.core._star_field import StarField
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.image_pairs import ImagePair, pair_links
from webbalign.core.network import GroupFrame, Link, NetworkSolution
from webbalign.core.planes import TangentPlane, apply_map

__all__ = ["GroupLinks", "ImagePairs", "join_by_images", "pair_closures"]

# of a stack that nothing is said about: arcsec, far below every other error
_SMALLEST = 1e-6
# part of a pixel within which the stars of images that are aligned by correlation coincide
_REACH = 0.5


@dataclass(frozen=True, eq=False)
class GroupLinks:
    """Image pairs in the form of the network.

    Attributes
    ----------
    frames : tuple of GroupFrame
        Of the stacks, numbered on from the groups'.
    links : tuple of Link
    pair : ndarray of int, shape (links,)
        Which pair each link is of; -1 for that of a stack with its group.
    """

    frames: tuple[GroupFrame, ...]
    links: tuple[Link, ...]
    pair: NDArray[np.intp]

    def used(self, solution: NetworkSolution) -> set[int]:
        """Return the pairs that a solution has used."""
        return set(self.pair[solution.link_used & (self.pair >= 0)].tolist())

    def rejected(self, solution: NetworkSolution) -> set[int]:
        """Return the pairs that a solution has rejected."""
        return set(self.pair[self.pair >= 0].tolist()) - self.used(solution)


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Relative places of groups, from the correlation of their images.

    Attributes
    ----------
    pairs : tuple of ImagePair
        Their names are those of groups. Only those with status OK take part.
    plane : TangentPlane
        In which they were measured.
    own : mapping
        By name, what all pairs of a group have in common: the error of the place of its images
        (its stack), covariance (3, 3) of shift (arcsec) at the middle of the group, and rotation.
    """

    pairs: tuple[ImagePair, ...]
    plane: TangentPlane
    own: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def among(self, names: Collection[str], without: Collection[int] = ()) -> list[int]:
        """Return the indices of the usable pairs among groups."""
        return [
            k
            for k, pair in enumerate(self.pairs)
            if pair.status is CorrelationStatus.OK
            and k not in without
            and pair.first != pair.second
            and pair.first in names
            and pair.second in names
        ]

    def parts(
        self, field: StarField, groups: Sequence[int], without: Collection[int] = ()
    ) -> NDArray[np.intp]:
        """Return the number (all groups,) of the part that pairs among some tie each to."""
        part = np.arange(len(field.groups))
        number = {field.groups[g].name: g for g in groups}
        for k in self.among(number, without):
            a, b = (part[number[name]] for name in (self.pairs[k].first, self.pairs[k].second))
            part[part == max(a, b)] = min(a, b)
        return part

    def turned(self, names: Collection[str], without: Collection[int] = ()) -> set[str]:
        """Return the groups whose roll the pairs tell."""
        known = [self.pairs[k] for k in self.among(names, without)]
        return {
            name
            for pair in known
            if math.isfinite(pair.rotation_error)
            for name in (pair.first, pair.second)
        }

    def links(
        self,
        frames: Sequence[GroupFrame],
        geometries: Sequence[str],
        plane: TangentPlane,
        without: Collection[int] = (),
    ) -> GroupLinks:
        """Express the pairs among groups by links between their stacks.

        Parameters
        ----------
        frames : sequence of GroupFrame
            Of the groups.
        geometries : sequence of str
            Of each, that of the one that is held included.
        plane : TangentPlane
            The field's.
        without : collection of int
            Pairs that do not take part.
        """
        chosen = self.among([frame.name for frame in frames], without)
        names = {n for k in chosen for n in (self.pairs[k].first, self.pairs[k].second)}
        with_stack = [g for g, frame in enumerate(frames) if frame.name in names]
        stacks = tuple(replace(frames[g], geometry=geometries[g]) for g in with_stack)
        links, owner = [], []
        for s, g in enumerate(with_stack):
            made = self._same_place(g, len(frames) + s, frames[g], plane)
            links += made
            owner += [-1] * len(made)
        for k in chosen:
            for link in pair_links(self.pairs[k], stacks, self.plane):
                cov = self._in(plane, self.pairs[k].point, link.cov)
                i, j = link.first + len(frames), link.second + len(frames)
                links.append(replace(link, first=i, second=j, cov=cov, bundle=k))
                owner.append(k)
        return GroupLinks(stacks, tuple(links), np.array(owner, dtype=np.intp))

    def _same_place(
        self, group: int, stack: int, frame: GroupFrame, plane: TangentPlane
    ) -> list[Link]:
        """Tie a stack to its group, within the error of its place."""
        middle = frame.plane.map_to(self.plane, frame.centre)[0][0]
        cov = np.array(self.own.get(frame.name, np.zeros((3, 3))))
        cov += _SMALLEST**2 * np.diag([1.0, 1.0, frame.radius**-2])
        slope = cov[:2, 2] / cov[2, 2]
        # where shift and rotation are independent: at middle + a the shift is shift + turn (-a_y,
        # a_x)
        step = np.array([-slope[1], slope[0]])
        change = np.array([[1.0, 0.0, -step[1]], [0.0, 1.0, step[0]]])
        still = ImagePair(
            "group", "stack", CorrelationStatus.OK, middle + step, np.zeros(2), 0.0,
            change @ cov @ change.T, float(np.sqrt(cov[2, 2])), 0, 0.0,
        )  # fmt: skip
        both = [replace(frame, name="group"), replace(frame, name="stack")]
        return [
            replace(
                link, first=group, second=stack, firm=True,
                cov=self._in(plane, still.point, link.cov),
            )
            for link in pair_links(still, both, self.plane)
        ]  # fmt: skip

    def _in(
        self, plane: TangentPlane, point: NDArray[np.float64], cov: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Express a covariance of the pairs' plane in another one."""
        change = self.plane.map_to(plane, point)[1][0]
        return np.asarray(change @ cov @ change.T)


def join_by_images(field: StarField, first: FirstAlignment, images: ImagePairs) -> FirstAlignment:
    """Bring parts together that the stars leave apart, by their best pairs of images.

    Parameters
    ----------
    field : StarField
    first : FirstAlignment
        By the stars.
    images : ImagePairs
    """
    ways, part = first.ways.copy(), first.part.copy()
    number = {group.name: g for g, group in enumerate(field.groups)}
    chosen = images.among(number)
    chosen.sort(key=lambda k: (float(np.trace(images.pairs[k].shift_cov)), k))
    joined = False
    for k in chosen:
        pair = images.pairs[k]
        a, b = number[pair.first], number[pair.second]
        if part[a] == part[b]:
            continue
        frames = [_frame(field, g) for g in (a, b)]
        links = pair_links(pair, frames, images.plane)
        here = np.array([apply_map(ways[a], link.xy_first)[0][0] for link in links])
        there = np.array([apply_map(ways[b], link.xy_second)[0][0] for link in links])
        rows = part == part[b]
        ways[rows] = _rigid(there, here) @ ways[rows]
        part[rows] = part[a]
        joined = True
    if not joined:
        return first
    reach = min(first.reach, _REACH * field.pixel_scale())
    numbered = np.unique(part, return_inverse=True)[1]
    return FirstAlignment(ways, np.asarray(numbered, np.intp), reach, first.overlapping, None)


def _frame(field: StarField, g: int) -> GroupFrame:
    group = field.groups[g]
    return GroupFrame(group.name, group.plane, "rshift", group.centre, group.radius)


def _rigid(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map (3, 3) that brings one or two points (n, 2), arcsec, onto others."""
    centre = source.mean(axis=0)
    roll = 0.0
    if len(source) > 1:
        (ax, ay), (bx, by) = source[0] - source[1], target[0] - target[1]
        roll = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
    return plane_move(target.mean(axis=0) - centre, roll, centre)


def pair_closures(
    images: ImagePairs, frames: Sequence[GroupFrame], solution: NetworkSolution
) -> dict[int, NDArray[np.float64]]:
    """Return what is left (2,), arcsec, of the shift of each pair among the groups of a solution.

    Parameters
    ----------
    images : ImagePairs
    frames : sequence of GroupFrame
        Of the groups, as the solution numbers them.
    solution : NetworkSolution
    """
    found = {}
    for k in images.among([frame.name for frame in frames]):
        bare = replace(images.pairs[k], rotation_error=math.inf)
        link = pair_links(bare, frames, images.plane)[0]
        ends = [
            apply_map(solution.way(g), xy)[0][0]
            for g, xy in ((link.first, link.xy_first), (link.second, link.xy_second))
        ]
        found[k] = ends[0] - ends[1]
    return found
