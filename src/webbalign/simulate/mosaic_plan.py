"""Which exposures a mosaic has, where they point, and how wrong their headers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from webbalign.core.errors import OptionError
from webbalign.simulate.attitudes import attitude_matrix, moved_position, pointing_of
from webbalign.simulate.cameras import Band, Camera, camera_for, detectors_of, settings_of
from webbalign.simulate.frames import aberration, assemble, attitude, distortion
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.siaf import APERTURES, aperture_for

__all__ = ["PROGRAM", "Frame", "plan_mosaic"]

PROGRAM = "09998"
INVERSE_DEGREE = 9  # its error is below 1e-6 px on NIRCam's detectors, 2e-5 px on MIRI's
LARGEST_DITHER = 16.0  # arcsec
J2000 = 51544.5  # MJD
BETWEEN_EXPOSURES = 30.0 / 86400.0  # days
# Steps of a sequence that fills a square evenly however many of its points are used (Roberts 2018).
_EVEN = np.array([0.7548776662466927, 0.5698402909980532])
_INSTRUMENTS = ("nircam", "miri")


@dataclass(frozen=True)
class Frame:
    """One image of one detector.

    Attributes
    ----------
    camera : Camera
    number : int
        Of the frame in the simulation; it selects the noise.
    detector_number : int
        Of the detector; it selects the bad pixels.
    observation, visit, activity, exposure : int
        As in the file name, 1-based.
    dithers : int
        Exposures of the visit.
    start : float
        MJD (UTC).
    recorded, true : ndarray (3, 3)
        Attitude that the header tells, and the true one: unit vectors in (V2, V3) to the sky.
    misplaced : tuple of float
        By how much the detector is displaced from where the header puts it, px.
    """

    camera: Camera
    number: int
    detector_number: int
    observation: int
    visit: int
    activity: int
    exposure: int
    dithers: int
    start: float
    recorded: np.ndarray
    true: np.ndarray
    misplaced: tuple[float, float]

    @property
    def root(self) -> str:
        """File name without its ``_cal.fits``."""
        return (
            f"jw{PROGRAM}{self.observation:03d}{self.visit:03d}_021{self.activity:02d}"
            f"_{self.exposure:05d}_{self.camera.detector}"
        )

    @property
    def duration(self) -> float:
        """Days."""
        return (self.camera.integration_time + self.camera.overhead) / 86400.0

    @property
    def middle(self) -> float:
        """MJD (UTC) of the middle of the exposure."""
        return self.start + self.duration / 2

    @property
    def pointing(self) -> tuple[float, float, float]:
        """Recorded (ra, dec, roll) of the reference point, degrees."""
        return pointing_of(self.recorded, self.camera.v2v3)

    @cached_property
    def recorded_wcs(self) -> Any:
        """GWCS that the header holds."""
        return self._wcs(self.recorded, self.camera)

    @cached_property
    def true_wcs(self) -> Any:
        """GWCS by which the sky was put into the image."""
        x, y = self.camera.reference_pixel
        dx, dy = self.misplaced
        return self._wcs(self.true, replace(self.camera, reference_pixel=(x + dx, y + dy)))

    def _wcs(self, matrix: np.ndarray, camera: Camera) -> Any:
        ra, dec, roll = pointing_of(matrix, camera.v2v3)
        return assemble(
            camera,
            distortion(camera, camera.ideal_x, camera.ideal_y, INVERSE_DEGREE),
            aberration(camera),
            attitude(camera, (ra, dec), roll),
            camera.bounding_box,
        )


def plan_mosaic(options: MosaicSimulation) -> list[Frame]:
    """Return all frames of a mosaic, in the order in which they are taken.

    Raises
    ------
    OptionError
        If bands, detectors or magnitudes make no sense.
    """
    _check(options)
    frames: list[Frame] = []
    for instrument, settings in settings_of(options.bands).items():
        cameras = {band.name: _cameras(band, options) for setting in settings for band in setting}
        settings = [tuple(band for band in pair if cameras[band.name]) for pair in settings]
        frames += _instrument_frames(instrument, settings, cameras, options, len(frames))
    if not frames:
        raise OptionError(
            "option 'detectors' names none that sees one of the bands - give one that does"
        )
    return frames


def _check(options: MosaicSimulation) -> None:
    unknown = [
        name
        for name in options.detectors or ()
        if name.lower() not in (*APERTURES, "nrca5", "nrcb5")
    ]
    if unknown:
        raise OptionError(
            f"option 'detectors' names {', '.join(unknown)} - give some of {', '.join(APERTURES)}"
        )
    for name in ("magnitudes", "pointing_error"):
        low, high = getattr(options, name)
        if not low <= high:
            raise OptionError(f"option {name!r} is {low}, {high} - give the lower number first")


def _cameras(band: Band, options: MosaicSimulation) -> list[Camera]:
    return [
        camera_for(aperture_for(name).cut(options.size), band)
        for name in detectors_of(band, options.module, options.detectors)
    ]


def _instrument_frames(
    instrument: str,
    settings: Sequence[tuple[Band, ...]],
    cameras: dict[str, list[Camera]],
    options: MosaicSimulation,
    first: int,
) -> list[Frame]:
    everything = [camera for some in cameras.values() for camera in some]
    if not everything:
        return []
    rng = np.random.default_rng([options.seed, 11, _INSTRUMENTS.index(instrument)])
    corners = np.concatenate([_corners(camera) for camera in everything])
    boresight = (corners.min(axis=0) + corners.max(axis=0)) / 2
    extent = np.ptp(corners, axis=0)
    places = {camera.detector: rng.standard_normal(2) for camera in everything}
    offsets = _dithers(options, everything)
    clock = J2000 + (options.epoch - 2000.0) * 365.25
    frames: list[Frame] = []
    for visit in range(options.visits):
        pointing = _VisitPointing(options, visit, boresight, _tile(options, visit, extent), rng)
        start = clock + visit * options.visit_interval
        for (activity, setting), (exposure, offset) in product(
            enumerate(settings), enumerate(offsets)
        ):
            recorded, true = pointing.exposure(offset, rng)
            for camera in (camera for band in setting for camera in cameras[band.name]):
                error = places[camera.detector] * options.detector_error / 1e3
                frames.append(
                    Frame(
                        camera=camera,
                        number=first + len(frames),
                        detector_number=list(APERTURES).index(camera.detector),
                        observation=_INSTRUMENTS.index(instrument) + 1,
                        visit=visit + 1,
                        activity=activity + 1,
                        exposure=exposure + 1,
                        dithers=options.dithers,
                        start=start,
                        recorded=recorded,
                        true=true,
                        misplaced=tuple(error / camera.pixel_scale),
                    )
                )
            start += (frames[-1].duration + BETWEEN_EXPOSURES) if setting else 0.0
    return frames


class _VisitPointing:
    """Recorded and true attitudes of a visit's exposures."""

    def __init__(
        self,
        options: MosaicSimulation,
        visit: int,
        boresight: np.ndarray,
        tile: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self._jitter = options.jitter / 1e3
        self._boresight = (float(boresight[0]), float(boresight[1]))
        self._roll = options.roll + visit * options.roll_step
        # the mosaic's axes are those of the first visit
        self._centre = moved_position((options.ra, options.dec), tile, options.roll)
        low, high = options.pointing_error
        size, heading = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
        self._error = size * np.array([np.cos(heading), np.sin(heading)])
        self._roll_error = options.roll_error * rng.standard_normal()

    def exposure(
        self, offset: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Attitudes of an exposure, dithered by `offset` (arcsec along V2 and V3)."""
        position = moved_position(self._centre, offset, self._roll)
        error = self._error + self._jitter * rng.standard_normal(2)
        there = moved_position(position, error, self._roll)
        return (
            attitude_matrix(self._boresight, position, self._roll),
            attitude_matrix(self._boresight, there, self._roll + self._roll_error),
        )


def _corners(camera: Camera) -> np.ndarray:
    """(V2, V3) of the corners of a detector's valid part (4, 2), arcsec."""
    left, right, bottom, top = camera.valid
    x, y = np.array([left, left, right, right], float), np.array([bottom, top, top, bottom], float)
    to_angles = distortion(camera, camera.ideal_x, camera.ideal_y, 3)
    return np.stack(to_angles(x, y), axis=1)


def _tile(options: MosaicSimulation, visit: int, extent: np.ndarray) -> np.ndarray:
    columns, rows = options.tiles
    row, column = divmod(visit % (columns * rows), columns)
    steps = np.array([column - (columns - 1) / 2, row - (rows - 1) / 2])
    return steps * extent * (1.0 - options.tile_overlap)


def _dithers(options: MosaicSimulation, cameras: Sequence[Camera]) -> list[np.ndarray]:
    """Offsets along V2 and V3, arcsec; their parts of a pixel are as good as random."""
    width = options.dither_step
    if width is None:
        sides = [min(camera.shape) * min(camera.pixel_scale) for camera in cameras]
        width = min(LARGEST_DITHER, min(sides) / 3)
    return [width * ((0.5 + step * _EVEN) % 1.0 - 0.5) for step in range(options.dithers)]
