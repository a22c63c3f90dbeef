"""Associations: which exposures belong together, and in which role.

Only the first product of an association is made, and only its ``science`` and ``psf`` members
take part (peers do the same); everything else is named in :attr:`Association.ignored`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.products.addresses import is_address, masked, written_address
from webbalign.products.headers import ExposureHeader, read_header
from webbalign.products.names import checked_name
from webbalign.products.remote import all_local, beside, local

__all__ = [
    "Association",
    "check_members",
    "load_association",
    "make_association",
    "member_name",
    "read_association",
]


@dataclass(frozen=True)
class Association:
    """The members of one coronagraphic product.

    Attributes
    ----------
    name : str
        Product name, the root of the source-based file names.
    asn_id : str
        Association candidate identifier, part of the exposure-based file names.
    science, psf : tuple of Path
        Members by role, in the order of the association.
    ignored : tuple of (str, str)
        Name and role of the members that take no part.
    table_name, pool_name : str
        File name of the association and of its pool (for the headers).
    """

    name: str
    asn_id: str
    science: tuple[Path, ...]
    psf: tuple[Path, ...]
    ignored: tuple[tuple[str, str], ...] = ()
    table_name: str = ""
    pool_name: str = ""

    @property
    def members(self) -> tuple[Path, ...]:
        """Science members, then PSF members."""
        return self.science + self.psf


def load_association(source: str | Path | Mapping[str, Any]) -> Association:
    """Read an association (a JSON file, or its content as a mapping) for coron3.

    Relative member names are resolved against the folder (or address) of the file; members
    elsewhere are fetched.

    Raises
    ------
    InputError
        If the file is missing or no association, or has no science or no psf member.
    """
    if isinstance(source, Mapping):
        return _parse(source, "association")
    path = local(source).expanduser()
    hint = "an association (JSON); `webbalign asn *_calints.fits` makes one"
    return _parse(read_association(path, hint), path)


def read_association(path: Path, hint: str) -> Mapping[str, Any]:
    """Read the content of an association.

    Parameters
    ----------
    path : Path
    hint : str
        What should be there, for messages.

    Raises
    ------
    InputError
        If the file is missing or holds no JSON object.
    """
    try:
        # from bytes: a byte-order mark tells the encoding
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(path, "no such file", "an association (JSON)") from None
    except IsADirectoryError:
        raise InputError(path, "a folder, not a file", "an association (JSON)") from None
    except (ValueError, OSError) as error:
        raise InputError(path, f"not readable as JSON ({error})", hint) from None
    if not isinstance(content, Mapping):
        raise InputError(path, "JSON, but no association", "an object with asn_id and products")
    return content


def _parse(content: Mapping[str, Any], path: str | Path) -> Association:
    products = content.get("products")
    if not products or not isinstance(products, list):
        raise InputError(path, "no products in the association", "at least one product")
    product = products[0] if isinstance(products[0], Mapping) else {}
    for key, holder in (("asn_id", content), ("name", product), ("members", product)):
        if not holder.get(key):
            raise InputError(path, f"the association has no {key!r}", f"a value for {key!r}")
    if not isinstance(product["members"], list):
        raise InputError(path, "members is no list", "a list of expname and exptype")
    by_role: dict[str, list[str | Path]] = {"science": [], "psf": []}
    ignored = []
    for member in product["members"]:
        name = member_name(member, path)
        role = str(member.get("exptype", "")).lower()
        if role in by_role:
            by_role[role].append(beside(path, name))
        else:
            ignored.append((name, role))
    for role, files in by_role.items():
        if not files:
            found = f"no {role} member among {len(product['members'])}"
            raise InputError(path, found, f"at least one member of exptype {role!r}")
    here = all_local([*by_role["science"], *by_role["psf"]])
    science, psf = here[: len(by_role["science"])], here[len(by_role["science"]) :]
    for role, paths in (("science", science), ("psf", psf)):
        # products are named after members: of two from different folders one would be lost
        names = [file.name for file in paths]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(path, f"{role} member listed twice: {', '.join(twice)}", "each once")
    both = sorted({file.name for file in science} & {file.name for file in psf})
    if both:
        found = f"member both science and psf: {', '.join(both)}"
        raise InputError(path, found, "one role for each member")
    return Association(
        name=checked_name(str(product["name"]), "product name", path),
        asn_id=checked_name(str(content["asn_id"]), "asn_id", path),
        science=tuple(science),
        psf=tuple(psf),
        ignored=tuple(ignored),
        table_name=Path(path).name,
        pool_name=str(content.get("asn_pool", "")),
    )


def member_name(member: Any, path: str | Path) -> str:
    """Return the file name of an entry of an association's ``members``.

    Raises
    ------
    InputError
        If it has none, or one with characters that cannot be printed.
    """
    name = str(member.get("expname") or "") if isinstance(member, Mapping) else ""
    if not name:
        raise InputError(path, "a member without expname", "the name of a file")
    if not name.isprintable():
        raise InputError(path, f"a member named {name!r}", "a name that can be printed")
    return name


def check_members(association: Association) -> dict[Path, ExposureHeader]:
    """Read the headers of all members and see that they belong together.

    Raises
    ------
    InputError
        Naming the first member that is missing, unreadable, no cube, without a valid pixel, or of
        another instrument, filter, coronagraph or size than the first science member.
    """
    headers = {path: read_header(path) for path in association.members}
    first_path = association.science[0]
    first = headers[first_path]
    same = ("instrument", "detector", "filter", "pupil", "coronagraph", "subarray", "image_shape")
    for path, header in headers.items():
        for name in same:
            found, expected = getattr(header, name), getattr(first, name)
            if found != expected:
                words = name.replace("_", " ")
                raise InputError(
                    path,
                    f"{words} is {_text(found)}",
                    f"{_text(expected)} as in {first_path.name} (all members alike)",
                )
        if not header.has_data:
            found = "no valid pixel (all are NaN or DO_NOT_USE)"
            raise InputError(path, found, "an exposure with data")
    return headers


def _text(value: Any) -> str:
    """Write a size as x x y, the way users count; anything else as it is."""
    return " x ".join(map(str, reversed(value))) if isinstance(value, tuple) else repr(value)


def make_association(
    files: Iterable[str | Path],
    *,
    product_name: str | None = None,
    asn_id: str = "a3001",
    folder: Path | None = None,
) -> dict[str, Any]:
    """Build a coron3 association from exposures, with the roles that IS_PSF gives them.

    Parameters
    ----------
    files : iterable of str or Path
        ``_calints`` files, or their addresses.
    product_name : str, optional
        Default: ``jw{program}-{asn_id}_{target}_{instrument}_{filter}-{coronagraph}-{subarray}``.
    asn_id : str
        Association candidate identifier.
    folder : Path, optional
        Where the association will lie; members elsewhere are named by their absolute path.

    Returns
    -------
    dict
        The association, ready for ``json.dumps``.

    Raises
    ------
    InputError
        If there is no file, no science or no PSF exposure, or the exposures do not fit together.
    """
    given = [file if is_address(file) else Path(file) for file in files]
    paths = all_local(given)
    if not paths:
        raise InputError(None, "no files given", "_calints files of a target and its PSF stars")
    headers = {path: read_header(path) for path in paths}
    names = dict(zip(paths, given, strict=True))
    roles = {path: "psf" if header.is_psf else "science" for path, header in headers.items()}
    for role, hint in (("science", "false"), ("psf", "true")):
        if role not in roles.values():
            found = f"none of the {len(paths)} files is a {role} exposure"
            raise InputError(None, found, f"at least one file with IS_PSF {hint}")
    first = headers[next(path for path, role in roles.items() if role == "science")]
    content = {
        "asn_type": "coron3",
        "asn_rule": "webbalign asn",
        "program": first.program,
        "asn_id": asn_id,
        "target": first.target,
        "asn_pool": "none",
        "products": [
            {
                "name": product_name or _product_name(first, asn_id),
                "members": [
                    {"expname": _written_name(names[path], folder), "exptype": roles[path]}
                    for path in sorted(paths, key=lambda path: (roles[path], path.name))
                ],
            }
        ],
    }
    check_members(_parse(content, "association" if folder is None else folder / "association"))
    return content


def _written_name(file: str | Path, folder: Path | None) -> str:
    if is_address(file):
        if masked(file) != written_address(file):
            found = "an address with a password or a signature, which would be written"
            raise InputError(masked(file), found, "one that needs none")
        return written_address(file)
    path = Path(file)
    if folder is None or path.resolve().parent == folder.resolve():
        return path.name if folder is not None else str(path)
    return str(path.resolve())


_UNUSUAL = re.compile(r"[^A-Za-z0-9.+-]")


def _product_name(header: ExposureHeader, asn_id: str) -> str:
    optics = [header.filter, header.coronagraph, header.subarray]
    optics_text = "-".join(_UNUSUAL.sub("", item.lower()) for item in optics if item)
    program = _UNUSUAL.sub("", header.program).zfill(5)
    # (what somebody has written into a header may be anything)
    target = _UNUSUAL.sub("", header.target.lower().replace("_", "-")) or "t001"
    instrument = _UNUSUAL.sub("", header.instrument.lower())
    return f"jw{program}-{asn_id}_{target}_{instrument}_{optics_text}"
