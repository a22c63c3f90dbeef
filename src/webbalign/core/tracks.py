"""Tracks: the images of one star in many exposures, at most one per exposure.

Matches of pairs of images are the links of a graph, whose connected components are the stars. A
component that holds two stars of one image is wrong somewhere: its longest link is removed until
none is left that does. Only the links of the minimum spanning tree need be looked at, because a
component falls apart at its longest link if and only if that link belongs to the tree.
Nothing depends on the order of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import KDTree

from webbalign.core.matching import Matches

__all__ = ["Tracks", "build_tracks", "link_tracks"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# Nearest neighbours that are linked at once; what they leave apart is linked by its mean.
_NEIGHBOURS = 6


@dataclass(frozen=True)
class Tracks:
    """Stars seen in at least two images; one row per star and image.

    Attributes
    ----------
    image : ndarray (k,)
        Index of the image.
    star : ndarray (k,)
        Index of the star in its image's list.
    track : ndarray (k,)
        Number of the track, 0 to ``n_tracks - 1``; rows are sorted by it, then by image.
    n_tracks : int
        Number of tracks.
    n_cut : int
        Links that were removed because they joined two stars of one image.
    """

    image: Indices
    star: Indices
    track: Indices
    n_tracks: int
    n_cut: int = 0

    def __len__(self) -> int:
        return self.n_tracks

    def of_image(self, image: int, n_stars: int) -> Indices:
        """Return the track (n_stars,) of each star of an image; -1 for a star without."""
        labels = np.full(n_stars, -1, np.intp)
        rows = self.image == image
        labels[self.star[rows]] = self.track[rows]
        return labels


def build_tracks(
    matches_by_pair: Mapping[tuple[int, int], Matches], n_by_image: Sequence[int]
) -> Tracks:
    """Join the matches of pairs of images to tracks.

    Parameters
    ----------
    matches_by_pair : mapping of (a, b) to Matches
        Matches of the stars of image `a` (their ``i``) with those of image `b` (``j``).
    n_by_image : sequence of int
        Number of stars of each image.

    Returns
    -------
    Tracks
    """
    image, first = _numbering(n_by_image)
    none = [np.empty(0, np.intp)]
    one = [first[a] + matches.i for (a, _), matches in matches_by_pair.items()]
    other = [first[b] + matches.j for (_, b), matches in matches_by_pair.items()]
    length = [matches.distance for matches in matches_by_pair.values()]
    return _tracks(
        np.concatenate(one + none),
        np.concatenate(other + none),
        np.concatenate([*length, np.empty(0)]),
        image,
        first,
    )


def link_tracks(positions: Sequence[ArrayLike], reach: float) -> Tracks:
    """Join all stars that lie within `reach` of one another to tracks.

    Parameters
    ----------
    positions : sequence of array_like (n, 2)
        Positions of each image's stars in one common plane; those not finite are left out.
    reach : float
        Longest link, in the positions' unit. A track can be longer than one link.

    Returns
    -------
    Tracks
    """
    lists = [np.asarray(xy, float).reshape(-1, 2) for xy in positions]
    image, first = _numbering([len(xy) for xy in lists])
    xy = np.concatenate([*lists, np.empty((0, 2))])
    keep = np.flatnonzero(np.isfinite(xy).all(axis=1))
    one, other = _near_pairs(xy[keep], reach)
    one, other = keep[one], keep[other]
    length = np.hypot(*(xy[one] - xy[other]).T)
    return _tracks(one, other, length, image, first)


def _numbering(n_by_image: Sequence[int]) -> tuple[Indices, Indices]:
    """Image (n,) of each star in the list of all, and the number of each image's first star."""
    counts = np.asarray(n_by_image, np.intp)
    image = np.repeat(np.arange(len(counts)), counts)
    return image, np.concatenate([[0], np.cumsum(counts)])


def _near_pairs(xy: Array, reach: float) -> tuple[Indices, Indices]:
    """Pairs that connect all points (n, 2) within `reach` of one another, not all such pairs.

    All pairs grow with the square of the number of exposures. A few nearest neighbours join
    nearly all; the clumps that remain are joined through every pair of their members that are
    near, which is done only where two clumps are near.
    """
    if len(xy) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    tree = KDTree(xy)
    bound = np.nextafter(reach, np.inf)
    _, near = tree.query(xy, k=min(_NEIGHBOURS + 1, len(xy)), distance_upper_bound=bound)
    one, column = np.nonzero((near < len(xy)) & (near != np.arange(len(xy))[:, None]))
    other = near[one, column]
    clump = _components(one, other, len(xy))
    # only a star whose neighbours are all taken can have one more, in another clump
    full = np.flatnonzero(near[:, -1] < len(xy)) if near.shape[1] > _NEIGHBOURS else one[:0]
    extra_one, extra_other = _bridges(xy, clump, full, reach)
    return np.concatenate([one, extra_one]), np.concatenate([other, extra_other])


