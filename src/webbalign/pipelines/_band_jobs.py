"""What is to be measured in each band, and by which method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.correlation import Correlating
from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import declared
from webbalign.execution import Progress
from webbalign.pipelines._band_parameters import tweakreg_options
from webbalign.pipelines._combined_bands import measure_combined
from webbalign.pipelines._stack_bands import measure_correlation
from webbalign.pipelines._star_bands import BandJob, Map, measure_stars
from webbalign.pipelines.wcs_adjust_options import WcsAdjustOptions, method_for
from webbalign.products.addresses import is_address, written_address
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.remote import all_local, images_elsewhere, with_files_here
from webbalign.products.sphere import sky_boundary
from webbalign.products.stacks import Stacking
from webbalign.products.visit_frames import MeasuredBand
from webbalign.steps.tweakreg_options import TweakReg

__all__ = ["METHODS", "Measure", "band_images", "band_job", "method_named", "mixed"]

Measure = Callable[[BandJob, Map, Progress], MeasuredBand]

# How a band is measured, by the name of the method
METHODS: dict[str, Measure] = {
    "tweakreg": measure_stars,
    "cross_corr": measure_correlation,
    "combined": measure_combined,
}
# Those by which several bands can be measured as one
_BY_IMAGES = ("cross_corr", "combined")


def band_images(directory: str | Path, band: str) -> list[Path]:
    """Return the images of a band: ``directory/band/*_cal.fits`` (or .gz), by name.

    Those in a folder elsewhere (an address) are fetched.

    Raises
    ------
    InputError
        If there is no such folder, or no image in it.
    """
    if is_address(directory):
        return images_elsewhere(f"{written_address(directory).rstrip('/')}/{band}")
    folder = Path(directory).expanduser() / band
    expected = f"a folder {band} with _cal.fits files"
    if not folder.is_dir():
        there = sorted({path.parent.name for path in folder.parent.glob("*/*_cal.fits*")})
        beside = f" beside {', '.join(there)}" if there else ""
        raise InputError(folder, f"no such folder{beside}", expected)
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
        raise OptionError(f"option 'method' is {name!r} - give one of {have}")
    return METHODS[name]


def band_job(
    band: str,
    images: Sequence[str | Path],
    options: WcsAdjustOptions,
    method: str | Mapping[str, str],
    parameters: Mapping[str, Any],
    work: Path,
    map: Map,
    correlation: Mapping[str, Any] | None = None,
) -> BandJob:
    """Sort out what a band is to be measured by.

    `correlation` are options of :class:`Correlating` and :class:`Stacking`.

    Raises
    ------
    OptionError
        If a parameter cannot be followed.
    InputError
        If an image cannot be read, does not tell its visit, or is there twice.
    """
    here = all_local(images)
    paths = sorted((path.expanduser() for path in here), key=lambda path: path.name)
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
        raise InputError(band, f"images of {', '.join(instruments)}", "images of one instrument")
    instrument = instruments[0]
    catalog = options.alignment_catalog or ""
    correlating, stacking = _correlation(correlation or {}, options.reproject_func)
    job = BandJob(
        band=band,
        method=method_for(method, instrument),
        paths=tuple(paths),
        infos=infos,
        corners=tuple(corners for _, corners in read),
        by_visit=instrument in options.group_dithers,
        by_module=options.degroup_nircam_modules and instrument == "nircam",
        options=_catalogs_here(
            tweakreg_options(
                parameters, target=options.target, band=band, instrument=instrument, catalog=catalog
            )
        ),
        folder=work,
        correlating=correlating,
        stacking=stacking,
    )
    if job.method == "combined" and (
        job.options.solver != "global" or job.options.fitgeometry not in ("shift", "rshift")
    ):
        raise OptionError(
            f"option 'method' is 'combined' - {band} - give solver=global and fitgeometry=shift or "
            "rshift as well"
        )
    _ = job.keys  # an image that does not tell its visit is refused before any work
    return job


def _catalogs_here(options: TweakReg) -> TweakReg:
    """Fetch the catalogs that are named by an address, once for all images."""
    return replace(options, **with_files_here(vars(options)))


def _correlation(given: Mapping[str, Any], reproject_func: str) -> tuple[Correlating, Stacking]:
    """Make the options of the correlation and of the stacks; refuse what is neither's."""
    known = {option.name for kind in (Correlating, Stacking) for option in declared(kind)}
    unknown = sorted(set(given) - known)
    if unknown:
        expected = ", ".join(sorted(known - {"reproject_func"}))
        raise OptionError(f"no option {unknown[0]!r} of the correlation - give one of {expected}")
    values = {"reproject_func": reproject_func} | dict(given)
    return Correlating.from_mapping(given), Stacking.from_mapping(values)


def mixed(jobs: Sequence[BandJob]) -> list[BandJob]:
    """Join the bands that are measured by their images, those of one method, into one job.

    Raises
    ------
    InputError
        If two images have one name.
    """
    found = [job for job in jobs if job.method not in _BY_IMAGES]
    for method in _BY_IMAGES:
        parts = tuple(job for job in jobs if job.method == method)
        if len(parts) < 2:
            found += parts
            continue
        names = [path.name for part in parts for path in part.paths]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(twice[0], "in two bands that are mixed", "images of different names")
        found.append(
            replace(
                parts[0],
                band="+".join(part.band for part in parts),
                paths=tuple(path for part in parts for path in part.paths),
                infos=tuple(info for part in parts for info in part.infos),
                corners=tuple(corners for part in parts for corners in part.corners),
                parts=parts,
            )
        )
    return found


def _info_and_corners(path: Path) -> tuple[ImageInfo, list[list[float]]]:
    info = read_info(path)
    return replace(info, wcs=None), sky_boundary(info.wcs, info.shape).tolist()
