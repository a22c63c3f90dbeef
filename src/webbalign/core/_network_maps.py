"""Corrections as 3x3 matrices, so that they compose exactly with the way from plane to plane.

A point (x, y) of a tangent plane, in radians, is the vector (x, y, 1). A correction multiplies it
by an affine matrix, the way to another plane by a rotation of the sphere, a move of the whole sky
by another rotation. All change by factors ``expm(sum(parameter * generator))``: the geometry keeps
itself (a product of rotations is one), and no reflection can come about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from webbalign.core.affine import PARAMETERS
from webbalign.core.planes import ARCSEC

__all__ = ["PlaneCorrection", "generators", "linear_part", "sky_generators", "stepped"]


@dataclass(frozen=True, eq=False)
class PlaneCorrection:
    """The correction of one image, in its own plane: ``xy' = matrix @ xy + shift``.

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    cov : ndarray, shape (6, 6)
        Covariance of m11, m12, m21, m22, xshift, yshift.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    cov: NDArray[np.float64]

    def apply(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrected positions (n, 2), arcsec."""
        return xy @ self.matrix.T + self.shift

    @property
    def roll(self) -> float:
        """Angle in degrees, positive from x to y."""
        (a, b), (c, d) = self.matrix
        return float(np.degrees(np.arctan2(c - b, a + d)))

    @property
    def scale(self) -> float:
        """Mean linear magnification."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def errors_at(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """One-sigma error of each coordinate (n, 2) of corrected points (n, 2), arcsec."""
        zero, one = np.zeros(len(xy)), np.ones(len(xy))
        x, y = xy.T
        rows = np.array([[x, y, zero, zero, one, zero], [zero, zero, x, y, zero, one]])
        variance = np.einsum("ijn,jk,ikn->ni", rows, self.cov, rows)
        return np.sqrt(np.maximum(variance, 0.0))


def generators(geometry: str, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Directions in which an affine correction of a plane may change.

    Parameters
    ----------
    geometry : str
        ``shift``, ``rshift``, ``rscale`` or ``general``.
    centre : ndarray, shape (2,)
        Fixed point of rotation, scale and shear, arcsec.
    radius : float
        Radius of the field, arcsec: every parameter is a displacement in arcsec there, so that all
        are of one size.

    Returns
    -------
    generators : ndarray, shape (k, 3, 3)
        x, y, then rotation, scale, and the two shears.
    """
    basis = np.zeros((6, 3, 3))
    basis[0, 0, 2] = basis[1, 1, 2] = ARCSEC
    basis[2, 1, 0], basis[2, 0, 1] = 1 / radius, -1 / radius
    basis[3, 0, 0] = basis[3, 1, 1] = 1 / radius
    basis[4, 0, 0], basis[4, 1, 1] = 1 / radius, -1 / radius
    basis[5, 0, 1] = basis[5, 1, 0] = 1 / radius
    move = np.eye(3)
    move[:2, 2] = centre * ARCSEC
    back = np.eye(3)
    back[:2, 2] = -centre * ARCSEC
    return move @ basis[: PARAMETERS[geometry]] @ back


def sky_generators(geometry: str, radius: float) -> NDArray[np.float64]:
    """Directions in which a whole network may move about the tangent point of its plane.

    The first two are rotations of the sphere: however wide the field, they leave it rigid.

    Returns
    -------
    generators : ndarray, shape (k, 3, 3)
    """
    directions = generators(geometry, np.zeros(2), radius)
    directions[0, 2, 0] = directions[1, 2, 1] = -ARCSEC
    return directions


def stepped(
    matrix: NDArray[np.float64], directions: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``expm(sum(step * directions)) @ matrix``."""
    return expm(np.einsum("k,kij->ij", step, directions)) @ matrix


def linear_part(
    matrix: NDArray[np.float64], changes: NDArray[np.float64], point: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Affine map that agrees with a projective one at a point, and its derivatives.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        The map of a plane to itself; close to the identity.
    changes : ndarray, shape (k, 3, 3)
        Derivatives of `matrix` by parameters.
    point : ndarray, shape (2,)
        Arcsec.

    Returns
    -------
    affine : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    derivatives : ndarray, shape (6, k)
        Of m11, m12, m21, m22, xshift, yshift.

    Notes
    -----
    What is left out is the curvature: for a shift s in a plane tilted by t, about s times the
    square of t (1 arcsec, 10 arcmin: 0.01 mas).
    """
    step = 1e-30
    # complex step: derivatives to machine precision
    stack = np.concatenate([matrix[None], matrix + 1j * step * changes])
    position = np.array([*(point * ARCSEC), 1.0])
    homogeneous = stack @ position
    plane = homogeneous[:, :2] / homogeneous[:, 2:]
    affine = (stack[:, :2, :2] - plane[:, :, None] * stack[:, 2:, :2]) / homogeneous[:, 2:, None]
    shift = (plane - affine @ position[:2]) / ARCSEC
    derivatives = np.concatenate([affine.reshape(-1, 4), shift], axis=1)[1:].imag.T / step
    return affine[0].real, shift[0].real, derivatives
