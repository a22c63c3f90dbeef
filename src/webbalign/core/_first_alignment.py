"""First, rough, alignment of the groups: which show the same stars, and by how much they differ.

A tree of offsets is enough, since all stars are matched anew when the groups are roughly aligned.
It is grown from the largest overlaps (Kruskal 1956, DOI 10.1090/S0002-9939-1956-0078686-7), and a
branch is taken only if its offset is significant. What then remains apart is tried once more, all
the stars of each part together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._star_field import StarField
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset, SearchList, search_offset
from webbalign.core.overlaps import overlaps
from webbalign.core.planes import ARCSEC

__all__ = ["FirstAlignment", "align_first", "plane_move"]

# failed searches between two parts after which they are taken to be apart
_ATTEMPTS = 4


@dataclass(frozen=True, eq=False)
class FirstAlignment:
    """Groups brought roughly onto one another.

    Attributes
    ----------
    ways : ndarray, shape (groups, 3, 3)
        Maps from the groups' planes to that of the field.
    part : ndarray of int, shape (groups,)
        Groups with the same number are aligned with one another.
    scatter : float
        Largest one-axis scatter of the pairs of an offset, arcsec; 0 if there is none.
    overlapping : ndarray of bool, shape (groups,)
        Which groups overlap another one.
    """

    ways: NDArray[np.float64]
    part: NDArray[np.intp]
    scatter: float
    overlapping: NDArray[np.bool_]


def plane_move(offset: Offset) -> NDArray[np.float64]:
    """Affine matrix (3, 3), on (x, y, 1) in radians, of an offset and roll in a plane."""
    cos, sin = np.cos(offset.roll), np.sin(offset.roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    centre = np.array(offset.centre)
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = (centre + np.array([offset.dx, offset.dy]) - turn @ centre) * ARCSEC
    return matrix


class _Parts:
    """The growing parts: each group has a map into the frame of its part."""

    def __init__(self, field: StarField, options: Matching) -> None:
        self.field = field
        self.options = options
        self.ways = field.to_field
        self.part = np.arange(len(field.groups))
        self.scatter = 0.0
        self.failures: dict[tuple[int, int], int] = {}
        positions = field.positions(self.ways)
        self.alone = [self._search_list(positions, field.group == g) for g in self.part]

    def _search_list(self, positions: NDArray[np.float64], rows: NDArray[np.bool_]) -> SearchList:
        rows = rows & (self.field.weight > 0)
        return SearchList.of(
            positions[rows],
            flux=self.field.flux[rows],
            sigma=self.field.sigma[rows],
            separation=self.options.separation,
        )

    def join(self, first: int, second: int) -> None:
        """Try the offset between two groups; join their parts if it is significant."""
        a, b = sorted((int(self.part[first]), int(self.part[second])))
        if a == b or self.failures.get((a, b), 0) >= _ATTEMPTS:
            return
        smaller, larger = self.alone[first], self.alone[second]
        pixel = self.field.pixel_scale([first, second])
        offset, pairs, _ = search_offset(smaller, larger, self.options, pixel_scale=pixel)
        if not offset.status.usable or len(pairs) == 0:
            self.failures[a, b] = self.failures.get((a, b), 0) + 1
            return
        # the offset is between uncorrected positions: undo what each part did to its group
        plain = self.field.to_field
        to_second = self.ways[second] @ np.linalg.inv(plain[second])
        undo = plain[first] @ np.linalg.inv(self.ways[first])
        self._merge(
            int(self.part[first]), int(self.part[second]), to_second @ plane_move(offset) @ undo
        )
        self.scatter = max(self.scatter, offset.sigma)

    def join_parts(self, a: int, b: int) -> bool:
        """Try the offset between two whole parts."""
        positions = self.field.positions(self.ways)
        of_star = self.part[self.field.group]
        one, other = (self._search_list(positions, of_star == part) for part in (a, b))
        pixel = self.field.pixel_scale()
        offset, pairs, _ = search_offset(one, other, self.options, pixel_scale=pixel)
        if not offset.status.usable or len(pairs) == 0:
            return False
        self._merge(a, b, plane_move(offset))
        self.scatter = max(self.scatter, offset.sigma)
        return True

    def _merge(self, moved: int, kept: int, move: NDArray[np.float64]) -> None:
        """Bring one part into the frame of another."""
        rows = self.part == moved
        self.ways[rows] = move @ self.ways[rows]
        new = min(moved, kept)
        self.part[rows | (self.part == kept)] = new
        failures: dict[tuple[int, int], int] = {}
        for (a, b), count in self.failures.items():
            a, b = sorted(new if k in (moved, kept) else k for k in (a, b))
            failures[a, b] = max(failures.get((a, b), 0), count)
        self.failures = failures


def align_first(field: StarField, options: Matching) -> FirstAlignment:
    """Find the groups that show the same stars, and bring them roughly together.

    Parameters
    ----------
    field : StarField
    options : Matching
    """
    parts = _Parts(field, options)
    found = overlaps(field.outlines(parts.ways, margin=options.searchrad))
    counts = np.bincount(field.group[field.weight > 0], minlength=len(field.groups))
    density = counts / np.maximum(found.areas, 1e-9)
    first, second = found.pairs.T
    expected = found.area * np.minimum(density[first], density[second])
    enough = (counts[first] > 0) & (counts[second] > 0)
    for k in np.lexsort((second, first, -expected)):
        if enough[k]:
            parts.join(int(first[k]), int(second[k]))
    _join_what_remains(parts, found.pairs, expected)
    overlapping = np.zeros(len(field.groups), bool)
    overlapping[found.pairs.ravel()] = True
    return FirstAlignment(parts.ways, parts.part, parts.scatter, overlapping)


def _join_what_remains(
    parts: _Parts, pairs: NDArray[np.intp], expected: NDArray[np.float64]
) -> None:
    """Try whole parts, several overlaps of a few stars each taken together."""
    tried: set[tuple[int, int, int, int]] = set()
    while True:
        between: dict[tuple[int, int], list[float]] = {}
        for (first, second), number in zip(parts.part[pairs], expected, strict=True):
            if first != second:
                between.setdefault((min(first, second), max(first, second)), []).append(number)
        sizes = np.bincount(parts.part, minlength=len(parts.part))
        # a single overlap has been tried
        left = [
            (-sum(numbers), a, b)
            for (a, b), numbers in between.items()
            if len(numbers) > 1 and (a, b, int(sizes[a]), int(sizes[b])) not in tried
        ]
        if not left:
            return
        _, a, b = min(left)
        tried.add((int(a), int(b), int(sizes[a]), int(sizes[b])))
        parts.join_parts(int(a), int(b))
