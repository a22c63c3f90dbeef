"""Affine corrections in a tangent plane, and how they look in another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane

__all__ = ["Correction", "transported"]


@dataclass(frozen=True, eq=False)
class Correction:
    """An affine correction in a tangent plane: ``xy' = matrix @ xy + shift``.

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        In arcsec; positive x and y as the axes of the plane (east and north).
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix, shift = np.array(self.matrix, np.float64), np.array(self.shift, np.float64)
        finite = np.isfinite(matrix).all() and np.isfinite(shift).all()
        if matrix.shape != (2, 2) or shift.shape != (2,) or not finite:
            found = f"a correction with matrix {matrix.tolist()} and shift {shift.tolist()}"
            raise InputError(None, found, "2 x 2 and 2 finite numbers")
        if not abs(np.linalg.det(matrix)) > 1e-6:
            raise InputError(None, f"a singular correction matrix {matrix.tolist()}", "another one")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "shift", shift)

    @classmethod
    def none(cls) -> Correction:
        """Return the correction that changes nothing."""
        return cls(np.eye(2), np.zeros(2))

    def apply(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Corrected positions (n, 2) of positions (n, 2), arcsec."""
        moved: NDArray[np.float64] = np.asarray(xy, dtype=np.float64) @ self.matrix.T + self.shift
        return moved

    def after(self, first: Correction) -> Correction:
        """Return the correction that does `first` and then this one."""
        return Correction(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    @property
    def rotation(self) -> float:
        """Angle in degrees from x to y, of the rotation in the matrix."""
        m = self.matrix
        return float(np.degrees(np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1])))


def transported(
    correction: Correction, source: TangentPlane, target: TangentPlane, at: ArrayLike
) -> tuple[Correction, float]:
    """Express in one plane a correction that was found in another.

    Parameters
    ----------
    correction : Correction
        In `source`.
    source, target : TangentPlane
    at : array_like, shape (n, 2)
        Points of `target`, arcsec, where it has to hold: the outline of the image.

    Returns
    -------
    correction : Correction
        In `target`.
    error : float
        Arcsec: how far it errs at most, at these points and between them and their middle. The
        exact correction is projective; over a detector its affine part is all but everything.
    """
    corners = np.asarray(at, dtype=np.float64).reshape(-1, 2)
    middle = corners.mean(axis=0)
    points = np.concatenate([corners, (corners + middle) / 2, middle[None]])
    there, _ = target.map_to(source, points)
    moved, _ = source.map_to(target, correction.apply(there))
    # about the middle, in units of the field, and for the displacement: so that nothing is rounded
    size = np.abs(points - middle).max() or 1.0
    design = np.concatenate([(points - middle) / size, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(design, moved - points, rcond=None)[0]
    matrix = np.eye(2) + solution[:2].T / size
    shift = solution[2] - (matrix - np.eye(2)) @ middle
    found = Correction(matrix, shift)
    return found, float(np.hypot(*(found.apply(points) - moved).T).max())
