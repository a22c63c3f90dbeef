"""Simulated mosaics, and how far the WCS of their images are from the true ones."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FINDERS = ("iraf", "dao", "segmentation")
GEOMETRIES = ("shift", "rshift", "general")
POINTS = 7  # pixels per axis at which a WCS is compared


@dataclass(frozen=True)
class MosaicSet:
    """A simulated mosaic on disk.

    Attributes
    ----------
    folder : Path
    files : dict
        Band -> its ``_cal`` files.
    associations : dict
        Band -> its association.
    gaia : Path
        Catalog like Gaia's.
    """

    folder: Path
    files: dict[str, list[Path]]
    associations: dict[str, Path]
    gaia: Path

    def truth_of(self, path: Path) -> Path:
        """Return the file with the true GWCS of an image."""
        root = path.name.rsplit("_", 1)[0]
        return self.folder / "truth" / f"{root}_truth.asdf"

    @property
    def gaia_of_the_day(self) -> Path:
        """Return that catalog at the time of the images, as a service gives it for an epoch.

        Of a file jwst takes the places as they are; of its service only stars with known motion.
        """
        from astropy.table import Table

        from webbalign.products.image_files import read_info
        from webbalign.products.proper_motion import positions_at
        from webbalign.products.reference_catalogs import read_reference_catalog

        path = self.folder / "gaia_of_the_day.ecsv"
        if not path.is_file():
            stars = read_reference_catalog(self.gaia)
            stars = stars[np.isfinite(stars.motion).all(axis=1)]
            first = next(iter(self.files.values()))[0]
            sky = positions_at(stars, read_info(first).epoch)
            Table(sky, names=("RA", "DEC")).write(path, format="ascii.ecsv", overwrite=True)
        return path


def mosaic(**options: Any) -> MosaicSet:
    """Return the mosaic simulated with these options, made at most once per simulator."""
    from webbalign.simulate.mosaic import simulate_mosaic
    from webbalign.simulate.mosaic_options import MosaicSimulation

    chosen = MosaicSimulation(**options)
    key = repr(sorted(dataclasses.asdict(chosen).items())) + common._sources("simulate")
    name = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = common.WORK / "sets" / f"mosaic-{name}"
    done = folder / "done.json"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"  simulating {folder.name}", flush=True)
        made = simulate_mosaic(folder, chosen)
        content = {
            "files": {
                band: [str(path.relative_to(folder)) for path in paths]
                for band, paths in made.files.items()
            },
            "associations": {
                band: str(path.relative_to(folder)) for band, path in made.associations.items()
            },
        }
        done.write_text(json.dumps(content))
    content = json.loads(done.read_text())
    return MosaicSet(
        folder,
        {band: [folder / name for name in names] for band, names in content["files"].items()},
        {band: folder / name for band, name in content["associations"].items()},
        folder / "gaia.ecsv",
    )


def nircam(quick: bool) -> MosaicSet:
    """Return 2 visits x 4 dithers of module A: 32 short-wave frames and 8 long-wave ones."""
    if quick:
        return mosaic(bands=("F150W", "F300M"), dithers=1)
    return mosaic(bands=("F150W", "F300M"))


def association(paths: Sequence[Path], target: Path) -> Path:
    """Write an association of some images of a mosaic."""
    members = [{"expname": str(path), "exptype": "science"} for path in paths]
    content = {
        "asn_type": "image3", "asn_id": "a3001", "asn_pool": "none", "program": "09998",
        "target": "t001", "asn_rule": "DMS_Level3_Base",
        "products": [{"name": "subset", "members": members}],
    }  # fmt: skip
    target.write_text(json.dumps(content))
    return target


def grid(shape: tuple[int, int], points: int = POINTS) -> np.ndarray:
    """Return pixels (points ** 2, 2) spread over an image of a shape (ny, nx)."""
    ny, nx = shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, points), np.linspace(0, ny - 1, points))
    return np.stack([x.ravel(), y.ravel()], axis=-1)


@cache
def true_sky(truth: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return where the pixels of the grid really are (n, 2), degrees."""
    from webbalign.simulate.mosaic_truth import read_frame_truth

    wcs = read_frame_truth(truth).wcs
    return np.stack(wcs(*grid(shape).T, with_bounding_box=False), axis=-1)


@dataclass(frozen=True)
class Score:
    """Distances from the truth, root mean square over the pixels of all images, mas.

    Attributes
    ----------
    absolute : float
        As they are.
    relative : float
        After one shift and one rotation of the whole field, which images cannot tell.
    worst : float
        The rms of the worst image, as they are.
    """

    absolute: float
    relative: float
    worst: float


def score(found: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> Score:
    """Compare positions (n, 2; degrees) of the grids of all images with the true ones."""
    from webbalign.core.planes import TangentPlane

    whole = np.concatenate(truth)
    plane = TangentPlane.about(*whole.mean(axis=0))
    at = plane.from_sky(whole)
    off = 1e3 * (plane.from_sky(np.concatenate(found)) - at)
    one, zero = np.ones(len(at)), np.zeros(len(at))
    design = np.concatenate(
        [np.stack([one, zero, -at[:, 1]], axis=-1), np.stack([zero, one, at[:, 0]], axis=-1)]
    )
    target = np.concatenate([off[:, 0], off[:, 1]])
    left = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    each = (off**2).sum(axis=1).reshape(len(truth), -1).mean(axis=1)
    return Score(
        absolute=float(np.sqrt((off**2).sum(axis=1).mean())),
        relative=float(np.sqrt((left**2).sum() / len(at))),
        worst=float(np.sqrt(each.max())),
    )


def sky_of_products(paths: Sequence[Path]) -> list[np.ndarray]:
    """Return where the GWCS of files puts the pixels of the grid."""
    from webbalign.products.image_files import read_info

    found = []
    for path in paths:
        info = read_info(path)
        pixels = grid(info.shape)
        found.append(np.stack(info.wcs(*pixels.T, with_bounding_box=False), axis=-1))
    return found


def score_products(made: MosaicSet, paths: Sequence[Path]) -> Score:
    """Compare products with the truth."""
    from astropy.io import fits

    truth = []
    for path in paths:
        header = fits.getheader(path, "SCI")
        truth.append(true_sky(made.truth_of(path), (header["NAXIS2"], header["NAXIS1"])))
    return score(sky_of_products(paths), truth)
