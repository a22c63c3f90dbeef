"""What is kept of an image beside its catalog of stars: GWCS, angles, shape, epoch, group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asdf

from webbalign.core.errors import InputError
from webbalign.products._asdf_order import sort_extensions
from webbalign.products.atomic import atomic_path
from webbalign.products.groups import ObservationIds
from webbalign.products.image_files import ImageInfo
from webbalign.products.models import quiet_schema_warnings
from webbalign.products.remote import beside, local

if TYPE_CHECKING:
    from webbalign.products.catalogs import StarCatalog

__all__ = ["read_catalog_image", "record_of", "write_record"]

_TEXTS = (
    "group_id", "tweakreg_catalog", "instrument", "detector", "filter", "pupil", "exp_type",
)  # fmt: skip
_EXPECTED = "a catalog that `webbalign find-stars` has written, with its .asdf file beside it"


def write_record(info: ImageInfo, group: str, path: Path) -> None:
    """Write what aligning an image needs beside its stars (ASDF).

    The same to the bit wherever and by whatever process it is written.
    """
    tree = {
        "image": {
            "filename": info.name,
            "shape": [int(size) for size in info.shape],
            "epoch": float(info.epoch),
            "group": group,
            "wcsinfo": {key: float(value) for key, value in info.wcsinfo.items()},
            "observation": asdict(info.observation),
            **{key: getattr(info, key) for key in _TEXTS},
        },
        "wcs": info.wcs,
    }
    with atomic_path(path) as temporary, quiet_schema_warnings():
        asdf.AsdfFile(tree).write_to(temporary)
        sort_extensions(temporary)


def read_catalog_image(path: str | Path, catalog: StarCatalog) -> tuple[ImageInfo, str]:
    """Read what a catalog's ASDF file says about its image.

    Parameters
    ----------
    path : str or Path
        The catalog.
    catalog : StarCatalog
        Its content.

    Returns
    -------
    info : ImageInfo
    group : str

    Raises
    ------
    InputError
        If the catalog names no such file, or the file is missing or unreadable.
    """
    record = record_of(path, catalog)
    try:
        with quiet_schema_warnings(), asdf.open(record) as file:
            image, wcs = dict(file["image"]), file["wcs"]
            texts = {key: str(image.get(key, "")) for key in _TEXTS}
            info = ImageInfo(
                name=str(image["filename"]),
                path=None,
                shape=_pair(image["shape"]),
                wcs=wcs,
                wcsinfo={str(key): float(value) for key, value in image["wcsinfo"].items()},
                epoch=float(image["epoch"]),
                observation=ObservationIds(**dict(image["observation"])),
                **texts,
            )
            return info, str(image["group"])
    except Exception as error:  # a YAML, a schema, a key: whatever is wrong with it
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(record, f"not readable ({words})", _EXPECTED) from None


def record_of(path: str | Path, catalog: StarCatalog) -> Path:
    """Find the ASDF file of a catalog.

    Raises
    ------
    InputError
        If the catalog names none, or it is missing.
    """
    name = str(catalog.meta.get("wcs_file", ""))
    if not name:
        raise InputError(path, "no word of where the WCS of its image is (wcs_file)", _EXPECTED)
    record = local(beside(path, name))
    if not record.is_file():
        raise InputError(path, f"{record}, which it names, does not exist", _EXPECTED)
    return record


def _pair(values: Sequence[Any]) -> tuple[int, int]:
    ny, nx = values
    return int(ny), int(nx)
