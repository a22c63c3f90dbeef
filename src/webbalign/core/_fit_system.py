"""The linear equations of one step of a fit of images, and what their blocks say of its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FitSystem", "few_blocks", "step_response"]

Array = NDArray[np.float64]

# part of the way that a step makes at least
_LEAST_RESPONSE = 0.3


@dataclass(frozen=True, eq=False)
class FitSystem:
    """The linear equations of one step: columns are the moves and an offset."""

    index: NDArray[np.intp]
    design: Array
    residual: Array
    weight: Array
    ratio: float
    ratio_error: float

    def step(self) -> Array:
        weighted = self.design * self.weight[:, None]
        return np.asarray(np.linalg.lstsq(weighted.T @ self.design, weighted.T @ self.residual)[0])

    def jackknife(self, block: int, width: int) -> tuple[Array, int]:
        """Return covariance (k, k) from leaving out one block after another, and their number."""
        rows, columns = np.divmod(self.index, width)
        across = width // block + 1
        _, which = np.unique((rows // block) * across + columns // block, return_inverse=True)
        number = int(which.max()) + 1
        k = self.design.shape[1]
        scale = np.sqrt((self.design**2 * self.weight[:, None]).sum(0))
        scale = np.where(scale > 0, scale, 1.0)
        weighted = self.design * self.weight[:, None]
        left = self.residual - self.design @ self.step()
        normal = np.empty((number, k, k))
        gradient = np.empty((number, k))
        for i in range(k):
            gradient[:, i] = np.bincount(which, weighted[:, i] * left, number) / scale[i]
            for j in range(i, k):
                sums = np.bincount(which, weighted[:, i] * self.design[:, j], number)
                normal[:, i, j] = normal[:, j, i] = sums / scale[i] / scale[j]
        if number < k + 2:
            return np.full((k, k), np.nan), number
        # leaving out a block that holds all the light leaves nothing to solve
        without = normal.sum(0) - normal + 1e-9 * np.eye(k)
        change = np.linalg.solve(without, gradient[:, :, None])[:, :, 0]
        change -= change.mean(axis=0)
        cov = (number - 1) / number * change.T @ change
        # the last column is the offset, which tells of no displacement
        grown = few_blocks(np.trace(normal[:, :-1, :-1], axis1=1, axis2=2))
        return grown * cov / np.outer(scale, scale), number


def step_response(first: Array, second: Array, before: float = 1.0) -> float:
    """Return the part of the way that a step makes, from two steps in a row.

    The slopes are those of images with noise, which no displacement of the true image follows, and
    what lies off counts less: steps are too short, and the errors of a linear fit too small, by the
    same factor. It is smaller at the solution than where little but the displacement lies off.

    Parameters
    ----------
    first, second : ndarray
        The steps, as the linear equations give them.
    before : float
        By which the first was divided.
    """
    left = float(np.vdot(first, second)) / max(float(np.vdot(first, first)), 1e-300)
    return min(max(before * (1.0 - left), _LEAST_RESPONSE), 1.2)


def few_blocks(shares: Array) -> float:
    """Return by how much a variance from the scatter of a few blocks is to be larger.

    A deviation in units of an error from N equal blocks follows Student's distribution, whose
    variance is N / (N - 2).

    Parameters
    ----------
    shares : ndarray (blocks,)
        What each block tells, in any unit: N are as many equal ones as have such a scatter.
    """
    number = float(shares.sum()) ** 2 / max(float(np.sum(shares**2)), 1e-300)
    # of three and fewer nothing is known
    return number / max(number - 2.0, 1.0)
