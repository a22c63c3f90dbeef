"""Sums over the pixels of many images, a few pixels at a time and always in the same order.

The images may lie in a scratch file (:mod:`webbalign.core.mapped`), and the sums are the same to
the bit wherever they do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webbalign.core.mapped import columns_in, visit

__all__ = ["CHUNK", "chunks", "columns_of", "combined", "gram_matrix", "products_with"]

Floats = NDArray[np.float64]

CHUNK = 2048
"""Pixels treated at a time: what stays in the processor's cache."""


def chunks(npix: int) -> list[slice]:
    """Cut the pixels into slices."""
    return [slice(start, min(start + CHUNK, npix)) for start in range(0, npix, CHUNK)]


def gram_matrix(images: Floats) -> Floats:
    """Return ``images @ images.T``, summed chunk by chunk."""
    gram = np.zeros((len(images), len(images)))
    for part in chunks(images.shape[1]):
        columns = columns_in(images, part)
        gram += columns @ columns.T
    return gram


def products_with(images: Floats, targets: Floats) -> Floats:
    """Return ``targets @ images.T``, shape (ntargets, nrefs), summed chunk by chunk."""
    products = np.zeros((len(targets), len(images)))
    for part in chunks(images.shape[1]):
        products += targets[:, part] @ columns_in(images, part).T
    return products


def combined(coefficients: Floats, images: Floats) -> Floats:
    """Return ``coefficients @ images``, shape (ntargets, npix), chunk by chunk."""
    total = np.empty((len(coefficients), images.shape[1]))
    for part in chunks(images.shape[1]):
        np.matmul(coefficients, columns_in(images, part), out=total[:, part])
    return total


def columns_of(images: Floats, columns: NDArray[np.intp]) -> Floats:
    """Return some columns of all images, shape (nrefs, ncolumns)."""
    taken = np.empty((len(images), len(columns)))
    for k in visit(images):
        taken[k] = images[k, columns]
    return taken
