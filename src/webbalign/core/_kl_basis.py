"""The Karhunen-Loeve basis of a set of reference images; see :mod:`webbalign.core.klip`."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.core.mapped import release, visit

__all__ = [
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

CHUNK = 2048
"""Pixels treated at a time: what stays in the processor's cache."""
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
    holes = _find_holes(images, good, lost)
    if holes is not None:
        _fill_by_common(images, holes, good)
    n_pixels = np.count_nonzero(good)
    if not n_pixels:
        raise InputError(None, "the references have no good pixel")

    means = np.empty(len(images))
    for k in visit(images):
        _clear(images[k], good)
        means[k] = images[k].sum() / n_pixels
        images[k] -= means[k]
        _clear(images[k], good)
    gram = gram_matrix(images)
    n_repaired = np.zeros(len(images), np.int64)
    if holes is not None:
        means += _fill_by_regression(images, gram, holes, good)
        n_repaired = holes.count
    weights, eigenvalues, rank = projection_weights(gram, truncate)
    if not len(eigenvalues):
        status = BasisStatus.NO_MODES
    else:
        status = BasisStatus.OK if rank == len(images) else BasisStatus.RANK_DEFICIENT
    return KlBasis(images, means, good, gram, eigenvalues, weights, n_repaired, status)


def chunks(npix: int) -> list[slice]:
    """Cut the pixels into slices."""
    return [slice(start, min(start + CHUNK, npix)) for start in range(0, npix, CHUNK)]


def gram_matrix(images: Floats) -> Floats:
    """Return ``images @ images.T``, summed chunk by chunk."""
    gram = np.zeros((len(images), len(images)))
    for part in chunks(images.shape[1]):
        columns = images[:, part]
        gram += columns @ columns.T
        release(images)
    return gram


def products_with(images: Floats, targets: Floats) -> Floats:
    """Return ``targets @ images.T``, shape (ntargets, nrefs), summed chunk by chunk."""
    products = np.zeros((len(targets), len(images)))
    for part in chunks(images.shape[1]):
        products += targets[:, part] @ images[:, part].T
        release(images)
    return products


def combined(coefficients: Floats, images: Floats) -> Floats:
    """Return ``coefficients @ images``, shape (ntargets, npix), chunk by chunk."""
    total = np.empty((len(coefficients), images.shape[1]))
    for part in chunks(images.shape[1]):
        np.matmul(coefficients, images[:, part], out=total[:, part])
        release(images)
    return total


def columns_of(images: Floats, columns: NDArray[np.intp]) -> Floats:
    """Return some columns of all images, shape (nrefs, ncolumns)."""
    taken = np.empty((len(images), len(columns)))
    for k in visit(images):
        taken[k] = images[k, columns]
    return taken


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


class _Holes:
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

    def columns(self) -> Iterator[tuple[NDArray[np.intp], Bools]]:
        """Yield, chunk by chunk, the pixels that some references lack, and which do (nrefs, n)."""
        for part in chunks(self._lost.shape[1]):
            lost = self._lost[:, part]
            columns = np.flatnonzero(lost.any(axis=0))
            yield columns + part.start, lost[:, columns]
            release(self._lost)

    def of(self, index: int) -> Bools:
        """Return the bad pixels (npix,) of one reference."""
        lost: Bools = self._lost[index]
        return lost


def _find_holes(images: Floats, good: Bools, lost: Bools | None) -> _Holes | None:
    """Find pixels that are bad or not finite; None if there are none.

    Those that no reference has are taken out of `good`.
    """
    finite = True
    for k in visit(images):
        _clear(images[k], good)
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
    return _Holes(lost)


def _fill_by_common(images: Floats, holes: _Holes, good: Bools) -> None:
    """Fill holes, in place, by the image common to all, in each one's mean and contrast."""
    n_pixels = np.count_nonzero(good)
    means, contrast = np.empty(len(images)), np.empty(len(images))
    for k in visit(images):
        _clear(images[k], good)
        images[k, holes.of(k)] = 0.0
        count = max(n_pixels - int(holes.count[k]), 1)
        means[k] = images[k].sum() / count
        square = np.vdot(images[k], images[k]) / count
        contrast[k] = np.sqrt(max(square - means[k] ** 2, 0.0)) or 1.0
    for columns, lost in holes.columns():
        values = images[:, columns]
        scaled = (values - means[:, None]) / contrast[:, None]
        scaled[lost] = 0.0
        known = np.maximum(len(images) - np.count_nonzero(lost, axis=0), 1)
        common = scaled.sum(axis=0) / known
        images[:, columns] = np.where(lost, means[:, None] + contrast[:, None] * common, values)
        release(images)


def _fill_by_regression(images: Floats, gram: Floats, holes: _Holes, good: Bools) -> Floats:
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
    for columns, lost in holes.columns():
        before = images[:, columns]
        after = before
        for _ in range(REPAIR_SWEEPS):
            after = np.where(lost, regression @ after, before)
        shift += (after - before).sum(axis=1)
        gram += after @ after.T - before @ before.T
        images[:, columns] = after
        release(images)
    n_pixels = np.count_nonzero(good)
    shift /= n_pixels
    gram -= n_pixels * np.outer(shift, shift)
    for k in visit(images):
        images[k] -= shift[k]
        _clear(images[k], good)
    return shift


def _clear(image: Floats, good: Bools) -> None:
    """Set the pixels (npix,) that do not take part to 0, in place."""
    if not good.all():
        image[~good.ravel()] = 0.0


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise InputError if an array has not the shape that is expected."""
    if np.shape(array) != tuple(shape):
        raise InputError(None, f"{name} of shape {np.shape(array)}", str(tuple(shape)))
