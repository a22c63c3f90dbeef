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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core._kl_basis import (
    BasisStatus,
    KlBasis,
    check_shape,
    columns_of,
    combined,
    leave_out_matrix,
    make_basis,
    products_with,
    projection_weights,
)
from webbalign.core.options import Options, opt

__all__ = [
    "BasisStatus",
    "KlBasis",
    "Klip",
    "Subtraction",
    "SubtractionStatus",
    "fit_basis",
    "leading_modes",
    "leave_out_matrix",
    "projection_weights",
    "stack_subtractions",
    "subtract",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Below this eigenvalue of the normal matrix a mode is not seen by a target's good pixels.
UNSEEN_MODE = 1e-8


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


class SubtractionStatus(enum.Enum):
    """What became of one target."""

    OK = "ok"
    UNSEEN_MODES = "unseen_modes"
    """Some modes live in the target's bad pixels; they were left out of its model."""
    NO_DATA = "no_data"
    """The target has no good pixel; its residual is NaN."""


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
    return make_basis(references, klip.truncate, good, bad)


def subtract(basis: KlBasis, images: NDArray[Any], *, good: Bools | None = None) -> Subtraction:
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
    check_shape("target", images, (len(images), *basis.shape))
    targets = images.reshape(len(images), -1).astype(np.float64)
    used = np.isfinite(targets)
    used &= basis.good.ravel()
    if good is not None:
        check_shape("mask of good pixels of the targets", np.asarray(good), images.shape)
        used &= np.asarray(good, bool).reshape(used.shape)
    n_used = np.count_nonzero(used, axis=1)
    targets[~used] = 0.0

    offsets = targets.sum(axis=1) / np.maximum(n_used, 1)
    targets -= offsets[:, None]
    targets *= used
    products = products_with(basis.references, targets)
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
    model = combined(coefficients, basis.references)
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


def leading_modes(basis: KlBasis, count: int) -> Floats:
    """Return the first `count` Karhunen-Loeve modes (n_modes at most), shape (n, ny, nx).

    Each has a sum of squares of 1 over the good pixels of the basis, and is NaN elsewhere.
    """
    modes = combined(basis.weights[:count], basis.references)
    modes[:, ~basis.good.ravel()] = np.nan
    return modes.reshape(-1, *basis.shape)


def _fit_good_pixels(
    basis: KlBasis, scores: Floats, bad: NDArray[np.int64]
) -> tuple[Floats, float, SubtractionStatus]:
    """Correct the scores of one target (0 at its bad pixels) for the pixels it lacks.

    Returns the scores, the constant to subtract beside the mean, and the status.
    """
    at_bad = np.empty((basis.n_modes + 1, len(bad)))
    at_bad[0] = basis.n_pixels**-0.5
    np.matmul(basis.weights, columns_of(basis.references, bad), out=at_bad[1:])
    values, vectors = np.linalg.eigh(np.eye(len(at_bad)) - at_bad @ at_bad.T)
    seen = values > UNSEEN_MODE
    # the target's own mean is 0 by now, hence no product with the constant
    products = vectors.T @ np.concatenate([[0.0], scores])
    fitted = vectors[:, seen] @ (products[seen] / values[seen])
    status = SubtractionStatus.OK if seen.all() else SubtractionStatus.UNSEEN_MODES
    return fitted[1:], float(fitted[0] * basis.n_pixels**-0.5), status
