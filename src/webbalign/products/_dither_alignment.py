"""The dithers of one stack brought to one background and one place.

Each exposure of a visit points some milliarcseconds beside the visit's mean. Where fewer dithers
overlap, a plain average lies elsewhere than where all do, by a part of that; and which place the
whole stack stands for would depend on where its stars happen to be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webbalign.core.correlation import CorrelationStatus
from webbalign.core.layer_shifts import LayerShifts, layer_shifts, move_layer

__all__ = ["align_layers", "level_layers"]


def level_layers(layers: NDArray[np.float32]) -> None:
    """Subtract from layers (n, ny, nx), in place, their backgrounds relative to one another."""
    n = len(layers)
    normal, right = np.eye(n) * 1e-9, np.zeros(n)
    for i in range(n):
        for j in range(i):
            apart = layers[i, ::3, ::3] - layers[j, ::3, ::3]
            apart = apart[np.isfinite(apart)]
            if len(apart) < 100:
                continue
            step = float(np.median(apart))
            normal[[i, j], [i, j]] += len(apart)
            normal[[i, j], [j, i]] -= len(apart)
            right[i] += step * len(apart)
            right[j] -= step * len(apart)
    levels = np.linalg.solve(normal, right)
    layers -= levels.astype(np.float32)[:, None, None]


def align_layers(layers: NDArray[np.float32]) -> LayerShifts:
    """Move layers (n, ny, nx), in place, to their mean place.

    Returns
    -------
    LayerShifts
        What was taken back: zero where it cannot be measured, or is too large to be jitter.
    """
    level_layers(layers)
    found = layer_shifts(layers)
    if found.status is not CorrelationStatus.OK:
        return found
    mean = _mean(layers)
    for layer, step in zip(layers, found.shifts, strict=True):
        # the interpolation must not meet the edge of nothing
        good = np.isfinite(layer)
        moved = move_layer(np.where(good, layer, mean), step)
        layer[good] = moved[good]
    return found


def _mean(layers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean (ny, nx) of the layers; their median where there is none."""
    good = np.isfinite(layers)
    total = np.where(good, layers, np.float32(0)).sum(axis=0, dtype=np.float64)
    count = good.sum(axis=0)
    level = float(np.nanmedian(layers[:, ::3, ::3]))
    return np.where(count > 0, total / np.maximum(count, 1), level)
