"""Shapes of coronagraph masks as weights (ny, nx): 0 where the mask acts, 1 elsewhere.

Centres are 0-based (x, y), lengths in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["Point", "bar_weight", "hole_weight", "quadrant_weight", "round_weight"]

Floats = NDArray[np.float64]
Point = tuple[float, float]

# Where the transmission of a round mask and of a bar is one half, in units of its scale.
_HALF_ROUND = 2.1
_HALF_BAR = 1.8
# First zero of the Bessel function J1.
_FIRST_ZERO = 3.8317


def hole_weight(
    shape: tuple[int, int], centre: Point, radius: float, *, edge: float = 2.0
) -> Floats:
    """Return a weight of 0 within a radius and 1 outside, with a soft edge.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    centre : tuple of float
        0-based (x, y), px.
    radius : float
        Within it the weight is 0, px.
    edge : float
        Width over which the weight rises from 0 to 1 as (1 - cos) / 2, px.
    """
    x, y = _offsets(shape, centre)
    return _rise(np.hypot(x, y) - radius, edge)


def round_weight(shape: tuple[int, int], centre: Point, half: float) -> Floats:
    """Return the transmission of a round band-limited mask.

    Krist et al. 2010 (doi:10.1117/12.856488): (1 - (2 J1(r) / r)^2)^2, one half at the radius
    `half`; its first lobe only, since the faint ring beyond is no reason to use a pixel less.
    """
    x, y = _offsets(shape, centre)
    r = np.maximum(np.hypot(x, y) * _HALF_ROUND / half, 1e-9)
    return np.where(r < _FIRST_ZERO, (1.0 - (2.0 * special.j1(r) / r) ** 2) ** 2, 1.0)


def bar_weight(
    shape: tuple[int, int], centre: Point, halves: tuple[float, float], length: float
) -> Floats:
    """Return the transmission of a bar along x: (1 - sinc^2)^2, the first lobe only.

    Its half-width goes from the first to the second of `halves` over `length` about the centre,
    and stays the same beyond.
    """
    x, y = _offsets(shape, centre)
    along = np.clip(x / length + 0.5, 0.0, 1.0)
    r = np.abs(y) * _HALF_BAR / (halves[0] + (halves[1] - halves[0]) * along)
    return np.where(r < np.pi, (1.0 - np.sinc(r / np.pi) ** 2) ** 2, 1.0)


def quadrant_weight(shape: tuple[int, int], centre: Point, half: float, angle: float) -> Floats:
    """Return a weight that is low along two perpendicular lines, one half at the distance `half`.

    It is 0 up to `half` / 2 and 1 from 3/2 `half`; `angle` is the direction of one line, degrees
    from +x to +y.
    """
    x, y = _offsets(shape, centre)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    nearest = np.minimum(np.abs(x * cos + y * sin), np.abs(y * cos - x * sin))
    return _rise(nearest - half / 2.0, half)


def _offsets(shape: tuple[int, int], centre: Point) -> tuple[Floats, Floats]:
    y, x = np.indices(shape, dtype=np.float64)
    return x - centre[0], y - centre[1]


def _rise(distance: Floats, edge: float) -> Floats:
    """Return 0 below distance 0, 1 beyond `edge`, (1 - cos) / 2 between."""
    if edge <= 0:
        return (distance > 0).astype(np.float64)
    return (1.0 - np.cos(np.pi * (np.clip(distance, 0.0, edge) / edge))) / 2.0
