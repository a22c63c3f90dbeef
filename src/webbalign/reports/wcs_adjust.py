"""The table of the corrections of a target, and their picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products.atomic import atomic_path
from webbalign.products.wcs_adjust_file import VisitCorrection, WcsAdjust

__all__ = ["adjust_text", "draw_adjust"]

_HEAD = (
    "correction of", "status", "bands", "images", "used", "rms [mas]", "shift x, y [arcsec]",
    "+- [mas]", "roll [arcsec]", "scatter [mas]", "frame",
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
    rows = [list(_HEAD), *(_row(entry) for entry in chosen)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    lines += [f"{entry.key}: {entry.status}: {entry.reason}" for entry in chosen if entry.reason]
    lines.append(_totals(adjust))
    lines += [f"written: {path}" for path in files]
    return "\n".join(lines)


def _row(entry: VisitCorrection) -> list[str]:
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


def _totals(adjust: WcsAdjust) -> str:
    visits = [entry for entry in adjust.entries if not entry.key.exposure]
    counts = Counter(str(entry.status) for entry in visits)
    text = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    text = f"{len(visits)} visits: {text}" if visits else "no visits"
    text += f"; {len(adjust.entries) - len(visits)} exposures"
    frames = sorted({entry.frame for entry in adjust.entries if entry.is_applied and entry.frame})
    if len(frames) > 1:
        text += f"; {len(frames)} frames that nothing connects ({', '.join(frames)})"
    return text


def draw_adjust(adjust: WcsAdjust, path: str | Path) -> Path | None:
    """Draw footprints, an arrow for the shift of each visit, and its error ellipse, into a PNG.

    Arrows and ellipses have scales of their own, which the title tells.

    Returns
    -------
    Path or None
        None if the table says nothing about places (one of PJPipe's).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    visits = [
        entry
        for entry in adjust.entries
        if not entry.key.exposure and entry.reference is not None and entry.is_applied
    ]
    if not visits:
        return None
    outlines = adjust.run.get("footprints", {})
    sky = np.array([entry.reference for entry in visits], dtype=np.float64)
    plane = TangentPlane.around(sky_to_vectors(sky))
    figure = Figure(figsize=(8, 8), dpi=100)
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    extent = _draw_outlines(axis, plane, visits, outlines)
    at = plane.from_sky(sky)
    shifts = np.array([entry.correction.shift for entry in visits])
    _draw_arrows(axis, at, shifts, visits, extent)
    axis.set_aspect("equal")
    axis.invert_xaxis()  # east is to the left
    axis.set_xlabel("east [arcsec]")
    axis.set_ylabel("north [arcsec]")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return Path(path)


def _draw_outlines(
    axis: Any, plane: TangentPlane, visits: Sequence[VisitCorrection], outlines: Any
) -> float:
    """Draw the images of each visit; return the size of the field, arcsec."""
    extent = 60.0
    for number, entry in enumerate(visits):
        for corners in outlines.get(str(entry.key), []):
            xy = plane.from_sky(np.array(corners, dtype=np.float64))
            xy = np.concatenate([xy, xy[:1]])
            axis.plot(*xy.T, color=f"C{number % 10}", lw=0.6, alpha=0.6)
            extent = max(extent, float(np.abs(xy).max()))
    return extent


def _draw_arrows(
    axis: Any,
    at: NDArray[np.float64],
    shifts: NDArray[np.float64],
    visits: Sequence[VisitCorrection],
    extent: float,
) -> None:
    from matplotlib.patches import Ellipse

    longest = float(np.hypot(*shifts.T).max()) or 1.0
    errors = [np.linalg.eigh(np.nan_to_num(entry.cov[4:, 4:])) for entry in visits]
    largest = max(float(np.sqrt(max(values[-1], 0.0))) for values, _ in errors) or 1.0
    arrow, ellipse = 0.3 * extent / longest, 0.05 * extent / largest
    for number, (entry, place, shift, (values, axes)) in enumerate(
        zip(visits, at, shifts, errors, strict=True)
    ):
        color = f"C{number % 10}"
        tip = place + arrow * shift
        axis.annotate("", tip, place, arrowprops={"arrowstyle": "->", "color": color})
        axis.plot(*place, "o", ms=3, color=color, label=f"{entry.key} {entry.status}")
        width, height = 2 * ellipse * np.sqrt(np.maximum(values[::-1], 0.0))
        angle = float(np.degrees(np.arctan2(axes[1, -1], axes[0, -1])))
        axis.add_patch(Ellipse(tip, width, height, angle=angle, fill=False, color=color))
    axis.legend(fontsize=7, loc="upper left")
    axis.set_title(
        f"shifts x {arrow:.3g} (longest {longest:.3f} arcsec), "
        f"errors x {ellipse:.3g} (largest {largest * 1e3:.2f} mas)",
        fontsize=9,
    )
