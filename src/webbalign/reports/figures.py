"""Pictures of a result: what came in, what was taken away, what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.products.atomic import Seal, atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Mark", "Panel", "draw_panels"]

# inches: side of a panel, above the first row, from row to row, left of the panels
_SIDE, _HEAD, _ROW, _LEFT = 2.9, 0.75, 4.15, 0.45


@dataclass(frozen=True)
class Mark:
    """Something to point at: 0-based (x, y) in the panel's pixels, and what to call it."""

    xy: tuple[float, float]
    label: str


@dataclass(frozen=True)
class Panel:
    """One image of the figure.

    Attributes
    ----------
    title : str
    image : ndarray, shape (ny, nx)
    centre : tuple of float
        0-based (x, y) of the star.
    pixel_scale : float
        Arcsec per pixel.
    starlight : bool
        Whether the image shows starlight (asinh stretch, shared by all such panels) or what is
        left of it (linear about 0).
    marks : sequence of Mark
    compass : tuple of (float, float), optional
        Directions (x, y) of north and east; drawn in the lower left corner.
    unit : str
        Unit of the image, where it is not that of the figure.
    linear_to : float or None
        Value up to which the colours are linear, logarithmic beyond; by default all are linear.
    """

    title: str
    image: NDArray
    centre: tuple[float, float]
    pixel_scale: float
    starlight: bool = False
    marks: Sequence[Mark] = ()
    compass: tuple[tuple[float, float], ...] = ()
    unit: str = ""
    linear_to: float | None = None


@dataclass(frozen=True)
class Curve:
    """A line over the distance from the star.

    Attributes
    ----------
    label : str
    separation : ndarray, shape (n,)
        Arcsec.
    value : ndarray, shape (n,)
        In the unit of the figure.
    style : str
        Colour and dashes, as matplotlib has them.
    """

    label: str
    separation: NDArray
    value: NDArray
    style: str


