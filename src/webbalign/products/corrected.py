"""Images with a corrected WCS: GWCS, SIP header and S_REGION renewed, all the rest untouched.

A product is the copy of its input file in which two headers and the ASDF extension are replaced;
the arrays are copied by the operating system and never loaded. Models in memory are changed in
place and saved as any other.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from astropy.io import fits
from stdatamodels.jwst.datamodels import ImageModel, JwstDataModel

from webbalign.core.errors import InputError
from webbalign.products.asdf_patch import TreePath, patched_asdf
from webbalign.products.atomic import Seal, atomic_path, refuse_input
from webbalign.products.corrector import Correction, corrected_wcs
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.models import (
    add_history,
    quiet_schema_warnings,
    refuse_existing,
    write_model,
)
from webbalign.products.sip import SipApproximation, SipHeader, sip_header
from webbalign.products.wcs_keywords import is_fitted_keyword, s_region

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["CorrectedImage", "correct_model", "save_corrected"]

_BLOCK = 2880  # FITS files consist of blocks of this size


@dataclass(frozen=True, eq=False)
class CorrectedImage:
    """What has become of an image.

    Attributes
    ----------
    path : Path or None
        The product; None for a model in memory.
    wcs : gwcs.WCS
    s_region : str
    sip_error, sip_inverse_error : float
        Largest difference between header and GWCS, pixels.
    """

    path: Path | None
    wcs: WCS = field(repr=False)
    s_region: str
    sip_error: float
    sip_inverse_error: float


@dataclass(frozen=True, eq=False)
class _Renewal:
    """The new WCS of an image, in all its forms."""

    wcs: WCS
    sip: SipHeader
    s_region: str
    status: str
    history: Sequence[str]
    catalog: str | None
    changed: bool
    was_corrected: bool

    @property
    def wcsinfo(self) -> dict[str, Any]:
        """The keywords as ``meta.wcsinfo`` holds them."""
        words = {key.lower(): value for key, value, _ in self.sip.cards}
        return words | {"s_region": self.s_region}

    def report(self, path: Path | None) -> CorrectedImage:
        return CorrectedImage(path, self.wcs, self.s_region, self.sip.error, self.sip.inverse_error)


def _renewed(
    info: ImageInfo,
    correction: Correction | None,
    sip: SipApproximation | None,
    status: str,
    history: str | Sequence[str],
    catalog: str | None,
) -> _Renewal:
    wcs = info.wcs
    if correction is not None:
        wcs = corrected_wcs(wcs, info.wcsinfo, correction, info.name)
    crpix = info.wcsinfo.get("crpix1"), info.wcsinfo.get("crpix2")
    at = (crpix[0], crpix[1]) if crpix[0] is not None and crpix[1] is not None else None
    return _Renewal(
        wcs=wcs,
        sip=sip_header(wcs, info.shape, sip, at),
        s_region=s_region(wcs, info.shape),
        status=status,
        history=(history,) if isinstance(history, str) else tuple(history),
        catalog=catalog,
        changed=correction is not None,
        was_corrected="v2v3corr" in info.wcs.available_frames,
    )


def save_corrected(
    source: str | Path | JwstDataModel,
    path: str | Path,
    correction: Correction | None,
    *,
    status: str = "COMPLETE",
    sip: SipApproximation | None = None,
    history: str | Sequence[str] = (),
    catalog: str | None = None,
    overwrite: bool = True,
    recipe: Seal | None = None,
) -> CorrectedImage:
    """Write an image with a corrected WCS.

    Parameters
    ----------
    source : str, Path or ImageModel
        The image; a file is left as it is, a model is changed.
    path : str or Path
        The product. It appears whole or not at all.
    correction : Correction or None
        In the plane of the image, `corrector.image_plane`. None: the GWCS stays as it is; the
        SIP header and S_REGION are renewed all the same.
    status : str
        For S_TWKREG: COMPLETE, FAILED or SKIPPED.
    sip : SipApproximation, optional
    history : str or sequence of str
        For HISTORY.
    catalog : str, optional
        For TCATFILE (``meta.tweakreg_catalog``): the custom catalog that was used; empty: none
        was; None: it stays as it is.
    overwrite : bool
        Whether an existing product may be replaced. An input never is.
    recipe : Recipe, optional
        What the product was made from, to be written into it.

    Returns
    -------
    CorrectedImage

    Raises
    ------
    InputError
        If the input cannot be used, or the product may not be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    if isinstance(source, JwstDataModel):
        done = correct_model(
            source, correction, status=status, sip=sip, history=history, catalog=catalog
        )
        with atomic_path(path, recipe) as temporary:
            write_model(source, temporary)
        source.meta.filename = path.name
        return CorrectedImage(path, done.wcs, done.s_region, done.sip_error, done.sip_inverse_error)
    source = Path(source)
    refuse_input(path, [source])
    info = read_info(source)
    renewal = _renewed(info, correction, sip, status, history, catalog)
    with atomic_path(path, recipe) as temporary:
        if source.suffix == ".gz":
            unpacked = temporary.with_suffix(".unpacked")
            with gzip.open(source) as packed, open(unpacked, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            _write_patched(unpacked, temporary, path.name, renewal)
        else:
            _write_patched(source, temporary, path.name, renewal)
    return renewal.report(path)


def correct_model(
    model: ImageModel,
    correction: Correction | None,
    *,
    status: str = "COMPLETE",
    sip: SipApproximation | None = None,
    history: str | Sequence[str] = (),
    catalog: str | None = None,
) -> CorrectedImage:
    """Correct the WCS of a model in memory; parameters as of :func:`save_corrected`."""
    renewal = _renewed(read_info(model), correction, sip, status, history, catalog)
    model.meta.wcs = renewal.wcs
    wcsinfo = model.meta.wcsinfo.instance
    for key in [key for key in wcsinfo if is_fitted_keyword(key)]:
        del wcsinfo[key]
    for key, value in renewal.wcsinfo.items():
        setattr(model.meta.wcsinfo, key, value)
    _set_extra_cards(model, renewal.sip)
    model.meta.cal_step.tweakreg = status
    if catalog is not None:
        model.meta.tweakreg_catalog = catalog or None
    for text in renewal.history:
        add_history(model, text)
    return renewal.report(None)


# What the data models' schema does not know and would leave out of the header: the errors, and the
# linear terms of the inverse.
_UNKNOWN = ("SIPMXERR", "SIPIVERR", "AP_0_1", "AP_1_0", "BP_0_1", "BP_1_0", "LONPOLE", "LATPOLE")


def _set_extra_cards(model: ImageModel, sip: SipHeader) -> None:
    extras = model._instance.setdefault("extra_fits", {}).setdefault("SCI", {})
    kept = [card for card in extras.get("header", []) if not is_fitted_keyword(card[0])]
    extras["header"] = kept + [list(card) for card in sip.cards if card[0] in _UNKNOWN]


def _write_patched(source: Path, target: Path, name: str, renewal: _Renewal) -> None:
    """Copy a FITS file with the headers and the ASDF extension of a new WCS."""
    with (
        quiet_schema_warnings(),
        fits.open(source, memmap=True, disable_image_compression=True) as hdulist,
        open(source, "rb") as old,
        open(target, "wb") as new,
    ):
        science = hdulist.index_of("SCI")
        stored = hdulist.index_of("ASDF")
        for number, hdu in enumerate(hdulist):
            place = hdu.fileinfo()
            if number == stored:
                content = hdu.data["ASDF_METADATA"].tobytes()
                new.write(_asdf_extension(_patched_tree(content, name, renewal), hdu.header))
                continue
            start, end = place["hdrLoc"], place["datLoc"] + place["datSpan"]
            if number in (0, science):
                header = hdu.header.copy()
                # it would be wrong now; DATASUM stays right
                header.remove("CHECKSUM", ignore_missing=True)
                if number == 0:
                    _patch_primary(header, name, renewal)
                if number == science:
                    _patch_science(header, renewal)
                new.write(header.tostring().encode("ascii"))
                start = place["datLoc"]
            _copy_range(old, new, start, end)


def _patch_primary(header: fits.Header, name: str, renewal: _Renewal) -> None:
    header["FILENAME"] = name
    header["S_TWKREG"] = (renewal.status, "Image Alignment via Astronomical Sources")
    if renewal.catalog:
        header["TCATFILE"] = (renewal.catalog, "Tweakreg catalog filename")
    elif renewal.catalog is not None:
        header.remove("TCATFILE", ignore_missing=True)
    for text in renewal.history:
        header["HISTORY"] = text


def _patch_science(header: fits.Header, renewal: _Renewal) -> None:
    cards = [
        *renewal.sip.cards,
        ("S_REGION", renewal.s_region, "spatial extent of the observation"),
    ]
    fresh = {keyword for keyword, _, _ in cards}
    stale = {word for word in header if is_fitted_keyword(word)} - fresh
    for keyword in stale:
        del header[keyword]
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)


