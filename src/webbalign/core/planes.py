"""Tangent planes on the sky: a plane, and the exact way from one to another.

In homogeneous coordinates the gnomonic projection is linear, so that the way from one tangent plane
to another is a projective map given by one 3x3 matrix (Calabretta & Greisen 2002, A&A 395, 1077,
sect. 5.1.3). Rounding then stays far below a nano-arcsecond, which sines and cosines of right
ascensions would not allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ARCSEC", "TangentPlane", "apply_map", "sky_to_vectors", "vectors_to_sky"]

ARCSEC = float(np.radians(1.0 / 3600.0))


def sky_to_vectors(sky: ArrayLike) -> NDArray[np.float64]:
    """Return unit vectors (..., 3) of right ascension and declination (..., 2) in degrees."""
    angles = np.radians(np.asarray(sky, dtype=np.float64))
    ra, dec = angles[..., 0], angles[..., 1]
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def vectors_to_sky(vectors: ArrayLike) -> NDArray[np.float64]:
    """Return right ascension (0 to 360) and declination, (..., 2), degrees, of vectors (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    return np.stack([ra, np.degrees(np.arctan2(z, np.hypot(x, y)))], axis=-1)


def apply_map(
    matrix: NDArray[np.float64], xy: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Apply a projective map to points of a plane.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Acts on (x, y, 1), all in radians.
    xy : array_like, shape (n, 2)
        In arcsec.

    Returns
    -------
    mapped : ndarray, shape (n, 2)
        In arcsec; NaN where the map leads behind the plane.
    jacobian : ndarray, shape (n, 2, 2)
        Derivatives of mapped x and y (axis 1) by x and y (axis 2).
    """
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    homogeneous = (xy * ARCSEC) @ matrix[:, :2].T + matrix[:, 2]
    depth = np.where(homogeneous[:, 2] > 0, homogeneous[:, 2], np.nan)[:, None]
    plane = homogeneous[:, :2] / depth
    jacobian = matrix[None, :2, :2] - plane[:, :, None] * matrix[None, 2:, :2]
    return plane / ARCSEC, jacobian / depth[:, :, None]


@dataclass(frozen=True, eq=False)
class TangentPlane:
    """A plane that touches the sky, with its two axes (gnomonic projection).

    Attributes
    ----------
    axes : ndarray, shape (3, 3)
        Rows: unit vectors (ICRS) of the plane's x axis, of its y axis, and of the tangent point.
        The axes are at right angles; the plane may be right- or left-handed as seen from outside.
    """

    axes: NDArray[np.float64]

    def __post_init__(self) -> None:
        axes = np.array(self.axes, dtype=np.float64)
        if axes.shape != (3, 3) or not np.allclose(axes @ axes.T, np.eye(3), rtol=0, atol=1e-9):
            raise ValueError(f"axes of a tangent plane are {axes.tolist()}, not orthonormal")
        object.__setattr__(self, "axes", axes)

    @classmethod
    def about(cls, ra: float, dec: float) -> Self:
        """Make the plane that touches at (ra, dec), in degrees, with x to the east, y north."""
        a, d = np.radians([ra, dec])
        east = [-np.sin(a), np.cos(a), 0.0]
        north = [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)]
        point = [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)]
        return cls(np.array([east, north, point]))

    @classmethod
    def around(cls, vectors: ArrayLike) -> Self:
        """Make the plane that touches at the middle of unit vectors, (n, 3); x east, y north."""
        mean = np.asarray(vectors, dtype=np.float64).reshape(-1, 3).mean(axis=0)
        return cls.about(*vectors_to_sky(mean))

    @property
    def centre(self) -> NDArray[np.float64]:
        """The tangent point: right ascension and declination in degrees, shape (2,)."""
        return vectors_to_sky(self.axes[2])

    def to_vectors(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Return unit vectors, shape (n, 3), of points (n, 2) in arcsec."""
        xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2) * ARCSEC
        vectors = xy @ self.axes[:2] + self.axes[2]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def from_vectors(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Points (n, 2) in arcsec of vectors (n, 3); NaN for what lies behind the plane."""
        along = np.asarray(vectors, dtype=np.float64).reshape(-1, 3) @ self.axes.T
        depth = np.where(along[:, 2] > 0, along[:, 2], np.nan)
        return along[:, :2] / depth[:, None] / ARCSEC

    def to_sky(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Right ascension and declination (n, 2) in degrees of points (n, 2) in arcsec."""
        return vectors_to_sky(self.to_vectors(xy))

    def from_sky(self, sky: ArrayLike) -> NDArray[np.float64]:
        """Points (n, 2) in arcsec of right ascension and declination (n, 2) in degrees."""
        return self.from_vectors(sky_to_vectors(sky))

    def matrix_to(self, other: TangentPlane) -> NDArray[np.float64]:
        """Matrix (3, 3) of the projective map from this plane to another (see `apply_map`)."""
        return other.axes @ self.axes.T

    def map_to(
        self, other: TangentPlane, xy: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points of this plane in another one, and the derivatives.

        Parameters
        ----------
        other : TangentPlane
        xy : array_like, shape (n, 2)
            In this plane, arcsec.

        Returns
        -------
        mapped : ndarray, shape (n, 2)
            In the other plane, arcsec.
        jacobian : ndarray, shape (n, 2, 2)
            d mapped / d xy.
        """
        return apply_map(self.matrix_to(other), xy)
