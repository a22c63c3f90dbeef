"""One robust affine fit between two lists of paired positions, with its covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._affine_fit import (
    GEOMETRIES,
    MIN_STARS,
    PARAMETERS,
    AffineStatus,
    Iterations,
    supported_geometry,
)
from webbalign.core._robust_tracks import clip_limit

__all__ = [
    "GEOMETRIES",
    "MIN_STARS",
    "PARAMETERS",
    "AffineFit",
    "AffineStatus",
    "fit_affine",
    "supported_geometry",
]


@dataclass(frozen=True, eq=False)
class AffineFit:
    """The map ``uv = matrix @ xy + shift`` (identity unless `status` is OK).

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    cov : ndarray, shape (6, 6)
        Covariance of m11, m12, m21, m22, xshift, yshift; singular where the geometry ties them.
    residual : ndarray, shape (n, 2)
        ``uv - (matrix @ xy + shift)``, arcsec.
    used : ndarray of bool, shape (n,)
        False for what was clipped, has no weight or is no number.
    rms : float
        Of the distances of the pairs used, arcsec.
    floor : float
        Error of one axis that had to be added to the stated ones, arcsec.
    chi2_reduced : float
        With the stated errors, without the floor; NaN without degrees of freedom.
    status : AffineStatus
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    cov: NDArray[np.float64]
    residual: NDArray[np.float64]
    used: NDArray[np.bool_]
    rms: float
    floor: float
    chi2_reduced: float
    status: AffineStatus

    @property
    def n_used(self) -> int:
        """Number of pairs used."""
        return int(self.used.sum())


def fit_affine(
    xy: ArrayLike,
    uv: ArrayLike,
    sigma: ArrayLike = np.nan,
    weight: ArrayLike = 1.0,
    *,
    geometry: str = "rshift",
    nclip: int = 3,
    sigma_clip: float = 3.0,
    radius: float | None = None,
) -> AffineFit:
    """Fit the affine map that brings `xy` to `uv`.

    Huber's loss finds the start; then pairs further than `sigma_clip` errors are left out, `nclip`
    times at most. Each time all are judged anew, so that a pair returns only if it is near again.

    Parameters
    ----------
    xy, uv : array_like, shape (n, 2)
        Paired positions, arcsec.
    sigma : array_like, shape (n,) or scalar
        One-axis error of the difference, arcsec; NaN: unknown.
    weight : array_like, shape (n,) or scalar
        Divides the variance; 0: ignored.
    geometry : str
        ``shift``, ``rshift`` (rotation, shift), ``rscale`` (and one scale), ``general``.
    nclip : int
        Clipping iterations; 0: plain weighted least squares.
    sigma_clip : float
        Clipping limit, in errors of the distance (root of two errors of one axis).
    radius : float, optional
        Radius of the field, arcsec, by which is judged whether the stars fix the geometry;
        default: the farthest star from their middle.

    Returns
    -------
    fit : AffineFit
        A reflection is never returned.

    Raises
    ------
    ValueError
        If the geometry is unknown or the shapes disagree.

    Notes
    -----
    With weights that are the same for both axes the best rotation has a closed form (Horn 1987,
    J. Opt. Soc. Am. A 4, 629, in two dimensions).
    """
    if geometry not in GEOMETRIES:
        raise ValueError(f"geometry is {geometry!r} - give one of {GEOMETRIES}")
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    uv = np.asarray(uv, dtype=np.float64).reshape(-1, 2)
    sigma = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(xy))
    weight = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(xy))
    valid = (weight > 0) & np.isfinite(xy).all(axis=1) & np.isfinite(uv).all(axis=1)
    known = np.where(np.isfinite(sigma), sigma, 0.0) ** 2
    mean = float(weight[valid].mean()) if valid.any() else 1.0
    fit = Iterations(xy[valid], uv[valid], known[valid], weight[valid] / mean, geometry)
    status = fit.verdict(radius)
    used = np.ones(len(fit.xy), bool)
    if status is AffineStatus.OK:
        used, floor = fit.clipped(nclip, clip_limit(sigma_clip))
        if used.sum() < MIN_STARS[geometry]:
            status = AffineStatus.TOO_FEW
    if status is AffineStatus.OK:
        matrix, shift, floor = fit.final(used, floor)
        if np.linalg.det(matrix) <= 0:
            status = AffineStatus.REFLECTED
    everything = np.zeros(len(xy), bool)
    if status is not AffineStatus.OK:
        nothing = np.full((6, 6), np.nan)
        return AffineFit(
            np.eye(2), np.zeros(2), nothing, uv - xy, everything, np.nan, 0.0, np.nan, status
        )
    everything[valid] = used
    residual = uv - (xy @ matrix.T + shift)
    rms = float(np.sqrt(np.mean(np.sum(residual[everything] ** 2, axis=1))))
    cov, chi2 = fit.quality(matrix, shift, used, floor)
    return AffineFit(
        matrix, shift, cov, residual, everything, rms, float(np.sqrt(floor)), chi2, status
    )
