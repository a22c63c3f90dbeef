"""Sub-pixel shifts of images by the Fourier shift theorem, and of what goes with an image.

An image is moved by multiplying its spectrum with a phase, which interpolates a band-limited image
exactly. The transform takes the image as periodic; without care the left edge reappears at the
right one and a step between opposite edges rings. With ``padding`` the image is therefore continued
smoothly beyond its edges first. ``padding=0`` is the plain periodic shift, equal to
:func:`scipy.ndimage.fourier_shift` followed by taking the real part.

Everywhere: arrays are (ny, nx), a shift is ``(dx, dy)`` in pixels, x first, and positive shifts
move the content to larger index.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d

from webbalign.core._shift_taps import (
    SparseFlags,
    nearest_taps,
    shift_flags,
    shift_positive,
    shift_variance,
)

__all__ = [
    "DEFAULT_PADDING",
    "Shifter",
    "SparseFlags",
    "nearest_taps",
    "real_inverse",
    "shift_error",
    "shift_flags",
    "shift_image",
    "shift_phases",
    "shift_positive",
    "shift_variance",
]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Rows = slice | NDArray[np.intp]

DEFAULT_PADDING = 20

# Continuation beyond an edge: pixels over which its slope is measured, pixels over which that slope
# is carried on, and pixels along the edge over which it is averaged so that noise does not steer
# it.
_SLOPE_PIXELS = 8
_SLOPE_REACH = 4.0
_SLOPE_AVERAGE = 9


def shift_phases(n: int, shift: float, *, half: bool = False, order: int = 0) -> Complex:
    """Return the phases that shift a signal of `n` samples, with their derivatives.

    Parameters
    ----------
    n : int
        Number of samples.
    shift : float
        Shift in samples.
    half : bool, optional
        Give the non-negative frequencies only, as :func:`scipy.fft.rfft` orders them.
    order : int, optional
        Highest derivative with respect to `shift`.

    Returns
    -------
    numpy.ndarray
        Complex, shape (order + 1, n), or (order + 1, n // 2 + 1) with `half`.

    Notes
    -----
    The Nyquist frequency of an even `n` stands for the sum of both its signs, so its phase is the
    real ``cos(pi * shift)``; in two dimensions see :meth:`Shifter.shifted` for the one coefficient
    that is Nyquist in both axes.
    """
    rates = _rates(n, half)
    phases: Complex = np.exp(rates * shift)[None]
    if order:
        phases = rates ** np.arange(order + 1)[:, None] * phases
    if n % 2 == 0:
        orders = np.arange(order + 1)
        phases[:, n // 2] = np.pi**orders * np.cos(np.pi * (shift + orders / 2))
    return phases


@lru_cache(maxsize=16)
def _rates(n: int, half: bool) -> Complex:
    """Return by how much the phase of each frequency changes with the shift: -ik."""
    k = 2 * np.pi * np.arange(n // 2 + 1 if half else n) / n
    if not half:
        k[n // 2 + n % 2 :] -= 2 * np.pi
    return np.asarray(-1j * k, dtype=np.complex128)


def real_inverse(spectrum: Complex, shape: tuple[int, int], rows: Rows | None = None) -> Array:
    """Return the real image (ny, nx) of a half spectrum (ny, nx // 2 + 1), which is overwritten.

    The two passes one by one, the first in place: twice as fast as :func:`scipy.fft.irfft2`; and
    the second for some rows only, if they are given.
    """
    columns = scipy.fft.ifft(spectrum, axis=0, overwrite_x=True, workers=1)
    wanted = columns if rows is None else columns[rows]
    image: Array = scipy.fft.irfft(wanted, shape[1], axis=1, workers=1)
    return image


class Shifter:
    """One image, ready to be shifted many times: each shift costs one inverse transform.

    Parameters
    ----------
    image : array_like
        Image (ny, nx); all pixels must be finite.
    padding : int, optional
        Pixels by which the image is continued on each side before the transform, at least; 0 takes
        the image as periodic.
    single : bool, optional
        Transform back in single precision, in half the time: for images to be stored so. What that
        rounds is 1e-7 of the brightest pixel, and below 1e-6 of it everywhere.

    Raises
    ------
    ValueError
        If the image is not two-dimensional or holds a pixel that is not finite (one such pixel
        would spoil the whole shifted image).

    Notes
    -----
    The continuation mirrors the image at its edge and subtracts twice the local slope, so that
    value and slope carry on without a step or a kink and the noise stays as it is; the
    continuations of opposite edges are blended where they meet. Pixels moved in from beyond an edge
    show that continuation, farther out its last row or column: they are extrapolated, never wrapped
    around.
    """

    def __init__(
        self, image: ArrayLike, *, padding: int = DEFAULT_PADDING, single: bool = False
    ) -> None:
        image = np.asarray(image, dtype=np.float64)
        if image.ndim != 2:
            raise ValueError(f"an image has 2 dimensions; found {image.ndim}")
        if padding < 0:
            raise ValueError(f"padding is a number of pixels >= 0; found {padding}")
        if not np.isfinite(image).all():
            bad = image.size - np.count_nonzero(np.isfinite(image))
            raise ValueError(f"{bad} pixels are not finite; fill them before shifting")
        self.shape: tuple[int, int] = (image.shape[0], image.shape[1])
        # (before, usable) per axis: where the image begins, and how much of the pad may be shown
        self._begin = (0, 0)
        self._reach = (0, 0)
        self._padded = padding > 0
        if self._padded:
            extra = tuple(
                scipy.fft.next_fast_len(n + 2 * padding, real=True) - n for n in self.shape
            )
            self._begin = (extra[0] // 2, extra[1] // 2)
            self._reach = (extra[0] // 4, extra[1] // 4)
            image = _continue_rows(_continue_rows(image, extra[1]).T, extra[0]).T
        self._size: tuple[int, int] = (image.shape[0], image.shape[1])
        spectrum = scipy.fft.rfft2(image, workers=1)
        self._spectrum: Complex = spectrum.astype(np.complex64) if single else spectrum

    def shifted(self, dx: float, dy: float, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the image (ny, nx) with its content moved by (dx, dy) px; in `out`, if given."""
        whole, part = self._split(dx, dy)
        px, py = self._phases(part, 0)
        return self._window(self._moved(px[0], py[0], part), whole, out)

    def gradient(self, dx: float, dy: float) -> tuple[Array, Array, Array]:
        """Return the shifted image and its exact derivatives.

        Returns
        -------
        image, image_dx, image_dy : numpy.ndarray
            The image (ny, nx) moved by (dx, dy) px, and its derivatives with respect to dx and dy
            (per px; minus the gradient of the shifted image along x and y).
        """
        whole, part = self._split(dx, dy)
        px, py = self._phases(part, 1)
        image = self._moved(px[0], py[0], part)
        image_dx = self._moved(px[1], py[0], part, order=(1, 0))
        image_dy = self._moved(px[0], py[1], part, order=(0, 1))
        return (
            self._window(image, whole),
            self._window(image_dx, whole),
            self._window(image_dy, whole),
        )

    def _split(self, dx: float, dy: float) -> tuple[tuple[int, int], tuple[float, float]]:
        """Split a shift into whole pixels, moved by slicing, and the rest (all if periodic)."""
        if not (np.isfinite(dx) and np.isfinite(dy)):
            raise ValueError(f"a shift must be finite; found ({dx}, {dy})")
        if not self._padded:
            return (0, 0), (dx, dy)
        whole = (round(dx), round(dy))
        return whole, (dx - whole[0], dy - whole[1])

    def _phases(self, shift: tuple[float, float], order: int) -> tuple[Complex, Complex]:
        ny, nx = self._size
        return (
            shift_phases(nx, shift[0], half=True, order=order),
            shift_phases(ny, shift[1], order=order),
        )

    def _moved(
        self,
        phase_x: Complex,
        phase_y: Complex,
        shift: tuple[float, float],
        order: tuple[int, int] = (0, 0),
    ) -> Complex:
        """Return the spectrum of the shifted image, or of its derivative."""
        precision = self._spectrum.dtype
        spectrum: Complex = self._spectrum * phase_x.astype(precision)
        spectrum *= phase_y[:, None].astype(precision)
        ny, nx = self._size
        if ny % 2 == 0 and nx % 2 == 0:
            # Nyquist in both axes: the coefficient stands for (+, +) and (-, -) only, hence
            # cos(pi (dx + dy)), not the product of two cosines
            angle = np.pi * (shift[0] + shift[1]) + np.pi / 2 * sum(order)
            corner = self._spectrum[ny // 2, nx // 2]
            spectrum[ny // 2, nx // 2] = corner * np.pi ** sum(order) * np.cos(angle)
        return spectrum

    def _window(
        self, spectrum: Complex, whole: tuple[int, int], out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Transform back and cut the frame out of the padded image, moved by whole pixels."""
        image = real_inverse(spectrum, self._size, self._indices(0, whole[1]))
        image = image[:, self._indices(1, whole[0])]
        if out is None:
            return np.ascontiguousarray(image)
        out[:] = image
        return out

    def _indices(self, axis: int, whole: int) -> Rows:
        if not self._padded:
            return slice(None)
        n, begin, reach = self.shape[axis], self._begin[axis], self._reach[axis]
        if abs(whole) <= reach:
            return slice(begin - whole, begin - whole + n)
        first, last = begin - reach, begin + n - 1 + reach
        return np.clip(np.arange(begin - whole, begin - whole + n), first, last)


def _continue_rows(image: Array, extra: int) -> Array:
    """Continue the rows of an image smoothly by `extra` pixels, half of them at each end."""
    nx = image.shape[1]
    distance = np.arange(1, extra + 1)
    right = _mirrored(image[:, ::-1], distance)
    left = _mirrored(image, distance)[:, ::-1]
    # flat at both ends: what is next to an edge is that edge's own continuation
    t = np.clip(2 * (distance - 0.5) / extra - 0.5, 0.0, 1.0)
    weight = t**3 * (10 - 15 * t + 6 * t**2)
    pad = right + weight * (left - right)
    begin = extra // 2
    out = np.empty((image.shape[0], nx + extra))
    out[:, :begin] = pad[:, extra - begin :]
    out[:, begin : begin + nx] = image
    out[:, begin + nx :] = pad[:, : extra - begin]
    return out


def _mirrored(image: Array, distance: NDArray[np.intp]) -> Array:
    """Continue the rows of an image to the left of column 0, at the given distances."""
    inside = np.minimum(distance, image.shape[1] - 1)
    count = min(_SLOPE_PIXELS, image.shape[1])
    lever = np.arange(count) - (count - 1) / 2
    slope = image[:, :count] @ lever / max(lever @ lever, 1.0)
    slope = uniform_filter1d(slope, min(_SLOPE_AVERAGE, slope.size), mode="nearest")
    reach = _SLOPE_REACH * np.tanh(distance / _SLOPE_REACH)
    return image[:, inside] - 2 * slope[:, None] * reach


def shift_image(image: ArrayLike, dx: float, dy: float, *, padding: int = DEFAULT_PADDING) -> Array:
    """Return an image with its content moved by (dx, dy) px; see :class:`Shifter`."""
    return Shifter(image, padding=padding).shifted(dx, dy)


def shift_error(
    error: ArrayLike, dx: float, dy: float, *, how: str = "variance", padding: int = DEFAULT_PADDING
) -> Array:
    """Return the one-sigma errors of an image whose content is moved by (dx, dy) px.

    Parameters
    ----------
    error : array_like
        Errors (ny, nx).
    dx, dy : float
        Shift in px.
    how : {'variance', 'flux'}, optional
        ``variance``: by :func:`shift_variance`. ``flux``: shifted as if it were an image, which is
        what the jwst pipeline does; the result may be negative, and one NaN makes all of it NaN.
    padding : int, optional
        For ``flux``: see :class:`Shifter`.

    Returns
    -------
    numpy.ndarray
        Errors (ny, nx); for ``variance`` in the precision of `error`.
    """
    error = np.asarray(error)
    if how == "variance":
        return np.sqrt(shift_variance(error * error, dx, dy))
    error = error.astype(np.float64)
    if how != "flux":
        raise ValueError(f"errors are shifted as 'variance' or 'flux'; found {how!r}")
    if not np.isfinite(error).all():
        return np.full_like(error, np.nan)
    return shift_image(error, dx, dy, padding=padding)
