"""The maximum of N(d)^2 / D(d), where the flux ratio is N / D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
    x, y = start
    n, e = cross.at(x, y), energy.at(x, y)
    for n_iter in range(1, _MAX_ITERATIONS + 1):
        surface = _Surface.of(n, e)
        dx, dy = surface.newton_step()
        if max(abs(dx), abs(dy)) < _TOLERANCE:
            return Peak(x + dx, y + dy, n, e, n_iter, True)
        for _ in range(30):
            n, e = cross.at(x + dx, y + dy), energy.at(x + dx, y + dy)
            # rounding of the sums must not hold up the last digits
            if e[0, 0] > 0 and n[0, 0] > 0 and n[0, 0] ** 2 / e[0, 0] >= surface.least:
                break
            dx, dy = dx / 2, dy / 2
        x, y = x + dx, y + dy
    return Peak(x, y, n, e, _MAX_ITERATIONS, False)


class _Surface(NamedTuple):
    """N^2/D at a point, with its first and second derivatives; plain numbers, for speed."""

    value: float
    x: float
    y: float
    xx: float
    xy: float
    yy: float

    @classmethod
    def of(cls, n: Array, e: Array) -> _Surface:
        """Make it from N and D with their derivatives."""
        (n0, nx, nxx), (ny, nxy, _), (nyy, _, _) = n.tolist()
        (e0, ex, exx), (ey, exy, _), (eyy, _, _) = e.tolist()
        ratio = n0 / e0
        twice, square = 2 * ratio, ratio * ratio
        slope_x, slope_y, bend = nx - ratio * ex, ny - ratio * ey, 2 / e0
        return cls(
            ratio * n0,
            twice * nx - square * ex,
            twice * ny - square * ey,
            twice * nxx - square * exx + bend * slope_x * slope_x,
            twice * nxy - square * exy + bend * slope_x * slope_y,
            twice * nyy - square * eyy + bend * slope_y * slope_y,
        )

    @property
    def least(self) -> float:
        """What a step that does not lead down comes to, but for rounding."""
        return self.value * (1 - 1e-12)

    def newton_step(self) -> tuple[float, float]:
        """Return the step (dx, dy), uphill also where it is not yet curved like a peak."""
        determinant = self.xx * self.yy - self.xy * self.xy
        if self.xx < 0 and determinant > 1e-9 * self.xx * self.yy:
            dx = (self.xy * self.y - self.yy * self.x) / determinant
            dy = (self.xy * self.x - self.xx * self.y) / determinant
        else:
            hessian = np.array([[self.xx, self.xy], [self.xy, self.yy]])
            values, vectors = np.linalg.eigh(-hessian)
            least = 1e-12 * np.abs(values).max() + np.finfo(float).tiny
            along = (vectors.T @ np.array([self.x, self.y])) / np.maximum(np.abs(values), least)
            dx, dy = (vectors @ along).tolist()
        shorter = max(1.0, max(abs(dx), abs(dy)) / _LONGEST_STEP)
        return dx / shorter, dy / shorter
