"""The table of a solution: one row for each image, enough to look at it and to apply it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from webbalign.core.astrometry import ImageStatus
from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.products.atomic import Seal, atomic_path
from webbalign.products.corrector import Correction
from webbalign.products.groups import ObservationIds
from webbalign.products.models import refuse_existing
from webbalign.products.names import root
from webbalign.products.remote import local
from webbalign.products.solved_images import Borrowed, Solution, SolvedImage, solved
from webbalign.products.solved_stars import stars_file, write_solved_stars
from webbalign.products.table_files import read_table

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Borrowed", "Solution", "SolvedImage", "read_solution", "solved", "write_solution"]

_EXPECTED = "a tweakreg_solution.ecsv"

_IDS = ("program", "observation", "visit", "visit_group", "sequence", "activity", "exposure",
        "detector", "module")  # fmt: skip
# name, shape of a cell (None: text), unit, description
_COLUMNS: tuple[tuple[str, tuple[int, ...] | None, str | None, str], ...] = (
    ("filename", None, None, "image"),
    ("group_id", None, None, "images of one group share one correction"),
    ("status", None, None, "ALIGNED and REFERENCE share one frame"),
    ("reason", None, None, "why it is no other"),
    ("n_found", (), None, "stars found"),
    ("n_matched", (), None, "of these, in other groups or in the catalog"),
    ("n_used", (), None, "of these, not clipped"),
    ("n_reference", (), None, "of these, in the catalog"),
    ("rms_mas", (), "mas", "distance of the stars used from their mean positions"),
    ("xshift", (), "arcsec", "in the tangent plane of the corrector, to the east"),
    ("yshift", (), "arcsec", "in the tangent plane of the corrector, to the north"),
    ("roll", (), "deg", "rotation in the matrix, from x to y"),
    ("matrix", (2, 2), None, "xy' = matrix @ xy + (xshift, yshift)"),
    ("cov", (6, 6), None, "covariance of m11, m12, m21, m22, xshift, yshift (arcsec)"),
    ("chi2_reduced", (), None, "of the stars of the group"),
    ("v2_ref", (), "arcsec", "tangent point of the plane"),
    ("v3_ref", (), "arcsec", "tangent point of the plane"),
    ("roll_ref", (), "deg", "its rotation"),
    ("axes", (3, 3), None, "rows: unit vectors (ICRS) of plane x, plane y and tangent point"),
    ("epoch", (), None, "Julian year"),
    ("filter", None, None, "of the image"),
    *((name, None, None, "of the image") for name in _IDS),
)
_INTEGERS = ("n_found", "n_matched", "n_used", "n_reference")
_MAY_BE_MISSING = ("n_reference", "roll", "epoch", "filter", *_IDS)


def write_solution(
    solution: Solution,
    path: str | Path,
    *,
    overwrite: bool = True,
    recipe: Seal | None = None,
) -> Path:
    """Write a solution as ECSV, in full precision, and its stars beside it as ASDF.

    Parameters
    ----------
    solution : Solution
    path : str or Path
    overwrite : bool
        Whether an existing file may be replaced.
    recipe : Recipe, optional
        What it was made from, to be written into it.
    """
    from astropy.table import Column, Table

    path = Path(path)
    refuse_existing(path, overwrite)
    rows = [_row(image) for image in solution.images]
    if solution.stars is not None:
        write_solved_stars(solution.stars, stars_file(path))
    table = Table(meta=dict(solution.meta))
    for name, shape, unit, description in _COLUMNS:
        kind: Any = str if shape is None else np.int64 if name in _INTEGERS else np.float64
        values = np.array([row[name] for row in rows], dtype=kind)
        table[name] = Column(
            values.reshape(len(rows), *(shape or ())), unit=unit, description=description
        )
    with atomic_path(path, recipe) as temporary:
        table.write(temporary, format="ascii.ecsv")
    return path


def _row(image: SolvedImage) -> dict[str, Any]:
    v2, v3, roll = image.reference_angles
    return {
        "filename": image.filename,
        "group_id": image.group_id,
        "status": str(image.status),
        "reason": image.reason,
        "n_found": image.n_found,
        "n_matched": image.n_matched,
        "n_used": image.n_used,
        "n_reference": image.n_reference,
        "rms_mas": image.rms * 1e3,
        "xshift": image.correction.shift[0],
        "yshift": image.correction.shift[1],
        "roll": image.correction.rotation,
        "matrix": image.correction.matrix,
        "cov": image.cov,
        "chi2_reduced": image.chi2_reduced,
        "v2_ref": v2,
        "v3_ref": v3,
        "roll_ref": roll,
        "axes": image.plane.axes,
        "epoch": image.epoch,
        "filter": image.filter,
        **{name: getattr(image.observation, name) for name in _IDS},
    }


def read_solution(path: str | Path) -> Solution:
    """Read a solution, which somebody may have edited.

    Raises
    ------
    InputError
        If the file is missing, no such table, or a row cannot be used; the message names it.
    """
    path = local(path)
    table = read_table(path, _EXPECTED)
    lacking = [name for name, *_ in _COLUMNS if name not in (*table.colnames, *_MAY_BE_MISSING)]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise InputError(path, f"no column {', '.join(lacking[:3])}{more}", _EXPECTED)
    images = tuple(_image(path, table, number) for number in range(len(table)))
    names = [root(image.filename) for image in images]
    twice = sorted({image.filename for image in images if names.count(root(image.filename)) > 1})
    if twice:
        raise InputError(path, f"rows of the same image: {', '.join(twice)}", "one for each")
    return Solution(images, dict(table.meta))


def _image(path: Path, table: Table, number: int) -> SolvedImage:
    where = f"row {number + 1}"
    row: dict[str, Any] = {}
    for name, shape, _, _ in _COLUMNS:
        value = table[name][number] if name in table.colnames else "" if shape is None else np.nan
        row[name] = _cell(path, f"{where}, {name}", value, shape)
    try:
        status = ImageStatus(row["status"])
    except ValueError:
        found, known = f"{where}: status {row['status']!r}", " | ".join(ImageStatus)
        raise InputError(path, found, known) from None
    try:
        correction = Correction(row["matrix"], np.array([row["xshift"], row["yshift"]]))
        plane = TangentPlane(row["axes"])
    except InputError as error:
        raise InputError(path, f"{where}: {error.found}", error.expected) from None
    except ValueError as error:
        raise InputError(path, f"{where}: {error}", _EXPECTED) from None
    return SolvedImage(
        filename=row["filename"],
        group_id=row["group_id"],
        status=status,
        reason=row["reason"],
        **{name: int(np.nan_to_num(row[name])) for name in _INTEGERS},
        rms=float(row["rms_mas"]) * 1e-3,
        correction=correction,
        cov=row["cov"],
        chi2_reduced=float(row["chi2_reduced"]),
        plane=plane,
        reference_angles=(float(row["v2_ref"]), float(row["v3_ref"]), float(row["roll_ref"])),
        epoch=float(row["epoch"]),
        observation=ObservationIds(**{name: row[name] for name in _IDS}),
        filter=row["filter"],
    )


def _cell(path: Path, where: str, value: Any, shape: tuple[int, ...] | None) -> Any:
    if shape is None:
        # an empty text is masked in ECSV
        return "" if value is np.ma.masked else str(value)
    try:
        array = np.asarray(np.ma.filled(np.ma.asarray(value, dtype=np.float64), np.nan))
    except (TypeError, ValueError):
        raise InputError(path, f"{where}: {value!r}", "a number") from None
    if array.shape != shape:
        size = " x ".join(map(str, array.shape)) or "1"
        raise InputError(path, f"{where}: {size} values", " x ".join(map(str, shape)) or "one")
    return array
