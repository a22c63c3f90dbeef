"""klip: subtract the starlight that the aligned references predict."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.klip import KlBasis, Klip, Subtraction, fit_basis, stack_subtractions, subtract
from webbalign.core.klip_errors import SubtractionErrors, subtraction_errors
from webbalign.core.mapped import BLOCK, release, visit
from webbalign.products import models
from webbalign.products.held import allocate
from webbalign.products.streams import AlignedSlice, open_aligned
from webbalign.products.wcs import update_fits_header_wcs
from webbalign.steps.base import WebbStep
from webbalign.steps.stack_refs import exposure_of_references

__all__ = ["KlipStep"]

log = logging.getLogger(__name__)


class KlipStep(WebbStep):
    """Subtract from every integration its projection on the modes of the aligned references."""

    class_alias = "webbalign_klip"
    product = "psfsub"
    options_class = Klip
    profiles: ClassVar = {"jwst": {"err_method": "std_of_refs", "bad_pixels": "keep"}}
    psf_model: CubeModel | None = None

    def process(self, target: str | CubeModel, references: str | JwstDataModel) -> CubeModel:
        """Subtract starlight.

        Parameters
        ----------
        target : str or CubeModel
            Science exposure (nints, ny, nx).
        references : str or model
            Its ``_psfalign``: (nints, npsfs, ny, nx), or (npsfs, ny, nx) for all integrations.

        Returns
        -------
        CubeModel
            With the total error in ERR, in the 2-D extension VAR_COMMON the part of its square that
            all integrations share, and in VAR_SPECKLE the part of that which is leftover starlight,
            correlated between neighbouring pixels.

        Raises
        ------
        InputError
            If target and references do not fit each other.
        """
        science = self.open_input(target)
        aligned = open_aligned(self._path(references))
        _check(science, aligned)
        if aligned.meta.cal_step.align_psfs != "COMPLETE":
            log.warning(
                "%s: references that were not aligned (S_PSFALI is not COMPLETE)",
                aligned.meta.filename,
            )
        flags = _ReferenceFlags(science.shape[1:])
        work = self._subtract(science, aligned, flags)
        errors = self._errors(science, work, aligned)
        self._store(science, errors, flags)
        self._save_psf_model()
        return science

    @staticmethod
    def centre(model: JwstDataModel, shape: tuple[int, ...]) -> tuple[float, float]:
        """Return the 0-based (x, y) of the star: CRPIX - 1, else the middle of (ny, nx)."""
        x, y = model.meta.wcsinfo.crpix1, model.meta.wcsinfo.crpix2
        ny, nx = shape[-2:]
        if x is None or y is None or not (0 < x <= nx and 0 < y <= ny):
            return (nx - 1) / 2, (ny - 1) / 2
        return x - 1.0, y - 1.0

    # Operations of `process` ---------------------------------------------------------------------

    def _path(self, source: Any) -> Any:
        return source if isinstance(source, JwstDataModel) else self.make_input_path(str(source))

    def _good(self, science: CubeModel, index: int) -> np.ndarray:
        """Return the pixels (ny, nx) of an integration that take part in the fits."""
        keep = self.options.bad_pixels == "keep"
        return ~models.bad_in(science, index, 0 if keep else models.DO_NOT_USE | models.NON_SCIENCE)

    def _subtract(self, science: CubeModel, aligned: Any, flags: _ReferenceFlags) -> _Work:
        """Subtract integration by integration; the basis is made anew only with new references.

        The residuals take the place of the science images, and what belongs to one set of
        references is released before the next is read: a set may have a GB.
        """
        field = np.zeros(science.shape[1:], bool)
        for i in visit(science.data, science.dq):
            field |= self._good(science, i)
        progress = self.runtime.progress
        progress.start("klip", len(science.data))
        work, basis, part = _Work(science, self.options.save_psf_model), None, None
        for i in visit(science.data, science.dq):
            if basis is None or len(aligned.shape) == 4:
                basis = None
                part = _references(aligned, i)
                flags.add(part.dq)
                bad = self._bad_references(part)
                used = _used(bad, field, part)
                if not used.all():
                    part = AlignedSlice(part.data[used], part.err[used], part.dq[used])
                    bad = None if bad is None else bad[used]
                basis = fit_basis(part.data, klip=self.options, good=field, bad=bad)
                work.keep_first(basis, part, used)
                part = bad = None
            work.add(i, subtract(basis, science.data[i], good=self._good(science, i)))
            progress.advance()
        progress.done()
        self.psf_model = work.psf_model
        return work

    def _bad_references(self, part: AlignedSlice) -> np.ndarray | None:
        if self.options.bad_pixels == "keep":
            return None
        bad: np.ndarray = (part.dq & np.uint32(models.DO_NOT_USE)) != 0
        return bad

    def _errors(self, science: CubeModel, work: _Work, aligned: JwstDataModel) -> SubtractionErrors:
        # the flat field is the same in all integrations: its error is a common one
        flat = np.zeros(science.shape[1:])
        apart = models.has_variance(science, "var_flat") and self.options.err_method == "full"
        if apart:
            images = (science.var_flat[i] for i in visit(science.var_flat))
            flat = np.nan_to_num(models.mean_over_integrations(images))
        errors = subtraction_errors(
            work.first_basis,
            work.subtraction,
            _Variances(science, without_flat=apart),
            np.square(work.first_err),
            klip=self.options,
            groups=exposure_of_references(aligned, len(work.first_used))[work.first_used],
            centre=self.centre(science, science.shape),
        )
        return replace(errors, common=errors.common + flat)

    def _store(self, science: CubeModel, errors: SubtractionErrors, flags: _ReferenceFlags) -> None:
        data, err, dq = science.data, science.err, science.dq
        for i in visit(data, err, dq, science.var_flat):
            err[i] = np.sqrt(errors.independent_of(i) + errors.common)
            if self.options.bad_pixels != "keep":
                dq[i] |= flags.flags
                dq[i][~np.isfinite(data[i])] |= np.uint32(models.DO_NOT_USE)
        models.add_extension(science, "VAR_COMMON", errors.common.astype(np.float32))
        models.add_extension(science, "VAR_SPECKLE", errors.standing.astype(np.float32))
        if science.meta.wcs is not None and not getattr(science, "_wcs_checked", False):
            update_fits_header_wcs(science)
        self.record(science, "klip")
        known = errors.common[np.isfinite(errors.common)]
        if known.size:
            unit = science.meta.bunit_data or ""
            log.info("klip: median common error %.3g %s", np.sqrt(np.median(known)), unit)

    def _save_psf_model(self) -> None:
        if self.parent is None and self.psf_model is not None:
            path = self.make_output_path(suffix="psfmodel")
            self.save_product(self.psf_model, Path(path))


class _Work:
    """What is collected while the integrations are subtracted one after the other."""

    def __init__(self, science: CubeModel, keep_model: bool) -> None:
        self._science = science
        self._parts: list[Subtraction] = []
        self._starlight = np.zeros(science.shape[1:])
        self.psf_model: CubeModel | None = None
        if keep_model:
            nothing, flags = allocate(science.data), allocate(science.dq)
            for i in visit(flags, science.dq):
                flags[i] = science.dq[i]
            self.psf_model = models.new_cube(science, nothing, allocate(science.err), flags)

    def keep_first(self, basis: KlBasis, part: AlignedSlice, used: np.ndarray) -> None:
        """Keep what the errors are computed from: the first set of references."""
        if not self._parts:
            self.first_basis, self.first_err, self.first_used = basis, part.err, used

    def add(self, index: int, part: Subtraction) -> None:
        """Take in one integration: its residual replaces its image."""
        self._science.data[index] = part.residual[0]
        if part.n_used[0]:
            self._starlight += part.model[0]
        if self.psf_model is not None:
            self.psf_model.data[index] = part.model[0] + part.offsets[0]
            release(self.psf_model.data)
        nothing = np.zeros((1, 0, 0))
        self._parts.append(replace(part, residual=nothing, model=nothing))

    @property
    def subtraction(self) -> Subtraction:
        """All integrations; of the starlight only the mean."""
        whole = stack_subtractions(self._parts)
        mean = self._starlight / max(np.count_nonzero(whole.n_used), 1)
        return replace(whole, residual=self._science.data, model=mean[None])


class _Variances:
    """The variances of the targets: of ERR, less that of the flat field if so asked."""

    def __init__(self, science: CubeModel, *, without_flat: bool) -> None:
        self._err = science.err
        self._flat = science.var_flat if without_flat else None
        self.shape = tuple(science.err.shape)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the variance (ny, nx) of one integration; NaN where the error is not positive."""
        err = self._err[index]
        variance: np.ndarray = np.where(err > 0, np.square(err), np.float32(np.nan))
        if self._flat is not None:
            # where the flat's error is unknown, ERR serves as it is
            variance -= np.nan_to_num(self._flat[index], posinf=0.0)
            np.maximum(variance, 0.0, out=variance)
        if (index + 1) % BLOCK == 0:
            release(self._err, self._flat)
        return variance


