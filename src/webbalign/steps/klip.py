"""klip: subtract the starlight that the aligned references predict."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.klip import (
    KlBasis,
    Klip,
    Subtraction,
    leading_modes,
    stack_subtractions,
)
from webbalign.core.klip_errors import SubtractionErrors, subtraction_errors
from webbalign.core.klip_throughput import companion_throughput
from webbalign.core.mapped import BLOCK, release, scratch_of, visit
from webbalign.products import models
from webbalign.products.aligned_sets import OneSet
from webbalign.products.filters import diffraction_limit, star_fwhm
from webbalign.products.held import allocate
from webbalign.products.shared_arrays import SharedArray
from webbalign.products.shared_cubes import SharedCube
from webbalign.products.streams import open_aligned
from webbalign.products.wcs import update_fits_header_wcs
from webbalign.steps._memory import cut
from webbalign.steps._subtracting import (
    FirstSet,
    ReferenceFlags,
    Subtracted,
    SubtractJob,
    blocks_of,
    parts_of,
)
from webbalign.steps.base import WebbStep
from webbalign.steps.stack_refs import exposure_of_references

__all__ = ["KlipStep"]

log = logging.getLogger(__name__)

# Karhunen-Loeve modes that a product keeps to be looked at.
MODES_KEPT = 4
# Distance in resolution elements to which the throughput is measured.
FARTHEST = 30


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
            correlated between neighbouring pixels. KLVALUES are the eigenvalues of the modes used,
            KLMODES (n, ny, nx) the first of these modes, and KLTHRU how much of a companion's light
            they leave (distance in arcsec, throughput), of the references of integration 0.

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
        work = self._subtract(science, aligned)
        errors = self._errors(science, work, aligned)
        flags = work.flags.flags
        _add_modes(science, work.basis)
        _add_throughput(science, work.basis, self.centre(science, science.shape))
        work.close()
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

    def _field(self, science: CubeModel) -> np.ndarray:
        """Return the pixels (ny, nx) that take part in the fits of some integration."""
        keep = self.options.bad_pixels == "keep"
        bits = 0 if keep else models.DO_NOT_USE | models.NON_SCIENCE
        field = np.zeros(science.shape[1:], bool)
        for i in visit(science.data, science.dq):
            field |= ~models.bad_in(science, i, bits)
        return field

    def _subtract(self, science: CubeModel, aligned: Any) -> _Work:
        """Subtract some integrations at a time; the basis is made anew only with new references."""
        nints, npix = len(science.data), int(np.prod(science.shape[1:]))
        npsfs, folder = aligned.shape[-3], self._folder
        pieces = cut(self.runtime, npsfs, npix)
        common = len(aligned.shape) == 3
        sets = OneSet(SharedCube(aligned, folder), nints) if common else aligned.sets
        work = _Work(science, folder, npsfs, in_file=not pieces.in_memory)
        job = SubtractJob(
            science=SharedCube(science, folder),
            field=self._field(science),
            options=self.options,
            residual=work.residual,
            model=work.room() if self.options.save_psf_model else None,
            first=work.first,
            folder=None if pieces.in_memory else str(folder.resolve()),
        )
        progress = self.runtime.progress
        progress.start("klip", nints)
        # what is common to all integrations is made once, where it is needed
        mapped = map if common else self.runtime.map
        parts = blocks_of(nints) if common else parts_of(nints)
        items = ((part, sets.only(part)) for part in parts)
        for part, found in zip(parts, mapped(job, items), strict=True):
            work.add(found)
            for _ in range(part.start, part.stop):
                progress.advance()
        progress.done()
        if job.model is not None:
            self.psf_model = work.psf_model(job.model)
        work.finish()
        return work

    @property
    def _folder(self) -> Path:
        """Where files may lie while the step works."""
        folder = getattr(self.parent, "output_folder", None)
        return folder or Path(self.make_output_path()).parent

    def _errors(self, science: CubeModel, work: _Work, aligned: JwstDataModel) -> SubtractionErrors:
        # the flat field is the same in all integrations: its error is a common one
        flat = np.zeros(science.shape[1:])
        apart = models.has_variance(science, "var_flat") and self.options.err_method == "full"
        if apart:
            images = (science.var_flat[i] for i in visit(science.var_flat))
            flat = np.nan_to_num(models.mean_over_integrations(images))
        errors = subtraction_errors(
            work.basis,
            work.subtraction,
            _Variances(science, without_flat=apart),
            work.variances,
            klip=self.options,
            groups=exposure_of_references(aligned, len(work.used))[work.used],
            centre=self.centre(science, science.shape),
        )
        return replace(errors, common=errors.common + flat)

    def _store(self, science: CubeModel, errors: SubtractionErrors, flags: np.ndarray) -> None:
        data, err, dq = science.data, science.err, science.dq
        for i in visit(data, err, dq, science.var_flat):
            err[i] = np.sqrt(errors.independent_of(i) + errors.common)
            if self.options.bad_pixels != "keep":
                dq[i] |= flags
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


def _add_modes(science: CubeModel, basis: KlBasis) -> None:
    """Put eigenvalues and the first modes into the product: of the references of integration 0."""
    models.add_extension(science, "KLVALUES", basis.eigenvalues)
    if basis.n_modes:
        modes = leading_modes(basis, MODES_KEPT)
        models.add_extension(science, "KLMODES", modes.astype(np.float32))


def _add_throughput(science: CubeModel, basis: KlBasis, star: tuple[float, float]) -> None:
    """Put into the product how much of a companion's light the subtraction leaves."""
    resolution = diffraction_limit(science.meta.instrument.filter, science.meta.instrument.pupil)
    area = science.meta.photometry.pixelarea_steradians
    if not (np.isfinite(resolution) and area):
        return
    scale = np.degrees(np.sqrt(area)) * 3600
    separations = np.arange(1.0, FARTHEST + 1.0) * resolution
    separations = separations[separations < max(basis.shape) * scale]
    found = companion_throughput(
        basis, star, separations / scale,
        fwhm=star_fwhm(resolution, scale), diameter=resolution / scale,
    )  # fmt: skip
    table = np.array(
        list(zip(separations, found, strict=True)),
        dtype=[("separation", "f8"), ("throughput", "f8")],
    )
    models.add_extension(science, "KLTHRU", table[np.isfinite(found)])


