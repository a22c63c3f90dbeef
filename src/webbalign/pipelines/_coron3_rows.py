"""What coron3 tells and shows of one science exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.annuli import annular_rms
from webbalign.products.coron_products import mean_image
from webbalign.reports.summary import ExposureRow
from webbalign.steps.resample import Average

__all__ = ["RINGS", "Views", "exposure_row"]

# Radii in arcsec between the rings of the last table.
RINGS = (0.4, 0.7, 1.0, 1.5, 2.5)


@dataclass(frozen=True)
class Views:
    """What the figure shows of one exposure: mean images (ny, nx), and its WCS."""

    before: np.ndarray
    after: np.ndarray
    average: Average


def exposure_row(
    name: str,
    before: np.ndarray,
    subtracted: CubeModel,
    centre: tuple[float, float],
    *,
    n_outliers: int,
    fits: np.ndarray | None,
    is_aligned: bool,
) -> ExposureRow:
    """Return the row of one exposure in the table that coron3 ends with.

    Parameters
    ----------
    name : str
    before : ndarray, shape (ny, nx)
        Mean of the integrations before subtraction.
    subtracted : CubeModel
    centre : tuple of float
        0-based (x, y) of the star.
    n_outliers : int
        Pixels that were flagged.
    fits : ndarray or None
        The table of fitted shifts.
    is_aligned : bool
        Whether the references were to be aligned.
    """
    scale = np.sqrt(subtracted.meta.photometry.pixelarea_arcsecsq or 1.0)
    edges = np.array(RINGS) / scale
    shift, error, n_failed = np.nan, np.nan, 0
    if fits is not None:
        shift = float(np.median(np.hypot(fits["dx"], fits["dy"])))
        error = float(np.median(np.hypot(fits["dx_err"], fits["dy_err"])))
        n_failed = int(np.count_nonzero(fits["status"] != b"OK"))
    return ExposureRow(
        name=name,
        nints=subtracted.shape[0],
        n_outliers=n_outliers,
        shift=shift,
        shift_err=error,
        n_failed=n_failed,
        rms_before=annular_rms(before, centre, edges),
        rms_after=annular_rms(mean_image(subtracted), centre, edges),
        status=_status(is_aligned, n_failed),
    )


def _status(is_aligned: bool, n_failed: int) -> str:
    if not is_aligned:
        return "NOT ALIGNED (skipped)"
    return f"{n_failed} FITS FAILED" if n_failed else "ALIGNED"
