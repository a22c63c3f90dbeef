"""The stars of one image: found, or read from the catalog that a user provides.

One task is one image; it carries names, not pixels, so that it can be sent to a worker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from stdatamodels.jwst.datamodels import JwstDataModel

from webbalign.core.sources import SourceFinding, Sources, SourceStatus, find_sources
from webbalign.core.starlists import StarList
from webbalign.products.catalogs import (
    CatalogFiles,
    StarCatalog,
    catalog_name,
    read_catalog,
    read_catalog_image,
    star_list,
    write_catalog,
)
from webbalign.products.corrector import image_plane
from webbalign.products.filters import filter_fwhm
from webbalign.products.image_files import ImageInfo, StarImage, read_image, read_info
from webbalign.products.models import DO_NOT_USE, NON_SCIENCE
from webbalign.products.provenance import Noted, Recipe, keep, of_inputs, of_options

__all__ = ["FindTask", "FoundStars", "find_in_image"]

SATURATED = 2  # JWST pixel flag


@dataclass(frozen=True, eq=False)
class FindTask:
    """One image whose stars are wanted.

    Attributes
    ----------
    source : Path or ImageModel
    group : str
    finding : SourceFinding
    files : CatalogFiles
    catalog : Path or None
        The catalog to be used; None: find the stars.
    folder : Path or None
        Where the catalog of the stars found is written; None: nowhere.
    overwrite : bool
    resume : bool
        Whether a catalog that was made of the same is kept.
    """

    source: Path | JwstDataModel
    group: str
    finding: SourceFinding
    files: CatalogFiles
    catalog: Path | None = None
    folder: Path | None = None
    overwrite: bool = True
    resume: bool = False

    @property
    def recipe(self) -> Recipe | None:
        """What the catalog is made from; None if the image is no file."""
        if isinstance(self.source, JwstDataModel):
            return None
        options = of_options(self.finding) | {"group": self.group}
        return Recipe("find-stars", options, of_inputs([self.source]))


@dataclass(frozen=True, eq=False)
class FoundStars:
    """The stars of one image.

    Attributes
    ----------
    stars : StarList
    info : ImageInfo
        Of the image, but for its WCS, which is large and has done its part.
    problem : str
        Why there is no star; empty if there are stars.
    failed : bool
        Whether the image cannot be measured at all.
    catalog : Path or None
        The file that was read or written.
    kept : bool
        Whether an earlier run has found the stars.
    """

    stars: StarList
    info: ImageInfo
    problem: str = ""
    failed: bool = False
    catalog: Path | None = None
    kept: bool = False


def find_in_image(task: FindTask) -> FoundStars:
    """Find the stars of an image, or read them.

    Raises
    ------
    InputError
        If the image or its catalog cannot be used.
    """
    if task.catalog is not None:
        info = read_info(task.source)
        catalog = read_catalog(task.catalog)
        problem = "" if len(catalog) else f"its catalog {task.catalog.name} is empty"
        return _found(task, info, catalog, problem=problem, written=task.catalog)
    recipe = None if task.folder is None else task.recipe
    if task.resume and recipe is not None and (kept := _kept(task, recipe)) is not None:
        return kept
    image = read_image(task.source)
    sources = _search(image, task.finding)
    problem = "" if len(sources) else sources.status.value
    failed = sources.status is SourceStatus.NO_VALID_PIXELS
    written = None
    if task.folder is not None:
        notes = {"problem": problem, "failed": failed}
        seal = None if recipe is None else recipe.noting(notes)
        written = _write(task, image.info, sources, seal)
    catalog = _as_catalog(image.info, sources)
    return _found(task, image.info, catalog, problem=problem, failed=failed, written=written)


def _kept(task: FindTask, recipe: Recipe) -> FoundStars | None:
    """Return the stars that an earlier run has found; None: find them."""
    assert task.folder is not None
    assert not isinstance(task.source, JwstDataModel)
    path = task.folder / catalog_name(task.source.name, task.files.catalog_format)
    found = keep(path, recipe)
    if found is None:
        return None
    catalog = read_catalog(path)
    info, group = read_catalog_image(path, catalog)
    return FoundStars(
        stars=star_list(catalog, info, group),
        info=replace(info, wcs=None),
        problem=str(found.notes["problem"]),
        failed=bool(found.notes["failed"]),
        catalog=path,
        kept=True,
    )


def _found(
    task: FindTask,
    info: ImageInfo,
    catalog: StarCatalog,
    *,
    problem: str,
    failed: bool = False,
    written: Path | None,
) -> FoundStars:
    scale = image_plane(info.wcs, info.wcsinfo, info.shape, info.name).pixel_scale
    return FoundStars(
        stars=star_list(
            catalog, info, task.group, fwhm=filter_fwhm(info.filter, info.pupil, scale)
        ),
        info=replace(info, wcs=None),
        problem=problem,
        failed=failed,
        catalog=written,
    )


def _search(image: StarImage, finding: SourceFinding) -> Sources:
    info = image.info
    scale = image_plane(info.wcs, info.wcsinfo, info.shape, info.name).pixel_scale
    return find_sources(
        image.data,
        image.err,
        (image.dq & np.uint32(DO_NOT_USE | NON_SCIENCE)) != 0,
        (image.dq & np.uint32(SATURATED)) != 0,
        fwhm=filter_fwhm(info.filter, info.pupil, scale),
        options=finding,
    )


def _as_catalog(info: ImageInfo, sources: Sources) -> StarCatalog:
    return StarCatalog(
        name=info.name,
        xy=np.stack([sources.xcentroid, sources.ycentroid], axis=-1),
        sigma=np.sqrt((np.square(sources.x_err) + np.square(sources.y_err)) / 2),
        flux=sources.flux,
        weight=np.ones(len(sources)),
        fwhm=sources.fwhm,
    )


_COLUMNS = (
    "xcentroid", "ycentroid", "flux", "x_err", "y_err", "peak", "sharpness", "roundness", "misfit",
    "flags",
)  # fmt: skip


def _write(task: FindTask, info: ImageInfo, sources: Sources, recipe: Noted | None) -> Path:
    assert task.folder is not None
    return write_catalog(
        {name: getattr(sources, name) for name in _COLUMNS},
        info,
        task.folder / catalog_name(info.name, task.files.catalog_format),
        group=task.group,
        fwhm=sources.fwhm,
        overwrite=task.overwrite or task.resume,
        recipe=recipe,
    )
