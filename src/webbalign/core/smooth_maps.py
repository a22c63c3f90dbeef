"""A smooth map of the plane on a regular grid: a Chebyshev polynomial whose error is measured.

The distortion of a detector is a polynomial of low order, and so is, all but exactly, the way from
one pixel grid to another: a few hundred exact positions tell millions to a millionth of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["SmoothMap", "smooth_map"]

_NODES = (9, 17)  # per axis: as many as are needed
_PROBES = 100

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SmoothMap:
    """A polynomial from a rectangle to the plane.

    Attributes
    ----------
    x, y : ndarray, shape (nx,), (ny,)
        Ascending coordinates of the columns and of the rows of the grid.
    coefficients : ndarray, shape (n, n, 2)
        Of the Chebyshev polynomials in y and in x, for either component.
    """

    x: Array
    y: Array
    coefficients: Array

    def rows(self, start: int = 0, stop: int | None = None) -> Array:
        """Return the images, shape (rows, nx, 2), of the points of some rows of the grid."""
        terms = self.coefficients.shape[0] - 1
        in_x = chebyshev.chebvander(_squeezed(self.x, self.x), terms)
        in_y = chebyshev.chebvander(_squeezed(self.y[start:stop], self.y), terms)
        return np.stack([in_y @ self.coefficients[..., c] @ in_x.T for c in (0, 1)], axis=-1)


def smooth_map(
    function: Callable[[Array], Array],
    x: Array,
    y: Array,
    tolerance: float,
    within: Callable[[Array], NDArray[np.bool_]] | None = None,
) -> SmoothMap | None:
    """Interpolate a map at Chebyshev points, and compare with it in between.

    Parameters
    ----------
    function : callable
        Takes points (n, 2), x first, and returns theirs (n, 2).
    x, y : ndarray, shape (nx,), (ny,)
        Ascending coordinates of the columns and of the rows of a grid, two of each at least.
    tolerance : float
        Largest error of a component that is allowed, in the unit of what `function` returns.
    within : callable, optional
        Tells of images (n, 2) whether they matter; default: all do.

    Returns
    -------
    SmoothMap or None
        None if the polynomials are not accurate enough, or the map is not finite.
    """
    probe = np.random.default_rng(0).uniform(-1.0, 1.0, (2, _PROBES))
    # the outermost points of the range are where polynomials err most
    probe[:, :8] = [[-1, -1, 1, 1, 0, 0, -1, 1], [-1, 1, -1, 1, -1, 1, 0, 0]]
    for number in _NODES:
        nodes = chebyshev.chebpts1(number)
        u, v = (grid.ravel() for grid in np.meshgrid(nodes, nodes))
        at = np.stack(
            [_stretched(np.append(u, probe[0]), x), _stretched(np.append(v, probe[1]), y)], axis=-1
        )
        values = function(at)
        if not np.isfinite(values).all():
            return None
        to_coefficients = np.linalg.inv(chebyshev.chebvander(nodes, number - 1))
        cube = values[: u.size].reshape(number, number, 2)
        coefficients = np.einsum("ik,klc,jl->ijc", to_coefficients, cube, to_coefficients)
        true = values[u.size :]
        off = np.abs(chebyshev.chebval2d(probe[1], probe[0], coefficients).T - true)
        if within is not None:
            off = off[within(true)]
        if off.max(initial=0.0) < tolerance:
            return SmoothMap(x, y, coefficients)
    return None


def _stretched(unit: Array, along: Array) -> Array:
    return along[0] + (unit + 1) / 2 * (along[-1] - along[0])


def _squeezed(values: Array, along: Array) -> Array:
    return 2 * (values - along[0]) / (along[-1] - along[0]) - 1
