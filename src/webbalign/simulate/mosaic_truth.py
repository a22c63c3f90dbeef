"""What was put into a simulated mosaic, written beside it, to judge an alignment by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.mosaic_plan import Frame
from webbalign.simulate.mosaic_scene import Scene
from webbalign.simulate.star_fields import REFERENCE_EPOCH, StarField

__all__ = [
    "Correction",
    "FrameTruth",
    "read_frame_truth",
    "star_table",
    "true_correction",
    "truth_table",
    "write_frame_truth",
]

JULIAN_2000 = 51544.5  # MJD


@dataclass(frozen=True)
class Correction:
    """What a perfect alignment would find for an image.

    It acts in the tangent plane of tweakwcs' ``JWSTWCSCorrector`` of the recorded WCS:
    ``xy' = matrix @ xy + shift``.

    Attributes
    ----------
    shift : ndarray (2,)
        Arcsec.
    matrix : ndarray (2, 2)
    residual : float
        Largest difference over the image between this and the truth, arcsec.
    """

    shift: np.ndarray
    matrix: np.ndarray
    residual: float


def true_correction(frame: Frame) -> Correction:
    """Return the correction that turns a frame's recorded WCS into the true one."""
    from tweakwcs import JWSTWCSCorrector

    ny, nx = frame.camera.shape
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9)))
    v2, v3 = frame.camera.v2v3
    corrector = JWSTWCSCorrector(
        frame.recorded_wcs, {"v2_ref": v2, "v3_ref": v3, "roll_ref": frame.pointing[2]}
    )
    present = np.stack(corrector.det_to_tanp(x, y), axis=1)
    sky = frame.true_wcs(x, y, with_bounding_box=False)
    wanted = np.stack(corrector.world_to_tanp(*sky), axis=1)
    design = np.column_stack([present, np.ones(x.size)])
    solution, *_ = np.linalg.lstsq(design, wanted - present, rcond=None)
    left = wanted - present - design @ solution
    return Correction(
        shift=solution[2],
        matrix=np.eye(2) + solution[:2].T,
        residual=float(np.hypot(*left.T).max()),
    )


def write_frame_truth(path: Path, frame: Frame, scene: Scene) -> None:
    """Write the ASDF file of a frame: its true GWCS and where its stars are.

    Parameters
    ----------
    path : Path
        The file.
    frame, scene
        What was observed.
    """
    import asdf

    tree = {
        "filename": f"{frame.root}_cal.fits",
        "wcs": frame.true_wcs,
        "star": scene.star,
        "x": scene.x,
        "y": scene.y,
        "magnitude": scene.magnitude,
    }
    asdf.AsdfFile(tree).write_to(path)


@dataclass(frozen=True)
class FrameTruth:
    """What ``truth/<root>_truth.asdf`` holds.

    Attributes
    ----------
    wcs : gwcs.WCS
        The true one.
    star : ndarray (n,) of int
        Rows of the star catalog.
    x, y : ndarray (n,)
        Where these stars are in the image, 0-based px.
    magnitude : ndarray (n,)
        AB in the band.
    """

    wcs: Any
    star: np.ndarray
    x: np.ndarray
    y: np.ndarray
    magnitude: np.ndarray


def read_frame_truth(path: str | Path) -> FrameTruth:
    """Read the true GWCS and the stars of one frame."""
    import asdf

    with asdf.open(path, memmap=False, lazy_load=False) as file:
        names = ("star", "x", "y", "magnitude")
        return FrameTruth(file["wcs"], *(np.array(file[name]) for name in names))


def truth_table(frames: Sequence[Frame], files: Sequence[str], options: MosaicSimulation) -> Any:
    """Return the astropy table of the true corrections, one row per file.

    Parameters
    ----------
    frames : sequence of Frame
    files : sequence of str
        Their files, relative to the folder of the mosaic.
    options : MosaicSimulation
        Recorded in the metadata.
    """
    from dataclasses import asdict

    from astropy.table import Table

    corrections = [true_correction(frame) for frame in frames]
    pointings = np.array([frame.pointing for frame in frames])
    table = Table()
    table["filename"] = [Path(file).name for file in files]
    table["path"] = list(files)
    table["truth"] = [f"truth/{frame.root}_truth.asdf" for frame in frames]
    table["band"] = [frame.camera.band.name for frame in frames]
    table["detector"] = [frame.camera.detector for frame in frames]
    table["visit"] = [frame.root.partition("_")[0] for frame in frames]
    table["exposure"] = [frame.root.rpartition("_")[0] for frame in frames]
    table["epoch"] = [2000.0 + (frame.middle - JULIAN_2000) / 365.25 for frame in frames]
    table["xshift"] = [float(item.shift[0]) for item in corrections]
    table["yshift"] = [float(item.shift[1]) for item in corrections]
    table["matrix"] = np.array([item.matrix for item in corrections])
    table["residual"] = [item.residual for item in corrections]
    for column, name in enumerate(("ra_ref", "dec_ref", "roll_ref")):
        table[name] = pointings[:, column]
        table[name].unit = "deg"
    for name in ("xshift", "yshift", "residual"):
        table[name].unit = "arcsec"
    table["epoch"].unit = "yr"
    table.meta["options"] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(options).items()
    }
    return table


def star_table(stars: StarField, frames: Sequence[Frame]) -> Any:
    """Return the astropy table of all stars: true places at 2016.0, motions, magnitudes."""
    from astropy.table import Table

    table = Table()
    table["star"] = np.arange(stars.ra.size)
    for name, values, unit in (
        ("ra", stars.ra, "deg"),
        ("dec", stars.dec, "deg"),
        ("pmra", stars.pmra, "mas / yr"),
        ("pmdec", stars.pmdec, "mas / yr"),
        ("parallax", stars.parallax, "mas"),
        ("phot_g_mean_mag", stars.gmag, "mag"),
    ):
        table[name] = values
        table[name].unit = unit
    for band in {frame.camera.band.name: frame.camera.band for frame in frames}.values():
        table[f"mag_{band.name.lower()}"] = stars.magnitude(band)
        table[f"mag_{band.name.lower()}"].unit = "ABmag"
    table.meta["epoch"] = REFERENCE_EPOCH
    return table
