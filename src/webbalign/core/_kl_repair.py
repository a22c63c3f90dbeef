"""Bad pixels of reference images, filled by what the other references predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from webbalign.core._pixel_sums import chunks
from webbalign.core.mapped import columns_in, put_in_columns, visit

__all__ = ["Holes", "clear", "fill_by_common", "fill_by_regression", "find_holes"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Clusters = Sequence[tuple[slice, NDArray[np.intp]]]

CLUSTER = 8
"""References whose holes are filled together."""
# Number of passes when several references lack the same pixel.
REPAIR_SWEEPS = 2
# Keeps the regression defined when references are copies of each other.
REPAIR_RIDGE = 1e-12


class Holes:
    """Bad pixels of references.

    Parameters
    ----------
    lost : ndarray of bool, shape (nrefs, npix)

    Attributes
    ----------
    count : ndarray of int, shape (nrefs,)
        Number of them in each reference.
    """

    def __init__(self, lost: Bools) -> None:
        self._lost = lost
        self.count = np.array([np.count_nonzero(lost[k]) for k in visit(lost)], np.int64)

    def parts(self) -> Iterator[tuple[slice, NDArray[np.intp], Bools]]:
        """Yield the chunks of pixels in which there are some, and where they are.

        That is, the n pixels of the chunk that some reference lacks, and which references do
        (nrefs, n): in most pixels none does.
        """
        for part in chunks(self._lost.shape[1]):
            lost = columns_in(self._lost, part)
            where = np.flatnonzero(lost.any(axis=0))
            if len(where):
                yield part, where, lost[:, where]

    def of(self, index: int) -> Bools:
        """Return the bad pixels (npix,) of one reference."""
        lost: Bools = self._lost[index]
        return lost


def find_holes(images: Floats, good: Bools, lost: Bools | None) -> Holes | None:
    """Find pixels that are bad or not finite; None if there are none.

    Those that no reference has are taken out of `good`.
    """
    finite = True
    for k in visit(images):
        clear(images[k], good)
        finite = finite and bool(np.isfinite(images[k].sum()))
    some = lost is not None and any(lost[k].any() for k in visit(lost))
    if finite and not some:
        return None
    lost = np.zeros(images.shape, bool) if lost is None else lost
    everywhere = np.ones(images.shape[1], bool)
    for k in visit(images, lost):
        if not finite:
            lost[k] |= ~np.isfinite(images[k])
        everywhere &= lost[k]
    good &= ~everywhere.reshape(good.shape)
    for k in visit(lost):
        lost[k] &= good.ravel()
    return Holes(lost)


def fill_by_common(images: Floats, holes: Holes, good: Bools) -> None:
    """Fill holes, in place, by the image common to all, in each one's mean and contrast."""
    n_pixels = np.count_nonzero(good)
    means, contrast = np.empty(len(images)), np.empty(len(images))
    for k in visit(images):
        clear(images[k], good)
        images[k, holes.of(k)] = 0.0
        count = max(n_pixels - int(holes.count[k]), 1)
        means[k] = images[k].sum() / count
        square = np.vdot(images[k], images[k]) / count
        contrast[k] = np.sqrt(max(square - means[k] ** 2, 0.0)) or 1.0
    # the holes are 0: what they would add to the sums of (image - mean) / contrast is taken out
    inverse, ratios = 1 / contrast, means / contrast
    for part, where, lost in holes.parts():
        rows, columns = np.nonzero(lost)
        width = len(where)
        known = len(images) - np.bincount(columns, minlength=width)
        excess = ratios.sum() - np.bincount(columns, ratios[rows], minlength=width)
        common = (inverse @ columns_in(images, part)[:, where] - excess) / np.maximum(known, 1)
        filled = means[rows] + contrast[rows] * common[columns]
        put_in_columns(images, part, (rows, where[columns]), filled)


def fill_by_regression(images: Floats, gram: Floats, holes: Holes, good: Bools) -> Floats:
    """Fill holes by linear regression of each reference on all others.

    Images and Gram matrix, both of images of zero mean, are brought up to date in place; the
    change of the means is returned. The coefficients of the regression of image k are
    -P_kl / P_kk, with P the inverse of the Gram matrix.
    """
    ridge = REPAIR_RIDGE * np.trace(gram) / len(gram)
    shift = np.zeros(len(gram))
    if len(gram) < 2 or not ridge > 0:
        return shift
    precision = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    regression = -precision / np.diag(precision)[:, None]
    np.fill_diagonal(regression, 0.0)
    cross = np.zeros_like(gram)
    for part, where, lost in holes.parts():
        # pixels first: those of a hole are taken out as whole rows
        before = np.ascontiguousarray(columns_in(images, part)[:, where].T)
        after, clusters = before, list(_clusters(lost))
        for _ in range(REPAIR_SWEEPS):
            after = _predicted(after, regression, lost, clusters)
        change = after - before
        shift += change.sum(axis=0)
        rows, columns = np.nonzero(lost)
        put_in_columns(images, part, (rows, where[columns]), after.T[lost])
        after += before
        after /= 2
        for some, at in clusters:  # the change is 0 where nothing is lost
            cross[some] += change[at, some].T @ after[at]
    gram += cross + cross.T
    n_pixels = np.count_nonzero(good)
    shift /= n_pixels
    gram -= n_pixels * np.outer(shift, shift)
    for k in visit(images):
        images[k] -= shift[k]
        clear(images[k], good)
    return shift


def _predicted(pixels: Floats, regression: Floats, lost: Bools, clusters: Clusters) -> Floats:
    """Return pixels (n, nrefs), those that are lost replaced by ``pixels @ regression.T``.

    Few are, and most of them by several references in a row, which are those of one exposure.
    """
    filled = pixels.copy()
    for rows, at in clusters:
        found = pixels[at] @ regression[rows].T
        filled[at, rows] = np.where(lost[rows, at].T, found, pixels[at, rows])
    return filled


def _clusters(lost: Bools) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Yield some rows of `lost` (nrefs, n) at a time, and the pixels that any of them lacks."""
    for start in range(0, len(lost), CLUSTER):
        rows = slice(start, start + CLUSTER)
        at = np.flatnonzero(lost[rows].any(axis=0))
        if len(at):
            yield rows, at


def clear(image: Floats, good: Bools) -> None:
    """Set the pixels (npix,) that do not take part to 0, in place."""
    if not good.all():
        image[~good.ravel()] = 0.0
