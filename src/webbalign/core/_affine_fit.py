"""The iterations of one robust affine fit, and what stars can fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from webbalign.core._robust_tracks import (
    SMALLEST,
    chi2_expected,
    floor_for,
    huber_weights,
    median_variance,
)

__all__ = [
    "GEOMETRIES",
    "MIN_STARS",
    "PARAMETERS",
    "AffineStatus",
    "Iterations",
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


@dataclass(frozen=True, eq=False)
class Iterations:
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
