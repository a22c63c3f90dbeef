"""Astrometric catalogs: from a file or from the service that a user names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.core.planes import vectors_to_sky
from webbalign.core.starlists import StarList
from webbalign.products.atomic import atomic_path
from webbalign.products.catalog_options import AbsoluteCatalog
from webbalign.products.gaia import SERVICE_CATALOGS, query_catalog, service_address
from webbalign.products.models import refuse_existing
from webbalign.products.proper_motion import CatalogStars
from webbalign.products.remote import local
from webbalign.products.table_files import column, numbers, read_table

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "AbsoluteCatalog",
    "check_reference",
    "field_circle",
    "load_reference",
    "read_reference_catalog",
    "saved_name",
    "write_reference_catalog",
]

log = logging.getLogger(__name__)

_NO_MAGNITUDE = 90.0  # catalogs write 99 where they have none
_EXPECTED = "RA and DEC in degrees (in any case), or sky_centroid"
_COLORS = ("bp_rp", "color", "colour")
_IDENTITIES = ("source_id", "objid", "id")
_MAGNITUDES = ("mag", "magnitude", "phot_g_mean_mag", "gmag", "abmag")


def load_reference(
    options: AbsoluteCatalog, lists: Sequence[StarList], epochs: Sequence[float], margin: float
) -> CatalogStars | None:
    """Get the stars of the astrometric catalog in the field of the images.

    Parameters
    ----------
    options : AbsoluteCatalog
    lists : sequence of StarList
        Of all images: their outlines are the field.
    epochs : sequence of float
        Julian year of each image.
    margin : float
        Arcsec around the field: how far the images may be off.

    Returns
    -------
    CatalogStars or None
        None if no catalog is asked for. It may be empty.

    Raises
    ------
    InputError
        If the catalog cannot be had, or there is none of this name.
    """
    if not options.name or not lists:
        return None
    centre, radius = field_circle(lists, margin)
    if options.name.upper() in SERVICE_CATALOGS:
        known = [epoch for epoch in epochs if np.isfinite(epoch)]
        epoch = float(np.mean(known)) if known else None
        stars = query_catalog(options.name.upper(), centre, radius, epoch)
    else:
        check_reference(options)
        stars = read_reference_catalog(local(options.name).expanduser())
    found = stars.within(centre, radius).between(options.abs_mag_min, options.abs_mag_max)
    log.info("%s: %d stars in the field", stars.name, len(found))
    return found


def check_reference(options: AbsoluteCatalog) -> None:
    """See, before any work, that there is such a catalog.

    Raises
    ------
    InputError
        If the name is neither that of a service's catalog nor that of a file (or the address of
        one that can be had), or the address of the service is none.
    """
    if options.name.upper() in SERVICE_CATALOGS:
        service_address()
        return
    path = local(options.name).expanduser()
    if options.name and not path.exists():
        services = ", ".join(SERVICE_CATALOGS)
        raise InputError(path, "no such file, and no catalog of that name", f"one of {services}")


def field_circle(
    lists: Sequence[StarList], margin: float = 0.0
) -> tuple[tuple[float, float], float]:
    """Circle around the outlines of all images.

    Parameters
    ----------
    lists : sequence of StarList
        At least one.
    margin : float
        Arcsec added to the radius.

    Returns
    -------
    centre : tuple of float
        Right ascension and declination, degrees.
    radius : float
        Degrees.
    """
    corners = np.concatenate([stars.plane.to_vectors(stars.outline) for stars in lists])
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    middle = middle / np.linalg.norm(middle)
    # from the chord: the arc cosine of small angles has no precision
    chord = np.linalg.norm(corners - middle, axis=1).max()
    radius = np.degrees(2 * np.arcsin(min(chord / 2, 1.0))) + margin / 3600.0
    ra, dec = vectors_to_sky(middle)
    return (float(ra), float(dec)), float(radius)


def read_reference_catalog(path: str | Path) -> CatalogStars:
    """Read an astrometric catalog from a file.

    Parameters
    ----------
    path : str or Path
        In any format that astropy reads. Columns, in any case: ``RA`` and ``DEC`` (degrees, ICRS)
        or ``sky_centroid``; optional ``weight``; a magnitude (99: none); ``pmra, pmdec`` (mas/yr,
        with cos(dec)) and ``parallax`` (mas), which need ``ref_epoch`` or ``epoch`` (a column, or
        in the metadata; Julian year); errors ``ra_error, dec_error`` (mas), ``pmra_error,
        pmdec_error`` (mas/yr), ``parallax_error`` (mas). Columns with units are converted. For
        reports: a colour (``bp_rp``, ``color``) and what the stars are called (``source_id``,
        ``objid``, ``id``).

    Raises
    ------
    InputError
        If the file is missing or unreadable, has no row with a position, or lacks a column that it
        needs. A table without rows is an empty catalog.
    """
    path = Path(path)
    table = read_table(path, f"a table with {_EXPECTED}")
    sky = _sky(path, table)
    pm_names = column(table, "pmra"), column(table, "pmdec")
    epoch = _epoch(path, table)
    if None not in pm_names and np.isnan(epoch).any():
        found = "proper motions, but no epoch for every star"
        raise InputError(path, found, "a column ref_epoch (Julian year, such as 2016.0)")

    def values(name: str, unit: str) -> NDArray[np.float64]:
        known = column(table, name)
        blank = np.full(len(table), np.nan)
        return blank if known is None else numbers(path, table, known, unit)

    stars = CatalogStars(
        name=path.name,
        sky=sky,
        epoch=epoch,
        sigma=_both(values("ra_error", "mas"), values("dec_error", "mas")) * 1e-3,
        motion=np.stack([values("pmra", "mas/yr"), values("pmdec", "mas/yr")], axis=-1),
        motion_sigma=_both(values("pmra_error", "mas/yr"), values("pmdec_error", "mas/yr")),
        parallax=values("parallax", "mas"),
        parallax_sigma=values("parallax_error", "mas"),
        weight=_weight(path, table),
        magnitude=_magnitude(path, table),
        color=_color(path, table),
        identity=_identity(table),
    )
    good = np.asarray(np.isfinite(sky).all(axis=1))
    if len(table) and not good.any():
        raise InputError(path, f"no star in {len(table)} rows", _EXPECTED)
    if not good.all():
        log.warning("%s: %d rows without a position are left out", path, np.sum(~good))
    return stars[good]


def _both(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error per axis from those of both axes."""
    return np.sqrt((np.square(one) + np.square(other)) / 2)


