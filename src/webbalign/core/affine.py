"""One robust affine fit between two lists of paired positions, with its covariance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._robust_tracks import (
    SMALLEST,
    chi2_expected,
    clip_limit,
    floor_for,
    huber_weights,
    median_variance,
)

__all__ = [
    "GEOMETRIES",
    "MIN_STARS",
    "PARAMETERS",
    "AffineFit",
    "AffineStatus",
    "fit_affine",
    "supported_geometry",
]

GEOMETRIES = ("shift", "rshift", "rscale", "general")
# number of parameters, and of stars without which there is no answer
PARAMETERS = {"shift": 2, "rshift": 3, "rscale": 4, "general": 6}
MIN_STARS = {"shift": 1, "rshift": 2, "rscale": 2, "general": 3}
# the stars' extent, in units of the field's radius, below which an error of a star would grow more
# than about a hundredfold at the edge of the field
_LEAST_EXTENT = 0.01


class AffineStatus(StrEnum):
    """How a fit ended."""

    OK = "OK"
    TOO_FEW = "TOO_FEW"
    DEGENERATE = "DEGENERATE"
    REFLECTED = "REFLECTED"


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


def supported_geometry(xy: NDArray[np.float64], geometry: str, radius: float) -> str | None:
    """Return the richest geometry, no richer than `geometry`, that stars at `xy` can fix.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
    geometry : str
        One of `GEOMETRIES`.
    radius : float
        Of the field in which the map has to hold, in the units of `xy`.

    Returns
    -------
    geometry : str or None
        None without a star.
    """
    if not len(xy):
        return None
    extent = np.linalg.svd(xy - xy.mean(axis=0), compute_uv=False) / np.sqrt(len(xy))
    extent = np.concatenate([extent, np.zeros(2)])[:2]
    if geometry == "general" and (len(xy) < 3 or extent[1] < _LEAST_EXTENT * radius):
        geometry = "rscale"
    if geometry != "shift" and (len(xy) < 2 or extent[0] < _LEAST_EXTENT * radius):
        geometry = "shift"
    return geometry


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
        raise ValueError(f"geometry is {geometry!r}; expected one of {GEOMETRIES}")
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    uv = np.asarray(uv, dtype=np.float64).reshape(-1, 2)
    sigma = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(xy))
    weight = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(xy))
    valid = (weight > 0) & np.isfinite(xy).all(axis=1) & np.isfinite(uv).all(axis=1)
    known = np.where(np.isfinite(sigma), sigma, 0.0) ** 2
    fit = _Fit(xy[valid], uv[valid], known[valid], weight[valid] / _mean(weight[valid]), geometry)
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


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 1.0


@dataclass(frozen=True, eq=False)
class _Fit:
    """The valid pairs of one fit; `weight` has a mean of one."""

    xy: NDArray[np.float64]
    uv: NDArray[np.float64]
    variance: NDArray[np.float64]
    weight: NDArray[np.float64]
    geometry: str

    def verdict(self, radius: float | None) -> AffineStatus:
        """Whether there are enough stars, well enough spread."""
        if len(self.xy) < MIN_STARS[self.geometry]:
            return AffineStatus.TOO_FEW
        if radius is None:
            radius = float(np.hypot(*(self.xy - self.xy.mean(axis=0)).T).max())
            if radius == 0 and self.geometry != "shift":
                return AffineStatus.DEGENERATE
        if supported_geometry(self.xy, self.geometry, radius) != self.geometry:
            return AffineStatus.DEGENERATE
        return AffineStatus.OK

    def clipped(self, nclip: int, limit: float) -> tuple[NDArray[np.bool_], float]:
        """Which pairs agree, and the variance that has to be added."""
        used = np.ones(len(self.xy), bool)
        if not nclip:
            return used, 0.0
        matrix, shift, floor = self._huber()
        for _ in range(nclip):
            distance = self._distance(self._residual(matrix, shift), floor)
            stable, used = bool(((distance <= limit) == used).all()), distance <= limit
            if used.sum() < MIN_STARS[self.geometry]:
                break
            matrix, shift = self._solve(self._weights(floor) * used)
            floor = self._floor(self._residual(matrix, shift), used)
            if stable:
                break
        return used, floor

    def final(
        self, used: NDArray[np.bool_], floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Matrix, shift and added variance from the pairs used."""
        for _ in range(3):  # the weights depend on the floor, the residuals a little on the weights
            matrix, shift = self._solve(self._weights(floor) * used)
            floor = self._floor(self._residual(matrix, shift), used)
        return matrix, shift, floor

    def quality(
        self,
        matrix: NDArray[np.float64],
        shift: NDArray[np.float64],
        used: NDArray[np.bool_],
        floor: float,
    ) -> tuple[NDArray[np.float64], float]:
        """Covariance (6, 6), and reduced chi-square with the stated errors."""
        squared = np.sum(self._residual(matrix, shift) ** 2, axis=1)[used]
        freedom = 2 * len(squared) - PARAMETERS[self.geometry]
        weights = self._weights(floor) * used
        cov = self._covariance(matrix, weights)
        if freedom <= 0:
            return cov, np.nan
        if freedom > 30:
            # stated errors that were too large: the residuals know better
            cov = cov * min(1.0, np.sum(squared * weights[used]) / freedom)
        stated = np.where(self.variance > 0, self.variance, np.nan)[used]
        return cov, float(np.sum(squared * self.weight[used] / stated) / freedom)

    def _weights(self, floor: float) -> NDArray[np.float64]:
        return self.weight / np.maximum(self.variance + floor, SMALLEST**2)

    def _residual(
        self, matrix: NDArray[np.float64], shift: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return self.uv - (self.xy @ matrix.T + shift)

    def _distance(self, residual: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
        return np.hypot(*residual.T) * np.sqrt(self._weights(floor))

    def _median_floor(self, residual: NDArray[np.float64]) -> float:
        squared = np.sum(residual**2, axis=1) * self.weight
        freedom = 1.0 - PARAMETERS[self.geometry] / (2.0 * len(squared))
        total = median_variance(squared) / max(freedom, 0.1)
        return max(0.0, total - float(np.median(self.variance)))

    def _floor(self, residual: NDArray[np.float64], used: NDArray[np.bool_]) -> float:
        squared = (np.sum(residual**2, axis=1) * self.weight)[used]
        variance = self.variance[used]
        freedom = 2 * len(squared) - PARAMETERS[self.geometry]
        if freedom <= 0:
            return floor_for(lambda _: -1.0, variance)
        expected = chi2_expected(freedom, variance)
        return floor_for(lambda more: np.sum(squared / (variance + more)) - expected, variance)

    def _huber(self) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Matrix, shift and added variance that minimise Huber's loss."""
        matrix, shift = self._solve(self.weight)
        for _ in range(30):
            residual = self._residual(matrix, shift)
            floor = self._median_floor(residual)
            robust = huber_weights(self._distance(residual, floor))
            before, (matrix, shift) = shift, self._solve(self._weights(floor) * robust)
            if np.abs(shift - before).max() < 1e-7:
                break
        return matrix, shift, self._median_floor(self._residual(matrix, shift))

    def _solve(
        self, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Closed-form weighted least squares."""
        part = weights / weights.sum()
        mean_xy, mean_uv = part @ self.xy, part @ self.uv
        matrix = np.eye(2)
        if self.geometry != "shift":
            a, b = self.xy - mean_xy, self.uv - mean_uv
            moments = (b * part[:, None]).T @ a
            if self.geometry == "general":
                matrix = moments @ np.linalg.inv((a * part[:, None]).T @ a)
            else:
                cos, sin = moments[0, 0] + moments[1, 1], moments[1, 0] - moments[0, 1]
                size = np.hypot(cos, sin)
                if self.geometry == "rscale":
                    size = part @ np.sum(a**2, axis=1)
                matrix = np.array([[cos, -sin], [sin, cos]]) / size
        return matrix, mean_uv - matrix @ mean_xy

    def _covariance(
        self, matrix: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        mean = weights @ self.xy / weights.sum()
        directions = _directions(self.geometry, matrix)
        design = np.einsum("kij,nj->nik", directions, self.xy - mean)
        normal = np.einsum("n,nik,nil->kl", weights, design, design)
        cov = np.zeros((6, 6))
        flat = directions.reshape(-1, 4)
        if len(flat):
            cov[:4, :4] = flat.T @ np.linalg.inv(normal) @ flat
        # the shift at the stars' middle is independent of the matrix: carry it to the origin
        carry = np.eye(6)
        carry[4, :2], carry[5, 2:4] = -mean, -mean
        cov[4:, 4:] = np.eye(2) / weights.sum()
        return carry @ cov @ carry.T


def _directions(geometry: str, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return derivatives (k, 2, 2) of the matrix by the parameters of the geometry."""
    if geometry == "general":
        return np.eye(4).reshape(4, 2, 2)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ matrix
    return np.array({"shift": [], "rshift": [turn], "rscale": [turn, matrix]}[geometry]).reshape(
        -1, 2, 2
    )
