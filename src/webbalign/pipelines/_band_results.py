"""Results of bands that are kept, so that an unchanged band is not measured again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.execution import Progress
from webbalign.pipelines._catalog_functions import describe_function
from webbalign.pipelines._star_bands import BandJob, Map
from webbalign.products.models import describe
from webbalign.products.visit_frames import MeasuredBand
from webbalign.products.wcs_adjust_file import WcsAdjust, read_wcs_adjust, write_wcs_adjust

__all__ = ["file_digest", "fingerprint", "measured_once"]

log = logging.getLogger(__name__)

# Raised when a result of an older version cannot stand for one of this version
_VERSION = 3


def file_digest(path: Path) -> str:
    """Hash of the content of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def fingerprint(job: BandJob, digests: Sequence[str]) -> str:
    """Hash of all that the result of a band depends on: images, catalogs, parameters.

    Parameters
    ----------
    job : BandJob
    digests : sequence of str
        Hash of the file of each image.
    """
    parts: list[Any] = [_VERSION, job.band, job.method]
    for part in job.parts or (job,):
        parts += [
            part.by_visit, part.by_module, describe(part.options),
            describe_function(part.catalog_function, part.catalog_kwargs),
        ]  # fmt: skip
        catalog = Path(part.options.abs_refcat or "").expanduser()
        if catalog.is_file():
            parts.append(file_digest(catalog))
    if job.method != "tweakreg":
        parts += [describe(job.correlating), describe(job.stacking)]
    parts += [f"{path.name} {digest}" for path, digest in zip(job.paths, digests, strict=True)]
    return hashlib.blake2b("\n".join(str(part) for part in parts).encode()).hexdigest()[:32]


def measured_once(
    job: BandJob,
    measure: Callable[[BandJob, Map, Progress], MeasuredBand],
    map: Map,
    progress: Progress,
    *,
    overwrite: bool,
) -> MeasuredBand:
    """Measure a band, or read what an earlier run has measured with the same inputs.

    The result is one file, ``{band}_{method}.toml``, which appears whole when all is done and
    holds the fingerprint: what an interrupted run leaves is never taken for a result.
    """
    path = job.folder / f"{job.band}_{job.method}.toml"
    digests = tuple(map(file_digest, job.paths))
    mark = fingerprint(job, digests)
    kept = None if overwrite else _kept(path, mark)
    if kept is not None:
        log.info("%s: measured already, %s", job.band, path)
        return kept
    measured = measure(replace(job, digests=digests, overwrite=overwrite), map, progress)
    run = {"band": job.band, "catalog": measured.catalog, "fingerprint": mark}
    write_wcs_adjust(WcsAdjust(measured.entries, run), path)
    # what is read back next time is what is used this time
    kept = _kept(path, mark)
    assert kept is not None
    return kept


def _kept(path: Path, mark: str) -> MeasuredBand | None:
    if not path.is_file():
        return None
    try:
        result = read_wcs_adjust(path)
    except InputError as error:
        log.warning("%s; measured again", error)
        return None
    if result.run.get("fingerprint") != mark:
        return None
    return MeasuredBand(str(result.run["band"]), result.entries, str(result.run["catalog"]))
