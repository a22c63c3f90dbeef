"""Subtraction of starlight by projection on the Karhunen-Loeve modes of reference images.

The method is KLIP: Soummer, Pueyo & Larkin 2012, ApJ 755, L28 (doi:10.1088/2041-8205/755/2/L28).

With R (nrefs x npix) the references, each less its mean over the good pixels, and
``R R^T = V diag(lambda) V^T``, the modes are ``Z = diag(lambda)^(-1/2) V^T R`` for the
``truncate`` largest lambda. For a target T without bad pixels

    residual = T - mean(T) - Z^T Z T

The eigenvectors are those of the small nrefs x nrefs matrix, and the modes, being
combinations of the references, are never formed: ``Z^T Z T = a R`` with one
coefficient per reference, ``a = (R T)^T W^T W`` and ``W = diag(lambda)^(-1/2) V^T``.

A target with bad pixels is fitted by least squares on its good pixels. The constant and the
modes together, D = [1/sqrt(npix); Z], are orthonormal, so that the normal matrix
``D_good D_good^T = 1 - D_bad D_bad^T`` needs the bad pixels only.

The errors of the residual are in :mod:`webbalign.core.klip_errors`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.core.options import Options, opt

__all__ = [
    "BasisStatus",
    "KlBasis",
    "Klip",
    "Subtraction",
    "SubtractionStatus",
    "fit_basis",
    "leave_out_matrix",
    "projection_weights",
    "stack_subtractions",
    "subtract",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Modes below this fraction of the largest eigenvalue are rounding noise: copies stored in
# float32 differ by 1e-15 of it, and double precision loses the direction of such a mode.
NULL_MODE = 1e-13
# Below this eigenvalue of the normal matrix a mode is not seen by a target's good pixels.
UNSEEN_MODE = 1e-8
# Number of passes when several references lack the same pixel.
REPAIR_SWEEPS = 3


@dataclass(frozen=True)
class Klip(Options):
    """Options of the subtraction.

    A `truncate` at or above the number of references keeps all modes; 0 keeps none, and then
    only the mean of the image is subtracted.
    """

    truncate: int = opt(50, "Largest number of Karhunen-Loeve modes to keep.", min=0)
    err_method: str = opt(
        "full",
        "Errors: full propagates noise and measures speckles by leaving references out;"
        " std_of_refs takes the scatter of the residuals of the references, as jwst 3.0.0 does.",
        choices=("full", "std_of_refs"),
    )
    bad_pixels: str = opt(
        "exclude",
        "Flagged pixels: exclude leaves them out of the fits, keep takes the values that are there,"
        " as jwst 3.0.0 does.",
        choices=("exclude", "keep"),
    )
    save_psf_model: bool = opt(False, "Save the model of the starlight that was subtracted.")


class BasisStatus(enum.Enum):
    """What became of the references."""

    OK = "ok"
    RANK_DEFICIENT = "rank_deficient"
    """Fewer independent references than images: copies or constant images among them."""
    NO_MODES = "no_modes"
    """Nothing to project on: ``truncate`` is 0 or all references are constant."""


class SubtractionStatus(enum.Enum):
    """What became of one target."""

    OK = "ok"
    UNSEEN_MODES = "unseen_modes"
    """Some modes live in the target's bad pixels; they were left out of its model."""
    NO_DATA = "no_data"
    """The target has no good pixel; its residual is NaN."""


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


@dataclass(frozen=True)
class Subtraction:
    """Targets less their starlight.

    Attributes
    ----------
    residual : ndarray, shape (nints, ny, nx)
        Target less its mean and its model; NaN at the target's bad pixels and outside the
        good pixels of the basis.
    model : ndarray, shape (nints, ny, nx)
        The starlight, of zero mean; NaN outside the good pixels of the basis only.
    offsets : ndarray, shape (nints,)
        The mean that was subtracted, in the unit of the images.
    coefficients : ndarray, shape (nints, nrefs)
        Weight of each (zero-mean) reference in the model.
    flux_ratios : ndarray, shape (nints, nrefs)
        Flux of the target over that of each reference, from a least-squares fit of the pair.
    n_used : ndarray of int, shape (nints,)
        Pixels used in the fit.
    status : tuple of SubtractionStatus
    """

    residual: Floats
    model: Floats
    offsets: Floats
    coefficients: Floats
    flux_ratios: Floats
    n_used: NDArray[np.int64]
    status: tuple[SubtractionStatus, ...]


