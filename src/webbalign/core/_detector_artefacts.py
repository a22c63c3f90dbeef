"""Sources that stay at one pixel while the telescope moves: hot pixels and the like, no stars.

Many of them agree with one another in all images of a detector, as if it had not moved, and where
the move is within the radius of the search they would pass for stars. They may be stars only if the
WCS is wrong by just the move: then the other sources show no move, and a catalog has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.special import gammainc

from webbalign.core.matching import Matching
from webbalign.core.offsets import SearchList, search_offset
from webbalign.core.planes import ARCSEC, TangentPlane
from webbalign.core.starlists import ReferenceStars, StarList

__all__ = ["without_artefacts"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# Two sources are at one pixel if they are nearer than this (px), and equally bright (mag).
_SAME_PIXEL = 0.5
_SAME_FLUX = 1.0
# Stars have moved by more than this (px) between two images, as their WCS have it.
_MOVED = 2.0
# About each source the density of others is measured out to this distance (px).
_AROUND = 4.0
# An image has artefacts if chance makes as many in one of so many images; which sources they are
# may be less certain.
_BY_CHANCE = 1e-4
_ONE_BY_CHANCE = 0.1
# So many pairs of images are looked at to see whether there are stars that moved.
_PAIRS = 6


def without_artefacts(
    lists: Sequence[StarList],
    options: Matching,
    reference: ReferenceStars | None = None,
    abs_options: Matching | None = None,
) -> list[StarList]:
    """Return the lists with weight 0 for the sources that are fixed in the detector.

    Images are of one detector if their outlines are the same in their own planes. A source is
    fixed if another image of the detector has an equally bright one at the same pixel, though by
    the WCS of the two the sky has moved; and if an image has more of them than chance would bring.
    All the same they are stars if they agree with the reference catalog and the others show no
    move.

    Parameters
    ----------
    lists : sequence of StarList
    options : Matching
        Of the search of the offset between images.
    reference : ReferenceStars, optional
    abs_options : Matching, optional
        Of the search of the offset from the reference; default: those of images.
    """
    found = list(lists)
    for members in _detectors(lists):
        stars = _Stars.of([lists[k] for k in members])
        fixed = stars.fixed()
        if not fixed.any():
            continue
        if reference is not None and not stars.others_moved(fixed, options):
            skies = [reference.sky_at(k) for k in members]
            if stars.are_known(fixed, skies, abs_options or options):
                continue
        for number, k in enumerate(members):
            mine = fixed[stars.image == number]
            if mine.any():
                found[k] = replace(found[k], weight=np.where(mine, 0.0, found[k].weight))
    return found


def _detectors(lists: Sequence[StarList]) -> list[list[int]]:
    """Return the indices of the images of each detector of which there are several."""
    known: list[tuple[Array, list[int]]] = []
    for k, stars in enumerate(lists):
        outline = stars.outline
        if not len(outline) or not len(stars):
            continue
        for other, members in known:
            if outline.shape == other.shape and np.allclose(
                outline, other, rtol=0.0, atol=_SAME_PIXEL * stars.pixel_scale
            ):
                members.append(k)
                break
        else:
            known.append((outline, [k]))
    return [members for _, members in known if len(members) > 1]


@dataclass(frozen=True, eq=False)
class _Stars:
    """The sources of all images of a detector, one row each."""

    xy: Array
    image: Indices
    magnitude: Array
    vectors: Array
    axes: Array
    pixel: float

    @classmethod
    def of(cls, lists: Sequence[StarList]) -> _Stars:
        with np.errstate(divide="ignore", invalid="ignore"):
            magnitude = -2.5 * np.log10(np.concatenate([stars.flux for stars in lists]))
        return cls(
            np.concatenate([stars.xy for stars in lists]),
            np.repeat(np.arange(len(lists)), [len(stars) for stars in lists]),
            magnitude,
            np.concatenate([stars.plane.to_vectors(stars.xy) for stars in lists]),
            np.array([stars.plane.axes for stars in lists]),
            lists[0].pixel_scale,
        )

    def fixed(self) -> NDArray[np.bool_]:
        """Tell which sources (n,) are fixed in the detector."""
        reach, around = _SAME_PIXEL * self.pixel, _AROUND * self.pixel
        one, other = KDTree(self.xy).query_pairs(around, output_type="ndarray").T
        apart = self.image[one] != self.image[other]
        one, other = one[apart], other[apart]
        moved = self._moved(one, other)
        one, other = one[moved], other[moved]
        near = np.hypot(*(self.xy[one] - self.xy[other]).T) <= reach
        with np.errstate(invalid="ignore"):
            # what is unknown may be the same
            same = near & ~(np.abs(self.magnitude[one] - self.magnitude[other]) > _SAME_FLUX)
        n = len(self.xy)
        count = np.bincount(one[same], minlength=n) + np.bincount(other[same], minlength=n)
        ring = np.bincount(one[~near], minlength=n) + np.bincount(other[~near], minlength=n)
        area = float(np.prod(np.maximum(np.ptp(self.xy, axis=0), around)))
        expected = np.maximum(ring / (around**2 - reach**2), np.pi * n / area) * reach**2
        chance = gammainc(np.maximum(count, 1), expected)
        n_images = len(self.axes)
        found = np.bincount(self.image[count > 0], minlength=n_images)
        by_chance = np.bincount(self.image, -np.expm1(-expected), n_images)
        certain = gammainc(np.maximum(found, 1), np.maximum(by_chance, 1e-12)) < _BY_CHANCE
        return (count > 0) & (chance < _ONE_BY_CHANCE) & certain[self.image]

    def others_moved(self, fixed: NDArray[np.bool_], options: Matching) -> bool:
        """Tell whether the sources that are not fixed agree with a move of the sky."""
        many = np.bincount(self.image[~fixed], minlength=len(self.axes))
        many *= np.bincount(self.image[fixed], minlength=len(self.axes)) > 0
        images = np.argsort(-many, kind="stable")[: _PAIRS + 1]
        for a, b in list(combinations(images[many[images] > 0].tolist(), 2))[:_PAIRS]:
            first, second = (
                self._search_list(~fixed & (self.image == k), b, options) for k in (a, b)
            )
            offset, pairs, _ = search_offset(
                first, second, replace(options, minobj=1), pixel_scale=self.pixel, widen=False
            )
            if not offset.status.usable or not len(pairs):
                continue
            own = np.flatnonzero(~fixed & (self.image == a))[pairs]
            moved = offset.apply(self._seen_in(own, np.full(len(own), b))) - self.xy[own]
            if np.median(np.hypot(*moved.T)) > _MOVED * self.pixel:
                return True
        return False

    def are_known(
        self, fixed: NDArray[np.bool_], skies: Sequence[Array], options: Matching
    ) -> bool:
        """Tell whether fixed sources agree with a catalog (n, 2; degrees) for one of the images."""
        image = int(np.bincount(self.image[fixed]).argmax())
        with np.errstate(invalid="ignore"):
            stars = TangentPlane(self.axes[image]).from_sky(skies[image])
        here = self._search_list(fixed & (self.image == image), image, options)
        there = SearchList.of(stars)
        offset, pairs, _ = search_offset(
            here, there, replace(options, minobj=1), pixel_scale=self.pixel, widen=False
        )
        return offset.status.usable and len(pairs) > 0

    def _search_list(self, chosen: NDArray[np.bool_], frame: int, options: Matching) -> SearchList:
        """Return sources in the plane of an image, as its WCS and theirs have it."""
        rows = np.flatnonzero(chosen)
        flux = 10.0 ** (-0.4 * self.magnitude[rows])
        at = self._seen_in(rows, np.full(len(rows), frame))
        return SearchList.of(at, flux=flux, separation=options.separation)

    def _seen_in(self, rows: Indices, frame: Indices) -> Array:
        """Positions (k, 2) of sources in the planes of other images, arcsec."""
        there = np.einsum("kij,kj->ki", self.axes[frame], self.vectors[rows])
        return np.asarray(there[:, :2] / there[:, 2:] / ARCSEC)

    def _moved(self, one: Indices, other: Indices) -> NDArray[np.bool_]:
        """Tell whether the sky has moved at the place of each pair, as the WCS have it."""
        there = self._seen_in(one, self.image[other])
        return np.asarray(np.hypot(*(there - self.xy[one]).T) > _MOVED * self.pixel)
