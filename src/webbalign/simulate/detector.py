"""What the detector makes of a noiseless scene: known noise, cosmic rays, bad pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["CosmicRays", "Detector", "Imperfections", "Readout", "Recorded"]

DO_NOT_USE, JUMP_DET, DEAD, HOT, NON_SCIENCE = 1, 4, 1024, 2048, 512
# Columns and rows at which four-connected tracks go on.
STEPS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
LONGEST_TRACK = 5
JUMPS = 5e-3  # fraction of pixels in which the jump detection found something


class Readout(Protocol):
    """What the detector needs to know; see `Instrument`."""

    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def valid(self) -> tuple[int, int, int, int]: ...  # noqa: D102

    @property
    def integration_time(self) -> float: ...  # noqa: D102

    @property
    def gain(self) -> float: ...  # noqa: D102

    @property
    def read_noise(self) -> float: ...  # noqa: D102

    @property
    def photmjsr(self) -> float: ...  # noqa: D102

    @property
    def sky(self) -> float: ...  # noqa: D102

    @property
    def background(self) -> float: ...  # noqa: D102

    @property
    def flat_error(self) -> float: ...  # noqa: D102


class Imperfections(Protocol):
    """What is wrong with a detector; see `CoronSimulation`."""

    @property
    def seed(self) -> int: ...  # noqa: D102

    @property
    def bad_pixels(self) -> float: ...  # noqa: D102

    @property
    def cosmic_rays(self) -> float: ...  # noqa: D102

    @property
    def background(self) -> float | None: ...  # noqa: D102

    @property
    def noise(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class CosmicRays:
    """What cosmic rays added, pixel by pixel.

    Attributes
    ----------
    integration, y, x : ndarray (n,)
        0-based.
    flux : ndarray (n,)
        MJy/sr.
    """

    integration: np.ndarray
    y: np.ndarray
    x: np.ndarray
    flux: np.ndarray


@dataclass(frozen=True)
class Recorded:
    """Integrations as the calibrated file holds them, axes (integration, y, x).

    Attributes
    ----------
    data, err : ndarray
        MJy/sr; NaN where nothing was measured.
    dq : ndarray of uint32
        JWST's flags.
    poisson, read, flat : ndarray
        The three parts of err ** 2.
    cosmic_rays : CosmicRays
        Those that the jump detection missed.
    """

    data: np.ndarray
    err: np.ndarray
    dq: np.ndarray
    poisson: np.ndarray
    read: np.ndarray
    flat: np.ndarray
    cosmic_rays: CosmicRays


class Detector:
    """A detector with its own flat-field error and bad pixels.

    Parameters
    ----------
    instrument : Readout
        Gain, read noise, photometric calibration, valid region.
    options : Imperfections
        Fractions, and the seed.
    """

    def __init__(self, instrument: Readout, options: Imperfections) -> None:
        self._instrument = instrument
        self._options = options
        rng = np.random.default_rng([options.seed, 2])
        self._flat = 1.0 + instrument.flat_error * rng.standard_normal(instrument.shape)
        kind = rng.random(instrument.shape)
        bad = kind < options.bad_pixels
        hot = kind < 0.3 * options.bad_pixels
        left, right, bottom, top = instrument.valid
        outside = np.ones(instrument.shape, bool)
        outside[bottom : top + 1, left : right + 1] = False
        self._hot = hot & ~outside
        self._lost = (bad & ~hot) | outside
        self._dq = np.zeros(instrument.shape, np.uint32)
        self._dq[bad] = DO_NOT_USE | DEAD
        self._dq[hot] = DO_NOT_USE | HOT
        self._dq[outside] = DO_NOT_USE | NON_SCIENCE

    def expose(self, scene: np.ndarray, number: int) -> Recorded:
        """Record an exposure.

        Parameters
        ----------
        scene : ndarray (nints, ny, nx)
            Noiseless surface brightness without the sky, MJy/sr.
        number : int
            Of the exposure in the sequence; each has noise of its own.

        Returns
        -------
        Recorded
            ``err`` holds the standard deviation of the noise that was really added.
        """
        instrument = self._instrument
        rng = np.random.default_rng([self._options.seed, 3, number])
        # MJy/sr per electron of one integration
        unit = instrument.photmjsr / (instrument.gain * instrument.integration_time)
        bright = scene + instrument.sky
        poisson = bright * unit
        read = np.full(scene.shape, (instrument.read_noise * unit) ** 2)
        flat = (instrument.flat_error * bright) ** 2
        if self._options.noise:
            counts = rng.poisson(bright * self._flat / unit).astype(np.float64)
            counts += instrument.read_noise * rng.standard_normal(scene.shape)
            data = counts * unit
        else:
            data = bright
        left = self._options.background
        data -= instrument.sky - (instrument.background if left is None else left)
        rays = self._cosmic_rays(rng, scene.shape, unit)
        np.add.at(data, (rays.integration, rays.y, rays.x), rays.flux)
        recorded = Recorded(
            data,
            np.sqrt(poisson + read + flat),
            self._flags(rng, scene.shape),
            poisson,
            read,
            flat,
            rays,
        )
        self._spoil(recorded, rng)
        return recorded

    def _flags(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        dq = np.broadcast_to(self._dq, shape).copy()
        dq[(rng.random(shape) < JUMPS) & (dq == 0)] |= JUMP_DET
        return dq

    def _spoil(self, recorded: Recorded, rng: np.random.Generator) -> None:
        """Put into bad pixels what they show: nothing at all, or a wild value."""
        count = int(self._hot.sum())
        for index in range(len(recorded.data)):
            recorded.data[index][self._hot] += 20.0 * rng.standard_exponential(count)
        for array in (recorded.data, recorded.err, recorded.poisson, recorded.read, recorded.flat):
            array[:, self._lost] = np.nan

    def _cosmic_rays(
        self, rng: np.random.Generator, shape: tuple[int, ...], unit: float
    ) -> CosmicRays:
        """Short tracks whose energies are spread over two decades."""
        nints, ny, nx = shape
        mean_length = (1 + LONGEST_TRACK) / 2
        count = rng.poisson(self._options.cosmic_rays * nints * ny * nx / mean_length)
        integration = rng.integers(0, nints, count)
        xy = np.stack([rng.integers(0, nx, count), rng.integers(0, ny, count)], axis=1)
        lengths = rng.integers(1, LONGEST_TRACK + 1, count)
        energy = 10 ** rng.uniform(2.0, 4.0, count)  # electrons per pixel
        heading = STEPS[rng.integers(0, 4, count)]
        hits = []
        for step in range(LONGEST_TRACK):
            alive = (lengths > step) & np.all((xy >= 0) & (xy < (nx, ny)), axis=1)
            share = energy * rng.uniform(0.3, 1.0, count)
            hits.append((integration[alive], xy[alive], share[alive]))
            turn = rng.random(count) < 0.3
            heading = np.where(turn[:, None], STEPS[rng.integers(0, 4, count)], heading)
            xy = xy + heading
        where = np.concatenate([hit[0] for hit in hits])
        at = np.concatenate([hit[1] for hit in hits])
        flux = np.concatenate([hit[2] for hit in hits]) * unit
        return CosmicRays(where, at[:, 1], at[:, 0], flux)
