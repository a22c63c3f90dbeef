"""coron3: from an association of coronagraphic exposures to a subtracted, combined image."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel

from webbalign.core.errors import OptionError
from webbalign.execution import executor, spared_from_collection
from webbalign.pipelines._coron3_rows import RINGS, Views, exposure_row
from webbalign.pipelines._flagging import Flagging, FlagJob, open_psf
from webbalign.pipelines.base import Later, WebbPipeline, chosen_executor
from webbalign.pipelines.coron3_recipes import Coron3Recipes
from webbalign.pipelines.options import Coron3Options
from webbalign.pipelines.planning import describe_plan, expected_seconds
from webbalign.products import models
from webbalign.products.associations import Association, check_members, load_association
from webbalign.products.atomic import refuse_input
from webbalign.products.coron_products import count_outliers, mean_image
from webbalign.products.headers import read_header
from webbalign.products.held import hold
from webbalign.products.names import exposure_product, root, source_product
from webbalign.products.provenance import Finding, Recipe, State, judge, keep
from webbalign.products.references import read_psfmask
from webbalign.products.streams import open_aligned
from webbalign.reports.summary import Coron3Summary, ExposureRow
from webbalign.steps._memory import cut
from webbalign.steps.align_refs import AlignRefsStep
from webbalign.steps.klip import KlipStep
from webbalign.steps.outlier_detection import OutlierDetectionStep
from webbalign.steps.resample import Average, ResampleStep
from webbalign.steps.stack_refs import Gathered, StackRefsStep

__all__ = ["Coron3Pipeline", "Coron3Result", "plan", "run", "status"]

log = logging.getLogger(__name__)


class Coron3Pipeline(WebbPipeline):
    """Subtract the starlight of an association of coronagraphic exposures and combine them.

    ``Coron3Pipeline.call(association, output_dir=..., steps={"klip": {"truncate": 20}})`` returns
    the combined image (the ``_i2d`` model); all products are in `output_dir`.
    """

    class_alias = "webbalign_coron3"
    product = "i2d"
    options_class = Coron3Options
    step_defs: ClassVar[Mapping[str, Any]] = {
        "outlier_detection": OutlierDetectionStep,
        "stack_refs": StackRefsStep,
        "align_refs": AlignRefsStep,
        "klip": KlipStep,
        "resample": ResampleStep,
    }
    workers_need: ClassVar[tuple[str, ...]] = ("webbalign.pipelines.coron3",)
    summary: Coron3Summary
    recipes: Coron3Recipes

    def process(self, source: str | Mapping[str, Any]) -> ImageModel | None:
        """Run all steps.

        Parameters
        ----------
        source : str, Path or mapping
            Association with science and psf members.

        Returns
        -------
        ImageModel or None
            The combined image; None if resample is skipped.

        Raises
        ------
        InputError
            If the members cannot be used together; nothing is written then.
        """
        association = load_association(source)
        headers = check_members(association)
        self.inputs = tuple(map(str, association.members))
        self._refuse_impossible()
        self.asn_id, self.output_file = association.asn_id, None
        self._announce(association, headers)
        self._refuse_replacing(association)
        self.prepare_folder()
        self.recipes = Coron3Recipes(association, self)
        with self.mapped(expected_seconds(association, headers, self.align_refs.options)):
            self._refuse_small_memory(association, headers)
            with closing(self._flag_elsewhere(association)) as flagging:
                next(flagging, None)  # those of the PSF; of them the stack is made meanwhile
                stack = self._stack(association)
                next(flagging, None)
            subtracted = [self._subtract(path, stack) for path in association.science]
            result = self._combine(association, subtracted)
        self.summary.files = self.written
        return result

    def _refuse_impossible(self) -> None:
        """Refuse what cannot work before anything is done."""
        for name in ("outlier_detection", "align_refs", "klip", "resample"):
            _ = getattr(self, name).options
        mask = self.align_refs.override_psfmask
        if isinstance(mask, str) and mask.strip().upper() not in ("", "N/A", "DERIVED"):
            read_psfmask(mask, self.align_refs.psfmask_convention)
        if self.stack_refs.skip:
            raise OptionError(
                "option 'steps.stack_refs.skip' is true - give false: the PSF stack is needed"
            )

    def _refuse_small_memory(self, association: Association, headers: Mapping[Path, Any]) -> None:
        """Refuse now a memory in which the work cannot be done, however it is cut up."""
        npsfs = sum(headers[path].nints for path in association.psf)
        npix = int(np.prod(headers[association.science[0]].image_shape))
        self._pieces = cut(self.runtime, npsfs, npix)

    def _refuse_replacing(self, association: Association) -> None:
        """With ``--no-overwrite``, refuse now what would be refused in the middle of the work."""
        if self.runtime.resume:
            return  # what is finished may be there
        of_each = {
            "crfints": not self.outlier_detection.skip,
            "psfalign": not self.align_refs.skip and self.align_refs.save_psfalign,
            "psfsub": True,
        }
        wanted = [
            exposure_product(path, association.asn_id, suffix)
            for suffix, is_written in of_each.items() if is_written
            for path in association.science + (association.psf if suffix == "crfints" else ())
        ]  # fmt: skip
        wanted.append(source_product(association.name, "psfstack"))
        if not self.resample.skip:
            wanted.append(source_product(association.name, self.suffix or "i2d"))
        for name in wanted:
            models.refuse_existing(self.output_folder / name, self.runtime.overwrite)

    def _announce(self, association: Association, headers: Mapping[Path, Any]) -> None:
        for name, role in association.ignored:
            log.warning("%s: member of exptype %r takes no part in coron3", name, role)
        first = headers[association.science[0]]
        log.info(
            "%s: %d science and %d psf exposures, %s %s %s",
            association.name, len(association.science), len(association.psf),
            first.instrument, first.filter, first.coronagraph,
        )  # fmt: skip
        self.summary = Coron3Summary(edges=RINGS)
        self._first: Views | None = None
        self._n_outliers: dict[Path, int] = {}
        self._flagged_elsewhere: set[Path] = set()

    # The three stages ----------------------------------------------------------------------------

    def _flag_elsewhere(self, association: Association) -> Generator[None, None, None]:
        """Let other processes flag the exposures, if there are any and nothing is needed here.

        Yields when those of the PSF are done; the processes go on with the others meanwhile.
        """
        step, runtime = self.outlier_detection, self.runtime
        if step.skip or self._has_hooks or step.save_intermediate_results or runtime.shares_memory:
            return
        items = []
        for path in (*association.psf, *association.science):
            is_psf, place = path in association.psf, self.recipes.place(path, "crfints")
            recipe = self.recipes.crfints(path)
            refuse_input(place, self.inputs)
            # (what is kept is said when its turn comes)
            done = runtime.resume and judge(place, recipe).state is State.DONE
            if not done and not keep(place, recipe, resume=runtime.resume):
                is_first = path == association.psf[0]
                items.append(Flagging(path, place, recipe, is_psf, is_first))
        progress, counts = runtime.progress, iter(runtime.map(FlagJob(step.options), items))
        n_psf = sum(item.is_psf for item in items)
        self._flagged_elsewhere = {item.path for item in items}
        for kind, some in (("PSF", items[:n_psf]), ("science", items[n_psf:])):
            progress.start(f"flag {kind} exposures", len(some))
            for item in some:
                self._n_outliers[item.path] = next(counts)
                log.info("saved %s", item.place)
                self.written.append(item.place)
                progress.advance()
            progress.done()
            yield

    def _stack(self, association: Association) -> Later[CubeModel]:
        """Flag and stack the PSF exposures."""
        progress = self.runtime.progress
        progress.start("flag PSF exposures", len(association.psf))
        gathered = self._room_for_stack(association)
        for path in association.psf:
            first = path == association.psf[0]
            exposure = self._flagged(path, partial(self._open_psf, first=first))
            if gathered is not None:
                gathered.add(exposure.model.meta.filename, exposure.model)
            progress.advance()
        progress.done()
        self.summary.n_psf_outliers = sum(self._n_outliers[path] for path in association.psf)
        place, recipe = self.recipes.common_place("psfstack"), self.recipes.psfstack()
        if self.kept(place, recipe):
            return Later(lambda: models.open_cube(place))
        files = [str(self.recipes.flagged(path)) for path in association.psf]
        stack = self.stack_refs.run(files if gathered is None else gathered)
        self.write(stack, place.name, recipe=recipe)
        return Later(lambda: stack)

    def _room_for_stack(self, association: Association) -> Gathered | None:
        """Return room for the stack if each exposure is put there when it is flagged.

        Not if they are flagged elsewhere, or were by an earlier run, or a hook wants files or may
        have changed their size: then their products are read.
        """
        hooks = self._has_hooks or self.stack_refs.pre_hooks
        if self.runtime.resume or self._flagged_elsewhere or hooks or not self._pieces.in_memory:
            return None
        headers = [read_header(path) for path in association.psf]
        if len({header.image_shape for header in headers}) > 1:
            return None  # refused below, by name
        npsfs = sum(header.nints for header in headers)
        return self.stack_refs.gather((npsfs, *headers[0].image_shape))

    def _open_psf(self, path: Path, *, first: bool) -> CubeModel:
        # the metadata of the stack are those of its first exposure; a hook may want all
        return open_psf(path, self.output_folder, metadata=first or self._has_hooks)

    def _flagged(self, path: Path, opened: Callable[[Path], CubeModel]) -> Later[CubeModel]:
        """Return an exposure with its outliers flagged, and see that it is saved."""
        place = self.recipes.place(path, "crfints")
        if path in self._flagged_elsewhere:
            return Later(lambda: self.outlier_detection.resumed(opened(path), place))
        self._n_outliers[path] = 0
        if self.outlier_detection.skip:
            return Later(lambda: opened(path))
        kept = self.kept(place, self.recipes.crfints(path))
        # the median that is saved besides has to be made, too
        if kept is not None and not self.outlier_detection.save_intermediate_results:
            self._n_outliers[path] = kept.notes["n_outliers"]
            return Later(lambda: self.outlier_detection.resumed(opened(path), place))
        flagged = self._flag(opened(path), path)
        return Later(lambda: flagged)

    def _flag(self, exposure: CubeModel, path: Path) -> CubeModel:
        """Flag the outliers of one exposure and save it."""
        step = self.outlier_detection
        before = count_outliers(exposure.dq).sum()  # stage 2 may have flagged some
        flagged = step.run(exposure)
        self._n_outliers[path] = int(count_outliers(flagged.dq).sum() - before)
        recipe = self.recipes.crfints(path).noting({"n_outliers": self._n_outliers[path]})
        # a hook may have changed anything; then the whole model has to be saved
        name = exposure_product(path, self.asn_id, "crfints")
        self.write(flagged, name, flagged=not self._has_hooks, recipe=recipe)
        return flagged

    @property
    def _has_hooks(self) -> bool:
        step = self.outlier_detection
        return bool(step.pre_hooks or step.post_hooks)

    def _subtract(self, path: Path, stack: Later[CubeModel]) -> Average | Path:
        """Take one science exposure to its PSF-subtracted cube, and that to its mean.

        Returns the ``_psfsub`` file, if that is kept.
        """
        exposure = self._flagged(path, self._hold)
        aligned = self._aligned(exposure, stack, path)
        recipe, place = self.recipes.psfsub(path), self.recipes.place(path, "psfsub")
        kept = self._kept_psfsub(path)
        if kept is not None:
            self.summary.unit = kept.notes["unit"]
            self.summary.rows.append(ExposureRow.from_notes(kept.notes["row"]))
            aligned.close()
            return place
        before = mean_image(exposure.model)
        # the references first: the alignment may have repaired the exposure
        references = aligned.model
        subtracted = self._remove_starlight(exposure.model, references)
        row = self._add_row(path, subtracted, references, before)
        notes = {"row": row.notes, "unit": self.summary.unit}
        self._save_psf_model(subtracted, path)
        self.write(subtracted, place.name, recipe=recipe.noting(notes))
        aligned.close()
        average = self.resample.average(subtracted)
        if path == self.recipes.association.science[0]:
            self._first = Views(before, mean_image(subtracted), average)
        return average

    def _hold(self, path: Path) -> CubeModel:
        return hold(path, self.output_folder)

    def _kept_psfsub(self, path: Path) -> Finding | None:
        """Tell whether the subtracted exposure is finished, and the model of its starlight."""
        if self._wants_psf_model:
            place = self.recipes.place(path, "psfmodel")
            if not self.kept(place, self.recipes.psfmodel(path)):
                return None
        return self.kept(self.recipes.place(path, "psfsub"), self.recipes.psfsub(path))

    def _aligned(self, exposure: Later[CubeModel], stack: Later[CubeModel], path: Path) -> Later:
        """Return the references aligned to an exposure, and see that they are saved."""
        step, place = self.align_refs, self.recipes.place(path, "psfalign")
        align = Later(lambda: self._align(exposure.model, stack.model, place))
        if step.skip or not step.save_psfalign:
            return align
        recipe, table = self.recipes.psfalign(path), self.recipes.shifts_place(path)
        done = self.kept(place, recipe) and self.kept(table, recipe)
        # an alignment that repairs the exposure in passing is not done by its product alone
        if done and (not step.options.hand_on_repaired or self._kept_psfsub(path)):
            return Later(lambda: open_aligned(place))
        self.write(align.model, place.name, recipe=recipe)
        self._remember(step.write_table(align.model, place, recipe))
        return align

    def _align(self, exposure: CubeModel, stack: CubeModel, place: Path) -> Any:
        step = self.align_refs
        if step.skip:
            stack.meta.cal_step.align_psfs = "SKIPPED"
            log.warning("align_refs is skipped: the references are used as they are")
            return stack
        step.destination = place
        return step.run(exposure, stack)

    def _remove_starlight(self, exposure: CubeModel, aligned: Any) -> CubeModel:
        if self.klip.skip:
            log.warning("klip is skipped: the starlight stays in")
            exposure.meta.cal_step.klip = "SKIPPED"
            return exposure
        return self.klip.run(exposure, aligned)

    def _save_psf_model(self, subtracted: CubeModel, path: Path) -> None:
        model = self.klip.psf_model
        if model is not None and self._wants_psf_model:
            name = exposure_product(path, self.asn_id, "psfmodel")
            self.write(model, name, recipe=self.recipes.psfmodel(path))

    @property
    def _wants_psf_model(self) -> bool:
        return bool(self.klip.save_psf_model and not self.klip.skip)

    def _combine(self, association: Association, averages: list[Any]) -> ImageModel | None:
        """Resample, and draw the result."""
        if self.resample.skip:
            log.warning("resample is skipped: the result is the _psfsub products")
            return None
        path, recipe = self.recipes.combined_place, self.recipes.i2d()
        if self.kept(path, recipe):
            result = models.open_image(path)
        else:
            result = self.resample.run([self._average(item) for item in averages])
            result.meta.asn.table_name = association.table_name
            result.meta.asn.pool_name = association.pool_name
            self.write(result, path.name, recipe=recipe)
        wanted = self.options.figure or self.options.mark
        picture = path.with_suffix(".png")
        if wanted and isinstance(result, ImageModel):
            recipe = self.recipes.figure()
            if not self.kept(picture, recipe):
                first = self._first or self._views(association.science[0])
                self.written.append(self._draw(first, result, picture, recipe))
        return result

    def _average(self, item: Average | Path) -> Average:
        """Return the mean of a subtracted exposure, read if it was kept."""
        return self.resample.average(self._hold(item)) if isinstance(item, Path) else item

    def _views(self, path: Path) -> Views:
        """Return what the figure shows of an exposure that was kept."""
        subtracted = self._hold(self.recipes.place(path, "psfsub"))
        before = mean_image(self._hold(self.recipes.flagged(path)))
        return Views(before, mean_image(subtracted), self.resample.average(subtracted))

    def _draw(self, first: Views, combined: ImageModel, path: Path, recipe: Recipe) -> Path:
        from webbalign.reports.coron3 import draw_coron3

        drawn = draw_coron3(
            path,
            before=first.before,
            after=first.after,
            exposure=(first.average.wcs, self.klip.centre(first.average.model, first.before.shape)),
            combined=combined,
            marks=list(zip(*[iter(self.options.mark or ())] * 2, strict=True)),
            name=self.summary.rows[0].name,
            recipe=recipe,
        )
        log.info("saved %s", drawn)
        return drawn

    # The summary ---------------------------------------------------------------------------------

    def _add_row(
        self, path: Path, subtracted: CubeModel, aligned: Any, before: np.ndarray
    ) -> ExposureRow:
        self.summary.unit = subtracted.meta.bunit_data or ""
        row = exposure_row(
            root(path), before, subtracted, self.klip.centre(subtracted, before.shape),
            n_outliers=self._n_outliers[path],
            fits=models.extension(aligned, "SHIFTS"),
            is_aligned=not self.align_refs.skip,
        )  # fmt: skip
        self.summary.rows.append(row)
        return row


@dataclass(frozen=True)
class Coron3Result:
    """What one run has made.

    Attributes
    ----------
    model_path : Path or None
        The combined image.
    figure : Path or None
        Its picture.
    files : list of Path
        All files written.
    summary : Coron3Summary
        The table (``.text``).
    exit_status : int
        0: all aligned; 3: products written, but some image was not aligned.
    """

    model_path: Path | None
    figure: Path | None
    files: list[Path]
    summary: Coron3Summary
    exit_status: int

    def _repr_html_(self) -> str:
        """Return the table of the run, for notebooks."""
        return self.summary._repr_html_()


def run(
    association: str | Path,
    *,
    output_dir: str | Path = ".",
    save_parameters: str | Path | None = None,
    **options: Any,
) -> Coron3Result:
    """Run coron3 and tell what was made; what the command line does.

    Parameters
    ----------
    association : str or Path
        Association file.
    output_dir : str or Path
        Folder of the products.
    save_parameters : str or Path, optional
        ASDF file for the parameters that are used.
    **options
        As for ``Coron3Pipeline.call``: ``steps``, ``profile``, ``config_file``, ``figure``,
        and the words of :class:`webbalign.steps.base.Runtime`.
    """
    pipeline = Coron3Pipeline.create(association, output_dir=str(output_dir), **options)
    if save_parameters is not None:
        pipeline.export_config(str(save_parameters))
    with spared_from_collection():  # of all that was imported: stpipe begins with a collection
        result = pipeline.run(str(association))
    summary = pipeline.summary
    name = None if result is None else pipeline.output_folder / result.meta.filename
    figures = [path for path in pipeline.written if path.suffix == ".png"]
    return Coron3Result(
        model_path=name,
        figure=figures[0] if figures else None,
        files=pipeline.written,
        summary=summary,
        exit_status=3 if summary.n_unaligned else 0,
    )


def status(association: str | Path, **options: Any) -> list[Finding]:
    """Say which products of :func:`run` are done, and what would be made again, and why.

    Parameters
    ----------
    association : str or Path
    **options
        As of :func:`run`.

    Returns
    -------
    list of Finding
        One for each product, in the order of the work.

    Raises
    ------
    InputError
        If the members cannot be used together.
    """
    pipeline = Coron3Pipeline.create(association, **options)
    members = load_association(association)
    check_members(members)
    pipeline._refuse_impossible()
    return Coron3Recipes(members, pipeline).status()


def plan(association: str | Path, **options: Any) -> str:
    """Say what :func:`run` would do: members, mask, sizes, memory and disk, without doing it.

    Raises
    ------
    InputError
        If the members cannot be used together.
    OptionError, ExecutorError
        If the options cannot be followed, or what the executor needs is not installed.
    """
    options = {name: value for name, value in options.items() if name != "save_parameters"}
    pipeline = Coron3Pipeline.create(association, **options)
    pipeline._refuse_impossible()
    runtime = pipeline.runtime
    executor(chosen_executor(runtime.executor, runtime.workers), runtime.workers)
    members = load_association(association)
    return describe_plan(members, check_members(members), pipeline)