def _used(bad: np.ndarray | None, field: np.ndarray, part: AlignedSlice) -> np.ndarray:
    """Return which references (npsfs,) have a good pixel; all of them if none has."""
    if bad is None:
        return np.ones(len(part.data), bool)
    used: np.ndarray = (~bad & field).any(axis=(1, 2))
    return used if used.any() else ~used


def _references(aligned: Any, index: int) -> AlignedSlice:
    if len(aligned.shape) == 4:
        part: AlignedSlice = aligned.part(index)
        return part
    return AlignedSlice(aligned.data, aligned.err, aligned.dq)


class _ReferenceFlags:
    """What the flags of the references say about the residual.

    The union of all of them, but DO_NOT_USE only where no reference is good: a pixel that one
    reference lacks is predicted by the others.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._union = np.zeros(shape, np.uint32)
        self._none_good = np.ones(shape, bool)

    def add(self, dq: np.ndarray) -> None:
        """Take in the flags (npsfs, ny, nx) of one set of references."""
        self._union |= np.bitwise_or.reduce(dq, axis=0)
        self._none_good &= (dq & np.uint32(models.DO_NOT_USE) != 0).all(axis=0)

    @property
    def flags(self) -> np.ndarray:
        """The flags, shape (ny, nx)."""
        kept = self._union & np.uint32(0xFFFFFFFF ^ models.DO_NOT_USE)
        kept[self._none_good] |= np.uint32(models.DO_NOT_USE)
        return kept


def _check(science: CubeModel, aligned: Any) -> None:
    name = aligned.meta.filename
    if tuple(aligned.shape[-2:]) != tuple(science.shape[-2:]):
        (ny, nx), (want_y, want_x) = aligned.shape[-2:], science.shape[-2:]
        found = f"references of {nx} x {ny} pixels"
        raise InputError(name, found, f"{want_x} x {want_y} as in {science.meta.filename}")
    if len(aligned.shape) == 4 and aligned.shape[0] != science.shape[0]:
        found = f"references for {aligned.shape[0]} integrations"
        raise InputError(name, found, f"{science.shape[0]} as in {science.meta.filename}")
