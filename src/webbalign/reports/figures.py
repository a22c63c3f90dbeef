"""Pictures of a result: what came in, what was taken away, what remains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.products.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Mark", "Panel", "draw_panels"]


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
    spread : float or None
        Largest value of the colours, by default that of the image.
    """

    title: str
    image: NDArray
    centre: tuple[float, float]
    pixel_scale: float
    starlight: bool = False
    marks: Sequence[Mark] = ()
    compass: tuple[tuple[float, float], ...] = ()
    unit: str = ""
    spread: float | None = None


def draw_panels(
    path: str | Path, panels: Sequence[Panel], *, title: str, unit: str, radius: float = 3.0
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
        Half width of the panels in arcsec (less if the images are smaller).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    panels = [_cut(panel, radius) for panel in panels]
    figure = Figure(figsize=(3.5 * len(panels), 4.5), dpi=100)
    FigureCanvasAgg(figure)
    # placed by hand: an automatic layout draws everything several times
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.185, top=0.87, wspace=0.06)
    for axis, panel in zip(axes, panels, strict=True):
        shown = _show(axis, panel, _norm(panels, panel), radius)
        axis.tick_params(labelleft=axis is axes[0])
        box = axis.get_position()
        bar = figure.add_axes((box.x0 + 0.1 * box.width, 0.105, 0.8 * box.width, 0.025))
        scale = figure.colorbar(shown, cax=bar, orientation="horizontal")
        scale.set_ticks(_ticks(shown.norm))
        scale.minorticks_off()
        bar.set_xlabel(panel.unit or unit, labelpad=1)
    axes[0].set_ylabel("arcsec", labelpad=-2)
    figure.suptitle(title, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path


def _ticks(norm: Any) -> list[float]:
    """Return a few round values for a colour bar."""
    from matplotlib.colors import AsinhNorm

    if isinstance(norm, AsinhNorm):
        top = 10.0 ** np.floor(np.log10(norm.vmax or 1.0))
        return [0.0, top / 10, top]
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
    if panel.spread is not None:
        return Normalize(-panel.spread, panel.spread)
    values = panel.image
    spread = np.percentile(np.abs(values[np.isfinite(values)]), 98.5)
    return Normalize(-spread, spread)


def _show(axis: Axes, panel: Panel, norm: Any, radius: float) -> Any:
    ny, nx = panel.image.shape
    left, bottom = (-(centre + 0.5) * panel.pixel_scale for centre in panel.centre)
    extent = (left, left + nx * panel.pixel_scale, bottom, bottom + ny * panel.pixel_scale)
    cmap = "inferno" if panel.starlight else "RdBu_r"
    shown = axis.imshow(panel.image, origin="lower", cmap=cmap, norm=norm, extent=extent)
    axis.set(xlim=(-radius, radius), ylim=(-radius, radius), title=panel.title)
    axis.set_facecolor("0.75")
    axis.plot(0, 0, marker="*", color="k" if not panel.starlight else "w", ms=6, mew=0)
    for mark in panel.marks:
        x, y = ((mark.xy[i] - panel.centre[i]) * panel.pixel_scale for i in (0, 1))
        colour = "w" if panel.starlight else "k"
        axis.plot(x, y, marker="o", ms=16, mfc="none", mec=colour, mew=1.3)
        axis.annotate(
            mark.label, (x, y), (0, 13), textcoords="offset points", ha="center", color=colour
        )
    for direction, name in zip(panel.compass, ("N", "E"), strict=False):
        _arrow(axis, direction, name, radius)
    return shown


def _arrow(axis: Axes, direction: tuple[float, float], name: str, radius: float) -> None:
    x, y = -0.65 * radius, -0.85 * radius
    end = (x + 0.25 * radius * direction[0], y + 0.25 * radius * direction[1])
    axis.annotate(name, (x, y), end, ha="center", va="center", arrowprops={"arrowstyle": "<-"})
