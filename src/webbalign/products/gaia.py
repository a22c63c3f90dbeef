"""The catalog service of the Guide Star Catalog: Gaia's stars around a position.

Protocol: GET ``{base}/vo/CatalogSearch.aspx?RA=&DEC=&EPOCH=&SR=&FORMAT=CSV&CAT=``, in degrees and
years. The answer is CSV: lines with ``#`` are comments, the first other line names the columns.
Stars with a known motion are given at EPOCH, the others at that of the catalog; ``epoch`` tells.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError
from webbalign.products.atomic import atomic_path
from webbalign.products.cache import cache_folder
from webbalign.products.proper_motion import CatalogStars

__all__ = [
    "DEFAULT_ADDRESS",
    "SERVICE_CATALOGS",
    "CatalogUnavailable",
    "parse_answer",
    "query_catalog",
    "service_address",
]

log = logging.getLogger(__name__)

SERVICE_CATALOGS = ("GAIADR3", "GAIADR2", "GAIADR1", "GAIAREFCAT")
DEFAULT_ADDRESS = "https://gsss.stsci.edu/webservices"
TIMEOUT = 30.0  # s
# s between the attempts: a service that restarts is back after some seconds
WAITS = (1.0, 3.0)

_HINT = "a file to abs_refcat, or try again later"
_COUNT = re.compile(r"^#\s*Number of objects found:\s*(\d+)", re.MULTILINE | re.IGNORECASE)


class CatalogUnavailable(InputError):
    """The catalog service did not answer, or not with a catalog."""


def service_address() -> str:
    """Return the address of the service: ``ASTROMETRIC_CATALOG_URL``, or the usual one.

    Raises
    ------
    InputError
        If the variable holds no web address.
    """
    address = os.environ.get("ASTROMETRIC_CATALOG_URL") or DEFAULT_ADDRESS
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable &= parts.port is None or parts.port > 0
        usable &= not (parts.query or parts.fragment) and address.isprintable()
    except ValueError:  # a port that is no number, a bracket too many
        usable = False
    if not usable or " " in address:
        found = f"{address!r} is no web address"
        raise InputError("ASTROMETRIC_CATALOG_URL", found, f"one such as {DEFAULT_ADDRESS}")
    return address


def query_catalog(
    catalog: str, centre: tuple[float, float], radius: float, epoch: float | None
) -> CatalogStars:
    """Ask the service for the stars around a position.

    Parameters
    ----------
    catalog : str
        One of `SERVICE_CATALOGS`.
    centre : tuple of float
        Right ascension and declination, degrees.
    radius : float
        Degrees.
    epoch : float or None
        Julian year to which the service moves the stars whose motion is known.

    Returns
    -------
    CatalogStars
        Possibly without stars. An answer that was had before is taken from the cache,
        ``XDG_CACHE_HOME/webbalign/catalogs``.

    Raises
    ------
    CatalogUnavailable
        If the service, at :func:`service_address`, cannot be reached or answers with something
        else; what happened and what can be done.
    InputError
        If its address is none.
    """
    address = service_address()
    # rounded outwards, so that nearly the same field finds the same answer in the cache
    query = {
        "RA": f"{centre[0]:.5f}",
        "DEC": f"{centre[1]:.5f}",
        **({} if epoch is None else {"EPOCH": f"{epoch:.2f}"}),
        "SR": f"{np.ceil(radius * 1e4 + 1) / 1e4:.4f}",
        "FORMAT": "CSV",
        "CAT": catalog,
    }
    url = f"{address.rstrip('/')}/vo/CatalogSearch.aspx?{urllib.parse.urlencode(query)}"
    stored = cache_folder() / "catalogs" / f"{hashlib.sha256(url.encode()).hexdigest()[:20]}.csv"
    with contextlib.suppress(OSError, UnicodeDecodeError, CatalogUnavailable):
        stars = parse_answer(stored.read_text(), catalog, url)
        log.info("%s: %d stars from the cache", catalog, len(stars))
        return stars
    text = _fetch(url, catalog)
    stars = parse_answer(text, catalog, url)
    _check_place(stars, centre, radius, catalog, url)
    if len(stars):
        _store(stored, text)
    log.info("%s: %d stars from %s", catalog, len(stars), address)
    return stars


def _fetch(url: str, catalog: str) -> str:
    request = urllib.request.Request(url, headers={"Content-Type": "text/csv"})
    reason = ""
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                content: bytes = answer.read()
            return content.decode()
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP status {error.code} ({error.reason})"
            if error.code < 500:
                break  # the same question gets the same answer
        except UnicodeDecodeError:
            reason = "an answer that is no text"
            break
        except http.client.IncompleteRead:
            reason = "an answer that was cut short"
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            cause = getattr(error, "reason", error)
            words = getattr(cause, "strerror", None) or cause
            reason = "no answer in time" if isinstance(cause, TimeoutError) else f"{words}"
        if wait is not None:
            log.warning("%s: %s; asking again in %g s", catalog, reason, wait)
            time.sleep(wait)
    raise _unavailable(catalog, url, reason)


def _unavailable(catalog: str, url: str, reason: str) -> CatalogUnavailable:
    address = url.partition("/vo/")[0]
    return CatalogUnavailable(catalog, f"{reason} ({address})", _HINT)


def parse_answer(text: str, catalog: str, url: str = "") -> CatalogStars:
    """Read an answer of the service; nothing that is not a whole catalog passes.

    Parameters
    ----------
    text : str
    catalog, url : str
        For messages.

    Raises
    ------
    CatalogUnavailable
        If the text is something else: a web page, a part of an answer, other columns.
    """
    if text.lstrip().lower().startswith("no data records"):
        return _stars(catalog, {}, 0)
    if not text.strip():
        raise _unavailable(catalog, url, "an empty answer")
    if text.lstrip().startswith("<"):
        start = " ".join(text.split())[:60]
        raise _unavailable(catalog, url, f"a web page in place of a catalog ({start} ...)")
    rows = list(csv.reader(line for line in text.splitlines() if not line.startswith("#")))
    rows = [row for row in rows if row]
    names = [name.strip().lower() for name in rows[0]] if rows else []
    missing = {"ra", "dec"} - set(names)
    if missing or not {"epoch", "ref_epoch"} & set(names):
        lacking = ", ".join(sorted(missing) or ["epoch"])
        start = ",".join(names)[:60]
        raise _unavailable(catalog, url, f"an answer without the column {lacking} ({start})")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            found = f"an answer whose row {number} has {len(row)} of {len(names)} values"
            raise _unavailable(catalog, url, found)
    stated = _COUNT.search(text)
    if stated and int(stated.group(1)) != len(rows) - 1:
        found = f"{len(rows) - 1} stars in an answer that announces {stated.group(1)}"
        raise _unavailable(catalog, url, found)
    table = {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(names)}
    try:
        return _stars(catalog, table, len(rows) - 1)
    except ValueError as error:
        raise _unavailable(catalog, url, f"an answer that is no catalog ({error})") from None


def _stars(catalog: str, table: dict[str, list[str]], count: int) -> CatalogStars:
    def values(name: str) -> NDArray[np.float64]:
        cells = table.get(name, [""] * count)
        blank = ("", "null", "nan", "--")
        return np.array([np.nan if cell.lower() in blank else float(cell) for cell in cells])

    def both(one: str, other: str) -> NDArray[np.float64]:
        return np.sqrt((values(one) ** 2 + values(other) ** 2) / 2)

    sky = np.stack([values("ra"), values("dec")], axis=-1).reshape(-1, 2)
    if not (np.isfinite(sky).all() and (np.abs(sky[:, 1]) <= 90).all()):
        raise ValueError("positions that are not degrees")
    reference = values("ref_epoch")
    epoch = values("epoch")
    epoch = np.where(np.isfinite(epoch), epoch, reference)
    if not np.isfinite(epoch).all():
        raise ValueError("stars without an epoch")
    motion_sigma = both("pmra_error", "pmdec_error")
    # the service moves the positions, but not their errors
    grown = np.nan_to_num(motion_sigma * (epoch - reference))
    magnitude = values("mag")
    return CatalogStars(
        name=catalog,
        sky=sky,
        epoch=epoch,
        sigma=np.hypot(both("ra_error", "dec_error"), grown) * 1e-3,
        motion=np.stack([values("pmra"), values("pmdec")], axis=-1).reshape(-1, 2),
        motion_sigma=motion_sigma,
        parallax=values("parallax"),
        parallax_sigma=values("parallax_error"),
        weight=np.ones(count),
        magnitude=np.where(np.abs(magnitude) < 90.0, magnitude, np.nan),
        color=values("bp_rp"),
        identity=np.array(table.get("source_id", table.get("objid", [""] * count)), str),
    )


def _check_place(
    stars: CatalogStars, centre: tuple[float, float], radius: float, catalog: str, url: str
) -> None:
    """See that the answer belongs to the question."""
    if len(stars) and not len(stars.within(centre, 1.5 * radius + 0.01)):
        ra, dec = stars.sky[0]
        found = f"stars of another place (RA {ra:.4f}, Dec {dec:.4f})"
        raise _unavailable(catalog, url, found)


def _store(path: Path, text: str) -> None:
    # a cache that cannot be written is no reason to fail
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text)
