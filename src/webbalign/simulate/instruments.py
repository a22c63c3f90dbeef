"""The two coronagraphic settings that can be simulated, as constants.

Values are rounded from headers of flight data and from published instrument descriptions
(Krist et al. 2010, doi:10.1117/12.856488; Boccaletti et al. 2022, doi:10.1051/0004-6361/202244578).
They make plausible data; they are no calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["INSTRUMENTS", "Instrument", "LyotStop", "instrument_for"]


@dataclass(frozen=True)
class LyotStop:
    """An undersized pupil; all sizes in m.

    Attributes
    ----------
    outline : float
        Flat-to-flat size of the hexagon that is open.
    center : float
        Diameter of the disk in its centre that is not.
    strut : float
        Width of the three struts.
    hole, pitch : float
        If not 0, only round holes of this diameter are open, at this distance from one another.
    """

    outline: float
    center: float
    strut: float
    hole: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True)
class Instrument:
    """One instrument with one coronagraph.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx) of the subarray.
    corner : tuple of int
        1-based detector column and row of the first pixel of the subarray.
    mask_center : tuple of float
        0-based (x, y) of the centre of the coronagraph mask in the subarray, px.
    reference_pixel : tuple of float
        0-based (x, y) of the reference point of the aperture, px.
    pixel_scale : tuple of float
        Pixel size along x and y at the reference point, arcsec.
    distortion_x, distortion_y : dict
        Coefficients (power of x, power of y) -> arcsec / px**n beyond the linear terms.
    v2v3 : tuple of float
        V2 and V3 of the reference point, arcsec.
    v3_angle : float
        Angle from V3 to the y axis of the ideal frame, degrees.
    valid : tuple of int
        First and last valid column, first and last valid row (0-based, inclusive).
    band : tuple of float
        Shortest and longest wavelength, m.
    pupil_pixels, padding
        Sampling of the pupil and the factor by which it is padded to the coronagraph plane.
    lyot : LyotStop
        What is open in the pupil behind the mask.
    rotation : float
        Rotation of pupil and coronagraph on the detector, degrees.
    integration_time, overhead : float
        Of one integration, s.
    gain : float
        Electrons per DN.
    read_noise : float
        Noise of one integration that no photon causes, electrons.
    photmjsr : float
        MJy/sr per DN/s.
    sky : float
        Brightness of the sky whose photons are recorded, MJy/sr.
    background : float
        What of it is left in calibrated data, MJy/sr: MIRI's is subtracted with the help of
        exposures of the sky alone.
    flat_error : float
        Relative error of the flat field, rms.
    keywords : dict
        Data-model name -> value of what the headers say about all this.
    """

    name: str
    detector: str
    mask: str
    shape: tuple[int, int]
    corner: tuple[int, int]
    mask_center: tuple[float, float]
    reference_pixel: tuple[float, float]
    pixel_scale: tuple[float, float]
    distortion_x: dict[tuple[int, int], float]
    distortion_y: dict[tuple[int, int], float]
    v2v3: tuple[float, float]
    v3_angle: float
    valid: tuple[int, int, int, int]
    band: tuple[float, float]
    pupil_pixels: int
    padding: float
    lyot: LyotStop
    rotation: float
    integration_time: float
    overhead: float
    gain: float
    read_noise: float
    photmjsr: float
    sky: float
    background: float
    flat_error: float
    keywords: dict[str, Any]

    @property
    def pixel_area(self) -> float:
        """Nominal area of a pixel, arcsec^2."""
        return self.pixel_scale[0] * self.pixel_scale[1]


NIRCAM = Instrument(
    name="nircam",
    detector="nrcalong",
    mask="round",
    shape=(320, 320),
    corner=(492, 1502),
    mask_center=(149.9, 174.1),
    reference_pixel=(150.0, 174.0),
    pixel_scale=(0.06208, 0.06292),
    distortion_x={(2, 0): 1.3e-7, (1, 1): -4.6e-7, (0, 2): -1.1e-7, (3, 0): -6e-11},
    distortion_y={(2, 0): 4.6e-7, (1, 1): 2.4e-7, (0, 2): 4e-8, (0, 3): -5e-11},
    v2v3=(107.309332, -405.149897),
    v3_angle=0.05428612,
    valid=(0, 319, 0, 319),
    band=(3.14e-6, 3.98e-6),
    pupil_pixels=256,
    padding=1.5,
    lyot=LyotStop(outline=5.2, center=2.0, strut=0.6, hole=0.8, pitch=1.2),
    rotation=0.0,
    integration_time=28.864,
    overhead=1.069,
    gain=1.82,
    read_noise=10.0,
    photmjsr=2.602,
    sky=0.2,
    background=0.2,
    flat_error=5e-4,
    keywords={
        "instrument.name": "NIRCAM",
        "instrument.detector": "NRCALONG",
        "instrument.module": "A",
        "instrument.channel": "LONG",
        "instrument.filter": "F356W",
        "instrument.pupil": "MASKRND",
        "instrument.coronagraph": "MASKA335R",
        "subarray.name": "SUB320A335R",
        "subarray.fastaxis": -1,
        "subarray.slowaxis": 2,
        "exposure.type": "NRC_CORON",
        "exposure.readpatt": "SHALLOW2",
        "exposure.ngroups": 6,
        "exposure.nframes": 2,
        "exposure.groupgap": 3,
        "exposure.frame_time": 1.06904,
        "exposure.group_time": 5.3452,
        "aperture.name": "NRCA5_MASK335R",
        "aperture.pps_name": "NRCA5_MASK335R",
        "observation.template": "NIRCam Coronagraphic Imaging",
    },
)

MIRI = Instrument(
    name="miri",
    detector="mirimage",
    mask="4qpm",
    shape=(224, 288),
    corner=(1, 245),
    mask_center=(119.9, 112.2),
    reference_pixel=(119.75, 112.24),
    pixel_scale=(0.1105, 0.1099),
    distortion_x={(2, 0): 1.1e-6, (1, 1): -1.6e-6, (0, 2): 6e-7, (3, 0): 2e-10},
    distortion_y={(2, 0): -5e-7, (1, 1): 1.4e-6, (0, 2): -1.2e-6, (0, 3): 2e-10},
    v2v3=(-398.2, -415.9),
    v3_angle=4.83544897,
    valid=(13, 227, 7, 216),
    band=(11.0e-6, 11.6e-6),
    pupil_pixels=128,
    padding=4.0,
    lyot=LyotStop(outline=5.4, center=2.2, strut=0.6),
    rotation=-4.8,
    integration_time=59.92,
    overhead=0.24,
    gain=3.9,
    read_noise=12.0,
    photmjsr=0.62,
    sky=15.0,
    background=0.3,
    flat_error=5e-4,
    keywords={
        "instrument.name": "MIRI",
        "instrument.detector": "MIRIMAGE",
        "instrument.filter": "F1140C",
        "instrument.coronagraph": "4QPM_1140",
        "subarray.name": "MASK1140",
        "subarray.fastaxis": 1,
        "subarray.slowaxis": 2,
        "exposure.type": "MIR_4QPM",
        "exposure.readpatt": "FASTR1",
        "exposure.ngroups": 250,
        "exposure.nframes": 1,
        "exposure.groupgap": 0,
        "exposure.frame_time": 0.23968,
        "exposure.group_time": 0.23968,
        "aperture.name": "MIRIM_MASK1140",
        "aperture.pps_name": "MIRIM_MASK1140",
        "observation.template": "MIRI Coronagraphic Imaging",
    },
)

INSTRUMENTS = {"nircam": NIRCAM, "miri": MIRI}


def instrument_for(name: str, shape: tuple[int, ...] | None = None) -> Instrument:
    """Return an instrument, cut out about its mask centre when a smaller shape is asked for.

    Parameters
    ----------
    name : str
        ``nircam`` or ``miri``.
    shape : tuple of int, optional
        (ny, nx), at most the shape of the subarray.
    """
    whole = INSTRUMENTS[name]
    if shape is None:
        return whole
    ny, nx = (min(size, limit) for size, limit in zip(shape, whole.shape, strict=True))
    x0 = _first(whole.mask_center[0], nx, whole.shape[1])
    y0 = _first(whole.mask_center[1], ny, whole.shape[0])
    left, right, bottom, top = whole.valid
    return replace(
        whole,
        shape=(ny, nx),
        corner=(whole.corner[0] + x0, whole.corner[1] + y0),
        mask_center=(whole.mask_center[0] - x0, whole.mask_center[1] - y0),
        reference_pixel=(whole.reference_pixel[0] - x0, whole.reference_pixel[1] - y0),
        valid=(
            max(left - x0, 0),
            min(right - x0, nx - 1),
            max(bottom - y0, 0),
            min(top - y0, ny - 1),
        ),
    )


def _first(center: float, size: int, limit: int) -> int:
    """First pixel of `size` pixels about a centre that stay within 0 .. limit - 1."""
    return min(max(round(center - (size - 1) / 2), 0), limit - size)
