"""Where the stars of one frame may be: peaks of the image filtered with a star's shape.

The definition is that of photutils' ``IRAFStarFinder`` and ``DAOStarFinder``: maxima of the image
convolved with a Gaussian whose sum was taken off, above a threshold. Most of a frame is empty, so
the filter is evaluated only where a pixel in reach is bright enough to matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve

from webbalign.core._background import Sky

__all__ = ["Frame", "find_peaks", "make_frame", "neighbours", "places", "stamps"]

BLOCK = 256  # rows handled at a time
# beyond this fraction of the frame the ordinary filter is faster
SPARSE = 0.1


@dataclass(frozen=True)
class Frame:
    """A frame without its sky, surrounded by `margin` pixels that are not there.

    Attributes
    ----------
    image : ndarray (ny + 2 margin, nx + 2 margin) of float32
        0 outside of the frame; a bad pixel has the mean of its good neighbours.
    good : ndarray of bool, same shape
        False outside of the frame.
    sky : Sky
    margin : int
    """

    image: np.ndarray
    good: np.ndarray
    sky: Sky
    margin: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the frame itself."""
        ny, nx = self.image.shape
        return ny - 2 * self.margin, nx - 2 * self.margin


def make_frame(data: np.ndarray, good: np.ndarray, sky: Sky, margin: int) -> Frame:
    """Subtract the sky, add the margin, bridge bad pixels."""
    ny, nx = data.shape
    image = np.zeros((ny + 2 * margin, nx + 2 * margin), dtype=np.float32)
    wide = np.zeros(image.shape, dtype=bool)
    wide[margin : margin + ny, margin : margin + nx] = good
    for first in range(0, ny, BLOCK):
        last = min(first + BLOCK, ny)
        part = image[margin + first : margin + last, margin : margin + nx]
        np.subtract(data[first:last], sky.rows(sky.level, first, last, nx), out=part)
        part[~good[first:last]] = 0
    _bridge(image, wide, margin)
    return Frame(image, wide, sky, margin)


def _bridge(image: np.ndarray, good: np.ndarray, margin: int) -> None:
    """Give bad pixels the mean of their good neighbours, in place, where most of them are good.

    Only the search sees these values; centroids leave the pixels out.
    """
    inside = np.s_[margin:-margin, margin:-margin]
    ys, xs = places(~good[inside])
    pixels = (ys + margin) * image.shape[1] + xs + margin
    around = neighbours(image.shape[1])
    # most bad pixels of a detector lie in blocks, such as its border
    count = sum(good.ravel()[pixels + offset].astype(int) for offset in around)
    pixels, count = pixels[count >= 5], count[count >= 5]
    near = pixels[:, None] + around
    total = (image.ravel()[near] * good.ravel()[near]).sum(axis=1)
    image.ravel()[pixels] = total / count


def neighbours(nx: int) -> np.ndarray:
    """Offsets in a raveled image of width `nx` of the eight neighbours of a pixel."""
    dy, dx = np.mgrid[-1:2, -1:2]
    offsets = (dy * nx + dx).ravel()
    return offsets[offsets != 0]


def places(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x (n,) of the pixels of a mask, as ``np.nonzero`` does in six times the time."""
    y, x = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return y, x


def find_peaks(
    frame: Frame, kernel: np.ndarray, threshold: float, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the maxima of the filtered frame.

    Parameters
    ----------
    frame : Frame
        Its margin is at least the kernel's side and at least `radius`.
    kernel : ndarray (k, k)
        Symmetric, k odd.
    threshold : float
        Least filtered value, in units of the local scatter of the sky.
    radius : float
        A peak is the greatest within this distance, px.

    Returns
    -------
    y, x : ndarray (n,) of int
        0-based px in the frame without its margin.
    """
    filtered = _filtered(frame, kernel, threshold)
    ny, nx = frame.shape
    inside = np.s_[frame.margin : frame.margin + ny, frame.margin : frame.margin + nx]
    lowest = threshold * float(frame.sky.scatter.min())
    y, x = places((filtered[inside] > lowest) & frame.good[inside])
    wide = filtered.shape[1]
    pixels = (y + frame.margin) * wide + x + frame.margin
    values = filtered.ravel()[pixels]
    keep = values > threshold * frame.sky.scatter_at(y, x)
    half = int(radius)
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    circle = (dy * wide + dx)[dy**2 + dx**2 <= radius**2]
    # offset by offset, so that what is no maximum falls out early
    for offset in circle:
        keep[keep] = values[keep] >= filtered.ravel()[pixels[keep] + offset]
    return y[keep], x[keep]


def _filtered(frame: Frame, kernel: np.ndarray, threshold: float) -> np.ndarray:
    """Return the filtered frame, with its margin; 0 where it cannot reach the threshold."""
    image = frame.image
    # no pixel in reach above this: the sum of the positive weights cannot make the threshold
    reach = 0.8 * threshold * float(frame.sky.scatter.min()) / kernel[kernel > 0].sum()
    wanted = _grown(image > reach, kernel.shape[0] // 2)
    pixels = np.flatnonzero(wanted)
    if len(pixels) > SPARSE * image.size:
        return convolve(image, kernel, mode="constant")
    half, nx = kernel.shape[0] // 2, image.shape[1]
    y, x = np.divmod(pixels, nx)
    pixels = pixels[(y >= half) & (y < image.shape[0] - half) & (x >= half) & (x < nx - half)]
    total = np.zeros(len(pixels), dtype=np.float32)
    for dy, dx in zip(*np.nonzero(kernel), strict=True):
        total += kernel[dy, dx] * image.ravel()[pixels + ((dy - half) * nx + dx - half)]
    filtered = np.zeros(image.shape, dtype=np.float32)
    filtered.ravel()[pixels] = total
    return filtered


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """Grow a mask by a square of 2 radius + 1 pixels."""
    for axis in (0, 1):
        before, source = mask, np.moveaxis(mask.copy(), axis, 0)
        target = np.moveaxis(before, axis, 0)
        for step in range(1, radius + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
    return mask


def stamps(array: np.ndarray, y: np.ndarray, x: np.ndarray, half: int, margin: int) -> np.ndarray:
    """Cut squares (n, 2 half + 1, 2 half + 1) about pixels (n,) out of an array with a margin."""
    side = np.arange(-half, half + 1) + margin
    return array[(y[:, None] + side)[:, :, None], (x[:, None] + side)[:, None, :]]
