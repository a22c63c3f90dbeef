"""A picture of the corrections of a target: footprints, pairs, shifts and their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.products.atomic import atomic_path
from webbalign.products.visit_pairs import VisitPair
from webbalign.products.wcs_adjust_file import VisitCorrection, WcsAdjust
from webbalign.reports._adjust_layout import Layout, layout_of
from webbalign.reports.canvas import STATUS_COLORS, round_down

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["adjust_picture", "draw_adjust"]

Array = NDArray[np.float64]

_STATUS_MARKERS = {"REFERENCE": "*", "UNCHANGED": "x", "FAILED": "x", "INCONSISTENT": "D"}
# Ellipses grow up to so many times the typical one; larger ones are cut and dashed
_TYPICAL = 6.0


def draw_adjust(
    adjust: WcsAdjust, path: str | Path, pairs: Sequence[VisitPair] = ()
) -> Path | None:
    """Draw footprints, pairs, an arrow for the shift of each visit and its error ellipse.

    Arrows and ellipses have scales of their own, which a key tells. Visits that lie upon one
    another are drawn side by side.

    Parameters
    ----------
    adjust : WcsAdjust
    path : str or Path
        The PNG.
    pairs : sequence of VisitPair
        Visits that were compared by their images; wrong pairs are marked.

    Returns
    -------
    Path or None
        None if the table says nothing about places (one of PJPipe's).
    """
    figure = adjust_picture(adjust, pairs)
    if figure is None:
        return None
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return Path(path)


def adjust_picture(adjust: WcsAdjust, pairs: Sequence[VisitPair] = ()) -> Figure | None:
    """Return the figure of :func:`draw_adjust`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = layout_of(adjust)
    if layout is None:
        return None
    side = 7.0 + 0.13 * len(layout.visits)
    # inches for the labels of the axes, for the legend below and the title above them
    left, right, bottom, top = 0.8, 0.2, 1.05, 0.4
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((left / width, bottom / height, side / width, side / height))
    _draw_outlines(axis, layout)
    _draw_pairs(axis, layout, pairs)
    scales = _draw_arrows(axis, layout)
    _draw_nodes(axis, layout)
    _frame(axis, layout, adjust, pairs)
    _draw_key(axis, layout, *scales)
    return figure


# What is drawn ------------------------------------------------------------------------------------


def _draw_outlines(axis: Any, layout: Layout) -> None:
    alpha = max(0.25, 0.7 / math.sqrt(len(layout.visits)))
    for number, images in enumerate(layout.outlines):
        for image in images:
            xy = np.concatenate([image, image[:1]])
            color = f"C{number % 10}"
            axis.fill(*xy.T, facecolor=color, alpha=0.03, lw=0, zorder=1)
            axis.plot(*xy.T, color=color, lw=0.6, alpha=alpha, zorder=1)


def _draw_pairs(axis: Any, layout: Layout, pairs: Sequence[VisitPair]) -> None:
    """Draw a line for each pair; of several (bands, detectors) the worst on top."""
    nodes = {str(v.key): node for v, node in zip(layout.visits, layout.nodes, strict=True)}
    for pair in sorted(pairs, key=lambda pair: (pair.is_wrong, pair.used)):
        if pair.first not in nodes or pair.second not in nodes:
            continue
        line = np.array([nodes[pair.first], nodes[pair.second]])
        _line(axis, line, _pair_style(pair))
        if pair.is_wrong:
            axis.plot(*line.mean(axis=0), marker="X", color="#b2182b", ms=9, mec="white", zorder=4)


_PAIR_STYLES: dict[str, dict[str, Any]] = {
    "pair, used": {"color": "0.45", "lw": 1.1, "ls": "-"},
    "pair, nothing found": {"color": "0.6", "lw": 1.1, "ls": (0, (1, 2))},
    "pair, wrong: left out": {"color": "#b2182b", "lw": 1.8, "ls": "--"},
}


def _pair_style(pair: VisitPair) -> str:
    if pair.is_wrong:
        return "pair, wrong: left out"
    return "pair, used" if pair.used else "pair, nothing found"


def _line(axis: Any, line: Array, style: str) -> None:
    axis.plot(*line.T, zorder=2 + (style == "pair, wrong: left out"), **_PAIR_STYLES[style])


def _draw_arrows(axis: Any, layout: Layout) -> tuple[float, float, float, float]:
    """Draw arrows and ellipses; returns their largest values (arcsec) and their scales."""
    from matplotlib.patches import Ellipse

    shifts = np.array([visit.correction.shift for visit in layout.visits])
    shifts[[not visit.is_applied for visit in layout.visits]] = 0.0
    longest = float(np.hypot(*shifts.T).max())
    arrow = 0.72 * layout.step / longest if longest else 0.0
    axes = [np.linalg.eigh(np.nan_to_num(visit.cov[4:, 4:])) for visit in layout.visits]
    sizes = np.array([math.sqrt(max(float(values[-1]), 0.0)) for values, _ in axes])
    typical = float(np.median(sizes[sizes > 0])) if sizes.any() else 0.0
    largest = min(float(sizes.max()), _TYPICAL * typical)
    ellipse = 0.22 * layout.step / largest if largest else 0.0
    for visit, node, shift, size, (values, vectors) in zip(
        layout.visits, layout.nodes, shifts, sizes, axes, strict=True
    ):
        color = STATUS_COLORS[str(visit.status)]
        tip = node + arrow * shift
        if shift.any():
            style = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", tip, node, arrowprops=style, zorder=6)
        if not (size and visit.is_applied):
            continue
        cut = min(1.0, largest / size)
        width, height = 2 * ellipse * cut * np.sqrt(np.maximum(values[::-1], 0.0))
        angle = math.degrees(math.atan2(vectors[1, -1], vectors[0, -1]))
        axis.add_patch(
            Ellipse(tip, width, height, angle=angle, facecolor=color, alpha=0.18, lw=0, zorder=5)
        )
        axis.add_patch(
            Ellipse(tip, width, height, angle=angle, fill=False, ec=color, lw=1.0, zorder=6,
                    ls="-" if cut == 1.0 else "--")
        )  # fmt: skip
    return longest, arrow, largest, ellipse


def _draw_nodes(axis: Any, layout: Layout) -> None:
    names = _short_names(layout.visits)
    for visit, node, name in zip(layout.visits, layout.nodes, names, strict=True):
        status = str(visit.status)
        marker = _STATUS_MARKERS.get(status, "o")
        size = {"*": 13, "x": 8}.get(marker, 5)
        color = STATUS_COLORS[status]
        axis.plot(*node, marker=marker, ms=size, mew=2 if marker == "x" else 0.5, color=color,
                  mec=color if marker == "x" else "white", zorder=7)  # fmt: skip
        # on the side where the arrow is not
        below = not visit.is_applied or visit.correction.shift[1] >= 0
        axis.annotate(
            name, node, (0, -8 if below else 8), textcoords="offset points", ha="center",
            va="top" if below else "bottom", fontsize=8 if len(names) > 12 else 9, color=color,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            zorder=8,
        )  # fmt: skip


def _short_names(visits: Sequence[VisitCorrection]) -> list[str]:
    """Leave out the program where all visits are of one (the title names it)."""
    names = [str(visit.key) for visit in visits]
    same = len({name[:7] for name in names}) == 1
    return [name[7:] if same and len(name) > 10 else name for name in names]


# Frame and keys -----------------------------------------------------------------------------------


def _frame(axis: Any, layout: Layout, adjust: WcsAdjust, pairs: Sequence[VisitPair]) -> None:
    x, y = layout.middle
    room = 1.12 * layout.half
    axis.set_xlim(x + room, x - room)  # east is to the left
    axis.set_ylim(y - room, y + room)
    axis.set_aspect("equal")
    axis.set_xlabel("east [arcsec]")
    axis.set_ylabel("north [arcsec]")
    axis.set_title(_title(layout, adjust, pairs), fontsize=11)
    axis.figure.legend(
        handles=_handles(layout, pairs), fontsize=8, loc="lower center", ncol=4, frameon=False,
        borderaxespad=0.6,
    )  # fmt: skip


def _title(layout: Layout, adjust: WcsAdjust, pairs: Sequence[VisitPair]) -> str:
    names = [str(visit.key)[:7] for visit in layout.visits]
    target = str(adjust.run.get("target", ""))
    parts = [target, names[0] if len(set(names)) == 1 else ""]
    aligned = sum(visit.is_aligned for visit in layout.visits)
    parts.append(f"{aligned} of {len(names)} visits aligned")
    if pairs:
        wrong = sum(pair.is_wrong for pair in pairs)
        parts.append(f"{sum(pair.used for pair in pairs)} of {len(pairs)} pairs used")
        parts += [f"{wrong} wrong"] if wrong else []
    return ", ".join(filter(None, parts))


def _handles(layout: Layout, pairs: Sequence[VisitPair]) -> list[Any]:
    from matplotlib.lines import Line2D

    there = {str(visit.status) for visit in layout.visits}
    handles = []
    for status, color in STATUS_COLORS.items():
        if status in there:
            marker = _STATUS_MARKERS.get(status, "o")
            handles.append(
                Line2D([], [], ls="", marker=marker, color=color, ms=8, mew=1.5, label=status)
            )
    styles = {_pair_style(pair) for pair in pairs}
    handles += [
        Line2D([], [], label=style, **look)
        for style, look in _PAIR_STYLES.items()
        if style in styles
    ]
    return handles


def _draw_key(
    axis: Any, layout: Layout, longest: float, arrow: float, largest: float, ellipse: float
) -> None:
    """Say in the lower corner what the length of an arrow and the size of an ellipse mean."""
    from matplotlib.patches import Ellipse

    x, y = layout.middle + 1.05 * layout.half * np.array([1.0, -1.0])
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}
    style["bbox"] = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
    if longest:
        value = round_down(longest)
        start, end = (x, y), (x - arrow * value, y)
        arrows = {"arrowstyle": "-|>", "color": "black", "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", end, start, arrowprops=arrows, zorder=9)
        axis.annotate(f"shift {value:g} arcsec", end, (6, 0), zorder=9, **style)
    if largest:
        value = round_down(largest)
        size = 2 * ellipse * value
        at = (x - size / 2, y + 0.05 * layout.half + size / 2)
        axis.add_patch(Ellipse(at, size, size, fill=False, ec="black", lw=1.0, zorder=9))
        edge = (at[0] - size / 2, at[1])
        axis.annotate(f"error {1e3 * value:g} mas (one sigma)", edge, (6, 0), zorder=9, **style)
