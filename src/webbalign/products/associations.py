"""Associations: which exposures belong together, and in which role.

Only the first product of an association is made, and only its ``science`` and ``psf`` members
take part (peers do the same); everything else is named in :attr:`Association.ignored`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.products.headers import ExposureHeader, read_header

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

    Relative member names are resolved against the folder of the file.

    Raises
    ------
    InputError
        If the file is missing or no association, or has no science or no psf member.
    """
    if isinstance(source, Mapping):
        return _parse(source, "association", Path())
    path = Path(source).expanduser()
    hint = "an association (JSON); `webbalign asn *_calints.fits` makes one"
    return _parse(read_association(path, hint), path, path.parent)


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
        raise InputError(path, "is a folder", "an association (JSON)") from None
    except (ValueError, OSError) as error:
        raise InputError(path, f"not readable as JSON ({error})", hint) from None
    if not isinstance(content, Mapping):
        raise InputError(path, "JSON, but no association", "an object with asn_id and products")
    return content


def _parse(content: Mapping[str, Any], path: str | Path, folder: Path) -> Association:
    products = content.get("products")
    if not products or not isinstance(products, list):
        raise InputError(path, "no products in the association", "at least one product")
    product = products[0] if isinstance(products[0], Mapping) else {}
    for key, holder in (("asn_id", content), ("name", product), ("members", product)):
        if not holder.get(key):
            raise InputError(path, f"the association has no {key!r}", f"a value for {key!r}")
    if not isinstance(product["members"], list):
        raise InputError(path, "members is no list", "a list of expname and exptype")
    by_role: dict[str, list[Path]] = {"science": [], "psf": []}
    ignored = []
    for member in product["members"]:
        name = member_name(member, path)
        role = str(member.get("exptype", "")).lower()
        if role in by_role:
            by_role[role].append(folder / name)
        else:
            ignored.append((name, role))
    for role, files in by_role.items():
        if not files:
            found = f"no {role} member among {len(product['members'])}"
            raise InputError(path, found, f"at least one member of exptype {role!r}")
        twice = sorted({file.name for file in files if files.count(file) > 1})
        if twice:
            raise InputError(path, f"{role} member listed twice: {', '.join(twice)}", "each once")
    both = sorted({file.name for file in by_role["science"]} & {f.name for f in by_role["psf"]})
    if both:
        found = f"member both science and psf: {', '.join(both)}"
        raise InputError(path, found, "one role for each member")
    return Association(
        name=str(product["name"]),
        asn_id=str(content["asn_id"]),
        science=tuple(by_role["science"]),
        psf=tuple(by_role["psf"]),
        ignored=tuple(ignored),
        table_name=Path(path).name,
        pool_name=str(content.get("asn_pool", "")),
    )


def member_name(member: Any, path: str | Path) -> str:
    """Return the file name of an entry of an association's ``members``.

    Raises
    ------
    InputError
        If it has none.
    """
    name = str(member.get("expname") or "") if isinstance(member, Mapping) else ""
    if not name:
        raise InputError(path, "a member without expname", "the name of a file")
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
        ``_calints`` files.
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
    paths = [Path(file) for file in files]
    if not paths:
        raise InputError(None, "no files given", "_calints files of a target and its PSF stars")
    headers = {path: read_header(path) for path in paths}
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
                    {"expname": _written_name(path, folder), "exptype": roles[path]}
                    for path in sorted(paths, key=lambda path: (roles[path], path.name))
                ],
            }
        ],
    }
    check_members(_parse(content, "association", folder or Path()))
    return content


def _written_name(path: Path, folder: Path | None) -> str:
    if folder is None or path.resolve().parent == folder.resolve():
        return path.name if folder is not None else str(path)
    return str(path.resolve())


def _product_name(header: ExposureHeader, asn_id: str) -> str:
    optics = [header.filter, header.coronagraph, header.subarray]
    optics_text = "-".join(item.lower().replace("_", "") for item in optics if item)
    program = header.program.zfill(5) if header.program else "00000"
    target = header.target.lower().replace(" ", "").replace("_", "-") or "t001"
    return f"jw{program}-{asn_id}_{target}_{header.instrument.lower()}_{optics_text}"
