"""What is to be measured in each band, and by which method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError, OptionError
from webbalign.execution import Progress
from webbalign.pipelines._band_parameters import tweakreg_options
from webbalign.pipelines._stack_bands import measure_correlation
from webbalign.pipelines._star_bands import BandJob, Map, measure_stars
from webbalign.pipelines.wcs_adjust_options import WcsAdjustOptions, method_for
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.sphere import sky_boundary
from webbalign.products.visit_frames import MeasuredBand

__all__ = ["METHODS", "Measure", "band_images", "band_job", "method_named"]

Measure = Callable[[BandJob, Map, Progress], MeasuredBand]

# How a band is measured, by the name of the method
METHODS: dict[str, Measure] = {
    "tweakreg": measure_stars,
    "cross_corr": measure_correlation,
}


def band_images(directory: str | Path, band: str) -> list[Path]:
    """Return the images of a band: ``directory/band/*_cal.fits`` (or .gz), by name.

    Raises
    ------
    InputError
        If there is no such folder, or no image in it.
    """
    folder = Path(directory).expanduser() / band
    expected = f"a folder {band} with _cal.fits files"
    if not folder.is_dir():
        raise InputError(folder, "no such folder", expected)
    paths = sorted([*folder.glob("*_cal.fits"), *folder.glob("*_cal.fits.gz")])
    if not paths:
        raise InputError(folder, "no *_cal.fits in it", expected)
    return paths


def method_named(name: str) -> Measure:
    """Return how a band is measured.

    Raises
    ------
    OptionError
        If there is no such method.
    """
    if name not in METHODS:
        have = ", ".join(METHODS)
        raise OptionError(f"option 'method' is {name!r}, which is not available; there is: {have}")
    return METHODS[name]


def band_job(
    band: str,
    images: Sequence[str | Path],
    options: WcsAdjustOptions,
    method: str | Mapping[str, str],
    parameters: Mapping[str, Any],
    work: Path,
    map: Map,
) -> BandJob:
    """Sort out what a band is to be measured by.

    Raises
    ------
    OptionError
        If a parameter cannot be followed.
    InputError
        If an image cannot be read, does not tell its visit, or is there twice.
    """
    paths = sorted((Path(path).expanduser() for path in images), key=lambda path: path.name)
    if not paths:
        raise InputError(None, f"no images of {band}", "_cal files")
    names = [path.name for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(twice[0], "given twice", "images of different names")
    read = list(map(_info_and_corners, paths))
    infos = tuple(info for info, _ in read)
    instruments = sorted({info.instrument.lower() for info in infos})
    if len(instruments) > 1:
        raise InputError(None, f"{band}: images of {', '.join(instruments)}", "one instrument")
    instrument = instruments[0]
    catalog = options.alignment_catalog or ""
    job = BandJob(
        band=band,
        method=method_for(method, instrument),
        paths=tuple(paths),
        infos=infos,
        corners=tuple(corners for _, corners in read),
        by_visit=instrument in options.group_dithers,
        by_module=options.degroup_nircam_modules and instrument == "nircam",
        options=tweakreg_options(
            parameters, target=options.target, band=band, instrument=instrument, catalog=catalog
        ),
        folder=work,
        reproject_func=options.reproject_func,
    )
    _ = job.keys  # an image that does not tell its visit is refused before any work
    return job


def _info_and_corners(path: Path) -> tuple[ImageInfo, list[list[float]]]:
    info = read_info(path)
    return replace(info, wcs=None), sky_boundary(info.wcs, info.shape).tolist()
