"""Which pairs of groups are matched, so that all are connected and errors show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from webbalign.core._group_network import GroupSolution, Link, connected, solve_groups
from webbalign.core.errors import InputError
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset, SearchList, search_offset
from webbalign.core.overlaps import overlaps

__all__ = ["GroupNetwork", "ImageStars", "as_image", "canonical_order"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]
Ends = tuple[int, int]

# Partners of each group; loops of them show which pairs were matched wrongly.
_PARTNERS = 4
# Attempts to connect two components by a wide search.
_ATTEMPTS = 3
# An offset that chance brings about as well once in so many searches is believed.
_FALSE_ALARM = 1e-4


@dataclass(frozen=True)
class ImageStars:
    """Stars of one image: positions `z` (n,), error `sigma` (n,), `flux` (n,), `outline` (k, 2).

    What is unknown is nan.
    """

    z: Complex
    sigma: Array
    flux: Array
    outline: Array


def as_image(
    xy: ArrayLike,
    sigma: ArrayLike | None,
    flux: ArrayLike | None,
    outline: ArrayLike | None,
    move: Array,
) -> ImageStars:
    """Return an image's stars after a first `move` (2,), in arcsec.

    Raises
    ------
    InputError
        If a shape does not fit.
    """
    points = np.asarray(xy, float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(None, f"positions of shape {points.shape}", "shape (n, 2)")
    points = points + move
    unknown = np.full(len(points), np.nan)
    values = [unknown if value is None else np.asarray(value, float) for value in (sigma, flux)]
    if any(value.shape != (len(points),) for value in values):
        raise InputError(
            None, "errors or fluxes of another length than the positions", "one for each"
        )
    corners = points if outline is None else np.asarray(outline, float).reshape(-1, 2) + move
    return ImageStars(points[:, 0] + 1j * points[:, 1], values[0], values[1], corners)


def canonical_order(images: Sequence[ImageStars], group: Indices, n_groups: int) -> Indices:
    """Return the rank (n_groups,) of each group in an order given by the stars alone."""
    keys = np.zeros((3, n_groups))
    for image, k in zip(images, group, strict=True):
        good = image.z[np.isfinite(image.z)]
        total = good.sum()
        keys[:, k] += len(good), total.imag, total.real
    rank = np.empty(n_groups, np.intp)
    rank[np.lexsort(keys)] = np.arange(n_groups)
    return rank


class GroupNetwork:
    """Offsets between groups of images.

    Parameters
    ----------
    images : sequence of ImageStars
        The images.
    group : ndarray (n_images,)
        Number of each image's group.
    n_groups : int
        Number of groups.
    options : Matching
        minobj and the guesses are not used.
    pixel_scale : float
        Arcsec.

    Attributes
    ----------
    offsets : dict
        All searches that were made, by the numbers (a, b) of the groups, a < b.
    links : dict
        The star pairs of those that are significant.
    """

    def __init__(
        self,
        images: Sequence[ImageStars],
        group: Indices,
        n_groups: int,
        options: Matching,
        pixel_scale: float,
    ) -> None:
        self._options = replace(options, minobj=1, xoffset=0.0, yoffset=0.0)
        self._pixel_scale = pixel_scale
        self._lists = [
            _joined([image for image, k in zip(images, group, strict=True) if k == g], options)
            for g in range(n_groups)
        ]
        self._centre = np.array([_middle(stars.z) for stars in self._lists], complex)
        self._shared = _expected_pairs(images, group, n_groups)
        self.offsets: dict[Ends, Offset] = {}
        self.links: dict[Ends, Link] = {}

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self._lists)

    def components(self, used: NDArray[np.bool_] | None = None) -> Indices:
        """Return the component (n_groups,) of each group by its links (those `used`)."""
        ends = list(self.links)
        if used is not None:
            ends = [pair for pair, use in zip(ends, used, strict=True) if use]
        return connected(self.n_groups, ends)

    @cached_property
    def solution(self) -> GroupSolution:
        """The motions of all groups after the search."""
        return self._solve()

    def search(self) -> None:
        """Match the most promising pairs; then others, more widely, where something is apart."""
        for pair in self._first_pairs():
            self._match(pair, widen=False)
        self._reject()
        for widen in (False, True):
            n_links = len(self.links)
            self._connect(widen=widen)
            if len(self.links) > n_links:
                self._reject()

    def _connect(self, *, widen: bool) -> None:
        """Match pairs of groups of different components, the most promising ones first."""
        component = self.components()
        tried: dict[Ends, int] = {}
        for a, b in self._pairs_by_promise():
            if not component.any():
                return
            between = int(min(component[a], component[b])), int(max(component[a], component[b]))
            known = (a, b) in self.offsets and not widen
            attempts = tried.get(between, 0)
            if between[0] == between[1] or known or attempts >= _ATTEMPTS:
                continue
            tried[between] = attempts + 1
            if self._match((a, b), widen=widen):
                component = self.components()

    def _match(self, pair: Ends, *, widen: bool) -> bool:
        first, second = (self._lists[k] for k in pair)
        offset, i, j = search_offset(
            first, second, self._options, pixel_scale=self._pixel_scale, widen=widen
        )
        self.offsets[pair] = offset
        if not offset.status.usable or offset.false_alarm > _FALSE_ALARM:
            return False
        self.links[pair] = Link(*pair, first.at(i), second.at(j))
        return True

    def _solve(self) -> GroupSolution:
        floor = max(0.05 * self._pixel_scale, *(stars.sigma for stars in self._lists), 0.0)
        return solve_groups(self._centre, list(self.links.values()), floor)

    def _reject(self) -> None:
        """Forget the links that contradict the others, so that better ones are looked for."""
        used = self._solve().used
        for pair in [pair for pair, use in zip(self.links, used, strict=True) if not use]:
            del self.links[pair]

    def _pairs_by_promise(self) -> list[Ends]:
        a, b = np.nonzero(np.triu(self._shared, 1))
        order = np.argsort(-self._shared[a, b], kind="stable")
        return list(zip(a[order].tolist(), b[order].tolist(), strict=True))

    def _first_pairs(self) -> Iterable[Ends]:
        """Pairs of a spanning tree and the best partners of each group."""
        tree = minimum_spanning_tree(coo_matrix(np.where(self._shared, -self._shared, 0.0)))
        ends = {(min(a, b), max(a, b)) for a, b in zip(*tree.nonzero(), strict=True)}
        for a, shared in enumerate(self._shared):
            partners = np.argsort(-shared, kind="stable")[:_PARTNERS]
            ends |= {(min(a, b), max(a, b)) for b in partners[shared[partners] > 0].tolist()}
        return sorted((int(a), int(b)) for a, b in ends)


def _middle(z: Complex) -> complex:
    return complex(z.mean()) if len(z) else 0j


def _joined(images: Sequence[ImageStars], options: Matching) -> SearchList:
    """All stars of a group as one list."""
    z = np.concatenate([image.z for image in images])
    return SearchList.of(
        np.stack([z.real, z.imag], axis=1),
        flux=np.concatenate([image.flux for image in images]),
        sigma=np.concatenate([image.sigma for image in images]),
        separation=options.separation,
    )


def _expected_pairs(images: Sequence[ImageStars], group: Indices, n_groups: int) -> Array:
    """Stars (n_groups, n_groups) that each two groups can have in common, from the overlaps."""
    found = overlaps([image.outline for image in images])
    count = np.array([np.isfinite(image.z).sum() for image in images], float)
    density = count / np.where(found.areas > 0, found.areas, np.inf)
    a, b = found.pairs.T
    shared = np.zeros((n_groups, n_groups))
    np.add.at(shared, (group[a], group[b]), found.area * np.minimum(density[a], density[b]))
    shared += shared.T
    np.fill_diagonal(shared, 0.0)
    return shared
