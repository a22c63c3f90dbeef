"""The table that coron3 ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.products.notebooks import html_list, html_table

__all__ = ["Coron3Summary", "ExposureRow"]


@dataclass(frozen=True)
class ExposureRow:
    """What happened to one science exposure.

    Attributes
    ----------
    name : str
        Root of the file name.
    nints, n_outliers : int
        Integrations, and pixels flagged in all of them.
    shift, shift_err : float
        Median length of the fitted shifts and of their errors, in pixels; NaN if not fitted.
    n_failed : int
        Pairs whose fit did not succeed.
    rms_before, rms_after : ndarray, shape (n_annuli,)
        Rms of the mean image in rings about the star, before and after subtraction.
    status : str
        ALIGNED, or what went wrong.
    """

    name: str
    nints: int
    n_outliers: int
    shift: float
    shift_err: float
    n_failed: int
    rms_before: np.ndarray
    rms_after: np.ndarray
    status: str = "ALIGNED"

    @property
    def notes(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            **vars(self),
            "rms_before": list(self.rms_before),
            "rms_after": list(self.rms_after),
        }

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> ExposureRow:
        """Return the row of which `notes` were made."""
        rings = {name: np.array(notes[name]) for name in ("rms_before", "rms_after")}
        return cls(**{**notes, **rings})


@dataclass
class Coron3Summary:
    """Rows, files and notes of one run.

    Attributes
    ----------
    edges : sequence of float
        Radii between the rings, in arcsec.
    unit : str
        Unit of the images.
    rows : list of ExposureRow
    n_psf_outliers : int
        Pixels flagged in the PSF exposures.
    files : list of Path
        Everything written, in that order.
    """

    edges: Sequence[float] = ()
    unit: str = ""
    rows: list[ExposureRow] = field(default_factory=list)
    n_psf_outliers: int = 0
    files: list[Path] = field(default_factory=list)

    @property
    def n_unaligned(self) -> int:
        """Number of exposures for which at least one pair was not aligned."""
        return sum(row.status != "ALIGNED" for row in self.rows)

    @property
    def notes(self) -> dict[str, Any]:
        """What the table says, for programs; radii in arcsec, rms in `unit`."""
        return {
            "unit": self.unit,
            "rings": list(self.edges),
            "n_psf_outliers": self.n_psf_outliers,
            "exposures": [row.notes for row in self.rows],
        }

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        head, *rows = self._cells()
        unit = self.unit or "data units"
        note = f"rms before → after subtraction, mean of the integrations, in {unit}"
        table = html_table("coron3", head, rows, note)
        return table + html_list(f"{len(self.files)} files", self.files)

    @property
    def text(self) -> str:
        """The table as plain text, never wrapped."""
        return "\n".join([*self._table(), "", *self._files()])

    def _cells(self) -> list[list[str]]:
        """Return the table, its head first."""
        rings = [f'{a:g}-{b:g}"' for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)]
        head = ["exposure", "ints", "outliers", "shift [px]", "status"]
        rows = [[*head, *(f"rms {ring}" for ring in rings)]]
        for row in self.rows:
            gains = [
                f"{_g(b)} -> {_g(a)}" for b, a in zip(row.rms_before, row.rms_after, strict=True)
            ]
            shift = "-" if np.isnan(row.shift) else f"{row.shift:.3f} +- {_g(row.shift_err)}"
            rows.append([row.name, str(row.nints), str(row.n_outliers), shift, row.status, *gains])
        return rows

    def _table(self) -> list[str]:
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        lines.append(
            "rms before -> after subtraction, mean of the integrations, "
            f"in {self.unit or 'data units'}; "
            f"{self.n_psf_outliers} outliers flagged in the PSF exposures"
        )
        return lines

    def _files(self) -> list[str]:
        if not self.files:
            return ["no files written"]
        folder = self.files[-1].parent
        names = [path.name if path.parent == folder else str(path) for path in self.files]
        return [f"{len(names)} files in {folder}:", *(f"  {name}" for name in names)]


def _g(value: float) -> str:
    return f"{value:.2g}" if np.isfinite(value) else "-"
