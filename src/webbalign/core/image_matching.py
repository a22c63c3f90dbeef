"""Star tracks over many images whose pointing is uncertain.

Images of one group (an exposure, say) move together. Offsets are searched between pairs of groups
that overlap: for each group those with the most stars in common, and as many as connect all.
Where no offset is found, wider and with rolls, but only as long as it would connect something.
All groups are then placed in one least-squares solution
(:mod:`webbalign.core._group_network`), and the stars that coincide become tracks. Groups that
nothing connects stay where they were, and share no track with the others. Neither the order of the
images nor that of the stars has any influence.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._group_network import GroupSolution
from webbalign.core._group_search import GroupNetwork, as_image, canonical_order
from webbalign.core.errors import InputError
from webbalign.core.matching import Matching
from webbalign.core.offsets import Offset
from webbalign.core.tracks import Tracks, link_tracks

__all__ = ["GroupPair", "ImageMatching", "PlaneStars", "match_images"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]

# Stars within this many sigma (one axis, of the difference of two) belong together.
_REACH = 5.0


class PlaneStars(NamedTuple):
    """Stars of one image on the plane that all images share.

    Attributes
    ----------
    xy : array_like (n, 2)
        Positions in arcsec.
    sigma : array_like (n,) or None
        One-axis errors in arcsec.
    flux : array_like (n,) or None
        Flux; nan if unknown.
    outline : array_like (k, 2) or None
        Corners of the image in arcsec; None: the hull of the stars.
    """

    xy: ArrayLike
    sigma: ArrayLike | None = None
    flux: ArrayLike | None = None
    outline: ArrayLike | None = None


@dataclass(frozen=True)
class GroupPair:
    """Search of the offset between two groups.

    Attributes
    ----------
    a, b : int
        Numbers of the groups.
    offset : Offset
        From `a` to `b`: a + offset = b.
    used : bool
        Whether the offset is significant and agrees with the others.
    closure : float
        Median distance in arcsec of the pair's stars in the solution of all groups; nan if no
        stars were matched.
    """

    a: int
    b: int
    offset: Offset
    used: bool
    closure: float


@dataclass(frozen=True)
class ImageMatching:
    """Tracks, and the approximate motion of each group that brought them together.

    Attributes
    ----------
    tracks : Tracks
        Stars seen in several images.
    groups : tuple
        Names of the groups in the order of their first image.
    group : ndarray (n_images,)
        Number of each image's group.
    initial : ndarray (n_images, 2)
        Shift in arcsec that was applied to each image beforehand.
    component : ndarray (n_groups,)
        Number of the component of each group, in the order of their first group; groups of
        different ones share no track.
    centre, shift : ndarray (n_groups, 2)
        Each group is turned about `centre`, then moved by `shift` (arcsec). The mean motion of a
        component is about zero.
    roll : ndarray (n_groups,)
        Angle in radian, from x to y.
    pairs : tuple of GroupPair
        All searches that were made.
    sigma : float
        One-axis scatter in arcsec of the stars of two groups; nan if no groups were connected.
    reach : float
        Longest link of the tracks in arcsec.
    """

    tracks: Tracks
    groups: tuple[Hashable, ...]
    group: Indices
    initial: Array
    component: Indices
    centre: Array
    shift: Array
    roll: Array
    pairs: tuple[GroupPair, ...]
    sigma: float
    reach: float

    def apply(self, image: int, xy: ArrayLike) -> Array:
        """Return given positions (n, 2) of an image after all its motions."""
        group = self.group[image]
        points = np.asarray(xy, float) + self.initial[image] - self.centre[group]
        sine, cosine = np.sin(self.roll[group]), np.cos(self.roll[group])
        turned = points @ np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray(turned + self.centre[group] + self.shift[group])


def match_images(
    lists: Sequence[PlaneStars],
    groups: Sequence[Hashable],
    *,
    options: Matching,
    pixel_scale: float = 0.03,
    initial: ArrayLike | None = None,
) -> ImageMatching:
    """Find the stars that several images have in common.

    Parameters
    ----------
    lists : sequence of PlaneStars
        One per image.
    groups : sequence
        Name of each image's group.
    options : Matching
        searchrad, use2dhist, separation and tolerance are used; minobj is left to the fit, and
        the guesses to `initial`.
    pixel_scale : float
        Arcsec.
    initial : array_like (n_images, 2), optional
        Shift in arcsec by which each image is moved beforehand.

    Returns
    -------
    ImageMatching

    Raises
    ------
    InputError
        If there are not as many groups as images, or positions have a wrong shape.
    """
    if len(groups) != len(lists):
        raise InputError(None, f"{len(groups)} groups", f"one for each of {len(lists)} images")
    moves = np.zeros((len(lists), 2)) if initial is None else np.asarray(initial, float)
    images = [as_image(*stars, move) for stars, move in zip(lists, moves, strict=True)]
    names = tuple(dict.fromkeys(groups))
    group = np.array([names.index(name) for name in groups], np.intp)
    # the search goes through the groups in an order that does not depend on that of the files
    number = canonical_order(images, group, len(names))
    network = GroupNetwork(images, number[group], len(names), options, pixel_scale)
    network.search()
    solution = network.solution
    component = network.components(solution.used)
    reach = options.tolerance
    if np.isfinite(solution.sigma):
        reach = min(reach, max(_REACH * solution.sigma, 0.5 * pixel_scale))
    placed = [solution.apply(number[k], image.z) for image, k in zip(images, group, strict=True)]
    _, start, label = np.unique(component[number], return_index=True, return_inverse=True)
    label = np.argsort(np.argsort(start))[label]
    return ImageMatching(
        tracks=_linked(placed, label[group], reach),
        groups=names,
        group=group,
        component=label,
        initial=moves,
        centre=_plane(solution.centre[number]),
        shift=_plane(solution.shift[number]),
        roll=solution.roll[number],
        pairs=_report(network, solution, number),
        sigma=solution.sigma,
        reach=reach,
    )


def _plane(z: Complex) -> Array:
    return np.stack([z.real, z.imag], axis=-1)


def _linked(placed: Sequence[Complex], component: Indices, reach: float) -> Tracks:
    """Tracks of the stars that coincide, within each component."""
    everything = np.concatenate([*placed, np.zeros(1, complex)])
    everything = everything[np.isfinite(everything)]
    # stars of two components are never linked if a gap as wide as the field lies between them
    gap = float(np.ptp(everything.real)) + 10 * reach
    return link_tracks(
        [_plane(z + gap * k) for z, k in zip(placed, component.tolist(), strict=True)], reach
    )


def _report(
    network: GroupNetwork, solution: GroupSolution, number: Indices
) -> tuple[GroupPair, ...]:
    """Return all searches under the groups' own numbers, in their order."""
    own = np.argsort(number)
    order = {ends: k for k, ends in enumerate(network.links)}
    pairs = []
    for (a, b), offset in network.offsets.items():
        k = order.get((a, b))
        used = k is not None and bool(solution.used[k])
        closure = float("nan") if k is None else float(solution.residual[k])
        pairs.append(GroupPair(int(own[a]), int(own[b]), offset, used, closure))
    return tuple(sorted(pairs, key=lambda pair: (pair.a, pair.b)))
