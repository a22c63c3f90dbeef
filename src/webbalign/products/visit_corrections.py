"""Corrections of visits and exposures, and which of them an image takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.planes import TangentPlane
from webbalign.products.corrector import Correction
from webbalign.products.image_files import ImageInfo
from webbalign.products.notebooks import html_table
from webbalign.products.visits import AdjustKey, keys_of

__all__ = ["AdjustStatus", "VisitCorrection", "WcsAdjust"]


class AdjustStatus(StrEnum):
    """How it went for a visit or an exposure."""

    ALIGNED = "ALIGNED"
    REFERENCE = "REFERENCE"
    RELATIVE_ONLY = "RELATIVE_ONLY"
    INCONSISTENT = "INCONSISTENT"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


_APPLIED = (
    AdjustStatus.ALIGNED, AdjustStatus.REFERENCE, AdjustStatus.RELATIVE_ONLY,
    AdjustStatus.INCONSISTENT, AdjustStatus.UNKNOWN,
)  # fmt: skip
# a table that says nothing about it has been made by a program whose corrections are meant
_COMPLETE = (AdjustStatus.ALIGNED, AdjustStatus.REFERENCE, AdjustStatus.UNKNOWN)


@dataclass(frozen=True, eq=False)
class VisitCorrection:
    """One correction: ``xy' = matrix @ xy + shift`` in a tangent plane.

    Attributes
    ----------
    key : AdjustKey
    correction : Correction
        In the plane that touches the sky at `reference`, x to the east and y to the north.
    reference : tuple of float or None
        Right ascension and declination, degrees. None: each image is corrected in its own plane,
        as PJPipe does it.
    cov : ndarray, shape (6, 6)
        Of m11, m12, m21, m22, xshift, yshift (arcsec); NaN: unknown.
    status : AdjustStatus
        UNKNOWN: the table does not say.
    reason : str
    n_images, n_used : int
        Images that were measured; stars that were used (pairs of images, if there are only these).
    n_pairs : int
        Pairs of images that were used.
    rms : float
        Of the stars about their mean positions, arcsec.
    chi2_reduced : float
        Of the measurements that were combined, beyond what the scatter explains.
    scatter : float
        Jitter: scatter of the exposures of a visit about it, arcsec per axis.
    bands, methods : tuple of str
        What it was measured in and how.
    frame : str
        Corrections of one frame agree with one another: the name of a catalog, or of the
        reference visit.
    """

    key: AdjustKey
    correction: Correction
    reference: tuple[float, float] | None = None
    cov: NDArray[np.float64] = field(default_factory=lambda: np.full((6, 6), np.nan))
    status: AdjustStatus = AdjustStatus.UNKNOWN
    reason: str = ""
    n_images: int = 0
    n_used: int = 0
    n_pairs: int = 0
    rms: float = np.nan
    chi2_reduced: float = np.nan
    scatter: float = 0.0
    bands: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    frame: str = ""

    @property
    def is_applied(self) -> bool:
        """Whether the correction is to be applied; else the image keeps its WCS."""
        return self.status in _APPLIED

    @property
    def is_aligned(self) -> bool:
        """Whether images with this correction are where they should be, as far as is known."""
        return self.status in _COMPLETE

    @property
    def plane(self) -> TangentPlane | None:
        """The plane of the correction; None: that of each image."""
        return None if self.reference is None else TangentPlane.about(*self.reference)

    @property
    def errors(self) -> NDArray[np.float64]:
        """One-sigma errors of the shift, arcsec."""
        return np.sqrt(np.maximum(np.diag(self.cov)[4:], 0.0))


@dataclass(frozen=True, eq=False)
class WcsAdjust:
    """All corrections of a target.

    Attributes
    ----------
    entries : tuple of VisitCorrection
        In the order of their keys.
    run : dict
        What concerns the run: target, bands, options, fingerprint and so on.
    """

    entries: tuple[VisitCorrection, ...]
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def notes(self) -> list[dict[str, Any]]:
        """One entry for each visit and exposure, for programs; shifts in arcsec, rms in mas."""
        return [
            {
                "key": str(entry.key),
                "status": str(entry.status),
                "reason": entry.reason,
                "bands": entry.bands,
                "n_images": entry.n_images,
                "n_used": entry.n_used,
                "rms_mas": entry.rms * 1e3,
                "shift": entry.correction.shift,
                "matrix": entry.correction.matrix,
                "shift_err": entry.errors,
                "frame": entry.frame,
            }
            for entry in self.entries
        ]

    def _repr_html_(self) -> str:
        """Return the table of the corrections, for notebooks."""
        head = ["correction of", "status", "bands", "images", "x [arcsec]", "y [arcsec]",
                "x error [mas]", "y error [mas]", "rms [mas]", "reason"]  # fmt: skip
        rows = [
            [entry.key, entry.status, ",".join(entry.bands) or None, entry.n_images or None,
             *map(float, entry.correction.shift if entry.is_applied else (np.nan, np.nan)),
             *map(float, 1e3 * entry.errors), entry.rms * 1e3, entry.reason]
            for entry in self.entries
        ]  # fmt: skip
        visits = [entry for entry in self.entries if not entry.key.exposure]
        aligned = sum(entry.is_aligned for entry in visits)
        target = self.run.get("target", "")
        caption = f"Corrections of {target}: {aligned} of {len(visits)} visits aligned"
        return html_table(caption, head, rows)

    def of(self, key: str) -> VisitCorrection | None:
        """Return the entry of a key; None without one."""
        return next((entry for entry in self.entries if str(entry.key) == key), None)

    def correction_for(self, info: ImageInfo) -> VisitCorrection | None:
        """Find the correction of an image.

        That of its exposure goes before that of its visit; one that is for its detector or module
        goes before one for all. None without any.

        Raises
        ------
        InputError
            If the image does not tell its visit.
        """
        for key in keys_of(info):
            for entry in self.entries:
                if entry.key == key:
                    return entry
            if not key.module or key.detector:
                continue
            # tables of PJPipe name the detectors: any of a module stands for it
            for entry in self.entries:
                known = entry.key
                if (known.visit, known.exposure, known.module) == (
                    key.visit,
                    key.exposure,
                    key.module,
                ):
                    return entry
        return None

    @property
    def all_aligned(self) -> bool:
        """Whether there is something, and all of it is aligned."""
        return bool(self.entries) and all(entry.is_aligned for entry in self.entries)
