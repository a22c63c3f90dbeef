"""The pixels of a part of the image as lists, with means over their neighbourhoods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Place", "box_mean"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Place:
    """The pixels of a zone, as lists."""

    def __init__(self, zone: Mask) -> None:
        rows, columns = np.nonzero(zone)
        self.pixels = rows, columns
        # a margin of the widest box about the pixels; the rest of the image is of no interest
        self.window = rows - max(rows.min() - 4, 0), columns - max(columns.min() - 4, 0)
        self.shape = tuple(int(index.max()) + 5 for index in self.window)
        self._counts: dict[int, Floats] = {}

    def take(self, images: NDArray) -> Floats:
        """Return the values (..., npix) of images (..., ny, nx) in the zone."""
        return images[(..., *self.pixels)].astype(np.float64)

    def mean(self, values: Floats, box: int) -> Floats:
        """Return the mean of values (..., npix) over the zone's pixels in the box around each."""
        return self._box_mean(values, box) * (box * box / self.count(box))

    def count(self, box: int) -> Floats:
        """Return the number (npix,) of the zone's pixels in the box around each."""
        if box not in self._counts:
            share = self._box_mean(np.ones(len(self.pixels[0])), box)
            self._counts[box] = np.rint(share * box * box)
        return self._counts[box]

    def _box_mean(self, values: Floats, box: int) -> Floats:
        image = np.zeros((*values.shape[:-1], *self.shape))
        image[(..., *self.window)] = values
        return box_mean(image, box)[(..., *self.window)]


def box_mean(images: Floats, box: int) -> Floats:
    """Return the mean in a square box, along the last two axes."""
    size = (0,) * (images.ndim - 2) + (box, box)
    return ndimage.uniform_filter(images, size, mode="nearest")
