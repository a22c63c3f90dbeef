"""Where the images of an alignment lie, and how they moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from webbalign.core.planes import TangentPlane
from webbalign.products.alignment_products import AlignmentProducts
from webbalign.products.solutions import SolvedImage
from webbalign.reports.canvas import STATUS_COLORS, draw_ellipse, empty, round_down, short_names
from webbalign.reports.page import Plot

__all__ = [
    "Moved", "Outline", "draw_footprints", "moved_groups", "plot_footprints", "plot_jitter",
    "plot_shifts", "to_the_left",
]  # fmt: skip

Array = NDArray[np.float64]

# Share of the field's width that the longest shift is drawn as, and that of the largest ellipse.
_LONGEST, _LARGEST = 0.12, 0.07
# Fields farther apart than so many half diagonals of an image are drawn by themselves.
_GAP = 20.0
# Groups, or pairs, that are named in a plot.
_NAMED = 12


@dataclass(frozen=True, eq=False)
class Outline:
    """The corners of an image on the sky, as unit vectors (4, 3), before and after."""

    before: Array
    after: Array
    status: str


def plot_footprints(products: AlignmentProducts) -> Plot | None:
    """Draw the outlines of all images before and after; None if no outline is known."""
    found = []
    for row in products.solution.images:
        corners = [products.corners(row, corrected=corrected) for corrected in (False, True)]
        before, after = (None if xy is None else row.plane.to_vectors(xy) for xy in corners)
        if before is not None and after is not None:
            found.append(Outline(before, after, str(row.status)))
    return draw_footprints(found) if found else None


def draw_footprints(outlines: Sequence[Outline]) -> Plot:
    """Draw outlines before and after, moved by more than they are, so that it is seen.

    Of fields far apart that with the most images is drawn.
    """
    count, outlines = len(outlines), _largest_field(outlines)
    plane = TangentPlane.around(np.concatenate([outline.before for outline in outlines]))
    places = [plane.from_vectors(outline.before) for outline in outlines]
    moves = [
        plane.from_vectors(outline.after) - xy for outline, xy in zip(outlines, places, strict=True)
    ]
    width = float(np.ptp(np.concatenate(places), axis=0).max())
    longest = max(float(np.hypot(*move.T).max()) for move in moves)
    scale = max(1.0, round_down(_LONGEST * width / longest)) if longest else 1.0
    figure, axis = empty(4.8, 4.9, bottom=1.0)
    for outline, xy, move in zip(outlines, places, moves, strict=True):
        color = STATUS_COLORS[outline.status]
        axis.plot(*_closed(xy).T, color="0.55", lw=0.8, ls=(0, (3, 2)))
        axis.fill(*(xy + scale * move).T, facecolor=color, alpha=0.05, lw=0)
        axis.plot(*_closed(xy + scale * move).T, color=color, lw=1.0)
    to_the_left(axis)
    statuses = sorted({outline.status for outline in outlines})
    handles = [Line2D([], [], color="0.55", lw=1, ls=(0, (3, 2)), label="before")]
    handles += [Line2D([], [], color=STATUS_COLORS[s], label=f"after: {s}") for s in statuses]
    figure.legend(handles=handles, loc="lower center", ncol=2, frameon=False, fontsize=9)
    times = f", moves drawn {scale:g} times as long" if scale > 1 else ""
    apart = f" ({count - len(outlines)} elsewhere)" if count > len(outlines) else ""
    axis.set_title(f"{len(outlines)} images{apart}{times}", fontsize=10)
    return Plot(
        "footprints", "Footprints before and after", figure,
        "Good: all detectors of an exposure move alike, and the outlines of a visit stay in line; "
        "an image that moves by itself is a wrong match.",
        f"Outlines of {len(outlines)} images{apart} on the sky before and after the correction; "
        f"the longest move is {longest:.3f} arcsec.",
    )  # fmt: skip


def _largest_field(outlines: Sequence[Outline]) -> Sequence[Outline]:
    """Return the images of the largest field: no gap in it is as wide as several images."""
    corners = np.stack([outline.before for outline in outlines])
    centres = corners.mean(axis=1)
    size = float(np.median(np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)))
    near = KDTree(centres).query_pairs(_GAP * size, output_type="ndarray")
    joined = coo_array((np.ones(len(near)), near.T), shape=(len(centres),) * 2)
    label = connected_components(joined, directed=False)[1]
    largest = int(np.bincount(label).argmax())
    return [one for one, field in zip(outlines, label, strict=True) if field == largest]


def _closed(xy: Array) -> Array:
    return np.concatenate([xy, xy[:1]])


def to_the_left(axis: Any) -> None:
    """Turn an axis so that east is to the left."""
    axis.set_aspect("equal", "datalim")
    axis.invert_xaxis()
    axis.set(xlabel="east [arcsec]", ylabel="north [arcsec]")


# Shifts of groups ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moved:
    """By how much a group is moved.

    Attributes
    ----------
    name, visit, status : str
        `visit` is empty if unknown.
    shift : ndarray, shape (2,)
        Arcsec, to the east and north.
    cov : ndarray, shape (2, 2)
        NaN: unknown.
    """

    name: str
    visit: str
    status: str
    shift: Array
    cov: Array

    @classmethod
    def of(cls, row: SolvedImage, outline: Array | None) -> Moved:
        """Return the move in the middle of an image."""
        x, y = (0.0, 0.0) if outline is None else outline.mean(axis=0)
        slopes = np.array([[x, y, 0, 0, 1, 0], [0, 0, x, y, 0, 1]])
        shift = row.correction.apply([[x, y]])[0] - (x, y)
        visit = row.observation.group("visit")
        return cls(row.group_id, visit, str(row.status), shift, slopes @ row.cov @ slopes.T)

    @property
    def error(self) -> float:
        """Largest one-sigma error, arcsec; 0 if unknown."""
        if not np.isfinite(self.cov).all():
            return 0.0
        return float(np.sqrt(max(np.linalg.eigvalsh(self.cov)[-1], 0.0)))


def moved_groups(products: AlignmentProducts) -> list[Moved]:
    """Return the move of each group that is moved, by name, in the middle of its first image."""
    first: dict[str, SolvedImage] = {}
    for row in sorted(products.solution.images, key=lambda row: (row.group_id, row.filename)):
        if row.is_applied:
            first.setdefault(row.group_id, row)
    return [Moved.of(row, products.outlines.get(row.filename)) for row in first.values()]


def plot_shifts(groups: Sequence[Moved], what: str = "group") -> Plot:
    """Draw the shift of each group with its error ellipse."""
    shifts = np.array([group.shift for group in groups])
    field = np.concatenate([shifts, np.zeros((1, 2))])
    figure, axis = empty(4.8, 4.9, bottom=1.0)
    span = _frame(axis, field)
    scale, largest = _draw_groups(axis, groups, shifts, span)
    _name(axis, [group.name for group in groups], shifts, span)
    axis.plot(0, 0, "+", color="0.4", ms=10)
    axis.set(xlabel="east [arcsec]", ylabel="north [arcsec]")
    _title(axis, scale, largest)
    _legend(figure, groups, [Line2D([], [], ls="", marker="+", color="0.4", ms=9, label="none")])
    length = np.hypot(*shifts.T)
    return Plot(
        "shifts", f"Shift of each {what}", figure,
        "Good: groups of one visit at one place, up to about an arcsec from zero (the error of its "
        "guide star); a point far beyond is a wrong match. Ellipses: one sigma.",
        f"Shifts of {len(groups)} {what}s to the east and north, {length.min():.3f} to "
        f"{length.max():.3f} arcsec long, with error ellipses.",
    )  # fmt: skip


def plot_jitter(groups: Sequence[Moved], what: str = "group") -> Plot | None:
    """Draw the shifts of groups about the mean of their visit; None without two in one visit."""
    visits = sorted({group.visit for group in groups if group.visit})
    members = [[group for group in groups if group.visit == visit] for visit in visits]
    members = [several for several in members if len(several) > 1]
    if not members:
        return None
    chosen = [group for several in members for group in several]
    left = np.concatenate([_about_mean(several) for several in members])
    figure, axis = empty(4.8, 4.9, bottom=1.0)
    reach = max(group.error for group in chosen) * 1e3
    span = _frame(axis, np.concatenate([left, [[-reach, -reach], [reach, reach]]]))
    _draw_groups(axis, chosen, left, span, units=1e3)
    _name(axis, [group.name for group in chosen], left, span)
    axis.axhline(0, color="0.6", lw=0.6, zorder=0)
    axis.axvline(0, color="0.6", lw=0.6, zorder=0)
    axis.set(xlabel="east [mas]", ylabel="north [mas]")
    _legend(figure, chosen, [])
    length = np.hypot(*left.T)
    return Plot(
        "jitter", f"Shift of each {what} about the mean of its visit", figure,
        "Good: a few mas, the jitter of the pointing between exposures. The ellipses hold also "
        "what all have in common: where the whole lies.",
        f"{len(chosen)} {what}s of {len(members)} visits lie {np.median(length):.2g} mas (median) "
        f"and at most {length.max():.2g} mas from the mean of their visit.",
    )  # fmt: skip


def _about_mean(groups: Sequence[Moved]) -> Array:
    shifts = np.array([group.shift for group in groups])
    left: Array = 1e3 * (shifts - shifts.mean(axis=0))
    return left


def _frame(axis: Any, field: Array) -> float:
    """Set the limits about points, square, east to the left; returns the width of the points."""
    middle = (field.max(axis=0) + field.min(axis=0)) / 2
    span = float(np.ptp(field, axis=0).max()) or 0.01
    axis.set(
        xlim=(middle[0] + 0.8 * span, middle[0] - 0.8 * span),
        ylim=(middle[1] - 0.8 * span, middle[1] + 0.8 * span),
        aspect="equal",
    )
    return span


def _draw_groups(
    axis: Any, groups: Sequence[Moved], places: Array, span: float, units: float = 1.0
) -> tuple[float, float]:
    """Draw points and ellipses (in `units` of an arcsec); returns their scale and the largest."""
    largest = max((group.error for group in groups), default=0.0)
    scale = 1.0
    if largest and units * largest < _LARGEST * span:
        scale = max(1.0, round_down(_LARGEST * span / largest / units))
    for group, place in zip(groups, places, strict=True):
        color = STATUS_COLORS[group.status]
        axis.plot(*place, ".", color=color, ms=6)
        draw_ellipse(axis, place, group.cov, units * scale, color)
    return scale, largest


def _title(axis: Any, scale: float, largest: float) -> None:
    times = f", ellipses drawn {scale:g} times as large" if scale > 1 else ""
    if largest:
        axis.set_title(f"largest error {1e3 * largest:.2g} mas{times}", fontsize=10)


def _name(axis: Any, names: Sequence[str], places: Array, span: float) -> None:
    """Write names beside the points; one for those that lie together."""
    short = short_names(names)
    together: list[list[int]] = []
    for k, place in enumerate(places):
        near = [c for c in together if np.hypot(*(places[c[0]] - place)) < 0.05 * span]
        near[0].append(k) if near else together.append([k])
    middle = places.mean(axis=0)
    for cluster in together[:_NAMED] if len(together) <= 2 * _NAMED else []:
        first, more = cluster[0], len(cluster) - 1
        below = places[first][1] < middle[1]
        axis.annotate(
            f"{short[first]}{f' and {more} more' if more else ''}", places[first],
            (0, -14 if below else 14), textcoords="offset points", fontsize=8, ha="center",
            va="top" if below else "bottom",
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _legend(figure: Any, groups: Sequence[Moved], first: list[Any]) -> None:
    statuses = sorted({group.status for group in groups})
    dots = [Line2D([], [], ls="", marker=".", ms=8, color=STATUS_COLORS[s], label=s)
            for s in statuses]  # fmt: skip
    figure.legend(handles=first + dots, loc="lower center", ncol=3, frameon=False, fontsize=9)
