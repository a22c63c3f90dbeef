"""Catalogs of the stars of one image: written, read, and turned into star lists.

Beside a catalog lies an ASDF file of the same name. It keeps what else is needed of the image (its
GWCS, reference angles, shape, epoch and group), so that solving needs no image.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core.errors import InputError
from webbalign.core.starlists import StarList
from webbalign.products.atomic import atomic_path
from webbalign.products.catalog_images import read_catalog_image, record_of, write_record
from webbalign.products.catalog_options import CatalogFiles
from webbalign.products.corrector import image_plane
from webbalign.products.image_files import ImageInfo
from webbalign.products.models import refuse_existing
from webbalign.products.names import root
from webbalign.products.provenance import Noted
from webbalign.products.remote import local
from webbalign.products.sphere import box_edges
from webbalign.products.table_files import column, is_known, numbers, read_table

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "CatalogFiles",
    "StarCatalog",
    "catalog_name",
    "read_catalog",
    "read_catalog_image",
    "record_of",
    "star_list",
    "write_catalog",
]

log = logging.getLogger(__name__)

_X = ("x", "xcentroid", "x_centroid")
_Y = ("y", "ycentroid", "y_centroid")
_UNITS = {"xcentroid": "pix", "ycentroid": "pix", "x_err": "pix", "y_err": "pix", "fwhm": "pix"}
_DESCRIPTIONS = {
    "id": "number of the star, from 1",
    "xcentroid": "centre of the star, 0-based",
    "ycentroid": "centre of the star, 0-based",
    "x_err": "one-sigma error of xcentroid",
    "y_err": "one-sigma error of ycentroid",
    "flux": "flux in the unit of the image times pixels",
}


@dataclass(frozen=True, eq=False)
class StarCatalog:
    """The stars of one image, in pixels.

    Attributes
    ----------
    name : str
        The file, or the image they were found in.
    xy : ndarray, shape (n, 2)
        0-based pixel positions.
    sigma : ndarray, shape (n,)
        One-sigma error of each coordinate, px; NaN: unknown.
    flux : ndarray, shape (n,)
        NaN: unknown.
    weight : ndarray, shape (n,)
        1 unless the catalog says otherwise.
    fwhm : float
        Of a star, px; NaN: unknown.
    meta : dict
        The metadata of the file, keys in lower case.
    """

    name: str
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: NDArray[np.float64]
    weight: NDArray[np.float64]
    fwhm: float = float("nan")
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xy)


def catalog_name(image: str | Path, catalog_format: str = "ecsv") -> str:
    """Name the catalog of an image.

    >>> catalog_name("data/jw01345001001_02201_00001_nrca1_cal.fits")
    'jw01345001001_02201_00001_nrca1_cat.ecsv'
    """
    return f"{root(image)}_cat.{catalog_format}"


def write_catalog(
    columns: Mapping[str, ArrayLike],
    info: ImageInfo,
    path: str | Path,
    *,
    group: str,
    fwhm: float = float("nan"),
    meta: Mapping[str, Any] | None = None,
    overwrite: bool = True,
    recipe: Noted | None = None,
) -> Path:
    """Write the stars of an image, and beside them what else is needed to align it.

    Parameters
    ----------
    columns : mapping
        At least ``x`` and ``y`` (or ``xcentroid`` and ``ycentroid``), 0-based px; of the same
        length. Further columns are written as they are.
    info : ImageInfo
        The image; its GWCS goes into the ASDF file.
    path : str or Path
        ``.ecsv`` or ``.fits``.
    group : str
        Group of the image.
    fwhm : float
        Of a star, px.
    meta : mapping, optional
        More metadata; keys of at most 8 letters go into a FITS table as keywords.
    overwrite : bool
        Whether an existing catalog may be replaced.
    recipe : Noted, optional
        What both are made from, to be written into the catalog.

    Returns
    -------
    Path
        The catalog. Its ASDF file has the same name with ``.asdf``.
    """
    from astropy.table import Column, Table

    path = Path(path)
    refuse_existing(path, overwrite)
    record = path.with_suffix(".asdf")
    write_record(info, group, record)
    names = {"x": "xcentroid", "y": "ycentroid"}
    table = Table(
        {
            names.get(key, key): Column(
                np.asarray(values),
                unit=_UNITS.get(names.get(key, key)),
                description=_DESCRIPTIONS.get(names.get(key, key)),
            )
            for key, values in columns.items()
        }
    )
    if "id" not in table.colnames:
        table.add_column(
            Column(np.arange(1, len(table) + 1), description=_DESCRIPTIONS["id"]), 0, "id"
        )
    table.meta.update(
        {"image": info.name, "group_id": group, "wcs_file": record.name, "fwhm_px": float(fwhm)}
    )
    table.meta.update(meta or {})
    if path.suffix == ".fits" and not np.isfinite(fwhm):
        del table.meta["fwhm_px"]  # a FITS keyword cannot be NaN
    kind = "fits" if path.suffix == ".fits" else "ascii.ecsv"
    seal = None if recipe is None else replace(recipe, beside=(record,))
    with atomic_path(path, seal) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"astropy\.io\.fits")
        table.write(temporary, format=kind)
    return path


def read_catalog(path: str | Path) -> StarCatalog:
    """Read a catalog, ours or a user's.

    Parameters
    ----------
    path : str or Path
        In any format that astropy reads. Columns, in any case: ``x`` and ``y``, or ``xcentroid``
        and ``ycentroid``; optional ``weight``, ``flux``, ``x_err``, ``y_err`` and ``fwhm``.

    Raises
    ------
    InputError
        If the file is missing or unreadable, has no such columns, or an impossible weight.
    """
    path = local(path)
    table = read_table(path, "a catalog of stars (any table that astropy reads)")
    x, y = column(table, *_X), column(table, *_Y)
    if x is None or y is None:
        found = f"columns {', '.join(table.colnames) or '(none)'}"
        raise InputError(path, found, "x and y, or xcentroid and ycentroid (0-based pixels)")
    xy = np.stack([numbers(path, table, x), numbers(path, table, y)], axis=-1)
    good = np.isfinite(xy).all(axis=1)
    if not good.all():
        log.warning("%s: %d rows without a position are left out", path, np.sum(~good))
    weight = _optional(path, table, "weight", 1.0)[good]
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise InputError(path, "a weight that is negative or no number", "weights from 0 on")
    errors = [_optional(path, table, name, np.nan) for name in ("x_err", "y_err")]
    meta = {str(key).lower(): value for key, value in table.meta.items()}
    return StarCatalog(
        name=str(path),
        xy=xy[good],
        sigma=np.sqrt(np.mean(np.square(errors), axis=0))[good],
        flux=_optional(path, table, "flux", np.nan)[good],
        weight=weight,
        fwhm=_fwhm(path, table, meta),
        meta=meta,
    )


def _optional(path: Path, table: Table, name: str, default: float) -> NDArray[np.float64]:
    found = column(table, name)
    return np.full(len(table), default) if found is None else numbers(path, table, found)


def _fwhm(path: Path, table: Table, meta: Mapping[str, Any]) -> float:
    given = meta.get("fwhm_px")
    if isinstance(given, int | float):
        return float(given)
    values = _optional(path, table, "fwhm", np.nan)
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.median(values)) if values.size else float("nan")


def star_list(
    catalog: StarCatalog, info: ImageInfo, group: str, *, fwhm: float | None = None
) -> StarList:
    """Put the stars of an image into its tangent plane.

    Parameters
    ----------
    catalog : StarCatalog
    info : ImageInfo
        The image. Stars outside the bounding box of its WCS are left out.
    group : str
    fwhm : float, optional
        Of a star, px, where the catalog does not tell; 2.5 if nobody does.

    Raises
    ------
    InputError
        If the WCS of the image cannot be corrected.
    """
    image = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
    (x0, x1), (y0, y1) = box_edges(info.wcs, info.shape)
    x, y = catalog.xy.T
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    width = catalog.fwhm if is_known(catalog.fwhm) else (fwhm or 2.5)
    return StarList(
        name=info.name,
        group=group,
        plane=image.plane,
        xy=image.from_pixels(catalog.xy[inside]),
        sigma=catalog.sigma[inside] * image.pixel_scale,
        flux=catalog.flux[inside],
        weight=catalog.weight[inside],
        outline=image.outline,
        pixel_scale=image.pixel_scale,
        fwhm=width * image.pixel_scale,
        pixels=catalog.xy[inside],
    )