def draw_panels(
    path: str | Path,
    panels: Sequence[Panel],
    *,
    title: str,
    unit: str,
    radius: float = 3.0,
    columns: int | None = None,
    curves: tuple[str, Sequence[Curve]] = ("", ()),
    dpi: int = 100,
    recipe: Seal | None = None,
) -> Path:
    """Draw images side by side, each `radius` arcsec about the star, into a PNG.

    Parameters
    ----------
    path : str or Path
        The PNG.
    panels : sequence of Panel
    title, unit : str
        Above the figure; beside the colour bars.
    radius : float
        Half width of the panels in arcsec; what an image does not cover is grey.
    columns : int, optional
        Panels in a row; by default all.
    curves : (str, sequence of Curve)
        Title and lines of a diagram after the last panel; none without lines.
    dpi : int
        Dots per inch; a panel is 3.5 inches wide.
    recipe : Recipe, optional
        What the figure is made from, to be written into it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    panels = [_cut(panel, radius) for panel in panels]
    cells = len(panels) + bool(curves[1])
    columns = columns or cells
    figure = Figure(figsize=(3.5 * columns, 0.35 + _ROW * -(-cells // columns)), dpi=dpi)
    FigureCanvasAgg(figure)
    boxes = [_box(figure, index, columns) for index in range(cells)]
    for panel, box in zip(panels, boxes, strict=False):
        axis = figure.add_axes(box)
        shown = _show(axis, panel, _norm(panels, panel), radius)
        axis.tick_params(labelleft=box[0] == boxes[0][0])
        bar = figure.add_axes(_bar(figure, box))
        scale = figure.colorbar(shown, cax=bar, orientation="horizontal", extend=_extend(shown))
        ticks = _ticks(shown.norm)
        scale.set_ticks(
            ticks, labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks]
        )
        scale.minorticks_off()
        bar.set_xlabel(panel.unit or unit, labelpad=1)
    if curves[1]:
        _draw_curves(figure.add_axes(_indented(figure, boxes[-1])), *curves, radius, unit)
    figure.suptitle(title, fontsize=10.5, y=1 - 0.1 / figure.get_figheight())
    with atomic_path(path, recipe) as temporary:
        figure.savefig(temporary)
    return path


# The places are worked out by hand: an automatic layout draws everything several times.
Box = tuple[float, float, float, float]


def _box(figure: Figure, index: int, columns: int) -> Box:
    """Return left, bottom, width, height of a panel, as fractions of the figure."""
    width, height = figure.get_size_inches()
    row, column = divmod(index, columns)
    left, top = _LEFT + column * (width - _LEFT) / columns, _HEAD + row * _ROW
    side = min(_SIDE, (width - _LEFT) / columns - 0.1)
    return left / width, 1 - (top + side) / height, side / width, side / height


def _bar(figure: Figure, box: Box) -> Box:
    """Return the place of the colour bar below a panel."""
    inch = 1 / figure.get_figheight()
    return box[0] + 0.1 * box[2], box[1] - 0.42 * inch, 0.8 * box[2], 0.12 * inch


def _indented(figure: Figure, box: Box) -> Box:
    """Return the place of a diagram, which needs room for the labels of its own axis."""
    indent = 0.5 / figure.get_figwidth()
    return box[0] + indent, box[1], box[2] - indent, box[3]


def _draw_curves(axis: Axes, title: str, curves: Sequence[Curve], radius: float, unit: str) -> None:
    for curve in curves:
        axis.plot(curve.separation, curve.value, curve.style, label=curve.label)
    axis.set(yscale="log", xlim=(0, radius), ylabel=unit)
    axis.set_title(title, fontsize=11)
    axis.set_xlabel("arcsec from the star")
    axis.set_ylim(top=10 * axis.get_ylim()[1])  # room for the legend
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _extend(shown: Any) -> str:
    """Tell at which ends of the colour bar values are cut off."""
    values, norm = shown.get_array(), shown.norm
    below, above = bool((values < norm.vmin).any()), bool((values > norm.vmax).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (below, above), "neither"
    )


def _ticks(norm: Any) -> list[float]:
    """Return a few round values for a colour bar."""
    from matplotlib.colors import AsinhNorm

    if isinstance(norm, AsinhNorm) and norm.vmin == 0:
        top = 10.0 ** np.floor(np.log10(norm.vmax or 1.0))
        return [0.0, top / 10, top]
    if isinstance(norm, AsinhNorm):
        near, far = norm.linear_width, float(f"{0.7 * (norm.vmax or 1.0):.1g}")
        if far > 30 * near:  # there is no room for the others about 0
            return [-far, 0.0, far]
        return [-far, -near, 0.0, near, far] if far > 2 * near else [-near, 0.0, near]
    step = float(f"{0.7 * norm.vmax:.1g}")
    return [-step, 0.0, step]


def _cut(panel: Panel, radius: float) -> Panel:
    """Return the part of a panel that is shown: the rest would only take time."""
    half = int(np.ceil(radius / panel.pixel_scale)) + 1
    x, y = (max(round(value) - half, 0) for value in panel.centre)
    image = panel.image[y : y + 2 * half + 1, x : x + 2 * half + 1]
    marks = [Mark((mark.xy[0] - x, mark.xy[1] - y), mark.label) for mark in panel.marks]
    centre = (panel.centre[0] - x, panel.centre[1] - y)
    return replace(panel, image=image, centre=centre, marks=marks)


def _norm(panels: Sequence[Panel], panel: Panel) -> Any:
    from matplotlib.colors import AsinhNorm, Normalize

    alike = [other.image for other in panels if other.starlight == panel.starlight]
    values = np.concatenate([image[np.isfinite(image)] for image in alike])
    if not values.size:
        return Normalize(-1, 1)
    if panel.starlight:
        top = np.percentile(values, 99.7)
        return AsinhNorm(linear_width=max(top / 50, 1e-30), vmin=0, vmax=top)
    values = np.abs(panel.image[np.isfinite(panel.image)])
    if panel.linear_to is not None:
        top = max(1.4 * panel.linear_to, float(np.max(values, initial=0.0)))
        return AsinhNorm(linear_width=panel.linear_to, vmin=-top, vmax=top)
    spread = np.percentile(values, 98.5)
    return Normalize(-spread, spread)


def _show(axis: Axes, panel: Panel, norm: Any, radius: float) -> Any:
    ny, nx = panel.image.shape
    left, bottom = (-(centre + 0.5) * panel.pixel_scale for centre in panel.centre)
    extent = (left, left + nx * panel.pixel_scale, bottom, bottom + ny * panel.pixel_scale)
    cmap = "inferno" if panel.starlight else "RdBu_r"
    shown = axis.imshow(
        panel.image, origin="lower", cmap=cmap, norm=norm, extent=extent, interpolation="nearest"
    )
    axis.set(xlim=(-radius, radius), ylim=(-radius, radius))
    axis.set_title(panel.title, fontsize=11)
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_formatter("{x:g}″")
    axis.set_facecolor("0.75")
    axis.plot(0, 0, marker="*", color="w", mec="k", ms=8, mew=0.6)
    for mark in panel.marks:
        x, y = ((mark.xy[i] - panel.centre[i]) * panel.pixel_scale for i in (0, 1))
        colour = "w" if panel.starlight else "k"
        axis.plot(x, y, marker="o", ms=16, mfc="none", mec=colour, mew=1.3)
        axis.annotate(
            mark.label, (x, y), (0, 13), textcoords="offset points", ha="center", color=colour
        )
    for direction, name in zip(panel.compass, ("N", "E"), strict=False):
        _arrow(axis, direction, name, radius, panel.starlight)
    return shown


def _arrow(
    axis: Axes, direction: tuple[float, float], name: str, radius: float, on_dark: bool
) -> None:
    from matplotlib.patheffects import withStroke

    colour, edge = ("w", "k") if on_dark else ("k", "w")
    outline = [withStroke(linewidth=2.5, foreground=edge)]
    # the corner is large enough for a compass of any orientation
    x = y = -0.7 * radius
    end = (x + 0.21 * radius * direction[0], y + 0.21 * radius * direction[1])
    drawn = axis.annotate(
        name, (x, y), end, ha="center", va="center", color=colour, path_effects=outline,
        arrowprops={"arrowstyle": "<-", "color": colour, "path_effects": outline},
    )  # fmt: skip
    drawn.set_in_layout(False)
