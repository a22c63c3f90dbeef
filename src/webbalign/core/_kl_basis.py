"""The Karhunen-Loeve basis of a set of reference images; see :mod:`webbalign.core.klip`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core._kl_repair import clear, fill_by_common, fill_by_regression, find_holes
from webbalign.core._pixel_sums import (
    CHUNK,
    chunks,
    columns_of,
    combined,
    gram_matrix,
    products_with,
)
from webbalign.core.errors import InputError
from webbalign.core.mapped import visit

__all__ = [
    "CHUNK",
    "BasisStatus",
    "KlBasis",
    "check_shape",
    "chunks",
    "columns_of",
    "combined",
    "gram_matrix",
    "leave_out_matrix",
    "make_basis",
    "make_basis_in_place",
    "products_with",
    "projection_weights",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Modes below this fraction of the largest eigenvalue are rounding noise: copies stored in
# float32 differ by 1e-15 of it, and double precision loses the direction of such a mode.
NULL_MODE = 1e-13


class BasisStatus(enum.Enum):
    """What became of the references."""

    OK = "ok"
    RANK_DEFICIENT = "rank_deficient"
    """Fewer independent references than images: copies or constant images among them."""
    NO_MODES = "no_modes"
    """Nothing to project on: ``truncate`` is 0 or all references are constant."""


@dataclass(frozen=True)
class KlBasis:
    """References made ready for projection.

    Attributes
    ----------
    references : ndarray, shape (nrefs, ny * nx)
        The repaired references less their mean over the good pixels; 0 outside `good`.
    means : ndarray, shape (nrefs,)
        The means that were subtracted, in the unit of the images.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part. Pixels that no reference has are not among them.
    gram : ndarray, shape (nrefs, nrefs)
        ``references @ references.T``.
    eigenvalues : ndarray, shape (n_modes,)
        Of `gram`, largest first.
    weights : ndarray, shape (n_modes, nrefs)
        The modes are ``weights @ references``; orthonormal.
    n_repaired : ndarray of int, shape (nrefs,)
        Bad pixels of each reference that were filled by what the others predict.
    status : BasisStatus
    """

    references: Floats
    means: Floats
    good: Bools
    gram: Floats
    eigenvalues: Floats
    weights: Floats
    n_repaired: NDArray[np.int64]
    status: BasisStatus

    @property
    def n_modes(self) -> int:
        """Number of modes kept."""
        return len(self.eigenvalues)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` of the images."""
        ny, nx = self.good.shape
        return ny, nx

    @cached_property
    def n_pixels(self) -> int:
        """Number of good pixels."""
        return int(np.count_nonzero(self.good))

    @property
    def modes(self) -> Floats:
        """The modes, shape ``(n_modes, ny * nx)``, computed anew at each access."""
        return combined(self.weights, self.references)


def make_basis(
    references: NDArray[Any], truncate: int, good: Bools | None, bad: Bools | None
) -> KlBasis:
    """Do the work of :func:`webbalign.core.klip.fit_basis`, whose parameters these are."""
    references = np.asarray(references)
    if references.ndim != 3 or 0 in references.shape:
        raise InputError(None, f"references of shape {references.shape}", "(nrefs, ny, nx)")
    shape = references.shape[1:]
    if good is not None:
        check_shape("mask of good pixels", good, shape)
    if bad is not None:
        check_shape("mask of bad pixels of the references", bad, references.shape)
    images = references.reshape(len(references), -1).astype(np.float64)
    lost = None if bad is None else np.array(bad, bool).reshape(images.shape)
    return make_basis_in_place(
        images, truncate, np.ones(shape, bool) if good is None else good, lost
    )


def make_basis_in_place(
    images: Floats, truncate: int, good: Bools, lost: Bools | None = None
) -> KlBasis:
    """Make the basis of images that are overwritten, and become its references.

    They may lie in a scratch file (:mod:`webbalign.core.mapped`): they are gone through some rows
    or some columns at a time. All sums over pixels are sums of those over :func:`chunks`, in their
    order, so that the result does not depend on where the images lie.

    Parameters
    ----------
    images : ndarray of float64, shape (nrefs, ny * nx)
    truncate : int
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    lost : ndarray of bool, shape (nrefs, ny * nx), optional
        Bad pixels of the images, overwritten.

    Raises
    ------
    InputError
        If there is no good pixel.
    """
    good = np.array(good, bool)
    holes = find_holes(images, good, lost)
    if holes is not None:
        fill_by_common(images, holes, good)
    n_pixels = np.count_nonzero(good)
    if not n_pixels:
        raise InputError(None, "the references have no good pixel", "other references")

    means = np.empty(len(images))
    for k in visit(images):
        clear(images[k], good)
        means[k] = images[k].sum() / n_pixels
        images[k] -= means[k]
        clear(images[k], good)
    gram = gram_matrix(images)
    n_repaired = np.zeros(len(images), np.int64)
    if holes is not None:
        means += fill_by_regression(images, gram, holes, good)
        n_repaired = holes.count
    weights, eigenvalues, rank = projection_weights(gram, truncate)
    if not len(eigenvalues):
        status = BasisStatus.NO_MODES
    else:
        status = BasisStatus.OK if rank == len(images) else BasisStatus.RANK_DEFICIENT
    return KlBasis(images, means, good, gram, eigenvalues, weights, n_repaired, status)


def projection_weights(gram: Floats, truncate: int) -> tuple[Floats, Floats, int]:
    """Return (weights (K, n), eigenvalues (K,), rank) of the Gram matrix of n references.

    The modes are ``weights @ references``; the projection of an image with products
    ``b = references @ image`` is ``(b @ weights.T @ weights) @ references``.
    """
    # references of very different fluxes: eigh keeps relative accuracy only to the largest
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int(np.count_nonzero(values > max(values[0], 0.0) * NULL_MODE))
    kept = min(rank, truncate)
    weights = vectors[:, :kept].T / np.sqrt(values[:kept, None])
    return weights, values[:kept].copy(), rank


def leave_out_matrix(gram: Floats, groups: NDArray[Any], truncate: int) -> Floats:
    """Return L (n, n): ``L @ references`` are the residuals of references left out.

    Each reference is projected on the modes of those of all *other* groups.

    Parameters
    ----------
    gram : ndarray, shape (n, n)
        Products of the references.
    groups : ndarray, shape (n,)
        Label of the group of each reference.
    truncate : int
        Modes to keep.
    """
    matrix = np.eye(len(gram))
    for label in np.unique(groups):
        out = groups == label
        rest = np.flatnonzero(~out)
        if not len(rest):
            continue
        weights, _, _ = projection_weights(gram[np.ix_(rest, rest)], truncate)
        scores = gram[np.ix_(out, rest)] @ weights.T
        matrix[np.ix_(out, rest)] = -scores @ weights
    return matrix


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise InputError if an array has not the shape that is expected."""
    if np.shape(array) != tuple(shape):
        raise InputError(None, f"{name} of shape {np.shape(array)}", f"shape {tuple(shape)}")
