"""The telescope with its coronagraph, built with poppy and kept in the cache.

poppy (Perrin et al. 2012, doi:10.1117/12.925230) draws the segmented pupil, the Lyot stop, the
occulter and the wavefront errors. Only what the propagation needs is kept, as plain arrays, so that
a second simulation does not even import poppy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.simulate import aberrations
from webbalign.simulate.aberrations import GAP, PUPIL_WIDTH, SEGMENT, drift_modes, static_error
from webbalign.simulate.cache import cached_arrays
from webbalign.simulate.instruments import Instrument

__all__ = ["Optics", "mask_size", "optics_for", "poppy_system", "telescope_pupil"]

STRUT = 0.12  # m
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Optics:
    """A coronagraph sampled for its propagation.

    Attributes
    ----------
    wavelengths : ndarray (nwave,)
        m.
    pupil, lyot : ndarray (n, n)
        Amplitude transmission, axes (y, x).
    static : ndarray (n, n)
        Static wavefront error, m.
    modes : ndarray (nmodes, n, n)
        Shapes that drift, each with an rms of 1 over the pupil.
    masks : ndarray (nwave, m, m)
        Complex amplitude transmission of the occulter at the frequencies of an FFT of the pupil
        padded to m (frequency 0 first), axes (y, x).
    step : float
        Pupil sampling, m.
    """

    wavelengths: np.ndarray
    pupil: np.ndarray
    lyot: np.ndarray
    static: np.ndarray
    modes: np.ndarray
    masks: np.ndarray
    step: float


def optics_for(instrument: Instrument, nwave: int) -> Optics:
    """Return the optics of an instrument, from the cache if they have been drawn before.

    Parameters
    ----------
    instrument : Instrument
        Which coronagraph.
    nwave : int
        Number of wavelengths, at the middles of equal parts of the band.
    """
    low, high = instrument.band
    wavelengths = low + (np.arange(nwave) + 0.5) * (high - low) / nwave
    key = (
        # a telescope drawn by another version of these files is another telescope
        *(Path(file).read_bytes() for file in (__file__, aberrations.__file__)),
        instrument.mask,
        instrument.pupil_pixels,
        instrument.padding,
        instrument.lyot,
        instrument.rotation,
        instrument.band,
        nwave,
    )
    arrays = cached_arrays(f"optics-{instrument.name}", key, lambda: _draw(instrument, wavelengths))
    return Optics(wavelengths=wavelengths, step=PUPIL_WIDTH / instrument.pupil_pixels, **arrays)


def _draw(instrument: Instrument, wavelengths: np.ndarray) -> dict[str, np.ndarray]:
    n = instrument.pupil_pixels
    pupil = telescope_pupil(n, instrument.rotation)
    return {
        "pupil": pupil,
        "lyot": _sampled(_lyot(instrument), n),
        "static": static_error(pupil, instrument.rotation),
        "modes": drift_modes(pupil, instrument.rotation),
        "masks": np.stack([_mask(instrument, wavelength) for wavelength in wavelengths]),
    }


def telescope_pupil(n: int, rotation: float) -> np.ndarray:
    """Return the amplitude transmission (n, n) of the telescope, turned by `rotation` degrees."""
    return _sampled(_pupil(rotation), n)


def _pupil(rotation: float) -> Any:
    """Return the primary behind the struts of the secondary, as a poppy element."""
    import astropy.units as u
    import poppy

    segments = poppy.MultiHexagonAperture(
        rings=2, flattoflat=SEGMENT * u.m, gap=GAP * u.m, rotation=rotation
    )
    return _together([segments, _struts(rotation, 0.4, STRUT)], "primary")


def _lyot(instrument: Instrument) -> Any:
    """Return the pupil eroded from its outline, its centre and its struts, as a poppy element.

    What the occulter diffracts gathers along those edges.
    """
    import astropy.units as u
    import poppy

    stop = instrument.lyot
    # the primary's outline is a hexagon that stands on a corner
    elements = [
        poppy.HexagonAperture(flattoflat=stop.outline * u.m, rotation=instrument.rotation + 30),
        _struts(instrument.rotation, stop.center / 2, stop.strut),
    ]
    if stop.hole:
        elements.append(
            poppy.MultiCircularAperture(
                rings=2,
                segment_radius=stop.hole / 2 * u.m,
                gap=(stop.pitch - stop.hole) * u.m,
                rotation=instrument.rotation,
            )
        )
    return _together(elements, "Lyot stop")


def _struts(rotation: float, radius: float, width: float) -> Any:
    """Obscuration of a disk and three struts, one up and two down (angles from +y), in m."""
    import astropy.units as u
    import poppy

    return poppy.AsymmetricSecondaryObscuration(
        secondary_radius=radius * u.m,
        support_angle=(0, 150, 210),
        support_width=np.full(3, width) * u.m,
        rotation=rotation,
    )


def _together(elements: list[Any], name: str) -> Any:
    import astropy.units as u
    import poppy

    element = poppy.CompoundAnalyticOptic(elements, name=name)
    element.pupil_diam = PUPIL_WIDTH * u.m
    return element


def _sampled(element: Any, n: int) -> np.ndarray:
    """Transmission on n x n pixels, the edges grey."""
    fine = element.sample(npix=n * SUPERSAMPLING, grid_size=PUPIL_WIDTH)
    blocks = np.asarray(fine, np.float64).reshape(n, SUPERSAMPLING, n, SUPERSAMPLING)
    grey: np.ndarray = blocks.mean(axis=(1, 3)).astype(np.float32)
    return grey


def _occulter(instrument: Instrument) -> Any:
    import poppy

    if instrument.mask == "round":
        # 5.253 / arcsec: half transmission at 0.63 arcsec (Krist et al. 2010, MASK335R)
        return poppy.BandLimitedCoron(kind="circular", sigma=5.253, name="MASKA335R")
    import astropy.units as u

    return poppy.IdealFQPM(
        name="4QPM", wavelength=np.mean(instrument.band) * u.m, rotation=instrument.rotation
    )


def _mask(instrument: Instrument, wavelength: float) -> np.ndarray:
    """Amplitude transmission at the frequencies of the padded pupil's FFT, zero first."""
    import astropy.units as u

    size = mask_size(instrument)
    # One step of this FFT is wavelength / (padding * pupil). An odd number of samples has one in
    # the very centre; the last row and column, beyond the Nyquist frequency, are then dropped.
    step = np.rad2deg(wavelength / (instrument.padding * PUPIL_WIDTH)) * 3600
    # the 4QPM's edges are grey, since they are oblique; the round mask is smooth
    fine = 1 if instrument.mask == "round" else 3
    samples = _occulter(instrument).sample(
        wavelength=wavelength * u.m,
        npix=(size + 1) * fine,
        grid_size=(size + 1) * step,
        what="complex",
    )
    blocks = np.asarray(samples).reshape(size + 1, fine, size + 1, fine)
    return np.fft.ifftshift(blocks.mean(axis=(1, 3))[:size, :size]).astype(np.complex64)


