"""Linear equations of the places of layers, block by block, and what the blocks say of errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from webbalign.core._fit_system import few_blocks

__all__ = ["LayerEquations"]

Array = NDArray[np.float64]

# to say anything of errors
_MIN_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class LayerEquations:
    """Sums over the pixels of each block that the same layers show.

    Attributes
    ----------
    block : ndarray of int (m,)
        Block of each of the m classes of pixels.
    place : ndarray (m, 2)
        Mean x, y of its pixels.
    seen : ndarray (m, n)
        Layers that show it, 1 or 0.
    slope : ndarray (m, 2, 2)
        Sum of weight times slope times slope.
    left : ndarray (m, n, 2)
        Sum of weight times slope times deviation from the mean.
    """

    block: NDArray[np.intp]
    place: Array
    seen: Array
    slope: Array
    left: Array

    def _normal(self) -> tuple[Array, Array]:
        """Return normal matrices (blocks, 2 n, 2 n) and right-hand sides (blocks, 2 n)."""
        n, number = self.seen.shape[1], int(self.block.max()) + 1
        # a layer against the mean of those that are seen there
        share = self.seen[:, :, None] * (
            np.eye(n) - self.seen[:, None, :] / np.maximum(self.seen.sum(1), 1.0)[:, None, None]
        )
        full = np.einsum("mij,mab->miajb", share, self.slope).reshape(-1, 2 * n, 2 * n)
        matrix, right = np.zeros((number, 2 * n, 2 * n)), np.zeros((number, 2 * n))
        np.add.at(matrix, self.block, full)
        np.add.at(right, self.block, -self.left.reshape(-1, 2 * n))
        return matrix, right

    def _solve(self, matrix: Array, right: Array) -> Array:
        """Solutions whose sum over the layers is zero; no step where nothing is known."""
        n = self.seen.shape[1]
        scale = float(np.trace(matrix, axis1=-2, axis2=-1).max()) / (2 * n)
        common = np.kron(np.ones((n, n)), np.eye(2)) + 1e-9 * np.eye(2 * n)
        solved = np.linalg.solve(matrix + scale * common, right[..., None])[..., 0]
        return np.asarray(solved)

    def solution(self) -> Array:
        """Return the displacements (n, 2)."""
        matrix, right = self._normal()
        return self._solve(matrix.sum(axis=0), right.sum(axis=0)).reshape(-1, 2)

    def jackknife(self) -> Array:
        """Return the covariance (2 n, 2 n) from leaving out one block after another."""
        matrix, right = self._normal()
        number = len(matrix)
        if number < _MIN_BLOCKS:
            return np.full(matrix.shape[1:], np.nan)
        all_matrix, all_right = matrix.sum(axis=0), right.sum(axis=0)
        change = self._solve(all_matrix - matrix, all_right - right)
        change -= change.mean(axis=0)
        grown = few_blocks(np.trace(matrix, axis1=1, axis2=2))
        return np.asarray(grown * (number - 1) / number * change.T @ change)

    def effect(self) -> tuple[Array, Array]:
        """Return the middle (2,), and dx, dy, rotation of the mean by displacements (3, 2 n)."""
        weight = np.trace(self.slope, axis1=1, axis2=2)
        centre = weight @ self.place / weight.sum()
        x, y = (self.place - centre).T
        moves = np.zeros((len(x), 2, 3))
        moves[:, 0, 0] = moves[:, 1, 1] = 1.0
        moves[:, 0, 2], moves[:, 1, 2] = -y, x
        normal = np.einsum("m,mai,maj->ij", weight, moves, moves)
        part = self.seen / np.maximum(self.seen.sum(axis=1), 1.0)[:, None]
        right = np.einsum("m,mai,mk->ika", weight, moves, part).reshape(3, -1)
        return centre, np.linalg.solve(normal, right)
