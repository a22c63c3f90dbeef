"""The Karhunen-Loeve basis of a set of reference images; see :mod:`webbalign.core.klip`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError

__all__ = [
    "BasisStatus",
    "KlBasis",
    "check_shape",
    "leave_out_matrix",
    "make_basis",
    "projection_weights",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Modes below this fraction of the largest eigenvalue are rounding noise: copies stored in
# float32 differ by 1e-15 of it, and double precision loses the direction of such a mode.
NULL_MODE = 1e-13
# Number of passes when several references lack the same pixel.
REPAIR_SWEEPS = 2
# Keeps the regression defined when references are copies of each other.
REPAIR_RIDGE = 1e-12


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
        return self.weights @ self.references


def make_basis(
    references: NDArray[Any], truncate: int, good: Bools | None, bad: Bools | None
) -> KlBasis:
    """Do the work of :func:`webbalign.core.klip.fit_basis`, whose parameters these are."""
    references = np.asarray(references)
    if references.ndim != 3 or 0 in references.shape:
        raise InputError(None, f"references of shape {references.shape}", "(nrefs, ny, nx)")
    shape = references.shape[1:]
    good = np.ones(shape, bool) if good is None else np.asarray(good, bool).copy()
    check_shape("mask of good pixels", good, shape)
    if bad is not None:
        check_shape("mask of bad pixels of the references", bad, references.shape)

    images = references.reshape(len(references), -1).astype(np.float64)
    _clear(images, good)
    holes = _find_holes(images, good, bad)
    if holes is not None:
        _clear(images, good)
        _fill_by_common(images, holes, int(np.count_nonzero(good)))
    n_pixels = np.count_nonzero(good)
    if not n_pixels:
        raise InputError(None, "the references have no good pixel")

    means = images.sum(axis=1) / n_pixels
    images -= means[:, None]
    _clear(images, good)
    gram = images @ images.T
    n_repaired = np.zeros(len(images), np.int64)
    if holes is not None:
        means += _fill_by_regression(images, gram, holes, good)
        n_repaired = np.count_nonzero(holes.lost, axis=1)
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


@dataclass(frozen=True)
class _Holes:
    """Bad pixels of references: all lie in some columns of the matrix (nrefs, npix)."""

    columns: NDArray[np.intp]
    lost: Bools
    """Shape (nrefs, ncolumns)."""

    def put(self, images: Floats, values: Floats) -> None:
        """Set the lost pixels of `images` to those of `values` (nrefs, ncolumns)."""
        for image, value, lost in zip(images, values, self.lost, strict=True):
            image[self.columns[lost]] = value[lost]


def _find_holes(images: Floats, good: Bools, bad: Bools | None) -> _Holes | None:
    """Find pixels that are bad or not finite; None if there are none.

    Those that no reference has are taken out of `good`.
    """
    finite = np.all(np.isfinite(images.sum(axis=1)))
    if finite and (bad is None or not np.any(bad)):
        return None
    lost = np.zeros(images.shape, bool) if finite else ~np.isfinite(images)
    if bad is not None:
        lost |= np.reshape(bad, images.shape)
    good &= ~lost.all(axis=0).reshape(good.shape)
    lost &= good.ravel()
    columns = np.flatnonzero(lost.any(axis=0))
    return _Holes(columns, lost[:, columns])


def _fill_by_common(images: Floats, holes: _Holes, n_pixels: int) -> None:
    """Fill holes, in place, by the image common to all, in each one's mean and contrast."""
    holes.put(images, np.zeros(holes.lost.shape))
    count = np.maximum(n_pixels - np.count_nonzero(holes.lost, axis=1), 1)
    means = images.sum(axis=1) / count
    squares = np.einsum("kj,kj->k", images, images) / count
    contrast = np.sqrt(np.maximum(squares - means**2, 0.0))
    contrast[contrast == 0] = 1.0
    scaled = images.take(holes.columns, axis=1)
    scaled -= means[:, None]
    scaled /= contrast[:, None]
    scaled[holes.lost] = 0.0
    known = np.maximum(len(images) - np.count_nonzero(holes.lost, axis=0), 1)
    common = scaled.sum(axis=0) / known
    holes.put(images, means[:, None] + contrast[:, None] * common)


def _fill_by_regression(images: Floats, gram: Floats, holes: _Holes, good: Bools) -> Floats:
    """Fill holes by linear regression of each reference on all others.

    Images and Gram matrix, both of images of zero mean, are brought up to date in place; the
    change of the means is returned. The coefficients of the regression of image k are
    -P_kl / P_kk, with P the inverse of the Gram matrix.
    """
    ridge = REPAIR_RIDGE * np.trace(gram) / len(gram)
    if len(gram) < 2 or not ridge > 0:
        return np.zeros(len(gram))
    precision = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    regression = -precision / np.diag(precision)[:, None]
    np.fill_diagonal(regression, 0.0)
    before = images.take(holes.columns, axis=1)
    after = before
    for _ in range(REPAIR_SWEEPS):
        after = np.where(holes.lost, regression @ after, before)
    n_pixels = np.count_nonzero(good)
    shift = (after - before).sum(axis=1) / n_pixels
    gram += after @ after.T - before @ before.T - n_pixels * np.outer(shift, shift)
    holes.put(images, after)
    images -= shift[:, None]
    _clear(images, good)
    return shift


def _clear(images: Floats, good: Bools) -> None:
    """Set the pixels that do not take part to 0, in place."""
    if not good.all():
        images[:, ~good.ravel()] = 0.0


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise InputError if an array has not the shape that is expected."""
    if np.shape(array) != tuple(shape):
        raise InputError(None, f"{name} of shape {np.shape(array)}", str(tuple(shape)))
