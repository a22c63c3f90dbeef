"""One-to-one matching of two lists of stars on a plane, and the options of all matching.

Positions are plane coordinates (x, y) in arcsec, in one common plane. The offset between the two
lists has been removed before (:mod:`webbalign.core.offsets`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import Options, opt

__all__ = ["AbsMatching", "Matches", "Matching", "match"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# Two candidates whose chi-square differs by less than this cannot be told apart: the wrong one is
# then the nearer one in more than 1 of 100 cases.
_DISTINCT_CHI2 = 9.0
# Candidates within this many sigma of one another are one object that was listed twice.
_DUPLICATE = 1.0
_MAD_TO_SIGMA = 1.4826


def _check_separation(separation: float, tolerance: float, prefix: str = "") -> None:
    if separation < math.sqrt(2) * tolerance:
        raise OptionError(
            f"option '{prefix}separation' is {separation} - give at least sqrt(2) times "
            f"'{prefix}tolerance', which is {tolerance}"
        )


@dataclass(frozen=True)
class Matching(Options):
    """Options of the matching of images with one another."""

    minobj: int = opt(15, "Smallest number of matched objects that is accepted.", min=1)
    searchrad: float = opt(
        2.0,
        "Radius in arcsec within which the offset between two lists is searched. If there is no "
        "significant offset within it, one three times as large is searched once.",
        min=0.0,
    )
    use2dhist: bool = opt(
        True,
        "Search the offset between two lists with a 2-D histogram of the differences of all pairs; "
        "if not, it is taken to be (xoffset, yoffset).",
    )
    separation: float = opt(
        1.0,
        "Smallest separation in arcsec of objects that are used in the search of the offset: of "
        "closer ones only the brightest. At least sqrt(2) times the tolerance.",
        min=0.0,
    )
    tolerance: float = opt(
        0.7,
        "Largest distance in arcsec of two matched objects after the offset is removed. Less is "
        "used where the matched objects themselves agree better.",
        min=0.0,
    )
    xoffset: float = opt(
        0.0, "Initial guess of the offset in x in arcsec, about which the search is centred."
    )
    yoffset: float = opt(
        0.0, "Initial guess of the offset in y in arcsec, about which the search is centred."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_separation(self.separation, self.tolerance)


@dataclass(frozen=True)
class AbsMatching(Options):
    """Options of the matching with the absolute reference catalog."""

    abs_minobj: int = opt(
        15, "Smallest number of objects matched with the reference catalog.", min=1
    )
    abs_searchrad: float = opt(
        6.0,
        "Radius in arcsec within which the offset from the reference catalog is searched; it "
        "should be larger than searchrad. One three times as large is searched once if need be.",
        min=0.0,
    )
    abs_use2dhist: bool = opt(
        True,
        "Search the offset from the reference catalog with a 2-D histogram of the differences of "
        "all pairs; if not, it is taken to be 0.",
    )
    abs_separation: float = opt(
        1.0,
        "Smallest separation in arcsec of objects that are used in the search of the offset from "
        "the reference catalog. At least sqrt(2) times abs_tolerance.",
        min=0.0,
    )
    abs_tolerance: float = opt(
        0.7,
        "Largest distance in arcsec of an object and its match in the reference catalog after "
        "the offset is removed.",
        min=0.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_separation(self.abs_separation, self.abs_tolerance, "abs_")

    def matching(self) -> Matching:
        """Return the same options under the names that the algorithms use."""
        return Matching(
            minobj=self.abs_minobj,
            searchrad=self.abs_searchrad,
            use2dhist=self.abs_use2dhist,
            separation=self.abs_separation,
            tolerance=self.abs_tolerance,
        )


@dataclass(frozen=True)
class Matches:
    """Stars of two lists paired one to one.

    Attributes
    ----------
    i, j : ndarray (n,)
        Indices into the first and the second list; none occurs twice. Sorted by `i`.
    distance : ndarray (n,)
        Distance of the two stars in arcsec.
    n_ambiguous : int
        Pairs that were left out because another candidate could not be told apart.
    """

    i: Indices
    j: Indices
    distance: Array
    n_ambiguous: int = 0

    def __len__(self) -> int:
        return len(self.i)


def match(
    image_xy: ArrayLike,
    reference_xy: ArrayLike,
    *,
    tolerance: float,
    separation: float = 0.0,
    sigma_image: ArrayLike = 0.0,
    sigma_reference: ArrayLike = 0.0,
) -> Matches:
    """Pair the stars of two aligned lists: mutual nearest neighbours that are unambiguous.

    A pair is ambiguous if one of its stars has a second candidate that is not worse by 9 in
    chi-square, with the errors given or the scatter of the pairs themselves, whichever is larger.
    A candidate that is a second entry of the same star (within one sigma) does no harm.

    Parameters
    ----------
    image_xy, reference_xy : array_like (n, 2), (m, 2)
        Positions in arcsec. Those that are not finite are never matched.
    tolerance : float
        Largest distance of a pair in arcsec.
    separation : float
        Stars with a neighbour in their own list nearer than this (arcsec) are not matched.
    sigma_image, sigma_reference : array_like (n,), (m,) or scalar
        One-axis errors in arcsec.

    Returns
    -------
    Matches

    Raises
    ------
    InputError
        If the shapes do not fit.
    """
    first, keep_first = _finite_points(image_xy)
    second, keep_second = _finite_points(reference_xy)
    sigma_first = _errors(sigma_image, keep_first)
    sigma_second = _errors(sigma_reference, keep_second)
    none = np.empty(0, np.intp)
    if not len(first) or not len(second):
        return Matches(none, none, np.empty(0))
    trees = KDTree(first), KDTree(second)
    forward_d, forward_j = _two_nearest(trees[1], first, tolerance)
    backward_d, backward_i = _two_nearest(trees[0], second, tolerance)
    j = forward_j[:, 0]
    found = j < len(second)
    found[found] &= backward_i[j[found], 0] == np.flatnonzero(found)
    if separation > 0:
        found &= ~_crowded(trees[0], separation)
        found[found] &= ~_crowded(trees[1], separation)[j[found]]
    i = np.flatnonzero(found)
    j = j[i]
    distance = forward_d[i, 0]
    sigma = np.hypot(sigma_first[i], sigma_second[j])
    if len(i):
        # the median of a Rayleigh distribution is 1.1774 sigma
        sigma = np.maximum(sigma, np.median(distance) / 1.1774)
    clear = ~_rivalled(second, j, forward_j[i, 1], distance, forward_d[i, 1], sigma)
    clear &= ~_rivalled(first, i, backward_i[j, 1], distance, backward_d[j, 1], sigma)
    return Matches(
        i=keep_first[i[clear]],
        j=keep_second[j[clear]],
        distance=distance[clear],
        n_ambiguous=int(np.count_nonzero(~clear)),
    )


def _finite_points(xy: ArrayLike) -> tuple[Array, Indices]:
    """Return the finite points (n, 2) and their indices."""
    points = np.asarray(xy, float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(None, f"positions of shape {points.shape}", "shape (n, 2)")
    keep = np.flatnonzero(np.isfinite(points).all(axis=1))
    return points[keep], keep


def _errors(sigma: ArrayLike, keep: Indices) -> Array:
    """Return the errors of the kept points (n,); unknown ones (nan) count as 0."""
    values = np.asarray(sigma, float)
    values = np.full(len(keep), float(values)) if values.ndim == 0 else values[keep]
    return np.where(np.isfinite(values), values, 0.0)


def _two_nearest(tree: KDTree, points: Array, reach: float) -> tuple[Array, Indices]:
    """Distances and indices (n, 2) of the two nearest; inf and the tree's size where none is."""
    # the bound is exclusive
    distance, index = tree.query(points, k=2, distance_upper_bound=np.nextafter(reach, np.inf))
    return distance, index


def _crowded(tree: KDTree, separation: float) -> NDArray[np.bool_]:
    """Tell which points of the tree have a neighbour nearer than `separation`."""
    distance, _ = tree.query(tree.data, k=2, distance_upper_bound=separation)
    return np.isfinite(distance[:, 1])


def _rivalled(
    points: Array, chosen: Indices, other: Indices, d_chosen: Array, d_other: Array, sigma: Array
) -> NDArray[np.bool_]:
    """Tell where the second candidate is as good as the chosen one, and another star."""
    rivalled = np.isfinite(d_other)
    k = np.flatnonzero(rivalled)
    apart = np.hypot(*(points[other[k]] - points[chosen[k]]).T)
    close = d_other[k] ** 2 - d_chosen[k] ** 2 < _DISTINCT_CHI2 * sigma[k] ** 2
    rivalled[k] = close & (apart > _DUPLICATE * sigma[k])
    return rivalled
