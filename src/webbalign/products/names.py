"""File names of products, as JWST users know them."""

from __future__ import annotations

import re
from pathlib import Path

from webbalign.core.errors import InputError

__all__ = ["checked_name", "exposure_product", "flat_name", "root", "source_product"]

# What stage 2 and stage 3 put at the end of a file's name; cut before another one is added.
SUFFIXES = (
    "calints", "cal", "rateints", "rate", "crfints", "crf", "psfstack", "psfalign", "psfsub",
    "psfmodel", "median", "i2d", "tweakreg", "cat",
)  # fmt: skip

# of a file's name, less than the 255 bytes of most file systems: a suffix is added to it
LONGEST = 200


def root(filename: str | Path) -> str:
    """Return the name without folder, extension and product suffix.

    >>> root("data/jw01184001001_03107_00001_nrcalong_calints.fits.gz")
    'jw01184001001_03107_00001_nrcalong'
    """
    stem = Path(filename).name
    for extension in (".gz", ".fits", ".asdf", ".json"):
        stem = stem.removesuffix(extension)
    head, _, tail = stem.rpartition("_")
    return head if head and tail in SUFFIXES else stem


def checked_name(name: str, what: str, file: str | Path | None) -> str:
    """Return a name that is to be part of a file's name, seen to lead to no other folder.

    Parameters
    ----------
    name : str
    what : str
        What it is called in `file`, for messages.
    file : str, Path or None
        Where it stands.

    Raises
    ------
    InputError
        If it holds a separator or a character that cannot be printed, begins with a point, or is
        longer than file names can be.
    """
    if re.search(r"[/\\]", name) or name.startswith(".") or not name.isprintable():
        expected = "a name for files, without / and \\ and no point in front"
        raise InputError(file, f"the {what} is {name!r}", expected)
    if len(name.encode()) > LONGEST:
        raise InputError(file, f"the {what} has {len(name)} letters", f"at most {LONGEST}")
    return name


def flat_name(name: str) -> str:
    """Return a name (of a target, say) with what file names cannot hold replaced.

    >>> flat_name("../NGC 1566/A")
    '_NGC 1566_A'
    """
    flat = "".join(letter if letter.isprintable() else "_" for letter in name)
    return re.sub(r"[/\\]+", "_", flat).lstrip(".")[:LONGEST] or "_"


def exposure_product(member: str | Path, asn_id: str | None, suffix: str) -> str:
    """Name a product that belongs to one exposure of an association.

    >>> exposure_product("jw1_02102_00001_nrcalong_calints.fits", "c1001", "psfsub")
    'jw1_02102_00001_nrcalong_c1001_psfsub.fits'
    """
    base = root(member)
    # a _crfints file of the same association carries the identifier already
    if asn_id and not base.endswith(f"_{asn_id}"):
        base = f"{base}_{asn_id}"
    return f"{base}_{suffix}.fits"


def source_product(product_name: str, suffix: str) -> str:
    """Name a product that combines the exposures of an association."""
    return f"{product_name}_{suffix}.fits"
