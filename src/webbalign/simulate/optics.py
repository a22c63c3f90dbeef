"""The telescope with its coronagraph, built with poppy and kept in the cache.

poppy (Perrin et al. 2012, doi:10.1117/12.925230) draws the segmented pupil, the Lyot stop, the
occulter and the wavefront errors. Only what the propagation needs is kept, as plain arrays, so that
a second simulation does not even import poppy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from webbalign.simulate.cache import cached_arrays
from webbalign.simulate.instruments import Instrument

__all__ = ["Optics", "mask_size", "optics_for", "poppy_system"]

# What the sampled telescope depends on besides the instrument; raise it when this file changes.
VERSION = 1

PUPIL_WIDTH = 6.7  # m, a little more than the primary
SEGMENT = 1.32  # m, flat to flat
GAP = 0.01  # m
STRUT = 0.12  # m
STATIC_NM = 75.0  # rms of the static wavefront error
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
        VERSION,
        instrument.mask,
        instrument.pupil_pixels,
        instrument.padding,
        instrument.lyot,
        instrument.rotation,
        instrument.band,
        nwave,
    )
    arrays = cached_arrays(
        f"optics-{instrument.name}", key, lambda: _draw(instrument, wavelengths)
    )
    return Optics(
        wavelengths=wavelengths, step=PUPIL_WIDTH / instrument.pupil_pixels, **arrays
    )


def _draw(instrument: Instrument, wavelengths: np.ndarray) -> dict[str, np.ndarray]:
    n = instrument.pupil_pixels
    pupil = _sampled(_pupil(instrument), n)
    return {
        "pupil": pupil,
        "lyot": _sampled(_lyot(instrument), n),
        "static": _static(instrument, pupil),
        "modes": _modes(instrument, pupil),
        "masks": np.stack([_mask(instrument, wavelength) for wavelength in wavelengths]),
    }


def _pupil(instrument: Instrument) -> Any:
    """The primary behind the struts of the secondary, as a poppy element."""
    import astropy.units as u
    import poppy

    segments = poppy.MultiHexagonAperture(
        rings=2, flattoflat=SEGMENT * u.m, gap=GAP * u.m, rotation=instrument.rotation
    )
    return _together([segments, _struts(instrument, 0.4, STRUT)], "primary")


def _lyot(instrument: Instrument) -> Any:
    """The pupil eroded from its outline, its centre and its struts, as a poppy element.

    What the occulter diffracts gathers along those edges.
    """
    import astropy.units as u
    import poppy

    stop = instrument.lyot
    # the primary's outline is a hexagon that stands on a corner
    elements = [
        poppy.HexagonAperture(
            flattoflat=stop.outline * u.m, rotation=instrument.rotation + 30
        ),
        _struts(instrument, stop.center / 2, stop.strut),
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


def _struts(instrument: Instrument, radius: float, width: float) -> Any:
    """Obscuration of a disk and three struts, one up and two down (angles from +y), in m."""
    import astropy.units as u
    import poppy

    return poppy.AsymmetricSecondaryObscuration(
        secondary_radius=radius * u.m,
        support_angle=(0, 150, 210),
        support_width=np.full(3, width) * u.m,
        rotation=instrument.rotation,
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
    return blocks.mean(axis=(1, 3)).astype(np.float32)


def _segments(instrument: Instrument, n: int, pistons: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """OPD (n, n) of the 18 segments moved by pistons (18,) and tilts (18, 2), in m and rad."""
    import astropy.units as u
    import poppy

    mirror = poppy.dms.HexSegmentedDeformableMirror(
        rings=2,
        flattoflat=SEGMENT * u.m,
        gap=GAP * u.m,
        center=False,
        rotation=instrument.rotation,
    )
    for number, piston, (tip, tilt) in zip(mirror.segmentlist, pistons, tilts, strict=True):
        mirror.set_actuator(number, piston * u.m, tip * u.radian, tilt * u.radian)
    opd = mirror.sample(npix=n, grid_size=PUPIL_WIDTH, what="opd")
    return np.nan_to_num(np.asarray(opd, np.float64))


def _zernikes(n: int, coefficients: list[float]) -> np.ndarray:
    """Sum (n, n) of Noll's Zernike polynomials 1, 2, ... over the circle about the pupil."""
    import poppy

    opd = poppy.zernike.opd_from_zernikes(coefficients, npix=n, outside=0.0)
    return np.asarray(opd, np.float64)


