"""Sub-pixel shift and rotation between two images by Gauss-Newton iteration, with its covariance.

The second image is brought to the first by cubic splines and compared with it; a flux ratio and an
offset are fitted along. Each pixel's error is that of the background plus one that grows with the
slope of the image there, both found from what is left: stars that are sampled differently in the
two images, or that saturate, then count by their number and not by their flux. The covariance is a
jackknife over blocks, so that it needs no model of how the residuals are correlated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter, spline_filter

from webbalign.core._correlation_filters import robust_sigma

__all__ = ["ImageFit", "fit_images", "step_response"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MAX_ITER = 25
# steps after which the scale of the errors stays: a weight that follows its own residuals may cycle
_SETTLING = 6
# px; a rotation counts by what it does at the edge
_CONVERGED = 1e-4
# px by which the images are displaced at first
_START = 0.05
# part of the way that a step makes at least
_LEAST_RESPONSE = 0.3
# weights fall to a quarter at this many sigmas, to nothing far beyond
_SOFT = 4.0
# pixels to fit to, at least
_MIN_PIXELS = 64
# slopes (sigmas per px) that tell of displacements, and pixels to take at least
_STEEP, _STEEP_PIXELS = 10.0, 200
# px: slopes are averaged over such a neighbourhood where they stand for errors
_NEAR = 1.5
# squared residual over variance at the median of a normal distribution
_MEDIAN_CHI2 = 0.4549


@dataclass(frozen=True, eq=False)
class ImageFit:
    """Result of `fit_images`.

    Attributes
    ----------
    shift : ndarray (2,)
        dx, dy in px at the centre.
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
        x, y of the point about which the rotation turns, 0-based px of the first image.
    rotate : bool
        Whether a rotation is fitted.
    block : int
        Side of the blocks of the jackknife, px.
    """
    problem = _Problem(first, second, first_mask, second_mask, centre, rotate)
    # started off the place, so that the first steps tell how far they fall short
    parameters, converged, steps = start.astype(float) + np.array([_START, -_START, 0.0]), False, 0
    system: _System | None = None
    n = problem.n_moves
    metric = np.array([1.0, 1.0, 0.5 * float(np.hypot(*first.shape))])[:n]
    response, before = 1.0, None
    while steps < _MAX_ITER and not converged:
        steps += 1
        system = problem.linearised(parameters, fixed=steps > _SETTLING)
        if system is None:
            break
        step = system.step()[:n]
        if before is not None and steps == 2:
            response = step_response(before * metric, step * metric)
        before = step
        parameters[:n] += step / response
        converged = bool((np.abs(step / response) * metric).max() < _CONVERGED)
        if not np.isfinite(parameters).all():
            break
    if system is None or not np.isfinite(parameters).all():
        return _nothing(start, steps)
    cov, n_blocks = system.jackknife(block, first.shape[1])
    full = np.zeros((3, 3))
    full[:n, :n] = cov[:n, :n] / response**2
    return ImageFit(
        shift=parameters[:2],
        rotation=float(parameters[2]),
        cov=full,
        flux_ratio=system.ratio,
        flux_ratio_error=system.ratio_error,
        n_pixels=len(system.residual),
        n_blocks=n_blocks,
        n_iter=steps,
        converged=converged,
    )


def step_response(first: Array, second: Array) -> float:
    """Return the part of the way that a step makes, from two steps in a row.

    The slopes are those of images with noise, which no displacement of the true image follows:
    steps are too short, and the errors of a linear fit too small, by the same factor.
    """
    left = float(np.vdot(first, second)) / max(float(np.vdot(first, first)), 1e-300)
    return min(max(1.0 - left, _LEAST_RESPONSE), 1.2)


def _nothing(start: Array, steps: int) -> ImageFit:
    nan = float("nan")
    unknown = np.full((3, 3), np.nan)
    return ImageFit(np.full(2, nan), float(start[2]), unknown, nan, nan, 0, 0, steps, False)


@dataclass(frozen=True, eq=False)
class _System:
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
        return cov / np.outer(scale, scale), number


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
        self._first = first
        self._mask = first_mask
        self._centre = centre
        self._slope = _gradient(first)
        self._coefficients = spline_filter(second, order=3, mode="mirror")
        # a spline reaches two pixels, its prefilter fades within them
        self._lost = binary_dilation(~second_mask, np.ones((3, 3)), border_value=1).astype(float)
        self._scales: tuple[float, float, float] | None = None

    def linearised(self, parameters: Array, *, fixed: bool) -> _System | None:
        """Return the equations at the parameters; None if too few pixels are in common.

        If `fixed`, flux ratio and scale of the errors stay what they were.
        """
        dx, dy, angle = parameters
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, sin], [-sin, cos]])
        middle = self._centre[::-1]
        offset = middle + np.array([dy, dx]) - matrix @ middle
        moved = affine_transform(
            self._coefficients, matrix, offset, order=3, prefilter=False, mode="mirror"
        )
        lost = affine_transform(self._lost, matrix, offset, order=1, mode="constant", cval=1.0)
        index = np.flatnonzero(self._mask & (lost < 1e-6))
        if len(index) < _MIN_PIXELS:
            return None
        one, two = self._first.flat[index], moved.flat[index]
        one, two = one - np.median(one), two - np.median(two)
        ratio = robust_sigma(two) / (robust_sigma(one) or 1.0)
        # the slopes of both images alike, so that which one is first does not matter
        grid_y, grid_x = (
            0.5 * (ratio * s1 + s2) for s1, s2 in zip(self._slope, _gradient(moved), strict=True)
        )
        # the flat top of a star is no better known than its sides
        steep = gaussian_filter(grid_x**2 + grid_y**2, _NEAR).flat[index]
        if not fixed or self._scales is None:
            self._scales = _scales(one, two, steep)
        ratio, noise, excess = self._scales
        weight = _weights(two - ratio * one, noise + excess * steep)
        slope_x, slope_y = grid_x.flat[index], grid_y.flat[index]
        columns = [-slope_x, -slope_y]
        if self.n_moves == 3:
            rows, cols = np.divmod(index, self._first.shape[1])
            x, y = cols - self._centre[0], rows - self._centre[1]
            columns.append(slope_x * y - slope_y * x)
        design = np.stack([*columns, np.ones_like(one)], axis=1)
        error = 1.0 / math.sqrt(max(float(weight @ one**2), 1e-300))
        return _System(index, design, two - ratio * one, weight, ratio, error)


def _gradient(image: Array) -> tuple[Array, Array]:
    """Return the derivatives along rows and columns, in that order of the axes."""
    along_y, along_x = (np.asarray(part, dtype=np.float64) for part in np.gradient(image))
    return along_y, along_x


def _weights(left: Array, variance: Array) -> Array:
    """Return inverse variances, outliers weighed down."""
    return np.asarray(1.0 / variance / (1.0 + left**2 / variance / _SOFT**2) ** 2)


def _scales(one: Array, two: Array, steep: Array) -> tuple[float, float, float]:
    """Return the flux ratio, and the two parts of the variance of each pixel.

    The variance is that of flat parts, plus the square of the slope (`steep`) times that of an
    unknown displacement of each piece of the image; both from the residuals themselves.
    """
    flat = steep <= float(np.median(steep))
    quiet = robust_sigma(one[flat])
    noise_ratio = (robust_sigma(two[flat]) / quiet) ** 2 if quiet > 0 else 1.0
    # where there is structure: elsewhere the ratio is that of the noise
    telling = (steep / (steep + 4.0 * float(np.median(steep)) + 1e-300)) ** 2
    ratio = _ratio(one, two, telling / (steep + 1e-300), noise_ratio)
    noise = excess = 0.0
    for _ in range(2):
        left = two - ratio * one
        least = 1e-12 * float(np.mean(one**2) * ratio**2) + 1e-300
        noise = max(robust_sigma(left[flat]) ** 2, least)
        excess = _excess(left**2, steep, noise)
        weight = _weights(left, noise + excess * steep)
        ratio = _ratio(one, two, weight * telling, noise_ratio)
    return ratio, noise, excess


def _excess(squared: Array, steep: Array, noise: float) -> float:
    """Variance (px squared) of the displacement of the steepest parts, beyond the noise."""
    # where the slope says more than the noise, if there is such a place
    number = max(int(np.count_nonzero(steep > _STEEP**2 * noise)), min(_STEEP_PIXELS, len(steep)))
    rows = np.argpartition(steep, len(steep) - number)[len(steep) - number :]
    slope = np.maximum(steep[rows], 1e-300)
    typical = float(np.median(squared[rows] / slope)) / _MEDIAN_CHI2
    return max(typical - noise * float(np.median(1.0 / slope)), 0.0)


def _ratio(one: Array, two: Array, weight: Array, noise_ratio: float) -> float:
    """Slope of two against one, both with errors (Deming), through their means.

    `noise_ratio` is the variance of two over that of one. A plain regression would take the noise
    of the first image for structure; the ratio would be low, and what is left of the image pulls.
    """
    total = weight.sum()
    one, two = one - weight @ one / total, two - weight @ two / total
    weighted = weight * one
    own, cross, other = weighted @ one, weighted @ two, (weight * two) @ two
    if not cross > 0:
        return 0.0
    gap = other - noise_ratio * own
    return float((gap + np.sqrt(gap**2 + 4 * noise_ratio * cross**2)) / (2 * cross))
