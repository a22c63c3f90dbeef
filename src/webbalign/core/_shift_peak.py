"""The maximum of N(d)^2 / D(d), where the flux ratio is N / D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._shift_objective import CellInterpolant, TrigPolynomial

__all__ = ["Peak", "best_whole_shift", "climb"]

Array = NDArray[np.float64]

# Newton's method: iterations, the step (px) below which it has converged (it doubles its digits
# each time), and the longest step (px) it may take.
_MAX_ITERATIONS = 50
_TOLERANCE = 1e-7
_LONGEST_STEP = 0.5


@dataclass(frozen=True)
class Peak:
    """A maximum of N^2/D, with N and D and their derivatives there.

    `cross` and `energy` are as :meth:`TrigPolynomial.at` returns them.
    """

    dx: float
    dy: float
    cross: Array
    energy: Array
    n_iter: int
    converged: bool

    @property
    def ratio(self) -> float:
        """The flux ratio N / D."""
        return float(self.cross[0, 0] / self.energy[0, 0])

    @property
    def parameters(self) -> Array:
        """(dx, dy, flux ratio)."""
        return np.array([self.dx, self.dy, self.ratio])

    def half_hessian(self) -> Array:
        """Return half the second derivatives of the sum of squares in the parameters, (3, 3)."""
        n, e, ratio = self.cross, self.energy, self.ratio
        slope = -ratio * n + ratio**2 * e / 2
        mixed_x, mixed_y = ratio * e[0, 1] - n[0, 1], ratio * e[1, 0] - n[1, 0]
        return np.array(
            [
                [slope[0, 2], slope[1, 1], mixed_x],
                [slope[1, 1], slope[2, 0], mixed_y],
                [mixed_x, mixed_y, e[0, 0]],
            ]
        )


def best_whole_shift(cross: Array, energy: Array) -> tuple[float, float] | None:
    """Return the best shift on a grid of whole pixels, refined by a parabola.

    Parameters
    ----------
    cross, energy : numpy.ndarray
        N and D, shape (2 limit + 1, 2 limit + 1), zero shift in the middle.

    Returns
    -------
    tuple of float, or None if N is nowhere positive
    """
    limit = cross.shape[0] // 2
    floor = np.finfo(float).eps * energy.max()
    gain = np.where(energy > floor, cross * abs(cross) / np.maximum(energy, floor or 1.0), 0.0)
    j, i = (int(index) for index in np.unravel_index(np.argmax(gain), gain.shape))
    if not gain[j, i] > 0:
        return None
    dx, dy = float(i - limit), float(j - limit)
    if 0 < i < 2 * limit:
        dx += _vertex(*gain[j, i - 1 : i + 2])
    if 0 < j < 2 * limit:
        dy += _vertex(*gain[j - 1 : j + 2, i])
    return dx, dy


def _vertex(left: float, middle: float, right: float) -> float:
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0


def climb(cross: TrigPolynomial, energy: CellInterpolant, start: tuple[float, float]) -> Peak:
    """Climb to the maximum of N^2/D by Newton's method, halving steps that lead down."""
    here = np.array(start)
    n, e = cross.at(*here), energy.at(*here)
    for n_iter in range(1, _MAX_ITERATIONS + 1):
        value, gradient, hessian = _gain(n, e)
        step = _newton_step(gradient, hessian)
        if np.abs(step).max() < _TOLERANCE:
            here = here + step
            return Peak(float(here[0]), float(here[1]), n, e, n_iter, True)
        for _ in range(30):
            n, e = cross.at(*(here + step)), energy.at(*(here + step))
            # rounding of the sums must not hold up the last digits
            if e[0, 0] > 0 and n[0, 0] > 0 and n[0, 0] ** 2 / e[0, 0] >= value * (1 - 1e-12):
                break
            step = step / 2
        here = here + step
    return Peak(float(here[0]), float(here[1]), n, e, _MAX_ITERATIONS, False)


def _gain(n: Array, e: Array) -> tuple[float, Array, Array]:
    """Return N^2/D with its gradient (2,) and second derivatives (2, 2), order (dx, dy)."""
    ratio = n[0, 0] / e[0, 0]
    dn, de = np.array([n[0, 1], n[1, 0]]), np.array([e[0, 1], e[1, 0]])
    ddn = np.array([[n[0, 2], n[1, 1]], [n[1, 1], n[2, 0]]])
    dde = np.array([[e[0, 2], e[1, 1]], [e[1, 1], e[2, 0]]])
    slope = dn - ratio * de
    gradient = 2 * ratio * dn - ratio**2 * de
    hessian = 2 * ratio * ddn - ratio**2 * dde + 2 * np.outer(slope, slope) / e[0, 0]
    return float(ratio * n[0, 0]), gradient, hessian


def _newton_step(gradient: Array, hessian: Array) -> Array:
    values, vectors = np.linalg.eigh(-hessian)
    # uphill also where the surface is not yet curved like a peak
    curvature = np.maximum(np.abs(values), 1e-12 * np.abs(values).max() + np.finfo(float).tiny)
    step: Array = vectors @ ((vectors.T @ gradient) / curvature)
    return step / max(1.0, float(np.abs(step).max()) / _LONGEST_STEP)
