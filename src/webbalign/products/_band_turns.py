"""Rotations of the sky that bring visits of one band to where another band has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.optimize import least_squares

from webbalign.core.planes import ARCSEC

__all__ = ["plane_rotation", "rigid_turn"]

# Bands are brought together as if each visit were good to this, arcsec: jitter, filters' offsets
_BETWEEN_BANDS = 0.003
_ARM = 60.0  # arcsec from the reference at which a roll counts like a shift
_NEWTON = 8


def rigid_turn(places: NDArray[np.float64], rolls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation of the sphere, in the axes of a plane, that moves places onto others.

    Parameters
    ----------
    places : ndarray, shape (n, 3, 2)
        Where each is, where it is now, where it should be; arcsec.
    rolls : ndarray, shape (n,)
        By how much each should be turned, radians.
    """
    at, here, there = np.moveaxis(places, 1, 0)
    around = np.stack([-at[:, 1], at[:, 0]], axis=-1)
    slopes = np.zeros((len(places), 3, 3))
    slopes[:, :2, :2], slopes[:, :2, 2], slopes[:, 2, 2] = np.eye(2), around / _ARM, 1.0
    apart = np.concatenate([here - there, -_ARM * rolls[:, None]], axis=1)
    x, y, arc = _least_sum(slopes.reshape(-1, 3) / _BETWEEN_BANDS, apart.ravel() / _BETWEEN_BANDS)
    return plane_rotation(x * ARCSEC, y * ARCSEC, arc / _ARM)


def _least_sum(slopes: NDArray[np.float64], apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise ``sum(sqrt(1 + (apart + slopes @ step)^2))`` to the last digit; returns the step.

    A visit that disagrees must not pull the others. The sum is convex, so that Newton's method
    ends at its minimum from wherever a search that looks at the sum alone has come to a halt.
    """

    def residuals(step: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(apart + slopes @ step)

    def whole(step: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(1.0 + residuals(step) ** 2))

    found = least_squares(residuals, np.zeros(3), jac=lambda _: slopes, loss="soft_l1").x
    for _ in range(_NEWTON):
        total = whole(found)
        normal = slopes.T @ (slopes / total[:, None] ** 3)
        step = np.linalg.solve(normal, slopes.T @ (residuals(found) / total))
        # (where visits are far apart the sum is nearly straight, and a whole step may be too long)
        while whole(found - step).sum() > total.sum() * (1.0 + 1e-12):
            step = step / 2
        found = found - step
    return np.asarray(found)


def plane_rotation(x: float, y: float, roll: float) -> NDArray[np.float64]:
    """Rotation that moves the tangent point along the axes of its plane and turns the plane."""
    turn: NDArray[np.float64] = expm(np.array([[0.0, -roll, x], [roll, 0.0, y], [-x, -y, 0.0]]))
    return turn
