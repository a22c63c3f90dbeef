"""From the pupil to the detector, fast enough for every integration of a sequence.

The field behind the occulter is the pupil's field convolved with the occulter's transform: two
small FFTs, exact for a band-limited mask once the padding exceeds the reach of its transform
(Kuchner & Traub 2002, doi:10.1086/339625). The Lyot stop's field then goes to the pixels by a
matrix Fourier transform (Soummer et al. 2007, doi:10.1364/OE.15.015935), which puts them where the
detector has them.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from webbalign.simulate.instruments import Instrument
from webbalign.simulate.optics import Optics, mask_size

__all__ = ["Propagator"]

ARCSEC = np.deg2rad(1 / 3600)


class Propagator:
    """Images of a point source behind the coronagraph.

    Parameters
    ----------
    instrument : Instrument
        Geometry of the detector.
    optics : Optics
        The sampled telescope.
    """

    def __init__(self, instrument: Instrument, optics: Optics) -> None:
        self._instrument = instrument
        self._optics = optics
        n = instrument.pupil_pixels
        self._size = mask_size(instrument)
        self._x = ((np.arange(n) - (n - 1) / 2) * optics.step).astype(np.float64)
        self._lyot = optics.lyot.astype(np.complex64)
        collected = float(np.sum((optics.pupil * optics.lyot).astype(np.float64) ** 2))
        self._kernels = [self._kernel(wavelength, collected) for wavelength in optics.wavelengths]
        self._response = self._pixel_response()

    def image(self, x: float, y: float, drift: np.ndarray) -> np.ndarray:
        """Image of a source of unit flux.

        Parameters
        ----------
        x, y : float
            0-based pixel at which the source would stand without the coronagraph.
        drift : ndarray (nmodes,)
            Amplitude of each drifting mode of the wavefront, m rms.

        Returns
        -------
        ndarray (ny, nx)
            Flux per pixel; its sum over all the sky would be 1 without the occulter.
        """
        optics = self._optics
        opd = optics.static + np.tensordot(drift.astype(np.float32), optics.modes, 1)
        center = self._instrument.mask_center
        scale = self._instrument.pixel_scale
        tilt_x = np.outer(np.ones_like(self._x), self._x) * ((x - center[0]) * scale[0] * ARCSEC)
        tilt_y = np.outer(self._x, np.ones_like(self._x)) * ((y - center[1]) * scale[1] * ARCSEC)
        path = opd + tilt_x + tilt_y
        image = np.zeros(self._instrument.shape)
        for index, wavelength in enumerate(optics.wavelengths):
            image += self._intensity(index, 2 * np.pi / wavelength * path)
        image /= len(optics.wavelengths)
        smeared = scipy.fft.rfft2(image) * self._response
        return np.maximum(scipy.fft.irfft2(smeared, s=image.shape), 0.0)

    def _intensity(self, index: int, phase: np.ndarray) -> np.ndarray:
        """Intensity (ny, nx) at one wavelength for a phase (n, n) in radians."""
        optics = self._optics
        n = len(self._x)
        field = optics.pupil * np.exp(1j * phase.astype(np.float32))
        # rows beyond the pupil are zero: transforming along x first leaves them out
        focal = scipy.fft.fft(field, self._size, axis=1)
        focal = scipy.fft.fft(focal, self._size, axis=0, overwrite_x=True)
        focal *= optics.masks[index]
        behind = scipy.fft.ifft(focal, axis=0, overwrite_x=True)[:n]
        behind = scipy.fft.ifft(behind, axis=1, overwrite_x=True)[:, :n] * self._lyot
        rows, columns = self._kernels[index]
        seen = rows @ behind @ columns
        return seen.real.astype(np.float64) ** 2 + seen.imag.astype(np.float64) ** 2

    def _kernel(self, wavelength: float, collected: float) -> tuple[np.ndarray, np.ndarray]:
        """Matrices (ny, n) and (n, nx) of the Fourier transform to the pixel centres."""
        instrument = self._instrument
        ny, nx = instrument.shape
        scale_x, scale_y = instrument.pixel_scale
        at_x = (np.arange(nx) - instrument.mask_center[0]) * scale_x * ARCSEC
        at_y = (np.arange(ny) - instrument.mask_center[1]) * scale_y * ARCSEC
        rows = np.exp(-2j * np.pi / wavelength * np.outer(at_y, self._x))
        columns = np.exp(-2j * np.pi / wavelength * np.outer(self._x, at_x))
        # Parseval: with this factor the flux over the whole sky is 1 if nothing is occulted
        pixel = np.sqrt(instrument.pixel_area) * ARCSEC * self._optics.step / wavelength
        rows *= pixel / np.sqrt(collected)
        return rows.astype(np.complex64), columns.astype(np.complex64)

    def _pixel_response(self) -> np.ndarray:
        """Transfer function (ny, nx // 2 + 1) of pixels that leak 0.5 % to each neighbour."""
        ny, nx = self._instrument.shape
        fy = scipy.fft.fftfreq(ny)[:, None]
        fx = scipy.fft.rfftfreq(nx)[None, :]
        leak = 0.005
        neighbours = 1 - leak * (4 - 2 * np.cos(2 * np.pi * fx) - 2 * np.cos(2 * np.pi * fy))
        return np.sinc(fx) * np.sinc(fy) * neighbours