class _Work:
    """What is collected while the integrations are subtracted."""

    def __init__(self, science: CubeModel, folder: Path, npsfs: int, *, in_file: bool) -> None:
        self._science, self._folder = science, folder
        self._shape = (science.shape[1], science.shape[2])
        self._parts: list[Subtraction] = []
        self._starlight = np.zeros(self._shape)
        self.flags = ReferenceFlags(self._shape)
        self.residual = self.room()
        npix = self._starlight.size
        self.first = FirstSet.of(npsfs, npix, folder, in_file=in_file)

    def room(self) -> SharedArray:
        """Return an array like the data."""
        science = self._science.data
        in_file = scratch_of(science) is not None
        return SharedArray(science.shape, np.float32, self._folder, in_file=in_file)

    def add(self, part: Subtracted) -> None:
        """Take in some integrations, in their order."""
        self._parts.append(part.subtraction)
        self._starlight += part.starlight
        self.flags.join(part.flags)
        if part.basis is not None and part.used is not None:
            self._basis, self.used = part.basis, part.used

    def finish(self) -> None:
        """Put the residuals in the place of the science images."""
        _copy(self.residual.array, self._science.data)
        self.residual.close()

    def close(self) -> None:
        """Give back what the errors were made from."""
        self.first.close()

    def psf_model(self, images: SharedArray) -> CubeModel:
        """Return the starlight that was subtracted."""
        science = self._science
        data, flags = allocate(science.data), allocate(science.dq)
        _copy(images.array, data)
        _copy(science.dq, flags)
        images.close()
        return models.new_cube(science, data, allocate(science.err), flags)

    @property
    def basis(self) -> KlBasis:
        """The first set of references."""
        count = np.count_nonzero(self.used)
        return replace(self._basis, references=self.first.images.array[:count])

    @property
    def variances(self) -> np.ndarray:
        """The variances of the first set, (nrefs, ny, nx)."""
        count = np.count_nonzero(self.used)
        return self.first.variances.array[:count].reshape(count, *self._shape)

    @property
    def subtraction(self) -> Subtraction:
        """All integrations; of the starlight only the mean."""
        whole = stack_subtractions(self._parts)
        mean = self._starlight / max(np.count_nonzero(whole.n_used), 1)
        return replace(whole, residual=self._science.data, model=mean[None])


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for i in visit(source, target):
        target[i] = source[i]


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


def _check(science: CubeModel, aligned: Any) -> None:
    name = aligned.meta.filename
    if tuple(aligned.shape[-2:]) != tuple(science.shape[-2:]):
        (ny, nx), (want_y, want_x) = aligned.shape[-2:], science.shape[-2:]
        found = f"references of {nx} x {ny} pixels"
        raise InputError(name, found, f"{want_x} x {want_y} as in {science.meta.filename}")
    if len(aligned.shape) == 4 and aligned.shape[0] != science.shape[0]:
        found = f"references for {aligned.shape[0]} integrations"
        raise InputError(name, found, f"{science.shape[0]} as in {science.meta.filename}")
