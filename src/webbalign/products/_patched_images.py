"""Copies of image files in which only what tells of the WCS is new.

Two headers and the ASDF extension are replaced; the arrays are copied by the operating system and
never loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from astropy.io import fits

from webbalign.core.errors import InputError
from webbalign.products._renewed_wcs import Renewal
from webbalign.products.asdf_patch import TreePath, patched_asdf
from webbalign.products.models import quiet_schema_warnings
from webbalign.products.wcs_keywords import is_fitted_keyword

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["write_patched"]

_BLOCK = 2880  # FITS files consist of blocks of this size


def write_patched(source: Path, target: Path, name: str, renewal: Renewal) -> None:
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


def _patch_primary(header: fits.Header, name: str, renewal: Renewal) -> None:
    header["FILENAME"] = name
    header["S_TWKREG"] = (renewal.status, "Image Alignment via Astronomical Sources")
    if renewal.catalog:
        header["TCATFILE"] = (renewal.catalog, "Tweakreg catalog filename")
    elif renewal.catalog is not None:
        header.remove("TCATFILE", ignore_missing=True)
    for text in renewal.history:
        header["HISTORY"] = text


def _patch_science(header: fits.Header, renewal: Renewal) -> None:
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


def _patched_tree(content: bytes, name: str, renewal: Renewal) -> bytes:
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
        raise InputError(
            name, f"an ASDF extension that cannot be changed ({error})", "a file that jwst wrote"
        ) from None


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
            raise InputError(old.name, "cut short", "the whole file (fetch it again)")
        new.write(chunk)
        start += len(chunk)
