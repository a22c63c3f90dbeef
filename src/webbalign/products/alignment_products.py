"""The products of an alignment by stars, ours or of jwst, found again in their folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from webbalign.core.astrometry import ImageStatus
from webbalign.core.errors import InputError
from webbalign.products.corrector import Correction, existing_correction, image_plane
from webbalign.products.image_files import read_info
from webbalign.products.solutions import Solution, SolvedImage, read_solution
from webbalign.products.solved_images import reference_angles
from webbalign.products.solved_stars import SolvedStars, read_solved_stars, stars_file
from webbalign.products.star_pixels import find_images

__all__ = ["AlignmentProducts", "alignment_products", "find_alignments"]

_SOLUTION = "tweakreg_solution.ecsv"
_ENDS = ("_tweakreg", "_tweakregstep")


@dataclass(frozen=True, eq=False)
class AlignmentProducts:
    """What an alignment has left behind.

    Attributes
    ----------
    path : Path
        The table of the solution; the folder if there is none.
    solution : Solution
        As far as it can be told from the images, if there is no table.
    stars : SolvedStars or None
    lacking : str
        Why there are no stars; empty if there are.
    images : mapping
        By the names in the solution, the files that are there.
    outlines : mapping
        By the same names, corners (4, 2) in the plane of the image, uncorrected, arcsec.
    """

    path: Path
    solution: Solution
    stars: SolvedStars | None
    lacking: str
    images: Mapping[str, Path]
    outlines: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def has_table(self) -> bool:
        """Whether there is a table of the solution."""
        return self.path.suffix == ".ecsv"

    @property
    def report(self) -> Path:
        """The page, beside the products."""
        if not self.has_table:
            return self.path / "tweakreg_report.html"
        return self.path.with_name(f"{self.path.stem.removesuffix('_solution')}_report.html")

    def corners(self, row: SolvedImage, *, corrected: bool) -> NDArray[np.float64] | None:
        """Return the corners of an image in its own plane, arcsec (4, 2); None if unknown."""
        found = self.outlines.get(row.filename)
        if found is None or not (corrected and row.is_applied):
            return found
        return row.correction.apply(found)


def find_alignments(
    source: str | Path, images: Sequence[str | Path] = ()
) -> list[AlignmentProducts]:
    """Find the alignments whose products lie in a folder, or that of a table.

    Parameters
    ----------
    source : str or Path
        A folder, a ``tweakreg_solution.ecsv``, or one aligned image.
    images : sequence of str or Path
        Where the images lie, if not beside the table.

    Returns
    -------
    list of AlignmentProducts
        Empty if there is none.

    Raises
    ------
    InputError
        If a table or an image cannot be read.
    """
    source = Path(source)
    if source.suffix == ".ecsv":
        return [alignment_products(source, images)]
    if source.is_dir():
        if (source / _SOLUTION).is_file():
            return [alignment_products(source / _SOLUTION, images)]
        # jwst's step by itself calls them _tweakregstep
        paths = sorted(path for end in _ENDS for path in source.glob(f"*{end}.fits*"))
    else:
        paths = [source] if source.name.partition(".")[0].endswith(_ENDS) else []
    return [_by_images(paths)] if paths else []


def alignment_products(table: str | Path, images: Sequence[str | Path] = ()) -> AlignmentProducts:
    """Read a table of a solution and find what belongs to it; as :func:`find_alignments`."""
    table = Path(table)
    solution = read_solution(table)
    stars, lacking = _stars(table, solution)
    names = [row.filename for row in solution.images]
    outlines = {}
    if stars is not None:
        known = {name: stars.outline(name) for name in names}
        outlines = {name: outline for name, outline in known.items() if outline is not None}
    found = find_images([table.parent, *images], names)
    return AlignmentProducts(table, solution, stars, lacking, found, outlines)


def _stars(table: Path, solution: Solution) -> tuple[SolvedStars | None, str]:
    path = stars_file(table)
    if not path.is_file():
        return None, f"{path.name} is not here"
    try:
        stars = read_solved_stars(path)
    except InputError as error:
        return None, str(error)
    if not stars.is_of(solution):
        return None, f"{path.name} is of another solution than {table.name}"
    return stars, ""


# Images without a table ---------------------------------------------------------------------------


def _by_images(paths: Sequence[Path]) -> AlignmentProducts:
    """Gather what corrected images tell of themselves."""
    rows, outlines = [], {}
    for path in paths:
        row, outline = _row(path)
        rows.append(row)
        outlines[row.filename] = outline
    lacking = "there is no tweakreg_solution.ecsv, which webbalign's tweakreg writes"
    known = {row.filename: path for row, path in zip(rows, paths, strict=True)}
    return AlignmentProducts(paths[0].parent, Solution(tuple(rows)), None, lacking, known, outlines)


def _row(path: Path) -> tuple[SolvedImage, NDArray[np.float64]]:
    info = read_info(path)
    header = fits.getheader(path)
    found = existing_correction(info.wcs)
    correction = found or Correction.none()
    done = str(header.get("S_TWKREG", "")).strip()
    status = ImageStatus.UNCHANGED
    if done == "COMPLETE":
        status = ImageStatus.ALIGNED
    elif found is not None:
        status = ImageStatus.RELATIVE_ONLY
    image = image_plane(info.wcs, info.wcsinfo, info.shape, info.name)
    # the plane is that of a second correction: positions in it have the first one
    inverse = np.linalg.inv(correction.matrix)
    outline = (image.outline - correction.shift) @ inverse.T
    row = SolvedImage(
        filename=info.name,
        group_id=info.group_id or info.observation.group("exposure") or info.name,
        status=status,
        reason="" if found is not None else "its WCS holds no correction",
        n_found=0, n_matched=0, n_used=0, n_reference=0, rms=np.nan,
        correction=correction,
        cov=np.full((6, 6), np.nan),
        chi2_reduced=np.nan,
        plane=image.plane,
        reference_angles=reference_angles(info),
        epoch=info.epoch,
        observation=info.observation,
        filter=info.filter,
    )  # fmt: skip
    return replace(
        row, reason=row.reason if done else f"S_TWKREG is missing; {row.reason}"
    ), outline