def mask_size(instrument: Instrument) -> int:
    """Side of the padded pupil, px."""
    return round(instrument.padding * instrument.pupil_pixels)


def poppy_system(instrument: Instrument, fov_pixels: int) -> Any:
    """Return the same telescope as a ``poppy.OpticalSystem``, to check the propagation against.

    Its planes are the pupil, the occulter, the Lyot stop and the detector; the wavefront errors are
    left out.

    Parameters
    ----------
    instrument : Instrument
        Which coronagraph.
    fov_pixels : int
        Side of the image, which is centred on the mask.
    """
    import astropy.units as u
    import poppy

    # as poppy knows no grey edges in a focal plane, the oblique 4QPM needs finer steps there
    system = poppy.OpticalSystem(
        npix=instrument.pupil_pixels,
        oversample=4 if instrument.mask == "round" else 8,
        pupil_diameter=PUPIL_WIDTH * u.m,
    )
    system.add_pupil(_pupil(instrument.rotation))
    # half a pixel off, so that none of poppy's samples is on an edge of the 4QPM
    system.add_pupil(poppy.FQPM_FFT_aligner())
    system.add_image(_occulter(instrument))
    system.add_pupil(poppy.FQPM_FFT_aligner(direction="backward"))
    system.add_pupil(_lyot(instrument))
    system.add_detector(pixelscale=instrument.pixel_scale[0], fov_pixels=fov_pixels, oversample=1)
    return system
