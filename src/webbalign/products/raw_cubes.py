"""Exposures read and copied as bytes, where their cubes lie in the file as they do in memory.

astropy reads each array, changes its byte order in copies, and the same again to write it. Whatever
lies in the file in another way (compressed, scaled, of another type) is left to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from webbalign.core.mapped import visit
from webbalign.products.shared_cubes import Place

__all__ = ["copy_exposure", "plain_cubes", "write_image"]

_BLOCK = 2880  # FITS files consist of blocks of this size
_CHUNK = 1 << 20  # bytes copied at a time
_DQ_ZERO = np.uint32(1 << 31)


def plain_cubes(path: str | Path, hdulist: fits.HDUList) -> dict[str, Place]:
    """Return where the cubes of an exposure lie that can be read as they are.

    Parameters
    ----------
    path : str or Path
    hdulist : HDUList
        The file, opened.

    Returns
    -------
    dict
        By the name of the extension: float32, and the uint32 of DQ, in the shape of SCI. Empty for
        a file that is compressed, or has check sums.
    """
    with open(path, "rb") as file:
        if file.read(6) != b"SIMPLE":
            return {}
    hdus = {hdu.name: hdu for hdu in hdulist if isinstance(hdu, fits.ImageHDU) and hdu.ver == 1}
    if "SCI" not in hdus or len(hdus["SCI"].shape) != 3 or _has_sum(hdulist[0].header):
        return {}
    shape = hdus["SCI"].shape
    return {
        name: Place(hdu.fileinfo()["datLoc"], ">i4" if name == "DQ" else ">f4", name == "DQ")
        for name, hdu in hdus.items()
        if hdu.shape == shape and _is_plain(hdu.header, flags=name == "DQ")
    }


def _is_plain(header: fits.Header, *, flags: bool) -> bool:
    if _has_sum(header):
        return False
    stored = tuple(header.get(key, default) for key, default in _LAYOUT.items())
    return stored == ((32, 1 << 31, 1, None) if flags else (-32, 0, 1, None))


def _has_sum(header: fits.Header) -> bool:
    return "CHECKSUM" in header or "DATASUM" in header


_LAYOUT = {"BITPIX": 0, "BZERO": 0, "BSCALE": 1, "BLANK": None}


def copy_exposure(
    source: str | Path,
    target: str | Path,
    hdulist: fits.HDUList,
    cubes: Mapping[str, np.ndarray],
    *,
    renewed: Collection[int],
    blanked: Mapping[str, np.ndarray],
) -> None:
    """Copy a file of an exposure with other cubes and headers; all else stays as it is to the bit.

    Parameters
    ----------
    source, target : str or Path
    hdulist : HDUList
        The source, opened, with new headers.
    cubes : mapping
        New values by the name of the extension, for some of :func:`plain_cubes`.
    renewed : collection of int
        Numbers of the extensions whose headers are new.
    blanked : mapping
        Where, as a mask in the shape of the cube, others of :func:`plain_cubes` become NaN.
    """
    with open(source, "rb") as old, open(target, "wb") as new:
        for number, hdu in enumerate(hdulist):
            place = hdu.fileinfo()
            begin, data = place["hdrLoc"], place["datLoc"]
            if number in renewed:
                new.write(hdu.header.tostring().encode("ascii"))
            else:
                _copy(old, new, begin, data - begin)
            if hdu.name in cubes:
                cube = cubes[hdu.name]
                for index in visit(cube):
                    write_image(new, cube[index], flags=hdu.name == "DQ")
                new.write(b"\0" * (-new.tell() % _BLOCK))
            elif hdu.name in blanked:
                old.seek(data)
                for mask in blanked[hdu.name]:
                    values = np.fromfile(old, ">f4", mask.size).reshape(mask.shape)
                    values[mask] = np.nan
                    new.write(values.data)
                _copy(old, new, old.tell(), data + place["datSpan"] - old.tell())
            else:
                _copy(old, new, data, place["datSpan"])


def write_image(file: BinaryIO, image: np.ndarray, *, flags: bool) -> None:
    """Write an image at the end of a FITS file in progress: float32, or the uint32 of a DQ."""
    if flags:
        image = (image.astype(np.uint32, copy=False) ^ _DQ_ZERO).view(np.int32)
    file.write(image.astype(">i4" if flags else ">f4", order="C").data)


def _copy(old: BinaryIO, new: BinaryIO, start: int, size: int) -> None:
    old.seek(start)
    while size > 0:
        chunk = old.read(min(size, _CHUNK))
        if not chunk:
            raise OSError(f"{old.name} ends too early")
        new.write(chunk)
        size -= len(chunk)
