"""Mosaics of several bands, tables of corrections, and what is left after they are applied."""

from __future__ import annotations

from benchmarks import tweakreg_truth as truth  # isort: skip  (sets the number of threads)

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NIRCAM = ("F300M", "F150W")  # the first is measured, the other gets its corrections
MIRI = ("F1000W", "F770W")
JITTER = 3.0  # mas per axis and exposure, as simulated
WRONG = 20.0  # mas: a visit that is farther from its best correction is called wrong
Array = NDArray[np.float64]


def mosaic(bands: Sequence[str], quick: bool, **options: Any) -> truth.MosaicSet:
    """Return 4 visits x 4 dithers with errors of 0.3-1 arcsec, 0.01 deg, 3 mas per exposure."""
    chosen: dict[str, Any] = {"visits": 4, "dithers": 4, "size": 1024, "jitter": JITTER}
    if quick:
        chosen |= {"dithers": 2, "size": 400, "detectors": ("nrca1", "nrcalong", "mirimage")}
    return truth.mosaic(bands=tuple(bands), **(chosen | options))


def measured(images: Mapping[str, Sequence[Path]], folder: Path, **options: Any) -> Any:
    """Measure the corrections of a target on all cores, silently."""
    from webbalign.execution import executor
    from webbalign.pipelines import get_wcs_adjust

    logging.getLogger().setLevel(logging.ERROR)
    with executor("processes") as pool:
        return get_wcs_adjust(images, output_dir=folder, map=pool.map, **options)


def applied(table: Any, files: Sequence[Path], folder: Path) -> list[Path]:
    """Apply a table to files; returns the corrected files."""
    from webbalign.execution import executor
    from webbalign.pipelines import apply_wcs_adjust

    logging.getLogger().setLevel(logging.ERROR)
    with executor("processes") as pool:
        done = apply_wcs_adjust(table, files, output_dir=folder, map=pool.map)
    return [image.path for image in done]


@dataclass(frozen=True, eq=False)
class Offsets:
    """Where pixels of images are put, minus where they are, in one tangent plane.

    Attributes
    ----------
    visits : list of str
        Of each image, ``jw<visit>``.
    at : ndarray, shape (n_images, n_pixels, 2)
        True places, arcsec.
    off : ndarray, shape (n_images, n_pixels, 2)
        Differences, mas.
    plane : TangentPlane
    """

    visits: list[str]
    at: Array
    off: Array
    plane: Any

    def moved(self, move: Array) -> Offsets:
        """Take a rigid move (dx, dy in mas; rotation in mas per arcsec) off all images."""
        return Offsets(self.visits, self.at, self.off - _rigid(self.at) @ move, self.plane)

    def of(self, visit: str) -> Offsets:
        """Return those of one visit."""
        keep = [k for k, name in enumerate(self.visits) if name == visit]
        return Offsets([visit] * len(keep), self.at[keep], self.off[keep], self.plane)

    @property
    def move(self) -> Array:
        """The rigid move that explains them best: dx, dy (mas), rotation (mas per arcsec)."""
        rows = _rigid(self.at).reshape(-1, 3)
        return np.asarray(np.linalg.lstsq(rows, self.off.reshape(-1), rcond=None)[0])

    @property
    def mean_move(self) -> Array:
        """The same of the mean image: jitter between dithers, which are apart, is no rotation."""
        at, off = self.at.mean(axis=1, keepdims=True), self.off.mean(axis=1, keepdims=True)
        around = _rigid(self.at - at)[..., 2]
        turn = np.sum(around * (self.off - off)) / np.sum(around**2)
        shift = off - turn * _rigid(at)[..., 2]
        return np.array([*shift.mean(axis=(0, 1)), turn])

    @property
    def rms(self) -> float:
        """Of the distances, mas."""
        return float(np.sqrt(np.mean(np.sum(self.off**2, axis=-1))))

    @property
    def relative(self) -> float:
        """The rms after one rigid move of all images, which no image can tell."""
        return self.moved(self.move).rms

    def after_best(self, reference: Offsets | None = None) -> Offsets:
        """Take off the best possible correction of each visit.

        Parameters
        ----------
        reference : Offsets, optional
            Images in which the corrections are measured, without any error (default: these).
        """
        source = reference or self
        off = self.off.copy()
        for visit in sorted(set(self.visits)):
            keep = np.array([name == visit for name in self.visits])
            off[keep] -= _rigid(self.at[keep]) @ source.of(visit).move
        return Offsets(self.visits, self.at, off, self.plane)

    def of_corrections(self, reference: Offsets) -> float:
        """Rms, mas, of what the corrections of the visits add to the best ones.

        Those are corrections measured in `reference` without any error. Of images that were not
        measured, jitter of their own may add to such an error or hide it: this number has none.
        """
        off = np.empty_like(self.off)
        for visit in sorted(set(self.visits)):
            keep = np.array([name == visit for name in self.visits])
            off[keep] = _rigid(self.at[keep]) @ reference.of(visit).move
        return Offsets(self.visits, self.at, off, self.plane).relative

    def by_visit(self) -> dict[str, float]:
        """How far, on average over its pixels, each visit is from its best correction, mas.

        One rigid move of all images is taken off first.
        """
        rest = self.moved(self.move)
        found = {}
        for visit in sorted(set(self.visits)):
            one = rest.of(visit)
            found[visit] = float(np.sqrt(np.mean(np.sum((_rigid(one.at) @ one.move) ** 2, -1))))
        return found


