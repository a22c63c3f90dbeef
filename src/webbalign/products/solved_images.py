"""Images with the corrections that were found for them, and who may borrow from whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.astrometry import ImageFit, ImageStatus
from webbalign.core.planes import TangentPlane
from webbalign.core.starlists import StarList
from webbalign.products.corrector import Correction, ImagePlane, transported
from webbalign.products.groups import ObservationIds
from webbalign.products.image_files import ImageInfo
from webbalign.products.names import root
from webbalign.products.notebooks import html_table
from webbalign.products.solved_stars import SolvedStars

__all__ = ["Borrowed", "Solution", "SolvedImage", "reference_angles", "solved"]

_APPLIED = (ImageStatus.ALIGNED, ImageStatus.REFERENCE, ImageStatus.RELATIVE_ONLY)
_COMPLETE = (ImageStatus.ALIGNED, ImageStatus.REFERENCE)


@dataclass(frozen=True, eq=False)
class SolvedImage:
    """One image of a solution.

    Attributes
    ----------
    filename, group_id : str
    status : ImageStatus
    reason : str
        In words; empty where there is nothing to say.
    n_found, n_matched, n_used, n_reference : int
        Stars found; in other groups or the catalog, too; not clipped; of the catalog.
    rms : float
        Root mean square distance of the stars used from their mean positions, arcsec.
    correction : Correction
        In the plane of the image.
    cov : ndarray, shape (6, 6)
        Of m11, m12, m21, m22, xshift, yshift (arcsec); NaN if nothing was fitted.
    chi2_reduced : float
    plane : TangentPlane
        Of the image.
    reference_angles : tuple of float
        V2_REF, V3_REF (arcsec) and ROLL_REF (degrees).
    epoch : float
        Julian year; NaN if unknown.
    observation : ObservationIds
    filter : str
    chi2_with_floor : float
        Of the stars of the group, with the error that the solution has added to all stars.
    """

    filename: str
    group_id: str
    status: ImageStatus
    reason: str
    n_found: int
    n_matched: int
    n_used: int
    n_reference: int
    rms: float
    correction: Correction
    cov: NDArray[np.float64]
    chi2_reduced: float
    plane: TangentPlane
    reference_angles: tuple[float, float, float]
    epoch: float
    observation: ObservationIds
    filter: str
    chi2_with_floor: float = np.nan

    @property
    def is_applied(self) -> bool:
        """Whether the correction is to be applied; else the image keeps its WCS."""
        return self.status in _APPLIED

    @property
    def step_status(self) -> str:
        """What S_TWKREG says: COMPLETE or FAILED."""
        return "COMPLETE" if self.status in _COMPLETE else "FAILED"


@dataclass(frozen=True)
class Borrowed:
    """The correction of an image by a solution.

    Attributes
    ----------
    correction : Correction
        In the plane of the image.
    row : SolvedImage
        Of the image itself, or the nearest of those it was taken from.
    by : str
        ``image``, ``exposure`` or ``visit``: what it has in common with these.
    error : float
        Arcsec, of bringing it from plane to plane (0 for the image itself).
    """

    correction: Correction
    row: SolvedImage
    by: str
    error: float


@dataclass(frozen=True, eq=False)
class Solution:
    """What was found for all images.

    Attributes
    ----------
    images : tuple of SolvedImage
    meta : dict
        What concerns the run: options, catalog and so on.
    stars : SolvedStars or None
        All stars with what is left of them; None of a solution that was read from its table.
    """

    images: tuple[SolvedImage, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    stars: SolvedStars | None = None

    @property
    def notes(self) -> list[dict[str, Any]]:
        """One entry for each image, for programs; shifts in arcsec, rms in mas."""
        return [
            {
                "filename": row.filename,
                "group_id": row.group_id,
                "status": str(row.status),
                "reason": row.reason,
                "n_found": row.n_found,
                "n_matched": row.n_matched,
                "n_used": row.n_used,
                "rms_mas": row.rms * 1e3,
                "shift": row.correction.shift,
                "matrix": row.correction.matrix,
                "shift_err": np.sqrt(np.maximum(np.diag(row.cov)[4:], 0.0)),
                "chi2_reduced": row.chi2_reduced,
            }
            for row in self.images
        ]

    def _repr_html_(self) -> str:
        """Return the table of the images, for notebooks."""
        aligned = sum(row.is_applied for row in self.images)
        head = ["image", "status", "matched", "used", "rms [mas]", "x [arcsec]", "y [arcsec]",
                "chi2", "reason"]  # fmt: skip
        rows = [
            [row.filename, row.status, row.n_matched, row.n_used, row.rms * 1e3,
             *map(float, row.correction.shift if row.is_applied else (np.nan, np.nan)),
             row.chi2_reduced, row.reason]
            for row in self.images
        ]  # fmt: skip
        caption = f"Solution: {aligned} of {len(self.images)} images corrected"
        return html_table(caption, head, rows)

    def of(self, filename: str | Path) -> SolvedImage | None:
        """Return the row of an image, whatever the suffix of its name; None without one."""
        wanted = root(filename)
        return next((row for row in self.images if root(row.filename) == wanted), None)

    def correction_for(self, info: ImageInfo, image: ImagePlane) -> Borrowed | None:
        """Find the correction of an image, which need not be part of the solution.

        Parameters
        ----------
        info : ImageInfo
        image : ImagePlane
            Its plane.

        Returns
        -------
        Borrowed or None
            That of its own row; else that of the nearest image of the same exposure (the other
            detectors and channels saw the same pointing); else the mean over the images of the
            same visit. None if nothing fits, or its own row is not to be applied.
        """
        own = self.of(info.name)
        if own is not None:
            return Borrowed(own.correction, own, "image", 0.0) if own.is_applied else None
        usable = [row for row in self.images if row.is_applied]
        for by in ("exposure", "visit"):
            name = info.observation.group(by)
            rows = [row for row in usable if name and row.observation.group(by) == name]
            if rows:
                return _borrowed(rows, by, image)
        return None


def _borrowed(rows: Sequence[SolvedImage], by: str, image: ImagePlane) -> Borrowed:
    middle = image.plane.to_vectors(image.outline.mean(axis=0, keepdims=True))[0]
    rows = sorted(rows, key=lambda row: (-float(row.plane.axes[2] @ middle), row.filename))
    chosen = rows[:1] if by == "exposure" else rows
    moved = [transported(row.correction, row.plane, image.plane, image.outline) for row in chosen]
    mean = Correction(
        np.mean([correction.matrix for correction, _ in moved], axis=0),
        np.mean([correction.shift for correction, _ in moved], axis=0),
    )
    return Borrowed(mean, rows[0], by, max(error for _, error in moved))


def solved(
    fits: Sequence[ImageFit], lists: Sequence[StarList], infos: Sequence[ImageInfo]
) -> list[SolvedImage]:
    """Join what was fitted to the images it was fitted for (all in the same order)."""
    return [
        SolvedImage(
            filename=info.name,
            group_id=fit.group,
            status=fit.status,
            reason=fit.reason,
            n_found=fit.n_found,
            n_matched=fit.n_matched,
            n_used=fit.n_used,
            n_reference=fit.n_reference,
            rms=fit.rms,
            correction=Correction(fit.matrix, fit.shift),
            cov=np.array(fit.cov),
            chi2_reduced=fit.chi2_reduced,
            plane=stars.plane,
            reference_angles=reference_angles(info),
            epoch=info.epoch,
            observation=info.observation,
            filter=info.filter,
            chi2_with_floor=fit.chi2_with_floor,
        )
        for fit, stars, info in zip(fits, lists, infos, strict=True)
    ]


def reference_angles(info: ImageInfo) -> tuple[float, float, float]:
    """Return V2_REF, V3_REF (arcsec) and ROLL_REF (degrees) of an image; NaN: unknown."""
    v2, v3, roll = (info.wcsinfo.get(key, np.nan) for key in ("v2_ref", "v3_ref", "roll_ref"))
    return v2, v3, roll
