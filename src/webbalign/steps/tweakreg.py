"""tweakreg: align images by their stars, all at once, and say how well."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from stdatamodels.jwst.datamodels import JwstDataModel
from stpipe.library import AbstractModelLibrary

from webbalign.core.errors import InputError
from webbalign.core.sources import SourceFinding
from webbalign.products import models
from webbalign.products.atomic import refuse_input, sweep
from webbalign.products.catalogs import CatalogFiles, catalog_name
from webbalign.products.custom_catalogs import custom_catalogs
from webbalign.products.groups import Grouping, group_ids
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.inputs import count_images
from webbalign.products.library import ModelLibrary
from webbalign.products.names import root
from webbalign.products.provenance import Recipe, keep
from webbalign.products.reference_catalogs import (
    AbsoluteCatalog,
    check_reference,
    saved_name,
    write_reference_catalog,
)
from webbalign.products.sip import SipApproximation
from webbalign.products.solutions import Solution, SolvedImage, read_solution, write_solution
from webbalign.products.solved_stars import stars_file
from webbalign.steps._correct_image import CorrectTask, correct_image, correct_in_place
from webbalign.steps._find_in_image import FindTask, FoundStars, find_in_image
from webbalign.steps._image_inputs import Images, gather, in_turn
from webbalign.steps._resume import is_lasting, recipe_of
from webbalign.steps._runtime import image_map
from webbalign.steps.base import WebbStep
from webbalign.steps.solving import SOLUTION_FILE, solve_starlists
from webbalign.steps.tweakreg_options import ModelHandling, TweakReg

__all__ = ["TweakRegStep"]

log = logging.getLogger(__name__)

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class TweakRegStep(WebbStep):
    """Find the stars of images, match them with one another and with a catalog, correct each GWCS.

    ``TweakRegStep.call("asn.json", abs_refcat="GAIADR3", save_results=True)`` returns a library of
    the corrected images; ``solution`` tells what was found for each.

    Attributes
    ----------
    solution : Solution
        Of the last run.
    written : list of Path
        The files saved by the last run.
    """

    class_alias = "webbalign_tweakreg"
    product = "tweakreg"
    options_class = TweakReg
    profiles: ClassVar = {
        "jwst": {
            "sigma_radius": 1.5, "kernel_fwhm": 2.5, "centroid": "finder", "solver": "sequential",
        }
    }  # fmt: skip
    solution: Solution
    written: list[Path]

    @contextmanager
    def with_workers(self) -> Iterator[None]:
        """Have the workers that were asked for, as many as fit into the memory."""
        given = self.runtime
        with image_map(given, max(1, count_images(self.inputs))) as self.runtime:
            try:
                yield
            finally:
                self.runtime = given

    def process(self, source: Any) -> AbstractModelLibrary:
        """Align images.

        Parameters
        ----------
        source : str, Path, mapping, AbstractModelLibrary, data model, or a sequence of these
            An association, ``_cal`` files, or models (which are copied). The models of a library
            are changed.

        Returns
        -------
        AbstractModelLibrary
            The corrected images, in the order of the input.

        Raises
        ------
        InputError
            If an image, a catalog or the association cannot be used; no product is written then.
        """
        options: TweakReg = self.options
        self.written = []
        check_reference(AbsoluteCatalog.from_mapping(vars(options)))
        images = gather(source, self.make_input_path)
        for name, role in images.ignored:
            log.warning("%s: member of exptype %r takes no part in tweakreg", name, role)
        infos = self._infos(images)
        products = self._products(images, infos)
        table = self._folder / SOLUTION_FILE
        recipe = self._solution_recipe(images)
        solution = self._kept_solution(table, recipe)
        catalogs: list[str | None] = [None] * len(infos)
        if solution is None:
            found = self._find(images, infos, options)
            catalogs = self._catalog_names(found)
            solution = solve_starlists(found, options, self._save_reference)
            if self.save_results:
                overwrite = self.runtime.overwrite or self.runtime.resume
                seal = None
                if recipe is not None and is_lasting(solution):
                    seal = recipe.noting({"products": [path.name for path in products]})
                write_solution(solution, table, overwrite=overwrite, recipe=seal)
                log.info("saved %s", table)
        self._report(solution)
        result = self._correct(images, solution, products, catalogs)
        self.solution = solution
        if self.save_results:
            self.written += [path for path in (stars_file(table), table) if path.is_file()]
            sweep(self._folder)  # a worker may have been killed
        return result

    def _solution_recipe(self, images: Images) -> Recipe | None:
        """Return what the solution is made from; None if that cannot be told by files."""
        options: TweakReg = self.options
        if images.library is not None or options.use_custom_catalogs:
            return None
        order = " ".join(path.name for path in images.paths)
        recipe = recipe_of(self, images.paths, order=order, groups=str(images.groups))
        left_out = (*ModelHandling.__dataclass_fields__, *SipApproximation.__dataclass_fields__)
        kept = {name: text for name, text in recipe.options.items() if name not in left_out}
        return replace(recipe, step="tweakreg, the solution", options=kept)

    def _kept_solution(self, path: Path, recipe: Recipe | None) -> Solution | None:
        """Return the solution of an earlier run, if it is of the same; its stars are not kept."""
        options: TweakReg = self.options
        besides = options.save_catalogs or options.save_abs_catalog
        if recipe is None or besides or not self.save_results:
            return None
        found = keep(path, recipe, resume=self.runtime.resume)
        return None if found is None else read_solution(path)

    # Before anything is done ---------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return Path(self.output_dir or ".").expanduser()

    def _infos(self, images: Images) -> list[ImageInfo]:
        """Read what the headers say of each image."""
        if images.library is not None:
            return list(in_turn(images.library, lambda model, _: _read_bare(model), modify=False))
        # here and not by the workers, which are still being made
        return list(self._each("read headers", _read_bare, images.paths, map))

    def _products(self, images: Images, infos: Sequence[ImageInfo]) -> list[Path]:
        """Name the products, and see that they can be written."""
        options: TweakReg = self.options
        names = [root(info.name) for info in infos]
        if not options.output_use_model and self.output_file:
            base = root(self.output_file)
            names = [f"{base}_{number}" for number in range(len(infos))]
        suffix = self.suffix or self.product
        products = [self._folder / f"{name}_{suffix}.fits" for name in names]
        twice = sorted({path.name for path in products if products.count(path) > 1})
        if twice:
            raise InputError(None, f"two images would become {twice[0]}", "different names")
        if self.save_results:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            table = self._folder / SOLUTION_FILE
            for product in (*products, table, stars_file(table)):
                models.refuse_existing(product, self.runtime.overwrite or self.runtime.resume)
            for product in products:
                refuse_input(product, images.paths)
        return products

    # The three parts -----------------------------------------------------------------------------

    def _find(
        self, images: Images, infos: Sequence[ImageInfo], options: TweakReg
    ) -> list[FoundStars]:
        """Find the stars of all images."""
        files = CatalogFiles.from_mapping(vars(options))
        given = [member or info.group_id for member, info in zip(images.groups, infos, strict=True)]
        if options.group_by != "exposure" and images.library is not None:
            # a library names the exposure of each model where nobody has named a group
            given = [info.group_id for info in infos]
        groups = group_ids(
            [info.observation for info in infos], given, Grouping.from_mapping(vars(options))
        )
        catalogs = custom_catalogs(infos, files, images.catalogs, images.folder)
        folder = self._folder if options.save_catalogs else None
        template = FindTask(
            Path(), "", SourceFinding.from_mapping(vars(options)), files, folder=folder,
            overwrite=self.runtime.overwrite,
        )  # fmt: skip

        def task(source: Path | JwstDataModel, index: int) -> FindTask:
            return replace(template, source=source, group=groups[index], catalog=catalogs[index])

        if images.library is not None:
            found = list(
                in_turn(
                    images.library,
                    lambda model, index: find_in_image(task(model, index)),
                    modify=False,
                )
            )
        else:
            tasks = [task(path, index) for index, path in enumerate(images.paths)]
            found = list(self._each("find stars", find_in_image, tasks))
        for stars in found:
            if stars.problem:
                log.warning("%s: no star: %s", stars.info.name, stars.problem)
            if stars.catalog is not None and folder is not None:
                self._note_catalog(stars, files)
        return found

    def _note_catalog(self, stars: FoundStars, files: CatalogFiles) -> None:
        path = self._folder / catalog_name(stars.info.name, files.catalog_format)
        if stars.catalog == path:
            self.written += [path, path.with_suffix(".asdf")]
            log.info("saved %s", path)

    def _catalog_names(self, found: Sequence[FoundStars]) -> list[str | None]:
        """Name the catalog of each image as its product is to name it, seen from its folder."""
        # without a catalog: of those that were asked for it is said that there is none
        none = "" if self.options.use_custom_catalogs else None
        return [
            none if stars.catalog is None else os.path.relpath(stars.catalog, self._folder)
            for stars in found
        ]

    def _correct(
        self,
        images: Images,
        solution: Solution,
        products: Sequence[Path],
        catalogs: Sequence[str | None],
    ) -> AbstractModelLibrary:
        """Apply the corrections."""
        options: TweakReg = self.options
        sip = SipApproximation.from_mapping(vars(options))
        groups = [row.group_id for row in solution.images]
        if images.library is None and self.save_results:
            tasks = [
                CorrectTask(
                    path, product, row, sip, catalog, self.runtime.overwrite, self.runtime.resume
                )
                for path, product, row, catalog in zip(
                    images.paths, products, solution.images, catalogs, strict=True
                )
            ]
            for done in self._each("correct images", correct_image, tasks):
                self.written.append(done.path)
                log.info("%s %s", "kept" if done.kept else "saved", done.path)
            paths, library = list(products), None
        else:
            paths, library = list(images.paths), images.library
        if library is None:
            library = ModelLibrary.of_files(
                paths,
                groups,
                association=images.association,
                on_disk=not options.in_memory or self.runtime.memory is not None,
            )
            if self.save_results:
                return library
        correct = partial(_correct_model, rows=solution.images, sip=sip, catalogs=catalogs)
        for index, _ in enumerate(in_turn(library, correct, modify=True)):
            log.debug("%s corrected", solution.images[index].filename)
        if self.save_results:
            self._save_library(library, products)
        return library

    def _save_library(self, library: AbstractModelLibrary, products: Sequence[Path]) -> None:
        def save(model: JwstDataModel, index: int) -> Path:
            return models.save(model, products[index], overwrite=self.runtime.overwrite)

        for path in in_turn(library, save, modify=False):
            self.written.append(path)
            log.info("saved %s", path)

    def save_model(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: `process` has saved what is to be saved."""

    # What all of them need -----------------------------------------------------------------------

    def _each(
        self,
        name: str,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        map: Map | None = None,
    ) -> Iterator[Any]:
        """Apply a function to the items, telling how far it is."""
        progress = self.runtime.progress
        progress.start(name, len(items))
        for result in (map or self.runtime.map)(function, items):
            yield result
            progress.advance()
        progress.done()

    def _save_reference(self, stars: Any, name: str) -> None:
        if not self.options.save_abs_catalog:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / saved_name(name)
        self.written.append(write_reference_catalog(stars, path, overwrite=self.runtime.overwrite))
        log.info("saved %s", path)

    def _report(self, solution: Solution) -> None:
        for row in solution.images:
            say = log.info if row.step_status == "COMPLETE" else log.warning
            reason = f" ({row.reason})" if row.reason else ""
            say("%s: %s%s", row.filename, row.status, reason)


def _correct_model(
    model: JwstDataModel,
    index: int,
    rows: Sequence[SolvedImage],
    sip: SipApproximation,
    catalogs: Sequence[str | None],
) -> None:
    correct_in_place(model, rows[index], sip, catalogs[index])


def _read_bare(source: Path | JwstDataModel) -> ImageInfo:
    return read_info(source, wcs=False)
