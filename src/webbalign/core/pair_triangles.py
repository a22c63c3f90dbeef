"""Wrong pairs among those of several images, found where three pairs should close."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from webbalign.core.correlation import CorrelationStatus
from webbalign.core.image_pairs import ImagePair

__all__ = ["contradicted"]

# errors within which a triangle closes, and what no error of one pair tells, arcsec
_SIGMA, _TOLERANCE = 6.0, 0.005


def contradicted(pairs: Sequence[ImagePair]) -> NDArray[np.bool_]:
    """Tell which pairs the others contradict.

    A pair is wrong if none of its triangles closes and each of the other pairs in them stands in a
    triangle that does. Where that leaves open which pair is wrong (three images), none is named.

    Parameters
    ----------
    pairs : sequence of ImagePair
        In one plane. Only those with status OK are compared.

    Returns
    -------
    ndarray of bool (pairs,)
    """
    between: dict[frozenset[str], list[int]] = {}
    for k, pair in enumerate(pairs):
        if pair.status is CorrelationStatus.OK and pair.first != pair.second:
            between.setdefault(frozenset((pair.first, pair.second)), []).append(k)
    names = sorted({name for edge in between for name in edge})
    closing = np.zeros(len(pairs), dtype=np.intp)
    open_ones: list[tuple[int, int, int]] = []
    for a, b, c in combinations(names, 3):
        edges = [between.get(frozenset(edge), []) for edge in ((a, b), (b, c), (a, c))]
        for i in edges[0]:
            for j in edges[1]:
                for k in edges[2]:
                    if _closes(pairs[i], pairs[j], pairs[k], a, b, c):
                        closing[[i, j, k]] += 1
                    else:
                        open_ones.append((i, j, k))
    wrong = np.zeros(len(pairs), dtype=bool)
    for triangle in open_ones:
        wrong[[k for k in triangle if not closing[k]]] = True
    for triangle in open_ones:
        doubtful = [k for k in triangle if not closing[k]]
        if len(doubtful) > 1:
            wrong[doubtful] = False
    return wrong


def _closes(ab: ImagePair, bc: ImagePair, ac: ImagePair, a: str, b: str, c: str) -> bool:
    """Whether going from a over b to c is the same as going there at once."""
    there = _way(ab, a) @ np.append(ac.point, 1.0)
    apart = (_way(bc, b) @ there - _way(ac, a) @ np.append(ac.point, 1.0))[:2]
    variance = _TOLERANCE**2
    for pair in (ab, bc, ac):
        turn = float(np.hypot(*(ac.point - pair.point)))
        turn = turn * pair.rotation_error if math.isfinite(pair.rotation_error) else 0.0
        variance += _SIGMA**2 * (float(np.trace(pair.shift_cov)) + turn**2)
    return float(apart @ apart) <= variance


def _way(pair: ImagePair, start: str) -> NDArray[np.float64]:
    """Matrix (3, 3), on (x, y, 1), of the displacement from an image of a pair to the other."""
    cos, sin = math.cos(pair.rotation), math.sin(pair.rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    way = np.eye(3)
    way[:2, :2], way[:2, 2] = turn, pair.point - turn @ pair.point + pair.shift
    if pair.first != start:
        way = np.linalg.inv(way).astype(np.float64)
    return way
