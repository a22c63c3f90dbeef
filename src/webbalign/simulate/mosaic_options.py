"""What can be chosen about a simulated mosaic."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["MosaicSimulation"]


@dataclass(frozen=True)
class MosaicSimulation(Options):
    """Options of :func:`webbalign.simulate.simulate_mosaic`.

    The seed selects the sky, the pointing errors, bad pixels, cosmic rays and noise; the telescope
    is the same for every seed.
    """

    bands: tuple[str, ...] = opt(
        ("F150W", "F300M"), "Filters of NIRCam and MIRI, for example F150W,F300M,F770W."
    )
    module: str = opt("A", "NIRCam modules.", choices=("A", "B", "both"))
    detectors: tuple[str, ...] | None = opt(
        None, "Only these detectors, for example nrca1,nrcalong. None: all of the modules."
    )
    visits: int = opt(2, "Visits of each instrument.", min=1, max=999)
    dithers: int = opt(4, "Exposures of each visit in each band.", min=1)
    tiles: tuple[int, ...] = opt(
        (1, 1),
        "Columns and rows of the mosaic; the visits take the tiles in turn.",
        min=1,
        length=2,
    )
    tile_overlap: float = opt(
        0.15, "Overlap of neighbouring tiles, as a fraction of the field.", min=0, max=0.95
    )
    dither_step: float | None = opt(
        None,
        "Width of the box of dithers, in arcseconds. None: 16, or a third of the smallest image.",
        min=0,
    )
    size: int | None = opt(
        None, "Side of the images, in pixels, about the reference pixel. None: full frames.", min=64
    )
    ra: float = opt(150.116, "Right ascension of the middle of the mosaic, in degrees.")
    dec: float = opt(2.205, "Its declination, in degrees.", min=-89, max=89)
    roll: float = opt(107.0, "Position angle of V3 in the first visit, in degrees.")
    roll_step: float = opt(1.0, "By how much it changes from visit to visit, in degrees.")
    epoch: float = opt(2024.5, "Time of the first visit, as a Julian year.", min=2000, max=2100)
    visit_interval: float = opt(1.0, "Days between visits.", min=0)
    pointing_error: tuple[float, ...] = opt(
        (0.3, 1.0),
        "Least and greatest error of a visit's recorded pointing, in arcseconds.",
        min=0,
        length=2,
    )
    roll_error: float = opt(0.01, "Error of a visit's recorded roll, rms in degrees.", min=0)
    jitter: float = opt(
        3.0, "Error that each exposure adds, rms per axis in milliarcseconds.", min=0
    )
    detector_error: float = opt(
        0.0,
        "Error of the recorded place of each detector, rms per axis in milliarcseconds.",
        min=0,
    )
    star_density: float = opt(300.0, "Stars per square arcminute.", min=0)
    magnitudes: tuple[float, ...] = opt(
        (14.0, 25.0), "AB magnitudes at 1.5 micron of the brightest and faintest stars.", length=2
    )
    slope: float = opt(0.25, "Their number grows as 10 ** (slope * magnitude).", min=0, max=1)
    proper_motion: float = opt(5.0, "Proper motion, rms per axis in mas per year.", min=0)
    parallax: float = opt(0.3, "Mean parallax, in milliarcseconds.", min=0)
    gaia_limit: float = opt(20.5, "Faintest G magnitude of the Gaia-like catalog.")
    gaia_errors: float = opt(1.0, "Its errors, in units of those of Gaia DR3.", min=0)
    galaxies: float = opt(40.0, "Galaxies per square arcminute.", min=0)
    nebulosity: float | None = opt(
        None,
        "Brightness of diffuse emission, rms in MJy/sr. None: what is typical, only MIRI's bands "
        "have it.",
        min=0,
    )
    cosmic_rays: float = opt(
        3e-5, "Cosmic rays that escaped the jump detection, per pixel.", min=0, max=0.1
    )
    bad_pixels: float = opt(0.004, "Fraction of bad pixels.", min=0, max=0.5)
    background: float | None = opt(
        None, "Background left in the images, in MJy/sr. None: the whole sky of the band."
    )
    noise: bool = opt(True, "Whether photon, read and flat-field noise are added.")
    seed: int = opt(1, "Seed of everything that is random.", min=0)
