"""Corrections of the visits of one band by their stars, with the machinery of tweakreg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.astrometry import ImageStatus
from webbalign.core.correlation import Correlating
from webbalign.core.planes import TangentPlane
from webbalign.core.sources import SourceFinding
from webbalign.execution import Progress
from webbalign.pipelines._catalog_functions import make_catalog
from webbalign.pipelines._mean_places import at_mean_places
from webbalign.products.catalog_options import CatalogFiles
from webbalign.products.corrector import Correction
from webbalign.products.image_files import ImageInfo
from webbalign.products.reference_catalogs import AbsoluteCatalog, check_reference
from webbalign.products.solutions import Solution, SolvedImage, write_solution
from webbalign.products.stacks import Stacking
from webbalign.products.visit_frames import MeasuredBand
from webbalign.products.visit_means import between_planes, joint_rms
from webbalign.products.visits import AdjustKey, measured_key
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection
from webbalign.steps._find_in_image import FindTask, FoundStars, find_in_image
from webbalign.steps.solving import solve_starlists
from webbalign.steps.tweakreg_options import TweakReg

__all__ = ["BandJob", "Map", "found_stars", "measure_stars", "star_entry", "tied_catalog"]

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@dataclass(frozen=True, eq=False)
class BandJob:
    """One band that is to be measured, or several bands as one.

    Attributes
    ----------
    band : str
        Several are joined by ``+``.
    method : str
    paths : tuple of Path
        Its images, in the order of their names (band by band).
    infos : tuple of ImageInfo
        What their headers say (without the WCS).
    corners : tuple of list
        Right ascension and declination (degrees) of the four corners of each image.
    by_visit : bool
        Whether all dithers of a visit get one correction.
    by_module : bool
        Whether the modules of NIRCam get corrections of their own.
    options : TweakReg
        For this band.
    folder : Path
        For what is worth keeping.
    correlating : Correlating
    stacking : Stacking
    catalog_function : callable or None
    catalog_kwargs : mapping
    parts : tuple of BandJob
        The bands that are measured as one; empty for one band.
    overwrite : bool
        Whether stacks are made anew, though they are kept.
    memory : int, optional
        Bytes that all processes together may have resident.
    workers : int
        How many items the map that is handed on works on at a time.
    """

    band: str
    method: str
    paths: tuple[Path, ...]
    infos: tuple[ImageInfo, ...]
    corners: tuple[list[list[float]], ...]
    by_visit: bool
    by_module: bool
    options: TweakReg
    folder: Path
    correlating: Correlating = field(default_factory=Correlating)
    stacking: Stacking = field(default_factory=Stacking)
    catalog_function: Callable[..., Any] | None = None
    catalog_kwargs: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[BandJob, ...] = ()
    overwrite: bool = False
    memory: int | None = None
    workers: int = 1

    @property
    def bands(self) -> list[str]:
        """The band of each image."""
        return [part.band for part in self.parts or (self,) for _ in part.paths]

    @property
    def visits(self) -> list[AdjustKey]:
        """Visit (and module, where they are apart) of each image."""
        return [AdjustKey(key.visit, "", key.module) for key in self.keys]

    @property
    def keys(self) -> list[AdjustKey]:
        """What each image is a measurement of."""
        if self.parts:
            return [key for part in self.parts for key in part.keys]
        return [
            measured_key(info, by_visit=self.by_visit, by_module=self.by_module)
            for info in self.infos
        ]


def measure_stars(job: BandJob, map: Map, progress: Progress) -> MeasuredBand:
    """Measure a band by its stars; writes ``{band}_tweakreg_solution.ecsv`` into the job's folder.

    Parameters
    ----------
    job : BandJob
    map : callable
    progress : Progress

    Raises
    ------
    InputError
        If an image or a catalog cannot be used.
    """
    keys = job.keys
    found = found_stars(job, keys, map, progress)
    jitter: Mapping[str, float] = {}
    # guiding moves the exposures of a visit, but leaves them the roll of the visit
    families = {str(key): str(visit) for key, visit in zip(keys, job.visits, strict=True)}
    if job.by_visit:
        places, families = at_mean_places(found, job.options), {}
        found, jitter = places.found, places.jitter
    solution = solve_starlists(found, job.options, families=families)
    write_solution(solution, job.folder / f"{job.band}_tweakreg_solution.ecsv")
    entries = _entries(job, keys, solution, jitter)
    return MeasuredBand(job.band, entries, tied_catalog(job, solution))


def found_stars(
    job: BandJob, keys: Sequence[AdjustKey], map: Map, progress: Progress
) -> list[FoundStars]:
    """Find the stars of the images of one band, or make their catalogs.

    Parameters
    ----------
    job : BandJob
    keys : sequence of AdjustKey
        The groups of the images.
    map : callable
    progress : Progress

    Raises
    ------
    InputError
        If an image or a catalog cannot be used.
    """
    given = vars(job.options)
    check_reference(AbsoluteCatalog.from_mapping(given))
    catalogs: list[Path | None] = [None] * len(keys)
    if job.catalog_function is not None:
        catalogs = [
            make_catalog(path, job.catalog_function, job.catalog_kwargs, job.folder / job.band)
            for path in job.paths
        ]
    finding, files = SourceFinding.from_mapping(given), CatalogFiles.from_mapping(given)
    tasks = [
        FindTask(path, str(key), finding, files, catalog=catalog)
        for path, key, catalog in zip(job.paths, keys, catalogs, strict=True)
    ]
    progress.start(f"{job.band}: find stars", len(tasks))
    found = []
    for stars in map(find_in_image, tasks):
        found.append(stars)
        progress.advance()
    progress.done()
    return found


def tied_catalog(job: BandJob, solution: Solution) -> str:
    """Name the catalog if the band is tied to it."""
    name = AbsoluteCatalog.from_mapping(vars(job.options)).name
    tied = any(row.status is ImageStatus.ALIGNED for row in solution.images)
    return Path(name).name if name and tied else ""


def _entries(
    job: BandJob, keys: Sequence[AdjustKey], solution: Solution, jitter: Mapping[str, float]
) -> tuple[VisitCorrection, ...]:
    groups: dict[AdjustKey, list[SolvedImage]] = {}
    for key, row in zip(keys, solution.images, strict=True):
        groups.setdefault(key, []).append(row)
    # dithers that share one correction: the stars of those that were not brought to their mean
    # place scatter by the jitter between them
    floor = float(solution.meta.get("floor_mas", 0.0)) * 1e-3 if job.by_visit else 0.0
    return tuple(
        star_entry(job, key, groups[key], jitter=jitter.get(str(key), floor))
        for key in sorted(groups, key=str)
    )


def star_entry(
    job: BandJob, key: AdjustKey, rows: Sequence[SolvedImage], *, jitter: float = 0.0
) -> VisitCorrection:
    """Join the images of a group, which share one correction of the sky.

    With a `jitter` between them (arcsec per axis), chi-square is that of what it does not explain.
    """
    rows = sorted(rows, key=lambda row: row.filename)
    usable = [row for row in rows if row.is_applied]
    vectors = np.array([row.plane.axes[2] for row in usable or rows])
    ra, dec = TangentPlane.around(vectors).centre.tolist()
    plane = TangentPlane.about(ra, dec)
    correction, cov = Correction.none(), np.full((6, 6), np.nan)
    if usable:
        nearest = max(usable, key=lambda row: float(row.plane.axes[2] @ plane.axes[2]))
        correction, cov = nearest.correction, nearest.cov
        if nearest.cov.any():  # (the reference stays the identity to the last bit)
            correction, cov = between_planes(correction, cov, nearest.plane, plane)
    return VisitCorrection(
        key=key,
        correction=correction,
        reference=(ra, dec),
        cov=cov,
        status=_status(rows, usable),
        reason=_reason(rows),
        n_images=len(rows),
        n_used=sum(row.n_used for row in usable),
        rms=joint_rms(usable),
        chi2_reduced=_chi2(usable[0], jitter) if usable else np.nan,
        scatter=jitter if len(usable) > 1 else 0.0,
        bands=(job.band,),
        methods=(job.method,),
    )


def _chi2(row: SolvedImage, jitter: float) -> float:
    return row.chi2_with_floor if jitter else row.chi2_reduced


def _status(rows: Sequence[SolvedImage], usable: Sequence[SolvedImage]) -> AdjustStatus:
    if usable:
        # images of a group differ only where one of them cannot be measured
        return AdjustStatus(Counter(str(row.status) for row in usable).most_common(1)[0][0])
    failed = all(row.status is ImageStatus.FAILED for row in rows)
    return AdjustStatus.FAILED if failed else AdjustStatus.UNCHANGED


def _reason(rows: Sequence[SolvedImage]) -> str:
    """Give the reasons, each once."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            reasons.setdefault(row.reason, []).append(row.filename)
    return "; ".join(
        text if len(names) == len(rows) else f"{', '.join(names)}: {text}"
        for text, names in reasons.items()
    )
