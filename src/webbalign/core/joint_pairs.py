"""Pairs of images made ready for a solution with stars: the errors of pairs and of stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from webbalign.core._image_links import ImagePairs
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.image_pairs import ImagePair, solve_pairs
from webbalign.core.network import GroupFrame
from webbalign.core.planes import TangentPlane

__all__ = ["joint_pairs"]


def joint_pairs(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    plane: TangentPlane,
    group_error: float = 0.0,
) -> ImagePairs:
    """Split the errors of pairs as their closures show them.

    Parameters
    ----------
    frames : sequence of GroupFrame
        One for each group.
    pairs : sequence of ImagePair
    plane : TangentPlane
        In which they were measured.
    group_error : float
        One-axis error, arcsec, of each group's place, of its middle and again of its edge about
        the middle, beyond what pairs and images say.

    Returns
    -------
    ImagePairs
        Sorted by their names and bands.
    """
    found: list[ImagePair] = []
    own: dict[str, NDArray[np.float64]] = {}
    for names, members in _parts(pairs):
        inside = [frame for frame in frames if frame.name in names]
        solution = solve_pairs(inside, members, plane)
        own |= solution.own
        radius = {frame.name: frame.radius for frame in inside}
        for pair in members:
            arm = 0.5 * min(radius[pair.first], radius[pair.second])
            found.append(_with_errors(pair, solution.floor, solution.independent, arm))
    for frame in frames:
        cov = own.get(frame.name, np.zeros((3, 3)))
        own[frame.name] = cov + group_error**2 * np.diag([1.0, 1.0, frame.radius**-2])
    found.sort(key=lambda pair: (pair.first, pair.second, pair.band))
    return ImagePairs(tuple(found), plane, own)


def _with_errors(pair: ImagePair, floor: float, independent: float, arm: float) -> ImagePair:
    """Return a pair with the error that is its own; what displaces a field turns it, too."""
    return replace(
        pair,
        shift_cov=independent * (pair.shift_cov + floor**2 * np.eye(2)),
        rotation_error=float(np.sqrt(independent) * np.hypot(pair.rotation_error, floor / arm)),
    )


def _parts(pairs: Sequence[ImagePair]) -> list[tuple[set[str], list[ImagePair]]]:
    """Return the names and the pairs of each part that pairs with status OK connect."""
    found: list[tuple[set[str], list[ImagePair]]] = []
    # pairs without a measurement connect nothing, but are told
    left = sorted(pairs, key=lambda pair: pair.status is not CorrelationStatus.OK)
    while left:
        names = {left[0].first, left[0].second}
        while (
            more := {
                name
                for pair in left
                if pair.status is CorrelationStatus.OK and {pair.first, pair.second} & names
                for name in (pair.first, pair.second)
            }
            - names
        ):
            names |= more
        own = [pair for pair in left if {pair.first, pair.second} <= names]
        left = [pair for pair in left if pair not in own]
        found.append((names, own))
    return found
