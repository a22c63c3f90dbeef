"""Options of catalogs: of the images' stars, and of the absolute reference.

They stand apart from what reads and writes catalogs, which takes long to import: a help text needs
only them.
"""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["AbsoluteCatalog", "CatalogFiles"]


@dataclass(frozen=True)
class CatalogFiles(Options):
    """Catalogs that are written, and catalogs that are used in place of star finding."""

    save_catalogs: bool = opt(False, "Whether to write the catalogs of the stars that were found.")
    use_custom_catalogs: bool = opt(
        False, "Whether to use the catalogs that catfile, association or images name."
    )
    catalog_format: str = opt("ecsv", "Format of the catalogs.", choices=("ecsv", "fits"))
    catfile: str = opt(
        "",
        "Text file with two columns: image, its catalog (relative to this file; none: find the "
        "stars). Has no effect without use_custom_catalogs.",
    )


@dataclass(frozen=True)
class AbsoluteCatalog(Options):
    """The astrometric catalog to which the images are aligned."""

    abs_refcat: str | None = opt(
        "",
        "GAIADR3, GAIADR2, GAIADR1 or GAIAREFCAT (asks a service), or a file; empty: none.",
    )
    save_abs_catalog: bool = opt(False, "Whether to write the astrometric catalog that was used.")
    abs_mag_min: float | None = opt(
        None, "Leave out stars of the astrometric catalog that are brighter (magnitudes)."
    )
    abs_mag_max: float | None = opt(
        None, "Leave out stars of the astrometric catalog that are fainter (magnitudes)."
    )

    @property
    def name(self) -> str:
        """What the user asked for; empty: no absolute alignment."""
        return (self.abs_refcat or "").strip()
