"""klip: subtract the starlight that the aligned references predict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.klip import KlBasis, Klip, Subtraction, fit_basis, stack_subtractions, subtract
from webbalign.core.klip_errors import SubtractionErrors, subtraction_errors
from webbalign.products import models
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
            With the total error in ERR, and in the 2-D extension VAR_COMMON the part of its square
            that all integrations share.

        Raises
        ------
        InputError
            If target and references do not fit each other.
        """
        options = self.options
        science = self.open_input(target)
        aligned = open_aligned(self._path(references))
        _check(science, aligned)
        self.psf_model = None
        good = self._good_pixels(science)
        flags = _ReferenceFlags(good.shape[1:])
        subtraction, basis, first = self._subtract(science, aligned, good, flags)
        errors = self._errors(science, subtraction, basis, first, aligned)
        if options.save_psf_model:
            self.psf_model = _psf_model(science, subtraction)
            self._save_psf_model()
        self._store(science, subtraction, errors, flags)
        return science

    @staticmethod
    def centre(model: JwstDataModel, shape: tuple[int, ...]) -> tuple[float, float]:
        """Return the 0-based (x, y) of the star: CRPIX - 1, else the middle of the (ny, nx) image."""
        x, y = model.meta.wcsinfo.crpix1, model.meta.wcsinfo.crpix2
        ny, nx = shape[-2:]
        if x is None or y is None or not (0 < x <= nx and 0 < y <= ny):
            return (nx - 1) / 2, (ny - 1) / 2
        return x - 1.0, y - 1.0

    # Operations of `process` ---------------------------------------------------------------------

    def _path(self, source: Any) -> Any:
        return source if isinstance(source, JwstDataModel) else self.make_input_path(str(source))

    def _good_pixels(self, science: CubeModel) -> np.ndarray:
        """Return the pixels that take part in the fits, (nints, ny, nx)."""
        if self.options.bad_pixels == "keep":
            return np.isfinite(science.data)
        return ~models.bad_pixels(science, models.DO_NOT_USE | models.NON_SCIENCE)

    def _subtract(
        self, science: CubeModel, aligned: Any, good: np.ndarray, flags: _ReferenceFlags
    ) -> tuple[Subtraction, KlBasis, AlignedSlice]:
        """Subtract integration by integration; the basis is made anew only with new references."""
        field = good.any(axis=0)
        progress = self.runtime.progress
        progress.start("klip", len(science.data))
        parts: list[Subtraction] = []
        for i, part in enumerate(_references(aligned, len(science.data))):
            if part is not None:
                flags.add(part.dq)
                bad = self._bad_references(part)
                basis = fit_basis(part.data, klip=self.options, good=field, bad=bad)
                if not parts:
                    first, first_basis = part, basis
            parts.append(subtract(basis, science.data[i], good=good[i]))
            progress.advance()
        progress.done()
        return stack_subtractions(parts), first_basis, first

    def _bad_references(self, part: AlignedSlice) -> np.ndarray | None:
        if self.options.bad_pixels == "keep":
            return None
        bad: np.ndarray = (part.dq & np.uint32(models.DO_NOT_USE)) != 0
        return bad

    def _errors(
        self,
        science: CubeModel,
        subtraction: Subtraction,
        basis: KlBasis,
        first: AlignedSlice,
        aligned: JwstDataModel,
    ) -> SubtractionErrors:
        variance = models.variance(science)
        # the flat field is the same in all integrations: its error is a common one
        flat = np.zeros(science.shape[1:])
        if models.has_variance(science, "var_flat") and self.options.err_method == "full":
            variance = np.maximum(variance - science.var_flat, 0.0)
            flat = np.nan_to_num(models.mean_over_integrations(science.var_flat))
        errors = subtraction_errors(
            basis,
            subtraction,
            variance,
            np.square(first.err, dtype=np.float64),
            klip=self.options,
            groups=exposure_of_references(aligned, len(first.data)),
            centre=self.centre(science, science.shape),
        )
        return replace(errors, common=errors.common + flat)

    def _store(
        self,
        science: CubeModel,
        subtraction: Subtraction,
        errors: SubtractionErrors,
        flags: _ReferenceFlags,
    ) -> None:
        science.data = subtraction.residual.astype(np.float32)
        science.err = np.sqrt(errors.independent + errors.common).astype(np.float32)
        if self.options.bad_pixels != "keep":
            science.dq |= flags.flags
            science.dq[~np.isfinite(science.data)] |= np.uint32(models.DO_NOT_USE)
        models.add_extension(science, "VAR_COMMON", errors.common.astype(np.float32))
        if science.meta.wcs is not None:
            update_fits_header_wcs(science)
        self.record(science, "klip")
        median = np.nanmedian(np.sqrt(errors.common)) if np.isfinite(errors.common).any() else np.nan
        log.info("klip: median common error %.3g %s", median, science.meta.bunit_data or "")

    def _save_psf_model(self) -> None:
        if self.parent is None and self.psf_model is not None:
            path = self.make_output_path(suffix="psfmodel")
            self.save_product(self.psf_model, Path(path))


def _references(aligned: Any, nints: int) -> Iterator[AlignedSlice | None]:
    """Yield the references of each integration, None where those of the last one serve again."""
    if len(aligned.shape) == 4:
        for i in range(nints):
            yield aligned.part(i)
        return
    yield AlignedSlice(aligned.data, aligned.err, aligned.dq)
    for _ in range(nints - 1):
        yield None


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


def _psf_model(science: CubeModel, subtraction: Subtraction) -> CubeModel:
    """Return the starlight that was subtracted, constant included, as a cube."""
    model = subtraction.model + subtraction.offsets[:, None, None]
    return models.new_cube(science, model, np.zeros_like(model), science.dq.copy())


def _check(science: CubeModel, aligned: Any) -> None:
    name = aligned.meta.filename
    if tuple(aligned.shape[-2:]) != tuple(science.shape[-2:]):
        (ny, nx), (want_y, want_x) = aligned.shape[-2:], science.shape[-2:]
        found = f"references of {nx} x {ny} pixels"
        raise InputError(name, found, f"{want_x} x {want_y} as in {science.meta.filename}")
    if len(aligned.shape) == 4 and aligned.shape[0] != science.shape[0]:
        found = f"references for {aligned.shape[0]} integrations"
        raise InputError(name, found, f"{science.shape[0]} as in {science.meta.filename}")
