"""The corrections of a target: all bands measured, and put together into one table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.core.image_memory import STARS
from webbalign.core.options import Options
from webbalign.execution import NullProgress, Progress
from webbalign.pipelines._band_jobs import band_job, method_named, mixed
from webbalign.pipelines._band_results import band_result, measured_once
from webbalign.pipelines._catalog_functions import catalog_function
from webbalign.pipelines._correlation_memory import correlation_memory
from webbalign.pipelines._stack_bands import STACK_FOLDER
from webbalign.pipelines._star_bands import BandJob, Map
from webbalign.pipelines.wcs_adjust_options import WcsAdjustOptions, parse_method
from webbalign.products.atomic import sweep
from webbalign.products.provenance import Recipe, of_inputs, of_options
from webbalign.products.remote import shown
from webbalign.products.visit_frames import MeasuredBand, combined_visits
from webbalign.products.visits import AdjustKey
from webbalign.products.wcs_adjust_file import (
    VisitCorrection,
    WcsAdjust,
    adjust_file_name,
    write_wcs_adjust,
)
from webbalign.steps._runtime import Runtime, bytes_of, image_map

__all__ = ["get_wcs_adjust", "words"]

log = logging.getLogger(__name__)

WORK_FOLDER = "get_wcs_adjust"


def get_wcs_adjust(
    images: Mapping[str, Sequence[str | Path]],
    *,
    target: str = "target",
    output_dir: str | Path = ".",
    method: str | Mapping[str, str] = "tweakreg",
    alignment_catalog: str | Path | None = None,
    group_dithers: Sequence[str] | str | None = None,
    degroup_nircam_modules: bool = False,
    tweakreg_parameters: Mapping[str, Any] | None = None,
    reproject_func: str = "interp",
    custom_catalog_function: Callable[..., Any] | str | None = None,
    custom_catalog_function_kwargs: Mapping[str, Any] | None = None,
    mix_bands: bool = False,
    consistency: float = 20.0,
    overwrite: bool = False,
    map: Map = map,
    executor: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
    **correlation: Any,
) -> WcsAdjust:
    """Measure the corrections of a target and write ``{target}_wcs_adjust.toml``.

    Parameters
    ----------
    images : mapping
        By band, its ``_cal`` files.
    target : str
    output_dir : str or Path
        For the table. What each band gave lies in its folder ``get_wcs_adjust``; a band is not
        measured again unless its images, catalogs or parameters have changed, nor is a stack of
        dithers (in ``get_wcs_adjust/stacks``) made again.
    method : str or mapping
        ``tweakreg``, ``cross_corr`` or ``combined``, or one by instrument.
    alignment_catalog : str or Path, optional
        A file, or the name of a service's catalog. None: one visit is the reference.
    group_dithers : sequence of str, optional
        Instruments of which all dithers of a visit are measured as one.
    degroup_nircam_modules : bool
    tweakreg_parameters : mapping, optional
        Options of tweakreg, nested as PJPipe's (see `_band_parameters.tweakreg_options`).
    reproject_func : str
    custom_catalog_function : callable or str, optional
        Makes the catalog of stars of an image; see `_catalog_functions.make_catalog`.
    custom_catalog_function_kwargs : mapping, optional
    mix_bands : bool
        Whether stacks of different bands are correlated as well; all bands of one method are then
        measured as one.
    consistency : float
        Bands of a visit that differ by less (mas) are not called inconsistent.
    overwrite : bool
        Measure all bands, and make all stacks, again.
    map : callable
        ``map(function, items)``: lazily or in parallel, results in order.
    executor, workers, memory : optional
        What `map` is made of if it is not given, as of :class:`webbalign.steps.base.Runtime`; the
        memory bounds the correlation of stacks in any case.
    progress : Progress, optional
    **correlation
        Of :class:`webbalign.core.correlation.Correlating` and
        :class:`webbalign.products.stacks.Stacking`: ``corr_searchrad=1.0`` and so on.

    Returns
    -------
    WcsAdjust
        The order of bands and files has no influence on it.

    Raises
    ------
    OptionError
        If an option cannot be followed.
    InputError
        If an image or a catalog cannot be used.
    """
    options = WcsAdjustOptions(
        target=target,
        bands=tuple(images),
        alignment_catalog=_text(alignment_catalog),
        group_dithers=words(group_dithers),
        degroup_nircam_modules=degroup_nircam_modules,
        reproject_func=reproject_func,
        mix_bands=mix_bands,
        consistency=consistency,
    )
    methods = set(parse_method(method).values())
    if not images:
        raise InputError(None, "no bands given", "images by band")
    folder = Path(output_dir).expanduser()
    work = _swept(folder)
    made = catalog_function(custom_catalog_function)
    asked = Runtime(map, executor, workers, memory=bytes_of(memory))
    correlated = asked.memory is not None and methods != {"tweakreg"}
    taken = correlation_memory(images) if correlated else STARS
    with image_map(asked, sum(len(paths) for paths in images.values()), taken) as runtime:
        jobs = [
            replace(
                band_job(
                    band, images[band], options, method, tweakreg_parameters or {}, work,
                    runtime.map, correlation,
                ),
                catalog_function=made,
                catalog_kwargs=custom_catalog_function_kwargs or {},
                memory=runtime.memory,
                workers=runtime.workers or 1,
            )
            for band in sorted(images)
        ]  # fmt: skip
        jobs = mixed(jobs) if options.mix_bands else jobs
        measures = [method_named(job.method) for job in jobs]  # refused before any work
        _announce(jobs)
        told = progress or NullProgress()
        bands = [
            measured_once(job, measure, runtime.map, told, overwrite=overwrite)
            for job, measure in zip(jobs, measures, strict=True)
        ]
    adjust = WcsAdjust(
        combined_visits(bands, tolerance=options.consistency * 1e-3), _run(options, jobs, bands)
    )
    _report(adjust.entries)
    return _written(adjust, options, jobs, folder)


def _swept(folder: Path) -> Path:
    """Remove what broken-off runs left; return the folder of what is kept of each band."""
    work = folder / WORK_FOLDER
    work.mkdir(parents=True, exist_ok=True)
    for place in (folder, work, work / STACK_FOLDER):
        sweep(place)
    return work


def _written(
    adjust: WcsAdjust, options: WcsAdjustOptions, jobs: Sequence[BandJob], folder: Path
) -> WcsAdjust:
    """Write the table, with what it was made from."""
    texts = of_options(options) | {"alignment_catalog": shown(options.alignment_catalog or "")}
    recipe = Recipe("wcs-adjust get", texts, of_inputs([band_result(job) for job in jobs]))
    path = write_wcs_adjust(adjust, folder / adjust_file_name(options.target), recipe)
    log.info("saved %s", path)
    return adjust


def _announce(jobs: Sequence[BandJob]) -> None:
    for job in jobs:
        if job.method != "tweakreg" and not job.by_visit:
            text = "%s: %s gives one correction per visit, not one per exposure"
            log.info(text, job.band, job.method)


def words(value: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return words that may have come as one."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)


def _run(
    options: WcsAdjustOptions, jobs: Sequence[BandJob], bands: Sequence[MeasuredBand]
) -> dict[str, Any]:
    from webbalign import __version__

    return {
        "webbalign": __version__,
        "target": options.target,
        "group_dithers": sorted(options.group_dithers),
        "degroup_nircam_modules": options.degroup_nircam_modules,
        "consistency_mas": options.consistency,
        "mix_bands": options.mix_bands,
        "bands": {
            part.band: _band(part, band.catalog)
            for job, band in zip(jobs, bands, strict=True)
            for part in job.parts or (job,)
        },
        "footprints": _footprints(jobs),
    }


def _band(job: BandJob, catalog: str) -> dict[str, Any]:
    """Tell what concerns one band."""
    told: dict[str, Any] = {
        "method": job.method,
        "instrument": job.infos[0].instrument.lower(),
        "n_images": len(job.paths),
        "catalog": shown(catalog),
    }
    if job.method != "cross_corr":
        told["tweakreg_parameters"] = _listed(job.options)
    if job.method != "tweakreg":
        told["correlation"] = _listed(job.correlating) | _listed(job.stacking)
    return told


def _listed(options: Options) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else _shown(value)
        for name, value in vars(options).items()
    }


def _shown(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else value


def _footprints(jobs: Sequence[BandJob]) -> dict[str, list[list[list[float]]]]:
    """Return the corners on the sky of the images of each visit, as they came."""
    found: dict[str, list[list[list[float]]]] = {}
    for job in jobs:
        for key, corners in zip(job.keys, job.corners, strict=True):
            found.setdefault(str(AdjustKey(key.visit, "", key.module)), []).append(corners)
    return dict(sorted(found.items()))


def _report(entries: Sequence[VisitCorrection]) -> None:
    for entry in entries:
        if not entry.key.exposure or entry.reason:
            say = log.info if entry.is_aligned else log.warning
            reason = f" ({entry.reason})" if entry.reason else ""
            say("%s: %s%s", entry.key, entry.status, reason)
    frames = {entry.frame for entry in entries if entry.is_applied}
    if len(frames) > 1:
        log.warning(
            "%d frames that nothing connects, held by %s: give an alignment catalog, or bands that "
            "share visits",
            len(frames),
            ", ".join(sorted(frames)),
        )
