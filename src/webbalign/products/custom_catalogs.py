"""Which image comes with a catalog of its own, and which one wins when several are named."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from webbalign.core.errors import InputError
from webbalign.products.catalogs import CatalogFiles
from webbalign.products.image_files import ImageInfo
from webbalign.products.remote import beside, local

__all__ = ["custom_catalogs", "read_catfile"]

log = logging.getLogger(__name__)


def read_catfile(path: str | Path) -> dict[str, Path | None]:
    """Read the list of images and their catalogs.

    Parameters
    ----------
    path : str or Path
        Text of two columns: image, catalog (relative to this file). A missing second column means
        that the stars of the image are to be found. ``#`` begins a comment.

    Returns
    -------
    dict
        Catalog, or None, by the image's file name (without folder).

    Raises
    ------
    InputError
        If the file is missing, a line has more than two columns, or an image is listed twice.
    """
    path = local(path).expanduser()
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if not path.exists() else f"not readable ({error})"
        raise InputError(path, found, "a text file of images and their catalogs") from None
    entries: dict[str, Path | None] = {}
    for number, line in enumerate(lines, start=1):
        words = f" {line}".partition(" #")[0].split()
        if not words:
            continue
        if len(words) > 2:
            raise InputError(path, f"line {number} has {len(words)} columns", "image, catalog")
        image = Path(words[0]).name
        if image in entries:
            raise InputError(path, f"{image} stands there twice (line {number})", "each once")
        entries[image] = local(beside(path, words[1])) if len(words) == 2 else None
    return entries


def custom_catalogs(
    images: Sequence[ImageInfo],
    options: CatalogFiles,
    members: Mapping[str, str | None] | None = None,
    folder: str | Path = ".",
) -> list[Path | None]:
    """Find the catalog that a user has provided for each image.

    Parameters
    ----------
    images : sequence of ImageInfo
    options : CatalogFiles
    members : mapping, optional
        ``tweakreg_catalog`` of the members of the association that have one, by the image's file
        name; empty or None: find the stars.
    folder : str or Path
        The association's, to which these names are relative.

    Returns
    -------
    list of Path or None
        None: find the stars. An entry of `catfile` decides for its image; else, if there is no
        `catfile`, the entry of the association; else the image's own ``meta.tweakreg_catalog``
        (relative to the image's folder, or to the current one). An empty entry decides, too.

    Raises
    ------
    InputError
        If `catfile` cannot be read or names none of the images, or a catalog does not exist.
    """
    if not options.use_custom_catalogs:
        if options.catfile.strip():
            log.warning("%s has no effect without use_custom_catalogs", options.catfile.strip())
        return [None] * len(images)
    if options.catfile.strip():
        entries = read_catfile(options.catfile.strip())
        names = {image.name for image in images}
        if entries and not names & set(entries):
            found = f"none of the {len(names)} images in it (but {', '.join(sorted(entries)[:3])})"
            raise InputError(options.catfile, found, f"their names, {sorted(names)[0]} and so on")
        for name in sorted(set(entries) - names):
            log.warning("%s: %s is none of the images", options.catfile, name)
    else:
        given = {name: str(value or "").strip() for name, value in (members or {}).items()}
        entries = {name: Path(folder) / text if text else None for name, text in given.items()}
    chosen = [
        entries[image.name] if image.name in entries else _own_catalog(image) for image in images
    ]
    for image, path in zip(images, chosen, strict=True):
        if path is not None and not path.is_file():
            raise InputError(path, f"no such file (the catalog of {image.name})", "a catalog")
    return chosen


def _own_catalog(image: ImageInfo) -> Path | None:
    name = image.tweakreg_catalog.strip()
    if not name:
        return None
    beside = Path(name) if image.path is None else image.path.parent / name
    return beside if beside.is_file() else Path(name)
