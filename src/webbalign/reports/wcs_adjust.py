"""The table of the corrections of a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from webbalign.products.wcs_adjust_file import VisitCorrection, WcsAdjust
from webbalign.reports.adjust_figure import draw_adjust

__all__ = ["HEAD", "adjust_row", "adjust_text", "adjust_totals", "draw_adjust"]

HEAD = (
    "correction of", "status", "bands", "images", "used", "rms [mas]", "shift x, y [arcsec]",
    "+- [mas]", "roll [arcsec]", "jitter [mas]", "frame",
)  # fmt: skip


def adjust_text(adjust: WcsAdjust, files: Sequence[Path] = (), *, exposures: bool = True) -> str:
    """Write a table as plain text, never wrapped.

    Parameters
    ----------
    adjust : WcsAdjust
    files : sequence of Path
        What was written.
    exposures : bool
        Whether to list the exposures, or only the visits.
    """
    chosen = [entry for entry in adjust.entries if exposures or not entry.key.exposure]
    rows = [list(HEAD), *(adjust_row(entry) for entry in chosen)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines += [f"{entry.key}: {entry.status}: {entry.reason}" for entry in chosen if entry.reason]
    lines.append(adjust_totals(adjust))
    lines += [f"written: {path}" for path in files]
    return "\n".join(lines)


def adjust_row(entry: VisitCorrection) -> list[str]:
    """Return the row of a correction, as text; a dash for what is not known."""
    x, y = entry.correction.shift
    applied = entry.is_applied
    return [
        str(entry.key), str(entry.status), ",".join(entry.bands) or "-",
        str(entry.n_images) if entry.n_images else "-", str(entry.n_used) if entry.n_used else "-",
        _number(entry.rms * 1e3),
        f"{x:+.4f}, {y:+.4f}" if applied else "-",
        _number(float(np.sqrt(np.mean(entry.errors**2))) * 1e3) if applied else "-",
        f"{entry.correction.rotation * 3600:+.2f}" if applied else "-",
        _number(entry.scatter * 1e3) if entry.scatter else "-",
        entry.frame or "-",
    ]  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def adjust_totals(adjust: WcsAdjust) -> str:
    """Count visits by their statuses, in words."""
    visits = [entry for entry in adjust.entries if not entry.key.exposure]
    counts = Counter(str(entry.status) for entry in visits)
    text = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    text = f"{_count(visits, 'visit')}: {text}" if visits else "no visits"
    exposures = [entry for entry in adjust.entries if entry.key.exposure]
    text += f"; {_count(exposures, 'exposure')}"
    frames = sorted({entry.frame for entry in adjust.entries if entry.is_applied and entry.frame})
    if len(frames) > 1:
        text += f"; {len(frames)} frames that nothing connects ({', '.join(frames)})"
    return text


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"
