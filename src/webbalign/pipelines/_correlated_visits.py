"""Visits whose stacks were correlated, and the planes in which their corrections are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from webbalign.core.image_pairs import ImagePair
from webbalign.core.network import GroupFrame
from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products.corrector import image_plane
from webbalign.products.image_files import ImageInfo
from webbalign.products.stacks import StackGrid
from webbalign.products.visits import AdjustKey

__all__ = ["CorrelatedVisits", "visit_frame"]


@dataclass(frozen=True, eq=False)
class CorrelatedVisits:
    """What the correlation of the stacks of visits gave.

    Attributes
    ----------
    grid : StackGrid
    keys : dict
        The visits by their names.
    infos : dict
        Images of each.
    bands : dict
        Bands of each.
    pairs : tuple of ImagePair
    wrong : tuple of ImagePair
        Of these, those that others contradict.
    frames : tuple of GroupFrame
        One for each visit with a good pixel, in the order of their names.
    """

    grid: StackGrid
    keys: dict[str, AdjustKey]
    infos: dict[str, list[ImageInfo]]
    bands: dict[str, tuple[str, ...]]
    pairs: tuple[ImagePair, ...]
    wrong: tuple[ImagePair, ...]
    frames: tuple[GroupFrame, ...]

    @property
    def right(self) -> list[ImagePair]:
        """The pairs that no others contradict."""
        return [pair for pair in self.pairs if pair not in self.wrong]


def visit_frame(name: str, infos: Iterable[ImageInfo]) -> GroupFrame:
    """Lay a plane on the middle of a visit's images."""
    planes = [image_plane(info.wcs, info.wcsinfo, info.shape, info.name) for info in infos]
    vectors = sky_to_vectors(np.concatenate([p.plane.to_sky(p.outline) for p in planes]))
    # the middle of the box, not the mean: a sum depends on its order
    middle = (vectors.min(axis=0) + vectors.max(axis=0)) / 2
    plane = TangentPlane.around(middle[None])
    xy = plane.from_vectors(vectors)
    return GroupFrame(name, plane, "rshift", np.zeros(2), float(np.hypot(*xy.T).max()))
