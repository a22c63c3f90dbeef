"""Where everything goes in the picture of the corrections of a target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products.wcs_adjust_file import VisitCorrection, WcsAdjust

__all__ = ["Layout", "layout_of"]

Array = NDArray[np.float64]

_SPREADING = 200  # rounds in which nodes that lie upon one another are pushed apart


@dataclass(frozen=True, eq=False)
class Layout:
    """Places in arcsec; x to the east.

    Attributes
    ----------
    visits : list of VisitCorrection
    outlines : list of list of ndarray (4, 2)
        The images of each visit.
    nodes : ndarray (n, 2)
        Where each visit is drawn: its middle, or beside it where others lie upon it.
    middle : ndarray (2,)
    half : float
        Half the side of the field.
    step : float
        Room of a node.
    """

    visits: list[VisitCorrection]
    outlines: list[list[Array]]
    nodes: Array
    middle: Array
    half: float
    step: float


def layout_of(adjust: WcsAdjust) -> Layout | None:
    """Lay the visits of a table out; None if it says nothing about places."""
    told = adjust.run.get("footprints", {})
    corners: dict[str, list[Array]] = {}
    for key, images in told.items() if isinstance(told, dict) else ():
        corners[key] = [np.array(image, dtype=np.float64) for image in images]
    places: list[Array] = []
    visits = []
    for entry in adjust.entries:
        images = corners.get(str(entry.key), [])
        if entry.key.exposure or (entry.reference is None and not images):
            continue
        visits.append(entry)
        places.append(np.concatenate(images) if images else np.array([entry.reference]))
    if not visits:
        return None
    plane = TangentPlane.around(sky_to_vectors(np.concatenate(places)))
    outlines = [[plane.from_sky(image) for image in corners.get(str(e.key), [])] for e in visits]
    at = np.array([_middle(plane.from_sky(place)) for place in places])
    everything = np.concatenate([at, *(image for images in outlines for image in images)])
    middle = _middle(everything)
    half = max(float(np.abs(everything - middle).max()), 10.0)
    step = 1.1 * half / math.sqrt(max(len(visits), 4))
    nodes = _apart(at, step)
    half = max(half, float(np.abs(nodes - middle).max()) + 0.7 * step)
    return Layout(visits, outlines, nodes, middle, half, step)


def _middle(xy: Array) -> Array:
    return np.asarray((xy.min(axis=0) + xy.max(axis=0)) / 2)


def _apart(at: Array, step: float) -> Array:
    """Push places apart that are closer than a step, each as little as it needs."""
    # places that coincide start on a small circle, in the order of the visits
    turn = 2 * math.pi * np.arange(len(at)) / len(at) + 0.5 * math.pi
    nodes = at + 0.01 * step * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    if len(at) == 1:
        return at
    for _ in range(_SPREADING):
        way = nodes[:, None] - nodes[None]
        far = np.hypot(way[..., 0], way[..., 1])
        np.fill_diagonal(far, np.inf)
        lack = np.maximum(1.02 * step - far, 0.0)
        if not lack.any():
            break
        nodes = nodes + 0.3 * np.sum(lack[..., None] * way / far[..., None], axis=1)
    return nodes