def stack_subtractions(parts: Sequence[Subtraction]) -> Subtraction:
    """Join the subtractions of several integrations of one exposure, in the order given."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("residual", "model", "offsets", "coefficients", "flux_ratios", "n_used")
    }
    return Subtraction(**arrays, status=tuple(s for part in parts for s in part.status))


def fit_basis(
    references: NDArray[Any],
    *,
    klip: Klip | None = None,
    good: Bools | None = None,
    bad: Bools | None = None,
) -> KlBasis:
    """Find the Karhunen-Loeve modes of aligned references.

    Parameters
    ----------
    references : ndarray, shape (nrefs, ny, nx)
        Aligned images of reference stars, in any unit. One is enough; copies are legal.
    klip : Klip, optional
        The options; only `truncate` is used.
    good : ndarray of bool, shape (ny, nx), optional
        Pixels that take part in means and projections (default: all). Leave out what
        is no sky, such as the frame of the 4QPM fields.
    bad : ndarray of bool, shape (nrefs, ny, nx), optional
        Further bad pixels of the references, beside those that are not finite. They are
        filled by the prediction of the other references. A pixel bad in all is left out.

    Returns
    -------
    KlBasis

    Raises
    ------
    InputError
        If the shapes do not agree, or if there is no reference or no good pixel.
    """
    klip = Klip() if klip is None else klip
    references = np.asarray(references)
    if references.ndim != 3 or 0 in references.shape:
        raise InputError(None, f"references of shape {references.shape}", "(nrefs, ny, nx)")
    shape = references.shape[1:]
    good = np.ones(shape, bool) if good is None else np.asarray(good, bool).copy()
    _check_shape("mask of good pixels", good, shape)
    if bad is not None:
        _check_shape("mask of bad pixels of the references", bad, references.shape)

    images = references.reshape(len(references), -1).astype(np.float64)
    n_repaired = np.zeros(len(images), np.int64)
    _clear(images, good)
    if (bad is not None and np.any(bad)) or not np.all(np.isfinite(images.sum(axis=1))):
        lost = ~np.isfinite(images)
        if bad is not None:
            lost |= bad.reshape(lost.shape)
        good &= ~lost.all(axis=0).reshape(shape)
        lost &= good.ravel()
        n_repaired = np.count_nonzero(lost, axis=1)
        _clear(images, good)
        _repair(images, lost, good.ravel())
    n_pixels = np.count_nonzero(good)
    if not n_pixels:
        raise InputError(None, "the references have no good pixel")

    means = images.sum(axis=1) / n_pixels
    images -= means[:, None]
    _clear(images, good)
    gram = images @ images.T
    weights, eigenvalues, rank = projection_weights(gram, klip.truncate)
    if not len(eigenvalues):
        status = BasisStatus.NO_MODES
    else:
        status = BasisStatus.OK if rank == len(images) else BasisStatus.RANK_DEFICIENT
    return KlBasis(images, means, good, gram, eigenvalues, weights, n_repaired, status)


def subtract(
    basis: KlBasis, images: NDArray[Any], *, good: Bools | None = None
) -> Subtraction:
    """Subtract from targets their projection on the modes.

    Parameters
    ----------
    basis : KlBasis
        From :func:`fit_basis`.
    images : ndarray, shape (nints, ny, nx) or (ny, nx)
        The targets, in any unit. One image is treated as one integration.
    good : ndarray of bool, shape of `images`, optional
        Good pixels of each target. Pixels that are not finite are bad in any case.

    Returns
    -------
    Subtraction

    Raises
    ------
    InputError
        If the shapes do not agree.
    """
    images = np.asarray(images)
    if images.ndim == 2:
        images = images[None]
        good = None if good is None else np.asarray(good)[None]
    _check_shape("target", images, (len(images), *basis.shape))
    targets = images.reshape(len(images), -1).astype(np.float64)
    used = np.isfinite(targets)
    used &= basis.good.ravel()
    if good is not None:
        _check_shape("mask of good pixels of the targets", np.asarray(good), images.shape)
        used &= np.asarray(good, bool).reshape(used.shape)
    n_used = np.count_nonzero(used, axis=1)
    targets[~used] = 0.0

    offsets = targets.sum(axis=1) / np.maximum(n_used, 1)
    targets -= offsets[:, None]
    targets *= used
    products = targets @ basis.references.T
    norms = np.diag(basis.gram)
    flux_ratios = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    scores = products @ basis.weights.T
    status = []
    for i, n in enumerate(n_used):
        found = SubtractionStatus.OK if n else SubtractionStatus.NO_DATA
        if 0 < n < basis.n_pixels:
            bad = np.flatnonzero(basis.good.ravel() & ~used[i])
            scores[i], shift, found = _fit_good_pixels(basis, scores[i], bad)
            offsets[i] += shift
            targets[i] -= shift
        status.append(found)

    coefficients = scores @ basis.weights
    model = coefficients @ basis.references
    targets -= model
    targets[~used] = np.nan
    model[:, ~basis.good.ravel()] = np.nan
    return Subtraction(
        targets.reshape(images.shape),
        model.reshape(images.shape),
        offsets,
        coefficients,
        flux_ratios,
        n_used,
        tuple(status),
    )


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


def _fit_good_pixels(
    basis: KlBasis, scores: Floats, bad: NDArray[np.int64]
) -> tuple[Floats, float, SubtractionStatus]:
    """Correct the scores of one target (0 at its bad pixels) for the pixels it lacks.

    Returns the scores, the constant to subtract beside the mean, and the status.
    """
    at_bad = np.empty((basis.n_modes + 1, len(bad)))
    at_bad[0] = basis.n_pixels**-0.5
    np.matmul(basis.weights, basis.references[:, bad], out=at_bad[1:])
    values, vectors = np.linalg.eigh(np.eye(len(at_bad)) - at_bad @ at_bad.T)
    seen = values > UNSEEN_MODE
    # the target's own mean is 0 by now, hence no product with the constant
    products = vectors.T @ np.concatenate([[0.0], scores])
    fitted = vectors[:, seen] @ (products[seen] / values[seen])
    status = SubtractionStatus.OK if seen.all() else SubtractionStatus.UNSEEN_MODES
    return fitted[1:], float(fitted[0] * basis.n_pixels**-0.5), status


def _repair(images: Floats, lost: Bools, good: Bools) -> None:
    """Fill, in place, lost pixels of references by what the other references predict.

    First by the common image scaled in flux, then by linear regression on all other
    references, whose coefficients are -P_kl / P_kk with P the inverse of the Gram matrix.
    """
    have = good & ~lost
    images[lost] = 0.0
    means = images.sum(axis=1) / np.maximum(np.count_nonzero(have, axis=1), 1)
    images -= means[:, None]
    images *= have
    scales = np.sqrt(np.einsum("kj,kj->k", images, images))
    scales[scales == 0] = 1.0
    common = (images / scales[:, None]).sum(axis=0) / np.maximum(have.sum(axis=0), 1)
    square = have @ common**2
    flux = np.divide(images @ common, square, out=np.zeros_like(square), where=square > 0)
    for k in np.flatnonzero(lost.any(axis=1)):
        images[k, lost[k]] = flux[k] * common[lost[k]]

    gram = images @ images.T
    ridge = 1e-12 * np.trace(gram) / len(gram)
    if ridge > 0:
        precision = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        regression = -precision / np.diag(precision)[:, None]
        np.fill_diagonal(regression, 0.0)
        for _ in range(REPAIR_SWEEPS):
            for k in np.flatnonzero(lost.any(axis=1)):
                images[k, lost[k]] = regression[k] @ images[:, lost[k]]
    images += means[:, None]
    _clear(images, good)


def _clear(images: Floats, good: Bools) -> None:
    """Set the pixels that do not take part to 0, in place."""
    if not good.all():
        images[:, ~good.ravel()] = 0.0


def _check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if np.shape(array) != tuple(shape):
        raise InputError(None, f"{name} of shape {np.shape(array)}", str(tuple(shape)))
