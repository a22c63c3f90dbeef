"""Mosaics with a known answer: ``_cal`` files, associations, catalogs, truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.products.atomic import atomic_path
from webbalign.products.sphere import to_plane
from webbalign.simulate.mosaic_detector import record
from webbalign.simulate.mosaic_options import MosaicSimulation
from webbalign.simulate.mosaic_plan import PROGRAM, Frame, plan_mosaic
from webbalign.simulate.mosaic_psfs import PixelResponse, pixel_response
from webbalign.simulate.mosaic_scene import Sky, draw_scene, footprint
from webbalign.simulate.mosaic_truth import star_table, truth_table, write_frame_truth
from webbalign.simulate.mosaic_writing import write_cal
from webbalign.simulate.nebulae import Nebula
from webbalign.simulate.star_fields import draw_galaxies, draw_stars, gaia_like

__all__ = ["Mosaic", "simulate_mosaic"]

MARGIN = 60.0  # px around the images in which there are stars as well
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Mosaic:
    """The files of a simulated mosaic.

    Attributes
    ----------
    files : dict
        Band -> its ``_cal`` files, in the order in which they were taken.
    associations : dict
        Band -> level-3 association beside them.
    association : Path
        Association of all files.
    truth : Path
        ECSV with the true correction of each file; a true GWCS for each lies in ``truth/``.
    stars : Path
        ECSV of all stars: places at 2016.0, motions, magnitudes.
    gaia : Path
        ECSV of those that a survey like Gaia holds, with errors.
    """

    files: dict[str, tuple[Path, ...]]
    associations: dict[str, Path]
    association: Path
    truth: Path
    stars: Path
    gaia: Path

    @property
    def all_files(self) -> tuple[Path, ...]:
        """The files of all bands."""
        return tuple(path for paths in self.files.values() for path in paths)


def simulate_mosaic(
    directory: str | Path,
    options: MosaicSimulation | None = None,
    *,
    progress: Progress | None = None,
) -> Mosaic:
    """Write a mosaic: dithered exposures of several visits, with pointing errors that are known.

    Parameters
    ----------
    directory : str or Path
        Where the files go, in a folder per band if there are several bands; made if needed, files
        of the same names are replaced.
    options : MosaicSimulation, optional
        What is to be simulated.
    progress : callable, optional
        Called as ``progress(done, total, text)`` after each frame.

    Returns
    -------
    Mosaic
        The names of all that was written.

    Raises
    ------
    OptionError
        If bands or detectors are not known.
    """
    options = options or MosaicSimulation()
    frames = plan_mosaic(options)
    folder = Path(directory)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    centre = (options.ra, options.dec)
    outline = _outline(frames, centre)
    stars = draw_stars(options, outline, centre)
    sky = Sky(stars, draw_galaxies(options, outline, centre), Nebula(options, outline, centre))

    paths = _paths(folder, frames)
    responses: dict[str, PixelResponse] = {}
    for done, (frame, path) in enumerate(zip(frames, paths, strict=True), start=1):
        band = frame.camera.band
        if band.name not in responses:
            responses[band.name] = pixel_response(band)
        scene = draw_scene(frame, sky, responses[band.name])
        write_cal(path, frame, scene, record(frame, scene, options), centre)
        write_frame_truth(folder / "truth" / f"{frame.root}_truth.asdf", frame, scene)
        if progress is not None:
            progress(done, len(frames), frame.root)

    files, associations, association = _associate(folder, frames, paths)
    relative = [str(path.relative_to(folder)) for path in paths]
    return Mosaic(
        files=files,
        associations=associations,
        association=association,
        truth=_write_table(folder / "truth.ecsv", truth_table(frames, relative, options)),
        stars=_write_table(folder / "stars.ecsv", star_table(stars, frames)),
        gaia=_write_table(folder / "gaia.ecsv", gaia_like(options, stars)),
    )


def _paths(folder: Path, frames: Sequence[Frame]) -> list[Path]:
    several = len({frame.camera.band.name for frame in frames}) > 1
    paths = []
    for frame in frames:
        where = folder / frame.camera.band.name if several else folder
        where.mkdir(exist_ok=True)
        paths.append(where / f"{frame.root}_cal.fits")
    return paths


def _outline(frames: Sequence[Frame], centre: tuple[float, float]) -> np.ndarray:
    """Outlines of all frames on the tangent plane about the centre (n, 2), degrees."""
    outlines = [footprint(frame.true_wcs, frame.camera.shape, MARGIN) for frame in frames]
    return to_plane(np.concatenate(outlines), np.array(centre))


def _associate(
    folder: Path, frames: Sequence[Frame], paths: Sequence[Path]
) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path], Path]:
    """Write an association per band, and one of all bands if there are several."""
    by_band: dict[str, list[Path]] = {}
    for frame, path in zip(frames, paths, strict=True):
        by_band.setdefault(frame.camera.band.name, []).append(path)
    instruments = {frame.camera.band.name: frame.camera.instrument for frame in frames}
    associations = {
        band: _write_association(members[0].parent, f"{instruments[band]}_{band.lower()}", members)
        for band, members in by_band.items()
    }
    whole = next(iter(associations.values()))
    if len(by_band) > 1:
        whole = _write_association(folder, "all", list(paths))
    return {band: tuple(members) for band, members in by_band.items()}, associations, whole


def _write_association(folder: Path, setting: str, members: Sequence[Path]) -> Path:
    name = f"jw{PROGRAM}-a3001_t001_{setting}"
    content = {
        "asn_type": "image3",
        "asn_rule": "Asn_Lv3Image",
        "version_id": None,
        "code_version": "simulation",
        "degraded_status": "No known degraded exposures in association.",
        "program": PROGRAM,
        "constraints": "none",
        "asn_id": "a3001",
        "target": "t001",
        "asn_pool": "simulation",
        "products": [
            {
                "name": name,
                "members": [
                    {"expname": str(path.relative_to(folder)), "exptype": "science"}
                    for path in members
                ],
            }
        ],
    }
    path = folder / f"{name}_image3_asn.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n")
    return path


def _write_table(path: Path, table: Any) -> Path:
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    return path