def _bridges(xy: Array, clump: Indices, full: Indices, reach: float) -> tuple[Indices, Indices]:
    """Pairs (one of them in `full`) of different clumps within `reach`."""
    if not len(full):
        return full, full
    # a clump whose box is far from that of all others needs no search: usually all of them
    order = np.argsort(clump, kind="stable")
    starts = np.flatnonzero(np.diff(clump[order], prepend=-1))
    low = np.minimum.reduceat(xy[order], starts)
    high = np.maximum.reduceat(xy[order], starts)
    centre, half = (low + high) / 2, (high - low) / 2
    radius = np.hypot(*half.T)
    _, nearest = KDTree(centre).query(centre, k=min(2, len(centre)))
    if len(centre) < 2:
        return full[:0], full[:0]
    gap = np.hypot(*(centre - centre[nearest[:, 1]]).T) - radius - radius.max()
    close = full[(gap <= reach)[clump[full]]]
    if not len(close):
        return close, close
    pairs = KDTree(xy[close]).sparse_distance_matrix(KDTree(xy), reach, output_type="ndarray")
    one, other = close[pairs["i"]], np.asarray(pairs["j"], np.intp)
    apart = clump[one] != clump[other]
    return one[apart], other[apart]


def _components(one: Indices, other: Indices, n: int) -> Indices:
    """Return the number (n,) of the connected component of each of `n` nodes."""
    graph = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _tracks(one: Indices, other: Indices, length: Array, image: Indices, first: Indices) -> Tracks:
    """Return the connected components of the links, cut where they hold two stars of one image."""
    n = len(image)
    component = _components(one, other, n)
    wrong = _conflicting(component, image)
    n_cut = 0
    if wrong.any():
        inside = wrong[component[one]]
        kept, n_cut = _cut(one[inside], other[inside], length[inside], image)
        one = np.concatenate([one[~inside], kept[0]])
        other = np.concatenate([other[~inside], kept[1]])
        component = _components(one, other, n)
    members = np.flatnonzero(np.bincount(component, minlength=1)[component] > 1)
    # numbered by their first member
    _, start, label = np.unique(component[members], return_index=True, return_inverse=True)
    track = np.argsort(np.argsort(start))[label] if len(members) else label
    order = np.lexsort((image[members], track))
    members, track = members[order], np.asarray(track[order], np.intp)
    return Tracks(image[members], members - first[image[members]], track, len(start), n_cut)


def _conflicting(component: Indices, image: Indices) -> NDArray[np.bool_]:
    """Tell which components hold two stars of one image."""
    wrong = np.zeros(component.max(initial=-1) + 1, bool)
    order = np.lexsort((image, component))
    same = (np.diff(component[order]) == 0) & (np.diff(image[order]) == 0)
    wrong[component[order][1:][same]] = True
    return wrong


def _cut(
    one: Indices, other: Indices, length: Array, image: Indices
) -> tuple[tuple[Indices, Indices], int]:
    """Remove the longest links of conflicting components until there is no conflict.

    Returns the remaining links of the spanning tree, and how many of it were removed.
    """
    nodes, flat = np.unique(np.concatenate([one, other]), return_inverse=True)
    row, column = flat[: len(one)], flat[len(one) :]
    # a pair may be linked twice, and a sparse matrix would add up the lengths
    row, column = np.minimum(row, column), np.maximum(row, column)
    order = np.lexsort((length, column, row))
    row, column, length = row[order], column[order], length[order]
    new = np.diff(row, prepend=-1).astype(bool) | np.diff(column, prepend=-1).astype(bool)
    # zero would be no link
    weight = length[new] + np.finfo(float).tiny
    graph = coo_matrix((weight, (row[new], column[new])), shape=(len(nodes),) * 2)
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    row, column, length = tree.row, tree.col, tree.data
    n_tree = len(row)
    while True:
        component = _components(row, column, len(nodes))
        inside = np.flatnonzero(_conflicting(component, image[nodes])[component[row]])
        if not len(inside):
            return (nodes[row], nodes[column]), n_tree - len(row)
        longest = np.zeros(component.max() + 1)
        np.maximum.at(longest, component[row[inside]], length[inside])
        drop = inside[length[inside] >= longest[component[row[inside]]]]
        row, column, length = (np.delete(values, drop) for values in (row, column, length))
