"""The three parts of tweakreg as calls of their own, with files between them.

A user can look at the catalogs, mend one, solve again in a second, or apply a solution to the
images of another filter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.core.sources import SourceFinding
from webbalign.products import models
from webbalign.products.atomic import refuse_input, sweep
from webbalign.products.catalogs import (
    CatalogFiles,
    StarCatalog,
    catalog_name,
    read_catalog,
    read_catalog_image,
    record_of,
    star_list,
)
from webbalign.products.groups import Grouping, group_ids
from webbalign.products.image_files import read_info
from webbalign.products.names import root
from webbalign.products.provenance import keep, of_options
from webbalign.products.reference_catalogs import (
    AbsoluteCatalog,
    check_reference,
    saved_name,
    write_reference_catalog,
)
from webbalign.products.remote import all_local, with_files_here
from webbalign.products.sip import SipApproximation
from webbalign.products.solutions import Solution, read_solution, write_solution
from webbalign.steps._correct_image import Corrected, borrow_in_image
from webbalign.steps._find_in_image import FindTask, FoundStars, find_in_image
from webbalign.steps._image_inputs import gather
from webbalign.steps._resume import is_lasting, recipe_with_files
from webbalign.steps._runtime import Runtime, bytes_of, image_map
from webbalign.steps.solving import SOLUTION_FILE, solve_starlists
from webbalign.steps.tweakreg_options import FindStars, Solve

__all__ = ["apply_solution", "find_stars", "solve"]

log = logging.getLogger(__name__)

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


def find_stars(
    images: Any,
    *,
    output_dir: str | Path = ".",
    overwrite: bool = True,
    resume: bool = False,
    map: Map = map,
    executor: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    advance: Callable[[], None] = lambda: None,
    **options: Any,
) -> list[FoundStars]:
    """Find the stars of images and write ``{name}_cat.ecsv`` with ``{name}_cat.asdf`` beside it.

    Parameters
    ----------
    images : association, file or list of files
    output_dir : str or Path
    overwrite : bool
    resume : bool
        Whether products that an earlier run has made of the same are kept; the others are replaced.
    map : callable
        ``map(function, items)``: lazily or in parallel, results in order.
    executor, workers, memory : optional
        What `map` is made of if it is not given, as of :class:`webbalign.steps.base.Runtime`.
    advance : callable
        Called after each image.
    **options
        Of :class:`webbalign.steps.tweakreg_options.FindStars`.

    Returns
    -------
    list of FoundStars
        ``catalog`` of each is the file.

    Raises
    ------
    InputError
        If an image cannot be used.
    """
    chosen = FindStars(**with_files_here(options))
    given, folder = gather(images), _folder(output_dir)
    infos = [read_info(path, wcs=False) for path in given.paths]
    members = [name or info.group_id for name, info in zip(given.groups, infos, strict=True)]
    groups = group_ids(
        [info.observation for info in infos], members, Grouping.from_mapping(vars(chosen))
    )
    files = CatalogFiles.from_mapping(vars(chosen))
    for info in infos:
        name = catalog_name(info.name, files.catalog_format)
        models.refuse_existing(folder / name, overwrite or resume)
    finding = SourceFinding.from_mapping(vars(chosen))
    tasks = [
        FindTask(path, group, finding, files, None, folder, overwrite, resume)
        for path, group in zip(given.paths, groups, strict=True)
    ]
    found = []
    asked = Runtime(map, executor, workers, memory=bytes_of(memory))
    with image_map(asked, len(tasks)) as runtime:
        for stars in runtime.map(find_in_image, tasks):
            say = log.warning if stars.problem else log.info
            what = f"no star: {stars.problem}" if stars.problem else f"{len(stars.stars)} stars"
            say("%s: %s; %s %s", stars.info.name, what, _done(stars.kept), stars.catalog)
            found.append(stars)
            advance()
    return found


def solve(
    catalogs: Sequence[str | Path],
    *,
    output_dir: str | Path = ".",
    overwrite: bool = True,
    resume: bool = False,
    group_by: str | None = None,
    **options: Any,
) -> Solution:
    """Match and solve catalogs of `find_stars`, and write ``tweakreg_solution.ecsv``.

    Parameters
    ----------
    catalogs : sequence of str or Path
        ``_cat.ecsv`` or ``_cat.fits``, each with its ``_cat.asdf`` beside it; they may have been
        edited.
    output_dir, overwrite, resume
        As of :func:`find_stars`.
    group_by : str, optional
        Group the images anew; by default they have the groups of the catalogs.
    **options
        Of :class:`webbalign.steps.tweakreg_options.Solve`.

    Raises
    ------
    InputError
        If a catalog cannot be used, or two are of one image.
    """
    chosen = Solve(**with_files_here(options))
    if not catalogs:
        raise InputError(None, "no catalogs given", "_cat.ecsv files of `webbalign find-stars`")
    folder = _folder(output_dir)
    table = folder / SOLUTION_FILE
    models.refuse_existing(table, overwrite or resume)
    check_reference(AbsoluteCatalog.from_mapping(vars(chosen)))
    paths = all_local(catalogs)
    read = [read_catalog(path) for path in paths]
    found = [_stars(path, catalog) for path, catalog in zip(paths, read, strict=True)]
    names = [stars.info.name for stars in found]
    for path, name in zip(catalogs, names, strict=True):
        if names.count(name) > 1:
            raise InputError(path, f"one of several catalogs of {name}", "one for each image")
    records = [record_of(path, catalog) for path, catalog in zip(paths, read, strict=True)]
    order = " ".join(path.name for path in paths)
    texts = of_options(chosen) | {"order": order, "group_by": str(group_by)}
    recipe = recipe_with_files("solve", texts, [*paths, *records], vars(chosen))
    if not chosen.save_abs_catalog and keep(table, recipe, resume=resume):
        return read_solution(table)
    if group_by is not None:
        found = _regrouped(found, group_by)

    def save_reference(stars: Any, name: str) -> None:
        if chosen.save_abs_catalog:
            path = folder / saved_name(name)
            again = overwrite or resume
            log.info("saved %s", write_reference_catalog(stars, path, overwrite=again))

    solution = solve_starlists(found, chosen, save_reference)
    write_solution(
        solution,
        table,
        overwrite=overwrite or resume,
        recipe=recipe if is_lasting(solution) else None,
    )
    log.info("saved %s", table)
    return solution


def _stars(path: Path, catalog: StarCatalog) -> FoundStars:
    info, group = read_catalog_image(path, catalog)
    problem = "" if len(catalog) else f"its catalog {path.name} is empty"
    return FoundStars(
        star_list(catalog, info, group), replace(info, wcs=None), problem, catalog=path
    )


def _regrouped(found: Sequence[FoundStars], group_by: str) -> list[FoundStars]:
    infos = [stars.info for stars in found]
    groups = group_ids(
        [info.observation for info in infos],
        [info.group_id for info in infos],
        Grouping(group_by=group_by),
    )
    return [
        replace(stars, stars=replace(stars.stars, group=group))
        for stars, group in zip(found, groups, strict=True)
    ]


def apply_solution(
    solution: str | Path | Solution,
    images: Any,
    *,
    output_dir: str | Path = ".",
    overwrite: bool = True,
    resume: bool = False,
    map: Map = map,
    executor: Any = None,
    workers: int | None = None,
    memory: int | str | None = None,
    advance: Callable[[], None] = lambda: None,
    **options: Any,
) -> list[Corrected]:
    """Write images (``{name}_tweakreg.fits``) with the corrections of a solution.

    Parameters
    ----------
    solution : str, Path or Solution
        ``tweakreg_solution.ecsv``.
    images : association, file or list of files
        They need not be those of the solution: an image of another filter takes the correction of
        the same exposure (another detector or channel), else that of the same visit.
    output_dir, overwrite, resume, map, executor, workers, memory, advance
        As of :func:`find_stars`.
    **options
        Of :class:`webbalign.products.sip.SipApproximation`.

    Returns
    -------
    list of Corrected
        ``by`` is empty for an image that the solution has no correction for: it is copied, with
        S_TWKREG = FAILED.

    Raises
    ------
    InputError
        If the solution or an image cannot be used.
    """
    sip = SipApproximation(**options)
    known = solution if isinstance(solution, Solution) else read_solution(solution)
    given, folder = gather(images), _folder(output_dir)
    sweep(folder)
    products = [folder / f"{root(path)}_tweakreg.fits" for path in given.paths]
    for product in products:
        refuse_input(product, given.paths)
        models.refuse_existing(product, overwrite or resume)
    work = partial(_borrow, solution=known, sip=sip, overwrite=overwrite, resume=resume)
    done = []
    tasks = list(zip(given.paths, products, strict=True))
    asked = Runtime(map, executor, workers, memory=bytes_of(memory))
    with image_map(asked, len(tasks)) as runtime:
        for corrected in runtime.map(work, tasks):
            _say(corrected)
            done.append(corrected)
            advance()
    return done


def _say(corrected: Corrected) -> None:
    if not corrected.by:
        log.warning("%s: no correction in the solution; its WCS stays", corrected.path)
        return
    said = _done(corrected.kept), corrected.path, corrected.by
    log.info("%s %s (correction of the %s)", *said)
    if corrected.before:
        log.warning("%s: its input had been corrected before; both count", corrected.path)


def _borrow(
    task: tuple[Path, Path],
    solution: Solution,
    sip: SipApproximation,
    overwrite: bool,
    resume: bool,
) -> Corrected:
    source, product = task
    return borrow_in_image(source, product, solution, sip, overwrite, resume)


def _done(kept: bool) -> str:
    return "kept" if kept else "saved"


def _folder(output_dir: str | Path) -> Path:
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
