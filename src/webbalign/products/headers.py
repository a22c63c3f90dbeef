"""What the FITS headers of an exposure say, read in milliseconds and before the arrays."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.errors import InputError
from webbalign.products.inputs import require_file

__all__ = ["ExposureHeader", "read_header"]


@dataclass(frozen=True)
class ExposureHeader:
    """The header values on which the coronagraphic pipeline decides.

    Attributes
    ----------
    nints : int
        Number of integrations.
    image_shape : tuple of int
        ``(ny, nx)``.
    model_type, instrument, detector, filter, pupil, coronagraph, subarray, exp_type : str
        As in the file; empty where the keyword is missing.
    is_psf : bool
        Whether IS_PSF is true.
    program, target : str
        Program number and target name.
    star_xy : tuple of float or None
        0-based (x, y) of the star, CRPIX - 1.
    wcs_moved : bool
        Whether CRVAL is not the pointing of the aperture (RA_REF, DEC_REF), of which the GWCS is
        made: somebody has moved the one or the other, and they may disagree.
    has_data : bool
        Whether some pixel is finite and not flagged DO_NOT_USE. The arrays are read for it, but
        only up to the first integration that has one.
    """

    nints: int
    image_shape: tuple[int, int]
    model_type: str
    instrument: str
    detector: str
    filter: str
    pupil: str
    coronagraph: str
    subarray: str
    exp_type: str
    is_psf: bool
    program: str
    target: str
    star_xy: tuple[float, float] | None
    wcs_moved: bool = False
    has_data: bool = True


def read_header(path: str | Path) -> ExposureHeader:
    """Read and judge the headers of a ``_calints`` (or ``_crfints``) file.

    Raises
    ------
    InputError
        If the file is missing or unreadable, or holds no cube of integrations.
    """
    path = require_file(path, _EXPECTED)
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


_EXPECTED = "a _calints file (3-D SCI: integrations, y, x)"


@functools.lru_cache(maxsize=1024)
def _read(path: Path, mtime: int, size: int) -> ExposureHeader:
    """Read the headers of a file in a given state: every step asks for them."""
    from astropy.io import fits

    expected = _EXPECTED
    try:
        with warnings.catch_warnings():
            # told below, as errors
            for words in ("File may have been truncated", "Error validating header for HDU"):
                warnings.filterwarnings("ignore", message=words)
            with fits.open(path) as hdulist:
                primary = _values(hdulist[0].header, ["IS_PSF", *_KEYWORDS.values()])
                science = _values(hdulist["SCI"].header, _OF_SCIENCE) if "SCI" in hdulist else None
                last = hdulist[len(hdulist) - 1].fileinfo()
                has_data = _has_data(hdulist)
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InputError(path, f"not readable as FITS ({error})", expected) from None
    if science is None:
        raise InputError(path, "no SCI extension", expected)
    # (the size of a compressed file says nothing; a cut one fails when it is unpacked)
    if path.suffix != ".gz" and last["datLoc"] + last["datSpan"] > size:
        raise InputError(path, f"cut short ({size} bytes)", "the whole file (fetch it again)")
    axes = [int(science.get(f"NAXIS{i}", 0)) for i in range(1, int(science["NAXIS"]) + 1)]
    if len(axes) != 3:
        found = f"SCI has {len(axes)} dimensions ({' x '.join(map(str, axes)) or 'empty'})"
        hint = "; a _cal file holds the mean of the integrations" if len(axes) == 2 else ""
        raise InputError(path, found, expected + hint)
    if min(axes) < 1:
        raise InputError(path, "SCI is empty", expected)
    return ExposureHeader(
        nints=axes[2],
        image_shape=(axes[1], axes[0]),
        is_psf=_is_true(primary.get("IS_PSF", False)),
        star_xy=_star(science),
        wcs_moved=_is_moved(science),
        has_data=has_data,
        **{name: _text(primary.get(keyword)) for name, keyword in _KEYWORDS.items()},
    )


def _has_data(hdulist: Any) -> bool:
    """Whether some pixel of a cube has data; True where that cannot be told."""
    extensions = {hdu.name: hdu for hdu in hdulist}
    science, flags = extensions.get("SCI"), extensions.get("DQ")
    if science is None or len(science.shape) != 3:
        return True
    if flags is not None and flags.shape != science.shape:
        flags = None
    try:
        for index in range(science.shape[0]):
            good = np.isfinite(science.section[index])
            if flags is not None and good.any():
                good &= (flags.section[index] & 1) == 0
            if good.any():
                return True
    except (OSError, TypeError, ValueError):
        return True  # a damaged file is told apart from one without data
    return False


_KEYWORDS = {
    "model_type": "DATAMODL",
    "instrument": "INSTRUME",
    "detector": "DETECTOR",
    "filter": "FILTER",
    "pupil": "PUPIL",
    "coronagraph": "CORONMSK",
    "subarray": "SUBARRAY",
    "exp_type": "EXP_TYPE",
    "program": "PROGRAM",
    "target": "TARGPROP",
}


_OF_SCIENCE = (
    *("NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS4", "CRPIX1", "CRPIX2"),
    *("CRVAL1", "CRVAL2", "RA_REF", "DEC_REF"),
)


def _values(header: Any, keywords: Iterable[str]) -> dict[str, Any]:
    """Return what a header has of some keywords: it takes long to understand all of them."""
    return {keyword: header[keyword] for keyword in keywords if keyword in header}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _is_true(value: Any) -> bool:
    return value is True or _text(value).lower() in ("t", "true")


def _star(header: dict[str, Any]) -> tuple[float, float] | None:
    try:
        return float(header["CRPIX1"]) - 1.0, float(header["CRPIX2"]) - 1.0
    except (KeyError, TypeError, ValueError):
        return None


_SAME_POINTING = 1e-7  # degrees; 0.4 mas is 0.01 px of NIRCam's short-wave channel


def _is_moved(header: dict[str, Any]) -> bool:
    try:
        dec = float(header["DEC_REF"])
        d_dec = float(header["CRVAL2"]) - dec
        d_ra = (float(header["CRVAL1"]) - float(header["RA_REF"])) * math.cos(math.radians(dec))
    except (KeyError, TypeError, ValueError):
        return True
    return not math.hypot(d_ra, d_dec) < _SAME_POINTING
