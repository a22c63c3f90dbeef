"""align_refs: move every reference onto the science images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.cubes import far_from
from webbalign.core.errors import InputError
from webbalign.core.mapped import visit
from webbalign.core.registration import AlignRefs, FitStatus, ShiftFit
from webbalign.products import models
from webbalign.products.flags import interpret_bits
from webbalign.products.provenance import Recipe
from webbalign.products.references import PsfMask, find_psfmask, mask_file
from webbalign.products.shared_arrays import scratch_array
from webbalign.products.shared_cubes import CubeFile, SharedCube
from webbalign.products.streams import ComputedQuad, QuadWriter, StreamedQuadModel
from webbalign.products.tables import shift_table, write_ecsv
from webbalign.steps._fitting import FitJob, MeanJob, fit_blocks
from webbalign.steps._memory import Cut, cut
from webbalign.steps._references import SharedReferences, repaired
from webbalign.steps._resume import recipe_of
from webbalign.steps._shifting import ShiftedSets, ShiftJob
from webbalign.steps.base import WebbStep

__all__ = ["AlignRefsStep"]

log = logging.getLogger(__name__)


# Distance (px) from the edge of the sky within which no pixel has weight: more than any shift
# between exposures that were acquired on the same coronagraph.
EDGE = 5


class AlignRefsStep(WebbStep):
    """Align every reference PSF to the science integrations."""

    class_alias = "webbalign_align_refs"
    product = "psfalign"
    options_class = AlignRefs
    reference_file_types: ClassVar = ["psfmask"]
    profiles: ClassVar = {
        "jwst": {
            "align_to": "first", "repair": "box", "shift_padding": 0, "err_shift": "flux",
            "hand_on_repaired": True,
        }
    }  # fmt: skip
    # where a 4-D product is going to lie; a pipeline sets it
    destination: Path | None = None
    # the references of the exposure before, with the stack that they come from
    _known: tuple[CubeModel, SharedReferences] | None = None
    # warnings about the mask that were given
    _said: frozenset[str] = frozenset()

    def process(self, target: str | CubeModel, psf: str | CubeModel) -> JwstDataModel:
        """Align references.

        Parameters
        ----------
        target : str or CubeModel
            Science exposure (nints, ny, nx).
        psf : str or CubeModel
            ``_psfstack`` (npsfs, ny, nx).

        Returns
        -------
        CubeModel or StreamedQuadModel
            (npsfs, ny, nx) where one alignment serves all integrations, else
            (nints, npsfs, ny, nx), opened lazily. Extension SHIFTS holds the fits, WEIGHT (ny, nx)
            the weight of the pixels in them.

        Raises
        ------
        InputError
            If sizes differ or the mask cannot be used.
        """
        options: AlignRefs = self.options
        science = models.open_cube(self._path(target))
        stack = models.open_cube(self._path(psf), wcs=False)
        _check_sizes(science, stack)
        mask = self._find_mask(science)
        if mask is None:
            return self._unaligned(stack)
        pieces = cut(self.runtime, len(stack.data), int(np.prod(stack.shape[1:])))
        outside, beyond = _outside(science.dq), _outside(stack.dq)
        references = self._references(stack, beyond, pieces)
        weight = self._weight(mask, outside | beyond)
        mask = replace(mask, weight=weight)
        job = MeanJob if options.align_to == "mean" else FitJob
        cube = SharedCube(science, self._folder)
        fits = self._fit(job(cube, outside, weight, references, science.meta.filename), pieces)
        table = shift_table(fits, self._frame_numbers(science))
        self._report(fits, science)
        if options.hand_on_repaired and self.parent is not None:
            self._replace_bad_pixels(science, outside)
        if options.align_to == "each":
            return self._aligned_each(stack, ShiftedSets(references, fits), table, mask)
        return self._aligned_once(stack, ShiftedSets(references, fits), table, mask, pieces)

    def recipe(self, files: Iterable[str | Path]) -> Recipe:
        """Return what the step makes of an exposure and a stack, and of the mask that applies."""
        science, *stack = map(Path, files)
        mask = mask_file(science, self.override_psfmask)
        chosen = [] if mask is None or self.override_psfmask else [mask]
        return recipe_of(self, [science, *stack, *chosen])

    def write_table(
        self, aligned: JwstDataModel, product: str | Path, recipe: Recipe | None = None
    ) -> Path:
        """Write the fitted shifts as ECSV beside the product (``.._psfalign_shifts.ecsv``)."""
        path = Path(product).with_suffix("")
        path = path.with_name(f"{path.name}_shifts.ecsv")
        meta = {"product": Path(product).name, "webbalign": models.describe(self.options)}
        table = models.extension(aligned, "SHIFTS")
        if table is None:
            raise ValueError(f"{product} has no table of shifts")
        return write_ecsv(table, path, meta, recipe)

    def save_product(self, model: JwstDataModel, path: str | Path) -> Path:
        """Save the aligned references and their table of shifts (alone without `save_psfalign`)."""
        recipe = self.recipe(map(self.make_input_path, self.inputs)) if self.inputs else None
        if isinstance(model, ComputedQuad):
            table = self.write_table(model, path, recipe)
            log.info("saved %s", table)
            return table
        saved = super().save_product(model, path)
        if models.extension(model, "SHIFTS") is not None:
            log.info("saved %s", self.write_table(model, saved, recipe))
        return saved

    # Operations of `process` ---------------------------------------------------------------------

    def _path(self, source: Any) -> Any:
        return source if isinstance(source, JwstDataModel) else self.make_input_path(str(source))

    def _find_mask(self, science: CubeModel) -> PsfMask | None:
        mask = find_psfmask(science, self.override_psfmask, self.options.psfmask_convention)
        if mask is None:
            return None
        for message in mask.messages:
            if message not in self._said:  # of each exposure it would be the same
                log.warning("%s", message)
        self._said = self._said.union(mask.messages)
        log.info(
            "psfmask %s (%s, convention %s): %.1f %% of the pixels have weight",
            mask.name, mask.source, self.options.psfmask_convention, 100 * mask.fraction,
        )  # fmt: skip
        return mask

    def _unaligned(self, stack: CubeModel) -> CubeModel:
        log.warning("no PSFMASK applies: the references are used unaligned")
        self.record(stack, "align_psfs", "SKIPPED")
        return stack

    @property
    def _folder(self) -> Path:
        """Where files may lie while the step works."""
        return (self.destination or Path(self.make_output_path())).parent

    def _weight(self, mask: PsfMask, outside: np.ndarray) -> np.ndarray:
        """Return the weight of the mask without the edge of the sky.

        Along that edge a shift brings in what no pixel has seen; the frame stands still on the
        detector and would pull every fit towards no shift at all.
        """
        if self.options.repair == "box":
            return mask.weight
        weight = mask.weight * far_from(outside, EDGE)
        # a mask that has weight only there is better than nothing
        return weight if weight.any() else mask.weight

    def _references(self, stack: CubeModel, outside: np.ndarray, pieces: Cut) -> SharedReferences:
        """Return the references to be prepared; those of the exposure before are the same ones."""
        if self._known is not None and self._known[0] is stack:
            known = self._known[1]
            if known.options == self.options and known.keep == pieces.in_memory:
                return known
        cube, name = SharedCube(stack, self._folder), stack.meta.filename
        references = SharedReferences(cube, outside, self.options, name, keep=pieces.in_memory)
        if self.parent is not None:
            self._known = (stack, references)
        return references

    def _replace_bad_pixels(self, science: CubeModel, outside: np.ndarray) -> None:
        cube = SharedCube(science, self._folder)
        for i in visit(science.data, science.err, science.dq):
            images = cube.read(slice(i, i + 1))
            data, _, _ = repaired(images, self.options, outside, science.meta.filename)
            science.data[i] = data[0]

    def _frame_numbers(self, science: CubeModel) -> Sequence[int]:
        to = self.options.align_to
        if to == "each":
            return range(len(science.data))
        return [_first(SharedCube(science, "."), self.options) if to == "first" else -1]

    def _fit(self, job: FitJob, pieces: Cut) -> list[list[ShiftFit]]:
        options: AlignRefs = self.options
        n = job.science.shape[0]
        parts = [slice(0, n)]
        if options.align_to == "first":
            first = _first(job.science, options)
            parts = [slice(first, first + 1)]
        elif options.align_to == "each":
            parts = fit_blocks(0, n, self.runtime.workers or 1, pieces.block)
        progress = self.runtime.progress
        progress.start("align: fit", n if options.align_to == "each" else 1)
        fits: list[list[ShiftFit]] = []
        for found in self.runtime.map(job, parts):
            fits += found
            progress.advance(len(found))
        progress.done()
        return fits

    def _report(self, fits: list[list[ShiftFit]], science: CubeModel) -> None:
        is_miri = science.meta.instrument.name == "MIRI"
        if self.options.align_to == "first" and is_miri and science.shape[0] > 1:
            log.warning("align_to=first leaves about twice the starlight at 4-10 px on MIRI")
        flat = [fit for frame in fits for fit in frame]
        failed = [fit for fit in flat if fit.status is not FitStatus.OK]
        shifts = np.hypot([fit.dx for fit in flat], [fit.dy for fit in flat])
        log.info(
            "%s: %d pairs, median shift %.3f px, largest %.3f px",
            science.meta.filename, len(flat), np.nanmedian(shifts), np.nanmax(shifts),
        )  # fmt: skip
        if failed:
            words = sorted({fit.status.name for fit in failed})
            log.warning(
                "%s: %d of %d references could not be aligned (%s); they are used where they are",
                science.meta.filename, len(failed), len(flat), ", ".join(words),
            )  # fmt: skip

    def _describe(self, model: JwstDataModel, mask: PsfMask) -> None:
        model.meta.ref_file.psfmask.name = mask.name
        self.record(model, "align_psfs")
        models.add_extension(model, "WEIGHT", mask.weight.astype(np.float32))
        models.add_history(
            model,
            f"psfmask {mask.name}: {mask.source}, convention {self.options.psfmask_convention}, "
            f"{100 * mask.fraction:.1f} % of the pixels with weight",
        )

    def _aligned_once(
        self, stack: CubeModel, sets: ShiftedSets, table: np.ndarray, mask: PsfMask, pieces: Cut
    ) -> CubeModel:
        shape = sets.references.shape
        arrays = [
            np.empty(shape, kind) if pieces.in_memory else scratch_array(self._folder, shape, kind)
            for kind in (np.float32, np.float32, np.uint32)
        ]
        sets.put(0, arrays)
        aligned = models.new_cube(stack, *arrays)
        _copy_origin(stack, aligned)
        models.add_extension(aligned, "SHIFTS", table)
        self._describe(aligned, mask)
        return aligned

    def _aligned_each(
        self, stack: CubeModel, sets: ShiftedSets, table: np.ndarray, mask: PsfMask
    ) -> StreamedQuadModel | ComputedQuad:
        if not self.options.save_psfalign:
            computed = ComputedQuad(stack, sets.shape, sets)
            _copy_origin(stack, computed)
            models.add_extension(computed, "SHIFTS", table)
            self._describe(computed, mask)
            return computed
        destination = self.destination or Path(self.make_output_path())
        models.refuse_existing(destination, self.runtime.overwrite)
        with QuadWriter(destination, sets.shape, stack) as writer:
            _copy_origin(stack, writer.model)
            self._describe(writer.model, mask)
            progress = self.runtime.progress
            progress.start("align: shift", len(sets.fits))
            items = ((i, sets.only(slice(i, i + 1))) for i in range(len(sets.fits)))
            for _ in self.runtime.map(ShiftJob(writer.sets), items):
                progress.advance()
            progress.done()
            return writer.finish(table)


def _first(science: SharedCube | CubeFile, options: AlignRefs) -> int:
    """Return the first integration that has a good pixel."""
    if options.repair == "box":
        return 0
    bits = np.uint32(interpret_bits(options.bad_bits) | models.NON_SCIENCE)
    for index in range(science.shape[0]):
        images = science.read(slice(index, index + 1))
        if (np.isfinite(images.data) & ((images.dq & bits) == 0)).any():
            return index
    return 0


def _outside(dq: np.ndarray) -> np.ndarray:
    """Return the pixels (ny, nx) that are no part of the sky in any integration."""
    outside = np.ones(dq.shape[1:], bool)
    for index in visit(dq):
        outside &= (dq[index] & np.uint32(models.NON_SCIENCE)) != 0
    return outside


def _copy_origin(source: CubeModel, target: JwstDataModel) -> None:
    origin = models.extension(source, "PSFSRC")
    if origin is not None:
        models.add_extension(target, "PSFSRC", origin)


def _check_sizes(science: CubeModel, stack: CubeModel) -> None:
    if science.shape[1:] != stack.shape[1:]:
        (ny, nx), (want_y, want_x) = stack.shape[1:], science.shape[1:]
        raise InputError(
            stack.meta.filename,
            f"references of {nx} x {ny} pixels",
            f"{want_x} x {want_y} as in {science.meta.filename}",
        )
