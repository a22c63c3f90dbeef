"""align_refs: move every reference onto the science images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.alignment import Frame, PsfFrames, References, fit_frames
from webbalign.core.cubes import continue_outside, far_from, fill_bad_pixels
from webbalign.core.errors import InputError
from webbalign.core.mapped import release, visit
from webbalign.core.registration import AlignRefs, FitStatus, ShiftFit
from webbalign.products import models
from webbalign.products.flags import interpret_bits
from webbalign.products.references import PsfMask, find_psfmask
from webbalign.products.streams import AlignedSlice, ComputedQuad, QuadWriter, StreamedQuadModel
from webbalign.products.tables import shift_table, write_ecsv
from webbalign.steps.base import WebbStep

__all__ = ["AlignRefsStep"]

log = logging.getLogger(__name__)


# Science images that are fitted together: they share what is prepared for a reference.
BLOCK = 8
# Distance (px) from the edge of the sky within which no pixel has weight: more than any shift
# between exposures that were acquired on the same coronagraph.
EDGE = 5
# Prepared references that are kept from one exposure to the next.
MOST_KEPT = 50


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
    # what was prepared for the exposure before: (stack, options, prepared references)
    _prepared: tuple[CubeModel, AlignRefs, PsfFrames] | None = None
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
            (nints, npsfs, ny, nx), opened lazily. Extension SHIFTS holds the fits.

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
        psfs = self._psf_frames(stack, self._weight(mask, science, stack))
        references = psfs.references
        fits = self._fit(science, psfs)
        table = shift_table(fits, self._frame_numbers(science))
        self._report(fits, science)
        if options.hand_on_repaired and self.parent is not None:
            science.data = self._repaired(science)[0].astype(np.float32)
        if options.align_to == "each":
            return self._aligned_each(science, stack, references, fits, table, mask)
        return self._aligned_once(stack, references, fits[0], table, mask)

    def write_table(self, aligned: JwstDataModel, product: str | Path) -> Path:
        """Write the fitted shifts as ECSV beside the product (``.._psfalign_shifts.ecsv``)."""
        path = Path(product).with_suffix("")
        path = path.with_name(f"{path.name}_shifts.ecsv")
        meta = {"product": Path(product).name, "webbalign": models.describe(self.options)}
        table = models.extension(aligned, "SHIFTS")
        if table is None:
            raise ValueError(f"{product} has no table of shifts")
        return write_ecsv(table, path, meta)

    def save_product(self, model: JwstDataModel, path: str | Path) -> Path:
        """Save the aligned references and their table of shifts (alone without `save_psfalign`)."""
        if isinstance(model, ComputedQuad):
            table = self.write_table(model, path)
            log.info("saved %s", table)
            return table
        saved = super().save_product(model, path)
        if models.extension(model, "SHIFTS") is not None:
            log.info("saved %s", self.write_table(model, saved))
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

    def _repair(self, data: np.ndarray, bad: np.ndarray, outside: np.ndarray, name: Any) -> Any:
        options = self.options
        filled = fill_bad_pixels(
            data, bad, box=options.median_box_length, grow=options.repair == "grow",
            outside=outside, name=name,
        )  # fmt: skip
        return filled if options.repair == "box" else continue_outside(filled, outside.all(axis=0))

    def _weight(self, mask: PsfMask, science: CubeModel, stack: CubeModel) -> np.ndarray:
        """Return the weight of the mask without the edge of the sky.

        Along that edge a shift brings in what no pixel has seen; the frame stands still on the
        detector and would pull every fit towards no shift at all.
        """
        if self.options.repair == "box":
            return mask.weight
        outside = _outside(science.dq) | _outside(stack.dq)
        weight = mask.weight * far_from(outside, EDGE)
        # a mask that has weight only there is better than nothing
        return weight if weight.any() else mask.weight

    def _repaired(
        self, cube: CubeModel, part: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return images (float64) and errors without bad pixels, and where they were good."""
        data, err, dq = cube.data[part], cube.err[part], cube.dq[part]
        bits = interpret_bits(self.options.bad_bits)
        bad = ~np.isfinite(data) | ((dq & np.uint32(bits)) != 0)
        outside = (dq & np.uint32(models.NON_SCIENCE)) != 0
        name = cube.meta.filename
        empty = (bad | outside).all(axis=(1, 2))
        if empty.any() and self.options.repair == "grow":
            data, err, bad, outside = _without_signal(empty, data, err, bad, outside)
        images = self._repair(data.astype(np.float64), bad, outside, name)
        if self.options.err_shift == "flux":
            return images, err, ~bad
        return images, self._repair(err, bad | ~np.isfinite(err), outside, name), ~bad

    def _psf_frames(self, stack: CubeModel, weight: np.ndarray) -> PsfFrames:
        """Prepare the references, or take those of the exposure before if they are the same."""
        known = self._prepared
        if known is not None and known[0] is stack and known[1] == self.options:
            if np.array_equal(known[2].weight, weight):
                return known[2]
            references = known[2].references
        else:
            images, errors, good = self._repaired(stack)
            several = self.options.align_to == "each" and len(stack.data) <= MOST_KEPT
            references = References(
                images.astype(np.float32), errors, _flags(stack), good, keep_spectra=several
            )
        keep = self.options.align_to != "each" and len(references) <= MOST_KEPT
        psfs = PsfFrames(references, weight, self.options, keep=keep)
        if self.parent is not None:
            self._prepared = (stack, self.options, psfs)
        return psfs

    def _frames(self, science: CubeModel) -> Iterator[list[Frame]]:
        """Yield, a block at a time, the science images that the references are aligned to."""
        n = len(science.data)
        if self.options.align_to == "mean":
            yield [self._mean_frame(science)]
            return
        begin = 0
        if self.options.align_to == "first":
            begin = self._first(science)
            n = begin + 1
        for start in range(begin, n, BLOCK):
            part = slice(start, min(start + BLOCK, n))
            images, errors, good = self._repaired(science, part)
            release(science.data, science.err, science.dq)
            variances = np.square(np.nan_to_num(errors), dtype=np.float64)
            yield [Frame(*frame) for frame in zip(images, variances, good, strict=True)]

    def _mean_frame(self, science: CubeModel) -> Frame:
        """Return the mean of the integrations that have a signal."""
        shape = science.shape[1:]
        total, variance, known, count = np.zeros(shape), np.zeros(shape), np.ones(shape, bool), 0
        for index in visit(science.data, science.err, science.dq):
            images, errors, good = self._repaired(science, slice(index, index + 1))
            if images.any():
                total += images[0]
                variance += np.square(np.nan_to_num(errors[0]), dtype=np.float64)
                known &= good[0]
                count += 1
        return Frame(total / count, variance / count**2, known)

    def _frame_numbers(self, science: CubeModel) -> Sequence[int]:
        to = self.options.align_to
        if to == "each":
            return range(len(science.data))
        return [self._first(science) if to == "first" else -1]

    def _first(self, science: CubeModel) -> int:
        """Return the first integration that has a good pixel."""
        if self.options.repair == "box":
            return 0
        bits = interpret_bits(self.options.bad_bits) | models.NON_SCIENCE
        for index in range(len(science.data)):
            if not models.bad_in(science, index, bits).all():
                return index
        return 0

    def _fit(self, science: CubeModel, psfs: PsfFrames) -> list[list[ShiftFit]]:
        fit = partial(fit_frames, psfs=psfs)
        progress = self.runtime.progress
        progress.start("align: fit", len(self._frame_numbers(science)))
        fits: list[list[ShiftFit]] = []
        for part in self.runtime.map(fit, self._frames(science)):
            fits += part
            progress.advance(len(part))
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
        models.add_history(
            model,
            f"psfmask {mask.name}: {mask.source}, convention {self.options.psfmask_convention}, "
            f"{100 * mask.fraction:.1f} % of the pixels with weight",
        )

    def _aligned_once(
        self,
        stack: CubeModel,
        references: References,
        fits: Sequence[ShiftFit],
        table: np.ndarray,
        mask: PsfMask,
    ) -> CubeModel:
        aligned = models.new_cube(stack, *references.shifted(fits, self.options))
        _copy_origin(stack, aligned)
        models.add_extension(aligned, "SHIFTS", table)
        self._describe(aligned, mask)
        return aligned

    def _aligned_each(
        self,
        science: CubeModel,
        stack: CubeModel,
        references: References,
        fits: list[list[ShiftFit]],
        table: np.ndarray,
        mask: PsfMask,
    ) -> StreamedQuadModel | ComputedQuad:
        shape = (len(fits), *references.images.shape)
        shift = partial(_shift, references, options=self.options)
        if not self.options.save_psfalign:
            computed = ComputedQuad(stack, shape, lambda i: shift(fits[i]))
            _copy_origin(stack, computed)
            models.add_extension(computed, "SHIFTS", table)
            self._describe(computed, mask)
            return computed
        destination = self.destination or Path(self.make_output_path())
        models.refuse_existing(destination, self.runtime.overwrite)
        with QuadWriter(destination, shape, stack) as writer:
            _copy_origin(stack, writer.model)
            self._describe(writer.model, mask)
            progress = self.runtime.progress
            progress.start("align: shift", len(fits))
            for i, part in enumerate(self.runtime.map(shift, fits)):
                writer.write(i, part)
                progress.advance()
            progress.done()
            return writer.finish(table)


