"""File names of products, as JWST users know them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["exposure_product", "root", "source_product"]

# What stage 2 and stage 3 put at the end of a file's name; cut before another one is added.
SUFFIXES = (
    "calints", "cal", "rateints", "rate", "crfints", "crf", "psfstack", "psfalign", "psfsub",
    "psfmodel", "median", "i2d", "tweakreg", "cat",
)  # fmt: skip


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
