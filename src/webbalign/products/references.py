"""Where the weight of the alignment comes from: an override, a CRDS cache, or the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from webbalign.core.errors import InputError
from webbalign.core.mapped import visit
from webbalign.core.psfmask import LARGEST_OFFSET, derive_weight, mask_centre, to_weight
from webbalign.products.crds_cache import crds_parameters, find_parameters, find_reference
from webbalign.products.inputs import require_file
from webbalign.products.mask_checks import Problem, check_psfmask
from webbalign.products.mask_files import make_psfmask
from webbalign.products.models import NON_SCIENCE
from webbalign.products.remote import local

__all__ = [
    "Problem",
    "PsfMask",
    "check_psfmask",
    "crds_parameters",
    "find_parameters",
    "find_psfmask",
    "make_psfmask",
    "mask_file",
    "read_psfmask",
    "star_position",
]


@dataclass(frozen=True)
class PsfMask:
    """The weight with which images are aligned, and where it comes from.

    Attributes
    ----------
    weight : ndarray of float64, shape (ny, nx)
        1 = full use, 0 = ignored.
    name : str
        For the keyword R_PSFMAS: name of the file, or ``derived``.
    source : str
        ``override`` | ``crds`` | ``derived``.
    convention : str
        How the file was read: ``weight`` | ``masked``; ``none`` for a derived weight.
    centre : tuple of float or None
        0-based (x, y) of the hole; None if there is none.
    corner : tuple of int or None
        1-based detector column and row of the first pixel (SUBSTRT); None if unknown.
    messages : tuple of str
        What the user should know: that the weight was derived and how, that a mask is not on the
        star.
    """

    weight: NDArray[np.float64]
    name: str
    source: str
    convention: str
    centre: tuple[float, float] | None = None
    corner: tuple[int, int] | None = None
    messages: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """Fraction of the pixels that have any weight."""
        return float(np.count_nonzero(self.weight) / self.weight.size)


def find_psfmask(
    model: JwstDataModel,
    override: str | Path | JwstDataModel | None = None,
    convention: str = "weight",
) -> PsfMask | None:
    """Find the weight for an exposure: override, CRDS cache, or derived, in this order.

    Parameters
    ----------
    model : JwstDataModel
        The exposure, with data (..., ny, nx).
    override : str, Path, data model, optional
        The mask to use. ``derived``: derive it, whatever CRDS may hold. ``N/A``: none applies.
    convention : str
        Of a file's values: ``weight`` (1 = full use) or ``masked`` (1 = ignored).

    Returns
    -------
    PsfMask or None
        None only for the override ``N/A``; its messages are not logged here.

    Raises
    ------
    InputError
        If the mask cannot be used: unreadable, of another size, or without weight.
    """
    word = "" if override is None else str(override).strip().upper()
    if word == "N/A":
        return None
    if word == "DERIVED":
        return _derived(model)
    if word:
        mask = read_psfmask(override, convention)
    else:
        path = find_reference("psfmask", crds_parameters(model))
        if path is None:
            return _derived(model)
        mask = replace(read_psfmask(path, convention), source="crds")
    return _checked(_fitted(mask, model), model)


def mask_file(exposure: Path, override: Any = None) -> Path | None:
    """Return the file that :func:`find_psfmask` would use; None if there is none.

    Parameters
    ----------
    exposure : Path
    override : str, Path, optional
        As of :func:`find_psfmask`.
    """
    word = "" if override is None else str(override).strip()
    if word:
        return None if word.upper() in ("N/A", "DERIVED") else Path(word)
    found = find_reference("psfmask", crds_parameters(exposure))
    return None if found is None else Path(found)


def read_psfmask(source: str | Path | JwstDataModel, convention: str = "weight") -> PsfMask:
    """Read a mask from a file or a data model.

    Parameters
    ----------
    source : str, Path or data model
        With one 2-D image (SCI); or its address.
    convention : str
        ``weight`` (1 = full use) or ``masked`` (1 = ignored).

    Raises
    ------
    InputError
        If there is no usable image; :func:`check_psfmask` tells all that is wrong with a file.
    """
    if isinstance(source, JwstDataModel):
        name = source.meta.filename or type(source).__name__
        values = source.data
        corner = _corner(source.meta.subarray.xstart, source.meta.subarray.ystart)
    else:
        path = local(source)
        name = path.name
        values, corner = _read(path)
    if values is None:
        raise InputError(name, "no SCI image", "a 2-D mask")
    weight = to_weight(values, convention, name=str(name))
    return PsfMask(weight, str(name), "override", convention, mask_centre(weight), corner)


def star_position(model: JwstDataModel) -> tuple[float, float] | None:
    """Return the 0-based (x, y) of the star in the header (CRPIX - 1), None if it has none."""
    x, y = model.meta.wcsinfo.crpix1, model.meta.wcsinfo.crpix2
    return None if x is None or y is None else (float(x) - 1.0, float(y) - 1.0)


def _read(path: Path) -> tuple[NDArray, tuple[int, int] | None]:
    from astropy.io import fits

    require_file(path, "a PSFMASK file")
    try:
        with fits.open(path) as hdulist:
            if "SCI" not in hdulist or hdulist["SCI"].data is None:
                found = ", ".join(hdu.name for hdu in hdulist)
                raise InputError(path, f"no SCI image ({found})", "a PSFMASK file")
            header = hdulist[0].header
            corner = _corner(header.get("SUBSTRT1"), header.get("SUBSTRT2"))
            return np.array(hdulist["SCI"].data, dtype=np.float64), corner
    except (OSError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, f"not readable as FITS ({error})", "a PSFMASK file") from None


def _corner(x: Any, y: Any) -> tuple[int, int] | None:
    return None if x is None or y is None else (int(x), int(y))


def _fitted(mask: PsfMask, model: JwstDataModel) -> PsfMask:
    """Cut the mask to the exposure, where the corners of both on the detector are known."""
    shape = model.data.shape[-2:]
    if mask.weight.shape == shape:
        return mask
    there = _corner(model.meta.subarray.xstart, model.meta.subarray.ystart)
    if mask.corner is not None and there is not None:
        x, y = (there[axis] - mask.corner[axis] for axis in (0, 1))
        inside = x >= 0 and y >= 0
        cut = mask.weight[y : y + shape[0], x : x + shape[1]] if inside else mask.weight
        if cut.shape == shape and cut.any():
            message = f"{mask.name}: cut out from column {x}, row {y} (0-based) by SUBSTRT"
            centre = mask_centre(cut)
            return replace(
                mask, weight=cut.copy(), centre=centre, messages=(*mask.messages, message)
            )
    sizes = [f"{ny} rows x {nx} columns" for ny, nx in (mask.weight.shape, shape)]
    found = f"the mask has {sizes[0]}, {model.meta.filename or 'the exposure'} {sizes[1]}"
    raise InputError(mask.name, found, "the same size, or SUBSTRT keywords that tell where to cut")


def _checked(mask: PsfMask, model: JwstDataModel) -> PsfMask:
    """Warn of a hole that is not on the star."""
    star = star_position(model)
    if star is None or mask.centre is None:
        return mask
    distance = float(np.hypot(star[0] - mask.centre[0], star[1] - mask.centre[1]))
    if distance <= LARGEST_OFFSET:
        return mask
    hole, at = (f"({x:.1f}, {y:.1f})" for x, y in (mask.centre, star))
    warning = (
        f"THE MASK IS NOT ON THE STAR: the hole of {mask.name} is at {hole}, {distance:.1f} px "
        f"from the star at {at} of {model.meta.filename or 'the exposure'}; it is used all the "
        "same. override_psfmask=derived makes a weight for this exposure"
    )
    return replace(mask, messages=(*mask.messages, warning))


def _derived(model: JwstDataModel) -> PsfMask:
    """Derive the weight from the exposure."""
    shape = model.data.shape[-2:]
    area = model.meta.photometry.pixelarea_arcsecsq
    derived = derive_weight(
        shape,
        model.meta.instrument.coronagraph,
        centre=star_position(model),
        pixel_scale=float(np.sqrt(area)) if area else None,
        excluded=_outside(model, shape),
        image=model.data.reshape(-1, *shape)[0],
    )
    found = "no PSFMASK reference file: the weight is derived from the exposure"
    return PsfMask(
        weight=derived.weight,
        name="derived",
        source="derived",
        convention="none",
        centre=derived.centre,
        messages=(found, *derived.messages, *derived.warnings),
    )


def _outside(model: JwstDataModel, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels (ny, nx) outside the science region, or valid in no integration."""
    images, dq = model.data.reshape(-1, *shape), model.dq
    dead = np.ones(shape, bool)
    for index in visit(images):
        dead &= ~np.isfinite(images[index])
    if dq is None or dq.shape[-2:] != shape:
        return dead
    flags, flagged = dq.reshape(-1, *shape), np.ones(shape, bool)
    for index in visit(flags):
        flagged &= (flags[index] & np.uint32(NON_SCIENCE)) != 0
    return dead | flagged
