"""A shift from dense optical flow: TV-L1 (scikit-image), averaged robustly over blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from webbalign.core._correlation_filters import robust_sigma

__all__ = ["flow_shift"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ROUNDS = 3
_CONVERGED = 2e-3  # px
# pixels of a block that have to be usable, and blocks for an error
_FILLED, _BLOCKS = 0.3, 8


def flow_shift(
    first: Array,
    second: Array,
    first_mask: Mask,
    second_mask: Mask,
    start: Array,
    *,
    centre: Array,
    block: int,
) -> tuple[Array, Array] | None:
    """Find a shift as the mean optical flow where the image has slopes.

    Parameters
    ----------
    first, second : ndarray (ny, nx)
        Without background, 0 on masked pixels, of comparable brightness.
    first_mask, second_mask : ndarray (ny, nx) of bool
    start : ndarray (3,)
        dx, dy in px and rotation in radians, which is kept.
    centre : ndarray (2,)
        x, y of the point about which it turns.
    block : int
        Side of the blocks whose mean flows are averaged, px.

    Returns
    -------
    shift : ndarray (2,)
    cov : ndarray (2, 2)
        From the scatter of the blocks.
    None
        If there are too few blocks with light.

    Notes
    -----
    Zach, Pock & Bischof 2007 (DOI 10.1007/978-3-540-74936-3_22), as in
    :func:`skimage.registration.optical_flow_tvl1`. What is left after each round is found anew.
    """
    from skimage.registration import optical_flow_tvl1

    total, cov = start[:2].astype(float), np.full((2, 2), np.nan)
    cos, sin = np.cos(start[2]), np.sin(start[2])
    matrix, middle = np.array([[cos, sin], [-sin, cos]]), centre[::-1]
    for _ in range(_ROUNDS):
        offset = middle + total[::-1] - matrix @ middle
        two = affine_transform(np.where(second_mask, second, 0.0), matrix, offset, order=3)
        seen = affine_transform(second_mask.astype(float), matrix, offset, order=1) > 0.99
        both = first_mask & seen
        if not both.any():
            return None
        one = np.where(both, first, 0.0)
        two = np.where(both, two, 0.0)
        # flow[0] is along y: second(x + flow) is first(x)
        flow = optical_flow_tvl1(one, two, num_warp=3, num_iter=5, dtype=np.float32)
        mean = _block_mean(flow[::-1].astype(float), one, both, block)
        if mean is None:
            return None
        total, cov = total + mean[0], mean[1]
        if np.abs(mean[0]).max() < _CONVERGED:
            break
    return total, cov


def _block_mean(flow: Array, image: Array, mask: Mask, block: int) -> tuple[Array, Array] | None:
    """Robust mean (2,) of the blocks' flows, weighted by their slopes, and its covariance."""
    slope_y, slope_x = np.gradient(image)
    steep = np.where(mask, np.minimum(slope_x**2 + slope_y**2, 1.0), 0.0)
    ny, nx = (n // block for n in mask.shape)
    cut = (slice(0, ny * block), slice(0, nx * block))

    def sums(values: Array) -> Array:
        return np.asarray(values[cut].reshape(ny, block, nx, block).sum((1, 3)).ravel())

    weight, filled = sums(steep), sums(mask.astype(float)) / block**2
    good = (filled > _FILLED) & (weight > 0)
    if good.sum() < _BLOCKS:
        return None
    means = np.stack([sums(part * steep)[good] / weight[good] for part in flow], axis=1)
    weight = weight[good]
    centre = np.median(means, axis=0)
    for _ in range(5):
        apart = np.hypot(*(means - centre).T)
        scale = max(robust_sigma(means[:, 0]), robust_sigma(means[:, 1]), 1e-6)
        soft = weight / (1.0 + (apart / (4.0 * scale)) ** 2) ** 2
        centre = soft @ means / soft.sum()
    scaled = (means - centre) * soft[:, None] / soft.sum()
    number = len(means)
    return centre, scaled.T @ scaled * number / (number - 1)