def _ripples(n: int, index: float, seed: int) -> np.ndarray:
    """A random surface (n, n) whose power falls with frequency ** -index."""
    import astropy.units as u
    import poppy

    surface = poppy.wfe.StatisticalPSDWFE(
        index=index, wfe=1 * u.m, radius=PUPIL_WIDTH / 2 * u.m, seed=seed
    )
    return np.asarray(surface.sample(npix=n, grid_size=PUPIL_WIDTH, what="opd"), np.float64)


def _unit(opd: np.ndarray, pupil: np.ndarray) -> np.ndarray:
    """`opd` without its mean and tilt, with an rms of 1 over the pupil.

    Tilt is the pointing, which the simulation sets by itself.
    """
    y, x = np.indices(pupil.shape)
    inside = pupil > 0
    design = np.stack([np.ones(inside.sum()), x[inside], y[inside]], axis=1)
    weight = pupil[inside].astype(np.float64)
    root = np.sqrt(weight)
    solution, *_ = np.linalg.lstsq(design * root[:, None], opd[inside] * root, rcond=None)
    flat = np.where(inside, opd - solution[0] - solution[1] * x - solution[2] * y, 0.0)
    return flat / np.sqrt(np.average(flat[inside] ** 2, weights=weight))


def _static(instrument: Instrument, pupil: np.ndarray) -> np.ndarray:
    n = instrument.pupil_pixels
    rng = np.random.default_rng(18)
    segments = _segments(
        instrument, n, 30e-9 * rng.standard_normal(18), 60e-9 * rng.standard_normal((18, 2))
    )
    smooth = _zernikes(n, [0, 0, 0, 0.5, -0.7, 0.6, 0.4, -0.4, 0.3, -0.3, 0.5])
    shape = (
        0.6 * _unit(segments, pupil)
        + 0.4 * _unit(smooth, pupil)
        + 0.6 * _unit(_ripples(n, 2.2, 5), pupil)
    )
    return (STATIC_NM * 1e-9 * _unit(shape, pupil)).astype(np.float32)


def _modes(instrument: Instrument, pupil: np.ndarray) -> np.ndarray:
    """Segments' tilts, their pistons, the whole mirror's bending, and fine ripples."""
    n = instrument.pupil_pixels
    rng = np.random.default_rng(6)
    still = np.zeros((18, 2))
    shapes = [
        _segments(instrument, n, np.zeros(18), 1e-7 * rng.standard_normal((18, 2))),
        _segments(instrument, n, 1e-7 * rng.standard_normal(18), still),
        _zernikes(n, [0, 0, 0, 0.6, 0.6, -0.5, 0.3, 0.2]),
        _ripples(n, 1.8, 7),
    ]
    return np.stack([_unit(shape, pupil) for shape in shapes]).astype(np.float32)


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
    # One step of this FFT is wavelength / (padding * pupil). An odd number of samples has one in the
    # very centre; the last row and column, beyond the Nyquist frequency, are then dropped.
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


def poppy_system(instrument: Instrument) -> Any:
    """Return the same telescope as a ``poppy.OpticalSystem``, to check the propagation against.

    Its planes are the pupil, the occulter, the Lyot stop and the detector; the wavefront errors are
    left out.
    """
    import astropy.units as u
    import poppy

    system = poppy.OpticalSystem(npix=1024, oversample=4, pupil_diameter=PUPIL_WIDTH * u.m)
    system.add_pupil(_pupil(instrument))
    system.add_image(_occulter(instrument))
    system.add_pupil(_lyot(instrument))
    system.add_detector(pixelscale=instrument.pixel_scale[0], fov_arcsec=6.0, oversample=1)
    return system
