"""First alignment of the groups: which show the same stars, and roughly by how much they differ.

Pairs of groups are searched by :mod:`webbalign.core.image_matching`. What then remains apart is
tried once more, all the stars of each part together: a few stars in common with each of several
images are enough to find one that overlaps none of them by much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._star_field import StarField
from webbalign.core.image_matching import ImageMatching, PlaneStars, match_images
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset, SearchList, search_offset
from webbalign.core.overlaps import overlaps
from webbalign.core.planes import ARCSEC

__all__ = ["FirstAlignment", "align_first", "offset_move"]


@dataclass(frozen=True, eq=False)
class FirstAlignment:
    """Groups brought roughly onto one another.

    Attributes
    ----------
    ways : ndarray, shape (groups, 3, 3)
        Maps from the groups' planes to that of the field.
    part : ndarray of int, shape (groups,)
        Groups with the same number are aligned with one another.
    reach : float
        Distance within which the stars of aligned groups coincide, arcsec.
    overlapping : ndarray of bool, shape (groups,)
        Which groups overlap another one.
    label : ndarray of int, shape (n,), or None
        Number of the star that each measurement shows, -1 for one that is seen once; None if
        stars have to be linked anew.
    """

    ways: NDArray[np.float64]
    part: NDArray[np.intp]
    reach: float
    overlapping: NDArray[np.bool_]
    label: NDArray[np.intp] | None


def plane_move(
    shift: NDArray[np.float64], roll: float, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Affine matrix (3, 3), on (x, y, 1) in radians, of a turn about a point and a shift.

    Parameters
    ----------
    shift, centre : ndarray, shape (2,)
        Arcsec.
    roll : float
        Radian, from x to y.
    """
    cos, sin = np.cos(roll), np.sin(roll)
    matrix = np.eye(3)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:2, 2] = (centre + shift - matrix[:2, :2] @ centre) * ARCSEC
    return matrix


def offset_move(offset: Offset) -> NDArray[np.float64]:
    """Return the matrix of `plane_move` for an offset."""
    return plane_move(np.array([offset.dx, offset.dy]), offset.roll, np.array(offset.centre))


def align_first(field: StarField, options: Matching) -> FirstAlignment:
    """Find the groups that show the same stars, and bring them roughly together.

    Parameters
    ----------
    field : StarField
    options : Matching
    """
    matching, label = _matched(field, options)
    parts = _Parts(field, options, matching)
    found = overlaps(field.outlines(field.to_field, margin=options.searchrad))
    counts = np.bincount(field.group[field.weight > 0], minlength=len(field.groups))
    number = len(np.unique(parts.part))
    if number > 1:
        parts.join_what_remains(found.pairs[(counts[found.pairs] > 0).all(axis=1)])
    anew = len(np.unique(parts.part)) != number
    overlapping = np.zeros(len(field.groups), bool)
    overlapping[found.pairs.ravel()] = True
    return FirstAlignment(parts.ways, parts.part, parts.reach, overlapping, None if anew else label)


def _matched(field: StarField, options: Matching) -> tuple[ImageMatching, NDArray[np.intp]]:
    """Search the offsets of pairs of groups; return also the star of each measurement."""
    positions = field.positions(field.to_field)
    usable = field.weight > 0
    rows = [np.flatnonzero((field.image == k) & usable) for k in range(len(field.lists))]
    stars = [
        PlaneStars(
            positions[r],
            field.sigma[r],
            field.flux[r],
            one.plane.map_to(field.plane, one.outline)[0],
        )
        for r, one in zip(rows, field.lists, strict=True)
    ]
    groups = [one.group for one in field.lists]
    found = match_images(stars, groups, options=options, pixel_scale=field.pixel_scale())
    label = np.full(len(field.image), -1, np.intp)
    for k, own in enumerate(rows):
        label[own] = found.tracks.of_image(k, len(own))
    return found, label


class _Parts:
    """The growing parts: each group has a map into the frame of its part."""

    def __init__(self, field: StarField, options: Matching, matching: ImageMatching) -> None:
        self.field = field
        self.options = options
        self.reach = matching.reach
        number = [matching.groups.index(group.name) for group in field.groups]
        self.part = np.asarray(matching.component[number], np.intp)
        moves = [
            plane_move(matching.shift[k], float(matching.roll[k]), matching.centre[k])
            for k in number
        ]
        self.ways = np.array(moves) @ field.to_field

    def join_what_remains(self, pairs: NDArray[np.intp]) -> None:
        """Try whole parts that overlap in several places, several small overlaps together."""
        tried: set[tuple[int, int, int, int]] = set()
        while True:
            sizes = np.bincount(self.part)
            ends = np.sort(self.part[pairs], axis=1)
            between, counts = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0, return_counts=True)
            # a single overlap has been searched
            left = [
                (-int(n), int(a), int(b), int(sizes[a]), int(sizes[b]))
                for (a, b), n in zip(between, counts, strict=True)
                if n > 1 and (int(a), int(b), int(sizes[a]), int(sizes[b])) not in tried
            ]
            if not left:
                return
            _, a, b, *_ = best = min(left)
            tried.add(best[1:])
            self._join(a, b)

    def _join(self, a: int, b: int) -> None:
        """Bring part `a` into the frame of part `b` if an offset between them is significant."""
        positions = self.field.positions(self.ways)
        of_star = np.where(self.field.weight > 0, self.part[self.field.group], -1)
        one, other = (self._search_list(positions, of_star == part) for part in (a, b))
        pixel = self.field.pixel_scale()
        offset, pairs, _ = search_offset(one, other, self.options, pixel_scale=pixel)
        if not offset.status.usable or len(pairs) == 0:
            return
        rows = self.part == a
        self.ways[rows] = offset_move(offset) @ self.ways[rows]
        self.part[rows | (self.part == b)] = min(a, b)
        self.reach = min(self.options.tolerance, max(self.reach, 6.0 * offset.sigma))

    def _search_list(self, positions: NDArray[np.float64], rows: NDArray[np.bool_]) -> SearchList:
        return SearchList.of(
            positions[rows],
            flux=self.field.flux[rows],
            sigma=self.field.sigma[rows],
            separation=self.options.separation,
        )
