"""Affine corrections taken apart: shift, rotation, scale, shears, with the derivatives.

The rotation is an angle and the scale a logarithm, so that the error of a rotation is none of the
scale, however far an image is rolled. By the sum of the diagonal it would be: by a part in ten
thousand at a roll of 0.006 degrees, which is little, but all that such a scale would have for an
error, and what is left of it would get all the weight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_parts", "to_parts"]

# from m11 ... yshift to x and y shift, the parts that turn (v) and stretch (u), the two shears
_TO_LINEAR = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [0.0, -0.5, 0.5, 0.0, 0.0, 0.0],
        [0.5, 0.0, 0.0, 0.5, 0.0, 0.0],
        [0.5, 0.0, 0.0, -0.5, 0.0, 0.0],
        [0.0, 0.5, 0.5, 0.0, 0.0, 0.0],
    ]
)
_FROM_LINEAR = np.linalg.inv(_TO_LINEAR)


def to_parts(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take corrections apart.

    Parameters
    ----------
    values : ndarray, shape (n, 6)
        m11, m12, m21, m22, xshift, yshift.

    Returns
    -------
    parts : ndarray, shape (n, 6)
        x and y shift, rotation (radians, from x to y), logarithm of the scale, two shears.
    slopes : ndarray, shape (n, 6, 6)
        Derivatives of the parts by the values.
    """
    linear = values @ _TO_LINEAR.T
    v, u = linear[:, 2], linear[:, 3]
    squared = u**2 + v**2
    parts, slopes = linear.copy(), np.tile(np.eye(6), (len(linear), 1, 1))
    parts[:, 2], parts[:, 3] = np.arctan2(v, u), 0.5 * np.log(squared)
    slopes[:, 2, 2] = slopes[:, 3, 3] = u / squared
    slopes[:, 3, 2], slopes[:, 2, 3] = v / squared, -v / squared
    return parts, slopes @ _TO_LINEAR


def from_parts(parts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put one correction together again.

    Parameters
    ----------
    parts : ndarray, shape (6,)

    Returns
    -------
    values : ndarray, shape (6,)
    slopes : ndarray, shape (6, 6)
        Derivatives of the values by the parts.
    """
    length = np.exp(parts[3])
    v, u = length * np.sin(parts[2]), length * np.cos(parts[2])
    linear, slopes = parts.copy(), np.eye(6)
    linear[2], linear[3] = v, u
    slopes[2:4, 2:4] = [[u, v], [-v, u]]
    return _FROM_LINEAR @ linear, _FROM_LINEAR @ slopes
