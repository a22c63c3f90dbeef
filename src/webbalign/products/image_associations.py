"""Associations of images (stage 3): what is aligned together, in which groups, by which stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.products.addresses import is_address
from webbalign.products.associations import member_name, read_association
from webbalign.products.names import checked_name
from webbalign.products.remote import all_local, beside, local

__all__ = ["ImageAssociation", "ImageMember", "load_image_association"]

_EXPECTED = "an association of images (JSON)"


@dataclass(frozen=True)
class ImageMember:
    """One image of an association.

    Attributes
    ----------
    path : Path
    group_id : str
        Empty if the association does not say.
    tweakreg_catalog : str or None
        As it stands there; None if there is no such entry.
    """

    path: Path
    group_id: str = ""
    tweakreg_catalog: str | None = None


@dataclass(frozen=True)
class ImageAssociation:
    """The images that are aligned together.

    Attributes
    ----------
    name : str
        Product name; empty if the association has none.
    asn_id : str
        Association candidate identifier; empty if there is none.
    members : tuple of ImageMember
        The science members of the first product, in its order.
    folder : Path
        To which names are relative.
    ignored : tuple of (str, str)
        Name and role of the members that take no part.
    table_name, pool_name : str
        File name of the association and of its pool (for the headers).
    """

    name: str
    asn_id: str
    members: tuple[ImageMember, ...]
    folder: Path
    ignored: tuple[tuple[str, str], ...] = ()
    table_name: str = ""
    pool_name: str = ""

    @property
    def paths(self) -> list[Path]:
        """Paths of the members."""
        return [member.path for member in self.members]

    @property
    def group_ids(self) -> list[str]:
        """What the association says about the groups, one for each member."""
        return [member.group_id for member in self.members]

    @property
    def catalogs(self) -> dict[str, str]:
        """``tweakreg_catalog`` of the members that have such an entry, by file name."""
        return {
            member.path.name: member.tweakreg_catalog
            for member in self.members
            if member.tweakreg_catalog is not None
        }


def load_image_association(source: str | Path | Mapping[str, Any]) -> ImageAssociation:
    """Read an association of images (a JSON file, or its content as a mapping).

    Parameters
    ----------
    source : str, Path or mapping
        Relative names are taken from the folder of the file.

    Raises
    ------
    InputError
        If the file is missing or no association, or has no science member, or one twice.
    """
    if isinstance(source, Mapping):
        content, path, folder = source, Path("association"), Path()
    else:
        path = local(source).expanduser()
        content, folder = read_association(path, _EXPECTED), path.parent
    products = content.get("products")
    product = products[0] if isinstance(products, list) and products else {}
    entries = product.get("members") if isinstance(product, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(path, "no members in the association", "a product with members")
    files: list[str | Path] = []
    entries_used, ignored = [], []
    for entry in entries:
        name = member_name(entry, path)
        role = str(entry.get("exptype") or "science").lower()
        if role == "science":
            files.append(beside(path, name))
            entries_used.append(entry)
        else:
            ignored.append((name, role))
    if not files:
        found = f"no science member among {len(entries)}"
        raise InputError(path, found, "at least one member of exptype 'science'")
    members = [
        _member(entry, here, path)
        for entry, here in zip(entries_used, all_local(files), strict=True)
    ]
    names = [member.path.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(path, f"member listed twice: {', '.join(twice)}", "each once")
    return ImageAssociation(
        name=checked_name(str(product.get("name") or ""), "product name", path),
        asn_id=checked_name(str(content.get("asn_id") or ""), "asn_id", path),
        members=tuple(members),
        folder=folder,
        ignored=tuple(ignored),
        table_name=path.name,
        pool_name=str(content.get("asn_pool") or ""),
    )


def _member(entry: Mapping[str, Any], path: Path, association: Path) -> ImageMember:
    catalog = None
    if "tweakreg_catalog" in entry:
        catalog = str(entry["tweakreg_catalog"] or "").strip()
        elsewhere = beside(association, catalog)
        if catalog and is_address(elsewhere):
            catalog = str(local(elsewhere))
    return ImageMember(path, str(entry.get("group_id") or ""), catalog)
