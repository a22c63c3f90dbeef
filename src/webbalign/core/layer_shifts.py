"""The places of several images of one field relative to their mean, and what their errors do to it.

The images (dithers of one visit on a common grid) differ by the jitter of the pointing, far less
than a pixel. All are compared with their mean at once: where only some of them overlap, the mean
itself is displaced by the jitter of those, which the equations take into account. The covariance
is a jackknife over blocks of the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate1d, gaussian_filter, shift

from webbalign.core._correlation_filters import Highpass, smoothed
from webbalign.core._fit_system import step_response
from webbalign.core._layer_equations import LayerEquations
from webbalign.core.correlation import CorrelationStatus

__all__ = ["LayerShifts", "layer_shifts", "move_layer"]

Array = NDArray[np.float64]
Layers = NDArray[np.float32]

_MAX_ITER = 8
_CONVERGED = 3e-4  # px
# px by which the layers are displaced at first
_START = 0.02
# px: beyond this the first two terms of a Taylor series are too few
_TAYLOR = 0.1
# px: jitter is far below; a larger step is a failed measurement, or no jitter
_LARGEST = 0.5
# derivative to the sixth order: differences of neighbours are 15 % too small on an undersampled PSF
_SLOPE = np.array([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / 60.0
_HIGHPASS, _BLOCK = 16.0, 32
# weights fall to a quarter at this many sigmas
_SOFT = 4.0
# px: slopes are averaged over such a neighbourhood where they stand for errors
_NEAR = 1.5
# share of the pixels whose slopes are below those that tell of displacements
_STEEP = 0.98
# common pixels to say anything
_MIN_PIXELS = 256
# errors that a shift may have at most, px
_WORST = 0.2


@dataclass(frozen=True, eq=False)
class LayerShifts:
    """Where the layers lie relative to their mean.

    Attributes
    ----------
    status : CorrelationStatus
        Shifts are zero unless it is OK.
    shifts : ndarray (n, 2)
        dx, dy (px, content to larger index); their sum is zero.
    cov : ndarray (2 n, 2 n)
        Of dx, dy of the first layer, of the second, and so on, px squared.
    centre : ndarray (2,)
        x, y, 0-based px: middle of the structure in the mean.
    place_cov : ndarray (3, 3)
        What these errors do to the place of the mean of the layers: covariance of dx, dy (px) at
        the centre and of its rotation (radians from x to y). A layer that is misplaced moves the
        part of the mean to which it contributes.
    """

    status: CorrelationStatus
    shifts: Array
    cov: Array = field(repr=False)
    centre: Array
    place_cov: Array = field(repr=False)


def layer_shifts(layers: Layers) -> LayerShifts:
    """Measure where each layer lies relative to the mean of all.

    Parameters
    ----------
    layers : ndarray (n, ny, nx)
        NaN where there is nothing; of one background level.
    """
    n = len(layers)
    nothing = _failed(CorrelationStatus.NO_OVERLAP, layers.shape)
    if n < 2 or np.count_nonzero(np.isfinite(layers).sum(axis=0) > 1) < _MIN_PIXELS:
        return nothing
    problem = _Problem(*_prepared(layers))
    if problem.n_pixels < _MIN_PIXELS:
        return nothing
    # started off the place, so that the first steps tell how far they fall short
    total = _START * np.stack([(-1.0) ** np.arange(n), (-1.0) ** (np.arange(n) // 2)], axis=1)
    total -= total.mean(axis=0)
    response, before = 1.0, None
    for _ in range(_MAX_ITER):
        equations = problem.linearised(total)
        step = equations.solution()
        if before is not None:
            response = step_response(before, step, response)
        before = step
        step = step / response
        total = total + step
        if not np.isfinite(total).all() or np.abs(total).max() > _LARGEST:
            return _failed(CorrelationStatus.AT_LIMIT, layers.shape)
        if np.abs(step).max() < _CONVERGED:
            break
    else:
        return _failed(CorrelationStatus.NOT_CONVERGED, layers.shape)
    cov = equations.jackknife() / response**2
    if not np.isfinite(cov).all() or np.sqrt(np.diag(cov).max()) > _WORST:
        return _failed(CorrelationStatus.NO_SIGNAL, layers.shape)
    # the filter acts under other masks: the equations alone do not keep the mean quite in place
    about_mean = np.kron(np.eye(n) - 1.0 / n, np.eye(2))
    total, cov = total - total.mean(axis=0), about_mean @ cov @ about_mean
    centre, effect = equations.effect()
    return LayerShifts(CorrelationStatus.OK, total, cov, centre, effect @ cov @ effect.T)


def _prepared(layers: Layers) -> tuple[Array, NDArray[np.bool_]]:
    """Smooth layers, and tell where they and their slopes may be used."""
    # an edge towards nothing must not be one of the size of the background
    level = float(np.nanmedian(layers[:, ::3, ::3]))
    soft, good = np.empty(layers.shape), np.empty(layers.shape, dtype=bool)
    for k, layer in enumerate(layers):
        mask = np.isfinite(layer)
        soft[k], near = smoothed(np.where(mask, layer - level, 0.0), mask)
        good[k] = binary_erosion(near, np.ones((3, 3)), border_value=0)
    return soft, good


def move_layer(image: Array, step: Array) -> Array:
    """Take a small displacement (dx, dy) px of the content back; finite pixels only."""
    if np.abs(step).max() > _TAYLOR:
        return np.asarray(shift(image, -step[::-1], order=3, mode="nearest"))
    along_x, along_y = slopes(image)
    return image + step[0] * along_x + step[1] * along_y


def slopes(image: Array) -> tuple[Array, Array]:
    """Return the derivatives (ny, nx) along x and y."""
    along_x, along_y = (
        np.asarray(correlate1d(image, _SLOPE, axis=axis, mode="nearest")) for axis in (1, 0)
    )
    return along_x, along_y


def _failed(status: CorrelationStatus, shape: tuple[int, ...]) -> LayerShifts:
    n, ny, nx = shape
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    return LayerShifts(status, np.zeros((n, 2)), np.zeros((2 * n,) * 2), middle, np.zeros((3, 3)))


class _Problem:
    """Smoothed layers and who shows what."""

    def __init__(self, layers: Array, good: NDArray[np.bool_]) -> None:
        self._layers, self._good = layers, good
        self._count = good.sum(axis=0)
        self._flat = [Highpass(mask & (self._count > 1), _HIGHPASS) for mask in good]
        self._slope: list[Array] | None = None
        self._index = np.flatnonzero(self._count > 0)
        self.n_pixels = int(np.count_nonzero(self._count > 1))
        rows, columns = np.divmod(self._index, layers.shape[2])
        across = layers.shape[2] // _BLOCK + 1
        code = (rows // _BLOCK) * across + columns // _BLOCK
        patterns = np.zeros(len(rows), dtype=np.intp)
        for mask in good:
            # new numbers at each layer: 2 ** n would not fit for many dithers
            patterns = 2 * patterns + mask.flat[self._index]
            _, patterns = _numbered(patterns)
        first, self._class = _numbered(code * (int(patterns.max()) + 1) + patterns)
        _, self._block = np.unique(code[first], return_inverse=True)
        self._seen = good.reshape(len(good), -1)[:, self._index[first]].T.astype(np.float64)
        size = np.bincount(self._class).astype(np.float64)
        self._place = np.stack([self._sum(columns) / size, self._sum(rows) / size], axis=1)

    def _sum(self, values: NDArray[np.generic]) -> Array:
        return np.bincount(self._class, values.astype(np.float64)).astype(np.float64)

    def linearised(self, moved: Array) -> LayerEquations:
        """Return the equations after displacements (n, 2) were taken back."""
        layers = [
            move_layer(a, step) if step.any() else a
            for a, step in zip(self._layers, moved, strict=True)
        ]
        # one layer at a time: full frames are large
        mean = np.zeros(self._count.shape)
        for layer, mask in zip(layers, self._good, strict=True):
            np.add(mean, layer, out=mean, where=mask)
        mean /= np.maximum(self._count, 1)
        grid_x, grid_y = slopes(mean)
        steep = gaussian_filter(grid_x**2 + grid_y**2, _NEAR).flat[self._index]
        left = np.empty((len(layers), len(self._index)))
        for one, flat in zip(left, self._flat, strict=True):
            one[:] = flat(layers.pop(0) - mean).flat[self._index]
        weight = self._weights(left, steep)
        if self._slope is None:
            # the filter of the deviations acts on what displacements make of them as well
            flat = Highpass(self._count > 0, _HIGHPASS)
            self._slope = [flat(grid).flat[self._index] for grid in (grid_x, grid_y)]
        slope = self._slope
        products = [[self._sum(weight * a * b) for b in slope] for a in slope]
        pulls = [[self._sum(weight * a * one) for a in slope] for one in left]
        return LayerEquations(
            self._block,
            self._place,
            self._seen,
            np.moveaxis(np.array(products), -1, 0),
            np.moveaxis(np.array(pulls), -1, 0),
        )

    def _weights(self, left: Array, steep: Array) -> Array:
        """Inverse variance of a pixel: of the noise, and of what grows with the slope."""
        count = self._count.flat[self._index]
        several = count > 1
        scatter = np.einsum("km,km->m", left, left) / np.maximum(count - 1, 1)
        flat = several & (steep <= float(np.median(steep)))
        noise = max(float(np.median(scatter[flat])) if flat.any() else 0.0, 1e-300)
        top = several & (steep >= float(np.quantile(steep, _STEEP)))
        excess = 0.0
        if top.any():
            slope = np.maximum(steep[top], 1e-300)
            excess = float(np.median(scatter[top] / slope)) - noise * float(np.median(1.0 / slope))
        variance = noise + max(excess, 0.0) * steep
        apart = np.maximum(left.max(axis=0), -left.min(axis=0)) ** 2 / np.where(
            several, 1.0 - 1.0 / np.maximum(count, 2), 1.0
        )
        return np.asarray(1.0 / variance / (1.0 + apart / variance / _SOFT**2) ** 2)


def _numbered(labels: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First occurrence of each label, and labels numbered 0, 1, ... in their order."""
    present = np.bincount(labels) > 0
    number = np.cumsum(present) - 1
    renamed = number[labels]
    first = np.zeros(int(present.sum()), dtype=np.intp)
    # the last one written is the first one of all
    first[renamed[::-1]] = np.arange(len(labels) - 1, -1, -1)
    return first, renamed
