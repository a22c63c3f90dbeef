"""Pairs of visits that were compared by their images, as the tables beside a result tell them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from webbalign.products.wcs_adjust_file import WcsAdjust

__all__ = ["VisitPair", "read_visit_pairs"]

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
    """

    first: str
    second: str
    status: str
    used: bool
    closure: float = np.nan

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
    """
    from astropy.table import Table

    folder = Path(path).parent / WORK_FOLDER
    bands = adjust.run.get("bands", {})
    found: list[VisitPair] = []
    for band, told in sorted(bands.items() if isinstance(bands, dict) else ()):
        method = told.get("method", "") if isinstance(told, dict) else ""
        table = folder / f"{band}_{method}_pairs.ecsv"
        if not table.is_file():
            continue
        for row in Table.read(table, format="ascii.ecsv"):
            closure = float(np.hypot(*np.asarray(row["closure"], dtype=np.float64)))
            used = bool(row["used"])
            found.append(
                VisitPair(str(row["first"]), str(row["second"]), str(row["status"]), used, closure)
            )
    return tuple(found)
