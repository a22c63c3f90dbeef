"""Results of bands that are kept, so that an unchanged band is not measured again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.execution import Progress
from webbalign.pipelines._catalog_functions import describe_function
from webbalign.pipelines._star_bands import BandJob, Map
from webbalign.products.provenance import Recipe, keep, of_inputs, of_options
from webbalign.products.visit_frames import MeasuredBand
from webbalign.products.wcs_adjust_file import WcsAdjust, read_wcs_adjust, write_wcs_adjust

__all__ = ["band_recipe", "band_result", "measured_once"]

log = logging.getLogger(__name__)


def band_recipe(job: BandJob) -> Recipe:
    """Return all that the result of a band depends on: images, catalogs, parameters."""
    said: dict[str, Any] = {"band": job.band}
    files = list(job.paths)
    for part in job.parts or (job,):
        options = of_options(part.options)
        catalog = Path(part.options.abs_refcat or "").expanduser()
        if catalog.is_file():
            # it counts by what it holds, wherever it lies
            files.append(catalog)
            options["abs_refcat"] = catalog.name
        options["group_dithers"] = str(part.by_visit)
        options["degroup_nircam_modules"] = str(part.by_module)
        if part.catalog_function is not None:
            text = describe_function(part.catalog_function, part.catalog_kwargs)
            mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            options["custom_catalog_function"] = mark
        of = f"{part.band}: " if job.parts else ""
        said |= {f"{of}{name}": value for name, value in options.items()}
    if job.method != "tweakreg":
        said |= of_options(job.correlating) | of_options(job.stacking)
    return Recipe(f"wcs-adjust get, {job.method}", said, of_inputs(files))


def band_result(job: BandJob) -> Path:
    """Return where the result of a band lies."""
    return job.folder / f"{job.band}_{job.method}.toml"


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
    says what it was made from: what an interrupted run leaves is never taken for a result.
    """
    path, recipe = band_result(job), band_recipe(job)
    kept = _kept(path) if keep(path, recipe, resume=not overwrite) else None
    if kept is not None:
        log.info("%s: measured already, %s", job.band, path)
        return kept
    measured = measure(replace(job, overwrite=overwrite), map, progress)
    run = {"band": job.band, "catalog": measured.catalog}
    write_wcs_adjust(WcsAdjust(measured.entries, run), path, recipe)
    # what is read back next time is what is used this time
    kept = _kept(path)
    assert kept is not None
    return kept


def _kept(path: Path) -> MeasuredBand | None:
    try:
        result = read_wcs_adjust(path)
    except InputError as error:
        log.warning("%s; measured again", error)
        return None
    return MeasuredBand(str(result.run["band"]), result.entries, str(result.run["catalog"]))
