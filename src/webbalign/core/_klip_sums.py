"""Sums over the pixels for the errors of a subtraction; see :mod:`webbalign.core.klip_errors`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core._kl_basis import KlBasis, chunks
from webbalign.core.mapped import columns_in

__all__ = ["Sweep", "sweep"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Per-pixel sums, each of shape (npix,)."""

    leverage: Floats
    quadratic: Floats
    reference_noise: Floats
    """sum_k a_k^2 w_k before the filter."""
    references: Floats
    """The same after it."""
    left_out: Floats
    """Mean square of the left-out residuals, scaled to the target."""
    left_out_noise: Floats


def sweep(
    basis: KlBasis,
    variance: Floats,
    reference_variances: NDArray[Any] | None,
    coefficients: Floats,
    left_out: Floats,
) -> Sweep:
    """Pass twice over the pixels for all that needs the references."""
    npix, n = basis.references.shape[1], len(basis.references)
    squares = np.stack([coefficients**2, (left_out**2).mean(axis=0)])
    noise = np.zeros((2, npix))
    residual, leverage = np.empty(npix), np.empty(npix)
    quadratic = np.empty((2, npix))
    moments = np.zeros((2, basis.n_modes + 1, basis.n_modes + 1))
    for part in chunks(npix):
        images = columns_in(basis.references, part)
        if reference_variances is not None:
            noise[:, part] = squares @ _finite(columns_in(reference_variances, part))
        scaled = left_out @ images
        residual[part] = np.einsum("kj,kj->j", scaled, scaled) / n
        modes = _modes(basis, part, images)
        leverage[part] = np.einsum("kj,kj->j", modes, modes)
        for moment, v in zip(moments, (variance[part], noise[0, part]), strict=True):
            # v = root * root lets BLAS compute half of the symmetric product
            weighted = modes * np.sqrt(v)
            moment += weighted @ weighted.T
    for part in chunks(npix):
        # made anew: all of them take as much memory as the references
        modes = _modes(basis, part, columns_in(basis.references, part))
        for moment, out in zip(moments, quadratic, strict=True):
            out[part] = np.einsum("kj,kj->j", moment @ modes, modes)
    references = np.maximum(noise[0] * (1.0 - 2.0 * leverage) + quadratic[1], 0.0)
    return Sweep(leverage, quadratic[0], noise[0], references, residual, noise[1])


def _modes(basis: KlBasis, part: slice, images: Floats) -> Floats:
    """Return the constant and the modes, orthonormal rows, for some pixels."""
    modes = np.empty((basis.n_modes + 1, part.stop - part.start))
    modes[0] = np.where(basis.good.ravel()[part], basis.n_pixels**-0.5, 0.0)
    np.matmul(basis.weights, images, out=modes[1:])
    return modes


def _finite(variances: NDArray[Any]) -> Floats:
    """Replace what is not finite by the mean over the other references (0 if there is none)."""
    variances = variances.astype(np.float64)
    known = np.isfinite(variances)
    if known.all():
        return variances
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, variances, 0.0).sum(axis=0) / count
    return np.where(known, variances, mean)
