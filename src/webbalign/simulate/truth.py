"""What was put into a simulation, written beside it, to judge a reduction by."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.simulate.detector import CosmicRays
from webbalign.simulate.options import CoronSimulation
from webbalign.simulate.schedule import Exposure

__all__ = ["ExposureTruth", "TruthImages", "offset_position", "read_truth_images", "write_truth"]


def offset_position(
    position: tuple[float, float], separation: float, angle: float
) -> tuple[float, float]:
    """Return the sky position at a separation and position angle from another.

    Parameters
    ----------
    position : tuple of float
        Right ascension and declination, degrees.
    separation : float
        Arcsec.
    angle : float
        From north over east, degrees.
    """
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    moved = SkyCoord(*position, unit="deg").directional_offset_by(
        angle * u.deg, separation * u.arcsec
    )
    return float(moved.ra.deg), float(moved.dec.deg)


@dataclass(frozen=True)
class ExposureTruth:
    """Where things are in one exposure.

    Attributes
    ----------
    exposure : Exposure
        With the star's position in each integration.
    companion_sky : tuple of float or None
        Right ascension and declination of the companion, degrees.
    companion_pixel : ndarray (2,) or None
        Its 0-based (x, y) by the exposure's WCS.
    """

    exposure: Exposure
    companion_sky: tuple[float, float] | None
    companion_pixel: np.ndarray | None

    def write(
        self, folder: Path, star: np.ndarray, companion: np.ndarray, rays: CosmicRays
    ) -> Path:
        """Write the noiseless images and the cosmic rays of this exposure.

        Parameters
        ----------
        folder : Path
            Where ``<root>_truth.fits`` goes.
        star, companion : ndarray (nints, ny, nx)
            MJy/sr; their means over the integrations are written.
        rays : CosmicRays
            Written as a table.
        """
        from astropy.io import fits

        columns = [
            fits.Column("integration", "J", array=rays.integration),
            fits.Column("y", "J", array=rays.y),
            fits.Column("x", "J", array=rays.x),
            fits.Column("flux", "E", unit="MJy/sr", array=rays.flux),
        ]
        primary = fits.PrimaryHDU()
        primary.header["NINTS"] = len(star)
        hdus = [
            primary,
            fits.ImageHDU(star.mean(axis=0).astype(np.float32), name="STAR"),
            fits.ImageHDU(companion.mean(axis=0).astype(np.float32), name="COMPANION"),
            fits.BinTableHDU.from_columns(columns, name="COSMIC"),
        ]
        path = folder / f"{self.exposure.root}_truth.fits"
        fits.HDUList(hdus).writeto(path, overwrite=True)
        return path

    def as_dict(self) -> dict[str, Any]:
        """Everything but the images, for JSON."""
        exposure = self.exposure
        pixel = self.companion_pixel
        return {
            "file": exposure.file_name,
            "images": f"truth/{exposure.root}_truth.fits",
            "is_psf": exposure.is_psf,
            "target": exposure.target,
            "ra": exposure.position[0],
            "dec": exposure.position[1],
            "star_flux_jy": exposure.flux,
            "roll_ref": exposure.roll,
            "dither_mas": list(exposure.dither),
            "star_xy": exposure.star.tolist(),
            "star_xy_by_wcs": list(exposure.recorded),
            "wavefront_nm": (exposure.wavefront * 1e9).tolist(),
            "companion_xy_by_wcs": None if pixel is None else pixel.tolist(),
        }


def write_truth(path: Path, options: CoronSimulation, exposures: Sequence[ExposureTruth]) -> Path:
    """Write the JSON file of a sequence.

    Parameters
    ----------
    path : Path
        The file.
    options : CoronSimulation
        Recorded with the seed.
    exposures : sequence of ExposureTruth
        In the order in which they were taken.

    Notes
    -----
    Pixels are 0-based (x, y). ``star_xy`` has one pair per integration; ``*_by_wcs`` is where the
    exposure's GWCS puts the object.
    """
    sky = next((item.companion_sky for item in exposures if item.companion_sky), None)
    companion = None
    if sky is not None:
        companion = {
            "ra": sky[0],
            "dec": sky[1],
            "contrast": options.companion_contrast,
            "flux_jy": options.companion_contrast * options.star_flux,
            "separation_arcsec": options.companion_separation,
            "pa_deg": options.companion_pa,
        }
    content = {
        "options": dataclasses.asdict(options),
        "seed": options.seed,
        "companion": companion,
        "exposures": [item.as_dict() for item in exposures],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


@dataclass(frozen=True)
class TruthImages:
    """What ``truth/<root>_truth.fits`` holds.

    Attributes
    ----------
    star, companion : ndarray (ny, nx)
        Noiseless means over the integrations, MJy/sr.
    cosmic_rays : ndarray (nints, ny, nx)
        What cosmic rays added, MJy/sr; 0 where none was.
    """

    star: np.ndarray
    companion: np.ndarray
    cosmic_rays: np.ndarray


def read_truth_images(path: str | Path) -> TruthImages:
    """Read the noiseless images and the cosmic rays of one exposure."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        star = hdus["STAR"].data.astype(np.float64)
        companion = hdus["COMPANION"].data.astype(np.float64)
        table = hdus["COSMIC"].data
        rays = np.zeros((hdus[0].header["NINTS"], *star.shape))
        np.add.at(rays, (table["integration"], table["y"], table["x"]), table["flux"])
    return TruthImages(star, companion, rays)
