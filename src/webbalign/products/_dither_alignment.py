"""The dithers of one stack brought to one background and one place.

Each exposure of a visit points some milliarcseconds beside the visit's mean. Where fewer dithers
overlap, a plain average lies elsewhere than where all do, by a part of that; and which place the
whole stack stands for would depend on where its stars happen to be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webbalign.core.correlation import Correlating, correlate

__all__ = ["align_layers", "level_layers"]

# px: jitter is far below; a larger step is a failed measurement, or no jitter
_LARGEST = 0.5
# side (px) of the part of the layers that is compared
_WINDOW = 800
_OPTIONS = Correlating(corr_rotation=False)


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


def align_layers(layers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Move layers (n, ny, nx), in place, to their mean place.

    Returns
    -------
    moved : ndarray (n, 2)
        dx, dy (px, content to larger index) that were taken back; their sum is zero. Zero where
        they cannot be measured, or are too large to be jitter.

    Notes
    -----
    Each layer is compared with the mean of the others; with m the displacement from that, the one
    from the mean of all n is m (n - 1) / n.
    """
    n = len(layers)
    moved = np.zeros((n, 2))
    if n < 2:
        return moved
    level_layers(layers)
    window = _middle(layers)
    part = layers[window]
    good = np.isfinite(part)
    total = np.where(good, part, np.float32(0)).sum(axis=0)
    count = good.sum(axis=0)
    for k in range(n):
        others = count - good[k]
        rest = np.where(good[k], total - part[k], total) / np.where(others > 0, others, 1)
        rest = np.where(others > 0, rest, np.nan)
        found = correlate(rest, part[k], max_shift=4, options=_OPTIONS)
        step = np.array([found.dx, found.dy]) * (n - 1) / n
        if not found.ok or np.abs(step).max() > _LARGEST:
            return np.zeros((n, 2))
        moved[k] = step
    moved -= moved.mean(axis=0)
    for layer, (dx, dy) in zip(layers, moved, strict=True):
        # jitter is a hundredth of a pixel: the next term of the series is its square
        along_y, along_x = np.gradient(layer)
        change = np.float32(dx) * along_x + np.float32(dy) * along_y
        layer += np.where(np.isfinite(change), change, np.float32(0))
    return moved


def _middle(layers: NDArray[np.float32]) -> tuple[slice, slice, slice]:
    """Window about the middle of what most layers show."""
    seen = np.isfinite(layers[:, ::4, ::4]).sum(axis=0)
    rows, columns = (4 * int(np.median(index)) for index in np.nonzero(seen == seen.max()))
    cuts = []
    for centre, size in zip((rows, columns), layers.shape[1:], strict=True):
        low = min(max(centre - _WINDOW // 2, 0), max(size - _WINDOW, 0))
        cuts.append(slice(low, low + _WINDOW))
    return slice(None), cuts[0], cuts[1]