def _without_signal(
    empty: np.ndarray, data: np.ndarray, err: np.ndarray, bad: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make zeros of the images that are `empty`: they get no fit, and spoil none."""
    data, err, bad, outside = data.copy(), err.copy(), bad.copy(), outside.copy()
    positive = err[~empty]
    positive = positive[positive > 0]
    data[empty], bad[empty], outside[empty] = 0.0, False, False
    # any positive error will do: nothing is weighted with it
    err[empty] = np.median(positive) if positive.size else 1.0
    return data, err, bad, outside


def _flags(stack: CubeModel) -> np.ndarray:
    """Return the flags of the references; what is not finite is filled, but no measurement."""
    flags: np.ndarray = stack.dq | np.where(np.isfinite(stack.data), 0, models.DO_NOT_USE).astype(
        np.uint32
    )
    return flags


def _outside(dq: np.ndarray) -> np.ndarray:
    """Return the pixels (ny, nx) that are no part of the sky in any integration."""
    outside = np.ones(dq.shape[1:], bool)
    for index in visit(dq):
        outside &= (dq[index] & np.uint32(models.NON_SCIENCE)) != 0
    return outside


def _shift(references: References, fits: Sequence[ShiftFit], options: AlignRefs) -> AlignedSlice:
    return AlignedSlice(*references.shifted(fits, options))


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
