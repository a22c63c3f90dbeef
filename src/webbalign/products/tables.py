"""Tables of results: in an extension of a product and as ECSV beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from webbalign.core.registration import ShiftFit
from webbalign.products.atomic import Seal, atomic_path

__all__ = ["shift_table", "write_ecsv"]

_UNITS = {
    "dx": "pix", "dy": "pix", "dx_err": "pix", "dy_err": "pix", "dxdy_cov": "pix2",
}  # fmt: skip
_DESCRIPTIONS = {
    "sci_int": "science integration, 0-based; -1: the mean of all",
    "psf_int": "image of the PSF stack, 0-based",
    "dx": "x shift of the PSF relative to the science image; the PSF is moved by minus this",
    "dy": "y shift, likewise",
    "dx_err": "one-sigma error of dx: scatter and expected bias of the fit together",
    "flux_ratio": "flux of the PSF over flux of the science image",
}
_DTYPE = [
    ("sci_int", "i4"), ("psf_int", "i4"), ("dx", "f8"), ("dy", "f8"), ("flux_ratio", "f8"),
    ("dx_err", "f8"), ("dy_err", "f8"), ("dxdy_cov", "f8"), ("flux_ratio_err", "f8"),
    ("chi2_reduced", "f8"), ("n_pixels", "i4"), ("n_iter", "i4"), ("status", "S16"),
]  # fmt: skip


def shift_table(fits: Sequence[Sequence[ShiftFit]], sci_ints: Sequence[int]) -> np.ndarray:
    """Return the table of fitted shifts, one row per pair.

    Parameters
    ----------
    fits : sequence of sequence of ShiftFit
        For each science image the fits of all references.
    sci_ints : sequence of int
        Number of the integration of each science image, -1 for their mean.

    Returns
    -------
    ndarray
        Structured; the columns are those of the design's table.
    """
    rows = [
        _row(sci_int, psf_int, fit)
        for sci_int, of_frame in zip(sci_ints, fits, strict=True)
        for psf_int, fit in enumerate(of_frame)
    ]
    return np.array(rows, dtype=_DTYPE)


def _row(sci_int: int, psf_int: int, fit: ShiftFit) -> tuple[object, ...]:
    errors, cov = fit.errors, fit.error_matrix
    return (
        sci_int, psf_int, fit.dx, fit.dy, fit.flux_ratio,
        errors[0], errors[1], cov[0, 1], errors[2],
        fit.chi2_reduced, fit.n_pixels, fit.n_iter, fit.status.name.encode(),
    )  # fmt: skip


def write_ecsv(
    table: np.ndarray,
    path: str | Path,
    meta: Mapping[str, object] | None = None,
    recipe: Seal | None = None,
) -> Path:
    """Write a structured array as ECSV, in full precision, with units and descriptions.

    What it was made from is written into it, if given.
    """
    from astropy.table import Table

    written = Table(table, meta=dict(meta or {}))
    for name in written.colnames:
        column = written[name]
        if column.dtype.kind == "S":
            column = written[name] = column.astype(str)
        column.unit = _UNITS.get(name)
        column.description = _DESCRIPTIONS.get(name)
    with atomic_path(path, recipe) as temporary:
        written.write(temporary, format="ascii.ecsv")
    return Path(path)