def _sky(path: Path, table: Table) -> NDArray[np.float64]:
    ra, dec = column(table, "ra"), column(table, "dec")
    centroid = column(table, "sky_centroid")
    if ra is not None and dec is not None:
        sky = np.stack([numbers(path, table, ra, "deg"), numbers(path, table, dec, "deg")], axis=-1)
    elif centroid is not None and hasattr(table[centroid], "icrs"):
        icrs = table[centroid].icrs
        sky = np.stack([icrs.ra.deg, icrs.dec.deg], axis=-1)
        sky = np.ma.filled(np.ma.asarray(sky), np.nan).astype(np.float64)
    else:
        raise InputError(path, f"columns {', '.join(table.colnames) or '(none)'}", _EXPECTED)
    with np.errstate(invalid="ignore"):
        wrong = (np.abs(sky[:, 1]) > 90) | (np.abs(sky[:, 0]) > 360)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f"a position of RA {sky[row, 0]}, DEC {sky[row, 1]} in row {row + 1}"
        raise InputError(path, found, "degrees")
    return sky


def _epoch(path: Path, table: Table) -> NDArray[np.float64]:
    name = column(table, "ref_epoch", "epoch")
    if name is not None:
        try:
            return numbers(path, table, name)
        except InputError:
            raise InputError(path, f"column {name} is no number", "Julian years") from None
    meta: dict[str, Any] = {str(key).lower(): value for key, value in table.meta.items()}
    for key in ("ref_epoch", "epoch"):
        try:
            return np.full(len(table), float(meta[key]))
        except (KeyError, TypeError, ValueError):
            continue
    return np.full(len(table), np.nan)


def _weight(path: Path, table: Table) -> NDArray[np.float64]:
    name = column(table, "weight")
    weight = np.ones(len(table)) if name is None else numbers(path, table, name)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise InputError(path, "a weight that is negative or no number", "weights from 0 on")
    return weight


def _magnitude(path: Path, table: Table) -> NDArray[np.float64]:
    name = column(table, *_MAGNITUDES)
    if name is None:
        return np.full(len(table), np.nan)
    magnitude = numbers(path, table, name)
    return np.where(np.abs(magnitude) < _NO_MAGNITUDE, magnitude, np.nan)


def _color(path: Path, table: Table) -> NDArray[np.float64]:
    name = column(table, *_COLORS)
    try:
        return np.full(len(table), np.nan) if name is None else numbers(path, table, name)
    except InputError:  # a word for it: nothing rests on it
        return np.full(len(table), np.nan)


def _identity(table: Table) -> NDArray[np.str_]:
    name = column(table, *_IDENTITIES)
    if name is None:
        return np.full(len(table), "")
    return np.array(["" if cell is np.ma.masked else str(cell) for cell in table[name]], str)


def saved_name(abs_refcat: str) -> str:
    """Name the file in which the astrometric catalog is saved.

    >>> saved_name("GAIADR3"), saved_name("cats/mine.fits")
    ('fit_gaiadr3_ref.ecsv', 'fit_mine_ref.ecsv')
    """
    name = abs_refcat if abs_refcat.upper() in SERVICE_CATALOGS else Path(abs_refcat).stem
    return f"fit_{name.lower()}_ref.ecsv"


def write_reference_catalog(
    stars: CatalogStars, path: str | Path, *, overwrite: bool = True
) -> Path:
    """Write the astrometric catalog that was used, so that it can be used again as a file.

    Parameters
    ----------
    stars : CatalogStars
    path : str or Path
        ECSV.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    from astropy import units
    from astropy.table import Column, Table

    path = Path(path)
    refuse_existing(path, overwrite)
    mas, rate = units.mas, units.mas / units.yr
    columns = {
        "RA": (stars.sky[:, 0], units.deg),
        "DEC": (stars.sky[:, 1], units.deg),
        "ref_epoch": (stars.epoch, None),
        "pmra": (stars.motion[:, 0], rate),
        "pmdec": (stars.motion[:, 1], rate),
        "parallax": (stars.parallax, mas),
        "ra_error": (stars.sigma * 1e3, mas),
        "dec_error": (stars.sigma * 1e3, mas),
        "pmra_error": (stars.motion_sigma, rate),
        "pmdec_error": (stars.motion_sigma, rate),
        "parallax_error": (stars.parallax_sigma, mas),
        "mag": (stars.magnitude, None),
        "bp_rp": (stars.color, None),
        "weight": (stars.weight, None),
    }
    table = Table(meta={"catalog": stars.name})
    for name, (values, unit) in columns.items():
        if name in ("RA", "DEC", "weight") or np.isfinite(values).any():
            table[name] = Column(values, unit=unit)
    if (stars.identity != "").any():
        table["source_id"] = stars.identity
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")
    return path
