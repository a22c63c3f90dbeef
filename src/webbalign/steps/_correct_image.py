"""Apply the correction of one image; one task is one image, so that it can be sent to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.core.errors import InputError
from webbalign.products.corrected import CorrectedImage, correct_model, save_corrected
from webbalign.products.corrector import Correction, image_plane
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.provenance import Recipe, keep, of_inputs, of_options
from webbalign.products.sip import SipApproximation
from webbalign.products.solutions import Solution, SolvedImage

__all__ = [
    "CorrectTask", "Corrected", "borrow_in_image", "correct_image", "correct_in_place", "save_once",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class CorrectTask:
    """One image and what was found for it.

    Attributes
    ----------
    source : Path
    product : Path
    row : SolvedImage
    sip : SipApproximation
    catalog : str or None
        For TCATFILE: the catalog of its stars; empty: none; None: what it says stays.
    overwrite : bool
    resume : bool
        Whether a product that was made of the same is kept.
    """

    source: Path
    product: Path
    row: SolvedImage
    sip: SipApproximation
    catalog: str | None = None
    overwrite: bool = True
    resume: bool = False


@dataclass(frozen=True)
class Corrected:
    """A product, and how well its header says what its GWCS does (px).

    `by` says whose correction it has; `before` whether its input had been corrected before; `kept`
    whether an earlier run has made it.
    """

    path: Path
    sip_error: float
    sip_inverse_error: float
    by: str = "image"
    before: bool = False
    kept: bool = False


def correct_image(task: CorrectTask) -> Corrected:
    """Write the product of one image.

    Raises
    ------
    InputError
        If the image cannot be read or the product not be written.
    """
    row = task.row
    done = save_once(
        task.source,
        task.product,
        row.correction if row.is_applied else None,
        step="tweakreg",
        status=row.step_status,
        sip=task.sip,
        history=describe(row),
        catalog=task.catalog,
        overwrite=task.overwrite,
        resume=task.resume,
    )
    return _corrected(task.product, done)


def save_once(
    source: Path,
    product: Path,
    correction: Correction | None,
    *,
    step: str,
    status: str,
    sip: SipApproximation,
    history: str,
    catalog: str | None = None,
    overwrite: bool = True,
    resume: bool = False,
) -> CorrectedImage | None:
    """Write an image with a corrected WCS, unless an earlier run has done so; None: it has.

    Parameters
    ----------
    source, product : Path
    correction : Correction or None
    step : str
        Name of the command, for the recipe.
    resume : bool
        Whether a product that was made of the same is kept.
    status, sip, history, catalog, overwrite
        As of :func:`webbalign.products.corrected.save_corrected`.

    Raises
    ------
    InputError
        If the image cannot be read or the product not be written.
    """
    options = {
        "correction": "none"
        if correction is None
        else f"{correction.matrix.tolist()} {correction.shift.tolist()}",
        "status": status,
        "history": history,
        "catalog": str(catalog),
    }
    recipe = Recipe(step, options | of_options(sip), of_inputs([source]))
    if keep(product, recipe, resume=resume):
        return None
    return save_corrected(
        source,
        product,
        correction,
        status=status,
        sip=sip,
        history=history,
        catalog=catalog,
        overwrite=overwrite or resume,
        recipe=recipe,
    )


def correct_in_place(
    model: ImageModel, row: SolvedImage, sip: SipApproximation, catalog: str | None = None
) -> CorrectedImage:
    """Correct a model in memory; `catalog` as of :class:`CorrectTask`."""
    return correct_model(
        model,
        row.correction if row.is_applied else None,
        status=row.step_status,
        sip=sip,
        history=describe(row),
        catalog=catalog,
    )


def borrow_in_image(
    source: Path,
    product: Path,
    solution: Solution,
    sip: SipApproximation,
    overwrite: bool = True,
    resume: bool = False,
) -> Corrected:
    """Write one image with the correction that a solution has for it, or for its neighbours.

    An image for which there is none is copied with S_TWKREG = FAILED; `by` is then empty.
    """
    info = read_info(source)
    plane = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
    found = solution.correction_for(info, plane)
    save = partial(
        save_once, source, product, step="apply-solution", sip=sip, overwrite=overwrite,
        resume=resume,
    )  # fmt: skip
    if found is None:
        reason = "webbalign: the solution has no correction for this image"
        return _corrected(product, save(None, status="FAILED", history=reason), by="")
    if found.by == "image":
        _same_pointing(info, found.row)
    history = f"webbalign: correction of {found.row.filename} ({found.by}); {_numbers(found.row)}"
    done = save(found.correction, status=found.row.step_status, history=history)
    return _corrected(product, done, by=found.by, before="v2v3corr" in info.wcs.available_frames)


def _same_pointing(info: ImageInfo, row: SolvedImage) -> None:
    """Refuse to correct an image in another plane than that in which it was measured."""
    given = [info.wcsinfo.get(key, np.nan) for key in ("v2_ref", "v3_ref", "roll_ref")]
    if not np.allclose(given, row.reference_angles, rtol=0, atol=1e-6, equal_nan=True):
        raise InputError(
            info.name,
            "V2_REF, V3_REF, ROLL_REF are not those of the image that was solved",
            "the same image",
        )


def _corrected(
    path: Path, done: CorrectedImage | None, by: str = "image", *, before: bool = False
) -> Corrected:
    if done is None:
        return Corrected(path, np.nan, np.nan, by, before, kept=True)
    return Corrected(path, done.sip_error, done.sip_inverse_error, by, before)


def describe(row: SolvedImage) -> str:
    """Say in one line what became of an image, for HISTORY."""
    reason = f" ({row.reason})" if row.reason else ""
    return f"webbalign tweakreg: {row.status}{reason}; {_numbers(row)}"


def _numbers(row: SolvedImage) -> str:
    x, y = row.correction.shift
    scale = np.sqrt(np.linalg.det(row.correction.matrix))
    return (
        f"shift {x:.6f}, {y:.6f} arcsec, roll {row.correction.rotation:.7f} deg, "
        f"scale {scale:.8f}; {row.n_used} of {row.n_found} stars, rms {row.rms * 1e3:.2f} mas"
    )
