"""Sub-pixel shift and rotation between two images by Gauss-Newton iteration, with its covariance.

Each image is brought half of the way to the other by cubic splines, so that both are interpolated
alike and it does not matter which one is called first; a flux ratio and an offset are fitted along.
The covariance is a jackknife over blocks, so that it needs no model of how the residuals are
correlated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter, spline_filter

from webbalign.core._correlation_filters import robust_sigma
from webbalign.core._fit_system import FitSystem, step_response
from webbalign.core._fit_weights import differences, pixel_scales, pixel_weights

__all__ = ["ImageFit", "fit_images"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MAX_ITER = 25
# steps after which the scale of the errors stays: a weight that follows its own residuals may cycle
_SETTLING = 6
# px; a rotation counts by what it does at the edge
_CONVERGED = 1e-4
# px by which the images are displaced at first
_START = 0.05
# pixels to fit to, at least
_MIN_PIXELS = 64
# px: slopes are averaged over such a neighbourhood where they stand for errors
_NEAR = 1.5


@dataclass(frozen=True, eq=False)
class ImageFit:
    """Result of `fit_images`.

    Attributes
    ----------
    shift : ndarray (2,)
        dx, dy in px at the centre.
    centre : ndarray (2,)
        x, y in the first image, 0-based px, about which the rotation turns.
    rotation : float
        Radians from x to y.
    cov : ndarray (3, 3)
        Of dx, dy and rotation; the rotation's part is 0 if it was not fitted.
    flux_ratio : float
        Second over first.
    flux_ratio_error : float
    n_pixels : int
        Pixels that counted.
    n_blocks : int
        Blocks that hold any of them.
    n_iter : int
    converged : bool
    """

    shift: Array
    centre: Array
    rotation: float
    cov: Array
    flux_ratio: float
    flux_ratio_error: float
    n_pixels: int
    n_blocks: int
    n_iter: int
    converged: bool


def fit_images(
    first: Array,
    second: Array,
    first_mask: Mask,
    second_mask: Mask,
    start: Array,
    *,
    centre: Array,
    rotate: bool,
    block: int,
) -> ImageFit:
    """Fit the second image as the first one moved.

    Parameters
    ----------
    first, second : ndarray (ny, nx)
        Without background; smooth enough to be interpolated.
    first_mask, second_mask : ndarray (ny, nx) of bool
    start : ndarray (3,)
        dx, dy, rotation.
    centre : ndarray (2,)
        x, y half way between the places in both images about which the rotation turns, 0-based px.
    rotate : bool
        Whether a rotation is fitted.
    block : int
        Side of the blocks of the jackknife, px.

    Returns
    -------
    ImageFit
        With the images exchanged and the start reversed, the same but for rounding.
    """
    problem = _Problem(first, second, first_mask, second_mask, centre, rotate)
    # started off the place, so that the first steps tell how far they fall short
    parameters, converged, steps = start.astype(float), False, 0
    parameters[:2] += np.copysign(_START, parameters[:2])
    system: FitSystem | None = None
    n = problem.n_moves
    metric = np.array([1.0, 1.0, 0.5 * float(np.hypot(*first.shape))])[:n]
    response, before = 1.0, None
    while steps < _MAX_ITER and not converged:
        steps += 1
        system = problem.linearised(parameters, fixed=steps > _SETTLING)
        if system is None:
            break
        step = system.step()[:n]
        if before is not None:
            response = step_response(before * metric, step * metric, response)
        before = step
        parameters[:n] += step / response
        converged = bool((np.abs(step / response) * metric).max() < _CONVERGED)
        if not np.isfinite(parameters).all():
            break
    if system is None or not np.isfinite(parameters).all():
        return _nothing(start, centre, steps)
    cov, n_blocks = system.jackknife(block, first.shape[1])
    full = np.zeros((3, 3))
    full[:n, :n] = cov[:n, :n] / response**2
    return ImageFit(
        shift=parameters[:2],
        centre=centre - 0.5 * parameters[:2],
        rotation=float(parameters[2]),
        cov=full,
        flux_ratio=system.ratio,
        flux_ratio_error=system.ratio_error,
        n_pixels=len(system.residual),
        n_blocks=n_blocks,
        n_iter=steps,
        converged=converged,
    )


def _nothing(start: Array, centre: Array, steps: int) -> ImageFit:
    nan = float("nan")
    unknown = np.full((3, 3), np.nan)
    return ImageFit(np.full(2, nan), centre, float(start[2]), unknown, nan, nan, 0, 0, steps, False)


class _Side:
    """One of the two images, and how it is brought half of the way to the other."""

    def __init__(self, image: Array, mask: Mask, centre: Array, way: float) -> None:
        self._coefficients = spline_filter(image, order=3, mode="mirror")
        # a spline reaches two pixels, its prefilter fades within them
        self._lost = binary_dilation(~mask, np.ones((3, 3)), border_value=1).astype(np.float32)
        self._middle, self._way = centre[::-1], way

    def moved(self, parameters: Array) -> tuple[Array, Mask]:
        """Return the image, and where it may be used."""
        dx, dy, angle = self._way * parameters
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, sin], [-sin, cos]])
        offset = self._middle + np.array([dy, dx]) - matrix @ self._middle
        image = affine_transform(
            self._coefficients, matrix, offset, order=3, prefilter=False, mode="mirror"
        )
        lost = affine_transform(self._lost, matrix, offset, order=1, mode="constant", cval=1.0)
        return image, lost < 1e-6


class _Problem:
    """Two images and the way between them."""

    def __init__(
        self,
        first: Array,
        second: Array,
        first_mask: Mask,
        second_mask: Mask,
        centre: Array,
        rotate: bool,
    ) -> None:
        self.n_moves = 3 if rotate else 2
        self._shape, self._centre = first.shape, centre
        self._sides = (
            _Side(first, first_mask, centre, -0.5),
            _Side(second, second_mask, centre, 0.5),
        )
        self._root = 1.0
        self._scales: tuple[float, float, float] | None = None

    def linearised(self, parameters: Array, *, fixed: bool) -> FitSystem | None:
        """Return the equations at the parameters; None if too few pixels are in common.

        If `fixed`, flux ratio and scale of the errors stay what they were.
        """
        (first, seen), (second, also) = (side.moved(parameters) for side in self._sides)
        index = np.flatnonzero(seen & also)
        if len(index) < _MIN_PIXELS:
            return None
        one, two = first.flat[index], second.flat[index]
        one, two = one - np.median(one), two - np.median(two)
        if not fixed or self._scales is None:
            root = math.sqrt(robust_sigma(two) / (robust_sigma(one) or 1.0)) or 1.0
        else:
            root = self._root
        one, two = one * root, two / root
        # the slopes of both images alike
        grid_y, grid_x = np.gradient(0.5 * (first * root + second / root))
        # the flat top of a star is no better known than its sides
        steep = gaussian_filter(grid_x**2 + grid_y**2, _NEAR).flat[index]
        if not fixed or self._scales is None:
            self._root, self._scales = root, pixel_scales(one, two, steep)
        ratio, noise, excess = self._scales
        left = differences(one, two, ratio)
        weight = pixel_weights(left, noise + excess * steep)
        slope_x, slope_y = grid_x.flat[index], grid_y.flat[index]
        columns = [-slope_x, -slope_y]
        if self.n_moves == 3:
            rows, cols = np.divmod(index, self._shape[1])
            x, y = cols - self._centre[0], rows - self._centre[1]
            columns.append(slope_x * y - slope_y * x)
        design = np.stack([*columns, np.ones_like(one)], axis=1)
        error = 1.0 / math.sqrt(max(float(weight @ (one * two)), 1e-300))
        return FitSystem(index, design, left, weight, ratio * root**2, error * root**2)
