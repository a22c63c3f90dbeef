"""What is wrong with a PSFMASK reference file, if anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "Problem", "check_psfmask", "problems_of_image", "problems_of_keywords"]

# keyword -> data-model name; the last three are the ones by which CRDS selects a file
_KEYWORDS = {
    "AUTHOR": "meta.author",
    "DATAMODL": "meta.model_type",
    "DATE": "meta.date",
    "DESCRIP": "meta.description",
    "FILENAME": "meta.filename",
    "INSTRUME": "meta.instrument.name",
    "PEDIGREE": "meta.pedigree",
    "REFTYPE": "meta.reftype",
    "TELESCOP": "meta.telescope",
    "USEAFTER": "meta.useafter",
    "FILTER": "meta.instrument.filter",
    "CORONMSK": "meta.instrument.coronagraph",
    "SUBARRAY": "meta.subarray.name",
}
# keywords that can have but one value
EXACT = {"DATAMODL": "PsfMaskModel", "REFTYPE": "PSFMASK", "TELESCOP": "JWST"}
_INSTRUMENTS = ("MIRI", "NIRCAM")
_DAY = r"\d{4}-\d{2}-\d{2}"
_PEDIGREE = re.compile(rf"(DUMMY|GROUND|MODEL|SIMULATION|INFLIGHT {_DAY} {_DAY})", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a PSFMASK file.

    Attributes
    ----------
    where : str
        Keyword or extension.
    found : str
        What is there.
    expected : str
        What should be there.
    """

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where} {self.found}; expected {self.expected}"


def check_psfmask(path: str | Path) -> list[Problem]:
    """Return all that is wrong with a PSFMASK file; an empty list for a valid one.

    Parameters
    ----------
    path : str or Path
        The file. It need not exist or be FITS: that is a problem like others.
    """
    from astropy.io import fits

    path = Path(path)
    if not path.is_file():
        return [Problem("file", "does not exist", "a FITS file")]
    try:
        with fits.open(path) as hdulist:
            # read everything now: a file that is cut short fails only here
            images = [(hdu.name, hdu.data) for hdu in hdulist if hdu.is_image]
            header = hdulist[0].header.copy()
    except (OSError, TypeError, ValueError) as error:
        return [Problem("file", f"is not readable as FITS ({error})", "a FITS file")]
    return [*problems_of_keywords(header), *problems_of_image(images, header)]


def problems_of_keywords(header: Any) -> Iterator[Problem]:
    """Yield what is wrong with the keywords of a primary header."""
    allowed = _allowed_values()
    for keyword, name in _KEYWORDS.items():
        value = str(header.get(keyword, "")).strip()
        if not value:
            yield Problem(keyword, "is missing", f"the value of {name}")
        elif keyword in EXACT and value != EXACT[keyword]:
            yield Problem(keyword, f"is {value!r}", repr(EXACT[keyword]))
        elif keyword == "INSTRUME" and value not in _INSTRUMENTS:
            yield Problem(keyword, f"is {value!r}", " or ".join(_INSTRUMENTS))
        elif keyword in allowed and value not in allowed[keyword]:
            yield Problem(keyword, f"is {value!r}", f"one of {', '.join(sorted(allowed[keyword]))}")
        elif keyword == "PEDIGREE" and not _PEDIGREE.fullmatch(value):
            words = "DUMMY, GROUND, MODEL, SIMULATION or INFLIGHT yyyy-mm-dd yyyy-mm-dd"
            yield Problem(keyword, f"is {value!r}", words)
        elif keyword in ("DATE", "USEAFTER") and not _is_date(value):
            yield Problem(keyword, f"is {value!r}", "yyyy-mm-ddThh:mm:ss")


def problems_of_image(images: list[tuple[str, Any]], header: Any) -> Iterator[Problem]:
    """Yield what is wrong with the images (name, array) of a file.

    A `header`, if given, must agree with their size.
    """
    for index, (name, data) in enumerate(images):
        # older files carry their metadata in an image named ASDF
        if name in ("SCI", "ASDF") or data is None:
            continue
        if index == 0 and name == "PRIMARY":
            yield Problem("primary HDU", f"holds an array of shape {data.shape}", "no data")
        else:
            yield Problem(f"extension {name or index}", "is a further image", "SCI alone")
    science = [data for name, data in images if name == "SCI"]
    if len(science) != 1 or science[0] is None:
        yield Problem("SCI", f"is there {len(science)} times", "one extension with an image")
        return
    data = np.asarray(science[0])
    if data.ndim != 2:
        yield Problem("SCI", f"has {data.ndim} dimensions", "2")
        return
    if data.dtype.kind != "f":
        yield Problem("SCI", f"is of type {data.dtype.name}", "float")
    yield from _value_problems(data)
    sizes = (header or {}).get("SUBSIZE1"), (header or {}).get("SUBSIZE2")
    if None not in sizes and sizes != data.shape[::-1]:
        found = f"say {sizes[0]} x {sizes[1]}, SCI is {data.shape[1]} x {data.shape[0]}"
        yield Problem("SUBSIZE1, SUBSIZE2", found, "the size of SCI")


def _value_problems(data: NDArray) -> Iterator[Problem]:
    finite = np.isfinite(data)
    if not finite.all():
        count = np.count_nonzero(~finite)
        yield Problem("SCI", f"has {count} values that are not finite", "values from 0 to 1")
    if not finite.any():
        return
    low, high = data[finite].min(), data[finite].max()
    if low < 0 or high > 1:
        yield Problem("SCI", f"has values from {low:g} to {high:g}", "values from 0 to 1")
    if low == high == 0:
        yield Problem("SCI", "is zero everywhere", "a weight of 1 where pixels are used")


def _is_date(value: str) -> bool:
    if not re.match(rf"{_DAY}T\d{{2}}:\d{{2}}:\d{{2}}", value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _allowed_values() -> dict[str, set[str]]:
    """Return keyword -> values that the data model's schema allows."""
    from stdatamodels.jwst.datamodels import PsfMaskModel

    schema = PsfMaskModel().schema
    names = {keyword: _KEYWORDS[keyword] for keyword in ("FILTER", "CORONMSK", "SUBARRAY")}
    return {keyword: set(_enumerated(schema, name.split("."))) for keyword, name in names.items()}


def _enumerated(schema: Any, names: list[str]) -> Iterator[str]:
    """Yield the values of all enumerations that a schema has for a nested name."""
    for part in schema.get("allOf", ()):
        yield from _enumerated(part, names)
    if names:
        inner = schema.get("properties", {}).get(names[0])
        if inner is not None:
            yield from _enumerated(inner, names[1:])
        return
    yield from map(str, schema.get("enum", ()))
    for part in schema.get("anyOf", ()):
        yield from map(str, part.get("enum", ()))
