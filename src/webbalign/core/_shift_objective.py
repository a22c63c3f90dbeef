"""The sums of the shift fit as exact functions of the shift.

With S the science image, S_d the same moved by d = (dx, dy) px (periodically), T the PSF image and
w the weight, the fit needs N(d) = sum(w^2 T S_d) and D(d) = sum(w^2 S_d^2) with their derivatives.
Both are trigonometric polynomials in d. Those of N have the frequencies of the image and come from
the spectra of w^2 T and of S. S_d^2 has twice these frequencies; its spectrum is that of the square
of S interpolated to a grid twice as fine, which leaves nothing aliased:

    D(d) = sum_q A_q conj(W_q) exp(-i q d),   A = spectrum of S^2,   W = spectrum of w^2, periodic.

Both are therefore known exactly at any shift, without another transform.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from webbalign.core.fourier import real_inverse

__all__ = ["CellInterpolant", "SquaredImage", "TrigPolynomial", "conjugate_spectrum", "cross_sum"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Chebyshev nodes per axis, and half the width (px) of the square around a whole-pixel shift that
# they serve. The highest frequency is 2 pi per px, so J_22(2 pi 0.75) ~ 2e-14 bounds the relative
# error.
_NODES = 22
_CELL = 0.75
_NUMBERS = np.arange(float(_NODES))


class TrigPolynomial:
    """f(dx, dy) = Re sum_ji c[j, i] exp(-i (ky[j] dy + kx[i] dx)), with exact derivatives.

    Parameters
    ----------
    coefficients : numpy.ndarray
        Complex, shape (ky.size, kx.size).
    kx, ky : numpy.ndarray
        Frequencies in radians per px.
    nyquist : tuple of (int or None)
        Index into ky and into kx of the Nyquist frequency, whose phase is cos(pi d), if there is
        one. The coefficient that is Nyquist in both axes has the phase cos(pi (dx + dy)).
    """

    def __init__(
        self,
        coefficients: Complex,
        kx: Array,
        ky: Array,
        nyquist: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self._c = np.ascontiguousarray(coefficients)
        self._kx, self._ky = kx, ky
        self._nyquist = nyquist
        row, column = nyquist
        both = row is not None and column is not None
        self._corner = float(self._c[row, column].real) if both else 0.0

    def at(self, dx: float, dy: float) -> Array:
        """Return the derivatives at one shift: [a, b] is d^(a+b) f / ddy^a ddx^b, a, b <= 2."""
        py = _derivatives(self._ky, dy, self._nyquist[0])
        px = _derivatives(self._kx, dx, self._nyquist[1])
        values: Array = ((py @ self._c) @ px.T).real
        if self._corner:
            values -= self._corner * np.outer(_sine(dy), _sine(dx))
        return values

    def on_grid(self, dx: Array, dy: Array) -> Array:
        """Return the values (dy.size, dx.size) on a grid of shifts."""
        py = _phases(self._ky, dy, self._nyquist[0])
        px = _phases(self._kx, dx, self._nyquist[1])
        values: Array = ((py @ self._c) @ px.T).real
        if self._corner:
            values -= self._corner * np.outer(np.sin(np.pi * dy), np.sin(np.pi * dx))
        return values

    def on_whole_pixels(self, limit: int) -> Array:
        """Return the values at whole-pixel shifts, -limit to limit along y and along x.

        Shifts m and -m share the products with cos(m k) and sin(m k), which are real.
        """
        rows = _cosines_and_sines(self._ky.tobytes(), limit)
        products = (rows @ self._c.view(np.float64)).view(np.complex128)
        even, odd = products[: limit + 1], 1j * products[limit + 1 :]
        columns = np.concatenate([even[:0:-1] + odd[::-1], even[:1], even[1:] - odd])
        phases = _whole_phases(self._kx.tobytes(), limit, self._nyquist[1])
        # the sines of the corner vanish at whole pixels
        return np.ascontiguousarray((columns @ phases).real)


def _derivatives(k: Array, shift: float, nyquist: int | None) -> Complex:
    phases = np.empty((3, k.size), dtype=np.complex128)
    np.exp(-1j * shift * k, out=phases[0])
    np.multiply(phases[0], -1j * k, out=phases[1])
    np.multiply(phases[0], -k * k, out=phases[2])
    if nyquist is not None:
        cosine, sine = np.cos(np.pi * shift), np.sin(np.pi * shift)
        phases[:, nyquist] = cosine, -np.pi * sine, -(np.pi**2) * cosine
    return phases


def _sine(shift: float) -> Array:
    sine, cosine = np.sin(np.pi * shift), np.cos(np.pi * shift)
    return np.array([sine, np.pi * cosine, -(np.pi**2) * sine])


def _phases(k: Array, shifts: Array, nyquist: int | None) -> Complex:
    phases: Complex = np.exp(-1j * shifts[:, None] * k)
    if nyquist is not None:
        phases[:, nyquist] = np.cos(np.pi * shifts)
    return phases


@lru_cache(maxsize=8)
def _cosines_and_sines(k: bytes, limit: int) -> Array:
    """Return cos(m k) for m = 0..limit, then sin(m k) for m = 1..limit, one row each."""
    angles = np.arange(limit + 1)[:, None] * np.frombuffer(k)
    return np.concatenate([np.cos(angles), np.sin(angles[1:])])


@lru_cache(maxsize=8)
def _whole_phases(k: bytes, limit: int, nyquist: int | None) -> Complex:
    """Return the phases (frequencies, shifts) of the shifts -limit..limit."""
    shifts = np.arange(-limit, limit + 1.0)
    return np.ascontiguousarray(_phases(np.frombuffer(k), shifts, nyquist).T)


@lru_cache(maxsize=8)
def _frequencies(ny: int, nx: int) -> tuple[Array, Array]:
    """Frequencies (rad per px) of a half spectrum, along x and along y."""
    return 2 * np.pi * scipy.fft.rfftfreq(nx), 2 * np.pi * scipy.fft.fftfreq(ny)


def conjugate_spectrum(image: Array) -> Complex:
    """Return the conjugate half spectrum (ny, nx // 2 + 1) of an image, scaled for its sums.

    It serves the sums with many others.
    """
    ny, nx = image.shape
    spectrum: Complex = scipy.fft.rfft2(image, workers=1).conj()
    # the half spectrum stands for both signs of kx, but for 0 and Nyquist
    spectrum *= 1 / (ny * nx)
    spectrum[:, 1 : (nx + 1) // 2] *= 2
    return spectrum


def cross_sum(weighted: Complex, science: Complex, shape: tuple[int, int]) -> TrigPolynomial:
    """Return sum(U S_d) as a function of the shift d.

    Parameters
    ----------
    weighted : numpy.ndarray
        :func:`conjugate_spectrum` of U.
    science : numpy.ndarray
        Half spectrum of S, (ny, nx // 2 + 1).
    shape : tuple of int
        (ny, nx).
    """
    ny, nx = shape
    kx, ky = _frequencies(ny, nx)
    coefficients = weighted * science
    nyquist = (ny // 2 if ny % 2 == 0 else None, nx // 2 if nx % 2 == 0 else None)
    return TrigPolynomial(coefficients, kx, ky, nyquist)


class SquaredImage:
    """The square of an image at any shift, to be summed under any weight.

    Parameters
    ----------
    spectrum : numpy.ndarray
        Half spectrum (ny, nx // 2 + 1) of the image.
    shape : tuple of int
        (ny, nx).
    """

    def __init__(self, spectrum: Complex, shape: tuple[int, int]) -> None:
        ny, nx = self._shape = shape
        # products of frequencies up to n / 2 reach n; 2 n + 1 samples keep +n and -n apart
        my, mx = (scipy.fft.next_fast_len(2 * n + 1, real=True) for n in shape)
        image = real_inverse(self._refined(spectrum, my), (my, mx))
        image *= my * mx / (ny * nx)
        square = scipy.fft.rfft2(image * image, workers=1)
        rows = np.arange(-ny, ny + 1)
        self._rows, self._columns = rows % ny, np.arange(nx + 1) % nx
        self._coefficients = square[rows, : nx + 1] / (my * mx)
        self._coefficients[:, 1:] *= 2
        self._ky = 2 * np.pi * rows / ny
        self._kx = 2 * np.pi * np.arange(nx + 1) / nx

    def _refined(self, spectrum: Complex, my: int) -> Complex:
        """Return the half spectrum on `my` rows; Nyquist is shared out between both its signs."""
        ny, nx = self._shape
        positive, negative = (ny + 1) // 2, ny // 2
        fine = np.zeros((my, spectrum.shape[1]), dtype=np.complex128)
        fine[:positive] = spectrum[:positive]
        fine[my - negative :] = spectrum[positive:]
        if nx % 2 == 0:
            fine[:, nx // 2] /= 2
        if ny % 2 == 0:
            fine[-negative] /= 2
            fine[negative] = fine[-negative]
            if nx % 2 == 0:
                # cos(pi (dx + dy)) is made of (+, +) and (-, -) only
                fine[negative, nx // 2] *= 2
                fine[-negative, nx // 2] = 0
        return fine

    def summed(self, weight: Array) -> TrigPolynomial:
        """Return sum(weight * S_d^2) as a function of the shift d; weight is (ny, nx)."""
        spectrum = scipy.fft.fft2(weight, workers=1).conj()
        coefficients = spectrum[self._rows][:, self._columns]
        coefficients *= self._coefficients
        return TrigPolynomial(coefficients, self._kx, self._ky)


class CellInterpolant:
    """A trigonometric polynomial by Chebyshev interpolation, square by square, to rounding error.

    The square around each whole-pixel shift is prepared when it is first asked for; afterwards a
    value with its derivatives costs microseconds.
    """

    def __init__(self, function: TrigPolynomial) -> None:
        self._function = function
        self._cells: dict[tuple[int, int], Array] = {}
        nodes, self._to_coefficients, self._orders = _chebyshev(_NODES)
        self._nodes = _CELL * nodes

    def at(self, dx: float, dy: float) -> Array:
        """Return the derivatives as :meth:`TrigPolynomial.at` does."""
        centre = (round(dx), round(dy))
        if centre not in self._cells:
            values = self._function.on_grid(centre[0] + self._nodes, centre[1] + self._nodes)
            self._cells[centre] = self._to_coefficients @ values @ self._to_coefficients.T
        rows, columns = self._basis(dy - centre[1]), self._basis(dx - centre[0])
        return rows @ self._cells[centre] @ columns.T

    def on_whole_pixels(self, limit: int) -> Array:
        """Return the values as :meth:`TrigPolynomial.on_whole_pixels` does."""
        return self._function.on_whole_pixels(limit)

    def _basis(self, offset: float) -> Array:
        """Chebyshev polynomials at an offset from the cell's centre, and their two derivatives."""
        angle = math.acos(min(max(offset / _CELL, -1.0), 1.0))
        values: Array = np.cos(angle * _NUMBERS) @ self._orders
        return values


@lru_cache(maxsize=1)
def _chebyshev(count: int) -> tuple[Array, Array, Array]:
    """Return nodes, values -> coefficients, coefficients -> those of derivatives (per px)."""
    nodes: Array = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    weights = np.full((count, 1), 2 / count)
    weights[0] /= 2
    vander = np.polynomial.chebyshev.chebvander(nodes, count - 1).astype(np.float64)
    to_coefficients = weights * vander.T
    once = np.zeros((count, count))
    once[:-1] = np.polynomial.chebyshev.chebder(np.eye(count)) / _CELL
    return nodes, to_coefficients, np.stack([np.eye(count), once, once @ once])
