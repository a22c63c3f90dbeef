"""The stars behind a solution: every one that was found, what is left of it, and its catalog star.

They lie beside the table of the solution in an ASDF file of the same name. Its content depends on
the images alone: not on their order, on the machine, or on how the work was shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asdf
import numpy as np
from numpy.typing import NDArray

from webbalign.core.astrometry import AstrometricSolution
from webbalign.core.errors import InputError
from webbalign.core.starlists import StarList
from webbalign.products._asdf_order import sort_extensions
from webbalign.products.atomic import atomic_path
from webbalign.products.models import quiet_schema_warnings
from webbalign.products.proper_motion import CatalogStars

if TYPE_CHECKING:
    from webbalign.products.solved_images import Solution

__all__ = [
    "CatalogTable",
    "SolvedStars",
    "StarTable",
    "read_solved_stars",
    "solved_stars",
    "stars_file",
    "write_solved_stars",
]

# Raised when a file has another meaning; more columns are none
_VERSION = 1
_EXPECTED = "the stars that were written beside a solution"


@dataclass(frozen=True, eq=False)
class StarTable:
    """Every star of every image, one item for each; by image, then as in the image's catalog.

    Attributes
    ----------
    image : ndarray of int
        Index of the image in `SolvedStars.images`.
    x, y : ndarray
        0-based pixels.
    east, north : ndarray
        In the plane of the image, uncorrected, arcsec.
    flux : ndarray
        NaN: unknown.
    error : ndarray
        One-sigma error of each coordinate as stated, arcsec; NaN: unknown.
    star : ndarray of int
        Number of the star, the same in all images; -1: found in this group only, or in a part that
        was not aligned.
    dx, dy : ndarray
        Corrected position less the star's mean position, arcsec, to the east and north; NaN: none.
    used : ndarray of bool
        Whether the solution rests on it; else, if it has a number, it was clipped.
    """

    image: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]
    flux: NDArray[np.float64]
    error: NDArray[np.float64]
    star: NDArray[np.int64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    used: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, chosen: Any) -> StarTable:
        """Return the rows that a mask or an index chooses."""
        return StarTable(**{item.name: getattr(self, item.name)[chosen] for item in fields(self)})


@dataclass(frozen=True, eq=False)
class CatalogTable:
    """The stars of the reference catalog that were matched, by `star`; one item for each.

    Attributes
    ----------
    star : ndarray of int
        Number of the star, as in :class:`StarTable`.
    identity : ndarray of str
        What the catalog calls it; empty: unknown.
    magnitude, color : ndarray
        In the catalog, BP - RP for that of Gaia; NaN: unknown.
    error : ndarray
        One-sigma error of each coordinate at the time of the images, arcsec; NaN: unknown.
    dx, dy : ndarray
        Position in the catalog less the mean of the images alone, arcsec, to the east and north.
    used : ndarray of bool
    """

    star: NDArray[np.int64]
    identity: NDArray[np.str_]
    magnitude: NDArray[np.float64]
    color: NDArray[np.float64]
    error: NDArray[np.float64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    used: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.star)


@dataclass(frozen=True, eq=False)
class SolvedStars:
    """Images and their stars.

    Attributes
    ----------
    images : tuple of str
        File names, sorted.
    shapes : ndarray of int, shape (n, 2)
        (ny, nx) of each.
    outlines : ndarray, shape (n, 4, 2)
        Corners of each in its plane, uncorrected, arcsec; NaN: unknown.
    shifts : ndarray, shape (n, 2)
        Shift of each by the solution (arcsec): tells whether a table is of the same solution.
    stars : StarTable
    catalog : CatalogTable
    """

    images: tuple[str, ...]
    shapes: NDArray[np.int64]
    outlines: NDArray[np.float64]
    shifts: NDArray[np.float64]
    stars: StarTable
    catalog: CatalogTable

    def of(self, filename: str) -> StarTable:
        """Return the stars of an image; none if it is not there."""
        number = self.images.index(filename) if filename in self.images else -1
        return self.stars[self.stars.image == number]

    def outline(self, filename: str) -> NDArray[np.float64] | None:
        """Return the corners (4, 2) of an image in its plane, arcsec; None if unknown."""
        if filename not in self.images:
            return None
        found = self.outlines[self.images.index(filename)]
        return found if np.isfinite(found).all() else None

    def is_of(self, solution: Solution) -> bool:
        """Whether a solution is that which these stars gave."""
        theirs = {row.filename: row.correction.shift for row in solution.images}
        return set(theirs) == set(self.images) and all(
            np.array_equal(theirs[name], shift)
            for name, shift in zip(self.images, self.shifts, strict=True)
        )


def solved_stars(
    fitted: AstrometricSolution,
    lists: Sequence[StarList],
    shapes: Sequence[tuple[int, int]],
    catalog: CatalogStars | None,
    catalog_error: NDArray[np.float64] | None,
) -> SolvedStars:
    """Join what is left of each star to the stars.

    Parameters
    ----------
    fitted : AstrometricSolution
    lists : sequence of StarList
        Those it was made from, in the same order.
    shapes : sequence of (int, int)
        (ny, nx) of each image.
    catalog : CatalogStars or None
        To which the solution was tied.
    catalog_error : ndarray or None
        Errors of its stars at the time of the images, arcsec.
    """
    order = sorted(range(len(lists)), key=lambda k: lists[k].name)
    place = np.empty(len(lists), np.int64)
    place[order] = np.arange(len(lists))
    first = np.cumsum([0, *(len(lists[k]) for k in order)])
    left = fitted.residuals
    at = first[place[left.image]] + left.star
    count = int(first[-1])
    star = np.full(count, -1, np.int64)
    residual = np.full((2, count), np.nan)
    used = np.zeros(count, bool)
    star[at], residual[:, at], used[at] = left.track, (left.dx, left.dy), left.used
    pixels, planes, flux, error = (
        np.concatenate([getattr(lists[k], name) for k in order])
        for name in ("pixels", "xy", "flux", "sigma")
    )
    table = StarTable(
        image=np.repeat(np.arange(len(order)), np.diff(first)).astype(np.int64),
        x=pixels[:, 0], y=pixels[:, 1], east=planes[:, 0], north=planes[:, 1],
        flux=flux, error=error, star=star, dx=residual[0], dy=residual[1], used=used,
    )  # fmt: skip
    return SolvedStars(
        images=tuple(lists[k].name for k in order),
        shapes=np.array([shapes[k] for k in order], np.int64).reshape(-1, 2),
        outlines=np.stack([_corners(lists[k]) for k in order]),
        shifts=np.stack([fitted.images[k].shift for k in order]),
        stars=table,
        catalog=_catalog_table(fitted, catalog, catalog_error),
    )


def _corners(stars: StarList) -> NDArray[np.float64]:
    return stars.outline if stars.outline.shape == (4, 2) else np.full((4, 2), np.nan)


def _catalog_table(
    fitted: AstrometricSolution, catalog: CatalogStars | None, error: NDArray[np.float64] | None
) -> CatalogTable:
    left = fitted.catalog
    order = np.argsort(left.track, kind="stable")
    which = left.reference[order]
    blank = np.full(len(order), np.nan)
    return CatalogTable(
        star=left.track[order].astype(np.int64),
        identity=np.full(len(order), "") if catalog is None else catalog.identity[which],
        magnitude=blank if catalog is None else catalog.magnitude[which],
        color=blank if catalog is None else catalog.color[which],
        error=blank if error is None else error[which],
        dx=left.dx[order],
        dy=left.dy[order],
        used=left.used[order],
    )


# Files --------------------------------------------------------------------------------------------


def stars_file(solution: str | Path) -> Path:
    """Name the file of the stars beside the table of a solution.

    >>> str(stars_file("tweakreg_solution.ecsv"))
    'tweakreg_solution.asdf'
    """
    return Path(solution).with_suffix(".asdf")


def write_solved_stars(stars: SolvedStars, path: str | Path) -> Path:
    """Write the stars of a solution (ASDF), whole or not at all."""
    identity = [str(name) for name in stars.catalog.identity]
    tree = {
        "webbalign_stars": {
            "version": _VERSION,
            "images": list(stars.images),
            "shapes": stars.shapes,
            "outlines": stars.outlines,
            "shifts": stars.shifts,
            "stars": {item.name: getattr(stars.stars, item.name) for item in fields(StarTable)},
            "catalog": {
                item.name: getattr(stars.catalog, item.name) for item in fields(CatalogTable)
            }
            | {"identity": identity},
        }
    }
    with atomic_path(path) as temporary, quiet_schema_warnings():
        asdf.AsdfFile(tree).write_to(temporary, all_array_storage="internal")
        sort_extensions(temporary)
    return Path(path)


def read_solved_stars(path: str | Path) -> SolvedStars:
    """Read what :func:`write_solved_stars` has written.

    Raises
    ------
    InputError
        If the file is missing, something else, or of a later version that means something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", _EXPECTED)
    try:
        with quiet_schema_warnings(), asdf.open(path, memmap=False, lazy_load=False) as file:
            tree = file["webbalign_stars"]
            version = int(tree["version"])
            if version == _VERSION:
                return _stars_in(tree)
    except Exception as error:  # a YAML, a schema, a key, a block: whatever is wrong with it
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, f"not readable ({words})", _EXPECTED) from None
    raise InputError(path, f"version {version}", f"version {_VERSION}")


def _stars_in(tree: Any) -> SolvedStars:
    def arrays(name: str, kind: type) -> dict[str, Any]:
        return {item.name: np.array(tree[name][item.name]) for item in fields(kind)}

    columns, catalog = arrays("stars", StarTable), arrays("catalog", CatalogTable)
    catalog["identity"] = np.array(list(catalog["identity"]), str)
    for part in (columns, catalog):
        lengths = {len(values) for values in part.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of {sorted(lengths)} rows")
    return SolvedStars(
        images=tuple(str(name) for name in tree["images"]),
        shapes=np.array(tree["shapes"], np.int64).reshape(-1, 2),
        outlines=np.array(tree["outlines"], np.float64).reshape(-1, 4, 2),
        shifts=np.array(tree["shifts"], np.float64).reshape(-1, 2),
        stars=StarTable(**columns),
        catalog=CatalogTable(**catalog),
    )
