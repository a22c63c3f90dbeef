"""Which exposures a sequence has, where they point, and how their wavefront drifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from webbalign.simulate.instruments import Instrument
from webbalign.simulate.options import CoronSimulation

__all__ = ["PROGRAM", "Exposure", "plan"]

PROGRAM = "09999"
SCIENCE_TARGET = ("SIM-SCIENCE-STAR", 311.2897183, -31.3409)
REFERENCE_TARGET = ("SIM-REFERENCE-STAR", 313.6524, -30.7132)
FIRST_DAY = 61100.25  # MJD
FIRST_ROLL = 80.0
REFERENCE_ROLL = 83.0
SLEW = 0.05  # days between visits

# Small-grid dithers in mas (x, y): centre, diamond, corners.
STEP = {"nircam": (20.0, 15.0), "miri": (10.0, 10.0)}
DIRECTIONS = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1))


@dataclass(frozen=True)
class Exposure:
    """One exposure to be simulated.

    Attributes
    ----------
    root : str
        File name without its ``_calints.fits``.
    observation, number : int
        As in the file name.
    is_psf : bool
        Whether it shows the reference star.
    target : str
        Name of the star.
    position : tuple of float
        Right ascension and declination of the star, degrees.
    flux : float
        Of the star, Jy.
    roll : float
        Position angle of V3, degrees.
    dither : tuple of float
        Commanded (x, y) offset of the star, mas.
    dither_points : int
        Number of exposures of the dither.
    star : ndarray (nints, 2)
        Where the star is in each integration, 0-based (x, y) px.
    recorded : tuple of float
        0-based (x, y) px at which the exposure's WCS puts the star.
    wavefront : ndarray (nints, nmodes)
        Amplitude of each drifting mode, m rms.
    start : float
        MJD (UTC).
    """

    root: str
    observation: int
    number: int
    is_psf: bool
    target: str
    position: tuple[float, float]
    flux: float
    roll: float
    dither: tuple[float, float]
    dither_points: int
    star: np.ndarray
    recorded: tuple[float, float]
    wavefront: np.ndarray
    start: float

    @property
    def file_name(self) -> str:
        """Name of the file with the calibrated integrations."""
        return f"{self.root}_calints.fits"

    @property
    def nints(self) -> int:
        """Number of integrations."""
        return len(self.star)


def plan(options: CoronSimulation, instrument: Instrument, nmodes: int) -> list[Exposure]:
    """Return the science exposures, one visit each, and then the reference star's dithers.

    Parameters
    ----------
    options : CoronSimulation
        What is wanted.
    instrument : Instrument
        Geometry of the detector.
    nmodes : int
        Number of drifting modes of the wavefront.
    """
    rng = np.random.default_rng([options.seed, 1])
    scale = np.array(instrument.pixel_scale) * 1e3  # mas / px
    center = np.array(instrument.mask_center)
    step = options.wavefront_drift * 1e-9
    direction = rng.standard_normal(nmodes)
    direction /= np.linalg.norm(direction)

    exposures: list[Exposure] = []
    clock = FIRST_DAY
    for visit in range(options.nsci + 1):
        is_psf = visit == options.nsci
        acquired = options.target_acquisition * rng.standard_normal(2)
        misrecorded = options.wcs_error * rng.standard_normal(2)
        nints = options.ref_nints if is_psf else options.nints
        points = options.ref_dithers if is_psf else 1
        name, ra, dec = REFERENCE_TARGET if is_psf else SCIENCE_TARGET
        for number in range(points):
            dither = _dither(instrument, number)
            jitter = options.jitter * rng.standard_normal((nints, 2))
            pointing = acquired + dither
            walk = np.cumsum(rng.standard_normal((nints, nmodes)), axis=0) / np.sqrt(nints)
            wander = 0.1 * step / np.sqrt(nmodes) * (rng.standard_normal(nmodes) + walk)
            recorded = center + (pointing + misrecorded) / scale
            exposures.append(
                Exposure(
                    root=_root(visit + 1, number + 1, instrument),
                    observation=visit + 1,
                    number=number + 1,
                    is_psf=is_psf,
                    target=name,
                    position=(ra, dec),
                    flux=options.star_flux * (options.ref_flux_ratio if is_psf else 1.0),
                    roll=REFERENCE_ROLL if is_psf else FIRST_ROLL + visit * options.roll_angle,
                    dither=(float(dither[0]), float(dither[1])),
                    dither_points=points,
                    star=center + (pointing + jitter) / scale,
                    recorded=(float(recorded[0]), float(recorded[1])),
                    wavefront=wander + (step * direction if is_psf else 0.0),
                    start=clock,
                )
            )
            clock += _duration(instrument, nints) + 30.0 / 86400.0
        clock += SLEW
    return exposures


def _dither(instrument: Instrument, number: int) -> np.ndarray:
    """Offset (x, y) in mas of a point of the small grid."""
    straight, oblique = STEP[instrument.name]
    x, y = DIRECTIONS[number]
    return (oblique if x and y else straight) * np.array([x, y], float)


def _root(observation: int, number: int, instrument: Instrument) -> str:
    return f"jw{PROGRAM}{observation:03d}001_03107_{number:05d}_{instrument.detector}"


def _duration(instrument: Instrument, nints: int) -> float:
    """Days that the integrations of an exposure take."""
    return nints * (instrument.integration_time + instrument.overhead) / 86400.0
