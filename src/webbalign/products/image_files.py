"""Reading 2-D images for star finding: pixels, GWCS and what the header says, without a data model.

A data model of a full frame reads seven arrays, of which finding needs three, and validates what is
only read. Here the arrays are read by astropy and the GWCS from the ASDF extension.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asdf
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from webbalign.core.errors import InputError
from webbalign.products.groups import ObservationIds
from webbalign.products.inputs import require_file
from webbalign.products.models import quiet_schema_warnings

if TYPE_CHECKING:
    from gwcs import WCS

__all__ = ["ImageInfo", "StarImage", "asdf_tree", "decimal_year", "read_image", "read_info"]

_BLOCK = 2880  # FITS files consist of blocks of this size
_EXPECTED = "a calibrated 2-D image (_cal)"
_ANGLES = ("v2_ref", "v3_ref", "roll_ref", "ra_ref", "dec_ref", "crpix1", "crpix2")


@dataclass(frozen=True, eq=False)
class ImageInfo:
    """What is known about an image without its pixels.

    Attributes
    ----------
    name : str
        File name.
    path : Path or None
        The file; None for a model in memory.
    shape : tuple of int
        (ny, nx).
    wcs : gwcs.WCS
    wcsinfo : dict
        ``v2_ref, v3_ref`` (arcsec), ``roll_ref, ra_ref, dec_ref`` (degrees), ``crpix1, crpix2``;
        those that the header has.
    epoch : float
        Middle of the exposure, as a year with fraction; NaN if the header does not tell.
    observation : ObservationIds
    group_id, tweakreg_catalog : str
        ``meta.group_id`` and ``meta.tweakreg_catalog``; empty if there is none.
    instrument, detector, filter, pupil, exp_type : str
    """

    name: str
    path: Path | None
    shape: tuple[int, int]
    wcs: WCS = field(repr=False)
    wcsinfo: dict[str, float] = field(repr=False)
    epoch: float
    observation: ObservationIds
    group_id: str = ""
    tweakreg_catalog: str = ""
    instrument: str = ""
    detector: str = ""
    filter: str = ""
    pupil: str = ""
    exp_type: str = ""


@dataclass(frozen=True, eq=False)
class StarImage:
    """An image in which stars are to be found.

    Attributes
    ----------
    info : ImageInfo
    data, err : ndarray, shape (ny, nx)
        float32, native byte order; ERR is NaN where the file has none.
    dq : ndarray, shape (ny, nx)
        uint32; zero where the file has none.
    """

    info: ImageInfo
    data: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    dq: NDArray[np.uint32] = field(repr=False)


def read_image(source: str | Path | JwstDataModel) -> StarImage:
    """Read an image with its pixels.

    Parameters
    ----------
    source : str, Path or ImageModel

    Raises
    ------
    InputError
        If the file is missing, unreadable, no 2-D image, or without a WCS.
    """
    if isinstance(source, JwstDataModel):
        return _from_model(source)
    with _opened(Path(source)) as hdulist:
        info = _info(Path(source), hdulist)
        try:
            data = _array(hdulist, "SCI", info.shape)
            err, dq = _array(hdulist, "ERR", info.shape), _array(hdulist, "DQ", info.shape)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(source, f"not readable as FITS ({error})", _EXPECTED) from None
    return _star_image(info, data, err, dq)


def read_info(source: str | Path | JwstDataModel, *, wcs: bool = True) -> ImageInfo:
    """Read what is known about an image without its pixels; raises as :func:`read_image` does.

    With ``wcs=False`` its WCS, which takes most of the time, is left out (None).
    """
    if isinstance(source, JwstDataModel):
        info = _model_info(source)
        return info if wcs else replace(info, wcs=None)
    with _opened(Path(source)) as hdulist:
        return _info(Path(source), hdulist, with_wcs=wcs)


def _opened(path: Path) -> fits.HDUList:
    require_file(path, _EXPECTED)
    try:
        with warnings.catch_warnings():
            # a cut file fails below, with its own message
            warnings.filterwarnings("ignore", module=r"astropy\.io\.fits")
            hdulist = fits.open(path, memmap=False)
            last = hdulist[len(hdulist) - 1].fileinfo()
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InputError(path, f"not readable as FITS ({error})", _EXPECTED) from None
    size = path.stat().st_size
    # (the size of a compressed file says nothing; a cut one fails when it is unpacked)
    if path.suffix != ".gz" and (last["datLoc"] + last["datSpan"] > size or size % _BLOCK):
        hdulist.close()
        raise InputError(path, f"cut short ({size} bytes)", "the whole file (fetch it again)")
    return hdulist


def _info(path: Path, hdulist: fits.HDUList, *, with_wcs: bool = True) -> ImageInfo:
    if "SCI" not in hdulist:
        raise InputError(path, "no SCI extension", _EXPECTED)
    science = hdulist["SCI"].header
    axes = [int(science[f"NAXIS{axis + 1}"]) for axis in range(int(science["NAXIS"]))]
    if len(axes) != 2 or min(axes) < 1:
        size = " x ".join(map(str, axes)) or "empty"
        raise InputError(path, f"SCI has {len(axes)} dimensions ({size})", _EXPECTED)
    header = hdulist[0].header
    meta = asdf_tree(path, hdulist).get("meta", {})
    if not isinstance(meta, Mapping):
        raise InputError(path, "something else for meta in its ASDF extension", _EXPECTED)
    known = {name: _text(header.get(keyword)) for name, keyword in _KEYWORDS.items()}
    return ImageInfo(
        name=path.name,
        path=path,
        shape=(axes[1], axes[0]),
        wcs=_some_wcs(path, meta.get("wcs")) if with_wcs or "wcs" not in meta else None,
        wcsinfo=_numbers(
            {key: science.get(key.upper(), header.get(key.upper())) for key in _ANGLES}
        ),
        epoch=decimal_year(
            header.get("EXPMID"), _text(header.get("DATE-OBS")), _text(header.get("TIME-OBS"))
        ),
        observation=ObservationIds(
            **{name: _text(header.get(key)) for name, key in _ID_KEYWORDS.items()}
        ),
        group_id=_text(meta.get("group_id")),
        tweakreg_catalog=_text(header.get("TCATFILE")),
        **known,
    )


_KEYWORDS = {
    "instrument": "INSTRUME", "detector": "DETECTOR", "filter": "FILTER", "pupil": "PUPIL",
    "exp_type": "EXP_TYPE",
}  # fmt: skip
_ID_KEYWORDS = {
    "program": "PROGRAM", "observation": "OBSERVTN", "visit": "VISIT", "visit_group": "VISITGRP",
    "sequence": "SEQ_ID", "activity": "ACT_ID", "exposure": "EXPOSURE", "detector": "DETECTOR",
    "module": "MODULE",
}  # fmt: skip


def asdf_tree(path: Path, hdulist: fits.HDUList) -> Mapping[str, Any]:
    """Return the tree of the ASDF extension; what lies in other extensions is not loaded.

    Raises
    ------
    InputError
        If there is no ASDF extension, or it cannot be read.
    """
    if "ASDF" not in hdulist:
        raise InputError(path, "no ASDF extension, and so no WCS", _EXPECTED)
    try:
        stored = hdulist["ASDF"].data["ASDF_METADATA"].tobytes()
        with quiet_schema_warnings():
            return asdf.open(io.BytesIO(stored), lazy_tree=True).tree
    except Exception as error:  # a YAML, a schema, a block: whatever is wrong with it
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, f"its ASDF extension is not readable ({words})", _EXPECTED) from None


def _some_wcs(name: object, wcs: Any) -> WCS:
    if not callable(getattr(wcs, "invert", None)):
        raise InputError(str(name), "no WCS (meta.wcs)", "an image that went through assign_wcs")
    return wcs


def _array(hdulist: fits.HDUList, name: str, shape: tuple[int, int]) -> NDArray[Any] | None:
    data = hdulist[name].data if name in hdulist else None
    if data is None or data.shape != shape:
        return None
    del hdulist[name].data  # it is ours now, and goes when we are done with it
    if data.dtype.isnative:
        return np.asarray(data)
    # in place, since fresh memory costs more than the swap itself
    native: NDArray[Any] = data.byteswap(inplace=True).view(data.dtype.newbyteorder("="))
    return native


def _star_image(
    info: ImageInfo, data: Any, err: NDArray[Any] | None, dq: NDArray[Any] | None
) -> StarImage:
    if err is None or err.shape != info.shape:
        err = np.full(info.shape, np.nan, np.float32)
    if dq is None or dq.shape != info.shape:
        dq = np.zeros(info.shape, np.uint32)
    return StarImage(
        info,
        np.asarray(data).astype(np.float32, copy=False),
        err.astype(np.float32, copy=False),
        dq.astype(np.uint32, copy=False),
    )


def _from_model(model: JwstDataModel) -> StarImage:
    return _star_image(_model_info(model), model.data, model.err, model.dq)


def _model_info(model: JwstDataModel) -> ImageInfo:
    name = model.meta.filename or "the image"
    if model.data is None or model.data.ndim != 2:
        raise InputError(name, "no 2-D SCI array", _EXPECTED)
    meta = model.meta.instance
    parts = meta.get("observation") or {}
    instrument = meta.get("instrument") or {}
    exposure = meta.get("exposure") or {}
    return ImageInfo(
        name=name,
        path=None,
        shape=model.data.shape,
        wcs=_some_wcs(name, meta.get("wcs")),
        wcsinfo=_numbers({key: (meta.get("wcsinfo") or {}).get(key) for key in _ANGLES}),
        epoch=decimal_year(
            exposure.get("mid_time"), _text(parts.get("date")), _text(parts.get("time"))
        ),
        observation=ObservationIds(
            program=_text(parts.get("program_number")),
            observation=_text(parts.get("observation_number")),
            visit=_text(parts.get("visit_number")),
            visit_group=_text(parts.get("visit_group")),
            sequence=_text(parts.get("sequence_id")),
            activity=_text(parts.get("activity_id")),
            exposure=_text(parts.get("exposure_number")),
            detector=_text(instrument.get("detector")),
            module=_text(instrument.get("module")),
        ),
        group_id=_text(meta.get("group_id")),
        tweakreg_catalog=_text(meta.get("tweakreg_catalog")),
        exp_type=_text(exposure.get("type")),
        instrument=_text(instrument.get("name")),
        **{key: _text(instrument.get(key)) for key in ("detector", "filter", "pupil")},
    )


def decimal_year(mid_mjd: object, date: str = "", time: str = "") -> float:
    """Time of an exposure as a Julian year with fraction (as Gaia's epochs are).

    Parameters
    ----------
    mid_mjd : object
        Middle of the exposure (MJD, days), or anything that is no number if it is not known.
    date, time : str
        Start of the exposure, used then: ``yyyy-mm-dd`` and ``hh:mm:ss``.

    Returns
    -------
    year : float
        NaN if nothing is known.

    >>> decimal_year(57388.5), decimal_year(None, "2016-01-01", "12:00:00")
    (2016.0, 2016.0)
    """
    days = _number(mid_mjd)
    if not math.isfinite(days) and date:
        try:
            stamp = np.datetime64(f"{date}T{time or '00:00:00'}")
        except ValueError:
            return math.nan
        days = float((stamp - np.datetime64("1858-11-17")) / np.timedelta64(1, "s")) / 86400.0
    return 2000.0 + (days - 51544.5) / 365.25


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {key: _number(value) for key, value in values.items()}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
