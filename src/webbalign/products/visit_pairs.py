"""Pairs of visits that were compared by their images, as the tables beside a result tell them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.errors import InputError
from webbalign.products.wcs_adjust_file import WcsAdjust

__all__ = ["WORK_FOLDER", "VisitPair", "measured_bands", "read_visit_pairs"]

WORK_FOLDER = "get_wcs_adjust"


@dataclass(frozen=True)
class VisitPair:
    """Two visits whose images were compared.

    Attributes
    ----------
    first, second : str
        Keys of the visits.
    status : str
        How the comparison went.
    used : bool
        Whether the solution rests on it.
    closure : float
        What the solution leaves of its shift, arcsec; NaN: unknown.
    left : tuple of float
        The same to the east and north.
    error : float
        One-sigma error of each, as measured, arcsec; NaN: unknown.
    """

    first: str
    second: str
    status: str
    used: bool
    closure: float = np.nan
    left: tuple[float, float] = (np.nan, np.nan)
    error: float = np.nan

    @property
    def is_wrong(self) -> bool:
        """Whether it was measured and then left out, for others contradict it."""
        return self.status == "OK" and not self.used


def read_visit_pairs(path: str | Path, adjust: WcsAdjust) -> tuple[VisitPair, ...]:
    """Read the pairs of the bands of a table from the folder beside it.

    Parameters
    ----------
    path : str or Path
        The table, ``{target}_wcs_adjust.toml``.
    adjust : WcsAdjust
        What it holds.

    Returns
    -------
    tuple of VisitPair
        Empty where the folder is not there, or nothing was compared by images.

    Raises
    ------
    InputError
        If such a table cannot be read.
    """
    folder = Path(path).parent / WORK_FOLDER
    tables = [folder / f"{band}_{method}_pairs.ecsv" for band, method in measured_bands(adjust)]
    return tuple(pair for table in tables if table.is_file() for pair in _pairs_in(table))


def _pairs_in(path: Path) -> list[VisitPair]:
    from astropy.table import Table

    expected = "the pairs that wcs-adjust get wrote beside the table"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        if sum(not line.startswith("#") for line in lines) <= 1:
            return []  # (of columns of pairs of numbers without a row astropy makes an error)
        return [_pair(row) for row in Table.read(path, format="ascii.ecsv")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"not readable ({error})", expected) from None


def _pair(row: Any) -> VisitPair:
    dx, dy = np.asarray(row["closure"], dtype=np.float64).tolist()
    # tables of earlier versions, or those that somebody has cut, tell no error
    known = "shift_cov" in row.colnames
    variance = np.trace(np.asarray(row["shift_cov"], dtype=np.float64)) / 2 if known else np.nan
    return VisitPair(
        str(row["first"]), str(row["second"]), str(row["status"]), bool(row["used"]),
        float(np.hypot(dx, dy)), (dx, dy), float(np.sqrt(variance)),
    )  # fmt: skip


def measured_bands(adjust: WcsAdjust) -> list[tuple[str, str]]:
    """Return what was measured as one, with its method: bands, or those that were mixed (``+``)."""
    bands = adjust.run.get("bands", {})
    by_method: dict[str, list[str]] = {}
    for band, told in sorted(bands.items() if isinstance(bands, dict) else ()):
        if isinstance(told, dict):
            by_method.setdefault(str(told.get("method", "")), []).append(str(band))
    mix = adjust.run.get("mix_bands") is True
    return [
        (name, method)
        for method, names in sorted(by_method.items())
        for name in (["+".join(names)] if mix and method != "tweakreg" else names)
    ]