def _patched_tree(content: bytes, name: str, renewal: _Renewal) -> bytes:
    changes: dict[TreePath, Any] = {
        ("meta", "filename"): name,
        ("meta", "cal_step", "tweakreg"): renewal.status,
    }
    changes |= {("meta", "wcsinfo", key): value for key, value in renewal.wcsinfo.items()}
    if renewal.catalog:
        changes["meta", "tweakreg_catalog"] = renewal.catalog
    fresh = set(renewal.wcsinfo)
    # with a wrong hash, or none, the headers are read, which say the same as the tree
    removed: list[TreePath] = [("_fits_hash",), *_stale_entries(fresh)]
    if renewal.catalog == "":
        removed.append(("meta", "tweakreg_catalog"))
    corrected, inserted = (
        _corrected_steps(renewal.wcs, renewal.was_corrected) if renewal.changed else ({}, {})
    )
    try:
        return patched_asdf(content, changes | corrected, removed, inserted)
    except ValueError as error:
        raise InputError(name, f"its ASDF extension cannot be changed ({error})") from None


def _corrected_steps(wcs: WCS, had_one: bool) -> tuple[dict[TreePath, Any], dict[TreePath, Any]]:
    """Return what changes, and what is inserted, in the stored GWCS.

    Only the step of the correction is written anew: it takes a third of the time of the whole, and
    the distortion stays as it is.
    """
    place = wcs.available_frames.index("v2v3corr")
    steps: TreePath = ("meta", "wcs", "steps")
    before = wcs.pipeline[place - 1]
    if had_one:
        return {(*steps, place - 1, "transform"): before.transform}, {}
    # the step that began at v2v3vacorr begins at v2v3corr now
    return (
        {(*steps, place - 1, "frame"): wcs.pipeline[place].frame},
        {(*steps, place - 1): before},
    )