def _rigid(at: Array) -> Array:
    """Derivatives (..., 2, 3) of places by a shift and a rotation about the origin."""
    rows = np.zeros((*at.shape, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 0, 2], rows[..., 1, 2] = -at[..., 1], at[..., 0]
    return rows


def offsets(made: truth.MosaicSet, paths: Sequence[Path], plane: Any = None) -> Offsets:
    """Compare the GWCS of files with the truth on a grid of pixels of each image."""
    from astropy.io import fits

    from webbalign.core.planes import TangentPlane, sky_to_vectors

    shapes = [fits.getheader(path, "SCI") for path in paths]
    true = [
        truth.true_sky(made.truth_of(path), (header["NAXIS2"], header["NAXIS1"]))
        for path, header in zip(paths, shapes, strict=True)
    ]
    found = truth.sky_of_products(paths)
    plane = plane or TangentPlane.around(sky_to_vectors(np.concatenate(true)))
    at = np.stack([plane.from_sky(sky) for sky in true])
    given = np.stack([plane.from_sky(sky) for sky in found])
    return Offsets([path.name.split("_")[0] for path in paths], at, 1e3 * (given - at), plane)


def beyond(value: float, floor: float) -> float:
    """By how much a value exceeds a floor, in quadrature; 0 if it does not."""
    return float(np.sqrt(max(value**2 - floor**2, 0.0)))


def pulls(adjust: Any, left: Offsets) -> Array:
    """Errors of the corrections of visits in units of the stated ones.

    Parameters
    ----------
    adjust : WcsAdjust
    left : Offsets
        Of the corrected images that were measured.

    Returns
    -------
    ndarray, shape (n_visits, 3)
        Shift x and y at the reference point and roll of each visit but the reference, whose own
        error is that of the frame and is taken off all.
    """
    visits = {str(entry.key): entry for entry in adjust.entries if not entry.key.exposure}
    names = [name for name in sorted(visits) if name in left.visits]
    held = next(name for name in names if str(visits[name].status) == "REFERENCE")
    rest = left.moved(left.of(held).mean_move)
    found = []
    for name in names:
        entry = visits[name]
        if name == held or not entry.is_applied:
            continue
        x, y, turn = rest.of(name).mean_move
        east, north = left.plane.from_sky(np.array([entry.reference]))[0]
        errors = 1e3 * np.sqrt(np.diag(entry.cov)[[4, 5, 2]])
        found.append(np.array([x - turn * north, y + turn * east, turn]) / errors)
    return np.array(found)
