"""What goes with an image when it is shifted: its variance and its flags.

Both must not spread as an image does under the Fourier shift, whose kernel reaches over the whole
frame with both signs. They are carried by the (at most two per axis) pixels nearest to where a
pixel comes from. Public in :mod:`webbalign.core.fourier`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SparseFlags", "nearest_taps", "shift_flags", "shift_positive", "shift_variance"]

Array = NDArray[np.float64]
Index = tuple[slice, slice]

# An input pixel lends its flags to an output pixel if its interpolation weight reaches this.
_FLAG_WEIGHT = 0.1
# Up to this part of the pixels flags are moved one by one.
_FEW = 0.05
# Pixels by which the edges are continued for that.
_MARGIN = 12


def shift_variance(variance: ArrayLike, dx: float, dy: float) -> Array:
    """Return the variance of an image whose content is moved by (dx, dy) px.

    Parameters
    ----------
    variance : array_like
        Variance (ny, nx) of independent pixels. Values that are negative or not finite are unknown.
    dx, dy : float
        Shift in px.

    Returns
    -------
    numpy.ndarray
        Variance (ny, nx), never negative, in single precision if `variance` is. NaN only where
        every pixel that contributes is unknown, so for a fractional shift one unknown pixel leaves
        none. Beyond the edges the nearest row or column holds.

    Notes
    -----
    A Fourier shift is an interpolation with weights ``sinc(x - dx - y)``, which gives independent
    pixels the variance ``sum_y sinc^2(x - dx - y) var(y)``: white noise keeps its variance, since
    the squares add to one. The kernel is kept to the two nearest pixels of each axis and
    normalised; with ``f`` the fractional shift their weights are ``(1-f)^2`` and ``f^2`` over their
    sum.
    """
    variance = np.asarray(variance)
    if variance.dtype != np.float32:
        variance = variance.astype(np.float64, copy=False)
    known = np.isfinite(variance) & (variance >= 0)
    if known.all():
        return shift_positive(variance, dx, dy)
    weight = shift_positive(known.astype(variance.dtype), dx, dy)
    total = shift_positive(np.where(known, variance, variance.dtype.type(0)), dx, dy)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def nearest_taps(shift: float) -> list[tuple[int, float]]:
    """Return the whole-pixel shifts that make up a shift along an axis, with their weights.

    One or two; the formula is that of :func:`shift_variance`.
    """
    whole, part = _floor(shift)
    near, far = (1 - part) ** 2, part**2
    if not far:
        return [(whole, 1.0)]
    return [(whole, near / (near + far)), (whole + 1, far / (near + far))]


def shift_positive(image: Array, dx: float, dy: float) -> Array:
    """Return a non-negative map moved by (dx, dy) px: the formula of :func:`shift_variance`.

    Values may be infinite: what an infinite value contributes to is infinite.
    """
    for axis, shift in ((1, dx), (0, dy)):
        (whole, weight), *more = nearest_taps(shift)
        moved = _moved(image, whole, axis, weight)
        for whole, weight in more:
            moved += _moved(image, whole, axis, weight)
        image = moved
    return image


def _floor(shift: float) -> tuple[int, float]:
    if not np.isfinite(shift):
        raise ValueError(f"a shift must be finite; found {shift}")
    whole = int(np.floor(shift))
    part = shift - whole
    # a shift just below a whole pixel is that pixel to rounding
    return (whole, part) if part < 1 else (whole + 1, 0.0)


def _moved(image: NDArray, whole: int, axis: int, weight: float = 1.0) -> NDArray:
    """Return an array moved by whole pixels along an axis, times a weight; its edge is repeated."""
    out = np.empty_like(image)
    for to, of in _parts(image.shape[axis], whole, axis):
        if weight == 1.0:
            out[to] = image[of]
        else:
            np.multiply(image[of], image.dtype.type(weight), out=out[to])
    return out


def _parts(n: int, whole: int, axis: int) -> list[tuple[Index, Index]]:
    """Return where which pixels of an array go that is moved so along an axis of length `n`."""
    whole = min(max(whole, -n), n)
    if whole >= 0:
        parts = ((slice(whole, n), slice(n - whole)), (slice(whole), slice(1)))
    else:
        parts = ((slice(n + whole), slice(-whole, n)), (slice(n + whole, n), slice(n - 1, n)))
    everything = slice(None)
    return [
        ((to, everything), (of, everything)) if axis == 0 else ((everything, to), (everything, of))
        for to, of in parts
        if to.indices(n)[0] < to.indices(n)[1]
    ]


def shift_flags(dq: ArrayLike, dx: float, dy: float, *, outside: int = 0) -> NDArray:
    """Return the flags of an image whose content is moved by (dx, dy) px.

    Each output pixel carries the bits of all input pixels that contribute appreciably: of the (up
    to) four nearest to where it comes from, those with an interpolation weight ``sinc`` of at least
    0.1 in each axis.

    Parameters
    ----------
    dq : array_like of int
        Flags (ny, nx).
    dx, dy : float
        Shift in px.
    outside : int, optional
        Bits for output pixels that come from beyond the edge of the frame.

    Returns
    -------
    numpy.ndarray
        Flags (ny, nx), of the type of `dq`.
    """
    flags = np.array(dq)
    if not (outside or flags.any()):
        return flags
    for axis, shift in ((1, dx), (0, dy)):
        taps = _flag_taps(shift)
        moved = _moved(flags, taps[0], axis)
        for tap in taps[1:]:
            for to, of in _parts(flags.shape[axis], tap, axis):
                moved[to] |= flags[of]
        flags = moved
    if outside:
        flags = flags.copy()
        ny, nx = flags.shape
        # half a pixel beyond the centre of the edge pixel is still that pixel
        y, x = np.arange(ny) - dy, np.arange(nx) - dx
        flags[(y < -0.5) | (y > ny - 0.5)] |= flags.dtype.type(outside)
        flags[:, (x < -0.5) | (x > nx - 0.5)] |= flags.dtype.type(outside)
    return flags


def _flag_taps(shift: float) -> list[int]:
    """Return the whole-pixel shifts along an axis that carry flags, one or two."""
    whole, part = _floor(shift)
    near = ((whole, part), (whole + 1, 1 - part))
    return [tap for tap, distance in near if np.sinc(distance) >= _FLAG_WEIGHT]


class SparseFlags:
    """Flags of an image that is shifted many times: a few per cent of the pixels have some.

    Parameters
    ----------
    dq : numpy.ndarray
        Flags (ny, nx).
    """

    def __init__(self, dq: NDArray[Any]) -> None:
        self._dq = dq
        continued = np.pad(dq, _MARGIN, mode="edge")
        rows, columns = np.nonzero(continued)
        self._values = continued[rows, columns]
        # in an image with as much room again on each side, so that none is moved beyond its edge
        self._width = dq.shape[1] + 4 * _MARGIN
        self._places = (rows + _MARGIN) * self._width + columns + _MARGIN
        self._few = self._values.size < _FEW * dq.size

    def shifted(self, dx: float, dy: float, out: NDArray[Any]) -> None:
        """Put into `out` what :func:`shift_flags` returns."""
        if not self._few or max(abs(dx), abs(dy)) > _MARGIN - 1:
            out[:] = shift_flags(self._dq, dx, dy)
            return
        (ny, nx), edge = out.shape, 2 * _MARGIN
        wide = np.zeros((ny + 2 * edge) * self._width, self._dq.dtype)
        for j in _flag_taps(dy):
            for i in _flag_taps(dx):
                wide[self._places + (j * self._width + i)] |= self._values
        out[:] = wide.reshape(-1, self._width)[edge : edge + ny, edge : edge + nx]
