"""Pairs of images as links between points of groups, for the network that takes stars as well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from webbalign.core._pair_types import ImagePair
from webbalign.core.network import GroupFrame, Link
from webbalign.core.planes import TangentPlane

__all__ = ["pair_links"]


def pair_links(
    pair: ImagePair, frames: Sequence[GroupFrame], plane: TangentPlane, floor: float = 0.0
) -> list[Link]:
    """Express a pair by links between points of the two groups.

    Parameters
    ----------
    pair : ImagePair
    frames : sequence of GroupFrame
        Those of the solution; the pair's names are among theirs.
    plane : TangentPlane
        The field's.
    floor : float
        One-axis error to be added, arcsec.

    Returns
    -------
    list of Link
        One if the pair has no rotation; else two, at distances +-L from the point: their mean
        carries the shift, their difference the rotation, if L is the ratio of the errors of both.
    """
    names = [frame.name for frame in frames]
    i, j = names.index(pair.first), names.index(pair.second)
    cov = pair.shift_cov + floor**2 * np.eye(2)
    if not np.isfinite(pair.rotation_error):
        steps, share = [np.zeros(2)], 1.0
    else:
        # a displacement of the whole field that is not measured turns it as well
        radius = min(frames[i].radius, frames[j].radius)
        error = math.hypot(pair.rotation_error, floor / (0.5 * radius))
        lever = 1.0 / math.sqrt(error**2 * np.linalg.inv(cov)[1, 1])
        steps, share = [np.array([s * lever, 0.0]) for s in (1.0, -1.0)], 2.0
    # half of the rotation in either image, so that it does not matter which is first
    cos, sin = math.cos(0.5 * pair.rotation), math.sin(0.5 * pair.rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    links = []
    for step in steps:
        here = plane.map_to(frames[i].plane, pair.point + turn.T @ step)[0][0]
        there = plane.map_to(frames[j].plane, pair.point + pair.shift + turn @ step)[0][0]
        links.append(Link(i, j, here, there, share * cov))
    return links