def _stale_entries(fresh: set[str]) -> Iterable[TreePath]:
    """Yield where a tree may hold keywords of the former fit."""
    powers = [(i, j) for i in range(10) for j in range(10 - i)]
    names = [f"{p}_{i}_{j}" for p in ("a", "b", "ap", "bp") for i, j in powers]
    names += [f"{p}_order" for p in ("a", "b", "ap", "bp")]
    names += [f"{m}{i}_{j}" for m in ("cd", "pc") for i in (1, 2) for j in (1, 2)]
    names += ["cdelt1", "cdelt2"]
    return [("meta", "wcsinfo", name) for name in names if name not in fresh]


def _asdf_extension(content: bytes, former: fits.Header) -> bytes:
    """Return the bytes of the extension that holds an ASDF file."""
    header = former.copy()
    header.remove("CHECKSUM", ignore_missing=True)
    header.remove("DATASUM", ignore_missing=True)
    header["NAXIS1"] = len(content)
    header["TFORM1"] = f"{len(content)}B"
    padding = b"\0" * (-len(content) % _BLOCK)
    return header.tostring().encode("ascii") + content + padding


def _copy_range(old: BinaryIO, new: BinaryIO, start: int, end: int) -> None:
    """Append the bytes from start to end of one file to another, within the kernel if possible."""
    new.flush()
    while start < end:
        try:
            sent = os.sendfile(new.fileno(), old.fileno(), start, end - start)
        except (OSError, AttributeError):
            break  # not between these files, or not on this system
        if not sent:
            break
        start += sent
    new.seek(0, os.SEEK_END)
    old.seek(start)
    while start < end:
        chunk = old.read(min(1 << 20, end - start))
        if not chunk:
            raise InputError(old.name, "is cut short", "the whole file")
        new.write(chunk)
        start += len(chunk)
