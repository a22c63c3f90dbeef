"""All the stars of all images in one place: groups, planes, and one long list of measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane, apply_map
from webbalign.core.starlists import StarList

__all__ = ["Group", "StarField"]


@dataclass(frozen=True, eq=False)
class Group:
    """Images that are corrected as one.

    Attributes
    ----------
    name : str
    lists : tuple of int
        Indices of its lists.
    plane : TangentPlane
        In which its correction acts: that of the image if it has one only.
    corners : ndarray, shape (k, 2)
        Corners of the footprints in that plane, arcsec.
    centre : ndarray, shape (2,)
        Their middle.
    radius : float
        Distance of the farthest corner from the middle, arcsec.
    family : str
        Groups of one family were taken with one roll; empty: of none.
    """

    name: str
    lists: tuple[int, ...]
    plane: TangentPlane
    corners: NDArray[np.float64]
    centre: NDArray[np.float64]
    radius: float
    family: str = ""

    @classmethod
    def of(
        cls, name: str, lists: Sequence[StarList], members: Sequence[int], family: str = ""
    ) -> Group:
        """Make the group of the lists with these indices."""
        outlines = [_outline(lists[k]) for k in members]
        vectors = np.concatenate(
            [lists[k].plane.to_vectors(o) for k, o in zip(members, outlines, strict=True)]
        )
        plane = lists[members[0]].plane if len(members) == 1 else TangentPlane.around(vectors)
        corners = plane.from_vectors(vectors)
        centre = corners.mean(axis=0)
        radius = float(np.hypot(*(corners - centre).T).max())
        return cls(name, tuple(members), plane, corners, centre, max(radius, 1.0), family)


@dataclass(frozen=True, eq=False)
class StarField:
    """Everything that was measured, one item or row of each array for each star of each image.

    The images are in the order of their names, whatever the order in which they came.

    Attributes
    ----------
    lists : tuple of StarList
    came : tuple of int
        Where each list was in the caller's order.
    groups : tuple of Group
        In the order of their names.
    plane : TangentPlane
        About the middle of all footprints.
    image, group, star : ndarray of int, shape (n,)
        Index of the list, of the group, and of the star in its list.
    xy : ndarray, shape (n, 2)
        In the plane of the group, uncorrected, arcsec.
    sigma, flux, weight : ndarray, shape (n,)
        As in the lists; the weights of each list have a mean of one.
    """

    lists: tuple[StarList, ...]
    came: tuple[int, ...]
    groups: tuple[Group, ...]
    plane: TangentPlane
    image: NDArray[np.intp]
    group: NDArray[np.intp]
    star: NDArray[np.intp]
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, given: Sequence[StarList], families: Mapping[str, str] | None = None) -> StarField:
        """Gather the lists; `families` tells those of groups, by their names.

        Raises
        ------
        InputError
            If two lists have one name.
        """
        came = sorted(range(len(given)), key=lambda k: given[k].name)
        lists = tuple(given[k] for k in came)
        for one, other in pairwise(lists):
            if one.name == other.name:
                raise InputError(one.name, "two star lists of this name", "one for each image")
        names = sorted({stars.group for stars in lists})
        members = {name: [k for k, s in enumerate(lists) if s.group == name] for name in names}
        family = families or {}
        groups = tuple(Group.of(n, lists, members[n], family.get(n, "")) for n in names)
        of_list = [names.index(stars.group) for stars in lists]
        plane = TangentPlane.around(
            np.concatenate([group.plane.to_vectors(group.corners) for group in groups])
        )
        counts = [len(stars) for stars in lists]
        xy = [
            stars.xy
            if len(groups[g].lists) == 1
            else stars.plane.map_to(groups[g].plane, stars.xy)[0]
            for stars, g in zip(lists, of_list, strict=True)
        ]
        return cls(
            lists=lists,
            came=tuple(came),
            groups=groups,
            plane=plane,
            image=np.repeat(np.arange(len(lists)), counts),
            group=np.repeat(np.array(of_list, dtype=np.intp), counts),
            star=np.concatenate([np.arange(count) for count in counts]),
            xy=np.concatenate(xy),
            sigma=np.concatenate([stars.sigma for stars in lists]),
            flux=np.concatenate([stars.flux for stars in lists]),
            weight=np.concatenate([_relative(stars.weight) for stars in lists]),
        )

    @property
    def to_field(self) -> NDArray[np.float64]:
        """Maps (groups, 3, 3) from the groups' planes to the field's, without correction."""
        return np.array([group.plane.matrix_to(self.plane) for group in self.groups])

    def positions(self, ways: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (n, 2) in the field's plane by maps (groups, 3, 3) from the groups' planes."""
        found = np.empty_like(self.xy)
        for g in range(len(self.groups)):
            rows = self.group == g
            found[rows] = apply_map(ways[g], self.xy[rows])[0]
        return found

    def outlines(self, ways: NDArray[np.float64], margin: float = 0.0) -> list[NDArray[np.float64]]:
        """Corners (k, 2) of the groups' footprints in the field's plane, moved out by `margin`."""
        return [
            apply_map(way, g.centre + (g.corners - g.centre) * (1.0 + margin / g.radius))[0]
            for way, g in zip(ways, self.groups, strict=True)
        ]

    def pixel_scale(self, groups: Sequence[int] | None = None) -> float:
        """Smallest pixel of the images of some groups (default: all), arcsec."""
        chosen = range(len(self.groups)) if groups is None else groups
        return min(self.lists[k].pixel_scale for g in chosen for k in self.groups[g].lists)


def _outline(stars: StarList) -> NDArray[np.float64]:
    """Outline of an image; the box of its stars if it has none."""
    if len(stars.outline):
        return stars.outline
    if not len(stars):
        return np.zeros((1, 2))
    (x0, y0), (x1, y1) = stars.xy.min(axis=0), stars.xy.max(axis=0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _relative(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights whose mean is one; what is negative or no number has none."""
    weight = np.where(np.isfinite(weight) & (weight > 0), weight, 0.0)
    total = weight.sum()
    return weight * (np.count_nonzero(weight) / total) if total > 0 else weight
