"""Saving exposures of which only pixels and step statuses have changed: ``_crfints``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import CubeModel, JwstDataModel

from webbalign.core.mapped import visit
from webbalign.products.atomic import Seal, atomic_path
from webbalign.products.models import (
    EXTENSIONS,
    VARIANCES,
    has_variance,
    history,
    quiet_schema_warnings,
    refuse_existing,
    save,
)
from webbalign.products.raw_cubes import copy_exposure, plain_cubes

__all__ = ["copied", "forget_sums", "renew_headers", "save_flagged", "take_pixels"]


def save_flagged(
    model: CubeModel, path: str | Path, *, overwrite: bool = True, recipe: Seal | None = None
) -> Path:
    """Save an exposure of which only pixels and step statuses have changed since it was opened.

    The file it came from is copied with its arrays and keywords replaced, so that everything in
    it that is none of our business (GWCS, tables, extensions) stays as it was to the bit. A model
    that came from no file is saved as usual. DATE stays that of the exposure; `recipe` is what the
    product was made from, to be written into it.
    """
    source = getattr(model, "_source_path", None)
    if source is None or not Path(source).is_file():
        return save(model, path, overwrite=overwrite, recipe=recipe)
    path = Path(path)
    refuse_existing(path, overwrite)
    with (
        quiet_schema_warnings(),
        fits.open(source, memmap=False) as hdulist,
        atomic_path(path, recipe) as temporary,
    ):
        renew_headers(hdulist, model, path)
        if not copied(model, source, hdulist, temporary):
            for name in ("data", "err", "dq", *VARIANCES):
                _replace_data(hdulist, name, getattr(model, name, None))
            for extname, mask in _blanked(model, hdulist).items():
                hdulist[extname].data[mask] = np.nan
            forget_sums(hdulist)
            hdulist.writeto(temporary, output_verify="silentfix")
    model.meta.filename = path.name
    return path


def copied(model: CubeModel, source: str | Path, hdulist: fits.HDUList, target: str | Path) -> bool:
    """Copy a file byte by byte with the arrays of a model in it, if it is laid out so.

    Parameters
    ----------
    model : CubeModel
    source : str or Path
        What it was opened from.
    hdulist : HDUList
        The same, opened, with new headers.
    target : str or Path

    Returns
    -------
    bool
        Whether that could be done; if not, nothing was written.
    """
    plain = plain_cubes(source, hdulist)
    cubes = {
        extname: cube
        for name, extname in EXTENSIONS.items()
        if (cube := getattr(model, name, None)) is not None and cube.size
    }
    blanked = _blanked(model, hdulist)
    if not {*cubes, *blanked} <= set(plain):
        return False
    if any(cube.shape != model.data.shape for cube in cubes.values()):
        return False
    renewed = {0, hdulist.index_of("SCI")} if _is_wcs_renewed(model) else {0}
    for number in renewed:
        hdulist[number].verify("silentfix")
    copy_exposure(source, target, hdulist, cubes, renewed=renewed, blanked=blanked)
    return True


def _blanked(model: CubeModel, hdulist: fits.HDUList) -> dict[str, np.ndarray]:
    """Return where the variances become NaN that the model was opened without."""
    mask = getattr(model, "_blanked", None)
    if mask is None or not mask.any():
        return {}
    left = {EXTENSIONS[name] for name in VARIANCES if not has_variance(model, name)}
    return {hdu.name: mask for hdu in hdulist if hdu.name in left and hdu.shape == mask.shape}


def _is_wcs_renewed(model: CubeModel) -> bool:
    return getattr(model, "_wcs_renewed", False)


def take_pixels(model: CubeModel, product: str | Path) -> str:
    """Give an exposure the pixels that outlier detection has left in its product.

    Parameters
    ----------
    model : CubeModel
        Of the file from which the product was made; its arrays are changed.
    product : str or Path
        What :func:`save_flagged` has written.

    Returns
    -------
    str
        The status of outlier detection that stands in the product.
    """
    with quiet_schema_warnings(), fits.open(product, memmap=False) as hdulist:
        for name, extname in EXTENSIONS.items():
            cube = model._instance.get(name)
            if cube is None or extname not in hdulist or cube.shape != hdulist[extname].shape:
                continue
            for index in visit(cube):
                cube[index] = hdulist[extname].section[index]
        return str(hdulist[0].header["S_OUTLIR"])


def forget_sums(hdulist: fits.HDUList) -> None:
    """Take check sums out of headers: those of what has changed would be wrong."""
    for hdu in hdulist:
        for keyword in ("CHECKSUM", "DATASUM"):
            hdu.header.remove(keyword, ignore_missing=True)


def renew_headers(hdulist: fits.HDUList, model: CubeModel, path: Path) -> None:
    """Bring the keywords of a file up to date with a model that was opened from it."""
    header = hdulist[0].header
    header["FILENAME"] = path.name
    for keyword, value in _statuses(model):
        header[keyword] = value
    if _is_wcs_renewed(model):
        _renew_wcs(hdulist["SCI"].header, model.meta.wcsinfo.instance)
    if getattr(model, "_header_read", True):
        # the model has the entries of the file as well
        header.remove("HISTORY", ignore_missing=True, remove_all=True)
    for text in history(model):
        header["HISTORY"] = text


def _renew_wcs(header: fits.Header, wcsinfo: dict[str, Any]) -> None:
    """Write the WCS keywords of a model into a header; what the model lacks goes."""
    for keyword in list(header):
        if _DISTORTION.fullmatch(keyword):
            del header[keyword]
    for key, value in wcsinfo.items():
        keyword = key.upper()
        if value is not None and (_LINEAR.fullmatch(keyword) or _DISTORTION.fullmatch(keyword)):
            header[keyword] = value


_LINEAR = re.compile(r"WCSAXES|C(RPIX|RVAL|TYPE|UNIT|DELT)[12]|PC[12]_[12]|S_REGION")
_DISTORTION = re.compile(r"CD\d_\d|[AB]P?_(\d_\d|ORDER)")


def _replace_data(hdulist: fits.HDUList, name: str, data: np.ndarray | None) -> None:
    if data is None or not data.size:
        return
    extname = EXTENSIONS[name]
    if extname in hdulist:
        hdulist[extname].data = data
    else:
        hdulist.append(fits.ImageHDU(data, name=extname))


def _statuses(model: JwstDataModel) -> Iterator[tuple[str, str]]:
    """Yield (keyword, status) of the coron3 steps that a model has been through."""
    keywords = {"outlier_detection": "S_OUTLIR", "stack_psfs": "S_PSFSTK",
                "align_psfs": "S_PSFALI", "klip": "S_KLIP", "resample": "S_RESAMP"}  # fmt: skip
    for name, keyword in keywords.items():
        status = getattr(model.meta.cal_step, name, None)
        if status:
            yield keyword, status
